"""Replies of upstreams, read by hand: never otherwise than dnslib reads them."""

import random
import struct
from ipaddress import ip_address

import pytest

from podwire.dns.messages.message import (
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
from podwire.dns.messages.query import Query, screen
from podwire.dns.messages.reader import read_plain
from podwire.dns.messages.wire import UnreadableReplyError, question_packet, read_any
from podwire.dns.messages.writer import write

WWW = "wWw.Example.com."
MAIL = "mail.example.com."

RECORDS = (
    Record(WWW, Kind.A, 30, ip_address("192.0.2.1")),
    Record("other.example.org.", Kind.AAAA, 2**31 - 1, ip_address("2001:db8::1")),
    Record(WWW, Kind.CNAME, 0, "target.Example.NET."),
    Record("example.com.", Kind.NS, 5, "ns.example.com."),
    Record(r"a\046b\000.example.com.", Kind.PTR, 5, WWW),
    Record("_sip._tcp.example.com.", Kind.SRV, 5, Srv(1, 50, 5060, MAIL)),
    Record("example.com.", Kind.MX, 5, Mx(10, MAIL)),
    Record("example.com.", Kind.TXT, 5, Text((b"one", b"", b"\xff" * 255))),
    Record(".", Kind.SOA, 30, Soa("ns.example.com.", ".", 9, 7200, 1800, 86400, 30)),
    Record("example.com.", Kind.DS, 30, Opaque(b"\x00\x01\x08\x02" + bytes(32))),
    Record("example.com.", 65280, 30, Opaque(b"anything")),
)


def query(name: str = WWW, kind: int = Kind.A) -> Query:
    found = screen(question_packet(7, Question(name, kind)))
    assert isinstance(found, Query)
    return found


def message(reply: Reply, asked: Query | None = None) -> bytes:
    return write(asked or query(), reply, 65535, lambda _: None).message


@pytest.mark.parametrize("record", RECORDS, ids=lambda r: str(r.kind))
def test_records(record: Record) -> None:
    reply = Reply(
        rcode=Rcode.NXDOMAIN,
        recursion_available=True,
        authenticated=True,
        answer=(record,),
        authority=RECORDS[:3],
        additional=(record, *RECORDS[3:5]),
    )
    packet = message(reply)
    assert read_plain(packet, query()) == reply == read_any(packet, query())


def test_the_high_bits_of_the_code_are_in_the_opt() -> None:
    plain = message(Reply(answer=RECORDS[:1]))
    packet = plain[:11] + b"\1" + plain[12:] + struct.pack("!BHHIH", 0, Kind.OPT, 1232, 1 << 24, 0)
    found = read_plain(packet, query())
    assert found == read_any(packet, query())
    assert found is not None
    assert (found.rcode, found.additional) == (16, ())


CUT = message(Reply(answer=RECORDS[:1]))


@pytest.mark.parametrize(
    ("what", "packet"),
    [
        ("no reply", CUT[:2] + b"\0\0" + CUT[4:]),
        ("another question", message(Reply(), query("other.example."))),
        ("another spelling", message(Reply(), query(WWW.lower()))),
        ("no question", CUT[:4] + bytes(8)),
        ("the end is missing", CUT[:-1]),
        ("a record is missing", CUT[:7] + b"\x02" + CUT[8:]),
        ("an address of three bytes", CUT[:-6] + b"\0\3" + CUT[-4:-1]),
        ("a record of another class", CUT[:-12] + b"\0\3" + CUT[-10:]),
        ("a record whose data may be compressed",
         CUT[:-14] + struct.pack("!HHIH", 17, 1, 5, 4) + b"\xc0\x0c\xc0\x0c"),
    ],
)  # fmt: skip
def test_what_is_odd_is_left_to_the_general_way(what: str, packet: bytes) -> None:
    assert read_plain(packet, query()) is None, what


@pytest.mark.parametrize("seed", range(8))
def test_noise_is_read_as_the_general_way_reads_it_or_not_at_all(seed: int) -> None:
    dice = random.Random(seed)
    read = 0
    for _ in range(400):
        records = dice.sample(RECORDS, 3)
        packet = bytearray(message(Reply(answer=tuple(records[:2]), additional=(records[2],))))
        for _ in range(dice.randrange(3)):
            packet[dice.randrange(2, len(packet))] = dice.randrange(256)
        found = read_plain(bytes(packet), query())
        if found is None:
            continue
        read += 1
        try:
            assert found == read_any(bytes(packet), query()), packet.hex()
        except UnreadableReplyError as error:
            # Names need not be UTF-8, but dnslib wants it.
            if "Invalid label" not in str(error):
                pytest.fail(f"{packet.hex()}: {error}")
    assert read > 100
