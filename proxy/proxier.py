"""The loop: what the informers hear -> orders -> the mode that obeys them.

The first event after a pause is applied at once; those that come while a sync runs, or so soon
after it that syncs would take more than half of the time, wait for the next. So one change costs
milliseconds and a thousand at once cost a few syncs.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress

from podwire.errors import ApiError, UnreachableError
from podwire.kube.client import Client
from podwire.kube.clock import Clock, parse_rfc3339
from podwire.kube.informer import Informer
from podwire.kube.names import Key
from podwire.kube.objects import EndpointSlice, Node, Service
from podwire.proxy.endpoints import HEADLESS_LABEL, PROXY_NAME_LABEL
from podwire.proxy.mode import Mode, Order, SyncFailed, Unservable
from podwire.proxy.node import NodeView
from podwire.proxy.sources import Sources
from podwire.proxy.syncs import Syncs
from podwire.proxy.table import ServicePort

log = logging.getLogger(__name__)

RETRY = 1.0
"""Seconds until a Service that could not be served, or a sync that failed, is tried again."""

ANNOTATION = "podwire.dev"

Report = Callable[[Service, str, str], None]
"""Writes a Warning event about a Service: reason and message."""

SYNC_PERIOD = 30.0
"""Seconds; a change that was not applied within twice that long makes the proxy unhealthy."""

FRESH = 60.0
"""Seconds after which a slice's note of its last change says nothing of this sync any more."""


class Proxier:
    """Has one mode serve on one node what Services and EndpointSlices say."""

    def __init__(
        self,
        mode: Mode,
        view: NodeView,
        *,
        clock: Clock,
        loop: asyncio.AbstractEventLoop,
        period: float = SYNC_PERIOD,
        obeyed: Callable[[Order], None] = lambda _: None,
        report: Report = lambda service, reason, message: None,
    ) -> None:
        self.syncs = Syncs()
        self.sources = Sources(view, self.soon)
        self.synced = asyncio.Event()
        self.failed: Mapping[Key, str] = {}
        self.served: dict[Key, tuple[ServicePort, ...]] = {}
        self.mode = mode
        self._clock = clock
        self._loop = loop
        self._period = period
        self._queued_at: float | None = None
        self._said = ""
        self._waiting: set[Key] = set()
        self._retry: asyncio.TimerHandle | None = None
        self._started = False
        self._wanted = asyncio.Event()
        self._node: Node | None = None
        self._node_changed = asyncio.Event()
        self._thawed = asyncio.Event()
        self._thawed.set()
        self._obeyed = obeyed
        self._report = report

    async def run(self, client: Client) -> None:
        """Follow the API server until cancelled; the first sync waits until all lists are here."""
        node = self.sources.view.place.node
        services = Informer(client, Service, labels=f"!{PROXY_NAME_LABEL}")
        slices = Informer(client, EndpointSlice, labels=f"!{HEADLESS_LABEL},!{PROXY_NAME_LABEL}")
        nodes = Informer(client, Node, fields=f"metadata.name={node}")
        services.subscribe(self.sources.service)
        slices.subscribe(self.sources.slice)
        nodes.subscribe(self.sources.node)
        nodes.subscribe(self._see_node)
        async with asyncio.TaskGroup() as tasks:
            for informer in (services, slices, nodes):
                tasks.create_task(informer.run())
            for informer in (services, slices, nodes):
                await informer.synced.wait()
            await self.serve()

    async def serve(self) -> None:
        """Apply what is known, then changes as they come, until cancelled."""
        self._started = True
        self.soon()
        while True:
            await self._wanted.wait()
            await self._thawed.wait()
            self._wanted.clear()
            began = self._clock.monotonic()
            await self._sync()
            await asyncio.sleep(self._clock.monotonic() - began)

    async def watch_over(self) -> None:
        """Every sync period have all programmed again if somebody has removed it."""
        while True:
            await asyncio.sleep(self._period)
            try:
                intact = not self.synced.is_set() or await self.mode.intact()
            except (OSError, SyncFailed) as error:
                # Out of files for a while: what is programmed serves on.
                log.warning("cannot look after what was programmed: %s", error)
                continue
            if not intact:
                log.warning("what was programmed is gone: everything is programmed again")
                self.sources.mark_all()
                self.soon()

    @property
    def noted_mode(self) -> str:
        """Return the mode that this or an earlier proxy has noted on the Node; "" for none."""
        annotations = self._node.metadata.annotations if self._node is not None else {}
        return annotations.get(f"{ANNOTATION}/proxy-mode", "")

    async def announce(self, client: Client) -> None:
        """Keep on the Node how its Services are served; `podwire trace` judges by that.

        Until cancelled: the Node may come later than the first sync, and may be made anew.
        """
        said = ""
        while True:
            self._node_changed.clear()
            view, own = self.sources.view, self._node
            notes = {
                f"{ANNOTATION}/proxy-mode": self.mode.name,
                f"{ANNOTATION}/pod-network": view.same_pod_network,
                f"{ANNOTATION}/source": "kept" if self.mode.keeps_source else "node",
            }
            patience = None
            if own is not None and not notes.items() <= own.metadata.annotations.items():
                change = {"metadata": {"annotations": notes}}
                try:
                    await client.patch(Node, Key("", view.place.node), change)
                except (ApiError, UnreachableError) as error:
                    patience = RETRY
                    if str(error) != said:
                        log.warning("cannot note on the Node what mode serves: %s", error)
                    said = str(error)
            with suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await self._node_changed.wait()

    def _see_node(self, _: Node | None, new: Node | None) -> None:
        self._node = new
        self._node_changed.set()

    def soon(self) -> None:
        """Have what has changed applied: at once, or when the last sync is long enough ago."""
        if self._queued_at is None:
            self._queued_at = self._clock.monotonic()
            self.syncs.last_queued = self._clock.now()
        self._wanted.set()

    @property
    def frozen(self) -> bool:
        """Whether changes wait for `freeze(False)`."""
        return not self._thawed.is_set()

    def freeze(self, frozen: bool) -> None:  # noqa: FBT001 - it is the thing itself
        """Serve what is programmed, whatever changes: a fault to test with, as of a hung proxy."""
        (self._thawed.clear if frozen else self._thawed.set)()

    def overdue(self) -> bool:
        """Whether a change has waited for more than two sync periods."""
        waiting_since = self._queued_at
        return (
            self._started
            and waiting_since is not None
            and self._clock.monotonic() - waiting_since > 2 * self._period
        )

    async def _sync(self) -> None:
        order = self.sources.take_order()
        queued_at, self._queued_at = self._queued_at, None
        began = self._clock.monotonic()
        try:
            failed = await self.mode.sync(order)
        except (SyncFailed, OSError) as error:
            if str(error) != self._said:
                log.error("%s; trying again every second", error)
            self._said = str(error)
            self.syncs.failures += 1
            self._queued_at = queued_at if self._queued_at is None else self._queued_at
            self.sources.mark_all()
            if self._retry is None:
                self._retry = self._loop.call_later(RETRY, self._whole_again)
            return
        if self._said:
            log.info("programmed again, after it had failed")
            self._said = ""
        self._note(order, failed)
        if order.whole:
            self.served.clear()
        self.served |= {key: ports for key, ports in order.services.items() if ports}
        for key in [key for key, ports in order.services.items() if not ports]:
            self.served.pop(key, None)
        took = self._clock.monotonic() - began
        self.syncs.every.observe(took)
        (self.syncs.full if order.whole else self.syncs.partial).observe(took)
        self.syncs.last = self._clock.now()
        self._observe(order)
        self._obeyed(order)
        self.synced.set()

    def _whole_again(self) -> None:
        self._retry = None
        self._wanted.set()

    def _note(self, order: Order, failed: Mapping[Key, str]) -> None:
        """Say what has failed, once, and have its Services looked at again if that may help."""
        for key, reason in failed.items():
            again = not isinstance(reason, Unservable)
            if self.failed.get(key) != reason:
                log.error("%s: %s%s", key, reason, "; trying again every second" * again)
                self.report(key, "FailedToServe", str(reason))
            # One timer per Service, however often it changes meanwhile.
            if again and key not in self._waiting:
                self._waiting.add(key)
                self._loop.call_later(RETRY, self._again, key)
        others: Mapping[Key, str] = {} if order.whole else self.failed
        kept = {key: reason for key, reason in others.items() if key not in order.services}
        self.failed = kept | {key: str(reason) for key, reason in failed.items()}

    def report(self, key: Key, reason: str, message: str) -> None:
        """Have a Warning event about a Service written."""
        service = self.sources.service_of(key)
        if service is not None:
            self._report(service, reason, message)

    def _again(self, key: Key) -> None:
        self._waiting.discard(key)
        self.sources.mark(key)
        self.soon()

    def _observe(self, order: Order) -> None:
        for key in order.services:
            for moment in self.sources.changed_at(key):
                try:
                    took = self.syncs.last - parse_rfc3339(moment)
                except ValueError:
                    continue
                # The annotation stays on the slice: only a fresh one says how long this took.
                if 0 <= took < FRESH:
                    self.syncs.programming.observe(took)
