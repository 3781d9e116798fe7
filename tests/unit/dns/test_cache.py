"""What is kept, for how long, what takes its place, and the one TTL."""

import asyncio
import calendar
import struct
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

from podwire.dns.chain import Request
from podwire.dns.messages.message import Kind, Opaque, Question, Rcode, Record, Reply, Soa, Text
from podwire.dns.messages.query import AD, CD, Query, screen
from podwire.dns.messages.wire import question_packet
from podwire.dns.parts.cache_options import (
    CacheOptions,
    Limits,
    Prefetch,
    Stale,
    lifetime,
)
from podwire.dns.parts.cacheable import classify, may_keep
from podwire.dns.plugins.cache import Cache
from podwire.dns.serving.metrics import Metrics
from podwire.testing.clock import FakeClock

Json = dict[str, Any]


def request(name: str, kind: int, *, do: bool = False, flags: int = 0) -> Request:
    packet = bytearray(question_packet(1, Question(name, kind)))
    struct.pack_into("!H", packet, 2, struct.unpack_from("!H", packet, 2)[0] | flags)
    if do:
        packet[11] = 1
        packet += struct.pack("!BHHIH", 0, Kind.OPT, 1232, 0x8000, 0)
    query = screen(bytes(packet))
    assert isinstance(query, Query)
    return Request(query, ("10.244.1.5", 4000), "udp")


class Source:
    """The rest of the chain: says the same until it is told something else; counts requests."""

    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        self.asked: list[Request] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, request: Request) -> Reply:
        self.asked.append(request)
        await self.gate.wait()
        return self.reply


WWW = "www.example.com."
ALIAS = Record(WWW, Kind.CNAME, 300, "target.example.net.")
TARGET = Record("target.example.net.", Kind.A, 300, ip_address("192.0.2.9"))
ONE = Record(WWW, Kind.A, 300, ip_address("192.0.2.1"))
SOA = Record(
    "example.com.", Kind.SOA, 900, Soa("ns.example.com.", "h.example.com.", 1, 2, 3, 4, 60)
)
NS = Record("example.com.", Kind.NS, 900, "ns.example.com.")

GOOD = Reply(answer=(ONE,))
GONE = Reply(rcode=Rcode.NXDOMAIN, authority=(SOA,))
NODATA = Reply(authority=(SOA,))
FAILED = Reply(rcode=Rcode.SERVFAIL, error="no healthy proxies")


@pytest.mark.parametrize(
    ("what", "reply", "kind", "class_", "kept", "ttl"),
    [
        ("an answer", GOOD, Kind.A, "success", True, 300),
        ("no such name", GONE, Kind.A, "nxdomain", True, 900),
        ("no such name, nobody says for how long", replace(GONE, authority=()), Kind.A, "nxdomain",
         False, 5),
        ("an alias of no name", replace(GONE, answer=(ALIAS,)), Kind.A, "other", False, 5),
        ("no such data", NODATA, Kind.A, "nodata", True, 900),
        ("an alias without the data", replace(NODATA, answer=(ALIAS,)), Kind.A, "nodata", True, 300),
        ("a dangling alias", Reply(answer=(ALIAS,)), Kind.A, "success", False, 300),
        ("an alias and its address", Reply(answer=(ALIAS, TARGET)), Kind.A, "success", True, 300),
        ("the alias itself", Reply(answer=(ALIAS,)), Kind.CNAME, "success", True, 300),
        ("a referral", Reply(authority=(NS,)), Kind.A, "referral", True, 5),
        ("nothing at all", Reply(), Kind.A, "success", True, 5),
        ("only more records", Reply(additional=(replace(ONE, ttl=40),)), Kind.A, "success", True, 40),
        ("a failure", FAILED, Kind.A, "failure", True, 5),
        ("refused", Reply(rcode=Rcode.REFUSED), Kind.A, "other", False, 5),
        ("a cut answer", replace(GOOD, truncated=True), Kind.A, "success", False, 300),
        ("a transfer", GOOD, Kind.AXFR, "other", False, 5),
        ("another type", GOOD, Kind.MX, "success", False, 300),
        ("anything", GOOD, Kind.ANY, "success", True, 300),
    ],
)  # fmt: skip
def test_classes(what: str, reply: Reply, kind: int, class_: str, ttl: int, *, kept: bool) -> None:
    question = Question(WWW.upper(), kind)
    found = classify(reply, question)
    assert (found, may_keep(reply, question, found), lifetime(reply, found, CacheOptions())) == (
        class_,
        kept,
        ttl,
    ), what


DAY = calendar.timegm((2017, 4, 30, 0, 0, 0))


@pytest.mark.parametrize(
    ("begins", "ends", "wanted", "class_"),
    [
        (-1, 1, True, "success"),
        (0, 0, True, "success"),
        (-2, -1, True, "other"),
        (1, 2, True, "other"),
        (-2, -1, False, "success"),
    ],
)
def test_signatures_must_be_valid_for_who_wants_them(
    begins: int, ends: int, class_: str, *, wanted: bool
) -> None:
    days = 86400
    times = struct.pack("!II", DAY + ends * days, DAY + begins * days)
    signature = Record(WWW, Kind.RRSIG, 300, Opaque(bytes(8) + times + bytes(3)))
    reply = Reply(answer=(ONE, signature))
    question = Question(WWW, Kind.A)
    assert classify(reply, question, dnssec_ok=wanted, now=DAY) == class_


@pytest.mark.parametrize(
    ("ttls", "shown"), [((300,), 30), ((2,), 5), ((300, 20), 20), ((28800,), 30)]
)
async def test_one_ttl_for_all(ttls: tuple[int, ...], shown: int) -> None:
    records = tuple(Record(WWW, Kind.A, ttl, ip_address("192.0.2.1")) for ttl in ttls)
    cache = Cache(CacheOptions(success=Limits(30)), FakeClock())
    reply = await cache.serve(request(WWW, Kind.A), Source(Reply(answer=records)))
    assert {r.ttl for r in reply.answer} == {shown}


async def test_the_one_ttl_applies_where_keeping_is_disabled() -> None:
    options = CacheOptions(success=Limits(30), success_disabled=("example.com.",))
    source = Source(Reply(answer=(ONE,), lasting=True))
    cache = Cache(options, FakeClock())
    for _ in range(2):
        reply = await cache.serve(request(WWW, Kind.A), source)
        # It lasts all the same: nothing counts down.
        assert (reply.answer[0].ttl, reply.lasting) == (30, True)
    assert len(source.asked) == 2


async def test_other_zones_pass_as_they_are() -> None:
    source = Source(Reply(answer=(ONE,), lasting=True))
    cache = Cache(CacheOptions(zones=("example.net.",), success=Limits(30)), FakeClock())
    for _ in range(2):
        assert await cache.serve(request(WWW, Kind.A), source) is source.reply
    assert len(source.asked) == 2


async def test_a_kept_reply_counts_down_and_goes() -> None:
    clock = FakeClock()
    source = Source(Reply(answer=(ONE,), lasting=True))
    cache = Cache(CacheOptions(success=Limits(30)), clock)
    seen: list[tuple[int, float, int]] = []
    for _ in range(4):
        reply = await cache.serve(request(WWW, Kind.A), source)
        # Each hit shows what holds until the next second begins, counted from when it was kept.
        seen.append((reply.answer[0].ttl, reply.lasting and reply.until, len(source.asked)))
        clock.advance(10.5)
    assert seen == [(30, False, 1), (20, 11.0, 1), (9, 22.0, 1), (30, False, 2)]


async def test_a_prefetch_sees_each_hit() -> None:
    cache = Cache(CacheOptions(prefetch=Prefetch(3)), FakeClock())
    for _ in range(2):
        reply = await cache.serve(request(WWW, Kind.A), Source(replace(GOOD, lasting=True)))
        assert not reply.lasting


async def test_hits_that_the_front_door_served_are_counted_too() -> None:
    metrics = Metrics()
    cache = Cache(CacheOptions(), FakeClock(), metrics, "dns://:53")
    await cache.serve(request(WWW, Kind.A), Source(GOOD))
    reply = await cache.serve(request(WWW, Kind.A), Source(GOOD))
    assert reply.counted
    reply.counted(10)
    text = metrics.text()
    assert (
        'coredns_cache_hits_total{server="dns://:53",type="success",view="",zones="."} 11' in text
    )
    assert 'coredns_cache_requests_total{server="dns://:53",view="",zones="."} 12' in text


async def test_a_hit_says_who_it_is_from_and_no_error() -> None:
    cache = Cache(CacheOptions(), FakeClock())
    source = Source(replace(FAILED, by="forward"))
    first, second = [await cache.serve(request(WWW, Kind.A), source) for _ in range(2)]
    assert (first.by, first.error, first.authoritative) == ("forward", FAILED.error, False)
    assert (second.by, second.error, second.authoritative) == ("cache", "", True)


async def test_questions_with_do_or_cd_are_other_questions() -> None:
    source = Source(GOOD)
    cache = Cache(CacheOptions(), FakeClock())
    for asked in (
        request(WWW, Kind.A),
        request(WWW.upper(), Kind.A),
        request(WWW, Kind.A, do=True),
        request(WWW, Kind.A, flags=CD),
        request(WWW, Kind.A, flags=AD),
    ):
        await cache.serve(asked, source)
    assert len(source.asked) == 3


@pytest.mark.parametrize(
    ("do", "flags", "told"), [(False, 0, False), (True, 0, True), (False, AD, True)]
)
async def test_only_who_asks_learns_that_it_was_checked(do: bool, flags: int, told: bool) -> None:  # noqa: FBT001
    cache = Cache(CacheOptions(), FakeClock())
    source = Source(replace(GOOD, authenticated=True))
    for _ in range(2):
        reply = await cache.serve(request(WWW, Kind.A, do=do, flags=flags), source)
        assert reply.authenticated is told


async def test_a_failure_does_not_hide_what_is_known() -> None:
    clock = FakeClock()
    cache = Cache(CacheOptions(success=Limits(6)), clock)
    good, bad = Source(GOOD), Source(FAILED)
    await cache.serve(request(WWW, Kind.A), bad)
    clock.advance(5)
    await cache.serve(request(WWW, Kind.A), good)
    clock.advance(3)
    assert (await cache.serve(request(WWW, Kind.A), bad)).rcode == Rcode.NOERROR
    assert len(bad.asked) == 1


@pytest.mark.parametrize(("failure", "asked"), [(0.0, 2), (1.0, 1), (5.0, 1)])
async def test_failures_are_kept_as_long_as_it_says(failure: float, asked: int) -> None:
    cache = Cache(CacheOptions(failure=failure), FakeClock())
    source = Source(FAILED)
    for _ in range(2):
        await cache.serve(request(WWW, Kind.A), source)
    assert len(source.asked) == asked


async def test_it_does_not_grow_without_end() -> None:
    metrics = Metrics()
    cache = Cache(CacheOptions(success=Limits(3600, capacity=0)), FakeClock(), metrics, "dns://:53")
    async with cache.run():
        for n in range(1100):
            name = f"n{n}.example.com."
            reply = Reply(answer=(replace(ONE, name=name),))
            await cache.serve(request(name, Kind.A), Source(reply))
        text = metrics.text()
    where = '{server="dns://:53",type="success",view="",zones="."}'
    assert f"coredns_cache_entries{where} 1024\n" in text
    assert f"coredns_cache_evictions_total{where} 76\n" in text


async def test_it_counts() -> None:
    metrics = Metrics()
    cache = Cache(CacheOptions(), FakeClock(), metrics, "dns://:53")
    for reply in (GOOD, GOOD, GOOD):
        await cache.serve(request(WWW, Kind.A), Source(reply))
    for reply in (GONE, GONE):
        await cache.serve(request("gone.example.com.", Kind.A), Source(reply))
    text = metrics.text()
    for name, count in {
        'requests_total{server="dns://:53",': 5,
        'misses_total{server="dns://:53",': 2,
        'hits_total{server="dns://:53",type="success",': 2,
        'hits_total{server="dns://:53",type="denial",': 1,
    }.items():
        assert f'coredns_cache_{name}view="",zones="."}} {count}\n' in text


async def test_keepttl_shows_the_ttl_that_it_came_with() -> None:
    clock = FakeClock()
    cache = Cache(CacheOptions(keeps_ttl=True), clock)
    source = Source(GOOD)
    for _ in range(3):
        reply = await cache.serve(request(WWW, Kind.A), source)
        assert reply.answer[0].ttl == 300
        clock.advance(100)
    assert len(source.asked) == 1


# What runs out while it is wanted


async def until(true: Callable[[], bool]) -> None:
    for _ in range(100):
        if true():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never came true")


@pytest.mark.parametrize(
    ("hits", "left", "prefetched"),
    [(2, 30, True), (1, 30, False), (2, 31, False), (5, 1, True)],
)
async def test_prefetch(hits: int, left: int, *, prefetched: bool) -> None:
    clock = FakeClock()
    cache = Cache(CacheOptions(prefetch=Prefetch(2, within=60.0, percentage=10)), clock)
    source = Source(GOOD)
    async with cache.run():
        await cache.serve(request(WWW, Kind.A), source)
        clock.advance(300 - left)
        for _ in range(hits):
            reply = await cache.serve(request(WWW, Kind.A), source)
            assert reply.answer[0].ttl == left
        for _ in range(10):
            await asyncio.sleep(0)
        assert len(source.asked) == 1 + prefetched
        if prefetched:
            assert source.asked[1].transport == "tcp"
            assert (await cache.serve(request(WWW, Kind.A), source)).answer[0].ttl == 300


async def test_hits_far_from_each_other_do_not_add_up() -> None:
    clock = FakeClock()
    cache = Cache(CacheOptions(prefetch=Prefetch(2, within=5.0, percentage=90)), clock)
    source = Source(GOOD)
    async with cache.run():
        for _ in range(5):
            await cache.serve(request(WWW, Kind.A), source)
            clock.advance(6)
            await asyncio.sleep(0)
    assert len(source.asked) == 1


STALE = CacheOptions(stale=Stale(up_to=3600))


@pytest.mark.parametrize(
    ("age", "served"), [(299, "live"), (300, "stale"), (3899, "stale"), (3900, "fresh")]
)
async def test_stale_replies_are_served_while_a_fresh_one_is_fetched(age: int, served: str) -> None:
    clock = FakeClock()
    cache = Cache(STALE, clock)
    source = Source(GOOD)
    async with cache.run():
        await cache.serve(request(WWW, Kind.A), source)
        clock.advance(age)
        source.reply = Reply(answer=(replace(ONE, data=ip_address("192.0.2.2")),))
        reply = await cache.serve(request(WWW, Kind.A), source)
        wanted = {"live": ("192.0.2.1", 1), "stale": ("192.0.2.1", 0), "fresh": ("192.0.2.2", 300)}
        assert (str(reply.answer[0].data), reply.answer[0].ttl) == wanted[served]
        if served == "stale":
            await until(lambda: len(source.asked) == 2)
            await asyncio.sleep(0)
            reply = await cache.serve(request(WWW, Kind.A), source)
            assert (str(reply.answer[0].data), reply.answer[0].ttl) == ("192.0.2.2", 300)


@pytest.mark.parametrize(
    ("stale", "after", "rcode", "ttl"),
    [
        (Stale(), FAILED, Rcode.NOERROR, 0),
        (Stale(ttl=30), FAILED, Rcode.NOERROR, 30),
        (Stale(verifies=True), FAILED, Rcode.NOERROR, 0),
        (Stale(verifies=True), Reply(rcode=Rcode.REFUSED), Rcode.NOERROR, 0),
        (Stale(verifies=True), replace(GOOD, truncated=True), Rcode.NOERROR, 0),
        (Stale(verifies=True), GOOD, Rcode.NOERROR, 300),
        (Stale(verifies=True), GONE, Rcode.NXDOMAIN, 900),
        (Stale(verifies=True, patience=5.0), GONE, Rcode.NXDOMAIN, 900),
    ],
)
async def test_what_takes_the_place_of_a_stale_reply(
    stale: Stale, after: Reply, rcode: int, ttl: int
) -> None:
    clock = FakeClock()
    cache = Cache(CacheOptions(stale=stale), clock)
    source = Source(GOOD)
    async with cache.run():
        await cache.serve(request(WWW, Kind.A), source)
        clock.advance(300)
        source.reply = after
        for _ in range(2):
            reply = await cache.serve(request(WWW, Kind.A), source)
            assert reply.rcode == rcode
            assert {r.ttl for r in (*reply.answer, *reply.authority)} == {ttl}
            await until(lambda: len(source.asked) > 1)
            await asyncio.sleep(0)


async def test_a_slow_source_is_not_waited_for_and_its_reply_not_lost() -> None:
    clock = FakeClock()
    cache = Cache(CacheOptions(stale=Stale(verifies=True, patience=0.001)), clock)
    source = Source(GOOD)
    async with cache.run():
        await cache.serve(request(WWW, Kind.A), source)
        clock.advance(400)
        source.gate.clear()
        assert (await cache.serve(request(WWW, Kind.A), source)).answer[0].ttl == 0
        source.gate.set()
        for _ in range(5):
            await asyncio.sleep(0)
        assert (await cache.serve(request(WWW, Kind.A), source)).answer[0].ttl == 300
    assert len(source.asked) == 2


async def test_a_source_that_failed_has_peace_for_a_while() -> None:
    clock = FakeClock()
    cache = Cache(CacheOptions(stale=Stale(verifies=True, recheck=30.0)), clock)
    source = Source(GOOD)
    asked: list[int] = []
    await cache.serve(request(WWW, Kind.A), source)
    clock.advance(300)
    source.reply = FAILED
    for _ in range(4):
        await cache.serve(request(WWW, Kind.A), source)
        asked.append(len(source.asked))
        clock.advance(20)
    assert asked == [2, 2, 3, 3]


async def test_a_stale_answer_may_win_over_a_fresh_denial() -> None:
    for prefers_positive, rcode in ((False, Rcode.NXDOMAIN), (True, Rcode.NOERROR)):
        clock = FakeClock()
        options = CacheOptions(stale=Stale(verifies=True), prefers_positive=prefers_positive)
        cache = Cache(options, clock)
        source = Source(GOOD)
        await cache.serve(request(WWW, Kind.A), source)
        clock.advance(300)
        source.reply = GONE
        for _ in range(2):
            assert (await cache.serve(request(WWW, Kind.A), source)).rcode == rcode


async def test_a_bug_behind_it_does_not_end_the_server() -> None:
    async def broken(request: Request) -> Reply:
        raise RuntimeError(request.query.question.name)

    clock = FakeClock()
    cache = Cache(STALE, clock)
    async with cache.run():
        await cache.serve(request(WWW, Kind.A), Source(GOOD))
        clock.advance(400)
        for _ in range(3):
            assert (await cache.serve(request(WWW, Kind.A), broken)).rcode == Rcode.NOERROR
            await asyncio.sleep(0)


@pytest.mark.parametrize(("strings", "entries"), [(1, 194), (250, 4)])
async def test_large_replies_take_the_place_of_many(
    strings: int, entries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Else a stranger with a zone of his own fills the cache with 10,000 times 64 KB.
    monkeypatch.setattr("podwire.dns.parts.kept.LARGEST_AVERAGE", 30)
    metrics = Metrics()
    cache = Cache(CacheOptions(), FakeClock(), metrics)
    for nth in range(300):
        name = f"n{nth}.example.com."
        source = Source(Reply(answer=(Record(name, Kind.TXT, 300, Text((b"x" * 250,) * strings)),)))
        await cache.serve(request(name, Kind.TXT), source)
    async with cache.run():
        assert f'coredns_cache_entries{{server="",type="success",view="",zones="."}} {entries}' in (
            metrics.text()
        )
