"""Pure: Service ports -> frontends: each address and port to listen on, and where it leads."""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Literal, cast

from podwire.proxy.endpoints import Backend
from podwire.proxy.table import PortName, Protocol, ServicePort, Target

Kind = Literal["ClusterIP", "NodePort", "ExternalIP", "LoadBalancer"]


@dataclass(frozen=True, slots=True, order=True)
class Frontend:
    """Where clients connect to."""

    address: IPv4Address
    port: int
    protocol: Protocol

    def __str__(self) -> str:
        return f"{self.address}:{self.port}/{self.protocol}"


@dataclass(frozen=True, slots=True)
class Route:
    """Where one frontend leads, by where the client is; only *sources* are let in, if any.

    *affinity_seconds* is 0 without session affinity. Frontends of one Service port share affinity.
    """

    name: PortName
    kind: Kind
    inside: Target
    outside: Target
    lasting: frozenset[Backend] = frozenset()
    affinity_seconds: int = 0
    sources: tuple[IPv4Network, ...] = ()


def frontends(
    ports: Iterable[ServicePort], node_addresses: Iterable[IPv4Address]
) -> dict[Frontend, Route]:
    """Return every frontend of *ports* on a node that has *node_addresses*."""
    nodes = tuple(node_addresses)
    table: dict[Frontend, Route] = {}
    for port in ports:
        internal = _route(port, "ClusterIP", inside=port.internal, outside=port.internal)
        table[Frontend(port.cluster_ip, port.port, port.protocol)] = internal
        for kind, addresses, number in (
            ("NodePort", nodes if port.node_port else (), port.node_port),
            ("ExternalIP", port.external_ips, port.port),
            ("LoadBalancer", port.load_balancer_ips, port.port),
        ):
            for address in addresses:
                table[Frontend(address, number, port.protocol)] = _route(
                    port,
                    cast("Kind", kind),
                    inside=port.short_circuit,
                    outside=port.external,
                    sources=_let_in(port, address, nodes) if kind == "LoadBalancer" else (),
                )
    return table


def _route(
    port: ServicePort,
    kind: Kind,
    *,
    inside: Target,
    outside: Target,
    sources: tuple[IPv4Network, ...] = (),
) -> Route:
    return Route(
        name=port.name,
        kind=kind,
        inside=inside,
        outside=outside,
        lasting=port.usable.lasting,
        affinity_seconds=port.affinity_seconds,
        sources=sources,
    )


def _let_in(
    port: ServicePort, address: IPv4Address, nodes: tuple[IPv4Address, ...]
) -> tuple[IPv4Network, ...]:
    ranges = port.source_ranges
    # A node's own process may get the load-balancer address as its source (the route is local), so
    # a range that lets the node in must let that address in too.
    if any(node in network for node in nodes for network in ranges):
        return (*ranges, IPv4Network(address))
    return ranges
