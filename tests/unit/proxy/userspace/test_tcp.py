"""The relay on real sockets: what goes in comes out, and ends as it ended."""

import asyncio
import errno
import hashlib
import random
import resource
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from ipaddress import IPv4Address

import pytest

from podwire.proxy.endpoints import Backend
from podwire.proxy.userspace.limits import raise_file_limit
from podwire.proxy.userspace.pipes import Pipes
from podwire.proxy.userspace.routes import Frontend
from podwire.proxy.userspace.sockets import hear_only
from tests.unit.proxy.conftest import World, echo, free_port, naming, new_address

MakeWorld = Callable[..., World]
MEBI = 1 << 20


async def test_bytes_go_both_ways(world: World) -> None:
    frontend = world.frontend(world.route(await world.backend(echo)))
    reader, writer = await world.connect(frontend)
    for size in (1, 1000, 65536, 65537, 300_000):
        message = random.Random(size).randbytes(size)
        writer.write(message)
        assert await reader.readexactly(size) == message


async def test_backend_may_speak_first(world: World) -> None:
    frontend = world.frontend(world.route(await world.backend(naming("hello"))))
    reader, _ = await world.connect(frontend)
    assert await reader.readexactly(5) == b"hello"


@pytest.mark.parametrize("size", [10, 5 * MEBI], ids=["small", "bulk"])
async def test_half_close_by_the_client(world: World, size: int) -> None:
    """The backend sees the end of the request and can still answer."""

    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got = await reader.read()
        writer.write(b"got %d" % len(got))

    frontend = world.frontend(world.route(await world.backend(count)))
    reader, writer = await world.connect(frontend)
    writer.write(b"x" * size)
    writer.write_eof()
    assert await reader.read() == b"got %d" % size
    await world.until(lambda: world.relay.open == 0)


async def test_half_close_by_the_backend(world: World) -> None:
    heard = asyncio.get_running_loop().create_future()

    async def farewell(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"that is all")
        writer.write_eof()
        heard.set_result(await reader.read())

    frontend = world.frontend(world.route(await world.backend(farewell)))
    reader, writer = await world.connect(frontend)
    assert await reader.read() == b"that is all"
    writer.write(b"but I go on")
    await writer.drain()
    writer.write_eof()
    assert await heard == b"but I go on"


@pytest.mark.parametrize("pipes", [16, 0], ids=["through pipes", "no pipe to be had"])
async def test_bulk_arrives_unchanged(make_world: MakeWorld, pipes: int) -> None:
    lent = Pipes(limit=pipes)
    world = make_world(pipes=lent)
    frontend = world.frontend(world.route(await world.backend(echo)))
    reader, writer = await world.connect(frontend)
    sent, received = hashlib.sha256(), hashlib.sha256()

    async def send() -> None:
        dice = random.Random(7)
        for _ in range(64):
            block = dice.randbytes(MEBI // 2)
            sent.update(block)
            writer.write(block)
            await writer.drain()
        writer.write_eof()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(send())
        while block := await reader.read(MEBI):
            received.update(block)
    assert sent.digest() == received.digest()
    assert bool(lent.made) is bool(pipes)
    assert world.relay.machinery.bytes_carried == 64 * MEBI


@pytest.mark.parametrize("pipes", [16, 1, 0])
async def test_a_stalled_reader_stops_the_sender(make_world: MakeWorld, pipes: int) -> None:
    """Three clients send 64 MiB each to backends that do not read: only kernel buffers fill."""
    size = 64 * MEBI
    may_read = asyncio.Event()

    async def later(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await may_read.wait()
        digest = hashlib.sha256()
        while data := await reader.read(MEBI):
            digest.update(data)
        writer.write(digest.digest())

    lent = Pipes(limit=pipes)
    world = make_world(pipes=lent)
    frontend = world.frontend(world.route(await world.backend(later)))
    block = random.Random(3).randbytes(MEBI)

    async def send() -> bytes:
        reader, writer = await world.connect(frontend)
        for _ in range(size // MEBI):
            writer.write(block)
            await writer.drain()
        writer.write_eof()
        return await reader.read()

    async with asyncio.TaskGroup() as tasks:
        senders = [tasks.create_task(send()) for _ in range(3)]
        carried = await settled(lambda: world.relay.machinery.bytes_carried)
        # Socket buffers of the kernel (tcp_wmem + tcp_rmem, 10 MiB at most) and one pipe each.
        assert MEBI // 4 < carried < 3 * 12 * MEBI
        assert not any(sender.done() for sender in senders)
        assert lent.made <= pipes
        may_read.set()
    expected = hashlib.sha256(block * (size // MEBI)).digest()
    assert [sender.result() for sender in senders] == [expected] * 3


async def settled(number: Callable[[], int]) -> int:
    """Wait until *number* is above zero and has not changed for a while; return it."""
    last, same = 0, 0
    async with asyncio.timeout(20):
        while same < 20:
            await asyncio.sleep(0.01)
            now = number()
            same = same + 1 if now == last and now else 0
            last = now
    return last


async def test_another_endpoint_is_tried_when_one_refuses(make_world: MakeWorld) -> None:
    world = make_world(chance=lambda: 0.0)
    dead, alive = nobody(world), await world.backend(echo)
    frontend = world.frontend(world.route(dead, alive))
    reader, writer = await world.connect(frontend)
    writer.write(b"not lost")
    assert await reader.readexactly(8) == b"not lost"
    assert world.relay.counts.failed_attempts == 1


@pytest.mark.usefixtures("filtering")
async def test_another_endpoint_is_tried_when_one_is_silent(make_world: MakeWorld) -> None:
    world = make_world(chance=lambda: 0.0, patience=(0.02, 1.0))
    frontend = world.frontend(world.route(silent(world), await world.backend(echo)))
    reader, writer = await world.connect(frontend)
    writer.write(b"not lost")
    assert await reader.readexactly(8) == b"not lost"


async def test_of_many_endpoints_the_one_that_answers_is_found(make_world: MakeWorld) -> None:
    """A refusal comes at once, so it takes nobody's patience: most of a Service may be dead."""
    world = make_world(chance=lambda: 0.0)
    frontend = world.frontend(
        world.route(*[nobody(world) for _ in range(10)], await world.backend(naming("alive")))
    )
    assert await (await world.connect(frontend))[0].readexactly(5) == b"alive"
    assert world.relay.counts.failed_attempts == 10


async def test_of_thousands_that_refuse_a_client_hears_soon(world: World) -> None:
    port = free_port("TCP")
    dead = [Backend(IPv4Address(0x7F080000 + n), port) for n in range(1, 10_001)]
    frontend = world.frontend(world.route(*dead))
    with pytest.raises(ConnectionResetError):
        await everything_from(world, frontend)
    assert world.relay.counts.failed_attempts == 64


async def test_an_endpoint_that_is_the_relay_itself_refuses(make_world: MakeWorld) -> None:
    """Endpoints may be written by hand: a Service that leads to itself must not run for ever."""
    world = make_world(chance=lambda: 0.0)
    frontend = world.frontend(world.route(nobody(world)))
    itself = Backend(frontend.address, frontend.port)
    world.change(frontend, world.route(itself))
    with pytest.raises(ConnectionResetError):
        await everything_from(world, frontend)
    world.change(frontend, world.route(itself, await world.backend(naming("other"))))
    assert await (await world.connect(frontend))[0].readexactly(5) == b"other"
    assert world.relay.counts.connections == 2


@pytest.mark.parametrize(("time_to_live", "relays"), [(64, 8), (255, 8), (30, 4), (8, 1)])
async def test_a_connection_between_two_relays_does_not_go_round_for_ever(
    make_world: MakeWorld, time_to_live: int, relays: int
) -> None:
    """As on two nodes with an endpoint, written by hand, that is the other's NodePort."""
    one, two = make_world(limit=50), make_world(limit=50)
    there = Frontend(IPv4Address(new_address()), free_port("TCP"), "TCP")
    here = one.frontend(one.route(Backend(there.address, there.port)))
    assert two.change(there, two.route(Backend(here.address, here.port))) == {}
    loop, client = asyncio.get_running_loop(), one.socket()
    client.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, time_to_live)

    async def ask() -> bytes:
        await loop.sock_connect(client, (str(here.address), here.port))
        return await loop.sock_recv(client, 1)

    with pytest.raises(ConnectionResetError):
        await ask()
    assert one.relay.counts.connections + two.relay.counts.connections == relays
    await one.until(lambda: one.relay.open + two.relay.open == 0)


async def test_a_connection_passes_some_relays(make_world: MakeWorld) -> None:
    world = make_world()
    frontend = world.frontend(world.route(await world.backend(naming("last"))))
    for _ in range(4):
        world = make_world()
        frontend = world.frontend(world.route(Backend(frontend.address, frontend.port)))
    assert await (await world.connect(frontend))[0].readexactly(4) == b"last"


async def test_the_client_is_reset_when_no_endpoint_answers(world: World) -> None:
    frontend = world.frontend(world.route(nobody(world), nobody(world)))
    with pytest.raises(ConnectionResetError):
        await everything_from(world, frontend)
    assert world.relay.counts.failed_attempts == 2
    assert world.relay.counts.failed_connections == 1


@pytest.mark.usefixtures("filtering")
async def test_a_silent_endpoint_is_asked_again_until_patience_ends(make_world: MakeWorld) -> None:
    world = make_world(patience=(0.01, 0.01, 0.01))
    frontend = world.frontend(world.route(silent(world)))
    with pytest.raises(ConnectionResetError):
        await everything_from(world, frontend)
    assert world.relay.counts.failed_attempts == 3


async def test_a_reset_by_the_client_reaches_the_backend(world: World) -> None:
    ended = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        try:
            await reader.read()
            ended.set_result("end")
        except ConnectionResetError:
            ended.set_result("reset")

    frontend = world.frontend(world.route(await world.backend(serve)))
    _, writer = await world.connect(frontend)
    writer.write(b"x")
    await world.until(lambda: world.relay.machinery.bytes_carried == 1)
    set_reset_on_close(writer)
    writer.transport.abort()
    assert await ended == "reset"


async def test_a_reset_by_the_backend_reaches_the_client(world: World) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        set_reset_on_close(writer)
        writer.transport.abort()

    frontend = world.frontend(world.route(await world.backend(serve)))
    reader, writer = await world.connect(frontend)
    writer.write(b"x")
    with pytest.raises(ConnectionResetError):
        await reader.read()
    assert world.relay.open == 0


async def test_a_client_that_vanishes_after_its_half_close_is_taken_from_a_silent_backend(
    world: World,
) -> None:
    asked = asyncio.Event()

    async def think(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        asked.set()
        await world.until(lambda: over(writer))

    frontend = world.frontend(world.route(await world.backend(think)))
    _, writer = await world.connect(frontend)
    writer.write_eof()
    await asked.wait()
    set_reset_on_close(writer)
    writer.transport.abort()
    await world.until(lambda: world.relay.open == 0)


async def test_a_backend_that_vanishes_after_its_half_close_is_taken_from_a_silent_client(
    world: World,
) -> None:
    heard = asyncio.Event()

    async def farewell(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write_eof()
        await heard.wait()
        set_reset_on_close(writer)
        writer.transport.abort()

    frontend = world.frontend(world.route(await world.backend(farewell)))
    reader, writer = await world.connect(frontend)
    assert await reader.read() == b""
    assert world.relay.open == 1
    heard.set()
    await world.until(lambda: over(writer))
    assert world.relay.open == 0


async def test_an_answer_arrives_though_the_backend_closed_on_a_talking_client(
    world: World,
) -> None:
    """As HTTP servers do with a body that is too large: answer, close, and reset what still comes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"413 too large")

    frontend = world.frontend(world.route(await world.backend(serve)))
    loop, client = asyncio.get_running_loop(), world.socket()
    await loop.sock_connect(client, (str(frontend.address), frontend.port))
    with suppress(ConnectionError):
        for _ in range(100):
            await loop.sock_sendall(client, b"x" * 10_000)
    await world.until(lambda: world.relay.open == 0)
    assert await loop.sock_recv(client, 100) == b"413 too large"


async def test_a_thousand_connections_at_once(world: World) -> None:
    raise_file_limit()
    frontend = world.frontend(world.route(await world.backend(echo), await world.backend(echo)))
    clients = [await world.connect(frontend) for _ in range(1000)]
    await world.until(lambda: world.relay.open == 1000)
    for number, (_, writer) in enumerate(clients):
        writer.write(b"%04d" % number)
    for number, (reader, _) in enumerate(clients):
        assert await reader.readexactly(4) == b"%04d" % number
    for _, writer in clients:
        writer.close()
    await world.until(lambda: world.relay.open == 0)


async def test_beyond_the_limit_clients_wait_to_be_accepted(
    make_world: MakeWorld, caplog: pytest.LogCaptureFixture
) -> None:
    world = make_world(limit=2)
    frontend = world.frontend(world.route(await world.backend(echo)))
    first, _ = await world.connect(frontend), await world.connect(frontend)
    reader, writer = await world.connect(frontend)  # the kernel completes the handshake
    writer.write(b"patient")
    await world.until(lambda: world.relay.counts.times_full > 0)
    assert world.relay.open == 2
    first[1].close()
    assert await reader.readexactly(7) == b"patient"
    await world.connect(frontend)
    await world.until(lambda: world.relay.counts.times_full > 1)
    assert caplog.text.count("clients wait to be accepted until others end: 2 connections") == 1


async def test_without_files_clients_wait_to_be_accepted(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    frontend = world.frontend(world.route(await world.backend(echo)))
    client = world.socket()
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (client.fileno() + 1, before[1]))
    try:
        fillers = fill_files()
        await asyncio.get_running_loop().sock_connect(
            client, (str(frontend.address), frontend.port)
        )
        await world.until(lambda: "clients wait to be accepted" in caplog.text)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    for filler in fillers:
        filler.close()
    await asyncio.get_running_loop().sock_sendall(client, b"patient")
    assert await asyncio.get_running_loop().sock_recv(client, 7) == b"patient"


def fill_files() -> list[socket.socket]:
    """Use every file number that is left."""
    fillers: list[socket.socket] = []
    while True:
        try:
            fillers.append(socket.socket())
        except OSError as error:
            if error.errno != errno.EMFILE:
                raise
            return fillers


async def test_open_connections_outlive_their_endpoint(world: World) -> None:
    old, new = await world.backend(naming("old")), await world.backend(naming("new"))
    frontend = world.frontend(world.route(old))
    reader, writer = await world.connect(frontend)
    assert await reader.readexactly(3) == b"old"
    world.change(frontend, world.route(new))
    fresh, _ = await world.connect(frontend)
    assert await fresh.readexactly(3) == b"new"
    world.change(frontend, None)
    writer.write(b"still here")
    assert await reader.readexactly(10) == b"still here"


async def everything_from(world: World, frontend: Frontend) -> bytes:
    """Connect and read to the end; a reset may come with the handshake or right after it."""
    reader, _ = await world.connect(frontend)
    return await reader.read()


def nobody(world: World) -> Backend:
    """Return the address of a socket that is bound and does not listen: it refuses."""
    return backend_of(world.socket())


def silent(world: World) -> Backend:
    """Return the address of a socket that listens and hears nobody."""
    sock = world.socket()
    sock.listen()
    hear_only(sock, ())
    return backend_of(sock)


def backend_of(sock: socket.socket) -> Backend:
    address, port = sock.getsockname()
    return Backend(IPv4Address(address), port)


def over(writer: asyncio.StreamWriter) -> bool:
    """Whether the kernel knows that the connection is no more, whoever asks it or not."""
    sock: socket.socket = writer.get_extra_info("socket")
    closed = 7  # TCP_CLOSE (include/net/tcp_states.h)
    return sock.fileno() < 0 or sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == closed


def set_reset_on_close(writer: asyncio.StreamWriter) -> None:
    sock: socket.socket = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
