"""Pure data: the destinations of a virtual server as ip_vs keeps them, and what is scheduled."""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Protocol

from podwire.proxy.endpoints import Backend


@dataclass(slots=True, eq=False)
class Destination:
    """A real server. *weight* is 1, or 0 while it drains: nothing new is scheduled to it.

    *active* are connections that are set up; *inactive* all others that the kernel remembers.
    *last_weight* is the latest weight that was not 0: the Maglev table goes by it.
    """

    backend: Backend
    weight: int = 1
    active: int = 0
    inactive: int = 0
    last_weight: int = 1

    def weigh(self, weight: int) -> None:
        """Set the weight."""
        self.weight = weight
        if weight:
            self.last_weight = weight

    @property
    def overhead(self) -> int:
        """Return the load that lc, wlc, lblc and lblcr compare (ip_vs_dest_conn_overhead)."""
        return (self.active << 8) + self.inactive


@dataclass(frozen=True, slots=True)
class Packet:
    """What a scheduler sees of a new connection; *now* is in seconds."""

    client: IPv4Address
    client_port: int
    address: IPv4Address
    now: float = 0.0


class Oblivious:
    """The part of a scheduler that remembers nothing of destinations from one time to the next."""

    def changed(self, among: Sequence[Destination]) -> None:
        """Ignore it."""

    def removed(self, gone: Destination, before: Destination | None) -> None:
        """Ignore it."""


class Scheduler(Protocol):
    """Chooses destinations for new connections. It is asked for one virtual server only."""

    def choose(self, among: Sequence[Destination], packet: Packet) -> Destination | None:
        """Return the destination for *packet*, or None: the kernel then answers unreachable.

        *among* is in the kernel's order: the one that was added last comes first.
        """
        ...

    def changed(self, among: Sequence[Destination]) -> None:
        """Hear that a destination was added, removed or weighed again; *among* are those now."""
        ...

    def removed(self, gone: Destination, before: Destination | None) -> None:
        """Hear that *gone*, which stood behind *before* (None: it was first), is removed."""
        ...
