"""Many datagrams with one system call."""

import socket
from collections.abc import Generator
from contextlib import ExitStack

import pytest

from podwire.dns.serving.datagram_slots import BATCH, LARGEST_DATAGRAM
from podwire.dns.serving.datagrams import Datagrams, bind, host_and_port
from tests.needs import lack

LARGEST_UDP = LARGEST_DATAGRAM - 28


class Pair:
    """Our socket, and a client's that talks to it."""

    def __init__(self, family: socket.AddressFamily, address: str, stack: ExitStack) -> None:
        self.ours = stack.enter_context(socket.socket(family, socket.SOCK_DGRAM))
        self.ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        bind(self.ours, address, 0)
        self.ours.setblocking(False)
        self.client = stack.enter_context(socket.socket(family, socket.SOCK_DGRAM))
        self.client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.client.settimeout(5)
        self.client.connect(self.ours.getsockname())
        self.datagrams = Datagrams(self.ours)

    @property
    def address(self) -> bytes:
        """Return the client's address, raw."""
        self.client.send(b"hello")
        ((_, address),) = self.datagrams.receive()
        return address


@pytest.fixture(params=["127.0.0.1", "::1"])
def pair(request: pytest.FixtureRequest) -> Generator[Pair]:
    address = str(request.param)
    family = family_of(address)
    with ExitStack() as stack:
        yield Pair(family, address, stack)


def family_of(address: str) -> socket.AddressFamily:
    """Return the family of *address*, which this machine must have."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    # A plain socket, not what is tested: a fault of ours is no lack of the machine's.
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.bind((address, 0))
    except OSError as error:
        lack(f"this machine has no {address}: {error}")
    return family


@pytest.mark.parametrize("size", [0, 1, 512, 4097, LARGEST_UDP])
def test_a_datagram_of_any_size_comes_and_goes(pair: Pair, size: int) -> None:
    sent = bytes(n % 251 for n in range(size))
    pair.client.send(sent)
    ((got, address),) = pair.datagrams.receive()
    assert got == sent
    assert host_and_port(address) == pair.client.getsockname()[:2]
    pair.datagrams.put(got[::-1], address)
    pair.datagrams.flush()
    assert pair.client.recv(65535) == sent[::-1]


@pytest.mark.parametrize(("everywhere", "one"), [("0.0.0.0", "127.0.0.2"), ("::", "::1")])
def test_the_reply_comes_from_the_address_that_was_asked(everywhere: str, one: str) -> None:
    family = family_of(one)
    with (
        socket.socket(family, socket.SOCK_DGRAM) as ours,
        socket.socket(family, socket.SOCK_DGRAM) as client,
    ):
        bind(ours, everywhere, 0)
        # The other address of the client's side is what routes would choose.
        client.connect((one, ours.getsockname()[1]))
        client.settimeout(5)
        datagrams = Datagrams(ours)
        for n in range(2 * BATCH):
            client.send(b"%d" % n)
            for got, address in datagrams.receive():
                assert host_and_port(address) == client.getsockname()[:2]
                datagrams.put(got, address)
            datagrams.flush()
            # A connected socket takes replies from nobody else.
            assert client.recv(100) == b"%d" % n


def test_a_client_of_another_address_in_the_same_batch() -> None:
    with ExitStack() as stack:
        ours = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        bind(ours, "0.0.0.0", 0)
        clients: list[socket.socket] = []
        for n in range(20):
            client = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            client.settimeout(5)
            client.connect((f"127.0.0.{n % 3 + 1}", ours.getsockname()[1]))
            client.send(b"%d" % n)
            clients.append(client)
        datagrams = Datagrams(ours)
        for got, address in datagrams.receive():
            datagrams.put(got, address)
        datagrams.flush()
        assert [client.recv(100) for client in clients] == [b"%d" % n for n in range(20)]


def test_nothing_there_is_nothing(pair: Pair) -> None:
    assert pair.datagrams.receive() == []
    pair.datagrams.flush()
    assert not pair.datagrams.has_unsent


def test_more_than_a_batch_keeps_its_order(pair: Pair) -> None:
    count = 2 * BATCH + 5
    for n in range(count):
        pair.client.send(b"%d" % n)
    batches: list[list[bytes]] = []
    while batch := pair.datagrams.receive():
        batches.append([got for got, _ in batch])
        for got, address in batch:
            # Of other lengths than before, so that nothing old can show.
            pair.datagrams.put(got * (1 + len(batches) % 3), address)
    pair.datagrams.flush()
    assert [len(batch) for batch in batches] == [BATCH, BATCH, 5]
    assert [got for batch in batches for got in batch] == [b"%d" % n for n in range(count)]
    replies = [pair.client.recv(100) for _ in range(count)]
    assert replies == [b"%d" % n * (1 + (n // BATCH + 1) % 3) for n in range(count)]


@pytest.mark.parametrize("everywhere", [False, True])
def test_known_replies_go_out_at_once_and_the_rest_is_handed_over(*, everywhere: bool) -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ours,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        bind(ours, "0.0.0.0" if everywhere else "127.0.0.2", 0)
        client.settimeout(5)
        client.connect(("127.0.0.2", ours.getsockname()[1]))
        datagrams = Datagrams(ours)
        known = {b"": None, b"short": b"s", b"long": b"l" * 3000, b"longest that fits": b"f" * 2046}
        asked = [
            b"short",
            b"?",
            b"longest that fits",
            b"short",
            b"long",
            b"",
            b"?" * 3000,
            b"short",
        ]
        for ident, request in enumerate(asked):
            client.send(b"%02d" % ident + request)
        client.send(b"1")
        rest = datagrams.exchange(known.get)
        replies = [client.recv(4000) for _ in range(4)]
        assert replies == [b"00s", b"02" + b"f" * 2046, b"03s", b"07s"]
        assert [got for got, _ in rest] == [b"01?", b"04long", b"05", b"06" + b"?" * 3000, b"1"]
        assert {host_and_port(address) for _, address in rest} == {client.getsockname()}
        for got, address in rest:
            datagrams.put(got, address)
        datagrams.flush()
        assert [client.recv(4000) for _ in rest] == [got for got, _ in rest]


def test_who_cannot_be_reached_does_not_hold_up_others(pair: Pair) -> None:
    address = pair.address
    nobody = bytes((*address[:2], 0, 0, *address[4:]))  # Port 0.
    for n in range(10):
        pair.datagrams.put(b"to nobody", nobody)
        pair.datagrams.put(b"%d" % n, address)
    pair.datagrams.flush()
    assert [pair.client.recv(100) for _ in range(10)] == [b"%d" % n for n in range(10)]
    assert not pair.datagrams.has_unsent


def test_what_finds_no_room_waits_its_turn() -> None:
    # Datagrams of a Unix socket wait for the reader; those of UDP are dropped before that.
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        datagrams = Datagrams(ours)
        sent = [b"%d" % n * 100 for n in range(500)]
        for one in sent:
            datagrams.put(one, b"")
        datagrams.flush()
        assert datagrams.has_unsent
        got: list[bytes] = []
        while datagrams.has_unsent or len(got) < len(sent):
            got.append(theirs.recv(1000))
            datagrams.retry()
        assert got == sent
