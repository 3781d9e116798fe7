"""Sockets that match the table: one per frontend that has somewhere to lead.

A frontend without endpoints has no socket, so the kernel refuses (the node accepts packets for
every address of the service range by a local route). One that must be silent has a socket whose
filter drops every packet. It obeys `changes` and decides nothing but which backend comes next.
"""

import asyncio
import contextlib
import ctypes
import logging
import socket
import struct
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from weakref import WeakValueDictionary

from podwire.proxy.endpoints import Backend
from podwire.proxy.table import PortName, Protocol
from podwire.proxy.userspace import filters
from podwire.proxy.userspace.balance import Affinity, pick, pick_for
from podwire.proxy.userspace.changes import Changes, let_in
from podwire.proxy.userspace.routes import Frontend, Route
from podwire.proxy.userspace.tcp import NO_MORE, Relay, keep_alive
from podwire.proxy.userspace.udp import UdpServer

log = logging.getLogger(__name__)

Chance = Callable[[], float]
"""Returns a number in [0, 1), such as random.random."""

BACKLOG = 4096
_ACCEPT_AT_ONCE = 64
_LATER = 0.1  # seconds until accept is tried again after the machine had no file or memory left

# Not in Python's socket module (asm-generic/socket.h, linux/in.h).
_SO_ATTACH_FILTER = 26
_SO_DETACH_FILTER = 27
_IP_FREEBIND = 15


class Listeners:
    """All listening sockets of a proxy, and the affinity of its Service ports.

    *inside* are the addresses of this node and its pods; the traffic policy Local of NodePorts does
    not bind them.
    """

    def __init__(self, relay: Relay, *, chance: Chance, inside: Iterable[IPv4Network] = ()) -> None:
        self._relay = relay
        self._chance = chance
        self._inside = tuple(inside)
        self._open: dict[Frontend, _TcpListener | _UdpListener] = {}
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
        for (name, backend), count in self._relay.connections().items():
            if isinstance(name, PortName) and backend is not None:
                found[name, "TCP", backend] += count
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

    def move(self, inside: Iterable[IPv4Network]) -> None:
        """Take *inside* as the addresses of this node and its pods from now on."""
        self._inside = tuple(inside)
        routes = {frontend: listener.choice.route for frontend, listener in self._open.items()}
        self.apply(Changes(adjust=routes))

    def close(self) -> None:
        """Close every socket; the connections are the relay's."""
        for frontend in list(self._open):
            self._drop(frontend)

    def _serve(self, frontend: Frontend, route: Route) -> None:
        choice = _Choice(
            route, self._inside, self._affinity(frontend, route), self._chance, self._relay
        )
        allowed = let_in(route, (*self._inside, IPv4Network(frontend.address)))
        listener = self._open.get(frontend)
        if listener is not None:
            _hear_only(listener.socket, allowed)
            listener.choice = choice
            return
        sock = _bound(frontend, route)
        try:
            _hear_only(sock, allowed)
            if frontend.protocol == "TCP":
                self._open[frontend] = _TcpListener(sock, choice, self._relay)
            else:
                self._open[frontend] = _UdpListener(sock, choice, self._relay.loop)
        except BaseException:
            sock.close()
            raise

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
            listener.close()


@dataclass(frozen=True, slots=True)
class _Choice:
    """How the next backend of one frontend is found."""

    route: Route
    inside: tuple[IPv4Network, ...]
    affinity: Affinity | None
    chance: Chance
    relay: Relay

    def next(self, client: str, tried: Sequence[Backend]) -> Backend | None:
        target = self.route.inside
        if self.route.outside != target:
            address = IPv4Address(client)
            if not any(address in network for network in self.inside):
                target = self.route.outside
        if self.affinity is None:
            return pick(target.backends, chance=self.chance(), tried=tried)
        return pick_for(
            client,
            target.backends,
            self.affinity,
            now=self.relay.loop.time(),
            chance=self.chance(),
            tried=tried,
        )


class _UdpListener:
    def __init__(
        self, sock: socket.socket, choice: _Choice, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.socket = sock
        self.choice = choice
        self.server = UdpServer(sock, lambda client, tried: self.choice.next(client, tried), loop)

    def close(self) -> None:
        self.server.close()


class _TcpListener:
    """Accepts until nobody waits; stops while the relay is full or the machine is out of files."""

    def __init__(self, sock: socket.socket, choice: _Choice, relay: Relay) -> None:
        self.socket = sock
        self.choice = choice
        self._relay = relay
        self._again: asyncio.TimerHandle | None = None
        sock.listen(BACKLOG)
        relay.loop.add_reader(sock.fileno(), self._accept)

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
                client, address = self.socket.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in NO_MORE:
                    log.warning("clients wait to be accepted: %s", error)
                    self._pause()
                    self._again = self._relay.loop.call_later(_LATER, self._resume)
                    return
                continue  # the client has gone already
            client.settimeout(0)
            choice = self.choice
            self._relay.carry(client, address[0], choice.next, choice.route.name)

    def _pause(self) -> None:
        self._relay.loop.remove_reader(self.socket.fileno())

    def _resume(self) -> None:
        self._again = None
        if self.socket.fileno() >= 0:
            self._relay.loop.add_reader(self.socket.fileno(), self._accept)


def _bound(frontend: Frontend, route: Route) -> socket.socket:
    kind = socket.SOCK_STREAM if frontend.protocol == "TCP" else socket.SOCK_DGRAM
    sock = socket.socket(socket.AF_INET, kind | socket.SOCK_NONBLOCK)
    try:
        if frontend.protocol == "TCP":
            # Accepted sockets inherit all of these.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            keep_alive(sock)
        if route.kind in ("ExternalIP", "LoadBalancer"):
            # Nothing says that these addresses are routed to this node yet, nor that they must be.
            sock.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
        sock.bind((str(frontend.address), frontend.port))
    except OSError:
        sock.close()
        raise
    return sock


def _hear_only(sock: socket.socket, networks: tuple[IPv4Network, ...] | None) -> None:
    if networks is None:
        with contextlib.suppress(FileNotFoundError):  # there was no filter
            sock.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)
        return
    program = ctypes.create_string_buffer(filters.only_from(networks))
    length = (len(program) - 1) // filters.INSTRUCTION
    # struct sock_fprog: a 16-bit count and a pointer, aligned by the C compiler's rules.
    described = struct.pack("@HP", length, ctypes.addressof(program))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, described)
