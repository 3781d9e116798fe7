"""Pure: bytes of a request -> Query, or the rejection that it deserves. Never raises.

The only code that sees raw bytes from strangers, so everything in it is bounded: counts are
checked before anything is read, and a name ends after 255 bytes and ten pointers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from podwire.dns.message import CLASS_IN, Kind, Question, Rcode

HEADER: Final = 12
LONGEST_NAME: Final = 255
MOST_POINTERS: Final = 10

QR: Final = 0x8000
AA: Final = 0x0400
TC: Final = 0x0200
RD: Final = 0x0100
RA: Final = 0x0080
CD: Final = 0x0010

# What a server sends back as it came (as CoreDNS does): NSID, EXPIRE, COOKIE, KEEPALIVE, PADDING.
REFLECTED_OPTIONS: Final = frozenset({3, 9, 10, 11, 12})
_CLIENT_SUBNET: Final = 8
_COOKIE: Final = 10

_PLAIN: Final = frozenset(range(0x21, 0x7F)) - frozenset(b'."\\$();@')


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
    ident, flags, *counts = _numbers(packet, 0, 6)
    if flags & QR:
        # Two servers that answered replies would answer each other for ever.
        return None
    if flags >> 11 & 0xF:
        return Rejection(Rcode.NOTIMP, ident, flags)
    questions, answers, authorities, additionals = counts
    if questions != 1 or answers > 1 or authorities > 1 or additionals > 2:
        return Rejection(Rcode.FORMERR, ident, flags)
    try:
        name, end = _question_name(packet)
        kind, class_ = _numbers(packet, end, 2)
    except _BadMessageError:
        return Rejection(Rcode.FORMERR, ident, flags)
    end += 4
    query = Query(packet[:end], ident, flags, Question(name, kind), end)
    opts: list[Edns] = []
    at = end
    try:
        for nth in range(answers + authorities + additionals):
            at = _record(packet, at, opts if nth >= answers + authorities else None)
    except _BadMessageError:
        edns = opts[0] if opts else None
        return Rejection(Rcode.FORMERR, ident, flags, _with(query, query.packet, edns))
    query = _with(query, packet[:at], opts[0] if opts else None)
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
    return "".join(_escaped(label) + "." for label in labels) or "."


def skip_name(packet: bytes, at: int) -> int:
    """Return where the name that begins at *at* ends, having checked where its pointers lead.

    Raises ValueError for what is no name, or one that takes too long to follow.
    """
    try:
        return _name(packet, at)[1]
    except _BadMessageError as error:
        raise ValueError("malformed name") from error


def _with(query: Query, packet: bytes, edns: Edns | None) -> Query:
    return Query(packet, query.id, query.flags, query.question, query.question_end, edns)


def _question_name(packet: bytes) -> tuple[str, int]:
    labels, end = _name(packet, HEADER, most_pointers=0)
    return name_of(labels), end


def _name(packet: bytes, at: int, *, most_pointers: int = MOST_POINTERS) -> tuple[list[bytes], int]:
    """Return the labels of a name and where it ends; pointers lead strictly backwards."""
    labels: list[bytes] = []
    length = 1
    end = 0
    start = at
    pointers = 0
    while True:
        if at >= len(packet):
            raise _BadMessageError
        size = packet[at]
        if size == 0:
            return labels, end or at + 1
        if size >= 0xC0:
            if at + 1 >= len(packet):
                raise _BadMessageError
            target = (size & 0x3F) << 8 | packet[at + 1]
            pointers += 1
            if pointers > most_pointers or not HEADER <= target < start:
                raise _BadMessageError
            end = end or at + 2
            at = start = target
            continue
        length += size + 1
        if size > 63 or length > LONGEST_NAME or at + size >= len(packet):
            raise _BadMessageError
        labels.append(packet[at + 1 : at + 1 + size])
        at += size + 1


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
        if len(value) != size:
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
