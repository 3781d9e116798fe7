"""The userspace mode: orders -> routes of frontends -> changes -> listeners."""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Self

from podwire.kube.names import Key
from podwire.proxy.endpoints import Backend
from podwire.proxy.mode import Order, Unservable
from podwire.proxy.node import NodeView
from podwire.proxy.pages import Metric
from podwire.proxy.table import PortName, Protocol
from podwire.proxy.userspace.changes import Leading, between, leading
from podwire.proxy.userspace.claims import Claims
from podwire.proxy.userspace.ground import Ground
from podwire.proxy.userspace.ground_rules import Led
from podwire.proxy.userspace.limits import raise_file_limit
from podwire.proxy.userspace.listeners import Chance, Listeners
from podwire.proxy.userspace.origins import Origins
from podwire.proxy.userspace.routes import Frontend, Route, frontends, node_port_addresses
from podwire.proxy.userspace.tcp import Relay

_NO_SCTP = Unservable("SCTP is not relayed in userspace mode: choose nftables or iptables")


class Userspace:
    """Listens on every frontend of a node and relays what it accepts.

    Without *ground*, which needs to rule the network namespace, the node must lead packets for
    Services here by itself, and no source is kept.
    """

    name = "userspace"

    def __init__(self, listeners: Listeners, relay: Relay, ground: Ground | None = None) -> None:
        self._listeners = listeners
        self._relay = relay
        self._ground = ground
        self._known: tuple[NodeView, bool] | None = None
        self._leading: dict[Frontend, Leading] = {}
        self._led = False  # whether the ground has heard of them
        self._claims: Claims[Route] = Claims()
        self._present: dict[Frontend, Route] = {}
        self._served: set[Key] = set()

    @classmethod
    def with_relay(cls, loop: asyncio.AbstractEventLoop, *, chance: Chance) -> Self:
        """Return the mode with a relay that may use all files of this process."""
        # A relayed connection takes two sockets; UDP flows and listeners have the rest.
        relay = Relay(loop, limit=raise_file_limit() * 9 // 20)
        return cls(Listeners(relay, chance=chance), relay, Ground())

    @property
    def pipes(self) -> int:
        """Return how many pipes there are; they are made for bulk data only."""
        return self._relay.machinery.pipes.made

    @property
    def keeps_source(self) -> bool:
        """Whether endpoints see clients' own addresses, where Kubernetes says that they do."""
        return self._ground is not None and self._ground.keeps_source

    async def sync(self, order: Order) -> Mapping[Key, str]:
        """Open, adjust and close listeners; return the Services with one that cannot be opened."""
        node = order.node
        if self._ground is not None:
            await self._ground.lay(node)
        if self._known != (node, self.keeps_source):
            self._listeners.move(Origins.seen_from(node, keeps=self.keeps_source))
            self._known = node, self.keeps_source
        nodes = node_port_addresses(node)
        touched: set[Frontend] = set()
        if order.whole:
            # Also what a sync that failed had forgotten already.
            touched |= self._present.keys() | self._leading.keys()
        gone = self._served - order.services.keys() if order.whole else set[Key]()
        for key in gone:
            touched |= self._claims.update(key, {})
        for key, ports in order.services.items():
            touched |= self._claims.update(key, frontends(ports, nodes, node.processes))
        self._served = (self._served - gone) | {k for k, ports in order.services.items() if ports}
        old = {f: route for f in touched if (route := self._present.get(f)) is not None}
        new = {f: route for f in touched if (route := self._claims.route(f)) is not None}
        await self._lead_here(order, touched, new)
        failed = self._listeners.apply(between(old, new))
        for frontend in touched:
            if frontend in new and frontend not in failed:
                self._present[frontend] = new[frontend]
            else:
                self._present.pop(frontend, None)
        reasons: dict[Key, str] = {}
        for frontend, reason in failed.items():
            owner = self._claims.owner(frontend)
            if owner is not None:
                reasons.setdefault(owner, f"cannot serve {frontend}: {reason}")
        for key, ports in order.services.items():
            if any(port.protocol == "SCTP" for port in ports):
                reasons.setdefault(key, _NO_SCTP)
        return reasons

    async def intact(self) -> bool:
        """Return whether the ground is there still; nobody else can close the sockets."""
        return self._ground is None or await self._ground.intact()

    def connections(self) -> Mapping[tuple[PortName, Protocol, Backend], int]:
        """Return the open connections and flows of each endpoint."""
        return self._listeners.connections()

    def listings(self) -> Mapping[str, str]:
        """Return nothing: no tool shows sockets of a proxy."""
        return {}

    def metrics(self) -> tuple[Metric, ...]:
        """Return what the relay has carried."""
        relay, counts, listeners = self._relay, self._relay.counts, self._listeners
        return (
            Metric("podwire_proxy_listeners", "gauge", "Open listening sockets.", len(listeners)),
            Metric("podwire_proxy_connections", "gauge", "Open TCP connections.", relay.open),
            Metric(
                "podwire_proxy_connections_total",
                "counter",
                "TCP connections accepted.",
                counts.connections,
            ),
            Metric(
                "podwire_proxy_connections_failed_total",
                "counter",
                "TCP connections reset because no endpoint answered.",
                counts.failed_connections,
            ),
            Metric(
                "podwire_proxy_connect_attempts_failed_total",
                "counter",
                "Connects to an endpoint that failed.",
                counts.failed_attempts,
            ),
            Metric("podwire_proxy_udp_flows", "gauge", "Open UDP flows.", listeners.flows),
            Metric(
                "podwire_proxy_bytes_total",
                "counter",
                "Bytes carried over TCP, both ways.",
                relay.machinery.bytes_carried,
            ),
            Metric(
                "podwire_proxy_source_ports_changed_total",
                "counter",
                "Connections and flows that keep the client's address on another port.",
                relay.borrowing.other_ports,
            ),
            Metric(
                "podwire_proxy_sources_lost_total",
                "counter",
                "Connections and flows with the node's address because the client's was not to be"
                " had.",
                relay.borrowing.failures,
            ),
        )

    async def close(self, *, cleanup: bool) -> None:
        """Close all sockets; with *cleanup* take away the ground as well."""
        self._listeners.close()
        self._relay.close()
        if cleanup and self._ground is not None:
            await self._ground.take_away()

    async def _lead_here(
        self, order: Order, touched: Iterable[Frontend], new: Mapping[Frontend, Route]
    ) -> None:
        """Have packets for the Services' addresses taken in, now that *touched* are as in *new*.

        Also where nothing is served: to be refused is what REJECT means.
        """
        node, differs = order.node, order.whole or not self._led
        for frontend in touched:
            wanted = leading(frontend, new.get(frontend), node.settings.service_cidr)
            differs = differs or self._leading.get(frontend) != wanted
            if wanted is None:
                self._leading.pop(frontend, None)
            else:
                self._leading[frontend] = wanted
        if self._ground is None or not differs:
            return
        found: dict[Leading, set[Frontend]] = {"whole": set(), "port": set(), "refused": set()}
        for frontend, how in self._leading.items():
            found[how].add(frontend)
        led = Led(
            frozenset(frontend.address for frontend in found["whole"]),
            frozenset(found["port"]),
            frozenset(found["refused"]),
        )
        self._led = False
        await self._ground.lead_here(node, led)
        self._led = True
