"""Pure: the virtual servers that are there and those that are wanted -> what to do, in order.

Destinations leave gracefully, as kube-proxy has it (pkg/proxy/ipvs/graceful_termination.go): over
TCP one that has connections gets the weight 0 and goes when they are over, which is looked at once
a minute; over UDP and SCTP it goes at once, and so do all when their virtual server goes.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network

from podwire.proxy.endpoints import Backend
from podwire.proxy.ipvs.plan import VirtualServer, Wanted
from podwire.proxy.userspace.routes import Frontend

CHECK = 60.0
"""Seconds between two looks at the destinations that drain (rsCheckDeleteInterval)."""


@dataclass(frozen=True, slots=True)
class ListedDestination:
    """A destination as `ipvsadm -Ln` lists it."""

    weight: int = 1
    active: int = 0
    inactive: int = 0

    @property
    def idle(self) -> bool:
        """Whether it has no connection, over ones that are remembered included."""
        return self.active + self.inactive == 0


@dataclass(frozen=True, slots=True)
class Listed:
    """A virtual server as it is there."""

    server: VirtualServer
    destinations: Mapping[Backend, ListedDestination] = field(
        default_factory=dict[Backend, ListedDestination]
    )


@dataclass(frozen=True, slots=True)
class AddServer:
    """A virtual server without destinations."""

    frontend: Frontend
    server: VirtualServer


@dataclass(frozen=True, slots=True)
class SetServer:
    """Another scheduler, or another persistence."""

    frontend: Frontend
    server: VirtualServer


@dataclass(frozen=True, slots=True)
class DeleteServer:
    """The virtual server goes, and its destinations with it."""

    frontend: Frontend


@dataclass(frozen=True, slots=True)
class AddDestination:
    """A destination of weight 1."""

    frontend: Frontend
    backend: Backend


@dataclass(frozen=True, slots=True)
class Drain:
    """The weight 0 for a destination: what it has goes on, nothing new comes."""

    frontend: Frontend
    backend: Backend


@dataclass(frozen=True, slots=True)
class DeleteDestination:
    """A destination goes."""

    frontend: Frontend
    backend: Backend


Change = AddServer | SetServer | DeleteServer | AddDestination | Drain | DeleteDestination


def between(
    there: Mapping[Frontend, Listed],
    wanted: Mapping[Frontend, Wanted],
    *,
    excluded: Collection[IPv4Network] = (),
) -> tuple[Change, ...]:
    """Return what leads from *there* to *wanted*; what drains stays until `drained` names it.

    Virtual servers in *excluded* networks are somebody else's, unless they are wanted.
    """
    found: list[Change] = []
    for frontend in sorted(there.keys() - wanted.keys()):
        if not any(frontend.address in network for network in excluded):
            found.append(DeleteServer(frontend))
    for frontend, wish in sorted(wanted.items(), key=lambda item: item[0]):
        listed = there.get(frontend)
        if listed is None:
            found.append(AddServer(frontend, wish.server))
        elif listed.server != wish.server:
            found.append(SetServer(frontend, wish.server))
        present = (listed or Listed(wish.server)).destinations
        found += _destinations(frontend, present, wish.destinations)
    return tuple(found)


def drained(there: Mapping[Frontend, Listed]) -> tuple[Change, ...]:
    """Return the deletion of what has drained: the look of once a minute."""
    return tuple(
        DeleteDestination(frontend, backend)
        for frontend, listed in sorted(there.items(), key=lambda item: item[0])
        for backend, each in sorted(listed.destinations.items(), key=lambda item: item[0])
        if not each.weight and each.idle
    )


def _destinations(
    frontend: Frontend,
    there: Mapping[Backend, ListedDestination],
    wanted: Iterable[Backend],
) -> Iterator[Change]:
    wishes = frozenset(wanted)
    # kube-proxy's order, which is that of texts; round robin depends on it.
    for backend in sorted(wishes, key=str):
        present = there.get(backend)
        if present is not None and present.weight:
            continue
        if present is not None:
            # It drains, and is wanted again: like kube-proxy, which takes it off its list first.
            yield DeleteDestination(frontend, backend)
        yield AddDestination(frontend, backend)
    for backend in sorted(there.keys() - wishes, key=str):
        present = there[backend]
        if frontend.protocol != "TCP" or (present.idle and present.weight):
            yield DeleteDestination(frontend, backend)
        elif present.weight:
            yield Drain(frontend, backend)
