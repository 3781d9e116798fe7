"""Relays UDP: a flow per client address, with a socket of its own towards one backend.

Datagrams of one client go to one backend, as one entry of the kernel's connection tracking would
send them, until the flow has been idle or its endpoint has gone; the next datagram then starts a
new flow, and what the endpoint still owes is passed on for a while. Answers leave from the socket
on which the client asked, so from the frontend's address. A backend sees the client's address where
`origins` says so, else the node's.
"""

import asyncio
import logging
import socket
from collections.abc import Callable

from podwire.proxy.endpoints import Backend
from podwire.proxy.userspace import hops
from podwire.proxy.userspace.borrowing import Address, AskAs, Borrowing, as_node
from podwire.proxy.userspace.limits import Scarcity
from podwire.proxy.userspace.tcp import Choose

log = logging.getLogger(__name__)

IDLE = 30.0
"""Seconds without a datagram either way after which a flow ends (nf_conntrack_udp_timeout)."""

OWED = 5.0
"""Seconds that an endpoint has, once it is gone from its Service, to answer what it was asked: it
may be well yet, and only about to end. The kernel's modes lose such answers."""

MOST_FLOWS = 4096
"""Flows per frontend; one more ends the one idle longest. DNS clients use each port once."""

_LARGEST = 1 << 16
_AT_ONCE = 64  # datagrams that one socket may handle before the others have their turn


class Flow:
    """One client's way through a frontend to one backend."""

    __slots__ = ("_server", "backend", "client", "is_owed", "used", "wire")

    def __init__(
        self, client: Address, backend: Backend, wire: socket.socket, server: "UdpServer"
    ) -> None:
        self.client = client
        self.backend = backend
        self.wire = wire
        self.used = server.loop.time()
        # Whether the last datagram was the client's.
        self.is_owed = False
        self._server = server

    def answers(self) -> None:
        """Pass on what the backend has sent."""
        for _ in range(_AT_ONCE):
            try:
                data = self.wire.recv(_LARGEST)
            except BlockingIOError:
                return
            except OSError as error:
                # Port unreachable: nobody listens. The client's next datagram may fare better.
                log.debug("%s: %s", self.backend, error)
                self._server.end(self)
                return
            self._server.answer(self, data)


class UdpServer:
    """One UDP frontend: its socket and its flows."""

    def __init__(
        self,
        sock: socket.socket,
        choose: Choose,
        loop: asyncio.AbstractEventLoop,
        *,
        source: AskAs = as_node,
        borrowing: Borrowing | None = None,
        scarcity: Scarcity | None = None,
        counted: Callable[[Backend, int], None] | None = None,
        idle: float = IDLE,
        most: int = MOST_FLOWS,
    ) -> None:
        self.loop = loop
        self.counts_hops = False
        self._source = source
        self._borrowing = borrowing or Borrowing()
        self._scarcity = scarcity or Scarcity(loop)
        self._counted = counted
        self._socket = sock
        self._choose = choose
        self._idle = idle
        self._most = most
        self._flows: dict[Address, Flow] = {}  # the longest idle one first
        self._owing: dict[Flow, asyncio.TimerHandle] = {}
        self._timer: asyncio.TimerHandle | None = None
        loop.add_reader(sock.fileno(), self._asked)

    @property
    def address(self) -> Address:
        """Where clients ask."""
        host, port = self._socket.getsockname()
        return str(host), int(port)

    @property
    def open(self) -> int:
        """Flows that are open now."""
        return len(self._flows)

    def backends(self) -> list[Backend]:
        """Return the backend of each open flow."""
        return [flow.backend for flow in self._flows.values()]

    def cut(self, backend: Backend) -> None:
        """End all flows to *backend*; those on which an answer may come only hear that yet."""
        for flow in [flow for flow in self._flows.values() if flow.backend == backend]:
            if flow.is_owed and flow.used > self.loop.time() - OWED:
                self._leave(flow)
                self._owing[flow] = self.loop.call_later(OWED, self.end, flow)
            else:
                self.end(flow)

    def close(self) -> None:
        """End all flows and close the socket."""
        for flow in [*self._flows.values(), *self._owing]:
            self.end(flow)
        if self._timer is not None:
            self._timer.cancel()
        self.loop.remove_reader(self._socket.fileno())
        self._socket.close()

    def end_idle(self, seconds: float) -> None:
        """End the flows that have been idle for that long."""
        limit = self.loop.time() - seconds
        for flow in [flow for flow in self._flows.values() if flow.used < limit]:
            self.end(flow)

    def end(self, flow: Flow) -> None:
        """End *flow*; ended already is fine."""
        timer = self._owing.pop(flow, None)
        if timer is not None:
            timer.cancel()
        if timer is not None or self._leave(flow):
            self.loop.remove_reader(flow.wire.fileno())
            flow.wire.close()

    def answer(self, flow: Flow, data: bytes) -> None:
        """Send the backend's *data* to the client of *flow*, from the frontend's address."""
        flow.is_owed = False
        if flow not in self._owing:
            self._touch(flow)
        _try(lambda: self._socket.sendto(data, flow.client))

    def _asked(self) -> None:
        time_to_live = hops.USUAL
        for _ in range(_AT_ONCE):
            try:
                if self.counts_hops:
                    data, client, time_to_live = hops.received(self._socket, _LARGEST)
                else:
                    data, client = self._socket.recvfrom(_LARGEST)
            except BlockingIOError:
                return
            except OSError as error:
                log.debug("%s", error)
                continue
            flow = self._flows.get(client) or self._new_flow(client, time_to_live)
            if flow is None:
                continue
            self._touch(flow)
            flow.is_owed = True
            try:
                flow.wire.send(data)
            except BlockingIOError:
                continue  # a full queue loses datagrams, as everywhere
            except OSError as error:
                log.debug("%s: %s", flow.backend, error)
                self.end(flow)
                self._once_more(client, time_to_live, data, flow.backend)

    def _once_more(self, client: Address, time_to_live: int, data: bytes, failed: Backend) -> None:
        # The error is that of an earlier datagram (the kernel reports it on the next call), so this
        # one was not sent yet and may go to another backend.
        flow = self._new_flow(client, time_to_live, failed)
        flow = flow or self._new_flow(client, time_to_live)
        if flow is not None:
            flow.is_owed = True
            _try(lambda: flow.wire.send(data))

    def _new_flow(self, client: Address, time_to_live: int, *tried: Backend) -> Flow | None:
        backend = self._choose(client, tried) if time_to_live > 0 else None
        if backend is None:
            return None
        if len(self._flows) >= self._most:
            self.end(next(iter(self._flows.values())))
        wire = self._wire()
        if wire is None:
            return None
        try:
            hops.go_on(wire, time_to_live)
            source = self._source(client[0], backend)
            if source != "node":
                self._borrowing.bind(wire, client, source)
            wire.connect(backend.sockaddr)
        except OSError as error:
            log.debug("%s: %s", backend, error)
            wire.close()
            return None
        flow = self._flows[client] = Flow(client, backend, wire, self)
        self.loop.add_reader(wire.fileno(), flow.answers)
        if self._counted is not None:
            self._counted(backend, 1)
        if self._timer is None:
            self._timer = self.loop.call_later(self._idle, self._end_idle)
        return flow

    def _wire(self) -> socket.socket | None:
        """Return a new socket; without files left, at the cost of the flow that is idle longest."""
        for _ in range(2):
            try:
                return socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            except OSError as error:
                self._scarcity.met(error)
            if not self._flows:
                break
            self.end(next(iter(self._flows.values())))
        return None

    def _leave(self, flow: Flow) -> bool:
        """Have the client's next datagram begin a new flow; tells whether it went on this one."""
        if self._flows.get(flow.client) is not flow:
            return False
        del self._flows[flow.client]
        if self._counted is not None:
            self._counted(flow.backend, -1)
        return True

    def _touch(self, flow: Flow) -> None:
        flow.used = self.loop.time()
        del self._flows[flow.client]
        self._flows[flow.client] = flow

    def _end_idle(self) -> None:
        self._timer = None
        while self._flows:
            flow = next(iter(self._flows.values()))
            left = flow.used + self._idle - self.loop.time()
            if left > 0:
                self._timer = self.loop.call_later(left, self._end_idle)
                return
            self.end(flow)


def _try(send: Callable[[], int]) -> None:
    try:
        send()
    except OSError as error:
        log.debug("datagram lost: %s", error)
