"""Sockets with a client's address: when it cannot be had the node asks, and that is counted."""

import asyncio
import logging
import socket

import pytest

from podwire.proxy.userspace import borrowing
from podwire.proxy.userspace.borrowing import Borrowing
from tests.needs import need_admin
from tests.unit.proxy.conftest import World, naming


def transparent(kind: int = socket.SOCK_STREAM) -> socket.socket:
    """Return a socket that may have the address of somebody else."""
    need_admin()
    sock = socket.socket(socket.AF_INET, kind)
    sock.setsockopt(socket.IPPROTO_IP, borrowing.IP_TRANSPARENT, 1)
    return sock


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_the_clients_own_port_and_another_when_it_is_taken(kind: int) -> None:
    lending = Borrowing()
    with transparent(kind) as one, transparent(kind) as other:
        assert lending.bind(one, ("192.0.2.1", 45678), "client")
        assert one.getsockname() == ("192.0.2.1", 45678)
        assert lending.bind(other, ("192.0.2.1", 45678), "client")
        assert other.getsockname()[0] == "192.0.2.1"
        assert other.getsockname()[1] != 45678
    assert (lending.other_ports, lending.failures) == (1, 0)


def test_what_is_for_this_node_is_marked() -> None:
    with transparent() as sock:
        assert Borrowing().bind(sock, ("192.0.2.1", 45678), "client, to this node")
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_MARK) == 0x1000


def test_failures_are_counted_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    lending = Borrowing()
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            with socket.socket() as sock:
                sock.bind(("127.0.0.1", 0))  # and cannot be bound again
                assert not lending.bind(sock, ("192.0.2.1", 45678), "client")
    assert lending.failures == 3
    assert len(caplog.records) == 1


async def test_a_connection_is_carried_though_its_port_is_taken(world: World) -> None:
    """From the same address and port another connection to the endpoint is open already."""
    with transparent():
        pass
    backend = await world.backend(naming("x"))
    with socket.socket() as first:
        first.bind(("127.0.0.1", 0))
        first.connect(backend.sockaddr)
        taken = first.getsockname()
        ours, theirs = socket.socketpair()
        with theirs:
            ours.setblocking(False)
            theirs.setblocking(False)
            world.relay.carry(
                ours,
                taken,
                lambda _client, tried: None if tried else backend,
                source=lambda _client, _backend: "client",
            )
            async with asyncio.timeout(10):
                said = await asyncio.get_running_loop().sock_recv(theirs, 10)
    assert said == b"x"
    lending = world.relay.borrowing
    assert (lending.other_ports, lending.failures) == (1, 0)
