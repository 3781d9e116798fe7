"""Upstreams that do as they are told, and a forward plugin that asks them."""

import asyncio
import random
import socket
import struct
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, cast

from podwire.dns.chain import Plugin, Request, chained
from podwire.dns.messages.message import Kind, Question, Rcode, Reply, Transport
from podwire.dns.messages.query import Query, screen
from podwire.dns.messages.wire import question_packet
from podwire.dns.messages.writer import write
from podwire.dns.parts.forward_options import ForwardOptions
from podwire.dns.parts.upstream import Upstream
from podwire.dns.plugins.forward import Forward
from podwire.dns.serving.metrics import Metrics
from podwire.kube.clock import SystemClock

WWW = "www.example.com."
PATIENCE = 10.0


def request(name: str = WWW, transport: Transport = "udp") -> Request:
    query = screen(question_packet(0x1234, Question(name, Kind.A)))
    assert isinstance(query, Query)
    return Request(query, ("10.244.1.5", 4000), transport)


Answering = Callable[[bytes], list[bytes]]


class Script(asyncio.DatagramProtocol):
    """An upstream that sends what a function makes of each packet."""

    def __init__(self, answering: Answering) -> None:
        self.answering = answering
        self.transport: asyncio.DatagramTransport | None = None
        self.asked: list[bytes] = []
        self.clients: list[str] = []
        self.over_tcp: list[bytes] = []
        self.connections = 0
        self.hangs_up = False
        self.talks: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transport is no subclass of asyncio's.
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.asked.append(data)
        self.clients.append(addr[0])
        for reply in self.answering(data):
            assert self.transport is not None
            self.transport.sendto(reply, addr)

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self.talks[task] = writer
        try:
            while True:
                (size,) = struct.unpack("!H", await reader.readexactly(2))
                packet = await reader.readexactly(size)
                self.over_tcp.append(packet)
                for reply in self.answering(packet):
                    writer.write(struct.pack("!H", len(reply)) + reply)
                if self.hangs_up:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def scripted(answering: Answering) -> AsyncGenerator[tuple[Upstream, Script]]:
    loop = asyncio.get_running_loop()
    script = Script(answering)
    server = await asyncio.start_server(script.connected, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    transport, _ = await loop.create_datagram_endpoint(
        lambda: script, local_addr=("127.0.0.1", port)
    )
    try:
        yield Upstream("127.0.0.1", port), script
    finally:
        transport.close()
        server.close()
        for writer in script.talks.values():
            writer.close()
        await asyncio.gather(*script.talks)


@asynccontextmanager
async def several(*answering: Answering) -> AsyncGenerator[tuple[list[Upstream], list[Script]]]:
    async with AsyncExitStack() as stack:
        made = [await stack.enter_async_context(scripted(one)) for one in answering]
        yield [upstream for upstream, _ in made], [script for _, script in made]


def dead_upstream() -> Upstream:
    """Return a place where nobody listens."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return Upstream("127.0.0.1", sock.getsockname()[1])


def good(packet: bytes, name: str = "") -> bytes:
    query = screen(question_packet(0, Question(name, Kind.A)) if name else packet)
    assert isinstance(query, Query)
    message = write(query, Reply(recursion_available=True), 512, lambda cards: None).message
    return packet[:2] + message[2:]


def forged_first(packet: bytes) -> list[bytes]:
    return [b"\xff\xff" + good(packet)[2:], good(packet)]


def saying(rcode: Rcode) -> Answering:
    return lambda p: [good(p)[:3] + bytes([0x80 | rcode]) + good(p)[4:]]


def fine(packet: bytes) -> list[bytes]:
    return [good(packet)]


def silent(packet: bytes) -> list[bytes]:
    del packet
    return []


def cut(packet: bytes) -> list[bytes]:
    reply = good(packet)
    return [reply[:2] + bytes([reply[2] | 0x02]) + reply[3:]]


def forward(*upstreams: Upstream, metrics: Metrics | None = None, **options: Any) -> Forward:
    return Forward(
        ForwardOptions(upstreams=upstreams, **options),
        clock=SystemClock(),
        dice=random.Random(3),
        metrics=metrics,
    )


async def ask(*plugins: Plugin, asked: Request | None = None) -> Reply:
    async with asyncio.timeout(PATIENCE):
        return await chained(plugins)(asked or request())
