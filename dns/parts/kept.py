"""The two stores of a cache: what is known, and what is known not to be."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import Final, Literal

from podwire.dns.messages.message import Opaque, Question, Rcode, Reply, Text
from podwire.dns.messages.names import longest_match
from podwire.dns.parts.cache_options import CacheOptions
from podwire.dns.parts.cacheable import answers, levelled
from podwire.dns.serving.metrics import Counters, Gauges, Metrics, Readings

CacheType = Literal["success", "denial"]
Key = tuple[str, int, bool, bool]
"""Name in lower case, type, DO, CD."""

_WHERE: Final = ("server", "zones", "view")
_LABELS: Final = ("server", "type", "zones", "view")
REQUESTS: Final = Counters("coredns_cache_requests_total", "The count of cache requests.", _WHERE)
MISSES: Final = Counters(
    "coredns_cache_misses_total",
    "The count of cache misses. Deprecated, derive misses from cache hits/requests counters.",
    _WHERE,
)
ENTRIES: Final = Gauges("coredns_cache_entries", "The number of elements in the cache.", _LABELS)
HITS: Final = Counters("coredns_cache_hits_total", "The count of cache hits.", _LABELS)
EVICTIONS: Final = Counters(
    "coredns_cache_evictions_total", "The count of cache evictions.", _LABELS
)


LARGEST_AVERAGE: Final = 3300
"""How many bytes an entry may take if all places are taken.

10,000 replies of 64 KB, which a stranger with a zone of his own can have made, would be 700 MB.
"""

_BARE: Final = 1000
"""About how many bytes an entry takes beside its records."""
_RECORD: Final = 250
_STRING: Final = 40


class Entry:
    """A kept reply, how long it has to live, and how often it was wanted."""

    __slots__ = (
        "_shown", "_shown_left", "hits", "is_answer", "is_refreshing", "known_good", "last_hit",
        "reply", "retry_at", "stored", "ttl", "weight",
    )  # fmt: skip

    def __init__(self, reply: Reply, stored: float, ttl: int, *, is_answer: bool) -> None:
        self.reply = reply
        self.stored = stored
        self.ttl = ttl
        self.is_answer = is_answer
        self.weight = _weight(reply)
        self.known_good: Entry | None = None
        self.hits = 0
        self.last_hit = -math.inf
        self.is_refreshing = False
        self.retry_at = -math.inf
        self._shown = reply
        self._shown_left = 0

    def left(self, now: float) -> int:
        """Return how many seconds it has to live; less than 1 when it is over."""
        return self.ttl - int(now - self.stored)

    def shown(self, now: float, *, keeps_ttl: bool, is_lasting: bool) -> Reply:
        """Return the reply as it is shown while it lives; made once for all hits of a second."""
        left = self.left(now)
        if self._shown_left != left:
            ttl = self.ttl if keeps_ttl else left
            # With the next second it counts down, or is over.
            until = self.stored + self.ttl - left + 1 if is_lasting else 0.0
            self._shown = replace(levelled(self.reply, ttl), lasting=is_lasting, until=until)
            self._shown_left = left
        return self._shown

    def stale(self, ttl: int) -> Reply:
        """Return the reply as it is shown when its time is over."""
        return levelled(self.reply, ttl)

    def count_hit(self, now: float, within: float) -> None:
        """Count a hit; they count from one again if the last is longer than *within* ago."""
        self.hits = self.hits + 1 if now - self.last_hit <= within else 1
        self.last_hit = now

    def begin_refresh(self, now: float) -> bool:
        """Return whether the source may be asked now, and note that it is."""
        if self.is_refreshing or now < self.retry_at:
            return False
        self.is_refreshing = True
        return True

    def end_refresh(self, now: float, recheck: float, *, is_refreshed: bool) -> None:
        """Note that the source was asked; if in vain it has *recheck* seconds of peace."""
        self.retry_at = -math.inf if is_refreshed or not recheck else now + recheck
        self.is_refreshing = False


class Kept:
    """The replies that a cache keeps; *server* says in the metrics whose they are."""

    def __init__(self, options: CacheOptions, metrics: Metrics, server: str) -> None:
        self._options = options
        self._stores: dict[CacheType, dict[Key, Entry]] = {"success": {}, "denial": {}}
        self._weights = dict.fromkeys(self._stores, 0)
        self._server = server
        self._zones = ",".join(options.zones)
        self._hits, self._evictions = (
            {kind: metrics.counter(family, *self._labels(kind)) for kind in self._stores}
            for family in (HITS, EVICTIONS)
        )
        self._requests, self._misses = (
            metrics.counter(family, server, self._zones, "") for family in (REQUESTS, MISSES)
        )

    def newest(self, key: Key) -> Entry | None:
        """Return what is kept, however old."""
        return self._stores["denial"].get(key) or self._stores["success"].get(key)

    def find(self, key: Key, now: float) -> Entry | None:
        """Return what is kept and may be served, and count it as a hit; None is a miss."""
        denial, success = self._stores["denial"].get(key), self._stores["success"].get(key)
        if self._options.prefers_positive and self._options.stale and success is not None:
            good = success if success.is_answer else success.known_good
            if good is not None and self._is_usable(good, now):
                return self._hit("success", good)
        if success is not None and not self._is_usable(success, now):
            success = None
        if denial is not None and not self._is_usable(denial, now):
            denial = None
        # A failure of this moment does not hide what is known.
        if denial is not None and (success is None or denial.reply.rcode != Rcode.SERVFAIL):
            return self._hit("denial", denial)
        if success is not None:
            return self._hit("success", success)
        self._requests.value += 1
        self._misses.value += 1
        return None

    def keep(
        self, kind: CacheType, key: Key, question: Question, reply: Reply, ttl: int, now: float
    ) -> bool:
        """Keep *reply* for *ttl* seconds; False if that is disabled for its zone."""
        options = self._options
        is_success = kind == "success"
        disabled = options.success_disabled if is_success else options.denial_disabled
        if disabled and longest_match(key[0], disabled) is not None:
            return False
        kept = replace(
            reply,
            authoritative=True,
            lasting=False,
            by="cache",
            error="",
            sent=None,
            counted=partial(self._count_hits, kind),
        )
        is_answer = is_success and bool(reply.answer) and answers(reply, question)
        entry = Entry(kept, now, ttl, is_answer=is_answer)
        store = self._stores[kind]
        previous = self._take_out(kind, key)
        if is_success and options.prefers_positive and not is_answer:
            if previous is not None:
                good = entry.known_good = previous if previous.is_answer else previous.known_good
                entry.weight += good.weight if good is not None else 0
        elif is_success:
            self._take_out("denial", key)
        store[key] = entry
        self._weights[kind] += entry.weight
        most = (options.success if is_success else options.denial).most
        while len(store) > most or self._weights[kind] > most * LARGEST_AVERAGE:
            self._take_out(kind, next(iter(store)))
            self._evictions[kind].value += 1
        return True

    def entries(self) -> Readings:
        """Return how many replies of each kind are kept, by the labels of `ENTRIES`."""
        return {self._labels(kind): float(len(store)) for kind, store in self._stores.items()}

    def _take_out(self, kind: CacheType, key: Key) -> Entry | None:
        entry = self._stores[kind].pop(key, None)
        if entry is not None:
            self._weights[kind] -= entry.weight
        return entry

    def _hit(self, kind: CacheType, entry: Entry) -> Entry:
        self._count_hits(kind, 1)
        return entry

    def _count_hits(self, kind: CacheType, times: int) -> None:
        self._requests.value += times
        self._hits[kind].value += times

    def _is_usable(self, entry: Entry, now: float) -> bool:
        left = entry.left(now)
        stale = self._options.stale
        return left > 0 or (stale is not None and -left < int(stale.up_to))

    def _labels(self, kind: CacheType) -> tuple[str, ...]:
        return (self._server, kind, self._zones, "")


def _weight(reply: Reply) -> int:
    """Return about how many bytes *reply* takes."""
    weight = _BARE
    for record in (*reply.answer, *reply.authority, *reply.additional):
        weight += _RECORD
        if isinstance(record.data, Text):
            weight += sum(len(string) + _STRING for string in record.data.strings)
        elif isinstance(record.data, Opaque):
            weight += len(record.data.content)
    return weight
