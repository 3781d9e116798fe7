"""Relays TCP connections: finds a backend that answers, then joins the two sockets.

The client's handshake is over before a backend is asked, so when no backend answers the client
sees a reset after the connect (where packets are rewritten, the endpoint's own refusal would come
through). A backend sees the client's address where `origins` says so, else the node's. Nothing is
read from the client before a backend has answered: so trying another loses no byte.

Raw non-blocking sockets with an epoll of their own, not asyncio streams: a fraction of the cost.
"""

import asyncio
import errno
import logging
import os
import socket
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from podwire.proxy.endpoints import Backend
from podwire.proxy.userspace import hops
from podwire.proxy.userspace.borrowing import UNAVAILABLE, Address, AskAs, Borrowing, as_node
from podwire.proxy.userspace.limits import NO_MORE, Scarcity
from podwire.proxy.userspace.pipes import Pipes
from podwire.proxy.userspace.readiness import Readiness
from podwire.proxy.userspace.stream import Machinery, Stream, reset

log = logging.getLogger(__name__)

Choose = Callable[[Address, Collection[Backend]], Backend | None]
"""Client and the backends tried in vain -> the next one to try."""

Counted = Callable[[object, Backend, int], None]
"""Hears what a connection is counted as, its backend, and 1 when it begins or -1 at its end."""

PATIENCE = (0.25, 0.5, 1.0, 2.0)
"""Seconds that the first, second... attempt may take, as in the historic userspace kube-proxy."""

_MOST_REFUSALS = 64
"""Attempts that one client's connection may take: a refusal costs no patience, but some work."""

_SWEEP = 0.05

_LATER, _MOST_WAITS = 0.1, 50
"""Seconds until a client for whom there was no file is looked at again, and how often at most."""


@dataclass(slots=True)
class Counts:
    """What the relay has done since it started."""

    connections: int = 0
    failed_attempts: int = 0
    failed_connections: int = 0
    times_full: int = 0


class Relay:
    """All TCP connections of a proxy: *limit* at once; beyond, clients wait to be accepted."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        limit: int,
        pipes: Pipes | None = None,
        patience: Sequence[float] = PATIENCE,
    ) -> None:
        self.counts = Counts()
        self.borrowing = Borrowing()
        self.machinery = Machinery(Readiness(loop), pipes or Pipes())
        self.loop = loop
        self.scarcity = Scarcity(loop)
        self.patience = patience
        self.counted: Counted | None = None
        self._limit = limit
        self._ended_round = False
        self._openings: dict[_Opening, None] = {}
        self._streams: dict[Stream, tuple[object, Backend | None]] = {}
        self._waiting: list[Callable[[], None]] = []
        self._sweep: asyncio.TimerHandle | None = None

    @property
    def open(self) -> int:
        """Connections that are open now."""
        return len(self._openings) + len(self._streams)

    @property
    def full(self) -> bool:
        """Whether no connection may be added now."""
        return len(self._openings) + len(self._streams) >= self._limit

    def connections(self) -> Counter[tuple[object, Backend | None]]:
        """Return how many connections are open, by what they are counted as and backend."""
        return Counter(self._streams.values())

    def when_room(self, call: Callable[[], None]) -> None:
        """Call *call* once, as soon as a connection may be added."""
        if not self._waiting:
            self.counts.times_full += 1
            self.scarcity.say(f"{self.open} connections are open")
        self._waiting.append(call)

    def carry(
        self,
        client: socket.socket,
        address: Address,
        choose: Choose,
        what: object = None,
        source: AskAs = as_node,
        time_to_live: int = hops.USUAL,
    ) -> None:
        """Carry the accepted, non-blocking *client* to the backend that *choose* names.

        *what* it is counted as by `connections`; *source* says with whose address it is carried.
        Without any *time_to_live* left it is not.
        """
        self.counts.connections += 1
        opening = _Opening(client, address, choose, what, source, self, time_to_live)
        self._openings[opening] = None
        if self._sweep is None:
            self._sweep = self.loop.call_later(_SWEEP, self._look_at_deadlines)
        opening.attempt()

    def join(self, opening: "_Opening", backend: socket.socket) -> None:
        """Replace *opening*, which has found *backend*, by a stream."""
        self._openings.pop(opening)
        stream = Stream(opening.client, backend, self.machinery, self._over)
        self._streams[stream] = (opening.what, opening.backend)
        if self.counted is not None and opening.backend is not None:
            self.counted(opening.what, opening.backend, 1)
        stream.start()

    def ends_round(self, opening: "_Opening") -> None:
        """Hear that *opening* has come by too many relays: the first time is logged."""
        if not self._ended_round:
            log.warning(
                "a client of %s is reset after %d relays, others may be: do Endpoints that were"
                " written by hand lead from node to node and back?",
                *(opening.what, hops.USUAL // hops.HOP),
            )
        self._ended_round = True

    def give_up(self, opening: "_Opening") -> None:
        """Reset the client of *opening*: no backend answered."""
        self._openings.pop(opening)
        self.counts.failed_connections += 1
        reset(opening.client)
        self._room()

    def close(self) -> None:
        """Reset every connection."""
        self._waiting.clear()
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        for opening in list(self._openings):
            opening.abandon()
            self.give_up(opening)
        for stream in list(self._streams):
            stream.abort()
        self.machinery.pipes.close()
        self.machinery.ready.close()

    def _over(self, stream: Stream) -> None:
        what, backend = self._streams.pop(stream, (None, None))
        if self.counted is not None and backend is not None:
            self.counted(what, backend, -1)
        self._room()

    def _room(self) -> None:
        if self._waiting and not self.full:
            waiting, self._waiting = self._waiting, []
            for call in waiting:
                self.loop.call_soon(call)

    def _look_at_deadlines(self) -> None:
        now = self.loop.time()
        for opening in [o for o in self._openings if o.deadline <= now]:
            opening.too_late()
        self._sweep = (
            self.loop.call_later(_SWEEP, self._look_at_deadlines) if self._openings else None
        )


class _Opening:
    """A client that waits for a backend to answer."""

    __slots__ = (
        "_address",
        "_attempts",
        "_choose",
        "_refused",
        "_relay",
        "_socket",
        "_source",
        "_time_to_live",
        "_tried",
        "_waits",
        "backend",
        "client",
        "deadline",
        "what",
    )

    def __init__(
        self,
        client: socket.socket,
        address: Address,
        choose: Choose,
        what: object,
        source: AskAs,
        relay: Relay,
        time_to_live: int,
    ) -> None:
        self.client = client
        self.deadline = 0.0
        self.what = what
        self.backend: Backend | None = None
        self._address = address
        self._choose = choose
        self._source = source
        self._relay = relay
        self._time_to_live = time_to_live
        self._tried: set[Backend] = set()
        self._refused: set[Backend] = set()
        self._attempts = 0
        self._waits = 0
        self._socket: socket.socket | None = None

    def attempt(self) -> None:
        """Connect to the next backend; give up when all have refused or patience is at its end."""
        relay = self._relay
        while self._may_go_on():
            # Who did not answer in time may be asked again when all were tried; who refused, not.
            address = self._address
            backend = self._choose(address, self._tried) or self._choose(address, self._refused)
            if backend is None:
                break
            self.backend = backend
            self.deadline = relay.loop.time() + relay.patience[self._attempts]
            self._attempts += 1
            try:
                sock = socket.socket(
                    socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK, socket.IPPROTO_TCP
                )
            except OSError as error:
                if error.errno not in NO_MORE:
                    log.warning("cannot connect to %s: %s", backend, error)
                    break
                relay.scarcity.met(error)
                if self._waits == _MOST_WAITS:
                    break
                self._waits += 1
                self._attempts -= 1
                self.deadline = relay.loop.time() + _LATER
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            hops.go_on(sock, self._time_to_live)
            source = self._source(address[0], backend)
            if source != "node" and not relay.borrowing.bind(sock, self._address, source):
                source = "node"
            failure = sock.connect_ex(backend.sockaddr)
            if failure in UNAVAILABLE and source != "node":
                # Those two ends are connected already, so the node asks with its own address.
                relay.borrowing.failed(self._address, OSError(failure, os.strerror(failure)))
                sock.close()
                self._source = as_node
                self._attempts -= 1
                continue
            if failure == errno.EINPROGRESS:
                # On one machine the answer is often here already; asking again is much cheaper
                # than a turn of the loop.
                failure = sock.connect_ex(backend.sockaddr)
            if failure == 0:
                relay.join(self, sock)
                return
            if failure == errno.EALREADY:
                self._socket = sock
                relay.machinery.ready.add_writer(sock.fileno(), self._answered)
                return
            sock.close()
            self._failed(failure)
        relay.give_up(self)

    def _may_go_on(self) -> bool:
        if self._time_to_live <= 0:
            self._relay.ends_round(self)
            return False
        in_time = self._attempts < len(self._relay.patience)
        return in_time and len(self._refused) < _MOST_REFUSALS

    def too_late(self) -> None:
        """Drop the present attempt, if there is one, and make the next."""
        if self._socket is not None:
            self.abandon()
            self._failed(errno.ETIMEDOUT)
        self.attempt()

    def abandon(self) -> None:
        """Drop the present attempt."""
        if self._socket is not None:
            self._relay.machinery.ready.forget(self._socket.fileno())
            self._socket.close()
            self._socket = None

    def _answered(self) -> None:
        sock = self._socket
        if sock is None:
            return
        failure = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if failure:
            self.abandon()
            self._failed(failure)
            self.attempt()
            return
        self._relay.machinery.ready.remove_writer(sock.fileno())
        self._socket = None
        self._relay.join(self, sock)

    def _failed(self, failure: int) -> None:
        self._relay.counts.failed_attempts += 1
        if self.backend is not None:
            log.debug("%s: %s", self.backend, errno.errorcode.get(failure, failure))
            self._tried.add(self.backend)
            if failure != errno.ETIMEDOUT:
                self._refused.add(self.backend)
                self._attempts -= 1
