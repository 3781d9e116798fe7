"""Pure: Service ports -> frontends: each address and port to listen on, and where it leads."""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Literal, cast

from podwire.proxy.endpoints import Backend
from podwire.proxy.node import LOOPBACK, NodeView
from podwire.proxy.table import Policy, PortName, Protocol, ServicePort, Target

Kind = Literal["ClusterIP", "NodePort", "ExternalIP", "LoadBalancer"]

_LOCALHOST = IPv4Address("127.0.0.1")


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

    *policy* is the traffic policy for clients from outside: with Local their addresses are kept.
    *affinity_seconds* is 0 without session affinity. Frontends of one Service port share affinity.
    """

    name: PortName
    kind: Kind
    inside: Target
    outside: Target
    lasting: frozenset[Backend] = frozenset()
    affinity_seconds: int = 0
    sources: tuple[IPv4Network, ...] = ()
    policy: Policy = "Cluster"


def node_port_addresses(node: NodeView) -> tuple[IPv4Address, ...]:
    """Return the addresses of *node* on which NodePorts are served.

    The primary one, if nothing else is configured. 127.0.0.1 is one only where a range inside of
    127.0.0.0/8 names it: 0.0.0.0/0 means the node's own addresses.
    """
    named = node.node_port_addresses("primary")
    wanted = node.settings.node_port_addresses
    if wanted is None or wanted == "primary":
        return named
    local = any(_LOCALHOST in n and n.subnet_of(LOOPBACK) for n in wanted)
    return (*named, _LOCALHOST) if local else named


def frontends(
    ports: Iterable[ServicePort],
    node_ports: Iterable[IPv4Address],
    own: Iterable[IPv4Network] = (),
) -> dict[Frontend, Route]:
    """Return every frontend of *ports* on a node with NodePorts on the addresses *node_ports*.

    *own* are the sources of the node's processes.
    """
    nodes, processes = tuple(node_ports), tuple(own)
    table: dict[Frontend, Route] = {}
    for port in ports:
        internal = _route(port, "ClusterIP", inside=port.internal, outside=port.internal)
        table[Frontend(port.cluster_ip, port.port, port.protocol)] = internal
        leads_to = {*port.short_circuit.backends, *port.external.backends}
        for kind, addresses, number in (
            ("NodePort", nodes if port.node_port else (), port.node_port),
            ("ExternalIP", port.external_ips, port.port),
            ("LoadBalancer", port.load_balancer_ips, port.port),
        ):
            for address in addresses:
                if kind != "NodePort" and Backend(address, number) in leads_to:
                    # The address is an endpoint's own: to lead it there would be to lead it here.
                    # Who asks is served by that endpoint, as long as it may be used.
                    continue
                table[Frontend(address, number, port.protocol)] = _route(
                    port,
                    cast("Kind", kind),
                    inside=port.short_circuit,
                    outside=port.external,
                    sources=_let_in(port, address, processes) if kind == "LoadBalancer" else (),
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
        policy=port.external_policy,
    )


def _let_in(
    port: ServicePort, address: IPv4Address, own: tuple[IPv4Network, ...]
) -> tuple[IPv4Network, ...]:
    ranges = port.source_ranges
    # A node's own process may get the load-balancer address as its source (the route is local), so
    # a range that lets the node in must let that address in too.
    if any(each.subnet_of(network) for each in own for network in ranges):
        return (*ranges, IPv4Network(address))
    return ranges
