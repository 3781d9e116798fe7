"""Pure: Reply -> bytes of a message. By hand, because most of the time of an answer went here."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from itertools import pairwise
from typing import Any, Final

from podwire.dns.messages.compression import Names, pointer, wire_name
from podwire.dns.messages.dealing import (
    Shuffle,
    Written,
    in_dealing_order,
    leads_before,
    run_of_addresses,
)
from podwire.dns.messages.message import (
    CLASS_IN,
    Data,
    Kind,
    Mx,
    Opaque,
    Record,
    Reply,
    Soa,
    Srv,
    Text,
)
from podwire.dns.messages.query import (
    AA,
    AD,
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
)

SMALLEST_UDP: Final = 512
LARGEST_UDP: Final = 65507
LARGEST_CLAIM: Final = 4096
UNFRAGMENTED: Final = 1232
LARGEST_TCP: Final = 65535
TRANSFER_MESSAGE: Final = 16384
"""How large the messages of a zone transfer get: pointers reach this far (RFC 5936, 2.2)."""

_POINTER_TO_QUESTION: Final = pointer(HEADER)
# Other types came after the RFC that allows compression in their data (RFC 3597, 4).
_COMPRESSED: Final = frozenset({Kind.CNAME, Kind.NS, Kind.PTR})

_COUNTS: Final = struct.Struct("!6H")
_FIXED: Final = struct.Struct("!HHIH")
_FIXED_A: Final = struct.Struct("!HHIHI")
_LENGTH: Final = struct.Struct("!H")
_SRV: Final = struct.Struct("!3H")
_SOA_TIMES: Final = struct.Struct("!5I")
_OPT: Final = struct.Struct("!BHHIH")


class UnwritableReplyError(ValueError):
    """A reply holds a name or value that no DNS message can hold."""


def reject(rejection: Rejection) -> bytes:
    """Return the reply to a request that gets no look-up."""
    query = rejection.query
    if query is None:
        flags = QR | rejection.flags & (0x7800 | RD | CD) | rejection.rcode
        return _COUNTS.pack(rejection.id, flags, 0, 0, 0, 0)
    return write(query, Reply(rcode=rejection.rcode), LARGEST_UDP, _as_they_are).message


def udp_limit(query: Query) -> int:
    """Return how many bytes the client takes in a datagram; never under 512 (RFC 6891, 6.2.3).

    Who claims more than anybody sensible does is after large replies, perhaps for somebody else: it
    gets what passes every path without fragments (RFC 9715, 3.1), and the rest over TCP.
    """
    if query.edns is None:
        return SMALLEST_UDP
    if query.edns.size > LARGEST_CLAIM:
        return UNFRAGMENTED
    return max(query.edns.size, SMALLEST_UDP)


def write(query: Query, reply: Reply, limit: int, shuffle: Shuffle) -> Written:
    """Return *reply* to *query* in at most *limit* bytes.

    What does not fit is cut from the end, additional records first, and TC is set; question and OPT
    always stay. A dealt reply has its addresses in the order that *shuffle* gives them. Raises
    UnwritableReplyError.
    """
    try:
        return _write(query, reply, limit, shuffle)
    except (ValueError, struct.error) as error:
        raise UnwritableReplyError(f"{query.question.name}: {error}") from error


def transfer(query: Query, reply: Reply, size: int = TRANSFER_MESSAGE) -> Iterator[bytes]:
    """Yield the messages of a zone transfer, each with the question and about *size* bytes.

    A record that is larger by itself has a message by itself. Raises UnwritableReplyError.
    """
    opt = _opt(query.edns, reply) if query.edns is not None else b""
    records = iter(reply.answer)
    ahead = next(records, None)
    try:
        while True:
            message = _Message(query)
            count = 0
            while ahead is not None:
                mark = len(message.data)
                message.put(ahead)
                if count and len(message.data) + len(opt) > size:
                    del message.data[mark:]
                    break
                count += 1
                ahead = next(records, None)
            yield _finished(message.data, query, reply, (count, 0, 0), opt, is_whole=True)
            if ahead is None:
                return
    except (ValueError, struct.error) as error:
        raise UnwritableReplyError(f"{query.question.name}: {error}") from error


def _write(query: Query, reply: Reply, limit: int, shuffle: Shuffle) -> Written:
    opt = _opt(query.edns, reply) if query.edns is not None else b""
    room = limit - len(opt)
    message = _Message(query)
    data, put = message.data, message.put
    edges: list[int] = []
    counts = [0, 0, 0]
    hands: list[tuple[int, int]] = []
    for nth, section in enumerate((reply.answer, reply.authority, reply.additional)):
        records: Sequence[Record] = section
        first = len(section)
        if reply.dealt and first > 1:
            records, first = in_dealing_order(section, shuffle)
        marks: list[int] = []
        for record in records:
            marks.append(len(data))
            put(record)
            if len(data) > room:
                del data[marks[-1] :]
                counts[nth] = len(marks) - 1
                whole = _finished(data, query, reply, counts, opt, is_whole=False)
                return Written(whole[:2], (whole[2:],), (), can_be_dealt=False)
        counts[nth] = len(marks)
        cards = run_of_addresses(records, first)
        if cards > 1:
            marks.append(len(data))
            # The part before the first card is one part, whatever is in it.
            hands.append((len(edges) + 1, len(edges) + 1 + cards))
            edges += marks[first : first + cards + 1]
    whole = _finished(data, query, reply, counts, opt, is_whole=True)
    if not hands:
        return Written(whole[:2], (whole[2:],), (), can_be_dealt=True)
    parts = tuple(whole[a:b] for a, b in pairwise((2, *edges, len(whole))))
    can_be_dealt = all(
        leads_before(card, edges[first - 1]) for first, last in hands for card in parts[first:last]
    )
    return Written(whole[:2], parts, tuple(hands), can_be_dealt)


def _finished(
    data: bytearray,
    query: Query,
    reply: Reply,
    counts: Sequence[int],
    opt: bytes,
    *,
    is_whole: bool,
) -> bytes:
    """Return the message with its header and *opt*."""
    flags = (
        QR
        | (query.flags & (RD | CD))
        | (AA if reply.authoritative else 0)
        | (RA if reply.recursion_available else 0)
        | (AD if reply.authenticated else 0)
        | (TC if reply.truncated or not is_whole else 0)
        | (reply.rcode & 0xF)
    )
    answers, authorities, additionals = counts
    additionals += 1 if opt else 0
    _COUNTS.pack_into(data, 0, query.id, flags, 1, answers, authorities, additionals)
    return bytes(data) + opt


def _opt(edns: Edns, reply: Reply) -> bytes:
    options = b"".join(
        struct.pack("!2H", code, len(value)) + value
        for code, value in edns.options
        if code in REFLECTED_OPTIONS
    )
    ttl = (reply.rcode >> 4) << 24 | (0x8000 if edns.dnssec_ok else 0)
    # The client's own claim comes back, lowered to what we keep to (plugin/bufsize/bufsize.go).
    size = min(edns.size, reply.limit) if reply.limit else edns.size
    return _OPT.pack(0, Kind.OPT, size, ttl, len(options)) + options


def _as_they_are(cards: list[Any]) -> None:
    """Leave the order alone."""


@lru_cache(maxsize=256)
def _soa_pieces(soa: Soa, zone: str) -> tuple[bytes, bytes, bytes]:
    """Return the labels that its two names have before *zone*, if any, and its numbers."""
    tail = len(wire_name(zone))
    mname, rname = (
        wire_name(name)[:-tail] if name.endswith("." + zone) else b""
        for name in (soa.mname, soa.rname)
    )
    return mname, rname, _soa_times(soa)


def _soa_times(soa: Soa) -> bytes:
    return _SOA_TIMES.pack(soa.serial, soa.refresh, soa.retry, soa.expire, soa.minimum)


class _Message:
    """A message as it grows: header and question, then records."""

    __slots__ = ("_names", "_question", "data")

    def __init__(self, query: Query) -> None:
        self.data = bytearray(query.packet[: query.question_end])
        self._question = query.question.name
        self._names = Names(self._question)

    def put(self, record: Record) -> None:
        """Append *record*. Raises ValueError or struct.error for what no message can hold."""
        data, held = self.data, record.data
        if isinstance(held, Soa) and self._put_soa(record, held):
            return
        if record.name == self._question and record.name != ".":
            data += _POINTER_TO_QUESTION
        else:
            self._names.put(data, record.name)
        if isinstance(held, IPv4Address):
            data += _FIXED_A.pack(record.kind, CLASS_IN, record.ttl, 4, int(held))
            return
        start = len(data) + _FIXED.size
        data += _FIXED.pack(record.kind, CLASS_IN, record.ttl, 0)
        self._put_data(held, record.kind)
        _LENGTH.pack_into(data, start - 2, len(data) - start)

    def _put_soa(self, record: Record, held: Soa) -> bool:
        """Append the SOA of a zone that the question is in; return whether it is that.

        Each negative answer has one, always the same but for where the zone's name stands.
        """
        at = self._names.in_question(record.name)
        if not at or record.name == ".":
            return False
        mname, rname, times = _soa_pieces(held, record.name)
        if not mname or not rname:
            return False
        zone = pointer(at)
        size = len(mname) + len(rname) + len(times) + 4
        fixed = _FIXED.pack(record.kind, CLASS_IN, record.ttl, size)
        self.data += b"".join((zone, fixed, mname, zone, rname, zone, times))
        return True

    def _put_data(self, held: Data, kind: int) -> None:
        data, names = self.data, self._names
        match held:
            case IPv4Address() | IPv6Address():
                data += held.packed
            case str():
                if kind in _COMPRESSED:
                    names.put(data, held)
                else:
                    names.put_whole(data, held)
            case Srv():
                data += _SRV.pack(held.priority, held.weight, held.port)
                # In full (RFC 2782).
                names.put_whole(data, held.target)
            case Soa():
                names.put(data, held.mname)
                names.put(data, held.rname)
                data += _soa_times(held)
            case Mx():
                data += _LENGTH.pack(held.preference)
                names.put(data, held.target)
            case Text():
                for part in held.strings or (b"",):
                    data.append(len(part))
                    data += part
            case Opaque():
                data += held.content
