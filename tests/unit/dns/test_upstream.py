"""One upstream server: how it is written, how it is asked, and what becomes of its reply."""

import asyncio
import random
from typing import Any

import pytest

from podwire.dns.chain import Link, Plugin, Request
from podwire.dns.messages.message import Rcode, Reply, Transport
from podwire.dns.parts.forward_options import ForwardOptions
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
from tests.unit.dns.scripted_upstreams import (
    Answering,
    ask,
    cut,
    dead_upstream,
    fine,
    forged_first,
    forward,
    good,
    request,
    saying,
    scripted,
)


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


# What is asked, and what becomes of the reply

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
