"""Replies as bytes: whatever we write, another reader (dnslib) finds the same records in it."""

import random
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

import pytest

from podwire.dns.messages.compression import wire_name
from podwire.dns.messages.dealing import deal
from podwire.dns.messages.message import (
    Data,
    Kind,
    Mx,
    Opaque,
    Question,
    Rcode,
    Record,
    Reply,
    Soa,
    Srv,
    Text,
)
from podwire.dns.messages.query import Query, labels_of, name_of, screen
from podwire.dns.messages.wire import question_packet, read_reply
from podwire.dns.messages.writer import UnwritableReplyError, transfer, write

WEB = "web.shop.svc.cluster.local."
ZONE = "cluster.local."


def keep(_: Any) -> None:
    """Shuffle nothing."""


def query(name: str = WEB, kind: int = Kind.A, opt: str = "") -> Query:
    packet = bytearray(question_packet(0x1234, Question(name, kind)))
    packet[11] = bool(opt)
    asked = screen(bytes(packet) + bytes.fromhex(opt))
    assert isinstance(asked, Query), asked
    return asked


def soa(zone: str, serial: int = 9) -> Record:
    spelled = zone.removeprefix(".")
    data = Soa(f"ns.dns.{spelled}", f"hostmaster.{spelled}", serial, 7200, 1800, 86400, 30)
    return Record(zone, Kind.SOA, 30, data)


class Scribe:
    """Makes up names that share endings, spell them differently and hold odd bytes, and records."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self._known = ["cluster.local.", "CLUSTER.local.", "."]

    def label(self) -> bytes:
        dice = self.dice
        match dice.randrange(10):
            case 0:
                # Bytes that are no UTF-8 are legal, but the other reader refuses them.
                return bytes(dice.randrange(128) for _ in range(dice.randint(1, 12)))
            case 1:
                return bytes(dice.choices(b'.\\ "$;()@\x00\x7f', k=dice.randint(1, 4)))
            case 2:
                return "\u00e9".encode() * dice.randint(1, 3)
            case 3:
                return b"x" * 63
            case _:
                return bytes(dice.choices(b"abcABC-_019", k=dice.randint(1, 6)))

    def name(self) -> str:
        dice = self.dice
        rest = labels_of(dice.choice(self._known))
        labels = [*(self.label() for _ in range(dice.randrange(3))), *rest]
        while sum(map(len, labels)) + len(labels) + 1 > 255:
            del labels[0]
        made = name_of(labels)
        self._known = [*self._known[-12:], made]
        return made

    def number(self, bits: int) -> int:
        return self.dice.choice((0, 1, (1 << bits) - 1, self.dice.getrandbits(bits)))

    def data(self) -> tuple[int, Data]:
        dice = self.dice
        made: list[tuple[int, Data]] = [
            (Kind.A, IPv4Address(self.number(32))),
            (Kind.AAAA, IPv6Address(self.number(128))),
            (dice.choice((Kind.CNAME, Kind.NS, Kind.PTR)), self.name()),
            (Kind.SRV, Srv(self.number(16), self.number(16), self.number(16), self.name())),
            (Kind.SOA, Soa(self.name(), self.name(), *(self.number(32) for _ in range(5)))),
            (Kind.MX, Mx(self.number(16), self.name())),
            (Kind.TXT, Text(tuple(dice.randbytes(dice.choice((0, 3, 255))) for _ in range(2)))),
            (65280, Opaque(dice.randbytes(dice.randint(1, 20)))),
        ]
        return dice.choice(made)

    def section(self) -> tuple[Record, ...]:
        found: list[Record] = []
        for _ in range(self.dice.randrange(5)):
            kind, data = self.data()
            found.append(Record(self.name(), kind, self.number(31), data))
        return tuple(found)

    def reply(self) -> Reply:
        dice = self.dice
        return Reply(
            rcode=dice.choice((Rcode.NOERROR, Rcode.NXDOMAIN)),
            authoritative=dice.random() < 0.5,
            recursion_available=dice.random() < 0.5,
            answer=self.section(),
            authority=self.section(),
            additional=self.section(),
        )


@pytest.mark.parametrize("seed", range(50))
def test_any_reply_can_be_read(seed: int) -> None:
    scribe = Scribe(seed)
    asked = query(scribe.name())
    reply = scribe.reply()
    assert read_reply(write(asked, reply, 65535, keep).message, asked) == reply


@pytest.mark.parametrize("seed", range(50))
def test_any_reply_that_is_cut_holds_its_first_records(seed: int) -> None:
    scribe = Scribe(seed)
    asked = query(scribe.name())
    reply = scribe.reply()
    for limit in range(512, 700, 7):
        message = write(asked, reply, limit, keep).message
        found = read_reply(message, asked)
        assert len(message) <= limit
        sent, full = ((*one.answer, *one.authority, *one.additional) for one in (found, reply))
        assert full[: len(sent)] == sent
        assert found.truncated == (len(sent) < len(full))


@pytest.mark.parametrize("seed", range(50))
def test_any_dealt_reply_keeps_its_records(seed: int) -> None:
    scribe = Scribe(seed)
    asked = query(scribe.name())
    plain = scribe.reply()
    addresses = tuple(
        Record(asked.question.name, Kind.A, 5, IPv4Address(n)) for n in range(seed % 5)
    )
    reply = Reply(
        answer=(*addresses, *plain.answer),
        authority=plain.authority,
        additional=(*plain.additional, *addresses),
        dealt=True,
    )
    written = write(asked, reply, 65535, scribe.dice.shuffle)
    for message in (written.message, b"\x12\x34" + deal(written, scribe.dice.shuffle)):
        if not written.can_be_dealt and message != written.message:
            continue
        found = read_reply(message, asked)
        for section in ("answer", "authority", "additional"):
            assert grouped(getattr(found, section)) == grouped(getattr(reply, section))


def grouped(section: Sequence[Record]) -> tuple[list[Record], list[Record], set[Record]]:
    """Return aliases, other records in order, and what may come in any order behind them."""
    shuffled = (Kind.A, Kind.AAAA, Kind.MX)
    return (
        [r for r in section if r.kind == Kind.CNAME],
        [r for r in section if r.kind not in (Kind.CNAME, *shuffled)],
        {r for r in section if r.kind in shuffled},
    )


@pytest.mark.parametrize(
    ("asked", "record"),
    [
        ("nosuch.svc.cluster.local.", soa(ZONE)),
        ("nosuch.svc.CLUSTER.local.", soa("CLUSTER.local.")),
        ("nosuch.svc.CLUSTER.local.", soa(ZONE)),
        ("nosuch.xcluster.local.", soa(ZONE)),
        (ZONE, soa(ZONE)),
        ("nosuch.example.", soa(ZONE)),
        (r"a\046b.cluster.local.", soa(ZONE)),
        (r"x.a\046b.", soa(r"a\046b.")),
        ("nosuch.", soa(".")),
        (".", soa(".")),
        ("a." + ZONE, Record(ZONE, Kind.SOA, 5, Soa(".", ZONE, 1, 2, 3, 4, 5))),
        (
            "a." + ZONE,
            Record(ZONE, Kind.SOA, 5, Soa("xcluster.local.", "b.example.", 1, 2, 3, 4, 5)),
        ),
    ],
)
def test_the_soa_of_a_negative_answer(asked: str, record: Record) -> None:
    reply = Reply(rcode=Rcode.NXDOMAIN, authority=(record,), additional=(record,))
    found = query(asked)
    for _ in range(2):
        assert read_reply(write(found, reply, 512, keep).message, found) == reply


def test_an_soa_whose_names_are_too_long() -> None:
    zone = f"{'a' * 63}.{'b' * 63}.{'c' * 63}.{'d' * 59}."
    with pytest.raises(UnwritableReplyError):
        write(query(zone), Reply(authority=(soa(zone),)), 512, keep)


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (Kind.CNAME, "a..b."),
        (Kind.CNAME, "\u20ac.example."),
        (Kind.SRV, Srv(0, 0, 65536, WEB)),
        (Kind.TXT, Text((b"x" * 256,))),
        (65280, Opaque(bytes(65536))),
    ],
)
def test_data_that_no_message_can_hold(kind: int, data: Data) -> None:
    with pytest.raises(UnwritableReplyError):
        write(query(), Reply(answer=(Record(WEB, kind, 5, data),)), 65535, keep)


@pytest.mark.parametrize(("limit", "said"), [(0, 4096), (600, 600), (8192, 4096)])
def test_the_opt_says_the_size_that_is_kept_to(limit: int, said: int) -> None:
    reply = Reply(limit=limit)
    message = write(query(opt="0000291000000000000000"), reply, 4096, keep).message
    assert int.from_bytes(message[-8:-6], "big") == said


def test_data_of_later_types_is_not_compressed() -> None:
    dname = 39  # RFC 6672, 2.5
    asked = query()
    message = write(asked, Reply(answer=(Record(WEB, dname, 5, WEB),)), 512, keep).message
    assert message.endswith(wire_name(WEB))


ENTRIES = tuple(
    Record(f"svc-{n}.{ZONE}", Kind.A, 5, ip_address("10.0.0.0") + n) for n in range(999)
)


@pytest.mark.parametrize(
    ("records", "opt"),
    [
        ((soa(ZONE), *ENTRIES, soa(ZONE)), ""),
        ((soa(ZONE), *ENTRIES, soa(ZONE)), "000029 04d0 00000000 0000"),
        ((soa(ZONE),), ""),
        ((), ""),
        ((soa(ZONE), Record(ZONE, 65280, 5, Opaque(bytes(40_000))), soa(ZONE)), ""),
    ],
    ids=["many records", "with OPT", "one record", "nothing", "a record larger than a message"],
)
def test_a_zone_transfer_is_cut_into_messages(records: tuple[Record, ...], opt: str) -> None:
    asked = query(ZONE, Kind.AXFR, opt)
    reply = Reply(authoritative=True, answer=records, is_transfer=True)
    messages = list(transfer(asked, reply, 4096))
    found = [read_reply(message, asked) for message in messages]
    assert tuple(record for one in found for record in one.answer) == records
    assert not any(one.truncated for one in found)
    assert all(one.authoritative for one in found)
    assert all(message[12 : asked.question_end] == asked.question_bytes for message in messages)
    assert all(message.endswith(bytes.fromhex(opt)) for message in messages)
    assert all(
        len(m) <= 4096 or len(one.answer) == 1 for m, one in zip(messages, found, strict=True)
    )
