"""Pure: what a captured DNS message asks and answers. It reads, it never writes or decides.

Independent of the DNS server's code on purpose: the judge reads the wire with its own eyes.
Source: RFC 1035, 4.1.
"""

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

KINDS = {
    1: "A", 2: "NS", 5: "CNAME", 6: "SOA", 12: "PTR", 15: "MX", 16: "TXT", 28: "AAAA", 33: "SRV",
    41: "OPT", 65: "HTTPS", 255: "ANY",
}  # fmt: skip
RCODES = {
    0: "NOERROR", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Record:
    """One record of the answer section; *value* is text as dig writes it."""

    name: str
    kind: str
    value: str


@dataclass(frozen=True, slots=True)
class DnsMessage:
    """A query, or an answer with its code and answer section. Names end with a dot."""

    id: int
    is_answer: bool
    rcode: str
    name: str
    kind: str
    answers: tuple[Record, ...] = ()

    @property
    def addresses(self) -> tuple[IPv4Address, ...]:
        """Return the IPv4 addresses in the answer."""
        return tuple(IPv4Address(r.value) for r in self.answers if r.kind == "A")

    def summary(self) -> str:
        """Return the message in a few words: `A? web.` or `A 10.96.0.1`, `NXDOMAIN web.`."""
        if not self.is_answer:
            return f"{self.kind}? {self.name}"
        if self.rcode != "NOERROR":
            return f"{self.rcode} {self.name}"
        if not self.answers:
            return f"NODATA ({self.kind}) {self.name}"
        return ", ".join(f"{r.kind} {r.value}" for r in self.answers)


def decode(payload: bytes) -> DnsMessage | None:
    """Return the message in a UDP payload, or None if it is no DNS message."""
    try:
        return _decode(payload)
    except (struct.error, IndexError, ValueError):
        return None


def _decode(payload: bytes) -> DnsMessage | None:
    number, flags, questions, answers, _, _ = struct.unpack_from("!6H", payload)
    if questions != 1:
        return None
    name, offset = _name(payload, 12)
    (kind,) = struct.unpack_from("!H", payload, offset)
    offset += 4
    records: list[Record] = []
    for _ in range(answers):
        record, offset = _record(payload, offset)
        records.append(record)
    return DnsMessage(
        id=number,
        is_answer=bool(flags & 0x8000),
        rcode=RCODES.get(flags & 15, f"RCODE{flags & 15}"),
        name=name,
        kind=KINDS.get(kind, f"TYPE{kind}"),
        answers=tuple(records),
    )


def _record(payload: bytes, offset: int) -> tuple[Record, int]:
    name, offset = _name(payload, offset)
    kind, _, _, length = struct.unpack_from("!HHIH", payload, offset)
    offset += 10
    body = payload[offset : offset + length]
    word = KINDS.get(kind, f"TYPE{kind}")
    if word == "A":
        value = str(IPv4Address(body))
    elif word == "AAAA":
        value = str(IPv6Address(body))
    elif word in {"CNAME", "PTR", "NS"}:
        value = _name(payload, offset)[0]
    elif word == "SRV":
        priority, weight, port = struct.unpack_from("!3H", body)
        value = f"{priority} {weight} {port} {_name(payload, offset + 6)[0]}"
    else:
        value = f"({length} bytes)"
    return Record(name, word, value), offset + length


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
            labels.append(payload[offset + 1 : offset + 1 + size].decode("ascii", "replace"))
            offset += 1 + size
    raise ValueError("a name without end")
