"""Pure: the hops that a request must cross, from Kubernetes objects alone.

A `Route` is what must happen to one flow that a client opens: a leg to where the proxy takes it
over, then one of several legs to a backend; or one leg, where no proxy is in between.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from typing import Literal

from podwire.emulator.trace import choice
from podwire.emulator.trace.choice import Backend, Choice, Outcome
from podwire.emulator.trace.snapshot import ROUTER, Location, Snapshot, key
from podwire.emulator.trace.wiring import Reach, Wiring
from podwire.kube.objects import Service, ServicePort

Transport = Literal["TCP", "UDP"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a packet must be seen: *device* if it shows there, else any interface of *where*.

    *tunnelled* is strict: there it must be seen inside a VXLAN packet. So is *stands_for*, a pod
    that is not captured itself: the packet must be seen on the device that leads to it.
    """

    where: str
    device: str
    tunnelled: bool = False
    stands_for: str = ""


@dataclass(frozen=True, slots=True)
class Leg:
    """One flow from one of *sources* to an address, and the places it crosses in this order."""

    protocol: Transport
    sources: frozenset[IPv4Address]
    address: IPv4Address
    port: int
    places: tuple[Place, ...]
    target: str

    def __str__(self) -> str:
        return f"{self.address}:{self.port}"


@dataclass(frozen=True, slots=True)
class Relay:
    """The node whose proxy takes a flow over, and the legs of which one must follow.

    *known* are all endpoints of the Service, usable or not: what the proxy might try in error.
    """

    node: str
    service: str
    own: frozenset[IPv4Address]
    legs: tuple[tuple[Backend, Leg], ...]
    known: frozenset[tuple[IPv4Address, int]]


@dataclass(frozen=True, slots=True)
class Route:
    """What must happen to one flow: *outcome* is what the client sees, *why* if not answered."""

    front: Leg
    relay: Relay | None = None
    outcome: Outcome = "answered"
    why: str = ""
    backend: Location | None = None

    @property
    def final(self) -> tuple[Leg, ...]:
        """Return the legs of which one must end at a backend."""
        return (self.front,) if self.relay is None else tuple(leg for _, leg in self.relay.legs)


def route(
    snapshot: Snapshot,
    wiring: Wiring,
    source: Location,
    address: IPv4Address,
    port: int,
    protocol: Transport,
) -> Route:
    """Return the route of a flow from *source* to *address* and *port*."""
    service = snapshot.service_at(address)
    if service is not None:
        return _to_cluster_ip(snapshot, wiring, source, service, address, port, protocol)
    if address in wiring.services:
        front = _to_node(snapshot, wiring, source, source.node, address, port, protocol)
        why = f"no Service has the ClusterIP {address}"
        return Route(front, outcome="refused" if source.node else "timed out", why=why)
    target = snapshot.location_of(address, wiring)
    owner = choice.node_port(snapshot, port, protocol) if target.kind == "node" else None
    if owner is not None:
        return _to_node_port(snapshot, wiring, source, target, owner, address, port, protocol)
    return _direct(snapshot, wiring, source, target, port, protocol)


def visible(route: Route, snapshot: Snapshot, wiring: Wiring, captured: Collection[str]) -> Route:
    """Return *route* as seen where only the places *captured* are.

    A pod that need not be captured is looked for on the device that leads to it. A leg that passes
    no node is left as it is: nothing else can show it.
    """
    if wiring.captures == "pods":
        return route

    def seen(leg: Leg) -> Leg:
        if all(snapshot.pod(place.where) for place in leg.places):
            return leg
        found = [_stand_in(place, snapshot, wiring, captured) for place in leg.places]
        return replace(leg, places=tuple(_without_repetition(found)))

    relay = route.relay
    if relay is not None:
        relay = replace(relay, legs=tuple((backend, seen(leg)) for backend, leg in relay.legs))
    return replace(route, front=seen(route.front), relay=relay)


def places_of(routes: Iterable[Route]) -> tuple[str, ...]:
    """Return every place that must be captured for *routes*, once each."""
    found: dict[str, None] = {}
    for item in routes:
        for leg in (item.front, *item.final):
            found.update(dict.fromkeys(place.where for place in leg.places))
    return tuple(found)


def _to_cluster_ip(
    snapshot: Snapshot,
    wiring: Wiring,
    source: Location,
    service: Service,
    address: IPv4Address,
    number: int,
    protocol: Transport,
) -> Route:
    name = key(service)
    front = _to_node(snapshot, wiring, source, source.node, address, number, protocol)
    if not source.node:
        why = f"the ClusterIP of Service {name} exists inside the cluster only"
        return Route(front, outcome="timed out", why=why)
    port = choice.port_of(service, number, protocol)
    if port is None:
        ports = ", ".join(f"{p.port}/{p.protocol}" for p in service.spec.ports) or "none"
        why = f"Service {name} has no port {number}/{protocol}; it has {ports}"
        return Route(front, outcome="refused", why=why)
    picked = choice.choose(
        snapshot, service, port, node=source.node, via="cluster", from_pod_here=True
    )
    return _relayed(snapshot, wiring, source.node, service, port, picked, front)


def _to_node_port(
    snapshot: Snapshot,
    wiring: Wiring,
    source: Location,
    target: Location,
    owner: tuple[Service, ServicePort],
    address: IPv4Address,
    number: int,
    protocol: Transport,
) -> Route:
    service, port = owner
    front = _to_node(snapshot, wiring, source, target.node, address, number, protocol)
    here = source.node == target.node
    picked = choice.choose(
        snapshot, service, port, node=target.node, via="node port", from_pod_here=here
    )
    return _relayed(snapshot, wiring, target.node, service, port, picked, front)


def _relayed(
    snapshot: Snapshot,
    wiring: Wiring,
    node: str,
    service: Service,
    port: ServicePort,
    picked: Choice,
    front: Leg,
) -> Route:
    legs = tuple(
        (backend, _from_node(snapshot, wiring, node, backend, front.protocol))
        for backend in picked.backends
    )
    known = choice.all_backends(snapshot, service, port)
    relay = Relay(
        node=node,
        service=key(service),
        own=snapshot.own_addresses(node, wiring),
        legs=legs,
        known=frozenset((backend.address, backend.port) for backend in known),
    )
    return Route(front, relay, picked.outcome, picked.why)


def _direct(
    snapshot: Snapshot,
    wiring: Wiring,
    source: Location,
    target: Location,
    port: int,
    protocol: Transport,
) -> Route:
    sources = _sources(snapshot, wiring, source)
    if target.kind == "outside":
        # Masqueraded on its way out: from the node on, the source is the node's address.
        sources |= {a for a in [snapshot.node_address(source.node)] if a is not None}
        places = (*_leaving(wiring, source), Place(ROUTER, ""), Place(target.where, "eth0"))
    elif source.kind == "outside" and target.kind == "pod":
        places = (Place(source.where, "eth0"), Place(target.node, wiring.underlay))
        places = (*places, Place(target.where, wiring.pod_device))
    else:
        if target.kind == "node":
            sources |= {a for a in [snapshot.node_address(source.node)] if a is not None}
        places = _between(wiring, source, target)
    front = Leg(protocol, sources, target.address, port, places, _name(target))
    if source.kind == "outside" and target.kind == "pod":
        why = f"{_name(target)} has no route from outside the cluster"
        return Route(front, outcome="timed out", why=why, backend=target)
    return Route(front, backend=target)


def _to_node(
    snapshot: Snapshot,
    wiring: Wiring,
    source: Location,
    node: str,
    address: IPv4Address,
    port: int,
    protocol: Transport,
) -> Leg:
    """Return the leg from a client to the node that takes the flow over."""
    sources = _sources(snapshot, wiring, source)
    start = _first(wiring, source)
    if source.node == node and node:
        here = () if source.kind == "node" else (Place(node, wiring.bridge),)
        places = (start, *here)
    else:
        sources |= {a for a in [snapshot.node_address(source.node)] if a is not None}
        middle = (Place(ROUTER, ""),) if source.kind == "outside" else ()
        leaving = () if source.kind != "pod" else (Place(source.node, wiring.underlay),)
        end = (Place(node, wiring.underlay),) if node else ()
        places = (start, *leaving, *middle, *end)
    target = snapshot.name_of(address)
    return Leg(protocol, sources, address, port, places, target)


def _from_node(
    snapshot: Snapshot, wiring: Wiring, node: str, backend: Backend, protocol: Transport
) -> Leg:
    """Return the leg from a proxy's node to *backend*."""
    target = snapshot.location_of(backend.address, wiring)
    reach: Reach = "host"
    if target.kind == "pod":
        reach = "same node" if target.node == node else "pod on another node"
    address = snapshot.node_address(node)
    sources: frozenset[IPv4Address] = frozenset()
    if address is not None:
        own = wiring.own_address(wiring.mode.source(reach), address, snapshot.node_pods(node))
        sources = frozenset({own})
    here = Location("node", node, address or target.address, node=node)
    places = _between(wiring, here, target)
    return Leg(protocol, sources, backend.address, backend.port, places, _name(target))


def _between(wiring: Wiring, source: Location, target: Location) -> tuple[Place, ...]:
    """Return the places between two that are on nodes, or from a node to the outside."""
    end = () if target.kind == "node" else (Place(target.where, wiring.pod_device),)
    if target.kind == "outside":
        return (*_leaving(wiring, source), Place(target.where, "eth0"))
    if source.node == target.node:
        start = _first(wiring, source)
        if source.kind == "node" and target.kind == "node":
            return (start,)
        bridge = Place(source.node, wiring.bridge)
        if source.kind == "node":
            return (bridge, *end)
        return (start, bridge, *end) if wiring.captures == "pods" else (start, *end)
    tunnelled = wiring.backend == "vxlan" and target.kind == "pod"
    begin = (_first(wiring, source),) if source.kind == "pod" else ()
    return (
        *begin,
        Place(source.node, wiring.underlay, tunnelled),
        Place(target.node, wiring.underlay, tunnelled),
        *end,
    )


def _leaving(wiring: Wiring, source: Location) -> tuple[Place, ...]:
    start = (_first(wiring, source),) if source.kind != "node" else ()
    return (*start, Place(source.node, wiring.underlay)) if source.node else start


def _stand_in(place: Place, snapshot: Snapshot, wiring: Wiring, captured: Collection[str]) -> Place:
    located = snapshot.location(place.where, wiring)
    if place.where in captured or located is None or located.kind != "pod":
        return place
    return Place(located.node, wiring.bridge, stands_for=place.where)


def _without_repetition(places: Iterable[Place]) -> list[Place]:
    """Return *places* with each device once: as what it stands for, if it does."""
    found: list[Place] = []
    for place in places:
        if not found or (found[-1].where, found[-1].device) != (place.where, place.device):
            found.append(place)
        elif place.stands_for:
            found[-1] = place
    return found


def _first(wiring: Wiring, source: Location) -> Place:
    device = "lo" if source.kind == "node" else wiring.pod_device
    return Place(source.where, device)


def _sources(snapshot: Snapshot, wiring: Wiring, source: Location) -> frozenset[IPv4Address]:
    """Return the addresses that a client may use itself; an empty set means any."""
    if source.kind == "node":
        # To a ClusterIP the kernel may choose the ClusterIP itself: it is local to the node.
        return frozenset()
    return frozenset({source.address})


def _name(target: Location) -> str:
    if target.kind == "pod":
        return f"pod {target.pod or target.address}"
    return f"node {target.node}" if target.kind == "node" else target.where
