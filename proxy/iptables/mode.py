"""The iptables mode: orders -> portions of a rulebook -> iptables-restore."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

from podwire.errors import MachineError
from podwire.kube.clock import Clock
from podwire.kube.names import Key
from podwire.netlink.namespace import read_sysctl
from podwire.proxy import sysctls
from podwire.proxy.endpoints import Backend
from podwire.proxy.flows import Flows
from podwire.proxy.iptables import names
from podwire.proxy.iptables.ground import TABLES, WITNESSES, Ground, Kernel, ground
from podwire.proxy.iptables.programs import (
    TOO_LONG,
    VARIANTS,
    CannotStart,
    CommandFailed,
    Programs,
    find,
    in_use,
)
from podwire.proxy.iptables.rulebook import Rulebook, Script
from podwire.proxy.iptables.saved import parse, removal
from podwire.proxy.iptables.service import portion
from podwire.proxy.mode import Order, SyncFailed, Unservable
from podwire.proxy.pages import Histogram, Metric
from podwire.proxy.table import PortName, Protocol, ServicePort

log = logging.getLogger(__name__)

LARGE = 1000
"""Endpoints above which comments go and chains out of use are deleted once per sync period."""

_ROUTE_LOCALNET = "net/ipv4/conf/all/route_localnet"
_NO_SCTP = Unservable(
    "SCTP cannot be served: the kernel lacks xt_sctp (modprobe xt_sctp, then restart the proxy, or"
    " choose nftables)"
)
_BE_LIBERAL = "net/netfilter/nf_conntrack_tcp_be_liberal"


class Iptables:
    """Programs a node as kube-proxy's iptables mode does.

    It works on the network namespace in which it was made. Nothing is looked for or changed before
    the first sync. *sync_period* is in seconds; *programs* are the names of iptables to try.
    """

    name = "iptables"
    keeps_source = True

    def __init__(
        self,
        clock: Clock,
        *,
        sync_period: float = 30.0,
        large: int = LARGE,
        programs: Sequence[str] = VARIANTS,
    ) -> None:
        self._clock = clock
        self._names = programs
        self._sync_period = sync_period
        self._large = large
        self._programs: Programs | None = None
        self._left: Programs | None = None
        self._sctp: bool | None = None  # whether it can be served; None if nobody has asked yet
        self._rulebook = Rulebook()
        self._flows = Flows(clock)
        self._ports: dict[Key, tuple[ServicePort, ...]] = {}
        self._endpoints: dict[Key, int] = {}
        self._total = 0
        self._ground: Ground | None = None
        self._whole_needed = True
        self._cleaned = 0.0
        self._last = Script("", 0, 0)
        self._failures = 0
        self._partial_failures = 0

    async def sync(self, order: Order) -> Mapping[Key, str]:
        """Program *order*; no Service fails alone, but for its SCTP where the kernel has none.

        Raises SyncFailed, MachineError.
        """
        programs = await self._found()
        order, unserved = await self._servable(programs, order)
        new_ground = ground(order.node, _kernel(programs))
        changed = self._changed(order)
        if new_ground != self._ground:
            self._ground = new_ground
            self._whole_needed = True
            changed |= self._ports.keys()
        comments = self._total <= self._large
        for key in changed:
            ports = self._ports.get(key, ())
            self._rulebook.put(key, portion(ports, new_ground, comments=comments))
        whole = order.whole or self._whole_needed
        self._whole_needed = True
        try:
            await self._program(programs, new_ground, whole=whole)
        except (CommandFailed, OSError) as error:
            self._failures += 1
            self._partial_failures += not whole
            if TOO_LONG in str(error):
                await self._leave(programs)
            raise SyncFailed(f"iptables mode ({programs.variant}): {error}") from error
        self._whole_needed = False
        if self._left is not None:
            await _remove(self._left)
            self._left = None
        self._flows.programmed(order)
        return unserved

    async def intact(self) -> bool:
        """Return whether the canaries and two of the jumps are there.

        `iptables -F` leaves the canary alone, and kube-proxy would not notice it for an hour.
        Raises SyncFailed if iptables cannot be started.
        """
        programs = await self._found()
        try:
            for table in TABLES:
                if not await programs.has_chain(table, names.CANARY):
                    return False
            for jump in WITNESSES:
                if not await programs.has_rule(jump.table, jump.hook, jump.rule()):
                    return False
        except CannotStart as error:
            raise SyncFailed(str(error)) from error
        return True

    def connections(self) -> Mapping[tuple[PortName, Protocol, Backend], int]:
        """Return the open connections and UDP flows of each endpoint, as conntrack has them."""
        return self._flows.connections()

    def listings(self) -> Mapping[str, str]:
        """Return nothing: iptables itself shows the rules."""
        return {}

    def metrics(self) -> tuple[Metric | Histogram, ...]:
        """Return kube-proxy's figures of this mode."""
        family = 'ip_family="IPv4"'
        rules = self._rulebook.rules()
        last = {"nat": self._last.nat, "filter": self._last.filter}
        return (
            *(
                Metric(
                    f"kubeproxy_sync_proxy_rules_iptables_{name}",
                    "gauge",
                    text,
                    counts[table],
                    f'{{{family},table="{table}"}}',
                )
                for name, text, counts in (
                    ("total", "Rules programmed.", rules),
                    ("last", "Rules written by the last sync.", last),
                )
                for table in ("filter", "nat")
            ),
            Metric(
                "kubeproxy_sync_proxy_rules_iptables_restore_failures_total",
                "counter",
                "Syncs that iptables-restore refused.",
                self._failures,
                f"{{{family}}}",
            ),
            Metric(
                "kubeproxy_sync_proxy_rules_iptables_partial_restore_failures_total",
                "counter",
                "Syncs of changes only that iptables-restore refused.",
                self._partial_failures,
                f"{{{family}}}",
            ),
            *self._flows.metrics(),
        )

    async def close(self, *, cleanup: bool) -> None:
        """Leave the rules to serve on or, with *cleanup*, remove every KUBE- chain and jump.

        Cleaning up covers both variants of iptables and what an earlier proxy has left.
        """
        self._flows.close()
        self._whole_needed = True
        if not cleanup:
            return
        for programs in await in_use():
            if await _remove(programs):
                # Without the guard the way to 127.0.0.1 must close.
                sysctls.write([(_ROUTE_LOCALNET, "0")])

    async def _found(self) -> Programs:
        if self._programs is None:
            self._programs = await find(self._names)
            log.info("using %s: %s", self._programs.name, self._programs.version)
        return self._programs

    async def _leave(self, programs: Programs) -> None:
        """Use the other variant if it works here; the rules of this one go when that serves."""
        try:
            self._programs = await find(self._names, but=programs.variant)
            self._sctp = None
        except MachineError:
            return
        self._left = programs
        log.warning(
            "these are too many rules for %s where the user is not root; using %s: %s",
            programs.name,
            self._programs.name,
            self._programs.version,
        )

    async def _servable(
        self, programs: Programs, order: Order
    ) -> tuple[Order, Mapping[Key, Unservable]]:
        """Return *order* without what this kernel cannot serve, and whose that is."""
        services = order.services
        asking = [key for key, ports in services.items() if any(map(_is_sctp, ports))]
        if asking and self._sctp is None:
            try:
                self._sctp = await programs.knows_sctp()
            except CommandFailed as error:
                raise SyncFailed(str(error)) from error
        if not asking or self._sctp:
            return order, {}
        left = {key: tuple(p for p in services[key] if not _is_sctp(p)) for key in asking}
        return replace(order, services={**services, **left}), dict.fromkeys(asking, _NO_SCTP)

    def _changed(self, order: Order) -> set[Key]:
        """Take over the ports of *order*; return the Services whose rules may differ now."""
        changed: set[Key] = set()
        gone = self._ports.keys() - order.services.keys() if order.whole else set[Key]()
        for key, ports in (*order.services.items(), *((key, ()) for key in gone)):
            if self._ports.get(key, ()) == ports:
                continue
            changed.add(key)
            self._total -= self._endpoints.pop(key, 0)
            if ports:
                self._ports[key] = ports
                self._endpoints[key] = sum(len(port.candidates) for port in ports)
                self._total += self._endpoints[key]
            else:
                del self._ports[key]
        return changed

    async def _program(self, programs: Programs, on: Ground, *, whole: bool) -> None:
        now = self._clock.monotonic()
        delayed = self._total > self._large and now - self._cleaned < self._sync_period
        if whole:
            if on.localnet:
                sysctls.write([(_ROUTE_LOCALNET, "1")])
            script = self._rulebook.whole(on, parse(await programs.save()), limit=programs.limit)
            deleted = frozenset(self._rulebook.stale)
        else:
            deleted = frozenset(() if delayed else self._rulebook.stale)
            script = self._rulebook.part(on, deleted=deleted, limit=programs.limit)
        if script.text:
            await programs.restore(script.text)
        self._rulebook.written(deleted=deleted)
        self._last = script
        if whole or not delayed:
            self._cleaned = now


def _is_sctp(port: ServicePort) -> bool:
    return port.protocol == "SCTP"


async def _remove(programs: Programs) -> bool:
    """Remove every KUBE- chain, and the jumps there, of one variant; a failure is logged.

    Return whether 127.0.0.1 was guarded there.
    """
    try:
        saved = parse(await programs.save())
        script = removal(saved)
        if script:
            await programs.restore(script)
    except CommandFailed as error:
        log.error("cannot remove the rules of %s: %s", programs.version, error)
        return False
    return names.FIREWALL in saved.chains["filter"]


def _kernel(programs: Programs) -> Kernel:
    return Kernel(
        random_fully=programs.random_fully,
        be_liberal=read_sysctl(_BE_LIBERAL) == "1",
    )
