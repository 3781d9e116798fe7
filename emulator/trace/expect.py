"""Pure: the hops that a request must cross, from Kubernetes objects alone.

A `Route` is what must happen to one flow that a client opens: a leg to where a proxy takes it over,
then one of several legs to a backend; or one leg, where no proxy is in between.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from ipaddress import IPv4Address

from podwire.emulator.trace import choice
from podwire.emulator.trace.choice import Backend, Choice, Frontend, Outcome
from podwire.emulator.trace.modes import (
    HOST_PORT,
    Client,
    Mode,
    Stray,
    Toward,
    keeps_source,
    serves_node_ports,
)
from podwire.emulator.trace.snapshot import Location, Snapshot, key
from podwire.emulator.trace.ways import Leg, Transport, Ways
from podwire.emulator.trace.wiring import Wiring
from podwire.kube.objects import Service


@dataclass(frozen=True, slots=True)
class Proxied:
    """The node whose proxy takes a flow over, and the legs of which one must follow.

    *name* is what it serves, in words; *service* is the key of that Service, or empty. *own* are
    the addresses with which the flow may go on. *known* are all endpoints of the Service, usable or
    not: what the proxy might try in error. *hidden*: the kernel translates what this client sends
    before any interface shows it.
    """

    node: str
    mode: Mode
    name: str
    service: str
    own: frozenset[IPv4Address]
    legs: tuple[tuple[Backend, Leg], ...]
    known: frozenset[tuple[IPv4Address, int]]
    hidden: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """What must happen to one flow: *outcome* is what the client sees, *why* if not answered."""

    front: Leg
    proxied: Proxied | None = None
    outcome: Outcome = "answered"
    why: str = ""
    backend: Location | None = None

    @property
    def final(self) -> tuple[Leg, ...]:
        """Return the legs of which one must end at a backend."""
        if self.proxied is None:
            return (self.front,)
        return tuple(leg for _, leg in self.proxied.legs)


def route(
    snapshot: Snapshot,
    wiring: Wiring,
    source: Location,
    address: IPv4Address,
    port: int,
    protocol: Transport,
    *,
    entry: str = "",
) -> Route:
    """Return the route of a flow from *source* to *address* and *port*.

    *entry* is the node to which routes outside lead what is for a Service's own addresses; objects
    do not say which, or whether there is one.
    """
    return _Expectation(snapshot, wiring, source, address, port, protocol, entry).route()


def takes_over(snapshot: Snapshot, wiring: Wiring, address: IPv4Address, port: int) -> bool:
    """Return whether every node would take over what is for *address*, wherever it comes from."""
    return address in wiring.services or any(
        choice.frontend_at(snapshot, address, port, protocol) for protocol in ("TCP", "UDP")
    )


def visible(route: Route, snapshot: Snapshot, wiring: Wiring, captured: Collection[str]) -> Route:
    """Return *route* as seen where only the places *captured* are."""
    if wiring.captures == "pods":
        return route
    ways, proxied = Ways(snapshot, wiring), route.proxied
    if proxied is not None:
        legs = tuple((backend, ways.seen(leg, captured)) for backend, leg in proxied.legs)
        proxied = replace(proxied, legs=legs)
    return replace(route, front=ways.seen(route.front, captured), proxied=proxied)


def places_of(routes: Iterable[Route]) -> tuple[str, ...]:
    """Return every place that must be captured for *routes*, once each."""
    found: dict[str, None] = {}
    for item in routes:
        for leg in (item.front, *item.final):
            found.update(dict.fromkeys(place.where for place in leg.places))
    return tuple(found)


class _Expectation:
    """What the objects demand of one flow."""

    def __init__(
        self,
        snapshot: Snapshot,
        wiring: Wiring,
        source: Location,
        address: IPv4Address,
        port: int,
        protocol: Transport,
        entry: str,
    ) -> None:
        self._snapshot = snapshot
        self._wiring = wiring
        self._ways = Ways(snapshot, wiring)
        self._source = source
        self._address = address
        self._port = port
        self._protocol: Transport = protocol
        self._node = source.node or entry

    def route(self) -> Route:
        """Find whose address and port it is."""
        snapshot, wiring, address = self._snapshot, self._wiring, self._address
        frontend = choice.frontend_at(snapshot, address, self._port, self._protocol)
        if frontend is not None:
            return self._to_frontend(frontend)
        if address in wiring.services:
            return self._to_nobody()
        if address.is_loopback:
            target = replace(self._source, address=address)
        else:
            target = snapshot.location_of(address, wiring)
        owner = None
        if target.kind == "node":
            owner = choice.node_port(snapshot, self._port, self._protocol)
        if owner is not None:
            return self._to_node_port(target, Frontend(*owner, "NodePort"))
        if target.kind == "node" and wiring.host_ports:
            pod = choice.host_port(snapshot, target.node, address, self._port, self._protocol)
            if pod is not None:
                return self._to_host_port(target.node, pod)
        return self._direct(target)

    def _direct(self, target: Location) -> Route:
        front = self._ways.direct(self._source, target, self._port, self._protocol)
        if self._source.kind == "outside" and target.kind == "pod":
            why = f"{front.target} has no route from outside the cluster"
            return Route(front, outcome="timed out", why=why, backend=target)
        return Route(front, backend=target)

    def _to_frontend(self, frontend: Frontend) -> Route:
        service, node = frontend.service, self._node
        if not node:
            why = f"no way from outside leads to the {frontend.via} of Service {key(service)}"
            return Route(self._to_node(""), outcome="timed out", why=why)
        if frontend.port is None:
            ports = ", ".join(f"{p.port}/{p.protocol}" for p in service.spec.ports) or "none"
            why = (
                f"Service {key(service)} has no port {self._port}/{self._protocol}; it has {ports}"
            )
            return self._stray(self._snapshot.proxy_of(node).mode.wrong_port, why)
        return self._over(node, frontend)

    def _to_nobody(self) -> Route:
        why = f"no Service has the ClusterIP {self._address}"
        if not self._node:
            return Route(self._to_node(""), outcome="timed out", why=why)
        service = self._snapshot.service_at(self._address)
        if service is not None:
            why = _not_served(service)
        return self._stray(self._snapshot.proxy_of(self._node).mode.unused, why)

    def _to_node_port(self, target: Location, frontend: Frontend) -> Route:
        if not choice.served(frontend.service):
            why = _not_served(frontend.service)
            return replace(self._direct(target), outcome="refused", why=why)
        primary = self._snapshot.node_address(target.node)
        mode = self._snapshot.proxy_of(target.node).mode
        if serves_node_ports(
            mode, self._wiring.proxy, self._address, primary=self._address == primary
        ):
            return self._over(target.node, frontend)
        configured = self._wiring.proxy.node_ports is not None
        where = "configured addresses" if configured else str(primary)
        why = (
            f"in mode {mode.name} {target.node} serves NodePorts on {where} only,"
            f" not on {self._address}"
        )
        return replace(self._direct(target), outcome="refused", why=why)

    def _to_host_port(self, node: str, backend: Backend) -> Route:
        """Return the route by way of the rules that lead a port of *node* to one of its pods."""
        client = self._client(node)
        # As portmap does it: else the answer to a pod of the node, or to its loopback, would miss.
        masked = client == "pod here" or self._address.is_loopback
        arrives = self._address if client == "process" else self._arrives(node)
        kept = None if masked else frozenset({arrives})
        front, hidden = self._to_node(node), client == "process"
        proxied = Proxied(
            node=node,
            mode=HOST_PORT,
            name=f"hostPort {self._port} of {node}",
            service="",
            own=self._snapshot.own_addresses(node, self._wiring) | {arrives},
            legs=((backend, self._ways.onward(node, backend, self._protocol, kept)),),
            known=frozenset({(backend.address, backend.port)}),
            hidden=hidden,
        )
        return Route(replace(front, places=()) if hidden else front, proxied)

    def _over(self, node: str, frontend: Frontend) -> Route:
        """Return the route by way of the proxy of *node*."""
        service, via = frontend.service, frontend.via
        assert frontend.port is not None
        proxy, client = self._snapshot.proxy_of(node), self._client(node)
        picked = choice.choose(
            self._snapshot,
            service,
            frontend.port,
            node=node,
            via=via,
            from_here=client != "outside" and proxy.mode.short_circuits,
            falls_back=proxy.mode.falls_back,
        )
        external_only = via in {"external IP", "load balancer IP"} and client == "process"
        if picked.outcome == "refused" and external_only and not proxy.mode.refuses_own:
            return self._stray("lost", f"{picked.why}, and no rule refuses what {node} itself asks")
        arrives = self._arrives(node)
        if via == "load balancer IP" and picked.backends and not choice.let_in(service, arrives):
            why = (
                f"Service {key(service)} lets {', '.join(service.spec.load_balancer_source_ranges)}"
                f" in (loadBalancerSourceRanges), and {arrives} is not of those"
            )
            picked = Choice((), "timed out", why)
        kept = frozenset({arrives})
        legs = tuple(
            (backend, self._onward(node, client, frontend, picked, backend))
            for backend in picked.backends
        )
        known = choice.all_backends(self._snapshot, service, frontend.port)
        hidden = proxy.mode.translates and client == "process"
        proxied = Proxied(
            node=node,
            mode=proxy.mode,
            name=f"Service {key(service)}",
            service=key(service),
            own=self._snapshot.own_addresses(node, self._wiring) | kept,
            legs=legs,
            known=frozenset((backend.address, backend.port) for backend in known),
            hidden=hidden,
        )
        front = self._to_node(node)
        if hidden:
            front = replace(front, places=())
        return Route(front, proxied, picked.outcome, picked.why)

    def _onward(
        self, node: str, client: Client, frontend: Frontend, picked: Choice, backend: Backend
    ) -> Leg:
        target = self._snapshot.location_of(backend.address, self._wiring)
        proxy = self._snapshot.proxy_of(node)
        to: Toward = "away"
        if target.node == node:
            to = "pod here" if target.kind == "pod" else "process here"
            if target.address == self._source.address:
                to = "itself"
        policy = "Cluster" if picked.fell_back and client == "outside" else picked.policy
        keeps = keeps_source(proxy, self._wiring.proxy, client, frontend.via, policy, to=to)
        if to == "away" and target.kind != "pod" and target.address not in self._wiring.pods:
            keeps = False  # what leaves the cluster's own network is masqueraded by the node
        kept = frozenset({self._arrives(node)}) if keeps else None
        leg = self._ways.onward(node, backend, self._protocol, kept)
        if to == "process here" and client != "process" and proxy.mode.translates:
            return replace(leg, places=())  # no interface shows what is translated on its way in
        return leg

    def _stray(self, what: Stray, why: str) -> Route:
        """Return the route of a packet that no Service wants, at this node."""
        hidden = self._source.kind == "node" and self._snapshot.proxy_of(self._node).mode.translates
        if what == "lost" and self._source.node:
            front = self._ways.astray(self._source, self._address, self._port, self._protocol)
            why += f": no rule of {self._node} takes it, so it follows the default route"
            return Route(front, outcome="timed out", why=why)
        front = self._to_node(self._node)
        if hidden:
            front = replace(front, places=())
        return Route(front, outcome="refused" if what == "refused" else "timed out", why=why)

    def _to_node(self, node: str) -> Leg:
        return self._ways.to_node(self._source, node, self._address, self._port, self._protocol)

    def _client(self, node: str) -> Client:
        if self._source.node != node:
            return "outside"
        return "process" if self._source.kind == "node" else "pod here"

    def _arrives(self, node: str) -> IPv4Address:
        """Return the client's address as the proxy of *node* sees it."""
        source = self._source
        if source.kind == "node" or (source.node and source.node != node):
            # A pod that asks another node leaves its own with that one's address.
            return self._snapshot.node_address(source.node) or source.address
        return source.address


def _not_served(service: Service) -> str:
    return (
        f"kube-proxy leaves Service {key(service)} to another proxy"
        f" (label {choice.PROXY_NAME_LABEL})"
    )
