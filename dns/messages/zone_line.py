"""Pure: a line as a zone file has it -> the record that it is (RFC 1035, 5.1)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from podwire.dns.messages.kinds import CLASSES, kind_of
from podwire.dns.messages.message import Data, Kind, Mx, Opaque, Record, Soa, Srv, Text
from podwire.dns.messages.query import LONGEST_NAME, labels_of, name_of

DEFAULT_TTL: Final = 3600
LARGEST_TTL: Final = 2**32 - 1
_LONGEST_STRING: Final = 255
_DNAME: Final = 39
_SPF: Final = 99

_WORD: Final = re.compile(r'"((?:[^"\\]|\\.)*)"|([^\s"();]+)|([()])|(;.*)')
_TTL: Final = re.compile(r"(?:\d+[wdhms])+|\d+", re.IGNORECASE)
_SPAN: Final = re.compile(r"(\d+)([wdhms])", re.IGNORECASE)
_SECONDS: Final = {"w": 604800, "d": 86400, "h": 3600, "m": 60, "s": 1}
_ESCAPED: Final = re.compile(r"\\(?:(\d{3})|(.))|(\.)|([^\\.]+)", re.DOTALL)


def record_of(line: str) -> Record:
    """Return the record of *line*; its TTL is 3600 seconds if it says none. Raises ValueError."""
    words = _words(line)
    if len(words) < 2:
        raise ValueError(f"no record: '{line}'")
    owner = name(words.pop(0))
    ttl = DEFAULT_TTL
    # TTL and class come in either order, and each may be missing.
    while words:
        if _TTL.fullmatch(words[0]):
            ttl = seconds(words.pop(0))
        elif words[0].upper() in CLASSES and kind_of(words[0].upper()) in (None, Kind.ANY):
            if words[0].upper() != "IN":
                raise ValueError(f"only class IN is served, not {words[0]}")
            words.pop(0)
        else:
            break
    kind_text, *rest = words or [""]
    kind = _kind(kind_text.upper())
    try:
        if rest[:1] == [r"\#"]:
            return Record(owner, kind, ttl, _unknown(rest))
        read = _READERS.get(kind)
        if read is None:
            raise ValueError(rf"data of type {kind_text} is only read as \# LENGTH HEX")
        return Record(owner, kind, ttl, read(rest))
    except (IndexError, TypeError):
        raise ValueError(f"wrong number of words for {kind_text}: '{line}'") from None


def name(text: str) -> str:
    """Return a name in the form that it has here, absolute. Raises ValueError."""
    labels = [b""]
    for found in _ESCAPED.finditer("" if text == "." else text.removesuffix(".")):
        digits, char, dot, plain = found.groups()
        if dot:
            labels.append(b"")
        elif digits:
            if int(digits) > 255:
                raise ValueError(f"'{text}' is no name")
            labels[-1] += bytes((int(digits),))
        else:
            labels[-1] += (char or plain or "").encode()
    if labels == [b""]:
        return "."
    if not all(0 < len(label) < 64 for label in labels):
        raise ValueError(f"'{text}' is no name")
    if sum(len(label) + 1 for label in labels) + 1 > LONGEST_NAME:
        raise ValueError(f"'{text}' is too long for a name")
    return name_of(labels)


def seconds(text: str) -> int:
    """Return a TTL such as ``3600`` or ``1h30m``. Raises ValueError."""
    if text.isdigit():
        value = int(text)
    elif _TTL.fullmatch(text):
        value = sum(int(n) * _SECONDS[unit.lower()] for n, unit in _SPAN.findall(text))
    else:
        raise ValueError(f"'{text}' is no TTL")
    if value > LARGEST_TTL:
        raise ValueError(f"the TTL {text} is too large")
    return value


def _words(line: str) -> list[str]:
    found: list[str] = []
    at = 0
    line = line.strip()
    while at < len(line):
        if line[at].isspace():
            at += 1
            continue
        word = _WORD.match(line, at)
        if word is None:
            raise ValueError(f"no record: '{line}'")
        at = word.end()
        quoted, plain = word[1], word[2]
        if quoted is not None or plain:
            found.append(plain if quoted is None else quoted)
    return found


def _kind(text: str) -> int:
    kind = kind_of(text)
    if kind is None and text.startswith("TYPE") and text[4:].isdigit():
        kind = int(text[4:])
    if kind is None or kind in (Kind.ANY, Kind.AXFR, Kind.IXFR, Kind.OPT) or kind > 65535:
        raise ValueError(f"'{text}' is no record type")
    return kind


def _only(words: Sequence[str], count: int) -> Sequence[str]:
    if len(words) != count:
        raise IndexError
    return words


def _number(text: str, highest: int = 65535) -> int:
    if not text.isdigit() or int(text) > highest:
        raise ValueError(f"'{text}' is no number up to {highest}")
    return int(text)


def _string(text: str) -> bytes:
    made = b"".join(
        bytes((int(digits) & 0xFF,)) if digits else (char or dot or plain or "").encode()
        for digits, char, dot, plain in _ESCAPED.findall(text)
    )
    if len(made) > _LONGEST_STRING:
        raise ValueError(f"'{text[:20]}...' is longer than {_LONGEST_STRING} bytes")
    return made


def _text(words: Sequence[str]) -> Data:
    if not words:
        raise IndexError
    return Text(tuple(_string(word) for word in words))


def _soa(words: Sequence[str]) -> Data:
    mname, rname, serial, *times = _only(words, 7)
    refresh, retry, expire, minimum = (seconds(text) for text in times)
    number = _number(serial, LARGEST_TTL)
    return Soa(name(mname), name(rname), number, refresh, retry, expire, minimum)


def _srv(words: Sequence[str]) -> Data:
    priority, weight, port, target = _only(words, 4)
    return Srv(_number(priority), _number(weight), _number(port), name(target))


def _mx(words: Sequence[str]) -> Data:
    preference, target = _only(words, 2)
    return Mx(_number(preference), name(target))


def _hinfo(words: Sequence[str]) -> Data:
    parts = [_string(word) for word in _only(words, 2)]
    return Opaque(b"".join(bytes((len(part),)) + part for part in parts))


def _caa(words: Sequence[str]) -> Data:
    flags, tag, value = _only(words, 3)
    written = tag.lower().encode()
    return Opaque(bytes((_number(flags, 255), len(written))) + written + _string(value))


def _dname(words: Sequence[str]) -> Data:
    labels = labels_of(name(_only(words, 1)[0]))
    return Opaque(b"".join(bytes((len(one),)) + one for one in labels) + b"\0")


def _unknown(words: Sequence[str]) -> Data:
    content = bytes.fromhex("".join(words[2:]))
    if len(content) != _number(words[1]):
        raise ValueError(rf"\# {words[1]}: the data has {len(content)} bytes")
    return Opaque(content)


_READERS: Final[Mapping[int, Callable[[Sequence[str]], Data]]] = {
    Kind.A: lambda words: IPv4Address(_only(words, 1)[0]),
    Kind.AAAA: lambda words: IPv6Address(_only(words, 1)[0]),
    Kind.CNAME: lambda words: name(_only(words, 1)[0]),
    Kind.NS: lambda words: name(_only(words, 1)[0]),
    Kind.PTR: lambda words: name(_only(words, 1)[0]),
    Kind.MX: _mx,
    Kind.SRV: _srv,
    Kind.SOA: _soa,
    Kind.TXT: _text,
    _SPF: _text,
    Kind.HINFO: _hinfo,
    Kind.CAA: _caa,
    _DNAME: _dname,
}
