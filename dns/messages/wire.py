"""What goes between us and an upstream: a request of our own, and bytes of its reply -> Reply.

The only importer of dnslib. Requests of clients do not come through here: dnslib accepts and
refuses too much of what strangers send (see query.py).
"""

from __future__ import annotations

# dnslib has no types.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportUntypedBaseClass=false
import struct
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import dnslib
from dnslib.buffer import BufferError as DnslibBufferError
from dnslib.label import DNSBuffer, DNSLabelError

from podwire.dns.messages.compression import wire_name
from podwire.dns.messages.message import (
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
from podwire.dns.messages.query import HEADER, RD, Edns, Query, name_of, screen, skip_name
from podwire.dns.messages.reader import read_plain
from podwire.dns.messages.writer import UnwritableReplyError


class UnreadableReplyError(ValueError):
    """An upstream sent what is no DNS reply."""


def question_packet(ident: int, question: Question) -> bytes:
    """Return a request of our own, recursion desired. Raises UnwritableReplyError."""
    try:
        name = wire_name(question.name)
    except ValueError as error:
        raise UnwritableReplyError(f"{question.name}: {error}") from error
    header = struct.pack("!6H", ident, RD, 1, 0, 0, 0)
    return header + name + struct.pack("!2H", question.kind, CLASS_IN)


def asked_again(query: Query, question: Question, edns: Edns | None) -> Query:
    """Return *query* with another question, and other EDNS; whatever else it carried is left out.

    Raises UnwritableReplyError when there can be no such name.
    """
    plain = bytearray(question_packet(query.id, question))
    struct.pack_into("!H", plain, 2, query.flags)
    if edns is not None:
        options = b"".join(struct.pack("!2H", code, len(v)) + v for code, v in edns.options)
        flags = (edns.version << 16) | (0x8000 if edns.dnssec_ok else 0)
        plain += struct.pack("!BHHIH", 0, Kind.OPT, edns.size, flags, len(options)) + options
        struct.pack_into("!H", plain, 10, 1)
    asked = screen(bytes(plain))
    if not isinstance(asked, Query):
        raise UnwritableReplyError(f"{question.name}: cannot be asked for")
    return asked


def read_reply(packet: bytes, query: Query) -> Reply:
    """Return what an upstream replied to *query*, its OPT left out.

    A reply to another question is FORMERR, as CoreDNS has it. Raises UnreadableReplyError.
    """
    plain = read_plain(packet, query)
    return plain if plain is not None else read_any(packet, query)


def read_any(packet: bytes, query: Query) -> Reply:
    """Return the same as `read_reply`, in the general way."""
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
        authenticated=bool(header.ad),
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
