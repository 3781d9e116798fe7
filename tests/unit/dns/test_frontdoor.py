"""What the front door keeps, counts and cuts, whatever the plugins behind it say."""

import random
from collections.abc import Iterable
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

from podwire.dns.chain import Block, Link, Plugin, Request
from podwire.dns.messages.message import Kind, Question, Rcode, Record, Reply, Transport
from podwire.dns.messages.query import Query, screen
from podwire.dns.messages.wire import question_packet, read_reply
from podwire.dns.serving import replies
from podwire.dns.serving.frontdoor import FrontDoor
from podwire.dns.serving.metrics import Metrics
from podwire.dns.serving.replies import MOST_NOTED
from podwire.dns.serving.traffic import Traffic
from podwire.testing.clock import FakeClock

WEB = "web.shop.svc.cluster.local."
CLIENT = ("10.244.0.2", 40000)


class Answering(Plugin):
    """Answers as it is told, and counts how often it is asked."""

    name = "kubernetes"

    def __init__(self) -> None:
        self.reply = Reply(lasting=True, by=self.name)
        self.asked = 0

    async def serve(self, request: Request, rest: Link) -> Reply:
        del request, rest
        self.asked += 1
        return self.reply


class House:
    """A front door with one plugin behind it."""

    def __init__(self) -> None:
        self.plugin = Answering()
        self.revision = 1
        self.clock = FakeClock()
        self.metrics = Metrics()
        self.door = FrontDoor(
            revision=lambda: self.revision,
            clock=self.clock,
            dice=random.Random(1),
            traffic=Traffic(self.metrics, "dns://:53"),
        )
        self.door.open([Block(("cluster.local.",), (self.plugin,))])

    async def ask(self, packet: bytes, transport: Transport = "udp") -> list[bytes]:
        kept = self.kept(packet, transport)
        if kept is not None:
            return [kept]
        return list(await self.door.answer(packet, CLIENT, transport))

    def kept(self, packet: bytes, transport: Transport = "udp") -> bytes | None:
        """Return the reply that needs no work."""
        reply = self.door.kept(transport)(packet[2:])
        return None if reply is None else packet[:2] + reply

    def count(self, name: str, **labels: str) -> int:
        """Return the value of the one series with these labels, and maybe others."""
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        (line,) = (
            line
            for line in self.metrics.text().splitlines()
            if line.startswith(name + "{") and all(label in line for label in wanted)
        )
        return int(float(line.rpartition(" ")[2]))


@pytest.fixture
def house() -> House:
    return House()


def packet(name: str = WEB, kind: int = Kind.A, opt: str = "", ident: int = 7) -> bytes:
    asked = bytearray(question_packet(ident, Question(name, kind)))
    asked[11] = bool(opt)
    return bytes(asked) + bytes.fromhex(opt)


def read(message: bytes, asked: bytes) -> Reply:
    query = screen(asked)
    assert isinstance(query, Query)
    return read_reply(message, query)


def addresses(count: int) -> tuple[Record, ...]:
    first = ip_address("10.0.0.0")
    return tuple(Record(WEB, Kind.A, 5, first + n) for n in range(count))


def look_away(message: bytes, seconds: float) -> None:
    """Do nothing with a message that leaves."""


EDNS = "000029 04d0 00000000 0000"
COOKIE = "000029 04d0 00000000 000c 000a 0008 0102030405060708"


@pytest.mark.parametrize(
    ("between", "lookups"),
    [
        ("the same request", 2),
        ("another ID", 2),
        ("a new revision", 3),
        ("other blocks", 3),
        ("over TCP", 3),
        ("with EDNS", 3),
        ("spelled otherwise", 3),
    ],
)
async def test_a_lasting_reply_is_kept_until(house: House, between: str, lookups: int) -> None:
    # What is asked for once is not worth keeping.
    await house.ask(packet())
    (first,) = await house.ask(packet())
    asked, transport = packet(), "udp"
    match between:
        case "another ID":
            asked = packet(ident=8)
        case "a new revision":
            house.revision += 1
        case "other blocks":
            house.door.open([Block((".",), (house.plugin,))])
        case "with EDNS":
            asked = packet(opt=EDNS)
        case "spelled otherwise":
            asked = packet(WEB.upper())
        case _:
            transport = "tcp" if between == "over TCP" else "udp"
    (second,) = await house.ask(asked, "tcp" if transport == "tcp" else "udp")
    assert house.plugin.asked == lookups
    assert second[:2] == asked[:2]
    assert second[12 : len(packet())] == asked[12 : len(packet())]
    assert read(second, asked).rcode == read(first, packet()).rcode


@pytest.mark.parametrize(
    ("why", "changes", "asked"),
    [
        ("it does not last", {"lasting": False}, packet()),
        ("somebody wants to see each", {"sent": look_away}, packet()),
        ("each client has its own cookie", {}, packet(opt=COOKIE)),
    ],
)
async def test_a_reply_is_not_kept_if(
    house: House, why: str, changes: dict[str, Any], asked: bytes
) -> None:
    house.plugin.reply = replace(house.plugin.reply, **changes)
    for _ in range(3):
        await house.ask(asked)
    assert house.plugin.asked == 3, why


async def test_a_reply_is_kept_until_its_moment_and_its_hits_are_told(house: House) -> None:
    told: list[int] = []
    house.plugin.reply = Reply(lasting=True, until=1.0, counted=told.append, by="cache")
    asked: list[int] = []
    for passing in (0.0, 0.0, 0.0, 0.9, 0.1, 0.0):
        house.clock.advance(passing)
        await house.ask(packet())
        asked.append(house.plugin.asked)
    assert (asked, told) == ([1, 2, 2, 2, 3, 4], [2])


async def test_a_change_while_an_answer_is_made_keeps_it_from_being_kept(house: House) -> None:
    class Late(Answering):
        async def serve(self, request: Request, rest: Link) -> Reply:
            house.revision += 1
            return await super().serve(request, rest)

    late = Late()
    house.door.open([Block((".",), (late,))])
    await house.ask(packet())
    await house.ask(packet())
    assert late.asked == 2


async def test_what_other_blocks_answered_before_a_reload_is_not_kept(house: House) -> None:
    class Reloading(Answering):
        async def serve(self, request: Request, rest: Link) -> Reply:
            if not self.asked:
                house.door.open([Block(("cluster.local.",), (house.plugin,))])
            return await super().serve(request, rest)

    await house.ask(packet())
    house.door.open([Block(("cluster.local.",), (Reloading(),))])
    await house.ask(packet())
    assert house.kept(packet()) is None


async def test_what_came_before_is_kept_at_once_after_a_change(house: House) -> None:
    for _ in range(2):
        await house.ask(packet())
    for _ in range(3):
        house.revision += 1
        await house.ask(packet())
        await house.ask(packet())
    assert house.plugin.asked == 2 + 3


@pytest.mark.parametrize("often", [1, 2])
async def test_names_asked_seldom_do_not_push_out_those_asked_all_the_time(
    house: House, often: int
) -> None:
    for _ in range(2):
        await house.ask(packet())
    for n in range(2 * MOST_NOTED):
        for _ in range(often):
            await house.ask(packet(f"n{n}.cluster.local."))
        if n % 1000 == 0:
            await house.ask(packet())
    assert house.plugin.asked == 2 + often * 2 * MOST_NOTED


async def test_what_is_kept_is_bounded(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replies, "MOST_KEPT", 10)
    names = [packet(f"n{n}.cluster.local.") for n in range(100)]
    for name in names:
        await house.ask(name)
        await house.ask(name)
    kept = [house.kept(name) is not None for name in reversed(names)]
    assert sum(kept) <= 20
    assert all(kept[:10])


async def test_large_replies_are_kept_as_far_as_there_is_room(house: House) -> None:
    house.plugin.reply = Reply(answer=addresses(4000), lasting=True)
    names = [packet(f"n{n}.cluster.local.") for n in range(200)]
    for name in names:
        await house.ask(name, "tcp")
        await house.ask(name, "tcp")
    kept = [house.kept(name, "tcp") for name in reversed(names)]
    sizes = [len(message) for message in kept if message is not None]
    assert len(sizes) > 50
    assert sum(sizes) <= 2 * replies.MOST_BYTES


async def test_each_address_has_its_turn_in_a_reply_that_is_cut(house: House) -> None:
    house.plugin.reply = Reply(answer=addresses(100), lasting=True, dealt=True)
    seen: set[Record] = set()
    for ident in range(60):
        asked = packet(ident=ident)
        (message,) = await house.ask(asked)
        found = read(message, asked)
        assert message[:2] == asked[:2]
        assert found.truncated
        assert len(message) <= 512
        seen.update(found.answer)
    assert seen == set(addresses(100))
    assert house.plugin.asked == 2


async def test_every_request_is_counted_kept_or_not(house: House) -> None:
    house.door.open([Block(("cluster.local.",), (house.plugin, Prometheus()))])
    for turn in range(3):
        for _ in range(4):
            await house.ask(packet())
        await house.ask(packet(), "tcp")
        # Between a look at the page, and a change that forgets what was kept.
        if turn == 0:
            assert house.count("coredns_dns_responses_total", zone="cluster.local.") == 5
        house.revision += 1
    size = len(packet())
    assert house.count("coredns_dns_requests_total", proto="udp", type="A") == 12
    assert house.count("coredns_dns_responses_total", rcode="NOERROR", plugin="kubernetes") == 15
    assert house.count("coredns_dns_request_duration_seconds_count") == 15
    assert house.count("coredns_dns_request_size_bytes_sum", proto="udp") == 12 * size
    assert house.count("coredns_dns_response_size_bytes_sum", proto="tcp") == 3 * size


class Prometheus(Plugin):
    """Stands for the plugin of that name: its block's replies are shown."""

    name = "prometheus"


@pytest.mark.parametrize(
    ("limit", "opt", "most"),
    [
        (0, "", 512),
        (0, "000029 1000 00000000 0000", 4096),
        (1232, "000029 1000 00000000 0000", 1232),
        (1232, "000029 0400 00000000 0000", 1024),
        (1232, "", 512),
    ],
)
async def test_a_plugin_may_limit_datagrams(house: House, limit: int, opt: str, most: int) -> None:
    house.plugin.reply = Reply(answer=addresses(400), limit=limit)
    asked = packet(opt=opt)
    (message,) = await house.ask(asked)
    assert most - 16 < len(message) <= most
    assert read(message, asked).truncated
    (message,) = await house.ask(asked, "tcp")
    assert len(read(message, asked).answer) == 400


async def test_what_leaves_is_told(house: House) -> None:
    told: list[tuple[bytes, float]] = []
    house.plugin.reply = Reply(
        answer=addresses(1), sent=lambda message, seconds: told.append((message, seconds))
    )
    messages = [*await house.ask(packet()), *await house.ask(packet(), "tcp")]
    assert [message for message, _ in told] == messages


ZONE = (
    Record("cluster.local.", Kind.NS, 5, "ns.dns.cluster.local."),
    *(
        Record(f"svc-{n}.cluster.local.", Kind.A, 5, ip_address("10.0.0.0") + n)
        for n in range(3000)
    ),
)


async def test_a_zone_transfer_has_as_many_messages_as_it_needs(house: House) -> None:
    asked = packet("cluster.local.", Kind.AXFR)
    house.plugin.reply = Reply(answer=ZONE, is_transfer=True, lasting=True)
    messages = await house.ask(asked, "tcp")
    assert len(messages) > 1
    assert records(messages, asked) == ZONE
    assert max(map(len, messages)) <= 16384
    # Over UDP it would be an ordinary answer, cut.
    (message,) = await house.ask(asked)
    assert read(message, asked).truncated


@pytest.mark.parametrize("is_transfer", [False, True])
async def test_what_cannot_be_written_is_servfail(
    house: House, *, is_transfer: bool, caplog: pytest.LogCaptureFixture
) -> None:
    house.plugin.reply = Reply(
        answer=(Record(WEB, Kind.CNAME, 5, "x" * 64 + "."),), is_transfer=is_transfer
    )
    messages = await house.ask(packet(), "tcp")
    assert [read(message, packet()).rcode for message in messages] == [Rcode.SERVFAIL]
    assert "plugin/errors: 2 web.shop.svc.cluster.local." in caplog.text


def records(messages: Iterable[bytes], asked: bytes) -> tuple[Record, ...]:
    return tuple(record for message in messages for record in read(message, asked).answer)
