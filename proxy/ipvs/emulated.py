"""Pure: ip_vs in memory: virtual servers, their schedulers and counts, for a relay to ask.

It takes the same changes as the kernel and gives the same list. Over is over only after a while:
the kernel remembers a closed TCP connection for two minutes (TIME_WAIT) and counts it as inactive,
which keeps a draining destination that long; UDP flows count as inactive while they last.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address

from podwire.proxy.endpoints import Backend
from podwire.proxy.ipvs.changes import (
    AddDestination,
    AddServer,
    Change,
    DeleteDestination,
    DeleteServer,
    Drain,
    Listed,
    ListedDestination,
    SetServer,
)
from podwire.proxy.ipvs.destinations import Destination, Packet, Scheduler
from podwire.proxy.ipvs.plan import VirtualServer
from podwire.proxy.ipvs.schedulers import SCHEDULERS
from podwire.proxy.ipvs.templates import Templates
from podwire.proxy.userspace.routes import Frontend

TIME_WAIT = 120.0
"""Seconds that a TCP connection that is over still counts (ip_vs_proto_tcp.c)."""


class Emulated:
    """All virtual servers. Times are in seconds of one clock that never goes back."""

    def __init__(self, *, time_wait: float = TIME_WAIT) -> None:
        self._servers: dict[Frontend, _Server] = {}
        # A destination that is taken away while it has connections goes to the kernel's trash, and
        # comes back from there with its counts.
        self._trash: dict[tuple[Frontend, Backend], Destination] = {}
        self._time_wait = time_wait
        self._over: deque[tuple[float, Destination]] = deque()

    def apply(self, changes: Iterable[Change]) -> None:
        """Carry out *changes*; what is there already or gone already is no error."""
        for change in changes:
            frontend = change.frontend
            match change:
                case AddServer():
                    self._servers[frontend] = _Server(change.server)
                case SetServer():
                    self._servers[frontend].set(change.server)
                case DeleteServer():
                    for destination in self._servers.pop(frontend).destinations:
                        self._throw_away(frontend, destination)
                case AddDestination():
                    self._servers[frontend].add(self._destination(frontend, change.backend))
                case Drain():
                    self._servers[frontend].drain(change.backend)
                case DeleteDestination():
                    self._throw_away(frontend, self._servers[frontend].remove(change.backend))

    def choose(
        self, frontend: Frontend, client: IPv4Address, client_port: int, *, now: float
    ) -> Backend | None:
        """Return where a new connection goes, None if the kernel would answer unreachable."""
        server = self._servers.get(frontend)
        if server is None:
            return None
        chosen = server.choose(Packet(client, client_port, frontend.address, now))
        return chosen.backend if chosen else None

    def began(self, frontend: Frontend, backend: Backend) -> None:
        """Count a connection or flow to *backend*."""
        destination = self._find(frontend, backend)
        if destination is None:
            return
        if frontend.protocol == "TCP":
            destination.active += 1
        else:
            destination.inactive += 1

    def ended(self, frontend: Frontend, backend: Backend, *, now: float) -> None:
        """Count that it is over."""
        destination = self._find(frontend, backend)
        if destination is None:
            return
        if frontend.protocol == "TCP" and destination.active:
            destination.active -= 1
            destination.inactive += 1
            self._over.append((now + self._time_wait, destination))
        elif frontend.protocol != "TCP" and destination.inactive:
            destination.inactive -= 1
        self.forget(now=now)

    def forget(self, *, now: float) -> None:
        """Forget the connections that have been over for long enough."""
        while self._over and self._over[0][0] <= now:
            self._over.popleft()[1].inactive -= 1
        if self._trash:
            kept = {k: d for k, d in self._trash.items() if d.active or d.inactive}
            self._trash = kept

    def listed(self) -> Mapping[Frontend, Listed]:
        """Return what is there."""
        return {frontend: server.listed() for frontend, server in self._servers.items()}

    def listed_of(self, frontends: Iterable[Frontend]) -> Mapping[Frontend, Listed]:
        """Return what is there of *frontends*."""
        there = ((frontend, self._servers.get(frontend)) for frontend in frontends)
        return {frontend: server.listed() for frontend, server in there if server is not None}

    def _find(self, frontend: Frontend, backend: Backend) -> Destination | None:
        server = self._servers.get(frontend)
        found = server.by_backend.get(backend) if server is not None else None
        return found or self._trash.get((frontend, backend))

    def _destination(self, frontend: Frontend, backend: Backend) -> Destination:
        return self._trash.pop((frontend, backend), None) or Destination(backend)

    def _throw_away(self, frontend: Frontend, destination: Destination) -> None:
        if destination.active or destination.inactive:
            self._trash[frontend, destination.backend] = destination


class _Server:
    """One virtual server: its destinations in the kernel's order, scheduler and templates."""

    def __init__(self, server: VirtualServer) -> None:
        self.destinations: list[Destination] = []
        self.by_backend: dict[Backend, Destination] = {}
        self._server = server
        self._scheduler: Scheduler = SCHEDULERS[server.scheduler]()
        self._templates = Templates(server.persistent)

    def set(self, server: VirtualServer) -> None:
        if server.scheduler != self._server.scheduler:
            self._scheduler = SCHEDULERS[server.scheduler]()
            self._scheduler.changed(self.destinations)
        self._templates.seconds = server.persistent
        self._server = server

    def add(self, destination: Destination) -> None:
        destination.weigh(1)
        self.by_backend[destination.backend] = destination
        # The kernel adds at the head of its list (__ip_vs_update_dest).
        self.destinations.insert(0, destination)
        self._scheduler.changed(self.destinations)

    def drain(self, backend: Backend) -> None:
        self.by_backend[backend].weigh(0)
        self._scheduler.changed(self.destinations)

    def remove(self, backend: Backend) -> Destination:
        gone = self.by_backend.pop(backend)
        place = self.destinations.index(gone)
        before = self.destinations[place - 1] if place else None
        del self.destinations[place]
        self._scheduler.removed(gone, before)
        self._scheduler.changed(self.destinations)
        return gone

    def choose(self, packet: Packet) -> Destination | None:
        if not self._server.persistent:
            return self._scheduler.choose(self.destinations, packet)
        among = self.destinations
        chosen = self._templates.destination_of(packet.client, among, now=packet.now)
        chosen = chosen or self._scheduler.choose(among, packet)
        if chosen is not None:
            self._templates.keep(packet.client, chosen, now=packet.now)
        return chosen

    def listed(self) -> Listed:
        return Listed(
            self._server,
            {
                d.backend: ListedDestination(d.weight, d.active, d.inactive)
                for d in self.destinations
            },
        )
