"""Sockets that match the table: one per frontend that has somewhere to lead.

A frontend without endpoints has no socket, so the kernel refuses (the node accepts packets for
every address of the service range by a local route). One that must be silent has a socket whose
filter drops every packet. It obeys `changes` and decides nothing but which backend comes next.
"""

import asyncio
import socket
from collections import Counter
from collections.abc import Callable
from ipaddress import IPv4Network
from typing import cast
from weakref import WeakValueDictionary

from podwire.proxy.endpoints import Backend
from podwire.proxy.table import PortName, Protocol
from podwire.proxy.userspace import hops
from podwire.proxy.userspace.balance import Affinity
from podwire.proxy.userspace.borrowing import Address, Borrowing
from podwire.proxy.userspace.changes import Changes, let_in
from podwire.proxy.userspace.limits import NO_MORE, Scarcity
from podwire.proxy.userspace.origins import Origins, kept
from podwire.proxy.userspace.picking import Carried, Choice, Picker
from podwire.proxy.userspace.routes import Frontend, Route
from podwire.proxy.userspace.sockets import bound, hear_only
from podwire.proxy.userspace.tcp import Relay
from podwire.proxy.userspace.udp import UdpServer

Chance = Callable[[], float]
"""Returns a number in [0, 1), such as random.random."""

BACKLOG = 4096
_ACCEPT_AT_ONCE = 64
_LATER = 0.1  # seconds until accept is tried again after the machine had no file or memory left

_DISPENSABLE = 1.0
"""Seconds without a datagram after which a UDP flow may go when there are no more files."""


class Listeners:
    """All listening sockets of a proxy, and the affinity of its Service ports.

    *origins* says of clients where they are, and whose address endpoints shall see. With *picker*
    it is that which chooses backends, not *chance*.
    """

    def __init__(
        self,
        relay: Relay,
        *,
        chance: Chance,
        origins: Origins | None = None,
        picker: Picker | None = None,
    ) -> None:
        self._relay = relay
        self._picker = picker
        if picker is not None:
            relay.counted = self._counted
        relay.scarcity.relief = self._end_idle_flows
        self._chance = chance
        self._origins = origins or Origins()
        self._open: dict[Frontend, _TcpListener | _UdpListener] = {}
        # Where this relay listens itself, as Backend.sockaddr.
        self._own: dict[Protocol, set[Address]] = {"TCP": set(), "UDP": set()}
        # One memory per Service port, shared by its frontends and gone with the last of them.
        self._affinities: WeakValueDictionary[tuple[PortName, Protocol], Affinity] = (
            WeakValueDictionary()
        )

    def __len__(self) -> int:
        return len(self._open)

    @property
    def flows(self) -> int:
        """UDP flows that are open now."""
        return sum(o.server.open for o in self._open.values() if isinstance(o, _UdpListener))

    def connections(self) -> Counter[tuple[PortName, Protocol, Backend]]:
        """Return the open TCP connections and UDP flows of each Service port and backend."""
        found: Counter[tuple[PortName, Protocol, Backend]] = Counter()
        for (what, backend), count in self._relay.connections().items():
            if isinstance(what, Carried) and backend is not None:
                found[what.name, "TCP", backend] += count
        for listener in self._open.values():
            if isinstance(listener, _UdpListener):
                name = listener.choice.route.name
                for backend in listener.server.backends():
                    found[name, "UDP", backend] += 1
        return found

    def apply(self, changes: Changes) -> dict[Frontend, str]:
        """Carry out *changes*; return the frontends that have failed, each with the reason.

        A frontend that has failed has no listener afterwards.
        """
        for frontend in changes.close:
            self._drop(frontend)
        for frontend, backend in changes.cut:
            listener = self._open.get(frontend)
            if isinstance(listener, _UdpListener):
                listener.server.cut(backend)
        failed: dict[Frontend, str] = {}
        for frontend, route in (*changes.adjust.items(), *changes.open.items()):
            try:
                self._serve(frontend, route)
            except (OSError, ValueError) as error:
                self._drop(frontend)
                failed[frontend] = str(error)
        return failed

    def move(self, origins: Origins) -> None:
        """Take *origins* as what is known of clients from now on."""
        self._origins = origins
        routes = {frontend: listener.choice.route for frontend, listener in self._open.items()}
        self.apply(Changes(adjust=routes))

    def close(self) -> None:
        """Close every socket; the connections are the relay's."""
        for frontend in list(self._open):
            self._drop(frontend)

    def _end_idle_flows(self) -> None:
        # A client of UDP that has its answer keeps a file for half a minute; one of TCP waits.
        for listener in self._open.values():
            if isinstance(listener, _UdpListener):
                listener.server.end_idle(_DISPENSABLE)

    def _counted(self, what: object, backend: Backend, change: int) -> None:
        if self._picker is not None and isinstance(what, Carried):
            self._picker.counted(what.frontend, backend, change)

    def _serve(self, frontend: Frontend, route: Route) -> None:
        choice = Choice(
            route,
            Carried(route.name, frontend),
            self._origins,
            kept(route.kind, route.policy, self._origins.settings),
            self._affinity(frontend, route),
            self._chance,
            self._relay.loop,
            self._picker,
            self._own[frontend.protocol],
            self._origins.leads_on(route),
        )
        allowed = let_in(route, (*self._origins.inside, IPv4Network(frontend.address)))
        listener = self._open.get(frontend)
        if listener is not None:
            hear_only(listener.socket, allowed)
            listener.serve(choice)
            return
        sock = bound(frontend, route)
        try:
            hear_only(sock, allowed)
            if frontend.protocol == "TCP":
                self._open[frontend] = _TcpListener(sock, choice, self._relay)
            else:
                relay = self._relay
                self._open[frontend] = _UdpListener(
                    sock, choice, relay.loop, relay.borrowing, relay.scarcity
                )
        except BaseException:
            sock.close()
            raise
        self._own[frontend.protocol].add((str(frontend.address), frontend.port))

    def _affinity(self, frontend: Frontend, route: Route) -> Affinity | None:
        if not route.affinity_seconds:
            return None
        key = (route.name, frontend.protocol)
        affinity = self._affinities.get(key)
        if affinity is None or affinity.seconds != route.affinity_seconds:
            affinity = self._affinities[key] = Affinity(route.affinity_seconds)
        return affinity

    def _drop(self, frontend: Frontend) -> None:
        listener = self._open.pop(frontend, None)
        if listener is not None:
            self._own[frontend.protocol].discard((str(frontend.address), frontend.port))
            listener.close()


class _UdpListener:
    def __init__(
        self,
        sock: socket.socket,
        choice: Choice,
        loop: asyncio.AbstractEventLoop,
        borrowing: Borrowing,
        scarcity: Scarcity,
    ) -> None:
        self.socket = sock
        self.choice = choice
        self.server = UdpServer(
            sock,
            lambda client, tried: self.choice.next(client, tried),
            loop,
            source=lambda client, backend: self.choice.source(client, backend),
            borrowing=borrowing,
            scarcity=scarcity,
            counted=lambda backend, change: self.choice.counted(backend, change),
        )
        self.serve(choice)

    def serve(self, choice: Choice) -> None:
        self.choice = choice
        if choice.leads_on:
            hops.count(self.socket)
            self.server.counts_hops = True

    def close(self) -> None:
        self.server.close()


class _TcpListener:
    """Accepts until nobody waits; stops while the relay is full or the machine is out of files."""

    def __init__(self, sock: socket.socket, choice: Choice, relay: Relay) -> None:
        self.socket = sock
        self.choice = choice
        self._relay = relay
        self._again: asyncio.TimerHandle | None = None
        self.serve(choice)
        sock.listen(BACKLOG)
        relay.loop.add_reader(sock.fileno(), self._accept)

    def serve(self, choice: Choice) -> None:
        self.choice = choice
        if choice.leads_on:
            hops.count(self.socket)

    def close(self) -> None:
        if self._again is not None:
            self._again.cancel()
        self._relay.loop.remove_reader(self.socket.fileno())
        self.socket.close()

    def _accept(self) -> None:
        for _ in range(_ACCEPT_AT_ONCE):
            if self._relay.full:
                self._pause()
                self._relay.when_room(self._resume)
                return
            try:
                # What accept() does, without asking for the family and the kind each time.
                accepted = self.socket._accept()  # type: ignore[attr-defined]
                fd, address = cast("tuple[int, Address]", accepted)
                client = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, fd)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in NO_MORE:
                    self._relay.scarcity.met(error)
                    self._pause()
                    self._again = self._relay.loop.call_later(_LATER, self._resume)
                    return
                continue  # the client has gone already
            client.settimeout(0)
            choice = self.choice
            ttl = hops.left(client) if choice.leads_on else hops.USUAL
            self._relay.carry(client, address, choice.next, choice.what, choice.source, ttl)

    def _pause(self) -> None:
        self._relay.loop.remove_reader(self.socket.fileno())

    def _resume(self) -> None:
        self._again = None
        if self.socket.fileno() >= 0:
            self._relay.loop.add_reader(self.socket.fileno(), self._accept)
