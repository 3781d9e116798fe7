"""Virtual servers without ip_vs: emulated in memory, and the userspace mode carries for them."""

import asyncio
import logging
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from ipaddress import IPv4Address
from typing import Self

from podwire.kube.names import Key
from podwire.proxy.configuration import Configuration
from podwire.proxy.endpoints import Backend
from podwire.proxy.ipvs.changes import Change, Listed
from podwire.proxy.ipvs.emulated import Emulated
from podwire.proxy.ipvs.plan import for_all_clients, on_all_addresses
from podwire.proxy.mode import Order
from podwire.proxy.pages import Metric
from podwire.proxy.table import PortName, Protocol
from podwire.proxy.userspace.borrowing import Address
from podwire.proxy.userspace.ground import Ground
from podwire.proxy.userspace.limits import raise_file_limit
from podwire.proxy.userspace.listeners import Listeners
from podwire.proxy.userspace.mode import Userspace
from podwire.proxy.userspace.routes import Frontend
from podwire.proxy.userspace.tcp import Relay

log = logging.getLogger(__name__)


class Scheduled:
    """Asks *emulated* for each connection: the picker of the relay."""

    def __init__(self, emulated: Emulated, loop: asyncio.AbstractEventLoop) -> None:
        self._emulated = emulated
        self._loop = loop

    def pick(
        self, frontend: Frontend, client: Address, tried: Collection[Backend]
    ) -> Backend | None:
        """Return the destination for *client*; as in ip_vs a refused client is not sent on."""
        if tried:
            return None
        now = self._loop.time()
        return self._emulated.choose(frontend, IPv4Address(client[0]), client[1], now=now)

    def counted(self, frontend: Frontend, backend: Backend, change: int) -> None:
        """Count a connection that begins or is over."""
        if change > 0:
            self._emulated.began(frontend, backend)
        else:
            self._emulated.ended(frontend, backend, now=self._loop.time())


class RelayTable:
    """Emulated virtual servers and the userspace mode, which asks them."""

    name = "ipvs (userspace)"

    def __init__(
        self, emulated: Emulated, userspace: Userspace, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._emulated = emulated
        self._userspace = userspace
        self._loop = loop
        self._used = False

    @classmethod
    def with_relay(cls, configuration: Configuration, loop: asyncio.AbstractEventLoop) -> Self:
        """Return the table with a relay that may use all files of this process."""
        settings = configuration.ipvs
        without_effect = {
            "excludeCIDRs": settings.exclude_cidrs,
            "strictARP": settings.strict_arp,
            "tcpTimeout": settings.tcp_timeout,
            "tcpFinTimeout": settings.tcp_fin_timeout,
            "udpTimeout": settings.udp_timeout,
        }
        set_ = [f"ipvs.{name}" for name, value in without_effect.items() if value]
        if set_:
            log.warning("without ip_vs in the kernel these have no effect: %s", ", ".join(set_))
        emulated = Emulated()
        relay = Relay(loop, limit=raise_file_limit() * 9 // 20)
        listeners = Listeners(relay, chance=_no_chance, picker=Scheduled(emulated, loop))
        return cls(emulated, Userspace(listeners, relay, Ground()), loop)

    @property
    def keeps_source(self) -> bool:
        """Whether endpoints see clients' own addresses, where Kubernetes says that they do."""
        return self._userspace.keeps_source

    async def obey(
        self, changes: Iterable[Change], order: Order, owner: object
    ) -> Mapping[Key, str]:
        """Make *changes* in memory, then have the relay listen."""
        del owner
        if not self._used:
            log.info("this kernel has no ip_vs: its virtual servers are emulated and relayed")
        self._used = True
        self._emulated.apply(changes)
        services = {
            key: tuple(map(for_all_clients, ports)) for key, ports in order.services.items()
        }
        order = replace(order, node=on_all_addresses(order.node), services=services)
        return await self._userspace.sync(order)

    def remove(self, changes: Iterable[Change]) -> None:
        """Remove drained destinations."""
        self._emulated.apply(changes)

    def listed(self, frontends: Iterable[Frontend] | None = None) -> Mapping[Frontend, Listed]:
        """Return what is there."""
        self._emulated.forget(now=self._loop.time())
        return self._emulated.listed() if frontends is None else self._emulated.listed_of(frontends)

    def facts(self) -> tuple[tuple[int, int, int], int]:
        """Return the version of ip_vs that is emulated, and the usual size of its table."""
        return (1, 2, 1), 4096

    async def intact(self) -> bool:
        """Return whether the relay's ground is there still."""
        return await self._userspace.intact()

    def connections(self) -> Mapping[tuple[PortName, Protocol, Backend], int] | None:
        """Return the open connections and flows."""
        return self._userspace.connections()

    def metrics(self) -> tuple[Metric, ...]:
        """Return what the relay has carried."""
        return self._userspace.metrics()

    async def close(self, *, cleanup: bool) -> None:
        """Close all sockets.

        With *cleanup* the ground goes if it was laid for this mode: else it is the userspace
        mode's, which cleans up after itself.
        """
        await self._userspace.close(cleanup=cleanup and self._used)


def _no_chance() -> float:
    """Return what nobody asks for: the picker chooses."""
    return 0.0
