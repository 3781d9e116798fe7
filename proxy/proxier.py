"""The loop: what the informers hear -> table -> changes -> listeners.

The first event after a pause is applied in the same turn of the event loop; those that come while a
sync runs, or so soon after it that syncs would take more than half of the time, wait for the next.
So one change costs milliseconds and a thousand at once cost a few syncs.
"""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from podwire.kube.client import Client
from podwire.kube.clock import Clock, parse_rfc3339
from podwire.kube.informer import Informer
from podwire.kube.names import Key
from podwire.kube.objects import EndpointSlice, Node, Service
from podwire.proxy.changes import between
from podwire.proxy.claims import Claims
from podwire.proxy.endpoints import HEADLESS_LABEL, PROXY_NAME_LABEL
from podwire.proxy.listeners import Listeners
from podwire.proxy.sources import Sources
from podwire.proxy.table import Frontend, Route

log = logging.getLogger(__name__)

RETRY = 1.0
"""Seconds until a listener that could not be opened is tried again."""

OVERDUE = 60.0
"""Seconds after which a change that was not applied makes the proxy unhealthy (2 x syncPeriod)."""


@dataclass(slots=True)
class Syncs:
    """What the loop has done since it started; times are unix seconds."""

    count: int = 0
    seconds: float = 0.0
    last: float = 0.0
    last_queued: float = 0.0
    programming_count: int = 0
    programming_seconds: float = 0.0


class Proxier:
    """Keeps the listeners of one node equal to what Services and EndpointSlices say."""

    def __init__(
        self,
        listeners: Listeners,
        *,
        node: str,
        address: IPv4Address,
        clock: Clock,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.syncs = Syncs()
        self.sources = Sources(node, address, self.soon)
        self.synced = asyncio.Event()
        self.failed: Mapping[Frontend, str] = {}
        self._listeners = listeners
        self._clock = clock
        self._loop = loop
        self._claims = Claims()
        self._present: dict[Frontend, Route] = {}
        self._queued_at: float | None = None
        self._started = False
        self._next: asyncio.Handle | None = None
        self._not_before = 0.0
        self._inside: tuple[IPv4Network, ...] = self.sources.inside

    async def run(self, client: Client) -> None:
        """Follow the API server until cancelled; the first sync waits until all lists are here."""
        services = Informer(client, Service, labels=f"!{PROXY_NAME_LABEL}")
        slices = Informer(client, EndpointSlice, labels=f"!{HEADLESS_LABEL},!{PROXY_NAME_LABEL}")
        nodes = Informer(client, Node, fields=f"metadata.name={self.sources.place.node}")
        services.subscribe(self.sources.service)
        slices.subscribe(self.sources.slice)
        nodes.subscribe(self.sources.node)
        async with asyncio.TaskGroup() as tasks:
            for informer in (services, slices, nodes):
                tasks.create_task(informer.run())
            for informer in (services, slices, nodes):
                await informer.synced.wait()
            self.start()

    def start(self) -> None:
        """Apply what is known; from now on changes are applied as they come."""
        self._started = True
        self.soon()

    def soon(self) -> None:
        """Have what has changed applied: at once, or when the last sync is long enough ago."""
        if self._queued_at is None:
            self._queued_at = self._clock.monotonic()
            self.syncs.last_queued = self._clock.now()
        if self._started and self._next is None:
            wait = self._not_before - self._clock.monotonic()
            self._next = (
                self._loop.call_later(wait, self._sync)
                if wait > 0
                else self._loop.call_soon(self._sync)
            )

    def overdue(self) -> bool:
        """Whether a change has waited for too long."""
        waiting_since = self._queued_at
        return (
            self._started
            and waiting_since is not None
            and self._clock.monotonic() - waiting_since > OVERDUE
        )

    def _sync(self) -> None:
        began = self._clock.monotonic()
        self._next = None
        self._queued_at = None
        if self.sources.inside != self._inside:
            self._inside = self.sources.inside
            self._listeners.move(self._inside)
        dirty = self.sources.take_dirty()
        touched: set[Frontend] = set()
        for key in dirty:
            touched |= self._claims.update(key, self.sources.routes_of(key))
        old = {f: route for f in touched if (route := self._present.get(f)) is not None}
        new = {f: route for f in touched if (route := self._claims.route(f)) is not None}
        failed = self._listeners.apply(between(old, new))
        for frontend in touched:
            if frontend in new and frontend not in failed:
                self._present[frontend] = new[frontend]
            else:
                self._present.pop(frontend, None)
        self._note(touched, failed)
        now = self._clock.monotonic()
        self._not_before = now + (now - began)
        self.syncs.count += 1
        self.syncs.seconds += now - began
        self.syncs.last = self._clock.now()
        self._observe(dirty)
        self.synced.set()

    def _note(self, touched: set[Frontend], failed: Mapping[Frontend, str]) -> None:
        """Say what has failed, once, and have its Services looked at again later."""
        for frontend, reason in failed.items():
            if self.failed.get(frontend) != reason:
                log.error("cannot serve %s: %s; trying again every second", frontend, reason)
        self.failed = {f: r for f, r in self.failed.items() if f not in touched} | {**failed}
        for owner in {self._claims.owner(frontend) for frontend in failed}:
            if owner is not None:
                self._loop.call_later(RETRY, self._again, owner)

    def _again(self, key: Key) -> None:
        self.sources.mark(key)
        self.soon()

    def _observe(self, dirty: frozenset[Key]) -> None:
        for key in dirty:
            for moment in self.sources.changed_at(key):
                try:
                    took = self.syncs.last - parse_rfc3339(moment)
                except ValueError:
                    continue
                # The annotation stays on the slice: only a fresh one says how long this took.
                if 0 <= took < OVERDUE:
                    self.syncs.programming_count += 1
                    self.syncs.programming_seconds += took
