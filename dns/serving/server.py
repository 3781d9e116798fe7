"""UDP and TCP endpoints on asyncio; no decisions.

UDP is read in batches straight from the socket: a transport and protocol in between cost more than
the answer (see datagrams.py).
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from podwire.dns.serving.connections import Answers, Connection, Connections, Timeouts
from podwire.dns.serving.datagrams import Datagrams, bind, host_and_port
from podwire.dns.serving.stepping import begin
from podwire.errors import MachineError


@dataclass(frozen=True, slots=True)
class Listener:
    """The two sockets of one address; bound, so that early requests wait instead of failing."""

    udp: socket.socket
    tcp: socket.socket

    @property
    def port(self) -> int:
        """Return the port, which is the same for both."""
        port: int = self.udp.getsockname()[1]
        return port

    def close(self) -> None:
        """Close both."""
        self.udp.close()
        self.tcp.close()


def listen(address: str, port: int, *, is_beside_own: bool = False) -> Listener:
    """Bind *address*; port 0 takes a free one that both protocols have.

    With *is_beside_own* other addresses of that port may be ours already, all of them (0.0.0.0)
    too; what is sent to several comes by the closest. Raises MachineError when the address cannot
    be had.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    for attempt in range(20):
        tcp = socket.socket(family, socket.SOCK_STREAM)
        udp = socket.socket(family, socket.SOCK_DGRAM)
        try:
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            if is_beside_own:
                _let_share(tcp, udp)
            if family == socket.AF_INET6:
                for sock in (tcp, udp):
                    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            tcp.bind((address, port))
            bind(udp, address, tcp.getsockname()[1])
            tcp.listen(1024)
            # Only now: two processes that said so before would both get the port.
            _let_share(tcp, udp)
        except OSError as error:
            tcp.close()
            udp.close()
            if port == 0 and attempt < 19:
                continue
            raise MachineError(f"cannot listen on {address} port {port}: {error}") from error
        udp.setblocking(False)
        tcp.setblocking(False)
        return Listener(udp, tcp)
    raise AssertionError("unreachable")


def _let_share(*socks: socket.socket) -> None:
    for sock in socks:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)


@asynccontextmanager
async def serving(
    listeners: Sequence[Listener], answers: Answers, *, timeouts: Timeouts | None = None
) -> AsyncGenerator[None, None]:
    """Answer what arrives at *listeners* inside the block; closes them at its end."""
    connections = Connections()
    limits = timeouts or Timeouts()
    loop = asyncio.get_running_loop()
    async with asyncio.TaskGroup() as tasks:
        datagrams = [_Endpoint(listener.udp, answers, tasks) for listener in listeners]
        servers = [
            await loop.create_server(
                lambda: Connection(answers, tasks, connections, limits), sock=listener.tcp
            )
            for listener in listeners
        ]
        for endpoint in datagrams:
            endpoint.start()
        try:
            yield
        finally:
            for endpoint in datagrams:
                endpoint.stop()
            for server in servers:
                server.close()
            connections.close_all()
            for listener in listeners:
                listener.close()


class _Endpoint:
    """One UDP socket. Replies that the kernel has no room for wait their turn."""

    def __init__(self, sock: socket.socket, answers: Answers, tasks: asyncio.TaskGroup) -> None:
        self._fd = sock.fileno()
        self._datagrams = Datagrams(sock)
        self._answers = answers
        self._tasks = tasks
        self._loop = asyncio.get_running_loop()
        self._is_reading = False
        self._is_writing = False

    def start(self) -> None:
        self._loop.add_reader(self._fd, self._read)

    def stop(self) -> None:
        self._loop.remove_reader(self._fd)
        self._loop.remove_writer(self._fd)
        self._datagrams.forget()

    def _read(self) -> None:
        # A batch, not all there is: a flood must leave the loop to the others.
        self._is_reading = True
        try:
            for packet, address in self._datagrams.exchange(self._answers.kept("udp")):
                begin(self._answer(packet, address), self._tasks)
        finally:
            self._is_reading = False
            self._flush()

    async def _answer(self, packet: bytes, address: bytes) -> None:
        for reply in await self._answers.answer(packet, host_and_port(address), "udp"):
            self._datagrams.put(reply, address)
        if not self._is_reading:
            self._flush()

    def _flush(self) -> None:
        self._datagrams.flush()
        if self._datagrams.has_unsent and not self._is_writing:
            self._is_writing = True
            self._loop.add_writer(self._fd, self._retry)

    def _retry(self) -> None:
        self._datagrams.retry()
        if not self._datagrams.has_unsent:
            self._is_writing = False
            self._loop.remove_writer(self._fd)
