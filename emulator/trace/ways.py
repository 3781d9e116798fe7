"""Pure: the places that one flow crosses, from one end to the other, by how the network is laid."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from typing import Literal

from podwire.emulator.trace.choice import Backend
from podwire.emulator.trace.pcapng import Direction
from podwire.emulator.trace.snapshot import ROUTER, Location, Snapshot
from podwire.emulator.trace.wiring import Reach, Wiring

Transport = Literal["TCP", "UDP"]

_SHOWN = 5  # ranges of nodes, at most


@dataclass(frozen=True, slots=True)
class Place:
    """Where a packet must be seen: *device* if it shows there, else any interface of *where*.

    *tunnelled* is strict: there it must be seen inside a VXLAN packet. So is *stands_for*, a pod
    that is not captured itself: the packet must be seen on the device that leads to it. A node that
    routes between its pods shows a packet twice, hence *direction*.
    """

    where: str
    device: str
    tunnelled: bool = False
    stands_for: str = ""
    direction: Direction = ""


@dataclass(frozen=True, slots=True)
class Leg:
    """One flow from one of *sources* to an address, and the places it crosses in this order.

    *nobody* says why nobody can have that address, where that is known.
    """

    protocol: Transport
    sources: frozenset[IPv4Address]
    address: IPv4Address
    port: int
    places: tuple[Place, ...]
    target: str
    nobody: str = ""

    def __str__(self) -> str:
        return f"{self.address}:{self.port}"


class Ways:
    """The ways through one cluster, laid as *wiring* says."""

    def __init__(self, snapshot: Snapshot, wiring: Wiring) -> None:
        self._snapshot = snapshot
        self._wiring = wiring

    def to_node(
        self, source: Location, node: str, address: IPv4Address, port: int, protocol: Transport
    ) -> Leg:
        """Return the leg from a client to the node that takes the flow over ("": to none)."""
        sources = self._sources(source)
        if source.node == node and node:
            places = (self._first(source), *self._entered(source))
        else:
            sources |= self._masqueraded(source)
            middle = (Place(ROUTER, ""),) if source.kind == "outside" else ()
            leaving = () if source.kind != "pod" else (Place(source.node, self._wiring.underlay),)
            end = (Place(node, self._wiring.underlay),) if node else ()
            places = (self._first(source), *leaving, *middle, *end)
        target = self._snapshot.name_of(address)
        return Leg(protocol, sources, address, port, places, target)

    def astray(self, source: Location, address: IPv4Address, port: int, protocol: Transport) -> Leg:
        """Return the leg of what no node wants: by the default route, out of the cluster."""
        sources = self._sources(source) | self._masqueraded(source)
        places = (*self._leaving(source), Place(ROUTER, ""))
        return Leg(protocol, sources, address, port, places, self._snapshot.name_of(address))

    def onward(
        self, node: str, backend: Backend, protocol: Transport, kept: frozenset[IPv4Address] | None
    ) -> Leg:
        """Return the leg from a proxy's node to *backend*: with one of the addresses *kept*.

        With None it is the node's own, that of the interface by which the packet leaves.
        """
        target = self._snapshot.location_of(backend.address, self._wiring)
        address = self._snapshot.node_address(node)
        sources = kept or frozenset[IPv4Address]()
        if kept is None and address is not None:
            reach: Reach = "host"
            if target.kind == "pod":
                reach = "same node" if target.node == node else "pod on another node"
            pods = self._snapshot.node_pods(node)
            sources = frozenset({self._wiring.source(reach, address, pods)})
        here = Location("node", node, address or target.address, node=node)
        places = self._between(here, target)
        nobody = self._nobody(target)
        return Leg(protocol, sources, backend.address, backend.port, places, name(target), nobody)

    def direct(self, source: Location, target: Location, port: int, protocol: Transport) -> Leg:
        """Return the leg between two ends without a proxy."""
        sources = self._sources(source)
        if source.kind != "node" and source.where == target.where:
            places: tuple[Place, ...] = (Place(source.where, "lo"),)
        elif target.kind == "outside":
            # Masqueraded on its way out: from the node on, the source is the node's address.
            sources |= self._masqueraded(source)
            places = (*self._leaving(source), Place(ROUTER, ""), Place(target.where, "eth0"))
        elif source.kind == "outside" and target.kind == "pod":
            underlay = Place(target.node, self._wiring.underlay)
            end = Place(target.where, self._wiring.pod_device)
            places = (Place(source.where, "eth0"), underlay, end)
        else:
            if target.kind == "node":
                sources |= self._masqueraded(source)
            places = self._between(source, target)
        nobody = self._nobody(target)
        return Leg(protocol, sources, target.address, port, places, name(target), nobody)

    def seen(self, leg: Leg, captured: Collection[str]) -> Leg:
        """Return *leg* as seen where only the places *captured* are.

        A pod that need not be captured is looked for on the device that leads to it. A leg that
        passes no node is left as it is: nothing else can show it.
        """
        if all(self._snapshot.pod(place.where) for place in leg.places):
            return leg
        found = [self._stand_in(place, captured) for place in leg.places]
        return replace(leg, places=tuple(_without_repetition(found)))

    def _between(self, source: Location, target: Location) -> tuple[Place, ...]:
        """Return the places between two that are on nodes, or from a node to the outside."""
        wiring = self._wiring
        end = () if target.kind == "node" else (Place(target.where, wiring.pod_device),)
        if target.kind == "outside":
            return (*self._leaving(source), Place(target.where, "eth0"))
        if source.node == target.node:
            if target.kind == "node":
                return (self._first(source), *self._entered(source))
            # What the node routes between two of its pods crosses its bridge twice.
            routed = self._snapshot.proxy_of(target.node).pod_network == "routed"
            bridge = Place(source.node, wiring.bridge, direction="out" if routed else "")
            if source.kind == "node":
                return (bridge, *end)
            if routed:
                return (self._first(source), *self._entered(source), bridge, *end)
            start = self._first(source)
            return (start, bridge, *end) if wiring.captures == "pods" else (start, *end)
        tunnelled = wiring.backend == "vxlan" and target.kind == "pod"
        begin = (self._first(source),) if source.kind == "pod" else ()
        return (
            *begin,
            Place(source.node, wiring.underlay, tunnelled),
            Place(target.node, wiring.underlay, tunnelled),
            *end,
        )

    def _entered(self, source: Location) -> tuple[Place, ...]:
        """Return where a packet of *source* shows on its own node first; a process's shows once."""
        if source.kind == "node":
            return ()
        routed = self._snapshot.proxy_of(source.node).pod_network == "routed"
        return (Place(source.node, self._wiring.bridge, direction="in" if routed else ""),)

    def _leaving(self, source: Location) -> tuple[Place, ...]:
        start = (self._first(source),) if source.kind != "node" else ()
        return (*start, Place(source.node, self._wiring.underlay)) if source.node else start

    def _first(self, source: Location) -> Place:
        return Place(source.where, "lo" if source.kind == "node" else self._wiring.pod_device)

    def _sources(self, source: Location) -> frozenset[IPv4Address]:
        """Return the addresses that a client may use itself; an empty set means any."""
        # A process may get any of its node's addresses, and even the one that it asks.
        return frozenset() if source.kind == "node" else frozenset({source.address})

    def _masqueraded(self, source: Location) -> frozenset[IPv4Address]:
        """Return as whom the packets of *source* leave its node for what is no pod."""
        address = self._snapshot.node_address(source.node)
        return frozenset() if address is None else frozenset({address})

    def _nobody(self, target: Location) -> str:
        """Return why nobody has an address of the pods that was given to no node; else nothing."""
        pods = self._wiring.pods
        if target.kind != "outside" or target.address not in pods:
            return ""
        nodes = (self._snapshot.node_pods(node.metadata.name) for node in self._snapshot.nodes)
        given = sorted(part for part in nodes if part is not None)
        shown = ", ".join(map(str, given[:_SHOWN])) + (", ..." if len(given) > _SHOWN else "")
        return (
            f"no node has {target.address}: it is in the range of the pods ({pods})"
            f" and in no node's part of it ({shown or 'none is given'})"
        )

    def _stand_in(self, place: Place, captured: Collection[str]) -> Place:
        located = self._snapshot.location(place.where, self._wiring)
        if place.where in captured or located is None or located.kind != "pod":
            return place
        return Place(located.node, self._wiring.bridge, stands_for=place.where)


def name(target: Location) -> str:
    """Return an end in words."""
    if target.kind == "pod":
        return f"pod {target.pod or target.address}"
    return f"node {target.node}" if target.kind == "node" else target.where


def _without_repetition(places: Iterable[Place]) -> list[Place]:
    """Return *places* with each device once: as what it stands for, if it does."""
    found: list[Place] = []
    for place in places:
        if not found or (found[-1].where, found[-1].device) != (place.where, place.device):
            found.append(place)
        elif place.stands_for:
            found[-1] = place
    return found
