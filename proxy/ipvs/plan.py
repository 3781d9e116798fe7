"""Pure: Service ports -> the virtual servers of a node, as kube-proxy's ipvs mode programs them.

A virtual server has one list of destinations for all clients. So where Kubernetes tells clients
inside of the node from those outside (externalTrafficPolicy Local), this mode cannot: all get the
local endpoints, or, where there is none, all get those of the cluster (pkg/proxy/ipvs/proxier.go,
syncEndpoint).
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network
from typing import Literal

from podwire.proxy.endpoints import Backend, Usable
from podwire.proxy.node import NodeView
from podwire.proxy.table import Policy, PortName, ServicePort, Target
from podwire.proxy.userspace.routes import Frontend

Flag = Literal["mh-port"]

_NOWHERE = (IPv4Network("127.0.0.0/32"),)  # no node has that address: NodePorts are not served


@dataclass(frozen=True, slots=True)
class VirtualServer:
    """How a frontend is served. *persistent* is in seconds, 0 without session affinity."""

    scheduler: str
    persistent: int = 0
    flags: frozenset[Flag] = frozenset()


@dataclass(frozen=True, slots=True)
class Wanted:
    """A virtual server of the Service port *name*, and its destinations."""

    name: PortName
    server: VirtualServer
    destinations: frozenset[Backend] = frozenset()


def virtual_servers(
    ports: Iterable[ServicePort], node: NodeView, scheduler: str
) -> dict[Frontend, Wanted]:
    """Return the virtual servers for *ports*, one per address and port.

    One without destinations is there too: ip_vs answers with port unreachable.
    """
    addresses = node.node_port_addresses("all")
    flags: frozenset[Flag] = frozenset({"mh-port"}) if scheduler == "mh" else frozenset()
    found: dict[Frontend, Wanted] = {}
    for port in ports:
        server = VirtualServer(scheduler, port.affinity_seconds, flags)
        internal = _wanted(port, server, port.internal_policy)
        external = _wanted(port, server, port.external_policy)
        found[Frontend(port.cluster_ip, port.port, port.protocol)] = internal
        for address in (*port.external_ips, *port.load_balancer_ips):
            found[Frontend(address, port.port, port.protocol)] = external
        for address in addresses if port.node_port else ():
            found[Frontend(address, port.node_port, port.protocol)] = external
    return found


def bound_addresses(ports: Iterable[ServicePort]) -> frozenset[IPv4Address]:
    """Return the addresses that kube-ipvs0 carries for *ports*: all but the node's own."""
    return frozenset(
        address
        for port in ports
        for address in (port.cluster_ip, *port.external_ips, *port.load_balancer_ips)
    )


def on_all_addresses(node: NodeView) -> NodeView:
    """Return *node* with the NodePort addresses of this mode spelled out for another one."""
    own = node.node_port_addresses("all")
    networks = tuple(IPv4Network(address) for address in own) or _NOWHERE
    return replace(node, settings=replace(node.settings, node_port_addresses=networks))


def for_all_clients(port: ServicePort) -> ServicePort:
    """Return *port* with the same targets for clients inside of the node and outside.

    An open UDP flow lasts as long as its destination (net.ipv4.vs.expire_nodest_conn=1), where
    other modes keep it while the endpoint still serves.
    """
    internal = _target(port.usable, port.internal_policy)
    external = _target(port.usable, port.external_policy)
    lasting = frozenset((*internal.backends, *external.backends))
    return replace(
        port,
        usable=replace(port.usable, lasting=lasting),
        internal=internal,
        external=external,
        short_circuit=external,
    )


def _wanted(port: ServicePort, server: VirtualServer, policy: Policy) -> Wanted:
    return Wanted(port.name, server, frozenset(_backends(port.usable, policy)))


def _target(usable: Usable, policy: Policy) -> Target:
    backends = _backends(usable, policy)
    return Target("FORWARD", backends) if backends else Target("REJECT")


def _backends(usable: Usable, policy: Policy) -> tuple[Backend, ...]:
    return (usable.local if policy == "Local" else ()) or usable.cluster
