"""Pure: which endpoints a Service port may use from this node (ready, terminating, local, zone).

The same answer serves every mode of the proxy. It follows kube-proxy's CategorizeEndpoints: two
lists, one for the traffic policy Cluster and one for Local, each with its own fallback.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from podwire.kube.objects import Endpoint, EndpointSlice

PROXY_NAME_LABEL = "service.kubernetes.io/service-proxy-name"
HEADLESS_LABEL = "service.kubernetes.io/headless"


@dataclass(frozen=True, slots=True, order=True)
class Backend:
    """Where the proxy sends: an endpoint's address and port."""

    address: IPv4Address
    port: int
    # What socket.connect wants. It is asked for on every connection, and str() of an address costs.
    sockaddr: tuple[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sockaddr", (str(self.address), self.port))

    def __str__(self) -> str:
        return f"{self.address}:{self.port}"


@dataclass(frozen=True, slots=True)
class Place:
    """Where this proxy runs: the name of its node and the node's zone ("" when it has none)."""

    node: str
    zone: str = ""


@dataclass(frozen=True, slots=True)
class Candidate:
    """An endpoint of one Service port, with all that decides whether it may be used."""

    backend: Backend
    ready: bool = True
    serving: bool = True
    terminating: bool = False
    node: str = ""
    hinted_zones: frozenset[str] = frozenset()
    hinted_nodes: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Usable:
    """The endpoints for each traffic policy, sorted.

    *anywhere* says whether some node has an endpoint that could be used: it picks REJECT (no) or
    DROP (yes, but none here) when the policy is Local. *lasting* are those on which an open UDP
    flow may stay. *ready_here* are the ready ones of this node: what a load balancer asks for.
    """

    cluster: tuple[Backend, ...] = ()
    local: tuple[Backend, ...] = ()
    anywhere: bool = False
    lasting: frozenset[Backend] = frozenset()
    ready_here: frozenset[Backend] = frozenset()


def candidates(
    slices: Iterable[EndpointSlice], *, port: str, protocol: str
) -> tuple[Candidate, ...]:
    """Return the endpoints that *slices* have for the Service port named *port*.

    Only IPv4 slices count, only an endpoint's first address, and an address:port that is in several
    slices counts once.
    """
    found: dict[Backend, Candidate] = {}
    for slice_ in slices:
        if slice_.address_type != "IPv4" or not _for_this_proxy(slice_):
            continue
        numbers = [
            slice_port.port
            for slice_port in slice_.ports or ()
            if (slice_port.name or "") == port and slice_port.protocol == protocol
        ]
        for number in numbers:
            if not number:
                continue
            for endpoint in slice_.endpoints or ():
                if endpoint.addresses:
                    candidate = _candidate(endpoint, number)
                    found.setdefault(candidate.backend, candidate)
    return tuple(found.values())


def usable(found: Iterable[Candidate], place: Place) -> Usable:
    """Return which of *found* a proxy at *place* may use.

    Cluster: the ready ones, filtered by topology hints; when there are none, those that still serve
    while they terminate (KEP-1669). Local: the same two steps among the endpoints of this node.
    """
    everything = tuple(found)
    ready = [c for c in everything if c.ready]
    leaving = [c for c in everything if not c.ready and c.serving and c.terminating]
    local_ready = [c for c in ready if c.node == place.node]
    local_leaving = [c for c in leaving if c.node == place.node]
    return Usable(
        cluster=_backends(_hinted(ready, place) or leaving),
        local=_backends(local_ready or local_leaving),
        anywhere=bool(ready or leaving),
        lasting=frozenset(c.backend for c in everything if c.ready or c.serving),
        ready_here=frozenset(c.backend for c in local_ready),
    )


def unused(candidate: Candidate, others: Usable, place: Place) -> str:
    """Return why a proxy at *place* does not use *candidate*; "" if it does, for Cluster traffic.

    *others* is what `usable` said of all the candidates together.
    """
    if candidate.backend in others.cluster:
        return ""
    if not candidate.ready:
        if not candidate.serving:
            return "not ready" if not candidate.terminating else "terminating, and serves no more"
        return "terminating, and others are ready" if candidate.terminating else "not ready"
    if candidate.hinted_nodes and place.node not in candidate.hinted_nodes:
        return f"hinted for node {', '.join(sorted(candidate.hinted_nodes))}"
    zones = ", ".join(sorted(candidate.hinted_zones)) or "none"
    return f"hinted for zone {zones}, this node is in {place.zone or 'none'}"


def _hinted(ready: list[Candidate], place: Place) -> list[Candidate]:
    # One endpoint without hints turns the feature off everywhere: the controller that writes hints
    # writes them on all or on none, so a mixture means that they are out of date.
    if all(c.hinted_nodes for c in ready):
        here = [c for c in ready if place.node in c.hinted_nodes]
        if here:
            return here
    if place.zone and all(c.hinted_zones for c in ready):
        near = [c for c in ready if place.zone in c.hinted_zones]
        if near:
            return near
    return ready


def _backends(found: Iterable[Candidate]) -> tuple[Backend, ...]:
    return tuple(sorted(c.backend for c in found))


def _for_this_proxy(slice_: EndpointSlice) -> bool:
    labels = slice_.metadata.labels
    return PROXY_NAME_LABEL not in labels and HEADLESS_LABEL not in labels


def _candidate(endpoint: Endpoint, port: int) -> Candidate:
    # A condition that is absent counts as the good case: ready, serving, not terminating.
    conditions = endpoint.conditions
    ready = conditions.ready is not False
    serving = conditions.serving is not False
    hints = endpoint.hints
    return Candidate(
        backend=Backend(IPv4Address(endpoint.addresses[0]), port),
        ready=ready,
        serving=serving,
        terminating=bool(conditions.terminating),
        node=endpoint.node_name or "",
        hinted_zones=frozenset(zone.name for zone in hints.for_zones) if hints else frozenset(),
        hinted_nodes=frozenset(node.name for node in hints.for_nodes) if hints else frozenset(),
    )
