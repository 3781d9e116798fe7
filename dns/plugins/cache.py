"""cache: replies kept for as long as their records live, and one TTL for all records of a reply.

The second happens to every reply that passes, kept or not: under kubeadm's configuration that is
why ``dns-version`` has a TTL of 30.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final

from podwire.dns.chain import Link, Plugin, Request, waiting
from podwire.dns.corefile.stanza import Stanza
from podwire.dns.messages.message import Reply
from podwire.dns.messages.names import longest_match
from podwire.dns.messages.query import AD, CD
from podwire.dns.parts.cache_options import CacheOptions, Stale, lifetime, parse
from podwire.dns.parts.cacheable import answers, classify, levelled, may_keep
from podwire.dns.parts.kept import ENTRIES, CacheType, Entry, Kept, Key
from podwire.dns.serving.background import Background
from podwire.dns.serving.metrics import Counters, Metrics
from podwire.dns.site import Site
from podwire.kube.clock import Clock

_LABELS: Final = ("server", "zones", "view")
PREFETCHES: Final = Counters(
    "coredns_cache_prefetch_total",
    "The number of times the cache has prefetched a cached item.",
    _LABELS,
)
SERVED_STALE: Final = Counters(
    "coredns_cache_served_stale_total",
    "The number of requests served from stale cache entries.",
    _LABELS,
)


def setup(stanza: Stanza, site: Site) -> Plugin:
    """Return the cache of a server block."""
    return Cache(parse(stanza), site.process.clock, site.process.metrics, site.server)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request as the cache sees it, and where it goes on."""

    key: Key
    request: Request
    rest: Link


class Cache(Plugin):
    """Keeps what comes from behind it; hits are authoritative, whoever made the reply."""

    name = "cache"

    def __init__(
        self,
        options: CacheOptions,
        clock: Clock,
        metrics: Metrics | None = None,
        server: str = "",
    ) -> None:
        self._options = options
        self._clock = clock
        self._metrics = metrics or Metrics()
        self._background = Background(self.name)
        self._kept = Kept(options, self._metrics, server)
        self._prefetches, self._served_stale = (
            self._metrics.counter(family, server, ",".join(options.zones), "")
            for family in (PREFETCHES, SERVED_STALE)
        )

    @asynccontextmanager
    async def run(self) -> AsyncGenerator[None]:
        """Show how much is kept, and let prefetches run."""
        with self._metrics.showing(ENTRIES, self._kept.entries):
            async with self._background.open():
                yield

    async def serve(self, request: Request, rest: Link) -> Reply:
        """Answer from what is kept, or keep what the rest of the chain says."""
        query = request.query
        name = query.question.name.lower()
        if longest_match(name, self._options.zones) is None:
            return await rest(request)
        dnssec_ok = query.edns is not None and query.edns.dnssec_ok
        key = (name, query.question.kind, dnssec_ok, bool(query.flags & CD))
        asked = _Asked(key, request, rest)
        now = self._clock.monotonic()
        entry = self._kept.find(key, now)
        if entry is None:
            reply, _ = await self._ask(asked)
        else:
            reply = await self._from(entry, asked, now)
        if reply.authenticated and not dnssec_ok and not query.flags & AD:
            # Who did not ask whether it was checked is not told (RFC 6840, 5.7).
            reply = replace(reply, authenticated=False)
        return reply

    async def _from(self, entry: Entry, asked: _Asked, now: float) -> Reply:
        """Return the reply that is kept, or a fresh one that came in time."""
        options = self._options
        left = entry.left(now)
        if left > 0:
            if self._is_wanted_again(entry, now) and entry.begin_refresh(now):
                self._ask_later(entry, asked, None)
            # A prefetch needs to see each hit.
            is_lasting = not options.prefetch.amount
            return entry.shown(now, keeps_ttl=options.keeps_ttl, is_lasting=is_lasting)
        stale = options.stale or Stale()
        if stale.verifies:
            if not stale.recheck or entry.begin_refresh(now):
                reply = await self._verified(entry, asked, stale)
                if reply is not None:
                    return reply
        elif entry.begin_refresh(now):
            self._ask_later(entry, asked, stale)
        self._served_stale.value += 1
        return entry.stale(stale.ttl or (entry.ttl if options.keeps_ttl else 0))

    def _is_wanted_again(self, entry: Entry, now: float) -> bool:
        prefetch = self._options.prefetch
        if not prefetch.amount:
            return False
        entry.count_hit(now, prefetch.within)
        threshold = math.ceil(prefetch.percentage / 100 * entry.ttl)
        return entry.hits >= prefetch.amount and entry.left(now) <= threshold

    async def _verified(self, entry: Entry, asked: _Asked, stale: Stale) -> Reply | None:
        """Return the source's reply, or None if it failed, or takes longer than one waits."""
        if not stale.patience:
            return await self._refreshed(entry, asked, stale)
        await waiting()
        found: list[Reply | None] = []
        is_done = asyncio.Event()

        async def verify() -> None:
            try:
                found.append(await self._refreshed(entry, asked, stale))
            finally:
                is_done.set()

        if self._background.start(verify()):
            try:
                async with asyncio.timeout(stale.patience):
                    await is_done.wait()
            except TimeoutError:
                # It goes on, and who comes next has its reply.
                pass
        return found[0] if found else None

    def _ask_later(self, entry: Entry, asked: _Asked, stale: Stale | None) -> None:
        """Ask the source while the client has its reply already."""
        # Nobody's datagram limits the reply.
        inner = replace(asked, request=replace(asked.request, transport="tcp"))

        async def refresh() -> None:
            await self._refreshed(entry, inner, stale)

        if self._background.start(refresh()):
            self._prefetches.value += 1
        else:
            entry.is_refreshing = False

    async def _refreshed(self, entry: Entry, asked: _Asked, stale: Stale | None) -> Reply | None:
        """Return the reply that takes the place of *entry*, None if none did."""
        is_refreshed = False
        try:
            reply, is_refreshed = await self._ask(asked, is_replacing=stale is not None)
        finally:
            recheck = stale.recheck if stale else 0.0
            entry.end_refresh(self._clock.monotonic(), recheck, is_refreshed=is_refreshed)
        kept = self._kept.newest(asked.key)
        if kept is not None and kept is not entry:
            # What is wanted often is so after its renewal too.
            kept.hits, kept.last_hit = entry.hits, entry.last_hit
        return reply if is_refreshed else None

    async def _ask(self, asked: _Asked, *, is_replacing: bool = False) -> tuple[Reply, bool]:
        """Return what the rest of the chain says, having kept it, and whether it tells something.

        What tells nothing takes no stale entry's place if *is_replacing* (RFC 8767, 4).
        """
        reply = await asked.rest(asked.request)
        options, question = self._options, asked.request.query.question
        dnssec_ok = asked.key[2]
        class_ = classify(reply, question, dnssec_ok=dnssec_ok, now=self._clock.now())
        tells = class_ not in ("other", "failure") and not reply.truncated
        if options.prefers_positive:
            tells = tells and class_ == "success" and answers(reply, question)
        elif is_replacing and not tells:
            return reply, False
        ttl = lifetime(reply, class_, options)
        reply = levelled(reply, ttl)
        if ttl <= 0 or not may_keep(reply, question, class_):
            return reply, tells
        kind: CacheType = "success" if class_ in ("success", "referral") else "denial"
        now = self._clock.monotonic()
        if self._kept.keep(kind, asked.key, question, reply, ttl, now) and reply.lasting:
            # What counts down must not outlive the second in which it was written.
            reply = replace(reply, lasting=False)
        return reply, tells
