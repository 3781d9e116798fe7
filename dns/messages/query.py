"""Pure: bytes of a request -> Query, or the rejection that it deserves. Never raises.

The only code that sees raw bytes from strangers, so everything in it is bounded: counts are
checked before anything is read, and a name ends after 255 bytes and ten pointers.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Final

from podwire.dns.messages.message import CLASS_IN, Kind, Question, Rcode

HEADER: Final = 12
LONGEST_NAME: Final = 255
MOST_POINTERS: Final = 10
MOST_OPTIONS: Final = 64
"""Of one OPT record: 64 KB have room for 16,000, which nobody needs and which take 12 ms."""

QR: Final = 0x8000
AA: Final = 0x0400
TC: Final = 0x0200
RD: Final = 0x0100
RA: Final = 0x0080
AD: Final = 0x0020
CD: Final = 0x0010

# What a server sends back as it came (as CoreDNS does): NSID, EXPIRE, COOKIE, KEEPALIVE, PADDING.
REFLECTED_OPTIONS: Final = frozenset({3, 9, 10, 11, 12})
_CLIENT_SUBNET: Final = 8
_COOKIE: Final = 10

_PLAIN: Final = frozenset(range(0x21, 0x7F)) - frozenset(b'."\\$();@')
_PLAIN_BYTES: Final = bytes(sorted(_PLAIN))

_HEADER: Final = struct.Struct("!6H")
_QUESTION_END: Final = struct.Struct("!2H")
_PLAIN_OPT: Final = struct.Struct("!BHHIH")


@dataclass(frozen=True, slots=True)
class Edns:
    """The OPT record of a request (RFC 6891); *size* is the datagram the client can take."""

    size: int
    version: int = 0
    dnssec_ok: bool = False
    options: tuple[tuple[int, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class Query:
    """A request that can be answered; *packet* holds it without what may trail it.

    *question_end* is where the question's bytes end; they begin after the header.
    """

    packet: bytes = field(repr=False)
    id: int
    flags: int
    question: Question
    question_end: int
    edns: Edns | None = None

    @property
    def question_bytes(self) -> bytes:
        """Return the question as it came, to be echoed."""
        return self.packet[HEADER : self.question_end]


@dataclass(frozen=True, slots=True)
class Rejection:
    """A request that gets an error and no look-up; *query* is None when not even its name is known.

    Without a query the reply is a bare header.
    """

    rcode: Rcode
    id: int
    flags: int
    query: Query | None = None


class _BadMessageError(Exception):
    """The bytes are no DNS message; raised and caught in here only."""


def screen(packet: bytes) -> Query | Rejection | None:
    """Return what *packet* asks, why it is rejected, or None: it gets no reply at all.

    The order is that of the server in front of CoreDNS's plugins: header, counts, form, class,
    EDNS version.
    """
    if len(packet) < HEADER:
        return None
    ident, flags, questions, answers, authorities, additionals = _HEADER.unpack_from(packet)
    if flags & QR:
        # Two servers that answered replies would answer each other for ever.
        return None
    if flags >> 11 & 0xF:
        return Rejection(Rcode.NOTIMP, ident, flags)
    if questions != 1 or answers > 1 or authorities > 1 or additionals > 2:
        return Rejection(Rcode.FORMERR, ident, flags)
    try:
        labels, end = _name(packet, HEADER, most_pointers=0)
        kind, class_ = _QUESTION_END.unpack_from(packet, end)
    except (_BadMessageError, struct.error):
        return Rejection(Rcode.FORMERR, ident, flags)
    end += 4
    question = Question(name_of(labels), kind)
    opts: list[Edns] = []
    at = end
    records = answers + authorities + additionals
    if records == 1 and additionals:
        plain = _plain_opt(packet, end)
        if plain is not None:
            opts.append(plain)
            at += _PLAIN_OPT.size
            records = 0
    try:
        for nth in range(records):
            at = _record(packet, at, opts if nth >= answers + authorities else None)
    except _BadMessageError:
        edns = opts[0] if opts else None
        query = Query(packet[:end], ident, flags, question, end, edns)
        return Rejection(Rcode.FORMERR, ident, flags, query)
    query = Query(packet[:at], ident, flags, question, end, opts[0] if opts else None)
    if class_ != CLASS_IN:
        return Rejection(Rcode.REFUSED, ident, flags, query)
    if query.edns is not None and query.edns.version:
        return Rejection(Rcode.BADVERS, ident, flags, query)
    return query


def labels_of(name: str) -> list[bytes]:
    """Return the labels of an absolute name in text form."""
    return [_unescaped(label) for label in name.removesuffix(".").split(".") if label]


def name_of(labels: list[bytes]) -> str:
    """Return the text form of a name."""
    if not b"".join(labels).translate(None, _PLAIN_BYTES):
        return b".".join(labels).decode("ascii") + "."
    return "".join(_escaped(label) + "." for label in labels)


def skip_name(packet: bytes, at: int) -> int:
    """Return where the name that begins at *at* ends, having checked where its pointers lead.

    Raises ValueError for what is no name, or one that takes too long to follow.
    """
    try:
        return _name(packet, at)[1]
    except _BadMessageError as error:
        raise ValueError("malformed name") from error


def read_name(packet: bytes, at: int) -> tuple[str, int]:
    """Return the name that begins at *at*, as text, and where it ends; raises ValueError."""
    try:
        labels, end = _name(packet, at)
    except _BadMessageError as error:
        raise ValueError("malformed name") from error
    return name_of(labels), end


def _plain_opt(packet: bytes, at: int) -> Edns | None:
    """Return the OPT record at *at* if that is what stands there, and it has no options."""
    if len(packet) < at + _PLAIN_OPT.size:
        return None
    owner, kind, size, ttl, length = _PLAIN_OPT.unpack_from(packet, at)
    if owner or kind != Kind.OPT or length:
        return None
    return Edns(size, ttl >> 16 & 0xFF, bool(ttl & 0x8000))


def _name(packet: bytes, at: int, *, most_pointers: int = MOST_POINTERS) -> tuple[list[bytes], int]:
    """Return the labels of a name and where it ends; pointers lead strictly backwards."""
    labels: list[bytes] = []
    whole = len(packet)
    length = 1
    end = 0
    start = at
    pointers = 0
    while True:
        if at >= whole:
            raise _BadMessageError
        size = packet[at]
        if size == 0:
            return labels, end or at + 1
        at += 1
        if size < 64:
            length += size + 1
            after = at + size
            if length > LONGEST_NAME or after >= whole:
                raise _BadMessageError
            labels.append(packet[at:after])
            at = after
            continue
        if size < 0xC0 or at >= whole:
            raise _BadMessageError
        target = (size & 0x3F) << 8 | packet[at]
        pointers += 1
        if pointers > most_pointers or not HEADER <= target < start:
            raise _BadMessageError
        end = end or at + 1
        at = start = target


def _record(packet: bytes, at: int, opts: list[Edns] | None) -> int:
    """Check the record at *at* and return where it ends; an OPT is added to *opts*."""
    labels, at = _name(packet, at)
    kind, class_, high, low, size = _numbers(packet, at, 5)
    at += 10
    end = at + size
    is_opt = kind == Kind.OPT and opts is not None
    if is_opt and opts is not None and not opts:
        # Noted before its contents are read: an error in them is answered with an OPT too.
        opts.append(Edns(class_, high & 0xFF, bool(low & 0x8000)))
        if labels:
            raise _BadMessageError
        if end > len(packet):
            raise _BadMessageError
        options = _options(packet[at:end])
        opts[0] = Edns(class_, high & 0xFF, bool(low & 0x8000), options)
        return end
    if is_opt or end > len(packet):
        # A second OPT is an error too (RFC 6891, 6.1.1).
        raise _BadMessageError
    if (kind == Kind.A and size != 4) or (kind == Kind.AAAA and size != 16):
        raise _BadMessageError
    return end


def _options(content: bytes) -> tuple[tuple[int, bytes], ...]:
    options: list[tuple[int, bytes]] = []
    at = 0
    while at < len(content):
        code, size = _numbers(content, at, 2)
        at += 4
        value = content[at : at + size]
        if len(value) != size or len(options) == MOST_OPTIONS:
            raise _BadMessageError
        if code == _COOKIE and not (size == 8 or 16 <= size <= 40):
            raise _BadMessageError  # RFC 7873, 5.2.2
        if code == _CLIENT_SUBNET and not _is_client_subnet(value):
            raise _BadMessageError  # RFC 7871, 7.1.2
        options.append((code, value))
        at += size
    return tuple(options)


def _is_client_subnet(value: bytes) -> bool:
    if len(value) < 4:
        return False
    family = value[0] << 8 | value[1]
    prefix = value[2]
    longest = {0: 0, 1: 32, 2: 128}.get(family)
    return longest is not None and prefix <= longest and len(value) == 4 + -(-prefix // 8)


def _numbers(packet: bytes, at: int, count: int) -> list[int]:
    """Return *count* 16-bit numbers."""
    if at + 2 * count > len(packet):
        raise _BadMessageError
    return [packet[i] << 8 | packet[i + 1] for i in range(at, at + 2 * count, 2)]


def _escaped(label: bytes) -> str:
    if _PLAIN.issuperset(label):
        return label.decode("ascii")
    return "".join(chr(byte) if byte in _PLAIN else f"\\{byte:03d}" for byte in label)


def _unescaped(label: str) -> bytes:
    if "\\" not in label:
        return label.encode("latin-1")
    first, *rest = label.split("\\")
    return first.encode("latin-1") + b"".join(
        bytes((int(part[:3]),)) + part[3:].encode("latin-1") for part in rest
    )
