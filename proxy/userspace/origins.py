"""Pure: where a client is, and whose address an endpoint shall see: the client's or the node's.

It is kube-proxy's table of what is masqueraded (pkg/proxy/iptables/proxier.go, the rules that mark
for masquerade), and of what the relay can do: the answers must come back through this node.
"""

from ipaddress import IPv4Address, IPv4Network
from typing import Literal, Self

from podwire.proxy.endpoints import Backend
from podwire.proxy.node import NodeView, Settings
from podwire.proxy.table import Policy
from podwire.proxy.userspace.routes import Kind, Route

Origin = Literal["process", "pod here", "pod", "outside"]
"""A process of this node, a pod of this node, another that the detector of local traffic takes for
a pod, or anybody else."""

Source = Literal["node", "client", "client, to this node"]
"""The address with which the relay connects. What is for a process of this node with a client's
address is marked: its answers leave by the node's own output, and must be led back there."""

_PODS: frozenset[Origin] = frozenset({"pod here", "pod"})
_ALL: frozenset[Origin] = frozenset({"pod here", "pod", "outside"})
_REMEMBERED = 8192


def kept(kind: Kind, policy: Policy, settings: Settings) -> frozenset[Origin]:
    """Return the clients whose address is kept at a frontend; *policy* is the external one."""
    if kind == "ClusterIP":
        if settings.masquerade_all:
            return frozenset()
        # Without a detector nothing tells who is no pod, so nobody is masqueraded.
        return _PODS if settings.detects else _ALL
    return _ALL if policy == "Local" else frozenset()


class Origins:
    """Says of clients where they are, by the sources of this node's *processes* and its pods.

    *detected* are the sources that the detector of local traffic takes for pods. *switched* says
    that what two pods of this node say to each other does not pass it, *keeps* whether this machine
    can keep sources at all. What was found is remembered, up to a limit: it is asked for every
    connection.
    """

    def __init__(
        self,
        *,
        processes: tuple[IPv4Network, ...] = (),
        pods_here: tuple[IPv4Network, ...] = (),
        detected: tuple[IPv4Network, ...] = (),
        settings: Settings | None = None,
        switched: bool = False,
        keeps: bool = False,
    ) -> None:
        self.settings = settings or Settings()
        self._processes = processes
        self._pods_here = pods_here
        self._detected = detected
        self._switched = switched
        self._keeps = keeps
        self._origins: dict[str, Origin] = {}
        self._backends: dict[str, Origin] = {}

    @classmethod
    def seen_from(cls, node: NodeView, *, keeps: bool) -> Self:
        """Return what *node* knows of clients."""
        services = node.settings.service_cidr
        return cls(
            # A process may ask a Service with the Service's own address: the route to it is local.
            processes=(*node.processes, *((services,) if services else ())),
            pods_here=node.pods,
            detected=node.detected,
            settings=node.settings,
            switched=node.same_pod_network != "routed",
            keeps=keeps,
        )

    @property
    def inside(self) -> tuple[IPv4Network, ...]:
        """Return the sources that the external traffic policy Local does not bind."""
        return (*self._processes, *self._detected)

    @property
    def remembered(self) -> int:
        """Return how many clients are remembered."""
        return len(self._origins)

    def of(self, client: str) -> Origin:
        """Return where *client* is."""
        found = self._origins.get(client)
        if found is None:
            if len(self._origins) >= _REMEMBERED:
                self._origins.clear()
            address = IPv4Address(client)
            if _within(address, self._processes):
                found = "process"
            elif not _within(address, self._detected):
                found = "outside"
            else:
                found = "pod here" if _within(address, self._pods_here) else "pod"
            self._origins[client] = found
        return found

    def leads_on(self, route: Route) -> bool:
        """Return whether *route* has an endpoint that is no pod: it may be another relay's."""
        pods = (*self._pods_here, *self._detected)
        inside, outside = route.inside.backends, route.outside.backends
        backends = inside if outside is inside else (*inside, *outside)
        return not all(_within(backend.address, pods) for backend in backends)

    def source(self, kept_here: frozenset[Origin], client: str, backend: Backend) -> Source:
        """Return with whose address *backend* is asked for *client*.

        *kept_here* is what `kept` says of the frontend. A pod that is led to itself sees the node.
        """
        if not self._keeps:
            return "node"
        origin = self.of(client)
        address = backend.sockaddr[0]
        if origin not in kept_here or address == client:
            return "node"
        place = self._backends.get(address) or self._place(address)
        if place == "process":
            return "client, to this node"
        if place == "pod here":
            return "node" if self._switched and origin == "pod here" else "client"
        # It answers the client without this node, unless the client is a pod of this node.
        return "client" if origin == "pod here" else "node"

    def _place(self, address: str) -> Origin:
        if len(self._backends) >= _REMEMBERED:
            self._backends.clear()
        parsed = IPv4Address(address)
        place: Origin = "outside"
        if _within(parsed, self._processes):
            place = "process"
        elif _within(parsed, self._pods_here):
            place = "pod here"
        self._backends[address] = place
        return place


def _within(address: IPv4Address, networks: tuple[IPv4Network, ...]) -> bool:
    return any(address in network for network in networks)
