"""Pure: the endpoints that may serve a request to a Service, by the objects alone.

The proxy decides the same for itself. That it stands here once more is on purpose: the judge does
not ask the accused.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Literal

from podwire.emulator.trace.snapshot import Snapshot
from podwire.kube.objects import Endpoint, Service, ServicePort

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
class Choice:
    """The backends of which one must be taken; without any, what happens instead and why."""

    backends: tuple[Backend, ...]
    outcome: Outcome = "answered"
    why: str = ""


def choose(
    snapshot: Snapshot,
    service: Service,
    port: ServicePort,
    *,
    node: str,
    via: Literal["cluster", "node port"],
    from_pod_here: bool,
) -> Choice:
    """Return the backends that the proxy of *node* may use for that port of *service*.

    *from_pod_here* says that the client is a pod or process of this node: for those a Local
    external policy counts as Cluster.
    """
    endpoints = _endpoints(snapshot, service, port)
    everywhere = _ready_or_draining(endpoints)
    if not everywhere:
        return Choice((), "refused", f"{_named(service)} has no ready endpoints")
    spec = service.spec
    policy = spec.internal_traffic_policy if via == "cluster" else spec.external_traffic_policy
    if policy == "Local" and not (via == "node port" and from_pod_here):
        local = _ready_or_draining([e for e in endpoints if e[0].node_name == node])
        if not local:
            word = "internal" if via == "cluster" else "external"
            why = f"{_named(service)} has no ready endpoint on {node} ({word}TrafficPolicy: Local)"
            return Choice((), "timed out", why)
        return Choice(_backends(local))
    ready = [e for e in endpoints if _ready(e[0])]
    return Choice(_backends(_near(snapshot, ready, node) if ready else everywhere))


def port_of(service: Service, number: int, protocol: str) -> ServicePort | None:
    """Return the port of a Service with that number."""
    for port in service.spec.ports:
        if port.port == number and port.protocol == protocol:
            return port
    return None


def node_port(snapshot: Snapshot, number: int, protocol: str) -> tuple[Service, ServicePort] | None:
    """Return whose NodePort that is."""
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
