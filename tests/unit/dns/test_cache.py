"""What is kept, for how long, and the one TTL."""

import json
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from podwire.dns.chain import Request
from podwire.dns.message import Data, Kind, Mx, Question, Rcode, Record, Reply, Soa
from podwire.dns.plugins.cache import Cache, CacheOptions, clamped
from podwire.dns.query import Query, screen
from podwire.dns.wire import question_packet
from podwire.testing.clock import FakeClock

Json = dict[str, Any]
UNITS: list[Json] = json.loads(
    (Path(__file__).resolve().parents[2] / "data" / "dns" / "units.json").read_text()
)["unit"]


def units(kind: str) -> list[Json]:
    return [unit for unit in UNITS if unit["kind"] == f"unit.{kind}"]


def record(entry: Json) -> Record:
    return Record(entry["name"], Kind[entry["type"]], entry["ttl"], data(entry))


def data(entry: Json) -> Data:
    words = entry["data"].split()
    match entry["type"]:
        case "A" | "AAAA":
            return ip_address(words[0])
        case "SOA":
            return Soa(words[0], words[1], *map(int, words[2:]))
        case "MX":
            return Mx(int(words[0]), words[1])
        case _:
            return str(words[0])


def request(name: str, kind: int) -> Request:
    query = screen(question_packet(1, Question(name, kind)))
    assert isinstance(query, Query)
    return Request(query, ("10.244.1.5", 4000), "udp")


class Counting:
    """The rest of the chain: always says the same and counts how often."""

    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        self.asked = 0

    async def __call__(self, request: Request) -> Reply:
        self.asked += 1
        return self.reply


@pytest.mark.parametrize("unit", units("cache_ttl"), ids=lambda unit: unit["id"])
def test_clamped(unit: Json) -> None:
    given = unit["input"]
    assert clamped(given["message_ttl"], given["min"], given["max"]) == unit["expect"]


@pytest.mark.parametrize("unit", units("cacheable"), ids=lambda unit: unit["id"])
async def test_kept_or_not(unit: Json) -> None:
    given = unit["input"]["response"]
    options = CacheOptions(
        longest_success=unit["input"]["cache_ttl"],
        longest_denial=unit["input"]["cache_ttl"],
        success_disabled=tuple(unit["input"]["success_disabled"]),
        denial_disabled=tuple(unit["input"]["denial_disabled"]),
    )
    reply = Reply(
        rcode=Rcode[given["rcode"]],
        recursion_available=given["ra"],
        truncated=given["tc"],
        answer=tuple(map(record, given["answer"])),
        authority=tuple(map(record, given["authority"])),
    )
    rest = Counting(reply)
    cache = Cache(options, FakeClock())
    asked = request(given["qname"], Kind[given["qtype"]])
    first = await cache.serve(asked, rest)
    second = await cache.serve(asked, rest)
    assert (rest.asked == 1) is unit["expect"]["cached"]
    if rest.asked == 1:
        assert not first.authoritative
        assert second.authoritative
        assert second.answer == first.answer
        assert (second.rcode, second.recursion_available) == (
            first.rcode,
            first.recursion_available,
        )


WWW = "www.example.com."
ONE = Record(WWW, Kind.A, 300, ip_address("192.0.2.1"))


@pytest.mark.parametrize(
    ("ttls", "shown"), [((300,), 30), ((2,), 5), ((300, 20), 20), ((28800,), 30)]
)
async def test_one_ttl_for_all(ttls: tuple[int, ...], shown: int) -> None:
    records = tuple(Record(WWW, Kind.A, ttl, ip_address("192.0.2.1")) for ttl in ttls)
    cache = Cache(CacheOptions(longest_success=30), FakeClock())
    reply = await cache.serve(request(WWW, Kind.A), Counting(Reply(answer=records)))
    assert {r.ttl for r in reply.answer} == {shown}


async def test_the_one_ttl_applies_where_keeping_is_disabled() -> None:
    cache = Cache(CacheOptions(longest_success=30, success_disabled=("example.com.",)), FakeClock())
    rest = Counting(Reply(answer=(ONE,), lasting=True))
    for _ in range(2):
        reply = await cache.serve(request(WWW, Kind.A), rest)
        assert (reply.answer[0].ttl, reply.lasting) == (30, True)
    assert rest.asked == 2


async def test_a_kept_reply_counts_down_and_goes() -> None:
    clock = FakeClock()
    rest = Counting(Reply(answer=(ONE,), lasting=True))
    cache = Cache(CacheOptions(longest_success=30), clock)
    seen: list[tuple[int, bool, int]] = []
    for _ in range(4):
        reply = await cache.serve(request(WWW, Kind.A), rest)
        seen.append((reply.answer[0].ttl, reply.lasting, rest.asked))
        clock.advance(10.5)
    assert seen == [(30, False, 1), (20, False, 1), (9, False, 1), (30, False, 2)]


async def test_a_failure_does_not_hide_what_is_known() -> None:
    clock = FakeClock()
    cache = Cache(CacheOptions(longest_success=6), clock)
    good, bad = Counting(Reply(answer=(ONE,))), Counting(Reply(rcode=Rcode.SERVFAIL))
    await cache.serve(request(WWW, Kind.A), bad)
    clock.advance(5)
    await cache.serve(request(WWW, Kind.A), good)
    clock.advance(3)
    assert (await cache.serve(request(WWW, Kind.A), bad)).rcode == Rcode.NOERROR
    assert bad.asked == 1


async def test_it_does_not_grow_without_end() -> None:
    cache = Cache(CacheOptions(capacity=10), FakeClock())
    for n in range(50):
        await cache.serve(request(f"n{n}.example.com.", Kind.A), Counting(Reply(answer=(ONE,))))
    assert cache.entries == {"success": 10, "denial": 0}
