"""Pure: a question as the bytes of a DNS query. Independent of the DNS server's code on purpose.

Source: RFC 1035, 4.1 and 5.1 (escapes); RFC 6891 for the OPT record; RFC 3596 for ip6.arpa.
"""

import contextlib
import re
import struct
from dataclasses import dataclass
from ipaddress import ip_address

from podwire.emulator.trace.dnsmessage import KINDS
from podwire.errors import UsageError

LONGEST_LABEL, LONGEST_NAME = 63, 255
DATAGRAM = 1232
"""The size of a datagram that dig offers to take (RFC 9715)."""

_NUMBERS = {word: number for number, word in KINDS.items() if word != "OPT"}
# An escape, whole or broken, or one byte of a name.
_TOKEN = re.compile(rb"\\\d{1,3}|\\[^\d]|.", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: an absolute name, and a type such as "A" or "TYPE65280"."""

    name: str
    kind: str = "A"


def kind_of(word: str) -> str | None:
    """Return a type's name as it is written, or None: *word* is no type."""
    upper = word.upper()
    if upper in _NUMBERS:
        return upper
    number = upper.removeprefix("TYPE")
    if upper.startswith("TYPE") and number.isdigit() and int(number) < 0x10000:
        return KINDS.get(int(number), upper)
    return None


def kinds() -> str:
    """Return the names of the types, for messages."""
    return ", ".join(_NUMBERS) + ", TYPE1234"


def parse(name: str, kind: str) -> Question:
    """Return the question for *kind* at *name*, which may be an address if that is PTR.

    Raises UsageError.
    """
    known = kind_of(kind)
    if known is None:
        raise UsageError(f"{kind!r} is no type of record\n  types: {kinds()}")
    if known == "PTR":
        with contextlib.suppress(ValueError):
            return Question(ip_address(name).reverse_pointer + ".", known)
    wire_name(name)
    return Question(name, known)


def reverse_name(address: str) -> str:
    """Return the name under which an address is looked up; raises UsageError if it is none."""
    try:
        return ip_address(address).reverse_pointer + "."
    except ValueError as error:
        raise UsageError(
            f"-x: {address!r} is no address\n  examples: 10.96.0.10, fd00:10:96::a"
        ) from error


def encode(question: Question, identity: int, *, datagram: int = DATAGRAM) -> bytes:
    """Return the query; without *datagram* it has no OPT record.

    *identity* is the message's number. Raises UsageError for a name that DNS cannot carry.
    """
    header = struct.pack("!6H", identity, 0x0100, 1, 0, 0, 1 if datagram else 0)
    kind = _NUMBERS.get(question.kind) or int(question.kind.removeprefix("TYPE"))
    query = header + wire_name(question.name) + struct.pack("!HH", kind, 1)
    return query + (struct.pack("!BHHIH", 0, 41, datagram, 0, 0) if datagram else b"")


def wire_name(name: str) -> bytes:
    """Return a name as it travels; raises UsageError."""
    try:
        text = name.encode("ascii")
    except UnicodeEncodeError as error:
        raise UsageError(
            f"{name!r} has letters beyond ASCII, which DNS does not know\n"
            "  write it as it is registered: xn--..."
        ) from error
    labels = _labels(name, text)
    if not labels[-1]:
        labels.pop()  # the root, whose dot is behind it
    for label in labels:
        if not label:
            raise UsageError(f"{name!r} is no DNS name: a label is empty")
        if len(label) > LONGEST_LABEL:
            raise UsageError(
                f"{name!r} is no DNS name: a label has {len(label)} bytes, at most 63 are allowed"
            )
    wire = b"".join(bytes((len(label),)) + label for label in labels) + b"\0"
    if len(wire) > LONGEST_NAME:
        raise UsageError(
            f"{name!r} is no DNS name: it has {len(wire)} bytes, at most 255 are allowed"
        )
    return wire


def _labels(name: str, text: bytes) -> list[bytes]:
    """Return the labels of *text* without escapes; behind a dot at the end is an empty one."""
    if text == b".":
        return [b""]
    labels = [b""]
    for token in _TOKEN.findall(text):
        if token == b".":
            labels.append(b"")
            continue
        byte = _unescaped(token)
        if byte is None:
            raise UsageError(
                f"{name!r} is no DNS name: {token.decode()} is no escape\n"
                "  a byte is written as \\000 to \\255, another character as itself behind a \\"
            )
        labels[-1] += byte
    return labels


def _unescaped(token: bytes) -> bytes | None:
    """Return the byte that a token stands for; None if it is a broken escape."""
    if not token.startswith(b"\\"):
        return token
    escaped = token[1:]
    if escaped.isdigit():
        return bytes((int(escaped),)) if len(escaped) == 3 and int(escaped) < 256 else None
    return escaped or None
