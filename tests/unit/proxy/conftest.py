"""Real sockets on 127.0.0.0/8: backends that do as told, and frontends in front of them."""

import asyncio
import itertools
import random
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from ipaddress import IPv4Address, IPv4Network

import pytest
import uvloop

from podwire.proxy.endpoints import Backend
from podwire.proxy.table import PortName, Protocol, Target
from podwire.proxy.userspace.changes import between
from podwire.proxy.userspace.limits import raise_file_limit
from podwire.proxy.userspace.listeners import Listeners
from podwire.proxy.userspace.origins import Origins
from podwire.proxy.userspace.picking import Picker
from podwire.proxy.userspace.pipes import Pipes
from podwire.proxy.userspace.routes import Frontend, Route
from podwire.proxy.userspace.sockets import hear_only
from podwire.proxy.userspace.tcp import PATIENCE, Relay
from tests.needs import lack

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

_addresses = itertools.count(1)


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run on the loop that the product runs on."""
    return {"uvloop": uvloop.new_event_loop}


class World:
    """A relay with its listeners, and the backends behind them."""

    def __init__(
        self,
        *,
        limit: int = 5000,
        pipes: Pipes | None = None,
        patience: tuple[float, ...] = PATIENCE,
        inside: tuple[IPv4Network, ...] = (),
        chance: Callable[[], float] = random.random,
        picker: Picker | None = None,
    ) -> None:
        raise_file_limit()
        loop = asyncio.get_running_loop()
        self.relay = Relay(loop, limit=limit, pipes=pipes, patience=patience)
        self.listeners = Listeners(
            self.relay, chance=chance, origins=Origins(processes=inside), picker=picker
        )
        self.table: dict[Frontend, Route] = {}
        self.stack = AsyncExitStack()

    async def backend(self, serve: Serve) -> Backend:
        """Start a TCP backend that does *serve* for each connection."""

        async def guarded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with suppress(ConnectionError):
                await serve(reader, writer)
            writer.close()

        server = await asyncio.start_server(guarded, new_address(), 0, backlog=2000)
        self.stack.callback(server.close)
        address, port = server.sockets[0].getsockname()
        return Backend(IPv4Address(address), port)

    def socket(self, kind: int = socket.SOCK_STREAM, address: str = "") -> socket.socket:
        """Return a bound non-blocking socket that is closed with the world."""
        sock = socket.socket(socket.AF_INET, kind | socket.SOCK_NONBLOCK)
        sock.bind((address or new_address(), 0))
        self.stack.callback(sock.close)
        return sock

    def route(self, *backends: Backend, **more: object) -> Route:
        target = Target("FORWARD" if backends else "REJECT", backends)
        wish: dict[str, object] = {"kind": "ClusterIP", "inside": target, "outside": target}
        wish |= {"name": PortName("default", "web"), "lasting": frozenset(backends)} | more
        return Route(**wish)  # type: ignore[arg-type]

    def frontend(self, route: Route, protocol: Protocol = "TCP") -> Frontend:
        """Listen for *route* on an address of its own."""
        frontend = Frontend(IPv4Address(new_address()), free_port(protocol), protocol)
        assert self.change(frontend, route) == {}
        return frontend

    def change(self, frontend: Frontend, route: Route | None) -> dict[Frontend, str]:
        """Have *frontend* lead where *route* says."""
        old = {f: r for f, r in self.table.items() if f == frontend}
        new = {frontend: route} if route else {}
        self.table = {f: r for f, r in self.table.items() if f != frontend} | new
        return self.listeners.apply(between(old, new))

    async def connect(
        self, frontend: Frontend, source: str = "127.0.0.1"
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect a client that is closed with the world."""
        reader, writer = await asyncio.open_connection(
            str(frontend.address), frontend.port, local_addr=(source, 0)
        )
        self.stack.callback(writer.close)
        return reader, writer

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for *condition*; ten seconds mean that it will not come true."""
        async with asyncio.timeout(10):
            while not condition():  # noqa: ASYNC110 - the kernel sets no Event
                await asyncio.sleep(0.002)


@pytest.fixture
def filtering() -> None:
    """Go on only if a socket may have a filter, which some kernels leave to root."""
    with socket.socket() as sock:
        try:
            hear_only(sock, ())
        except PermissionError:
            lack("this kernel lets only root filter what a socket hears")


@pytest.fixture
async def make_world() -> AsyncIterator[Callable[..., World]]:
    """Return what makes worlds; they end with the test."""
    async with AsyncExitStack() as stack:

        def make(**settings: object) -> World:
            world = World(**settings)  # type: ignore[arg-type]
            stack.push_async_callback(end, world)
            return world

        yield make


@pytest.fixture
async def world(make_world: Callable[..., World]) -> World:
    """Return a world with the settings of the product."""
    return make_world()


async def end(world: World) -> None:
    world.listeners.close()
    world.relay.close()
    assert world.relay.open == 0
    await world.stack.aclose()
    # Transports close their sockets in the next turns of the loop.
    for _ in range(5):
        await asyncio.sleep(0)


def new_address() -> str:
    number = next(_addresses)
    return f"127.7.{number // 250}.{number % 250 + 1}"


def free_port(protocol: Protocol) -> int:
    kind = socket.SOCK_STREAM if protocol == "TCP" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()


def naming(name: str) -> Serve:
    """Return a backend that says *name* and then echoes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(name.encode())
        await echo(reader, writer)

    return serve
