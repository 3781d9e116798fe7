"""Upstream servers: who they are, who is asked, and what becomes of their replies and silences."""

import asyncio
import random
import socket
import struct
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, cast

import pytest

from podwire.dns.chain import Link, Plugin, Request, chained
from podwire.dns.messages.message import Kind, Question, Rcode, Reply, Transport
from podwire.dns.messages.query import Query, screen
from podwire.dns.messages.wire import question_packet
from podwire.dns.messages.writer import write
from podwire.dns.parts import peer
from podwire.dns.parts.forward_options import ForwardOptions, HealthCheck
from podwire.dns.parts.upstream import (
    Connecting,
    Upstream,
    parse_upstream,
    resolv_conf_upstreams,
)
from podwire.dns.plugins.forward import Forward
from podwire.dns.serving.metrics import Metrics
from podwire.kube.clock import SystemClock
from podwire.testing.clock import FakeClock

WWW = "www.example.com."
PATIENCE = 10.0


def request(name: str = WWW, transport: Transport = "udp") -> Request:
    query = screen(question_packet(0x1234, Question(name, Kind.A)))
    assert isinstance(query, Query)
    return Request(query, ("10.244.1.5", 4000), transport)


@pytest.mark.parametrize(
    ("text", "upstream", "shown"),
    [
        ("192.0.2.1", Upstream("192.0.2.1"), "192.0.2.1:53"),
        ("192.0.2.1:5353", Upstream("192.0.2.1", 5353), "192.0.2.1:5353"),
        ("2001:db8::1", Upstream("2001:db8::1"), "[2001:db8::1]:53"),
        ("[2001:db8::1]:5353", Upstream("2001:db8::1", 5353), "[2001:db8::1]:5353"),
        ("[2001:db8::1]", Upstream("2001:db8::1"), "[2001:db8::1]:53"),
        ("fe80::1%eth0", Upstream("fe80::1%eth0"), "[fe80::1%eth0]:53"),
        ("2001:db8::1%eth0", Upstream("2001:db8::1"), "[2001:db8::1]:53"),
    ],
)
def test_upstreams(text: str, upstream: Upstream, shown: str) -> None:
    assert parse_upstream(text) == upstream
    assert str(upstream) == shown


@pytest.mark.parametrize(
    "text",
    [
        "",
        "dns.example",
        "192.0.2.1:",
        "192.0.2.1:0",
        "192.0.2.1:99999",
        "192.0.2.1:²",
        "/etc/hosts",
    ],
)
def test_what_is_no_upstream(text: str) -> None:
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


# Upstreams that do as they are told

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


# One upstream

SCRIPTS: dict[str, tuple[Answering, Rcode]] = {
    "good": (fine, Rcode.NOERROR),
    "forged ID first": (lambda p: [b"\xff\xff" + good(p)[2:], p[:2], good(p)], Rcode.NOERROR),
    "another question": (lambda p: [good(p, "other.example.")], Rcode.FORMERR),
    "no question": (lambda p: [p[:2] + b"\x80" + bytes(9)], Rcode.FORMERR),
    "refused": (saying(Rcode.REFUSED), Rcode.REFUSED),
    "no such name": (saying(Rcode.NXDOMAIN), Rcode.NXDOMAIN),
    "cut": (lambda p: [p[:2] + b"\x80\x00\x00\x01" + bytes(6) + b"\x3f"], Rcode.SERVFAIL),
    "an echo": (lambda p: [p], Rcode.SERVFAIL),
}


@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize("script", SCRIPTS)
async def test_replies(script: str, transport: Transport) -> None:
    answering, rcode = SCRIPTS[script]
    if script == "forged ID first" and transport == "tcp":
        answering = forged_first
    async with scripted(answering) as (upstream, seen):
        reply = await ask(forward(upstream), asked=request(transport=transport))
    assert (reply.rcode, reply.by) == (rcode, "forward")
    assert bool(seen.over_tcp) is (transport == "tcp")
    assert bool(seen.asked) is (transport == "udp")


async def test_each_try_has_an_id_and_a_port_of_its_own() -> None:
    async with scripted(fine) as (upstream, script):
        handler = forward(upstream)
        for _ in range(20):
            await ask(handler)
    assert len({packet[:2] for packet in script.asked}) > 15


@pytest.mark.parametrize(
    ("options", "transport", "asked", "tc"),
    [
        ({}, "udp", ["udp"], True),
        ({}, "tcp", ["tcp"], True),
        ({"force_tcp": True}, "udp", ["tcp"], True),
        ({"prefer_udp": True}, "udp", ["udp", "tcp"], True),
        ({"prefer_udp": True}, "tcp", ["udp", "tcp"], True),
        ({"force_tcp": True, "prefer_udp": True}, "udp", ["tcp"], True),
    ],
)
async def test_transport_and_truncation(
    options: dict[str, Any], transport: Transport, asked: list[str], *, tc: bool
) -> None:
    async with scripted(cut) as (upstream, script):
        reply = await ask(forward(upstream, **options), asked=request(transport=transport))
    assert ["udp"] * len(script.asked) + ["tcp"] * len(script.over_tcp) == asked
    assert reply.truncated is tc


@pytest.mark.parametrize(
    ("connecting", "between", "at_once", "connections"),
    [
        (Connecting(), 0, 1, 1),
        (Connecting(), 10, 1, 1),
        (Connecting(), 10.5, 1, 3),
        (Connecting(expire=20.0), 15, 1, 1),
        (Connecting(max_age=15.0), 10, 1, 2),
        (Connecting(), 0, 2, 2),
        (Connecting(most_idle=1), 0, 2, 4),
    ],
)
async def test_connections_are_used_again(
    connecting: Connecting, between: float, at_once: int, connections: int
) -> None:
    metrics, clock = Metrics(), FakeClock()
    async with scripted(fine) as (upstream, script):
        options = ForwardOptions(upstreams=(upstream,), force_tcp=True, connecting=connecting)
        handler = Forward(options, clock=clock, dice=random.Random(1), metrics=metrics)
        async with handler.run():
            for _ in range(3):
                replies = await asyncio.gather(*(ask(handler) for _ in range(at_once)))
                assert {reply.rcode for reply in replies} == {Rcode.NOERROR}
                clock.advance(between)
    assert script.connections == connections
    for way, count in {"misses": connections, "hits": 3 * at_once - connections}.items():
        where = f'{{proto="tcp",proxy_name="forward",to="{upstream}"}}'
        line = f"coredns_proxy_conn_cache_{way}_total{where} {count}\n"
        assert (line in metrics.text()) is bool(count)


async def test_a_connection_that_was_closed_meanwhile_is_no_failure() -> None:
    async with scripted(fine) as (upstream, script):
        script.hangs_up = True
        handler = forward(upstream, force_tcp=True)
        async with handler.run():
            for _ in range(3):
                assert (await ask(handler)).rcode == Rcode.NOERROR
    assert script.connections == 3


async def test_the_source_address() -> None:
    async with scripted(fine) as (upstream, script):
        await ask(forward(upstream, connecting=Connecting(source="127.0.0.9")))
    assert script.clients == ["127.0.0.9"]


async def test_what_the_kernel_says_is_in_the_error() -> None:
    upstream = dead_upstream()
    reply = await ask(forward(upstream))
    assert (reply.rcode, reply.authoritative) == (Rcode.SERVFAIL, False)
    assert reply.error.startswith("read udp 127.0.0.1:")
    assert reply.error.endswith(f"->{upstream}: read: connection refused")
    reply = await ask(forward(upstream), asked=request(transport="tcp"))
    assert reply.error == f"dial tcp {upstream}: connect: connection refused"


async def test_a_cache_before_it_wants_to_know_what_was_checked() -> None:
    class Behind(Plugin):
        name = "cache"

        async def serve(self, request: Request, rest: Link) -> Reply:
            return await rest(request)

    async with scripted(fine) as (upstream, script):
        siblings: list[Plugin] = []
        options = ForwardOptions(upstreams=(upstream,))
        handler = Forward(options, clock=SystemClock(), dice=random.Random(1), siblings=siblings)
        siblings.append(handler)
        await ask(*siblings)
        siblings.insert(0, Behind())
        await ask(*siblings)
    assert [bool(packet[3] & 0x20) for packet in script.asked] == [False, True]


# What is not forwarded


@pytest.mark.parametrize(
    ("zone", "exceptions", "name", "concerns"),
    [
        (".", (), "www.example.org.", True),
        ("example.org.", (), "example.org.", True),
        ("example.org.", (), "www.example.org.", True),
        ("example.org.", (), "badexample.org.", False),
        ("example.org.", (), "org.", False),
        (".", ("example.org.", "net."), "www.example.org.", False),
        (".", ("example.org.", "net."), "a.net.", False),
        (".", ("example.org.", "net."), "www.example.com.", True),
        # The zone itself is not excepted by its own name.
        ("example.org.", ("example.org.",), "example.org.", True),
        ("example.org.", ("example.org.",), "www.example.org.", False),
    ],
)
def test_what_it_concerns(
    zone: str, exceptions: tuple[str, ...], name: str, *, concerns: bool
) -> None:
    assert ForwardOptions(zone=zone, exceptions=exceptions).concerns(name) is concerns


async def test_what_does_not_concern_it_goes_on() -> None:
    async with several(fine, saying(Rcode.REFUSED)) as ((first, second), (one, two)):
        handlers = forward(first, exceptions=("example.com.",)), forward(second)
        assert (await ask(*handlers)).rcode == Rcode.REFUSED
    assert (len(one.asked), len(two.asked)) == (0, 1)


async def test_too_many_at_once_are_refused() -> None:
    metrics = Metrics()
    waiting = asyncio.Event()

    def answering(packet: bytes) -> list[bytes]:
        waiting.set()
        return []

    async with scripted(answering) as (upstream, _), asyncio.TaskGroup() as tasks:
        handler = forward(upstream, max_concurrent=1, metrics=metrics)
        first = tasks.create_task(ask(handler))
        await waiting.wait()
        reply = await ask(handler)
        assert (reply.rcode, reply.error) == (
            Rcode.REFUSED,
            "concurrent queries exceeded maximum 1",
        )
        first.cancel()
    assert "coredns_forward_max_concurrent_rejects_total 1\n" in metrics.text()


# Several upstreams


@pytest.mark.parametrize(
    ("policy", "first"),
    [("sequential", [0, 0, 0, 0]), ("round_robin", [1, 2, 0, 1])],
)
async def test_policies(policy: str, first: list[int]) -> None:
    async with several(fine, fine, fine) as (upstreams, scripts):
        handler = forward(*upstreams, policy=policy)
        seen: list[int] = []
        for _ in range(4):
            before = [len(script.asked) for script in scripts]
            await ask(handler)
            after = [len(script.asked) for script in scripts]
            seen += [n for n in range(3) if after[n] > before[n]]
    assert seen == first


async def test_the_random_policy_asks_all_of_them() -> None:
    async with several(fine, fine, fine) as (upstreams, scripts):
        handler = forward(*upstreams)
        for _ in range(60):
            await ask(handler)
    assert all(len(script.asked) > 5 for script in scripts)


async def test_a_dead_upstream_makes_room_for_a_living_one() -> None:
    async with scripted(fine) as (living, script):
        handler = forward(dead_upstream(), living)
        for _ in range(10):
            assert (await ask(handler)).rcode == Rcode.NOERROR
    assert len(script.asked) == 10


@pytest.mark.parametrize(("max_attempts", "asked"), [(None, 4), (1, 1), (3, 3)])
async def test_attempts(max_attempts: int | None, asked: int) -> None:
    async with several(lambda p: [p], lambda p: [p]) as (upstreams, scripts):
        reply = await ask(forward(*upstreams, max_attempts=max_attempts))
    assert reply.rcode == Rcode.SERVFAIL
    assert sum(len(script.asked) for script in scripts) == asked


async def test_a_silent_upstream_is_given_up() -> None:
    async with several(silent, fine) as (upstreams, (_, second)):
        handler = forward(*upstreams, policy="sequential", read_timeout=0.01)
        assert (await ask(handler)).rcode == Rcode.NOERROR
        reply = await ask(forward(upstreams[0], read_timeout=0.01))
    assert len(second.asked) == 1
    assert (reply.rcode, reply.error[-11:]) == (Rcode.SERVFAIL, "i/o timeout")


@pytest.mark.parametrize(
    ("codes", "rcode", "asked"),
    [
        ({Rcode.REFUSED}, Rcode.NXDOMAIN, [1, 1]),
        ({Rcode.NXDOMAIN}, Rcode.REFUSED, [1, 0]),
        # The last one's word counts, whatever it is.
        ({Rcode.REFUSED, Rcode.NXDOMAIN}, Rcode.NXDOMAIN, [1, 1]),
    ],
)
async def test_failover(codes: set[Rcode], rcode: Rcode, asked: list[int]) -> None:
    async with several(saying(Rcode.REFUSED), saying(Rcode.NXDOMAIN)) as (upstreams, scripts):
        handler = forward(*upstreams, policy="sequential", failover_codes=frozenset(codes))
        assert (await ask(handler)).rcode == rcode
    assert [len(script.asked) for script in scripts] == asked


@pytest.mark.parametrize(
    ("options", "first", "rcode"),
    [
        ({"next_codes": {Rcode.NXDOMAIN}}, saying(Rcode.NXDOMAIN), Rcode.REFUSED),
        ({"next_codes": {Rcode.NXDOMAIN}}, fine, Rcode.NOERROR),
        ({"next_on_nodata": True}, fine, Rcode.REFUSED),
        ({"next_on_nodata": True}, saying(Rcode.NXDOMAIN), Rcode.NXDOMAIN),
        ({}, saying(Rcode.NXDOMAIN), Rcode.NXDOMAIN),
    ],
)
async def test_next(options: dict[str, Any], first: Answering, rcode: Rcode) -> None:
    async with several(first, saying(Rcode.REFUSED)) as ((one, two), _):
        siblings: list[Plugin] = []
        for upstream, more in ((one, options), (two, {})):
            siblings.append(
                Forward(
                    ForwardOptions(upstreams=(upstream,), **more),
                    clock=SystemClock(),
                    dice=random.Random(1),
                    siblings=siblings,
                )
            )
        assert (await ask(*siblings)).rcode == rcode
        # Nobody comes after the second one.
        assert (await ask(siblings[1])).rcode == Rcode.REFUSED


# Health


class Told:
    """An upstream that replies when it is told to, and notes what it is asked."""

    def __init__(self) -> None:
        self.replies = False
        self.kinds: list[tuple[int, bool]] = []

    def __call__(self, packet: bytes) -> list[bytes]:
        query = screen(packet)
        assert isinstance(query, Query)
        self.kinds.append((query.question.kind, bool(packet[2] & 1)))
        return [good(packet)] if self.replies else []


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not true():  # noqa: ASYNC110 - the other side has no event to wait for
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("wants_recursion", [True, False])
async def test_health_checks_run_after_an_error_until_there_is_a_reply(
    monkeypatch: pytest.MonkeyPatch, *, wants_recursion: bool
) -> None:
    monkeypatch.setattr(peer, "HEALTH_TIMEOUT", 0.05)
    told = Told()
    health = HealthCheck(interval=0.01, wants_recursion=wants_recursion)
    async with scripted(told) as (upstream, script):
        handler = forward(upstream, read_timeout=0.01, health=health)
        async with handler.run():
            assert told.kinds == []
            await ask(handler)
            await until(lambda: Kind.NS in [kind for kind, _ in told.kinds])
            told.replies = True
            assert (Kind.NS, wants_recursion) in told.kinds
            assert (Kind.NS, not wants_recursion) not in told.kinds
            # The check that is under way waits in vain; the next one has its reply, and is last.
            checks = len(told.kinds)
            await until(lambda: len(told.kinds) > checks)
            assert (await ask(handler)).rcode == Rcode.NOERROR
            asked = len(script.asked)
            await asyncio.sleep(0.1)
            assert len(script.asked) == asked


@pytest.mark.parametrize(
    ("max_fails", "fails_fast", "error"),
    [
        (1, True, "no healthy proxies"),
        (1, False, "connection refused"),
        (0, True, "connection refused"),
    ],
)
async def test_when_all_are_down(max_fails: int, error: str, *, fails_fast: bool) -> None:
    metrics = Metrics()
    upstream = dead_upstream()
    handler = forward(
        upstream,
        metrics=metrics,
        max_fails=max_fails,
        fails_fast=fails_fast,
        health=HealthCheck(interval=0.01),
    )
    failed = f'coredns_proxy_healthcheck_failures_total{{proxy_name="forward",to="{upstream}"}} '
    async with handler.run():
        await ask(handler)
        if max_fails:
            await until(lambda: f"{failed}0\n" not in metrics.text())
            await until(lambda: f"{failed}1\n" not in metrics.text())
        reply = await ask(handler)
    assert reply.rcode == Rcode.SERVFAIL
    assert error in reply.error or "i/o timeout" in reply.error
    is_broken = "coredns_forward_healthcheck_broken_total 0\n" not in metrics.text()
    assert is_broken is bool(max_fails)


async def test_a_recovered_upstream_is_asked_again() -> None:
    told = Told()
    async with several(told, fine) as (upstreams, (first, _)):
        handler = forward(
            *upstreams,
            policy="sequential",
            max_fails=0,
            read_timeout=0.01,
            health=HealthCheck(interval=0.01),
        )
        async with handler.run():
            await ask(handler)
            told.replies = True
            await ask(handler)
    # Without health checks it is never down: asked each time, first.
    assert len(first.asked) == 2
