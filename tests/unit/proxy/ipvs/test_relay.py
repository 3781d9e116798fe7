"""Connections through the relay go where the emulated ip_vs says, and are counted by it."""

import asyncio
import socket
from collections.abc import Callable
from ipaddress import IPv4Address

import pytest

from podwire.proxy.endpoints import Backend
from podwire.proxy.ipvs.changes import AddDestination, AddServer, ListedDestination
from podwire.proxy.ipvs.emulated import Emulated
from podwire.proxy.ipvs.plan import VirtualServer
from podwire.proxy.ipvs.relay import Scheduled
from podwire.proxy.userspace.routes import Frontend
from tests.unit.proxy.conftest import World


class Served:
    """A frontend with backends that say their number and then wait for the client's end."""

    def __init__(self, make_world: Callable[..., World]) -> None:
        self.emulated = Emulated()
        loop = asyncio.get_running_loop()
        self.world = make_world(picker=Scheduled(self.emulated, loop))
        self.backends: list[Backend] = []
        self.frontend = Frontend(IPv4Address(0), 0, "TCP")

    async def start(self, server: VirtualServer, count: int) -> None:
        for number in range(count):

            async def serve(
                reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int = number
            ) -> None:
                writer.write(str(number).encode())
                await reader.read()

            self.backends.append(await self.world.backend(serve))
        self.frontend = self.world.frontend(self.world.route(*self.backends))
        self.program(server)

    def program(self, server: VirtualServer) -> None:
        self.emulated.apply([AddServer(self.frontend, server)])
        # The last one is the first in the kernel's list.
        for backend in reversed(self.backends):
            self.emulated.apply([AddDestination(self.frontend, backend)])

    def counts(self) -> list[ListedDestination]:
        there = self.emulated.listed()[self.frontend].destinations
        return [there[backend] for backend in self.backends]

    async def ask(self, source: str = "127.0.0.1") -> tuple[str, asyncio.StreamWriter]:
        reader, writer = await self.world.connect(self.frontend, source)
        return (await reader.read(1)).decode(), writer


@pytest.fixture
async def served(make_world: Callable[..., World]) -> Served:
    return Served(make_world)


async def test_in_turns(served: Served) -> None:
    await served.start(VirtualServer("rr"), 3)
    assert [(await served.ask())[0] for _ in range(7)] == list("0120120")


async def test_to_the_one_with_fewest_connections(served: Served) -> None:
    await served.start(VirtualServer("lc"), 2)
    assert [(await served.ask())[0] for _ in range(3)] == list("010")
    assert [each.active for each in served.counts()] == [2, 1]


async def test_what_is_over_is_inactive(served: Served) -> None:
    await served.start(VirtualServer("rr"), 1)
    _, writer = await served.ask()
    assert served.counts() == [ListedDestination(1, 1, 0)]
    writer.close()
    await served.world.until(lambda: served.counts() == [ListedDestination(1, 0, 1)])


async def test_clients_stick(served: Served) -> None:
    await served.start(VirtualServer("rr", 60), 2)
    assert {(await served.ask())[0] for _ in range(5)} == {"0"}
    assert {(await served.ask("127.0.0.2"))[0] for _ in range(5)} == {"1"}


async def test_one_who_is_refused_is_not_sent_on(served: Served) -> None:
    await served.start(VirtualServer("rr"), 1)
    closed = served.world.socket()
    served.backends.insert(0, Backend(*_address(closed)))
    served.emulated.apply([AddDestination(served.frontend, served.backends[0])])
    with pytest.raises(ConnectionResetError):
        await served.ask()
    assert (await served.ask())[0] == "0"
    assert [each.active for each in served.counts()] == [0, 1]


async def test_udp_flows_are_inactive_and_end(served: Served) -> None:
    backend = served.world.socket(socket.SOCK_DGRAM)
    served.backends = [Backend(*_address(backend))]
    served.frontend = served.world.frontend(served.world.route(*served.backends), "UDP")
    served.program(VirtualServer("rr"))
    loop = asyncio.get_running_loop()
    client = served.world.socket(socket.SOCK_DGRAM)
    place = (str(served.frontend.address), served.frontend.port)
    for _ in range(2):
        client.sendto(b"hello", place)
        await loop.sock_recv(backend, 100)
    assert served.counts() == [ListedDestination(1, 0, 1)]
    served.world.change(served.frontend, None)
    assert served.counts() == [ListedDestination(1, 0, 0)]


def _address(sock: socket.socket) -> tuple[IPv4Address, int]:
    host, port = sock.getsockname()
    return IPv4Address(host), port
