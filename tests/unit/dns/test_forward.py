"""The forward plugin: what it concerns, who of several is asked, and who is healthy."""

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest

from podwire.dns.chain import Plugin
from podwire.dns.messages.message import Kind, Rcode
from podwire.dns.messages.query import Query, screen
from podwire.dns.parts import peer
from podwire.dns.parts.forward_options import ForwardOptions, HealthCheck
from podwire.dns.plugins.forward import Forward
from podwire.dns.serving.metrics import Metrics
from podwire.kube.clock import SystemClock
from tests.unit.dns.scripted_upstreams import (
    PATIENCE,
    Answering,
    ask,
    dead_upstream,
    fine,
    forward,
    good,
    saying,
    scripted,
    several,
    silent,
)

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
