"""UDP and TCP endpoints on asyncio; no decisions.

UDP is read in batches straight from the socket: a transport and protocol in between cost more than
the answer.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from podwire.dns.connections import Answers, Connection, Connections, Timeouts
from podwire.errors import MachineError

MOST_UNSENT: Final = 4096
BATCH: Final = 64
LARGEST_DATAGRAM: Final = 65535

log = logging.getLogger("podwire.dns")


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


def listen(address: str, port: int) -> Listener:
    """Bind *address*; port 0 takes a free one that both protocols have.

    Raises MachineError when the address cannot be had.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    for attempt in range(20):
        tcp = socket.socket(family, socket.SOCK_STREAM)
        udp = socket.socket(family, socket.SOCK_DGRAM)
        try:
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            if family == socket.AF_INET6:
                for sock in (tcp, udp):
                    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            tcp.bind((address, port))
            udp.bind((address, tcp.getsockname()[1]))
            tcp.listen(1024)
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


@asynccontextmanager
async def serving(
    listeners: Sequence[Listener], answers: Answers, *, timeouts: Timeouts | None = None
) -> AsyncGenerator[None, None]:
    """Answer what arrives at *listeners* inside the block; closes them at its end."""
    connections = Connections()
    limits = timeouts or Timeouts()
    loop = asyncio.get_running_loop()
    async with asyncio.TaskGroup() as tasks:
        datagrams = [_Datagrams(listener.udp, answers, tasks) for listener in listeners]
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


class _Datagrams:
    """One UDP socket. Replies that the kernel has no room for wait their turn."""

    def __init__(self, sock: socket.socket, answers: Answers, tasks: asyncio.TaskGroup) -> None:
        self._sock = sock
        self._answers = answers
        self._tasks = tasks
        self._loop = asyncio.get_running_loop()
        self._unsent: deque[tuple[bytes, tuple[str, int]]] = deque(maxlen=MOST_UNSENT)
        self._buffer = bytearray(LARGEST_DATAGRAM)
        self._view = memoryview(self._buffer)

    def start(self) -> None:
        self._loop.add_reader(self._sock.fileno(), self._read)

    def stop(self) -> None:
        self._loop.remove_reader(self._sock.fileno())
        self._loop.remove_writer(self._sock.fileno())
        self._unsent.clear()

    def _read(self) -> None:
        # A batch, not all there is: a flood must leave the loop to the others.
        for _ in range(BATCH):
            try:
                size, client = self._sock.recvfrom_into(self._buffer)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                log.debug("udp read: %s", error)
                return
            packet = bytes(self._view[:size])
            reply = self._answers.answer_kept(packet, client, "udp")
            if reply is not None:
                self._send(reply, client)
            else:
                self._tasks.create_task(self._answer(packet, client))

    async def _answer(self, packet: bytes, client: tuple[str, int]) -> None:
        reply = await self._answers.answer(packet, client[:2], "udp")
        if reply is not None:
            self._send(reply, client)

    def _send(self, reply: bytes, client: tuple[str, int]) -> None:
        if self._unsent:
            self._unsent.append((reply, client))
            return
        try:
            self._sock.sendto(reply, client)
        except (BlockingIOError, InterruptedError):
            self._unsent.append((reply, client))
            self._loop.add_writer(self._sock.fileno(), self._flush)
        except OSError as error:
            # The client is unreachable or its port is 0: nobody is left to tell.
            log.debug("udp reply to %s: %s", client, error)

    def _flush(self) -> None:
        while self._unsent:
            reply, client = self._unsent[0]
            try:
                self._sock.sendto(reply, client)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                log.debug("udp reply to %s: %s", client, error)
            self._unsent.popleft()
        self._loop.remove_writer(self._sock.fileno())
