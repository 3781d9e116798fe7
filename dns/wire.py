"""The only importer of dnslib: Reply -> bytes of a message, bytes of an upstream's reply -> Reply.

Requests do not come through here: dnslib accepts and refuses too much of what strangers send
(see query.py). What it packs are records that we made or took from an upstream.
"""

from __future__ import annotations

# dnslib has no types.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportUntypedBaseClass=false
import struct
from collections.abc import Callable, MutableSequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from itertools import pairwise
from typing import Any, Final

import dnslib
from dnslib.buffer import BufferError as DnslibBufferError
from dnslib.label import DNSBuffer, DNSLabel, DNSLabelError

from podwire.dns.message import (
    CLASS_IN,
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
from podwire.dns.query import (
    AA,
    CD,
    HEADER,
    QR,
    RA,
    RD,
    REFLECTED_OPTIONS,
    TC,
    Edns,
    Query,
    Rejection,
    labels_of,
    name_of,
    skip_name,
)

SMALLEST_UDP: Final = 512
LARGEST_UDP: Final = 65507
LARGEST_TCP: Final = 65535

_LAST_POINTER: Final = 0x3FFF

Shuffle = Callable[[MutableSequence[Any]], None]
"""`random.Random.shuffle`, or what a test puts in its place."""


class UnreadableReplyError(ValueError):
    """An upstream sent what is no DNS reply."""


class UnwritableReplyError(ValueError):
    """A reply holds a name or value that no DNS message can hold."""


@dataclass(frozen=True, slots=True)
class Written:
    """A reply as bytes, cut where its addresses can be dealt anew.

    *hands* are (first, last) ranges of *parts* that hold one address record each; they may trade
    places if the reply *can_be_dealt*: nothing was cut, and none of them points to another.
    """

    parts: tuple[bytes, ...]
    hands: tuple[tuple[int, int], ...]
    can_be_dealt: bool

    @property
    def message(self) -> bytes:
        """Return the message in the order in which it was written."""
        return b"".join(self.parts)


def reject(rejection: Rejection) -> bytes:
    """Return the reply to a request that gets no look-up."""
    query = rejection.query
    if query is None:
        flags = QR | rejection.flags & (0x7800 | RD | CD) | rejection.rcode
        return struct.pack("!6H", rejection.id, flags, 0, 0, 0, 0)
    return write(query, Reply(rcode=rejection.rcode), LARGEST_UDP, _as_they_are).message


def udp_limit(query: Query) -> int:
    """Return how many bytes the client takes in a datagram; never under 512 (RFC 6891, 6.2.3)."""
    if query.edns is None:
        return SMALLEST_UDP
    return min(max(query.edns.size, SMALLEST_UDP), LARGEST_UDP)


def write(query: Query, reply: Reply, limit: int, shuffle: Shuffle) -> Written:
    """Return *reply* to *query* in at most *limit* bytes.

    What does not fit is cut from the end, additional records first, and TC is set; question and OPT
    always stay. A dealt reply has its addresses in the order that *shuffle* gives them. Raises
    UnwritableReplyError.
    """
    try:
        return _write(query, reply, limit, shuffle)
    except (DNSLabelError, dnslib.DNSError, ValueError, struct.error) as error:
        raise UnwritableReplyError(f"{query.question.name}: {error}") from error


def _write(query: Query, reply: Reply, limit: int, shuffle: Shuffle) -> Written:
    opt = _opt(query.edns, reply.rcode) if query.edns is not None else b""
    buffer = _Buffer(bytes(HEADER) + query.question_bytes)
    buffer.know(query.question.name, HEADER)
    edges = [0]
    counts: list[int] = []
    hands: list[tuple[int, int]] = []
    is_whole = True
    for section in (reply.answer, reply.authority, reply.additional):
        before = len(edges)
        records = _dealt(section, shuffle) if reply.dealt else list(section)
        for record in records if is_whole else ():
            mark = len(buffer.data)
            _put(buffer, record)
            if len(buffer.data) + len(opt) > limit:
                buffer.cut(mark)
                is_whole = False
                break
            edges.append(mark)
        counts.append(len(edges) - before)
        if reply.dealt and is_whole:
            nths = [n for n, r in enumerate(records, before) if r.kind in (Kind.A, Kind.AAAA)]
            if len(nths) > 1:
                hands.append((nths[0], nths[-1] + 1))
    flags = (
        QR
        | (query.flags & (RD | CD))
        | (AA if reply.authoritative else 0)
        | (RA if reply.recursion_available else 0)
        | (TC if reply.truncated or not is_whole else 0)
        | (reply.rcode & 0xF)
    )
    counts[2] += bool(opt)
    data = struct.pack("!6H", query.id, flags, 1, *counts) + bytes(buffer.data[HEADER:])
    edges.append(len(data))
    parts = tuple(data[a:b] for a, b in pairwise(edges))
    can_be_dealt = is_whole and all(
        _leads_before(card, edges[first]) for first, last in hands for card in parts[first:last]
    )
    return Written((*parts, opt), tuple(hands), can_be_dealt)


def _leads_before(card: bytes, start: int) -> bool:
    """Return whether a record's owner is but a pointer to what stands before *start*."""
    return card[0] >= 0xC0 and ((card[0] & 0x3F) << 8 | card[1]) < start


def deal(written: Written, ident: bytes, shuffle: Shuffle) -> bytes:
    """Return *written* for another request with the two bytes *ident*, its addresses dealt anew."""
    if not written.hands:
        return ident + written.message[2:]
    parts = list(written.parts)
    for first, last in written.hands:
        cards = parts[first:last]
        shuffle(cards)
        parts[first:last] = cards
    return ident + b"".join(parts)[2:]


def question_packet(ident: int, question: Question) -> bytes:
    """Return a request of our own, recursion desired. Raises UnwritableReplyError."""
    buffer = _Buffer(struct.pack("!6H", ident, RD, 1, 0, 0, 0))
    try:
        buffer.encode_name(DNSLabel(labels_of(question.name)))
    except (DNSLabelError, ValueError) as error:
        raise UnwritableReplyError(f"{question.name}: {error}") from error
    return bytes(buffer.data) + struct.pack("!2H", question.kind, CLASS_IN)


def read_reply(packet: bytes, query: Query) -> Reply:
    """Return what an upstream replied to *query*, its OPT left out.

    A reply to another question is FORMERR, as CoreDNS has it. Raises UnreadableReplyError.
    """
    try:
        # dnslib follows pointers recursively at quadratic cost: look where they lead first.
        _check_owners(packet)
        record = dnslib.DNSRecord.parse(packet)
        reply = _read(record)
    except (dnslib.DNSError, DNSLabelError, DnslibBufferError, RecursionError) as error:
        raise UnreadableReplyError(str(error)) from error
    except (ValueError, struct.error, IndexError) as error:
        raise UnreadableReplyError(f"malformed reply: {error}") from error
    asked = query.question
    if not record.questions:
        return reply if reply.rcode else Reply(rcode=Rcode.FORMERR)
    name = name_of(list(record.q.qname.label))
    if name.lower() != asked.name.lower() or record.q.qtype != asked.kind:
        return Reply(rcode=Rcode.FORMERR)
    return reply


def _read(record: Any) -> Reply:
    header = record.header
    extended = next((rr.ttl >> 24 & 0xFF for rr in record.ar if rr.rtype == Kind.OPT), 0)
    return Reply(
        rcode=extended << 4 | header.rcode,
        authoritative=bool(header.aa),
        recursion_available=bool(header.ra),
        truncated=bool(header.tc),
        answer=_records(record.rr),
        authority=_records(record.auth),
        additional=_records(record.ar),
    )


def _check_owners(packet: bytes) -> None:
    if len(packet) < HEADER or not packet[2] & 0x80:
        raise ValueError("no reply")
    questions, *counts = struct.unpack("!4H", packet[4:HEADER])
    if questions > 1:
        raise ValueError("more than one question")
    at = HEADER
    for _ in range(questions):
        at = skip_name(packet, at) + 4
    for _ in range(sum(counts)):
        at = skip_name(packet, at)
        at += 10 + struct.unpack_from("!H", packet, at + 8)[0]
    if at > len(packet):
        raise ValueError("a record ends outside the message")


def _records(found: list[Any]) -> tuple[Record, ...]:
    return tuple(
        Record(_text(rr.rname), int(rr.rtype), int(rr.ttl), _data(rr.rtype, rr.rdata))
        for rr in found
        if rr.rtype != Kind.OPT
    )


def _text(label: Any) -> str:
    return name_of(list(label.label))


def _data(kind: int, rdata: Any) -> Data:
    match kind:
        case Kind.A:
            return IPv4Address(bytes(rdata.data))
        case Kind.AAAA:
            return IPv6Address(bytes(rdata.data))
        case Kind.CNAME | Kind.NS | Kind.PTR:
            return _text(rdata.label)
        case Kind.MX:
            return Mx(rdata.preference, _text(rdata.label))
        case Kind.SRV:
            return Srv(rdata.priority, rdata.weight, rdata.port, _text(rdata.target))
        case Kind.SOA:
            return Soa(_text(rdata.mname), _text(rdata.rname), *rdata.times)
        case Kind.TXT:
            return Text(tuple(rdata.data))
        case _:
            plain = DNSBuffer()
            rdata.pack(plain)
            return Opaque(bytes(plain.data))


def _rdata(data: Data, kind: int) -> Any:
    match data:
        case IPv4Address():
            return dnslib.A(tuple(data.packed))
        case IPv6Address():
            return dnslib.AAAA(tuple(data.packed))
        case str():
            made = {Kind.CNAME: dnslib.CNAME, Kind.NS: dnslib.NS, Kind.PTR: dnslib.PTR}
            return made[Kind(kind)](_label(data))
        case Srv():
            return dnslib.SRV(data.priority, data.weight, data.port, _label(data.target))
        case Soa():
            times = (data.serial, data.refresh, data.retry, data.expire, data.minimum)
            return dnslib.SOA(_label(data.mname), _label(data.rname), times)
        case Mx():
            return dnslib.MX(_label(data.target), data.preference)
        case Text():
            return dnslib.TXT(list(data.strings))
        case Opaque():
            return dnslib.RD(data.content)


def _label(name: str) -> DNSLabel:
    return DNSLabel(labels_of(name))


def _put(buffer: _Buffer, record: Record) -> None:
    rdata = _rdata(record.data, record.kind)
    rr = dnslib.RR(_label(record.name), int(record.kind), CLASS_IN, record.ttl, rdata)
    rr.pack(buffer)


def _dealt(section: tuple[Record, ...], shuffle: Shuffle) -> list[Record]:
    """Return aliases, other records, addresses, mail exchangers: the last two shuffled."""
    aliases = [r for r in section if r.kind == Kind.CNAME]
    addresses = [r for r in section if r.kind in (Kind.A, Kind.AAAA)]
    mail = [r for r in section if r.kind == Kind.MX]
    shuffle(addresses)
    shuffle(mail)
    usual = (Kind.CNAME, Kind.A, Kind.AAAA, Kind.MX)
    return [*aliases, *(r for r in section if r.kind not in usual), *addresses, *mail]


def _opt(edns: Edns, rcode: int) -> bytes:
    options = b"".join(
        struct.pack("!2H", code, len(value)) + value
        for code, value in edns.options
        if code in REFLECTED_OPTIONS
    )
    ttl = (rcode >> 4) << 24 | (0x8000 if edns.dnssec_ok else 0)
    return struct.pack("!BHHIH", 0, Kind.OPT, edns.size, ttl, len(options)) + options


def _as_they_are(cards: MutableSequence[Any]) -> None:
    """Leave the order alone."""


class _Buffer(DNSBuffer):  # type: ignore[misc]
    """dnslib's buffer, except that pointers never lead beyond what 14 bits can say."""

    data: bytearray
    names: dict[tuple[bytes, ...], int]

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.offset = len(data)

    def cut(self, at: int) -> None:
        """Forget what stands from *at* on; nothing may be packed after that."""
        self.data = self.data[:at]
        self.offset = at

    def know(self, name: str, at: int) -> None:
        """Note that *name* stands uncompressed at *at*."""
        labels = labels_of(name)
        for nth, label in enumerate(labels):
            self.names.setdefault(tuple(labels[nth:]), at)
            at += len(label) + 1

    def encode_name(self, name: Any) -> None:
        """Append *name*, compressed (RFC 1035, 4.1.4)."""
        labels = tuple(name.label)
        if sum(map(len, labels)) + len(labels) + 1 > 255:
            raise DNSLabelError(f"name too long: {name}")
        for nth, label in enumerate(labels):
            rest = labels[nth:]
            if rest in self.names:
                self.append(struct.pack("!H", 0xC000 | self.names[rest]))
                return
            if not 0 < len(label) < 64:
                raise DNSLabelError(f"label too long: {name}")
            if len(self.data) <= _LAST_POINTER:
                self.names[rest] = len(self.data)
            self.append(bytes((len(label),)) + label)
        self.append(b"\0")

    def encode_name_nocompress(self, name: Any) -> None:
        """Append *name* in full (SRV, RFC 2782); later names may point to it."""
        labels = tuple(name.label)
        at = len(self.data)
        super().encode_name_nocompress(name)
        for nth, label in enumerate(labels):
            if at <= _LAST_POINTER:
                self.names.setdefault(labels[nth:], at)
            at += len(label) + 1
