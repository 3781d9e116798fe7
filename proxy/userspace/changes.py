"""Pure: old table, new table -> listeners to open, adjust and close, UDP flows to cut.

TCP connections are never in it: one that is open stays open whatever becomes of its Service or its
endpoint, as in the kernel's connection tracking. That is what lets a terminating endpoint drain.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from typing import Literal

from podwire.proxy.endpoints import Backend
from podwire.proxy.userspace.routes import Frontend, Route

Leading = Literal["whole", "port", "refused"]
"""How packets for a frontend come to be this node's: with all of their address, which is a
Service's; with their port only, for the address may be somebody's; or to be refused."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What to do, in this order: close, cut, adjust, open."""

    close: tuple[Frontend, ...] = ()
    cut: tuple[tuple[Frontend, Backend], ...] = ()
    adjust: Mapping[Frontend, Route] = field(default_factory=dict[Frontend, Route])
    open: Mapping[Frontend, Route] = field(default_factory=dict[Frontend, Route])

    def __bool__(self) -> bool:
        return bool(self.close or self.cut or self.adjust or self.open)


def between(old: Mapping[Frontend, Route], new: Mapping[Frontend, Route]) -> Changes:
    """Return what leads from *old* to *new*."""
    listening = {frontend for frontend, route in old.items() if listens(frontend, route)}
    wanted = {frontend: route for frontend, route in new.items() if listens(frontend, route)}
    return Changes(
        close=tuple(sorted(listening - wanted.keys())),
        cut=tuple(
            (frontend, backend)
            for frontend in sorted(listening & wanted.keys())
            if frontend.protocol == "UDP"
            for backend in sorted(old[frontend].lasting - wanted[frontend].lasting)
        ),
        adjust={f: r for f, r in wanted.items() if f in listening and old[f] != r},
        open={f: r for f, r in wanted.items() if f not in listening},
    )


def listens(frontend: Frontend, route: Route) -> bool:
    """Whether *frontend* gets a listener; without one the kernel refuses, which is REJECT.

    SCTP never does: it is not relayed, and to be refused is better than to be met by UDP.
    """
    return frontend.protocol != "SCTP" and "REJECT" not in (
        route.inside.verdict,
        route.outside.verdict,
    )


def leading(
    frontend: Frontend, route: Route | None, services: IPv4Network | None
) -> Leading | None:
    """Return how packets for *frontend* are taken in; None where the node gets them anyway.

    The node's own addresses are here, and the range of *services* is led here as a whole.
    """
    if route is None or route.kind == "NodePort" or (services and frontend.address in services):
        return None
    if route.kind == "ClusterIP":
        return "whole"
    return "port" if listens(frontend, route) else "refused"


def let_in(route: Route, inside: Iterable[IPv4Network]) -> tuple[IPv4Network, ...] | None:
    """Return the only sources that a listener for *route* may hear; None means everyone.

    *inside* are the addresses of this node and its pods. All others are met by silence, which is
    DROP: so the empty tuple is a listener that hears nobody.
    """
    if route.outside.verdict == "FORWARD":
        return route.sources or None
    if route.inside.verdict != "FORWARD":
        return ()
    if not route.sources:
        return tuple(inside)
    return tuple(
        small
        for network in inside
        for source in route.sources
        if (small := _overlap(network, source)) is not None
    )


def _overlap(one: IPv4Network, other: IPv4Network) -> IPv4Network | None:
    if one.subnet_of(other):
        return one
    return other if other.subnet_of(one) else None
