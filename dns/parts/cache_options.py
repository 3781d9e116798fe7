"""Pure: the stanza ``cache [TTL] [ZONES...] {...}`` -> what a cache shall do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from podwire.dns.corefile.corefile import Line
from podwire.dns.corefile.stanza import Stanza
from podwire.dns.messages.message import Reply
from podwire.dns.parts.cacheable import LONGEST_TTL, SHORTEST_TTL, Class, clamped, lowest_ttl

CAPACITY: Final = 10_000
LONGEST_FAILURE: Final = 300
"""RFC 2308, 7.1: no failure may be remembered for longer than five minutes."""
STALE_FOR: Final = 3600.0

_SHARDS: Final = 256
_SMALLEST_SHARD: Final = 4


@dataclass(frozen=True, slots=True)
class Limits:
    """How many replies of a kind are kept, and for how many seconds."""

    longest: int
    shortest: int = SHORTEST_TTL
    capacity: int = CAPACITY

    @property
    def most(self) -> int:
        """Return how many fit: CoreDNS spreads them over 256 shards of four or more each."""
        return max(self.capacity // _SHARDS, _SMALLEST_SHARD) * _SHARDS


@dataclass(frozen=True, slots=True)
class Prefetch:
    """Ask again in time for what was hit *amount* times (0: never), *within* seconds of each other.

    It is in time when no more than *percentage* of its life is left.
    """

    amount: int = 0
    within: float = 60.0
    percentage: int = 10


@dataclass(frozen=True, slots=True)
class Stale:
    """Serve what ran out no more than *up_to* seconds ago, with this *ttl* (seconds).

    *verifies* asks the source before, for *patience* seconds at most (0: until it gives up);
    otherwise it is asked behind the client's back. A source that failed is asked again after
    *recheck* seconds.
    """

    up_to: float = STALE_FOR
    verifies: bool = False
    patience: float = 0.0
    ttl: int = 0
    recheck: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheOptions:
    """A cache stanza; times in seconds, zones absolute and lower-cased.

    *keeps_ttl* shows what is kept with the TTL that it came with. *prefers_positive* has a stale
    answer win over a fresh denial.
    """

    zones: tuple[str, ...] = (".",)
    success: Limits = field(default_factory=lambda: Limits(LONGEST_TTL))
    denial: Limits = field(default_factory=lambda: Limits(LONGEST_TTL // 2))
    failure: float = SHORTEST_TTL
    success_disabled: tuple[str, ...] = ()
    denial_disabled: tuple[str, ...] = ()
    prefetch: Prefetch = field(default_factory=Prefetch)
    stale: Stale | None = None
    prefers_positive: bool = False
    keeps_ttl: bool = False


def lifetime(reply: Reply, class_: Class, options: CacheOptions) -> int:
    """Return the one TTL, in seconds, that all records of *reply* get."""
    if class_ == "failure":
        return int(options.failure)
    limits = options.denial if class_ in ("nxdomain", "nodata") else options.success
    lowest = lowest_ttl(reply, class_, limits.longest)
    return clamped(lowest, limits.shortest, limits.longest)


def parse(stanza: Stanza) -> CacheOptions:
    """Return what the stanza says. Raises CorefileError."""
    words = list(stanza.arguments)
    options = CacheOptions()
    if words and _is_whole(words[0]):
        longest = _ttl(stanza, words.pop(0))
        options = replace(
            options,
            success=replace(options.success, longest=longest),
            denial=replace(options.denial, longest=longest),
        )
    options = replace(options, zones=stanza.zones_or_block(words))

    def change(**changes: Any) -> None:
        nonlocal options
        options = replace(options, **changes)

    def servfail(line: Line) -> None:
        (text,) = stanza.arguments_of(line, least=1, most=1)
        failure = stanza.duration(text, line)
        if failure > LONGEST_FAILURE:
            raise stanza.error("caching SERVFAIL responses over 5 minutes is not permitted", line)
        change(failure=failure)

    def disable(line: Line) -> None:
        kind, *zones = stanza.arguments_of(line, least=1)
        if kind not in ("success", "denial"):
            raise stanza.error('cache type for disable must be "success" or "denial"', line)
        change(**{f"{kind}_disabled": stanza.zones(zones, line) or (".",)})

    def keepttl(line: Line) -> None:
        stanza.arguments_of(line, most=0)
        change(keeps_ttl=True)

    def serve_stale_policy(line: Line) -> None:
        (policy,) = stanza.arguments_of(line, least=1, most=1)
        if options.prefers_positive:
            raise stanza.error("serve_stale_policy can only be specified once", line)
        if policy.lower() != "prefer_positive":
            raise stanza.error(
                f"invalid serve_stale_policy: {policy}; known is: prefer_positive", line
            )
        change(prefers_positive=True)

    stanza.options(
        {
            "success": lambda line: change(success=_limits(stanza, line, options.success)),
            "denial": lambda line: change(denial=_limits(stanza, line, options.denial)),
            "prefetch": lambda line: change(prefetch=_prefetch(stanza, line)),
            "serve_stale": lambda line: change(stale=_stale(stanza, line)),
            "serve_stale_policy": serve_stale_policy,
            "servfail": servfail,
            "disable": disable,
            "keepttl": keepttl,
        }
    )
    if options.prefers_positive and options.stale is None:
        raise stanza.error("serve_stale_policy requires serve_stale")
    return options


def _limits(stanza: Stanza, line: Line, limits: Limits) -> Limits:
    """Return what ``success CAPACITY [TTL] [MINTTL]`` says."""
    capacity, *times = stanza.arguments_of(line, least=1)
    limits = replace(limits, capacity=stanza.number(capacity, line))
    if times:
        limits = replace(limits, longest=_ttl(stanza, times[0], line))
    if len(times) > 1:
        limits = replace(limits, shortest=stanza.number(times[1], line))
    return limits


def _prefetch(stanza: Stanza, line: Line) -> Prefetch:
    """Return what ``prefetch AMOUNT [DURATION [PERCENTAGE%]]`` says."""
    amount, *more = stanza.arguments_of(line, least=1, most=3)
    prefetch = Prefetch(stanza.number(amount, line))
    if more:
        prefetch = replace(prefetch, within=stanza.duration(more[0], line))
    if len(more) > 1:
        if not more[1].endswith("%"):
            raise stanza.error(
                f"last character of percentage should be `%`, but is: '{more[1][-1:]}'", line
            )
        percentage = stanza.number(more[1][:-1], line, lowest=-100)
        if not 10 <= percentage <= 90:
            raise stanza.error(f"percentage should fall in range [10, 90]: {percentage}", line)
        prefetch = replace(prefetch, percentage=percentage)
    return prefetch


def _stale(stanza: Stanza, line: Line) -> Stale:
    """Return what ``serve_stale [DURATION [MODE [PATIENCE] [TTL [RECHECK]]]]`` says.

    Only the mode ``verify`` has a PATIENCE.
    """
    words: Sequence[str] = stanza.arguments_of(line, most=5)
    stale = Stale()
    if words:
        stale = replace(stale, up_to=stanza.duration(words[0], line))
    mode = words[1].lower() if len(words) > 1 else "immediate"
    if mode not in ("immediate", "verify"):
        raise stanza.error(
            f"invalid value for serve_stale refresh mode: {mode}; known are: immediate, verify",
            line,
        )
    rest = list(words[2:])
    if mode == "verify":
        stale = replace(stale, verifies=True)
        if rest:
            stale = replace(stale, patience=stanza.duration(rest.pop(0), line))
    if len(rest) > 2:
        raise stanza.wrong_count(line)
    if rest:
        ttl = stanza.duration(rest[0], line)
        if ttl != int(ttl):
            raise stanza.error("serve_stale response TTL must be a whole number of seconds", line)
        if ttl >= 1 << 32:
            raise stanza.error("serve_stale response TTL exceeds the DNS TTL range", line)
        stale = replace(stale, ttl=int(ttl))
    if len(rest) > 1:
        recheck = stanza.duration(rest[1], line)
        if recheck > LONGEST_FAILURE:
            raise stanza.error("serve_stale failure recheck cannot exceed 5 minutes", line)
        stale = replace(stale, recheck=recheck)
    return stale


def _ttl(stanza: Stanza, text: str, line: Line | None = None) -> int:
    ttl = stanza.number(text, line, lowest=-(2**31))
    if ttl <= 0:
        raise stanza.error(f"cache TTL can not be zero or negative: {ttl}", line)
    return ttl


def _is_whole(word: str) -> bool:
    return word.removeprefix("-").removeprefix("+").isdecimal()
