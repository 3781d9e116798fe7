"""Pure: the endpoints that may serve a request to a Service, by the objects alone.

The proxy decides the same for itself. That it stands here once more is on purpose: the judge does
not ask the accused.
"""

import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Literal

from podwire.emulator.trace.modes import Via
from podwire.emulator.trace.snapshot import Snapshot, key
from podwire.kube.objects import Endpoint, Service, ServicePort

PROXY_NAME_LABEL = "service.kubernetes.io/service-proxy-name"

Outcome = Literal["answered", "refused", "timed out", "unreachable", "no such name"]


@dataclass(frozen=True, slots=True)
class Backend:
    """An endpoint as a place to send to; *pod* is "namespace/name", or empty if it is no pod's."""

    address: IPv4Address
    port: int
    pod: str = ""
    node: str = ""

    def __str__(self) -> str:
        return f"{self.address}:{self.port}"


@dataclass(frozen=True, slots=True)
class Frontend:
    """What of a Service an address and port are; *port* is None if the Service has no such port."""

    service: Service
    port: ServicePort | None
    via: Via


@dataclass(frozen=True, slots=True)
class Choice:
    """The backends of which one must be taken; without any, what happens instead and why.

    *policy* is the traffic policy of the Service that is about this. *fell_back* says that it is
    Local, and that all endpoints were taken because the node has none.
    """

    backends: tuple[Backend, ...]
    outcome: Outcome = "answered"
    why: str = ""
    policy: str = "Cluster"
    fell_back: bool = False


def choose(
    snapshot: Snapshot,
    service: Service,
    port: ServicePort,
    *,
    node: str,
    via: Via,
    from_here: bool,
    falls_back: bool = False,
) -> Choice:
    """Return the backends that the proxy of *node* may use for that port of *service*.

    *from_here* says that the client is a pod or process of this node, for which a Local external
    policy counts as Cluster. With *falls_back* it does for all where the node has no endpoint.
    """
    endpoints = _endpoints(snapshot, service, port)
    everywhere = _ready_or_draining(endpoints)
    if not everywhere:
        return Choice((), "refused", f"{_named(service)} has no ready endpoints")
    spec = service.spec
    internal, fell_back = via == "ClusterIP", False
    policy = (spec.internal_traffic_policy if internal else spec.external_traffic_policy) or ""
    if policy == "Local" and (internal or not from_here):
        local = _ready_or_draining([e for e in endpoints if e[0].node_name == node])
        if local:
            return Choice(_backends(local), policy="Local")
        if not falls_back:
            word = "internal" if internal else "external"
            why = f"{_named(service)} has no ready endpoint on {node} ({word}TrafficPolicy: Local)"
            return Choice((), "timed out", why)
        fell_back = True
    ready = [e for e in endpoints if _ready(e[0])]
    near = _near(snapshot, ready, node) if ready else everywhere
    return Choice(_backends(near), policy=policy, fell_back=fell_back)


def host_port(
    snapshot: Snapshot, node: str, address: IPv4Address, number: int, protocol: str
) -> Backend | None:
    """Return where a port of a node leads that a pod of it has asked for (hostPort)."""
    for pod in snapshot.pods:
        spec, status = pod.spec, pod.status
        if spec.node_name != node or spec.host_network or not status.pod_ip:
            continue
        if status.phase in {"Succeeded", "Failed"}:
            continue
        for port in (port for container in spec.side_by_side for port in container.ports):
            here = port.host_ip in {"", "0.0.0.0", str(address)}
            if here and (port.host_port, port.protocol) == (number, protocol):
                pod_ip = IPv4Address(status.pod_ip)
                return Backend(pod_ip, port.container_port, key(pod), node)
    return None


def frontend_at(
    snapshot: Snapshot, address: IPv4Address, number: int, protocol: str
) -> Frontend | None:
    """Return what every node's proxy takes over there: no NodePort, for those are a node's own."""
    service = snapshot.service_at(address)
    if service is not None and served(service):
        return Frontend(service, port_of(service, number, protocol), "ClusterIP")
    text = str(address)
    for service in snapshot.services:
        port = port_of(service, number, protocol)
        if port is None or not served(service):
            continue
        if text in service.spec.external_ips:
            return Frontend(service, port, "external IP")
        # ipMode Proxy: the load balancer wants to see the packets itself (KEP-1860).
        for entry in service.status.load_balancer.ingress:
            if entry.ip == text and (entry.ip_mode or "VIP") == "VIP":
                return Frontend(service, port, "load balancer IP")
    return None


def let_in(service: Service, source: IPv4Address) -> bool:
    """Return whether the source ranges of a load balancer's address let *source* in."""
    ranges: list[IPv4Network] = []
    for text in service.spec.load_balancer_source_ranges:
        with contextlib.suppress(ValueError):
            ranges.append(IPv4Network(text.strip(), strict=False))
    return not ranges or any(source in network for network in ranges)


def served(service: Service) -> bool:
    """Return whether kube-proxy cares for a Service at all."""
    return (
        service.spec.type != "ExternalName"
        and service.spec.cluster_ip not in {"", "None"}
        and PROXY_NAME_LABEL not in service.metadata.labels
    )


def port_of(service: Service, number: int, protocol: str) -> ServicePort | None:
    """Return the port of a Service with that number."""
    for port in service.spec.ports:
        if port.port == number and port.protocol == protocol:
            return port
    return None


def port_for(
    snapshot: Snapshot, service: Service, address: IPv4Address, number: int, protocol: str
) -> ServicePort | None:
    """Return which port of *service* is asked at *address*: a NodePort on addresses of nodes."""
    owner = node_port(snapshot, number, protocol)
    if snapshot.service_at(address) is None and owner is not None and owner[0] is service:
        return owner[1]
    return port_of(service, number, protocol)


def node_port(snapshot: Snapshot, number: int, protocol: str) -> tuple[Service, ServicePort] | None:
    """Return whose NodePort that is, served or not."""
    for service in snapshot.services:
        if service.spec.type not in {"NodePort", "LoadBalancer"}:
            continue
        for port in service.spec.ports:
            if port.node_port == number and port.protocol == protocol:
                return service, port
    return None


def all_backends(snapshot: Snapshot, service: Service, port: ServicePort) -> tuple[Backend, ...]:
    """Return every endpoint of that port, usable or not."""
    return _backends(_endpoints(snapshot, service, port))


_Candidate = tuple[Endpoint, int]


def _named(service: Service) -> str:
    return f"Service {service.metadata.namespace}/{service.metadata.name}"


def _endpoints(snapshot: Snapshot, service: Service, port: ServicePort) -> list[_Candidate]:
    found: list[_Candidate] = []
    for slice_ in snapshot.slices_of(service):
        for entry in slice_.ports or ():
            matches = (entry.name or "") == port.name and entry.protocol == port.protocol
            if matches and entry.port is not None:
                found += [(endpoint, entry.port) for endpoint in slice_.endpoints or ()]
    return found


def _ready(endpoint: Endpoint) -> bool:
    return endpoint.conditions.ready is not False


def _draining(endpoint: Endpoint) -> bool:
    return endpoint.conditions.serving is not False and endpoint.conditions.terminating is True


def _ready_or_draining(candidates: Iterable[_Candidate]) -> list[_Candidate]:
    """Return the ready ones or, if there is none, those that still serve while they end."""
    known = list(candidates)
    ready = [c for c in known if _ready(c[0])]
    return ready or [c for c in known if _draining(c[0])]


def _near(snapshot: Snapshot, ready: list[_Candidate], node: str) -> list[_Candidate]:
    """Return those whose hints name this node, else this zone, else all.

    Hints count only when every ready endpoint has them: one without turns them off.
    """

    def hinted(names: Callable[[Endpoint], list[str]], name: str) -> list[_Candidate]:
        if not name or not all(names(e) for e, _ in ready):
            return []
        return [c for c in ready if name in names(c[0])]

    here = snapshot.node(node)
    zone = here.metadata.labels.get("topology.kubernetes.io/zone", "") if here else ""
    return hinted(_node_hints, node) or hinted(_zone_hints, zone) or ready


def _node_hints(endpoint: Endpoint) -> list[str]:
    return [hint.name for hint in endpoint.hints.for_nodes] if endpoint.hints else []


def _zone_hints(endpoint: Endpoint) -> list[str]:
    return [hint.name for hint in endpoint.hints.for_zones] if endpoint.hints else []


def _backends(candidates: Iterable[_Candidate]) -> tuple[Backend, ...]:
    found: dict[tuple[str, int], Backend] = {}
    for endpoint, port in candidates:
        for address in endpoint.addresses[:1]:  # consumers use the first only (API reference)
            target = endpoint.target_ref
            is_pod = target is not None and target.kind == "Pod"
            pod = f"{target.namespace}/{target.name}" if target and is_pod else ""
            backend = Backend(IPv4Address(address), port, pod, endpoint.node_name or "")
            found.setdefault((address, port), backend)
    return tuple(found.values())
