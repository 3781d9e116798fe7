"""Upstream servers: who they are, and what becomes of their replies and silences."""

import asyncio
import random
import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import cast

import pytest

from podwire.dns.chain import Request, chained
from podwire.dns.message import Kind, Question, Rcode, Reply
from podwire.dns.plugins.forward import Forward, Upstream, parse_upstream, resolv_conf_upstreams
from podwire.dns.query import Query, screen
from podwire.dns.wire import question_packet
from podwire.dns.writer import write
from podwire.kube.clock import SystemClock

WWW = "www.example.com."


def request(name: str = WWW) -> Request:
    query = screen(question_packet(0x1234, Question(name, Kind.A)))
    assert isinstance(query, Query)
    return Request(query, ("10.244.1.5", 4000), "udp")


@pytest.mark.parametrize(
    ("text", "upstream"),
    [
        ("192.0.2.1", Upstream("192.0.2.1")),
        ("192.0.2.1:5353", Upstream("192.0.2.1", 5353)),
        ("2001:db8::1", Upstream("2001:db8::1")),
        ("[2001:db8::1]:5353", Upstream("2001:db8::1", 5353)),
        ("[2001:db8::1]", Upstream("2001:db8::1")),
    ],
)
def test_parse(text: str, upstream: Upstream) -> None:
    assert parse_upstream(text) == upstream


@pytest.mark.parametrize("text", ["", "dns.example", "192.0.2.1:", "192.0.2.1:99999", "/etc/hosts"])
def test_parse_refuses(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_upstream(text)


def test_resolv_conf() -> None:
    text = """
        # nameserver 192.0.2.9
        search example.com
        nameserver 192.0.2.1
        nameserver 2001:db8::1
        options ndots:5
    """
    assert resolv_conf_upstreams(text) == (Upstream("192.0.2.1"), Upstream("2001:db8::1"))


Answering = Callable[[bytes], list[bytes]]


class Script(asyncio.DatagramProtocol):
    """An upstream that sends what a function makes of each packet."""

    def __init__(self, answering: Answering) -> None:
        self.answering = answering
        self.transport: asyncio.DatagramTransport | None = None
        self.asked = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transport is no subclass of asyncio's.
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.asked += 1
        for reply in self.answering(data):
            assert self.transport is not None
            self.transport.sendto(reply, addr)


@asynccontextmanager
async def scripted(answering: Answering) -> AsyncGenerator[tuple[Upstream, Script], None]:
    loop = asyncio.get_running_loop()
    transport, script = await loop.create_datagram_endpoint(
        lambda: Script(answering), local_addr=("127.0.0.1", 0)
    )
    try:
        yield Upstream("127.0.0.1", transport.get_extra_info("sockname")[1]), script
    finally:
        transport.close()


def good(packet: bytes, name: str = "") -> bytes:
    query = screen(question_packet(0, Question(name, Kind.A)) if name else packet)
    assert isinstance(query, Query)
    message = write(query, Reply(recursion_available=True), 512, lambda cards: None).message
    return packet[:2] + message[2:]


def forward(*upstreams: Upstream, most_at_once: int = 1000) -> Forward:
    return Forward(upstreams, clock=SystemClock(), dice=random.Random(3), most_at_once=most_at_once)


async def ask(handler: Forward, asked: Request | None = None) -> Reply:
    return await chained([handler])(asked or request())


SCRIPTS: dict[str, tuple[Answering, Rcode]] = {
    "good": (lambda p: [good(p)], Rcode.NOERROR),
    "forged ID first": (lambda p: [b"\xff\xff" + good(p)[2:], p[:2], good(p)], Rcode.NOERROR),
    "another question": (lambda p: [good(p, "other.example.")], Rcode.FORMERR),
    "no question": (lambda p: [p[:2] + b"\x80" + bytes(9)], Rcode.FORMERR),
    "refused": (lambda p: [good(p)[:3] + b"\x05" + good(p)[4:]], Rcode.REFUSED),
    "cut": (lambda p: [p[:2] + b"\x80\x00\x00\x01" + bytes(6) + b"\x3f"], Rcode.SERVFAIL),
    "an echo": (lambda p: [p], Rcode.SERVFAIL),
}


@pytest.mark.parametrize("script", SCRIPTS)
async def test_replies(script: str) -> None:
    answering, rcode = SCRIPTS[script]
    async with scripted(answering) as (upstream, _):
        reply = await ask(forward(upstream))
    assert (reply.rcode, reply.by) == (rcode, "forward")


async def test_each_try_has_an_id_of_its_own() -> None:
    seen: set[bytes] = set()

    def answering(packet: bytes) -> list[bytes]:
        seen.add(packet[:2])
        return [good(packet)]

    async with scripted(answering) as (upstream, _):
        handler = forward(upstream)
        for _ in range(20):
            await ask(handler)
    assert len(seen) > 15


async def test_a_dead_upstream_makes_room_for_a_living_one() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        dead = Upstream("127.0.0.1", sock.getsockname()[1])
    async with scripted(lambda p: [good(p)]) as (living, script):
        handler = forward(dead, living)
        for _ in range(10):
            assert (await ask(handler)).rcode == Rcode.NOERROR
    assert script.asked == 10


async def test_what_the_kernel_says_is_in_the_error() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    reply = await ask(forward(Upstream("127.0.0.1", port)))
    assert (reply.rcode, reply.authoritative) == (Rcode.SERVFAIL, False)
    assert reply.error.startswith("read udp 127.0.0.1:")
    assert reply.error.endswith(f"->127.0.0.1:{port}: connection refused")


async def test_without_upstreams_it_fails_at_once() -> None:
    assert (await ask(forward())).rcode == Rcode.SERVFAIL


async def test_too_many_at_once_are_refused() -> None:
    waiting = asyncio.Event()

    def answering(packet: bytes) -> list[bytes]:
        waiting.set()
        return []

    async with scripted(answering) as (upstream, _), asyncio.TaskGroup() as tasks:
        handler = forward(upstream, most_at_once=1)
        first = tasks.create_task(ask(handler))
        await waiting.wait()
        assert (await ask(handler)).rcode == Rcode.REFUSED
        first.cancel()
