"""Pure: which replies a cache may keep, for how long, and what they look like then.

The rules are those of CoreDNS (plugin/cache, plugin/pkg/response, plugin/pkg/dnsutil).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final, Literal

from podwire.dns.messages.message import Kind, Opaque, Question, Rcode, Record, Reply

LONGEST_TTL: Final = 3600
SHORTEST_TTL: Final = 5
"""Of what has no record to say how long it lives, too."""

Class = Literal["success", "nxdomain", "nodata", "failure", "referral", "other"]

_SIGNATURE_TIMES: Final = struct.Struct("!2I")
_SIGNATURE_TIMES_AT: Final = 8


def classify(
    reply: Reply, question: Question, *, dnssec_ok: bool = False, now: float = 0.0
) -> Class:
    """Return what kind of reply this is; *now* is Unix time, for signatures if they are wanted."""
    if question.kind in (Kind.AXFR, Kind.IXFR):
        return "other"
    if dnssec_ok and _has_invalid_signature(reply, now):
        return "other"
    match reply.rcode:
        case Rcode.NOERROR if reply.answer:
            # An alias that leads nowhere is a denial if there is something to tell for how long.
            return "nodata" if has_soa(reply) and not answers(reply, question) else "success"
        case Rcode.NXDOMAIN if reply.answer:
            return "other"
        case Rcode.NOERROR if has_soa(reply):
            return "nodata"
        case Rcode.NXDOMAIN:
            return "nxdomain"
        case Rcode.SERVFAIL | Rcode.NOTIMP:
            return "failure"
        case Rcode.NOERROR if any(record.kind == Kind.NS for record in reply.authority):
            return "referral"
        case Rcode.NOERROR:
            return "success"
        case _:
            return "other"


def may_keep(reply: Reply, question: Question, class_: Class) -> bool:
    """Return whether a cache may keep *reply*, of that class, at all."""
    if reply.truncated or class_ == "other":
        return False
    if class_ == "nxdomain":
        # Without a SOA nothing says for how long (RFC 2308, 5).
        return has_soa(reply)
    if class_ == "success" and reply.answer:
        return answers(reply, question)
    return True


def has_soa(reply: Reply) -> bool:
    """Return whether the reply's authority says for how long it denies."""
    return any(record.kind == Kind.SOA for record in reply.authority)


def answers(reply: Reply, question: Question) -> bool:
    """Return whether the answer has what was asked for, at the end of its aliases if it has any.

    Aliases that go in a ring or to two places at once lead nowhere.
    """
    name, kind = question.name.lower(), question.kind
    if kind == Kind.ANY:
        return any(record.name.lower() == name for record in reply.answer)
    targets: dict[str, set[str]] = {}
    for record in reply.answer:
        if record.kind == Kind.CNAME and isinstance(record.data, str):
            targets.setdefault(record.name.lower(), set()).add(record.data.lower())
    if kind == Kind.CNAME:
        return len(targets.get(name, ())) == 1
    seen: set[str] = set()
    while name in targets:
        if name in seen or len(targets[name]) > 1:
            return False
        seen.add(name)
        (name,) = targets[name]
    return any(record.kind == kind and record.name.lower() == name for record in reply.answer)


def lowest_ttl(reply: Reply, class_: Class, longest: int) -> int:
    """Return the TTL that *reply* asks for by itself, *longest* at most."""
    if class_ not in ("success", "nxdomain", "nodata"):
        return SHORTEST_TTL
    ttls = [record.ttl for record in _records(reply)]
    return min([*ttls, longest]) if ttls else SHORTEST_TTL


def clamped(ttl: int, shortest: int, longest: int) -> int:
    """Return *ttl* within its limits; the upper one wins if they cross."""
    return min(max(ttl, shortest), longest)


def levelled(reply: Reply, ttl: int) -> Reply:
    """Return *reply* with *ttl* on every record."""
    if all(record.ttl == ttl for record in _records(reply)):
        return reply
    return replace(
        reply,
        answer=_with_ttl(reply.answer, ttl),
        authority=_with_ttl(reply.authority, ttl),
        additional=_with_ttl(reply.additional, ttl),
    )


def _records(reply: Reply) -> Iterable[Record]:
    return (*reply.answer, *reply.authority, *reply.additional)


def _with_ttl(records: Sequence[Record], ttl: int) -> tuple[Record, ...]:
    return tuple(record if record.ttl == ttl else replace(record, ttl=ttl) for record in records)


def _has_invalid_signature(reply: Reply, now: float) -> bool:
    return any(
        record.kind == Kind.RRSIG
        and isinstance(record.data, Opaque)
        and not _is_valid(record.data.content, int(now))
        for record in _records(reply)
    )


def _is_valid(signature: bytes, now: int) -> bool:
    """Return whether *now* is within the times of an RRSIG's data (RFC 4034, 3.1.5)."""
    if len(signature) < _SIGNATURE_TIMES_AT + _SIGNATURE_TIMES.size:
        return False
    expiration, inception = _SIGNATURE_TIMES.unpack_from(signature, _SIGNATURE_TIMES_AT)
    # Serial number arithmetic: the 32 bits wrap in 2106.
    return not _is_before(now, inception) and not _is_before(expiration, now)


def _is_before(one: int, other: int) -> bool:
    return 0 < (other - one) % (1 << 32) < 1 << 31
