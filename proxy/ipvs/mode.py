"""The ipvs mode: orders -> virtual servers -> changes -> ip_vs of the kernel, or its emulation."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol as Interface
from typing import Self

from podwire.kube.names import Key
from podwire.proxy.configuration import Configuration
from podwire.proxy.endpoints import Backend
from podwire.proxy.ipvs.changes import CHECK, Change, Listed, between, drained
from podwire.proxy.ipvs.kernel import KernelTable, find_family
from podwire.proxy.ipvs.listing import listing
from podwire.proxy.ipvs.plan import Wanted, virtual_servers
from podwire.proxy.ipvs.relay import RelayTable
from podwire.proxy.mode import Order, SyncFailed
from podwire.proxy.pages import Metric
from podwire.proxy.table import PortName, Protocol
from podwire.proxy.userspace.claims import Claims
from podwire.proxy.userspace.routes import Frontend

log = logging.getLogger(__name__)

Owner = Callable[[Frontend], Key | None]


class Table(Interface):
    """Where virtual servers are: the kernel's ip_vs, or what stands in for it."""

    @property
    def name(self) -> str:
        """Return the name of the mode with this table."""
        ...

    @property
    def keeps_source(self) -> bool:
        """Whether endpoints see clients' own addresses, where Kubernetes says that they do."""
        ...

    async def obey(
        self, changes: Iterable[Change], order: Order, owner: Owner
    ) -> Mapping[Key, str]:
        """Make *changes*, which follow from *order*; return the Services that failed, with why.

        Raises SyncFailed when nothing could be done.
        """
        ...

    def remove(self, changes: Iterable[Change]) -> None:
        """Make *changes*, all of which delete drained destinations."""
        ...

    def listed(self, frontends: Iterable[Frontend] | None = None) -> Mapping[Frontend, Listed]:
        """Return what is there of *frontends*, or all; raises SyncFailed."""
        ...

    async def intact(self) -> bool:
        """Return whether what was made is there still."""
        ...

    def facts(self) -> tuple[tuple[int, int, int], int]:
        """Return the version of ip_vs and the size of its table of connections."""
        ...

    def connections(self) -> Mapping[tuple[PortName, Protocol, Backend], int] | None:
        """Return the open connections; None if those of the list are all that is known."""
        ...

    def metrics(self) -> tuple[Metric, ...]:
        """Return figures."""
        ...

    async def close(self, *, cleanup: bool) -> None:
        """Stop; with *cleanup* leave nothing."""
        ...


class Ipvs:
    """Serves by virtual servers in *table*; with *settings* of the configuration."""

    def __init__(
        self, table: Table, configuration: Configuration, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._table = table
        self._settings = configuration.ipvs
        self._loop = loop
        self._claims: Claims[Wanted] = Claims()
        self._wanted: dict[Frontend, Wanted] = {}
        self._served: set[Key] = set()
        self._timer: asyncio.TimerHandle | None = None

    @classmethod
    def made_for(cls, configuration: Configuration, loop: asyncio.AbstractEventLoop) -> Self:
        """Return the mode with the kernel's ip_vs if it has one, else with the emulation."""
        return cls(_table(configuration, loop), configuration, loop)

    @property
    def name(self) -> str:
        """Return "ipvs", or "ipvs (userspace)" where the kernel has no ip_vs."""
        return self._table.name

    @property
    def keeps_source(self) -> bool:
        """Whether endpoints see clients' own addresses, where Kubernetes says that they do."""
        return self._table.keeps_source

    async def sync(self, order: Order) -> Mapping[Key, str]:
        """Make the virtual servers of *order*; return the Services with one that failed."""
        touched: set[Frontend] = set()
        gone = self._served - order.services.keys() if order.whole else set[Key]()
        for key in gone:
            touched |= self._claims.update(key, {})
        for key, ports in order.services.items():
            wanted = virtual_servers(ports, order.node, self._settings.scheduler)
            touched |= self._claims.update(key, wanted)
        self._served = (self._served - gone) | {k for k, ports in order.services.items() if ports}
        for frontend in touched:
            wish = self._claims.route(frontend)
            if wish is None:
                self._wanted.pop(frontend, None)
            else:
                self._wanted[frontend] = wish
        # Whole: what else is there must go as well.
        there = self._table.listed(None if order.whole else touched)
        wishes = self._wanted
        if not order.whole:
            wishes = {f: wish for f in touched if (wish := self._wanted.get(f)) is not None}
        changes = between(there, wishes, excluded=self._settings.exclude_cidrs)
        failed = await self._table.obey(changes, order, self._claims.owner)
        if self._timer is None:
            self._timer = self._loop.call_later(CHECK, self._check)
        return failed

    async def intact(self) -> bool:
        """Return whether what was programmed is there still."""
        return await self._table.intact()

    def connections(self) -> Mapping[tuple[PortName, Protocol, Backend], int]:
        """Return the open connections and flows of each endpoint."""
        known = self._table.connections()
        if known is not None:
            return known
        found: dict[tuple[PortName, Protocol, Backend], int] = {}
        for frontend, listed in self._table.listed().items():
            wish = self._wanted.get(frontend)
            for backend, each in listed.destinations.items() if wish is not None else ():
                # Over UDP nothing is ever active.
                count = each.active if frontend.protocol == "TCP" else each.inactive
                if wish is not None and count:
                    key = (wish.name, frontend.protocol, backend)
                    found[key] = found.get(key, 0) + count
        return found

    def listings(self) -> Mapping[str, str]:
        """Return what `ipvsadm -Ln` would print."""
        version, size = self._table.facts()
        return {"ipvsadm": listing(self._table.listed(), version=version, size=size)}

    def metrics(self) -> tuple[Metric, ...]:
        """Return how many virtual servers are wanted, and the figures of the table."""
        servers = Metric(
            "podwire_proxy_virtual_servers", "gauge", "Virtual servers.", len(self._wanted)
        )
        return (servers, *self._table.metrics())

    async def close(self, *, cleanup: bool) -> None:
        """Stop; with *cleanup* remove what this mode has programmed, now or earlier."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        await self._table.close(cleanup=cleanup)

    def _check(self) -> None:
        """Remove the destinations that have drained, and look again in a minute."""
        self._timer = self._loop.call_later(CHECK, self._check)
        try:
            changes = drained(self._table.listed())
            if changes:
                self._table.remove(changes)
        except (OSError, SyncFailed) as error:
            log.warning("cannot look at draining destinations: %s", error)


def _table(configuration: Configuration, loop: asyncio.AbstractEventLoop) -> Table:
    family = find_family()
    if family is not None:
        return KernelTable(family, configuration.ipvs)
    return RelayTable.with_relay(configuration, loop)
