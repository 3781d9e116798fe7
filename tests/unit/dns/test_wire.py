"""Requests from strangers, and replies as bytes."""

import json
import random
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from podwire.dns.messages.dealing import deal
from podwire.dns.messages.message import (
    Kind,
    Question,
    Rcode,
    Record,
    Reply,
    Soa,
    Srv,
    Text,
    rcode_name,
)
from podwire.dns.messages.query import Query, Rejection, labels_of, name_of, screen
from podwire.dns.messages.wire import UnreadableReplyError, question_packet, read_reply
from podwire.dns.messages.writer import UnwritableReplyError, reject, udp_limit, write

Json = dict[str, Any]
HOSTILE: Json = json.loads(
    (Path(__file__).resolve().parents[2] / "data" / "dns" / "hostile.json").read_text()
)
WEB = "web.shop.svc.cluster.local."


def keep(_: Any) -> None:
    """Shuffle nothing."""


def query(name: str = WEB, kind: int = Kind.A, opt: str = "") -> Query:
    """Return a request; *opt* is the hex of its additional record."""
    packet = bytearray(question_packet(0x1234, Question(name, kind)))
    if opt:
        packet[11] = 1
    asked = screen(bytes(packet) + bytes.fromhex(opt))
    assert isinstance(asked, Query), asked
    return asked


def read(packet: bytes, asked: Query) -> Reply:
    return read_reply(packet, asked)


def outcome(packet: bytes) -> str:
    """Return what happens to a request before any look-up."""
    screened = screen(packet)
    if screened is None:
        return "drop"
    if isinstance(screened, Rejection):
        reply = reject(screened)
        assert reply[:2] == packet[:2]
        assert reply[2] & 0x80
        assert screened.rcode & 0xF == reply[3] & 0xF
        return rcode_name(screened.rcode)
    return "look up"


@pytest.mark.parametrize("entry", HOSTILE["packets"], ids=lambda entry: entry["name"])
def test_hostile_packet(entry: Json) -> None:
    answered = ("NOERROR", "NXDOMAIN", "not FORMERR", "close or ignore")
    found = outcome(bytes.fromhex(entry["hex"]))
    good = [entry["expect"], *entry.get("also_acceptable", ())]
    if entry["transport"] == "tcp" and not entry["hex"]:
        assert found == "drop"
    elif found == "look up":
        # What comes of the look-up is for the tests of the whole server.
        assert any(g.startswith((*answered, "REFUSED")) for g in good)
    else:
        assert any(g.startswith(found) for g in good), found


@pytest.mark.parametrize(
    ("seed", "rounds"), [(1, 3000), (2, 3000)], ids=["flipped bytes", "random bytes"]
)
def test_noise_never_raises(seed: int, rounds: int) -> None:
    dice = random.Random(seed)
    good = bytes.fromhex(HOSTILE["packets"][0]["hex"])
    for _ in range(rounds):
        packet = bytearray(good) if seed == 1 else bytearray(dice.randbytes(dice.randint(0, 300)))
        for _ in range(dice.randint(1, 6) if seed == 1 else 0):
            packet[dice.randrange(len(packet))] = dice.randrange(256)
        outcome(bytes(packet))


@pytest.mark.parametrize(
    ("flaw", "opt"),
    [
        ("two of them", "000029 04d0 00000000 0000" * 2),
        ("owner that is not the root", "0161 00 0029 04d0 00000000 0000"),
        ("option longer than the record", "000029 04d0 00000000 0006 000a 0010 3132"),
        ("more options than anybody has", "000029 04d0 00000000 0104" + "0003 0000" * 65),
        ("COOKIE of 7 bytes", "000029 04d0 00000000 000b 000a 0007 31323334353637"),
        (
            "client subnet with a prefix of 33",
            "000029 04d0 00000000 000b 0008 0007 0001 21 00 0a0000",
        ),
    ],
)
def test_a_broken_opt_is_answered_with_an_opt(flaw: str, opt: str) -> None:
    packet = bytearray(question_packet(7, Question(WEB, Kind.A)))
    packet[11] = opt.count("000029 04d0") or 1
    screened = screen(bytes(packet) + bytes.fromhex(opt))
    assert isinstance(screened, Rejection)
    assert screened.rcode is Rcode.FORMERR
    assert reject(screened)[-11:] == bytes.fromhex("000029 04d0 00000000 0000"), flaw


def test_badvers_has_its_high_bits_in_the_opt() -> None:
    packet = bytearray(question_packet(7, Question(WEB, Kind.A)))
    packet[11] = 1
    screened = screen(bytes(packet) + bytes.fromhex("000029 04d0 00010000 0000"))
    assert isinstance(screened, Rejection)
    reply = reject(screened)
    assert reply[3] & 0xF == 0
    assert reply[-11:] == bytes.fromhex("000029 04d0 01000000 0000")


@pytest.mark.parametrize(
    ("labels", "text"),
    [
        ([], "."),
        ([b"web", b"shop"], "web.shop."),
        ([b"a.b", b"\x00\xff", b"x y"], r"a\046b.\000\255.x\032y."),
        ([b"\\"], r"\092."),
        ([b"_http", b"*"], "_http.*."),
    ],
)
def test_names_as_text(labels: list[bytes], text: str) -> None:
    assert name_of(labels) == text
    assert labels_of(text) == labels


def test_the_spelling_of_the_question_is_echoed() -> None:
    asked = query("wEb.ShOp.sVc.cluster.local.")
    reply = write(asked, Reply(), 512, keep).message
    assert reply[12:] == asked.question_bytes
    assert b"wEb\x04ShOp" in reply


RECORDS = (
    Record(WEB, Kind.A, 30, ip_address("10.96.0.1")),
    Record(WEB, Kind.AAAA, 30, ip_address("fd00::1")),
    Record(WEB, Kind.CNAME, 5, "www.Example.COM."),
    Record("cluster.local.", Kind.NS, 5, "ns.dns.cluster.local."),
    Record("1.0.96.10.in-addr.arpa.", Kind.PTR, 5, WEB),
    Record("_http._tcp." + WEB, Kind.SRV, 5, Srv(0, 50, 80, WEB)),
    Record("dns-version.cluster.local.", Kind.TXT, 28800, Text((b"1.1.0",))),
    Record(
        "cluster.local.",
        Kind.SOA,
        30,
        Soa("ns.dns.cluster.local.", "hostmaster.cluster.local.", 9, 7200, 1800, 86400, 30),
    ),
)


@pytest.mark.parametrize("record", RECORDS, ids=lambda r: Kind(r.kind).name)
def test_what_is_written_can_be_read(record: Record) -> None:
    asked = query(record.name, record.kind)
    reply = Reply(answer=(record,), authority=(record,), authoritative=True)
    assert read(write(asked, reply, 4096, keep).message, asked) == reply


def many(count: int, owner: str = WEB) -> tuple[Record, ...]:
    first = int(ip_address("10.244.9.0"))
    return tuple(Record(owner, Kind.A, 30, ip_address(first + n)) for n in range(count))


@pytest.mark.parametrize(
    ("opt", "fit"), [("", 29), ("000029 0200 00000000 0000", 29), ("000029 04d0 00000000 0000", 40)]
)
def test_what_does_not_fit_is_cut_and_said(opt: str, fit: int) -> None:
    asked = query("many.default.svc.cluster.local.", opt=opt)
    limit = udp_limit(asked)
    message = write(asked, Reply(answer=many(40, asked.question.name)), limit, keep).message
    reply = read(message, asked)
    assert len(message) <= limit
    assert (len(reply.answer), reply.truncated) == (fit - (opt[7:11] == "0200"), fit < 40)
    assert message.endswith(bytes.fromhex(opt))


@pytest.mark.parametrize(
    ("claim", "limit"),
    [(0, 512), (511, 512), (512, 512), (1232, 1232), (4096, 4096), (4097, 1232), (65535, 1232)],
)
def test_no_client_gets_fragments_for_a_claim_that_nobody_makes(claim: int, limit: int) -> None:
    assert udp_limit(query(opt=f"000029 {claim:04x} 00000000 0000")) == limit


def test_the_additional_section_is_cut_first() -> None:
    asked = query()
    full = Reply(answer=many(10), additional=many(40, "b." + WEB))
    reply = read(write(asked, full, 512, keep).message, asked)
    assert reply.truncated
    assert len(reply.answer) == 10
    assert 0 < len(reply.additional) < 40


def test_pointers_stay_within_their_14_bits() -> None:
    asked = query()
    records = tuple(
        Record(f"n{n}.far.example.", Kind.CNAME, 5, f"t{n}.far{n % 7}.example.")
        for n in range(1500)
    )
    reply = read(write(asked, Reply(answer=records), 65535, keep).message, asked)
    assert reply.answer == records[: len(reply.answer)]
    assert len(reply.answer) > 900


def test_addresses_are_dealt_anew_from_a_kept_reply() -> None:
    asked = query()
    alias = Record(WEB, Kind.CNAME, 30, "b." + WEB)
    cards = many(12, "b." + WEB)
    dice = random.Random(4)
    kept = write(
        asked, Reply(answer=(*cards[:3], alias, *cards[3:]), dealt=True), 512, dice.shuffle
    )
    assert kept.can_be_dealt
    orders: set[tuple[Record, ...]] = set()
    for n in range(20):
        message = bytes((0, n)) + deal(kept, dice.shuffle)
        assert message[:2] == bytes((0, n))
        answer = read(message, asked).answer
        assert answer[0] == alias
        assert set(answer[1:]) == set(cards)
        orders.add(answer)
    assert len(orders) == 20


def test_extra_addresses_that_share_an_owner_can_be_dealt() -> None:
    asked = query("_http._tcp." + WEB, Kind.SRV)
    targets = [f"db-{n}.{WEB}" for n in range(4)]
    reply = Reply(
        answer=tuple(Record(asked.question.name, Kind.SRV, 5, Srv(0, 25, 80, t)) for t in targets),
        additional=tuple(Record(t, Kind.A, 5, ip_address("10.0.0.1")) for t in targets),
        dealt=True,
    )
    assert write(asked, reply, 4096, keep).can_be_dealt


def test_addresses_that_point_to_each_other_cannot_be_dealt() -> None:
    reply = Reply(additional=many(3, "elsewhere.example."), dealt=True)
    assert not write(query(), reply, 512, keep).can_be_dealt


@pytest.mark.parametrize("target", ["x" * 64 + ".example.", "a." * 130])
def test_names_that_no_message_can_hold(target: str) -> None:
    record = Record(WEB, Kind.CNAME, 5, target)
    with pytest.raises(UnwritableReplyError):
        write(query(), Reply(answer=(record,)), 512, keep)


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"\x00" * 12,
        bytes.fromhex("123480000001000100000000") + b"\x00\x00\x01\x00\x01",
        bytes.fromhex("123480000000000100000000")
        + b"\xc0\x0c\x00\x01\x00\x01"
        + bytes(4)
        + b"\x00\x04",
    ],
    ids=["nothing", "a question", "record missing", "pointer to itself"],
)
def test_replies_that_are_none(packet: bytes) -> None:
    with pytest.raises(UnreadableReplyError):
        read(packet, query())


def test_a_reply_to_another_question_is_formerr() -> None:
    other = query("other.example.")
    assert read(write(other, Reply(answer=many(1)), 512, keep).message, query()) == Reply(
        rcode=Rcode.FORMERR
    )
