"""Pure: what a DNS message asks and answers. It reads, it never writes or decides.

Independent of the DNS server's code on purpose: the judge reads the wire with its own eyes.
Source: RFC 1035, 4.1; RFC 6891 for OPT; record texts as dig writes them.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

KINDS: Mapping[int, str] = {
    1: "A", 2: "NS", 5: "CNAME", 6: "SOA", 12: "PTR", 13: "HINFO", 15: "MX", 16: "TXT",
    28: "AAAA", 33: "SRV", 35: "NAPTR", 41: "OPT", 43: "DS", 48: "DNSKEY", 64: "SVCB",
    65: "HTTPS", 255: "ANY", 257: "CAA",
}  # fmt: skip
RCODES: Mapping[int, str] = {
    0: "NOERROR", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED",
    16: "BADVERS",
}  # fmt: skip
_MOST_SHOWN = 6
# As dig lists them.
_FLAGS = ((0x8000, "qr"), (0x400, "aa"), (0x200, "tc"), (0x100, "rd"), (0x80, "ra"),
          (0x20, "ad"), (0x10, "cd"))  # fmt: skip


@dataclass(frozen=True, slots=True)
class Record:
    """One record; *value* is text as dig writes it, *ttl* in seconds."""

    name: str
    kind: str
    value: str
    ttl: int = 0


@dataclass(frozen=True, slots=True)
class Edns:
    """The OPT record of a message (RFC 6891); *size* is the datagram that its sender can take."""

    size: int
    version: int = 0
    dnssec_ok: bool = False


@dataclass(frozen=True, slots=True)
class DnsMessage:
    """A query, or an answer with its code and sections. Names end with a dot; no OPT in *extra*."""

    id: int
    is_answer: bool
    rcode: str
    name: str
    kind: str
    answers: tuple[Record, ...] = ()
    authority: tuple[Record, ...] = ()
    extra: tuple[Record, ...] = ()
    flags: tuple[str, ...] = ()
    edns: Edns | None = None

    @property
    def addresses(self) -> tuple[IPv4Address, ...]:
        """Return the IPv4 addresses in the answer."""
        return tuple(IPv4Address(r.value) for r in self.answers if r.kind == "A")

    @property
    def is_truncated(self) -> bool:
        """Return whether records are missing, for they did not fit into a datagram."""
        return "tc" in self.flags

    @property
    def has_data(self) -> bool:
        """Return whether the answer holds a record of the kind that was asked for.

        A CNAME whose target has none is no data for a resolver.
        """
        return self.rcode == "NOERROR" and any(self.kind in (r.kind, "ANY") for r in self.answers)

    @property
    def status(self) -> str:
        """Return the code in a word: NODATA for an answer without error and without data."""
        return "NODATA" if self.rcode == "NOERROR" and not self.has_data else self.rcode

    def summary(self) -> str:
        """Return the message in a few words: `A? web.` or `A 10.96.0.1`, `NXDOMAIN web.`."""
        if not self.is_answer:
            return f"{self.kind}? {self.name}"
        cut = " (truncated)" if self.is_truncated else ""
        if self.rcode != "NOERROR":
            return f"{self.rcode} {self.name}{cut}"
        if not self.answers:
            return (
                f"NODATA ({self.kind}) {self.name}" if not cut else f"{self.kind} {self.name}{cut}"
            )
        return listed([f"{r.kind} {r.value}" for r in self.answers]) + cut


def listed(words: Sequence[str]) -> str:
    """Return the words with commas; of many, the first ones and how many more there are."""
    shown = words if len(words) <= _MOST_SHOWN + 1 else words[:_MOST_SHOWN]
    more = len(words) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def decode(payload: bytes) -> DnsMessage | None:
    """Return the message in a UDP payload, or None if it is no DNS message."""
    try:
        return _decode(payload)
    except (struct.error, IndexError, ValueError):
        return None


def of_stream(data: bytes) -> tuple[DnsMessage, ...]:
    """Return the whole messages at the begin of a TCP stream (RFC 1035, 4.2.2)."""
    found: list[DnsMessage] = []
    while len(data) >= 2:
        size = int.from_bytes(data[:2])
        message = decode(data[2 : 2 + size]) if len(data) >= 2 + size else None
        if message is None:
            break
        found.append(message)
        data = data[2 + size :]
    return tuple(found)


def _decode(payload: bytes) -> DnsMessage | None:
    number, flags, questions, *counts = struct.unpack_from("!6H", payload)
    if questions != 1:
        return None
    name, offset = _name(payload, 12)
    (kind,) = struct.unpack_from("!H", payload, offset)
    offset += 4
    sections: list[tuple[Record, ...]] = []
    edns: Edns | None = None
    rcode = flags & 15
    for count in counts:
        records: list[Record] = []
        for _ in range(count):
            record, opt, offset = _record(payload, offset)
            if opt is None:
                records.append(record)
            else:
                rcode |= opt[0] << 4
                edns = opt[1]
        sections.append(tuple(records))
    return DnsMessage(
        id=number,
        is_answer=bool(flags & 0x8000),
        rcode=RCODES.get(rcode, f"RCODE{rcode}"),
        name=name,
        kind=KINDS.get(kind, f"TYPE{kind}"),
        answers=sections[0],
        authority=sections[1],
        extra=sections[2],
        flags=tuple(word for bit, word in _FLAGS if flags & bit),
        edns=edns,
    )


def _record(payload: bytes, offset: int) -> tuple[Record, tuple[int, Edns] | None, int]:
    """Return the record at *offset*, an OPT's high bits of the code and content, and the end."""
    name, offset = _name(payload, offset)
    kind, klass, ttl, length = struct.unpack_from("!HHIH", payload, offset)
    offset += 10
    end = offset + length
    if end > len(payload):
        raise ValueError("a record without its end")
    word = KINDS.get(kind, f"TYPE{kind}")
    if word == "OPT":
        edns = Edns(klass, ttl >> 16 & 0xFF, bool(ttl & 0x8000))
        return Record(name, word, ""), (ttl >> 24, edns), end
    return Record(name, word, _value(payload, word, offset, end), ttl), None, end


def _value(payload: bytes, word: str, offset: int, end: int) -> str:
    body = payload[offset:end]
    match word:
        case "A":
            return str(IPv4Address(body))
        case "AAAA":
            return str(IPv6Address(body))
        case "CNAME" | "PTR" | "NS":
            return _name(payload, offset)[0]
        case "SRV":
            priority, weight, port = struct.unpack_from("!3H", body)
            return f"{priority} {weight} {port} {_name(payload, offset + 6)[0]}"
        case "MX":
            return f"{int.from_bytes(body[:2])} {_name(payload, offset + 2)[0]}"
        case "SOA":
            mname, at = _name(payload, offset)
            rname, at = _name(payload, at)
            numbers = " ".join(map(str, struct.unpack_from("!5I", payload, at)))
            return f"{mname} {rname} {numbers}"
        case "TXT" | "HINFO":
            return _texts(body)
        case _:
            # RFC 3597, 5: how to write what one does not know.
            return f"\\# {len(body)} {body.hex().upper()}".rstrip()


def _texts(body: bytes) -> str:
    words: list[str] = []
    while body:
        size = body[0]
        words.append('"' + _printable(body[1 : 1 + size], b'"\\') + '"')
        body = body[1 + size :]
    return " ".join(words)


def _printable(text: bytes, escaped: bytes) -> str:
    """Return bytes as in a zone file: what cannot be printed becomes a number (RFC 1035, 5.1)."""
    return "".join(
        f"\\{chr(byte)}" if byte in escaped else chr(byte) if 32 <= byte < 127 else f"\\{byte:03d}"
        for byte in text
    )


def _name(payload: bytes, offset: int) -> tuple[str, int]:
    """Return the name at *offset* and the offset behind it."""
    labels: list[str] = []
    end = 0
    for _ in range(128):  # a pointer loop must end
        size = payload[offset]
        if size >= 0xC0:
            end = end or offset + 2
            offset = (size & 0x3F) << 8 | payload[offset + 1]
        elif size == 0:
            return ".".join(labels) + ".", end or offset + 1
        else:
            label = payload[offset + 1 : offset + 1 + size]
            labels.append(_printable(label, b'."\\$();@').replace(" ", "\\032"))
            offset += 1 + size
    raise ValueError("a name without end")
