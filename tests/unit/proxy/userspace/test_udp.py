"""UDP flows on real sockets."""

import asyncio
import socket
from collections.abc import Callable
from ipaddress import IPv4Address

import pytest

from podwire.proxy.endpoints import Backend
from podwire.proxy.userspace.routes import Frontend
from podwire.proxy.userspace.udp import UdpServer
from tests.unit.proxy.conftest import World, free_port, new_address
from tests.unit.proxy.userspace.test_tcp import backend_of

MakeWorld = Callable[..., World]


def answering(world: World, name: str) -> Backend:
    """Start a UDP backend that answers each datagram with its name and the datagram."""
    sock = world.socket(socket.SOCK_DGRAM)
    loop = asyncio.get_running_loop()

    def answer() -> None:
        data, client = sock.recvfrom(1 << 16)
        sock.sendto(name.encode() + b" " + data, client)

    loop.add_reader(sock, answer)
    world.stack.callback(loop.remove_reader, sock)
    return backend_of(sock)


def client(world: World, frontend: Frontend) -> socket.socket:
    """Return a connected socket: it hears nobody but the frontend's own address and port."""
    sock = world.socket(socket.SOCK_DGRAM, "127.0.0.1")
    sock.connect((str(frontend.address), frontend.port))
    return sock


async def ask(sock: socket.socket, text: str) -> str:
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(10):
        sock.send(text.encode())
        return (await loop.sock_recv(sock, 1 << 16)).decode()


async def asked(sock: socket.socket) -> tuple[bytes, tuple[str, int]]:
    """Return the next datagram and who sent it."""
    loop, came = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(sock, came.set)
    async with asyncio.timeout(10):
        await came.wait()
    loop.remove_reader(sock)
    return sock.recvfrom(1 << 16)


async def test_answers_come_from_the_frontends_address(world: World) -> None:
    frontend = world.frontend(world.route(answering(world, "a")), "UDP")
    assert await ask(client(world, frontend), "who") == "a who"


async def test_large_and_empty_datagrams(world: World) -> None:
    frontend = world.frontend(world.route(answering(world, "a")), "UDP")
    sock = client(world, frontend)
    assert await ask(sock, "x" * 60_000) == "a " + "x" * 60_000
    assert await ask(sock, "") == "a "


async def test_a_client_stays_on_its_endpoint_and_clients_spread(world: World) -> None:
    frontend = world.frontend(world.route(*[answering(world, n) for n in "abc"]), "UDP")
    clients = [client(world, frontend) for _ in range(30)]
    first = [await ask(sock, "1") for sock in clients]
    assert {answer[0] for answer in first} == {"a", "b", "c"}
    assert [(await ask(sock, "2"))[0] for sock in clients] == [answer[0] for answer in first]
    assert world.listeners.flows == 30


async def test_an_endpoint_that_is_the_relay_itself_is_passed_over(world: World) -> None:
    """A datagram that is led to itself would go round for ever."""
    frontend = world.frontend(world.route(answering(world, "a")), "UDP")
    itself = Backend(frontend.address, frontend.port)
    world.change(frontend, world.route(itself))
    client(world, frontend).send(b"round and round")
    world.change(frontend, world.route(itself, answering(world, "b")))
    assert {await ask(client(world, frontend), "1") for _ in range(8)} == {"b 1"}


async def test_a_flow_moves_when_its_endpoint_goes(world: World) -> None:
    a, b = answering(world, "a"), answering(world, "b")
    frontend = world.frontend(world.route(a), "UDP")
    sock = client(world, frontend)
    assert await ask(sock, "1") == "a 1"
    world.change(frontend, world.route(b))
    assert await ask(sock, "2") == "b 2"


async def test_what_an_endpoint_owes_is_passed_on_after_it_has_gone(world: World) -> None:
    slow = world.socket(socket.SOCK_DGRAM)
    frontend = world.frontend(world.route(backend_of(slow)), "UDP")
    sock = client(world, frontend)
    loop = asyncio.get_running_loop()
    sock.send(b"1")
    question, asker = await asked(slow)
    world.change(frontend, world.route(answering(world, "b")))
    assert world.listeners.flows == 0
    # The next question is another flow's, and each gets its answer.
    assert await ask(sock, "2") == "b 2"
    assert world.listeners.flows == 1
    slow.sendto(b"a " + question, asker)
    async with asyncio.timeout(10):
        assert await loop.sock_recv(sock, 1 << 16) == b"a 1"
    assert await ask(sock, "3") == "b 3"


async def test_what_is_owed_ends_with_the_frontend(world: World) -> None:
    slow = world.socket(socket.SOCK_DGRAM)
    frontend = world.frontend(world.route(backend_of(slow)), "UDP")
    client(world, frontend).send(b"1")
    _, asker = await asked(slow)
    world.change(frontend, world.route(answering(world, "b")))
    world.change(frontend, None)
    # Nobody listens at the flow's socket any more.
    slow.connect(asker)
    slow.send(b"late")
    with pytest.raises(ConnectionRefusedError):
        slow.send(b"later")


async def test_a_flow_stays_while_its_endpoint_still_serves(world: World) -> None:
    a, b = answering(world, "a"), answering(world, "b")
    frontend = world.frontend(world.route(a), "UDP")
    sock = client(world, frontend)
    assert await ask(sock, "1") == "a 1"
    world.change(frontend, world.route(b, lasting=frozenset((a, b))))
    assert await ask(sock, "2") == "a 2"
    assert await ask(client(world, frontend), "3") == "b 3"


async def test_a_flow_moves_when_nobody_listens_at_its_endpoint(make_world: MakeWorld) -> None:
    world = make_world(chance=iter([0.0, 0.9]).__next__)
    closed = world.socket(socket.SOCK_DGRAM)
    dead = backend_of(closed)
    closed.close()
    frontend = world.frontend(world.route(dead, answering(world, "b")), "UDP")
    sock = client(world, frontend)
    sock.send(b"lost")
    await world.until(lambda: world.listeners.flows == 0)  # the port-unreachable has come back
    assert await ask(sock, "2") == "b 2"


async def test_without_endpoints_the_kernel_refuses(world: World) -> None:
    frontend = world.frontend(world.route(answering(world, "a")), "UDP")
    world.change(frontend, world.route())
    sock = client(world, frontend)
    sock.send(b"anyone?")
    with pytest.raises(ConnectionRefusedError):
        sock.send(b"anyone?")


async def test_closing_a_frontend_ends_its_flows(world: World) -> None:
    frontend = world.frontend(world.route(answering(world, "a")), "UDP")
    await ask(client(world, frontend), "1")
    world.change(frontend, None)
    assert world.listeners.flows == 0


@pytest.fixture
async def server(world: World) -> UdpServer:
    backend = answering(world, "a")
    server = UdpServer(
        world.socket(socket.SOCK_DGRAM),
        lambda _, tried: None if tried else backend,
        asyncio.get_running_loop(),
        idle=0.02,
        most=3,
    )
    world.stack.callback(server.close)
    return server


def client_of(world: World, server: UdpServer) -> socket.socket:
    sock = world.socket(socket.SOCK_DGRAM, "127.0.0.1")
    sock.connect(server.address)
    return sock


async def test_idle_flows_end(world: World, server: UdpServer) -> None:
    sock = client_of(world, server)
    assert await ask(sock, "1") == "a 1"
    assert server.open == 1
    await world.until(lambda: server.open == 0)
    assert await ask(sock, "2") == "a 2"


async def test_one_flow_too_many_ends_the_one_idle_longest(world: World, server: UdpServer) -> None:
    for _ in range(10):
        await ask(client_of(world, server), "1")
        assert server.open <= 3


def between_two(one: World, two: World) -> Frontend:
    """Have two relays lead to each other; return where a client asks the first."""
    there = Frontend(IPv4Address(new_address()), free_port("UDP"), "UDP")
    here = one.frontend(one.route(Backend(there.address, there.port)), "UDP")
    assert two.change(there, two.route(Backend(here.address, here.port))) == {}
    return here


async def test_a_datagram_between_two_relays_does_not_go_round_for_ever(
    make_world: MakeWorld,
) -> None:
    one, two = make_world(), make_world()
    sock = client(one, between_two(one, two))
    for _ in range(3):
        sock.send(b"round and round")
    await one.until(lambda: one.listeners.flows + two.listeners.flows == 7)
    # What another client asks comes after all of that.
    other = client(one, one.frontend(one.route(answering(one, "a")), "UDP"))
    assert await ask(other, "who") == "a who"
    assert one.listeners.flows + two.listeners.flows == 8


async def test_a_datagram_passes_some_relays(make_world: MakeWorld) -> None:
    world = make_world()
    frontend = world.frontend(world.route(answering(world, "a")), "UDP")
    for _ in range(4):
        world = make_world()
        there = Backend(frontend.address, frontend.port)
        frontend = world.frontend(world.route(there), "UDP")
    assert await ask(client(world, frontend), "who") == "a who"
