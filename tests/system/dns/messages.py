"""Questions in the words of the vectors as packets, and replies as the vectors tell of them.

Read by dnslib, not by the code that is judged.
"""

# dnslib has no types.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

import re
import struct
from ipaddress import ip_address
from typing import Any, NamedTuple

from dnslib import CLASS, QTYPE, RCODE, DNSRecord

Json = dict[str, Any]

_TYPES = {"MAILB": 253, "MAILA": 254, "*": 255, "ANY": 255, **QTYPE.reverse}
_CLASSES = {"IN": 1, "CS": 2, "CH": 3, "HS": 4, "NONE": 254, "ANY": 255}
_RCODES = {**RCODE.forward, 16: "BADVERS"}


def type_number(word: str | int) -> int:
    """Return the number of a type given as name, ``TYPE123`` or number."""
    text = str(word)
    return _TYPES[text] if text in _TYPES else int(text.removeprefix("TYPE"))


def class_number(word: str | int) -> int:
    """Return the number of a class given as name, ``CLASS123`` or number."""
    text = str(word)
    return _CLASSES[text] if text in _CLASSES else int(text.removeprefix("CLASS"))


def wire_name(name: str) -> bytes:
    """Return a name as it travels; ``\\DDD`` and ``\\X`` are read as in zone files."""
    labels = [b""]
    for token in re.findall(r"\\\d{3}|\\.|.", name, re.DOTALL):
        if token == ".":
            labels.append(b"")
        elif token[0] == "\\" and len(token) == 4:
            labels[-1] += bytes([int(token[1:])])
        else:
            labels[-1] += token[-1].encode()
    return b"".join(bytes([len(label)]) + label for label in labels if label) + b"\0"


def question(step: Json, number: int, *, soa_serial: int | None = None) -> bytes:
    """Return the packet of a case or of a step of a sequence, with the id *number*.

    *soa_serial* is what an IXFR says that its client has.
    """
    flags = (
        (step.get("opcode", 0) << 11)
        | (0x0100 if step.get("rd", True) else 0)
        | (0x0020 if step.get("ad") else 0)
        | (0x0010 if step.get("cd") else 0)
    )
    name = wire_name(step["qname"])
    class_ = class_number(step.get("qclass", "IN"))
    sections = [name + struct.pack("!HH", type_number(step["qtype"]), class_)]
    counts = [1, 0, 0, 0]
    if soa_serial is not None:
        counts[2] = 1
        data = name + name + struct.pack("!5I", soa_serial, 0, 0, 0, 0)
        sections.append(name + struct.pack("!HHIH", 6, 1, 0, len(data)) + data)
    edns = step.get("edns")
    if edns is not None:
        counts[3] = 1
        options = b"".join(
            struct.pack("!HH", code, len(text) // 2) + bytes.fromhex(text)
            for code, text in edns.get("options", ())
        )
        bits = (edns.get("version", 0) << 16) | (0x8000 if edns.get("do") else 0)
        size = edns.get("udp_size", 1232)
        sections.append(b"\0" + struct.pack("!HHIH", 41, size, bits, len(options)) + options)
    return struct.pack("!6H", number, flags, *counts) + b"".join(sections)


def read(packet: bytes) -> Json:
    """Return what the vectors say of a reply; records as they list them, OPT as ``edns``."""
    parsed = DNSRecord.parse(packet)
    header, found = parsed.header, opt(packet)
    edns = found and {
        "version": (found.flags >> 16) & 0xFF,
        "udp_size": found.size,
        "do": bool(found.flags & 0x8000),
        "options": list(found.options),
    }
    return {
        "id": header.id,
        "rcode": rcode(packet),
        "aa": bool(header.aa),
        "tc": bool(header.tc),
        "rd": bool(header.rd),
        "ra": bool(header.ra),
        "question": str(parsed.questions[0].qname) if parsed.questions else "",
        "answer": [_record(record) for record in parsed.rr],
        "authority": [_record(record) for record in parsed.auth],
        "additional": [_record(record) for record in parsed.ar if record.rtype != QTYPE.OPT],
        "edns": edns,
        "size": len(packet),
    }


class Opt(NamedTuple):
    """The OPT record of a message: size, extended code, version and flags, options by code."""

    size: int
    flags: int
    options: tuple[int, ...]


def opt(packet: bytes) -> Opt | None:
    """Return the OPT record, or None; for messages without errors. dnslib loses empty options."""
    counts, at = struct.unpack_from("!4H", packet, 4), 12
    for number in range(sum(counts)):
        while packet[at] and packet[at] < 0xC0:
            at += 1 + packet[at]
        at += 2 if packet[at] else 1
        if number < counts[0]:
            at += 4
            continue
        kind, size, flags, length = struct.unpack_from("!HHIH", packet, at)
        at += 10 + length
        if kind == QTYPE.OPT:
            codes, place = list[int](), at - length
            while place < at <= len(packet):
                code, held = struct.unpack_from("!HH", packet, place)
                codes.append(code)
                place += 4 + held
            return Opt(size, flags, tuple(codes))
    return None


def rcode(packet: bytes) -> str:
    """Return the code of a reply, the extended one if it has an OPT record."""
    found = opt(packet)
    number = (packet[3] & 0xF) | ((found.flags >> 24 << 4) if found else 0)
    return str(_RCODES.get(number, number))


def _record(record: Any) -> Json:
    kind = record.rtype
    name = QTYPE.forward.get(kind, f"TYPE{kind}")
    data = record.rdata.toZone()
    if name in ("A", "AAAA"):
        data = str(ip_address(data))
    elif name == "SOA":
        data = " ".join(data.replace("(", " ").replace(")", " ").split())
    assert record.rclass == CLASS.IN, record
    return {"name": str(record.rname), "type": name, "ttl": record.ttl, "data": data}
