"""Pure: the format of the log plugin's lines, and what may stand in it for each request.

CoreDNS, plugin/log and plugin/pkg/replacer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from podwire.dns.chain import Request
from podwire.dns.messages.message import Kind, Rcode, Reply, kind_name, rcode_name
from podwire.dns.messages.query import AA, AD, CD, HEADER, QR, RA, RD, TC
from podwire.dns.messages.writer import LARGEST_TCP

EMPTY: Final = "-"
COMMON: Final = (
    '{remote}:{port} - {>id} "{type} {class} {name} {proto} {size} {>do} {>bufsize}" '
    "{rcode} {>rflags} {rsize} {duration}"
)
COMBINED: Final = COMMON + ' "{>opcode}"'

_SMALLEST: Final = 512
_Z: Final = 0x40
_FLAGS: Final = (
    ("qr", QR), ("aa", AA), ("tc", TC), ("rd", RD), ("ra", RA), ("z", _Z), ("ad", AD), ("cd", CD),
)  # fmt: skip
_PLACEHOLDER: Final = re.compile(r"\{[^{}]*\}")


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request, its reply, the bytes that left, and how long that took in seconds.

    *local* is the address that the server is bound to, if it is to one.
    """

    request: Request
    reply: Reply
    message: bytes
    seconds: float
    local: str = ""


Part = Callable[[Exchange], str]


class LogFormat:
    """A format, taken apart once: the line of each exchange."""

    def __init__(self, text: str) -> None:
        self._is_common = text == COMMON
        self._parts: list[str | Part] = []
        at = 0
        for found in _PLACEHOLDER.finditer(text):
            part = EMPTY if found[0].startswith("{/") else _PARTS.get(found[0])
            if part is None:
                continue
            self._parts += [text[at : found.start()], part]
            at = found.end()
        self._parts.append(text[at:])

    def line(self, exchange: Exchange) -> str:
        """Return the line that tells of *exchange*."""
        if self._is_common:
            return _common(exchange)
        return "".join(p if isinstance(p, str) else p(exchange) for p in self._parts)


def reply_class(reply: Reply, kind: int) -> str:
    """Return which class of replies this is: success, denial or error.

    CoreDNS, plugin/pkg/response; transfers are none of its classes, which makes them errors.
    """
    if kind in (Kind.AXFR, Kind.IXFR):
        return "error"
    if reply.answer:
        return "success" if reply.rcode == Rcode.NOERROR else "error"
    if reply.rcode == Rcode.NXDOMAIN:
        return "denial"
    if reply.rcode != Rcode.NOERROR:
        return "error"
    return "denial" if any(record.kind == Kind.SOA for record in reply.authority) else "success"


def _flags(message: bytes) -> str:
    flags = message[2] << 8 | message[3] if len(message) >= HEADER else 0
    return ",".join(name for name, bit in _FLAGS if flags & bit)


def _duration(exchange: Exchange) -> str:
    return f"{exchange.seconds:.9f}".rstrip("0").rstrip(".") + "s"


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _size(exchange: Exchange) -> str:
    request = exchange.request
    if request.transport == "tcp":
        return str(LARGEST_TCP)
    edns = request.query.edns
    return str(max(edns.size, _SMALLEST) if edns is not None else _SMALLEST)


def _do(exchange: Exchange) -> str:
    edns = exchange.request.query.edns
    return "true" if edns is not None and edns.dnssec_ok else "false"


def _common(exchange: Exchange) -> str:
    """Return the line of the common format, at half the cost."""
    request, message = exchange.request, exchange.message
    query = request.query
    question = query.question
    return (
        f"{_bracketed(request.client[0])}:{request.client[1]} - {query.id} "
        f'"{kind_name(question.kind)} IN {question.name.lower()} {request.transport} '
        f'{len(query.packet)} {_do(exchange)} {_size(exchange)}" '
        f"{rcode_name(exchange.reply.rcode)} {_flags(message)} {len(message)} "
        f"{_duration(exchange)}"
    )


_PARTS: Final[Mapping[str, Part]] = {
    "{type}": lambda e: kind_name(e.request.query.question.kind),
    "{name}": lambda e: e.request.query.question.name.lower(),
    "{class}": lambda _: "IN",
    "{proto}": lambda e: e.request.transport,
    "{size}": lambda e: str(len(e.request.query.packet)),
    "{remote}": lambda e: _bracketed(e.request.client[0]),
    "{port}": lambda e: str(e.request.client[1]),
    "{local}": lambda e: _bracketed(e.local) or EMPTY,
    "{>id}": lambda e: str(e.request.query.id),
    "{>opcode}": lambda e: str(e.request.query.flags >> 11 & 0xF),
    "{>do}": _do,
    "{>bufsize}": _size,
    "{rcode}": lambda e: rcode_name(e.reply.rcode),
    "{rsize}": lambda e: str(len(e.message)),
    "{duration}": _duration,
    "{>rflags}": lambda e: _flags(e.message),
}
