"""ip_vs of the kernel, by generic netlink.

This was written on machines without ip_vs and has never run against a live one: its messages are
tested byte by byte, its order of steps is kube-proxy's. Where the kernel has no ip_vs the mode is
"ipvs (userspace)" and nothing of this runs.
"""

import errno
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from ipaddress import IPv4Address

from podwire.kube.names import Key
from podwire.netlink.client import Netlink, NetlinkError
from podwire.netlink.genetlink import NETLINK_GENERIC, families_question, family
from podwire.proxy import sysctls
from podwire.proxy.configuration import Ipvs
from podwire.proxy.endpoints import Backend
from podwire.proxy.ipvs import ground, messages, rules
from podwire.proxy.ipvs.changes import (
    AddDestination,
    AddServer,
    Change,
    DeleteDestination,
    DeleteServer,
    Listed,
    ListedDestination,
)
from podwire.proxy.ipvs.plan import VirtualServer, bound_addresses
from podwire.proxy.mode import Order, SyncFailed
from podwire.proxy.node import NodeView
from podwire.proxy.pages import Metric
from podwire.proxy.table import PortName, Protocol
from podwire.proxy.userspace.routes import Frontend

log = logging.getLogger(__name__)

_ABSENT = (errno.ESRCH, errno.ENOENT)


def find_family(name: str = messages.FAMILY) -> int | None:
    """Return the number of ip_vs in generic netlink, None if this kernel has not loaded it."""
    try:
        with Netlink(family=NETLINK_GENERIC) as netlink:
            return dict(map(family, netlink.ask(families_question()))).get(name)
    except OSError:
        return None


class KernelTable:
    """The virtual servers of this network namespace."""

    name = "ipvs"
    keeps_source = True

    def __init__(self, family: int, settings: Ipvs) -> None:
        self._family = family
        self._settings = settings
        self._addresses = ground.Addresses()
        self._bound: dict[Key, frozenset[IPv4Address]] = {}
        self._members = rules.Members()
        self._loaded: NodeView | None = None

    async def obey(
        self, changes: Iterable[Change], order: Order, owner: Callable[[Frontend], Key | None]
    ) -> Mapping[Key, str]:
        """Bind addresses, load rules, then make *changes*, each of which may fail by itself.

        Raises SyncFailed when addresses or rules are refused.
        """
        if order.whole:
            sysctls.write(ground.sysctls(self._settings))
            self._set_timeouts()
            self._bound.clear()
        self._bound |= {key: bound_addresses(ports) for key, ports in order.services.items()}
        bound = frozenset(address for each in self._bound.values() for address in each)
        self._addresses.bind(bound, afresh=order.whole)
        await self._load_rules(order)
        failed: dict[Key, str] = {}
        for change, error in self._make(changes):
            key = owner(change.frontend)
            reason = f"cannot serve {change.frontend}: {error.strerror}"
            if key is None:
                log.warning("%s: %s", change, error.strerror)
            else:
                failed.setdefault(key, reason)
        return failed

    def remove(self, changes: Iterable[Change]) -> None:
        """Remove drained destinations."""
        for change, error in self._make(changes):
            log.warning("%s: %s", change, error.strerror)

    def listed(self, frontends: Iterable[Frontend] | None = None) -> Mapping[Frontend, Listed]:
        """Return what is there; raises SyncFailed."""
        try:
            with Netlink(family=NETLINK_GENERIC) as netlink:
                return {
                    frontend: Listed(server, self._destinations(netlink, frontend))
                    for frontend, server in self._servers(netlink, frontends)
                }
        except OSError as error:
            raise SyncFailed(f"cannot read ip_vs: {error}") from error

    def connections(self) -> Mapping[tuple[PortName, Protocol, Backend], int] | None:
        """Return None: the kernel counts per destination, which is in the list."""
        return None

    def facts(self) -> tuple[tuple[int, int, int], int]:
        """Return the version of ip_vs and the size of its table of connections."""
        try:
            with Netlink(family=NETLINK_GENERIC) as netlink:
                (answer,) = netlink.ask(messages.info_question(self._family))
        except OSError as error:
            raise SyncFailed(f"cannot read ip_vs: {error}") from error
        return messages.info(answer)

    async def intact(self) -> bool:
        """Return whether the addresses are bound and the rules are loaded still."""
        if self._loaded is None:
            return True
        return self._addresses.intact() and await ground.is_loaded()

    def metrics(self) -> tuple[Metric, ...]:
        """Return nothing: the kernel has its figures in /proc/net/ip_vs_stats."""
        return ()

    async def close(self, *, cleanup: bool) -> None:
        """Leave all as it is, or with *cleanup* nothing: as kube-proxy, every virtual server."""
        if not cleanup:
            return
        self._loaded = None
        excluded = self._settings.exclude_cidrs
        try:
            there = self.listed()
            self.remove(
                DeleteServer(frontend)
                for frontend in there
                if not any(frontend.address in network for network in excluded)
            )
            ground.unbind()
            await ground.unload()
        except (OSError, SyncFailed) as error:
            log.warning("cannot remove all of the mode ipvs: %s", error)

    async def _load_rules(self, order: Order) -> None:
        if order.whole or order.node != self._loaded:
            # For another node view all Services are ordered anew, so `members` has them all.
            self._members = rules.Members()
            self._members.update(order.services, order.node)
            await ground.load(rules.script(self._members.all(), order.node))
        else:
            changed = rules.update(self._members.update(order.services, order.node))
            if changed:
                await ground.load(changed)
        self._loaded = order.node

    def _make(self, changes: Iterable[Change]) -> Iterator[tuple[Change, NetlinkError]]:
        """Make *changes*; yield those that were refused."""
        with Netlink(family=NETLINK_GENERIC) as netlink:
            for change in changes:
                try:
                    netlink.ask(messages.encode(change, self._family))
                except NetlinkError as error:
                    if not _is_done(change, error):
                        yield change, error

    def _set_timeouts(self) -> None:
        wanted = self._settings
        if not (wanted.tcp_timeout or wanted.tcp_fin_timeout or wanted.udp_timeout):
            return
        order = messages.timeouts(
            self._family,
            tcp=wanted.tcp_timeout,
            tcp_fin=wanted.tcp_fin_timeout,
            udp=wanted.udp_timeout,
        )
        try:
            with Netlink(family=NETLINK_GENERIC) as netlink:
                netlink.ask(order)
        except OSError as error:
            log.warning("cannot set the timeouts of ip_vs: %s", error)

    def _servers(
        self, netlink: Netlink, frontends: Iterable[Frontend] | None
    ) -> Iterator[tuple[Frontend, VirtualServer]]:
        if frontends is None:
            found = map(messages.server, netlink.ask(messages.servers_question(self._family)))
            yield from (each for each in found if each is not None)
            return
        for frontend in frontends:
            try:
                answers = netlink.ask(messages.server_question(self._family, frontend))
            except NetlinkError as error:
                if error.errno in _ABSENT:
                    continue
                raise
            yield from (each for each in map(messages.server, answers) if each is not None)

    def _destinations(
        self, netlink: Netlink, frontend: Frontend
    ) -> dict[Backend, ListedDestination]:
        question = messages.destinations_question(self._family, frontend)
        return dict(map(messages.destination, netlink.ask(question)))


def _is_done(change: Change, error: NetlinkError) -> bool:
    """Return whether *error* says that what *change* wants is so already."""
    if isinstance(change, (DeleteServer, DeleteDestination)):
        return error.errno in _ABSENT
    return isinstance(change, (AddServer, AddDestination)) and error.errno == errno.EEXIST
