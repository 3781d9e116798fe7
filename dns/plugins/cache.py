"""Replies kept for as long as their records live, and one TTL for all records of a reply.

The second happens to every reply that passes, kept or not: under kubeadm's configuration that is
why ``dns-version`` has a TTL of 30. The rules are CoreDNS's cache plugin's.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from podwire.dns.chain import Link, Plugin, Request
from podwire.dns.corefile import Line
from podwire.dns.message import Kind, Question, Rcode, Record, Reply
from podwire.dns.names import longest_match
from podwire.dns.query import CD
from podwire.dns.site import Site
from podwire.dns.stanza import Stanza
from podwire.kube.clock import Clock

LONGEST_TTL: Final = 3600
FAILURE_TTL: Final = 5
EMPTY_TTL: Final = 5

Class = Literal["success", "denial", "failure", "referral", "other"]


def setup(stanza: Stanza, site: Site) -> Plugin:
    """Return the cache of a server block: ``cache [TTL] [ZONES...] {...}``."""
    words = list(stanza.arguments)
    longest = stanza.number(words.pop(0), lowest=1) if words and words[0].isdigit() else 0
    disabled: dict[str, tuple[str, ...]] = {}

    def disable(line: Line) -> None:
        kind, *zones = stanza.arguments_of(line, least=1)
        if kind not in ("success", "denial"):
            raise stanza.error("cache type for disable must be 'success' or 'denial'", line)
        disabled[kind] = stanza.zones_or_block(zones, line)

    stanza.options({"disable": disable})
    options = CacheOptions(
        longest_success=longest or CacheOptions().longest_success,
        longest_denial=longest or CacheOptions().longest_denial,
        success_disabled=disabled.get("success", ()),
        denial_disabled=disabled.get("denial", ()),
    )
    return Cache(options, site.process.clock)


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheOptions:
    """The cache stanza of a Corefile: times in seconds, zones absolute and lower-cased."""

    longest_success: int = 3600
    longest_denial: int = 1800
    shortest: int = 5
    failure: int = FAILURE_TTL
    capacity: int = 9984
    success_disabled: tuple[str, ...] = ()
    denial_disabled: tuple[str, ...] = ()


def classify(reply: Reply, question: Question) -> Class:
    """Return what kind of reply this is; only "other" is never kept."""
    if question.kind in (Kind.AXFR, Kind.IXFR):
        return "other"
    has_soa = any(record.kind == Kind.SOA for record in reply.authority)
    match reply.rcode:
        case Rcode.NOERROR if reply.answer:
            return "success" if has_soa or _arrives(reply, question) else "other"
        case Rcode.NOERROR | Rcode.NXDOMAIN if has_soa:
            return "denial"
        case Rcode.SERVFAIL | Rcode.NOTIMP:
            return "failure"
        case Rcode.NOERROR if any(record.kind == Kind.NS for record in reply.authority):
            return "referral"
        case Rcode.NOERROR:
            return "success"
        case _:
            return "other"


def lifetime(reply: Reply, class_: Class, options: CacheOptions) -> int:
    """Return the one TTL, in seconds, that all records of *reply* get."""
    if class_ == "failure":
        return options.failure
    ttls = [r.ttl for s in (reply.answer, reply.authority, reply.additional) for r in s]
    lowest = min([*ttls, LONGEST_TTL]) if ttls and class_ != "other" else EMPTY_TTL
    longest = options.longest_denial if class_ == "denial" else options.longest_success
    return clamped(lowest, options.shortest, longest)


def clamped(ttl: int, shortest: int, longest: int) -> int:
    """Return *ttl* within its limits; the upper one wins if they cross."""
    return min(max(ttl, shortest), longest)


def levelled(reply: Reply, ttl: int) -> Reply:
    """Return *reply* with *ttl* on every record."""
    return replace(
        reply,
        answer=_with_ttl(reply.answer, ttl),
        authority=_with_ttl(reply.authority, ttl),
        additional=_with_ttl(reply.additional, ttl),
    )


@dataclass(frozen=True, slots=True)
class _Entry:
    reply: Reply
    stored: float
    ttl: int

    def left(self, now: float) -> int:
        return self.ttl - int(now - self.stored)


_Key = tuple[str, int, bool, bool]


class Cache(Plugin):
    """Keeps what comes from behind it; hits are authoritative, whoever made the reply."""

    name = "cache"

    def __init__(self, options: CacheOptions, clock: Clock) -> None:
        self._options = options
        self._clock = clock
        self._success: OrderedDict[_Key, _Entry] = OrderedDict()
        self._denial: OrderedDict[_Key, _Entry] = OrderedDict()
        self.hits = {"success": 0, "denial": 0}
        self.misses = 0

    @property
    def entries(self) -> dict[str, int]:
        """Return how many replies of each class are kept."""
        return {"success": len(self._success), "denial": len(self._denial)}

    async def serve(self, request: Request, rest: Link) -> Reply:
        """Answer from what is kept, or keep what the rest of the chain says."""
        query = request.query
        name = query.question.name.lower()
        is_dnssec = query.edns is not None and query.edns.dnssec_ok
        key = (name, query.question.kind, is_dnssec, bool(query.flags & CD))
        kept = self._kept(key)
        if kept is not None:
            return kept
        self.misses += 1
        reply = await rest(request)
        class_ = classify(reply, query.question)
        ttl = lifetime(reply, class_, self._options)
        is_kept = self._keep(key, reply, class_, ttl)
        # What counts down must not outlive the second in which it was written.
        return replace(levelled(reply, ttl), lasting=reply.lasting and not is_kept)

    def _kept(self, key: _Key) -> Reply | None:
        now = self._clock.monotonic()
        denial = self._denial.get(key)
        success = self._success.get(key)
        for entry, class_ in ((denial, "denial"), (success, "success")):
            left = entry.left(now) if entry else 0
            if entry is None or left <= 0:
                continue
            if entry.reply.rcode == Rcode.SERVFAIL and success and success.left(now) > 0:
                # A failure of this moment does not hide what is known.
                continue
            self.hits[class_] += 1
            return replace(levelled(entry.reply, left), authoritative=True)
        return None

    def _keep(self, key: _Key, reply: Reply, class_: Class, ttl: int) -> bool:
        options = self._options
        is_success = class_ in ("success", "referral")
        disabled = options.success_disabled if is_success else options.denial_disabled
        if class_ == "other" or reply.truncated or ttl <= 0 or _within(key[0], disabled):
            return False
        store = self._success if is_success else self._denial
        store.pop(key, None)
        store[key] = _Entry(replace(reply, lasting=False, error=""), self._clock.monotonic(), ttl)
        if is_success:
            self._denial.pop(key, None)
        while len(store) > options.capacity:
            store.popitem(last=False)
        return True


def _arrives(reply: Reply, question: Question) -> bool:
    """Return whether the answer's aliases, if any, lead to what was asked for, and only there."""
    if question.kind in (Kind.CNAME, Kind.ANY):
        return True
    targets: dict[str, set[str]] = {}
    for record in reply.answer:
        if record.kind == Kind.CNAME and isinstance(record.data, str):
            targets.setdefault(record.name.lower(), set()).add(record.data.lower())
    name = question.name.lower()
    seen: set[str] = set()
    while name in targets:
        if name in seen or len(targets[name]) > 1:
            return False
        seen.add(name)
        (name,) = targets[name]
    return not seen or any(
        record.kind == question.kind and record.name.lower() == name for record in reply.answer
    )


def _within(name: str, zones: Sequence[str]) -> bool:
    return longest_match(name, zones) is not None


def _with_ttl(records: tuple[Record, ...], ttl: int) -> tuple[Record, ...]:
    return tuple(record if record.ttl == ttl else replace(record, ttl=ttl) for record in records)
