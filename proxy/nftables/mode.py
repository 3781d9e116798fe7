"""The nftables mode: orders -> what each Service has in the table -> transactions -> the kernel."""

import asyncio
import logging
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice

from podwire.kube.clock import Clock
from podwire.kube.names import Key
from podwire.proxy.endpoints import Backend
from podwire.proxy.flows import Flows
from podwire.proxy.mode import Order, SyncFailed
from podwire.proxy.nftables import layout, script
from podwire.proxy.nftables.kernel import Kernel
from podwire.proxy.nftables.names import is_of_service
from podwire.proxy.nftables.objects import Contents, Transaction
from podwire.proxy.nftables.programmed import Programmed
from podwire.proxy.nftables.render import REJECT_CHAIN, contents
from podwire.proxy.pages import Histogram, Metric
from podwire.proxy.table import PortName, Protocol

log = logging.getLogger(__name__)

_TOGETHER = 250
"""Services per transaction of a whole sync: what the kernel does for each object of a transaction
grows with their number, and ten thousand Services in one take it twenty seconds."""


class Nftables:
    """Programs the table kube-proxy of the network namespace in which it was made."""

    name = "nftables"
    keeps_source = True

    def __init__(self, clock: Clock, *, program: str = "nft") -> None:
        self._clock = clock
        self._kernel = Kernel(program)
        self._flows = Flows(clock)
        self._programmed = Programmed()
        # The table's handle and how often its own chains are used, and the change to any table
        # after which that was so.
        self._known: tuple[int, Mapping[str, int]] | None = None
        self._generation = 0
        self._rebuild = False
        self._by_netlink = self._by_nft = 0
        self._failures = self._cleanup_failures = 0

    async def sync(self, order: Order) -> Mapping[Key, str]:
        """Program *order*; no Service fails alone.

        Raises SyncFailed when nft or the kernel refused it, MachineError when there is no nft.
        """
        try:
            if order.whole:
                await self._sync_whole(order)
                self._remember()
            else:
                await self._sync_changes(order)
        except OSError as error:
            self._failures += 1
            raise SyncFailed(f"cannot program table kube-proxy: {error}") from error
        except SyncFailed:
            self._failures += 1
            raise
        self._flows.programmed(order)
        return {}

    async def intact(self) -> bool:
        """Return whether the table is as it was left; what other tables do is of no interest.

        A deleted element or rule of one Service is not noticed, no more than by kube-proxy.
        """
        try:
            if not self._is_as_left():
                return False
            if self._programmed.waiting(self._clock.monotonic()):
                await self._change({})
        except (OSError, SyncFailed) as error:
            self._cleanup_failures += 1
            log.warning("cannot look after table kube-proxy: %s", error)
            return False
        return True

    def connections(self) -> Mapping[tuple[PortName, Protocol, Backend], int]:
        """Return the open connections and UDP flows of each endpoint, as conntrack has them."""
        return self._flows.connections()

    def listings(self) -> Mapping[str, str]:
        """Return nothing: nft itself shows the table."""
        return {}

    def metrics(self) -> tuple[Metric | Histogram, ...]:
        """Return kube-proxy's figures of this mode, and how changes were programmed."""
        prefix, family = "kubeproxy_sync_proxy_rules", 'ip_family="IPv4"'
        return (
            *(
                Metric(f"{prefix}_nftables_{name}_total", "counter", text, count, f"{{{family}}}")
                for name, text, count in (
                    ("sync_failures", "Syncs that failed.", self._failures),
                    ("cleanup_failures", "Removals that failed.", self._cleanup_failures),
                )
            ),
            *(
                Metric(
                    "podwire_proxy_nftables_transactions_total",
                    "counter",
                    "Transactions, by who sent them.",
                    count,
                    f'{{by="{sender}"}}',
                )
                for sender, count in (("netlink", self._by_netlink), ("nft", self._by_nft))
            ),
            *self._flows.metrics(),
        )

    async def close(self, *, cleanup: bool) -> None:
        """Let go of the table; with *cleanup* delete it, which needs no nft."""
        try:
            if cleanup:
                self._kernel.remove()
        finally:
            self._kernel.close()
            self._flows.close()
            self._known = None

    async def _sync_whole(self, order: Order) -> None:
        """Program everything, without a gap for connections.

        Chains of Services come first, a part of them at a time: nothing leads to those that are
        new. Then one transaction puts the whole to use. Clients that a set remembers stay there.
        Chains are written again even if they should be there already, unless the table is as it was
        left and it is only the node that has changed.
        """
        trusted = self._is_as_left()
        # Until this has succeeded all is to be doubted, and what stands in our way is torn down.
        self._known, rebuild, self._rebuild = None, self._rebuild, True
        now = self._clock.monotonic()
        wanted = {key: contents(ports, order.node) for key, ports in order.services.items()}
        chains = self._kernel.chains()
        sets = self._kernel.sets() if chains else {}
        ages = {name: age for each in wanted.values() for name, age in each.affinity.items()}
        # The kernel does not change the timeout of a set that is there.
        if rebuild or any(sets.get(name, age) != age for name, age in ages.items()):
            trusted, chains, sets = False, {}, {}
            await self._run(script.CLEANUP + script.foundation(order.node))
        else:
            await self._run(script.foundation(order.node))
        programmed = self._programmed
        if not trusted or not programmed.chains() <= chains.keys():
            programmed = self._programmed = Programmed()
        programmed.own = layout.elements(order.node)
        wanted |= {key: Contents() for key in programmed.services() - wanted.keys()}
        for keys in _parts(wanted):
            change = programmed.change({key: wanted[key] for key in keys}, now=now)
            affinity = {name: age for name, age in change.affinity.items() if name not in sets}
            await self._apply(Transaction(chains=change.chains, affinity=affinity))
            await asyncio.sleep(0)
        stale = sorted({c for c in chains if is_of_service(c)} - programmed.chains())
        forgotten = sorted({s for s in sets if is_of_service(s)} - programmed.affinity())
        completion = script.completion(
            order.node, programmed.elements(), stale_chains=stale, stale_affinity=forgotten
        )
        await self._run(completion)
        programmed.flush_later_deleted(stale, now=now)
        self._rebuild = False

    async def _sync_changes(self, order: Order) -> None:
        wanted = {key: contents(ports, order.node) for key, ports in order.services.items()}
        await self._change(wanted)

    async def _change(self, wanted: Mapping[Key, Contents]) -> None:
        # Until the kernel has it, our account of the table is wrong.
        known, self._known = self._known, None
        await self._apply(self._programmed.change(wanted, now=self._clock.monotonic()))
        self._known = known

    async def _apply(self, change: Transaction) -> None:
        if not change:
            return
        try:
            if self._kernel.commit(change):
                self._by_netlink += 1
                return
        except OSError as error:
            # nft says more clearly what is wrong, if it is wrong for nft, too.
            log.warning("%s; trying nft", error)
        await self._run(script.changes(change))

    async def _run(self, text: str) -> None:
        await self._kernel.run(text)
        self._by_nft += 1

    def _is_as_left(self) -> bool:
        if self._known is None:
            return False
        generation = self._kernel.generation()
        if generation != self._generation:
            if (self._kernel.table(), self._own_chains()) != self._known:
                return False
            self._generation = generation
        return True

    def _remember(self) -> None:
        handle = self._kernel.table()
        self._known = None if handle is None else (handle, self._own_chains())
        self._generation = self._kernel.generation()

    def _own_chains(self) -> dict[str, int]:
        # How many use the chain that rejects depends on the Services.
        return {
            chain: used
            for chain, used in self._kernel.chains().items()
            if not is_of_service(chain) and chain != REJECT_CHAIN
        }


def _parts(keys: Iterable[Key]) -> Iterator[list[Key]]:
    rest = iter(keys)
    while part := list(islice(rest, _TOGETHER)):
        yield part
