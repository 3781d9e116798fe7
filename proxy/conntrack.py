"""Pure: the kernel's connections + the Service ports -> which to forget, how many lead where.

The kernel leads every packet of a connection where it led the first. For UDP that would be for
ever, as far as a client with a fixed port is concerned: so flows to endpoints that are gone are
deleted, and flows that began when there was no endpoint (kube-proxy: pkg/proxy/conntrack). TCP
breaks or drains by itself.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address

from podwire.netlink.flow import Flow
from podwire.proxy.endpoints import Backend
from podwire.proxy.table import PortName, Protocol, ServicePort

_Frontend = tuple[IPv4Address, int, Protocol]


def stale(flows: Iterable[Flow], ports: Iterable[ServicePort]) -> list[Flow]:
    """Return the UDP flows to *ports* that none of their endpoints answers any more.

    Policies and topology do not matter: an open flow stays where it is as long as the endpoint
    serves. A port without any endpoint keeps its flows, and so does one that is gone.
    """
    by_frontend: dict[_Frontend, frozenset[IPv4Address]] = {}
    by_node_port: dict[int, frozenset[IPv4Address]] = {}
    for port in ports:
        if port.protocol != "UDP" or not port.usable.lasting:
            continue
        answering = frozenset(backend.address for backend in port.usable.lasting)
        for frontend in _frontends(port):
            by_frontend[frontend] = answering
        if port.node_port:
            by_node_port[port.node_port] = answering
    if not by_frontend:
        return []
    found: list[Flow] = []
    for flow in flows:
        if flow.protocol != "UDP":
            continue
        at = (flow.destination, flow.destination_port, flow.protocol)
        known = by_frontend.get(at) or by_node_port.get(flow.destination_port)
        if known is not None and flow.answering not in known:
            found.append(flow)
    return found


def connections(
    flows: Iterable[Flow], ports: Iterable[ServicePort]
) -> Mapping[tuple[PortName, Protocol, Backend], int]:
    """Return how many of *flows* are open to each endpoint of each of *ports*."""
    by_frontend: dict[_Frontend, ServicePort] = {}
    by_node_port: dict[tuple[int, Protocol], ServicePort] = {}
    for port in ports:
        by_frontend |= dict.fromkeys(_frontends(port), port)
        if port.node_port:
            by_node_port[port.node_port, port.protocol] = port
    found: Counter[tuple[PortName, Protocol, Backend]] = Counter()
    for flow in flows:
        led = (flow.destination, flow.destination_port) != (flow.answering, flow.answering_port)
        if not flow.open or not led:
            continue
        at = (flow.destination, flow.destination_port, flow.protocol)
        to = by_frontend.get(at) or by_node_port.get((flow.destination_port, flow.protocol))
        if to is not None:
            backend = Backend(flow.answering, flow.answering_port)
            found[to.name, to.protocol, backend] += 1
    return found


def _frontends(port: ServicePort) -> list[_Frontend]:
    addresses = (port.cluster_ip, *port.external_ips, *port.load_balancer_ips)
    return [(address, port.port, port.protocol) for address in addresses]
