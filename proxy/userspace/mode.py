"""The userspace mode: orders -> routes of frontends -> changes -> listeners."""

import asyncio
from collections.abc import Mapping
from typing import Self

from podwire.kube.names import Key
from podwire.proxy.endpoints import Backend
from podwire.proxy.mode import Order
from podwire.proxy.pages import Metric
from podwire.proxy.table import PortName, Protocol
from podwire.proxy.userspace.changes import between
from podwire.proxy.userspace.claims import Claims
from podwire.proxy.userspace.limits import raise_file_limit
from podwire.proxy.userspace.listeners import Chance, Listeners
from podwire.proxy.userspace.routes import Frontend, Route, frontends
from podwire.proxy.userspace.tcp import Relay


class Userspace:
    """Listens on every frontend of a node and relays what it accepts."""

    name = "userspace"

    def __init__(self, listeners: Listeners, relay: Relay) -> None:
        self._listeners = listeners
        self._relay = relay
        self._claims = Claims()
        self._present: dict[Frontend, Route] = {}
        self._served: set[Key] = set()

    @classmethod
    def with_relay(cls, loop: asyncio.AbstractEventLoop, *, chance: Chance) -> Self:
        """Return the mode with a relay that may use all files of this process."""
        # A relayed connection takes two sockets; UDP flows and listeners come out of the reserve.
        relay = Relay(loop, limit=raise_file_limit() // 3)
        return cls(Listeners(relay, chance=chance), relay)

    async def sync(self, order: Order) -> Mapping[Key, str]:
        """Open, adjust and close listeners; return the Services with one that cannot be opened."""
        self._listeners.move(order.node.inside)
        touched: set[Frontend] = set()
        gone = self._served - order.services.keys() if order.whole else set[Key]()
        for key in gone:
            touched |= self._claims.update(key, {})
        for key, ports in order.services.items():
            touched |= self._claims.update(key, frontends(ports, (order.node.address,)))
        self._served = (self._served - gone) | {k for k, ports in order.services.items() if ports}
        old = {f: route for f in touched if (route := self._present.get(f)) is not None}
        new = {f: route for f in touched if (route := self._claims.route(f)) is not None}
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
        return reasons

    async def intact(self) -> bool:
        """Return True: nobody but this process can close its sockets."""
        return True

    def connections(self) -> Mapping[tuple[PortName, Protocol, Backend], int]:
        """Return the open connections and flows of each endpoint."""
        return self._listeners.connections()

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
        )

    async def close(self, *, cleanup: bool) -> None:
        """Close all sockets; nothing else is programmed."""
        del cleanup
        self._listeners.close()
        self._relay.close()
