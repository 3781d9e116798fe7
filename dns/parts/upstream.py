"""Servers to ask, and one question and its reply over a socket.

Each question has a socket, a port and an ID of its own, so a forged reply has all of them to guess
(RFC 5452); a TCP connection is used again while it lasts. What the kernel reports (refused,
unreachable) ends a try at once.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from podwire.dns.messages.message import Transport
from podwire.dns.messages.query import HEADER
from podwire.kube.clock import Clock

PORT: Final = 53
REFUSED_MEMORY: Final = 1.0
"""How long a refusal is remembered, seconds: the kernel reports only one per second."""
REFUSED_TIMEOUT: Final = 0.2
"""How long one waits in that time for a server that may have come back."""

_REFUSALS: Final = frozenset({errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH})


class ExchangeError(Exception):
    """An upstream could not be asked; the message is what CoreDNS's log says then."""


@dataclass(frozen=True, slots=True)
class Upstream:
    """A server to ask; an IPv6 address may have a scope (``fe80::1%eth0``)."""

    address: str
    port: int = PORT

    def __str__(self) -> str:
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{host}:{self.port}"


def parse_upstream(text: str) -> Upstream:
    """Return the server that ADDRESS, ADDRESS:PORT or [ADDRESS]:PORT names; raises ValueError."""
    address, port = text, str(PORT)
    if text.startswith("["):
        address, _, port = text[1:].partition("]")
        port = port.removeprefix(":") or str(PORT)
    elif text.count(":") == 1:
        address, _, port = text.partition(":")
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError(f"{text}: no port number")
    found = ip_address(address)
    # Only link-local addresses need to say on which link.
    plain = str(found) if found.is_link_local else str(found).partition("%")[0]
    return Upstream(plain, int(port))


def resolv_conf_upstreams(text: str) -> tuple[Upstream, ...]:
    """Return the servers of a resolv.conf; search and options do not count. Raises ValueError."""
    words = (line.split() for line in text.splitlines())
    return tuple(parse_upstream(w[1]) for w in words if len(w) > 1 and w[0] == "nameserver")


@dataclass(frozen=True, slots=True, kw_only=True)
class Connecting:
    """How connections are made and for how long they are used again; times in seconds, 0: no end.

    *expire* counts from their last use, *max_age* from their beginning. *most_idle* of them are
    kept for later, 0: as many as there are. *source* is our address, empty: the kernel's choice.
    """

    expire: float = 10.0
    max_age: float = 0.0
    most_idle: int = 0
    source: str = ""


@dataclass(slots=True)
class _Connection:
    sock: socket.socket
    began: float
    used: float


class Channel:
    """The way to one upstream; for each question either *reused* or *opened* is called."""

    def __init__(
        self,
        upstream: Upstream,
        connecting: Connecting,
        clock: Clock,
        *,
        reused: Callable[[Transport], None],
        opened: Callable[[Transport], None],
    ) -> None:
        self._upstream = upstream
        self._connecting = connecting
        self._clock = clock
        self._reused = reused
        self._opened = opened
        self._idle: list[_Connection] = []
        self._is_open = False
        self._refused_at = -REFUSED_MEMORY

    def open(self) -> None:
        """Keep connections for later, until `close`."""
        self._is_open = True

    def close(self) -> None:
        """Close what is kept for later."""
        self._is_open = False
        for connection in self._idle:
            connection.sock.close()
        self._idle.clear()

    async def exchange(self, packet: bytes, transport: Transport, patience: float) -> bytes:
        """Send *packet* and return the reply with its ID; *patience* in seconds.

        Raises ExchangeError. Needs a task.
        """
        if self._clock.monotonic() - self._refused_at < REFUSED_MEMORY:
            patience = min(patience, REFUSED_TIMEOUT)
        step, own = "dial", ""
        try:
            async with asyncio.timeout(patience):
                while True:
                    step, own = "dial", ""
                    connection = self._kept() if transport == "tcp" else None
                    is_kept = connection is not None
                    if connection is None:
                        self._opened(transport)
                        connection = await self._dialled(transport)
                    else:
                        self._reused(transport)
                    step, own = "read", _own(connection.sock)
                    try:
                        reply = await self._over(connection, packet, transport)
                        break
                    except (EOFError, ConnectionResetError, BrokenPipeError):
                        if not is_kept:
                            raise
                        # It was closed while nobody looked: that says nothing of the server.
            self._refused_at = -REFUSED_MEMORY
            return reply
        except TimeoutError:
            reason = "i/o timeout"
        except EOFError:
            reason = "EOF"
        except OSError as error:
            reason = _said(error, step)
            if error.errno in _REFUSALS:
                self._refused_at = self._clock.monotonic()
        raise ExchangeError(f"{step} {transport} {own}{self._upstream}: {reason}")

    async def _over(self, connection: _Connection, packet: bytes, transport: Transport) -> bytes:
        """Ask over *connection*, which is kept or closed afterwards."""
        is_good = False
        try:
            if transport == "udp":
                return await _over_udp(connection.sock, packet)
            reply = await _over_tcp(connection.sock, packet)
            is_good = True
            return reply
        finally:
            most = self._connecting.most_idle
            if is_good and self._is_open and not (most and len(self._idle) >= most):
                connection.used = self._clock.monotonic()
                self._idle.append(connection)
            else:
                connection.sock.close()

    def _kept(self) -> _Connection | None:
        """Return the connection that has been idle for longest, if it has not expired."""
        now, limits = self._clock.monotonic(), self._connecting
        while self._idle:
            connection = self._idle.pop(0)
            is_fresh = now - connection.used <= limits.expire
            if is_fresh and not (limits.max_age and now - connection.began > limits.max_age):
                return connection
            connection.sock.close()
        return None

    async def _dialled(self, transport: Transport) -> _Connection:
        upstream = self._upstream
        family = socket.AF_INET6 if ":" in upstream.address else socket.AF_INET
        kind = socket.SOCK_STREAM if transport == "tcp" else socket.SOCK_DGRAM
        sock = socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            if self._connecting.source:
                sock.bind((self._connecting.source, 0))
            address = _socket_address(upstream)
            if transport == "tcp":
                await asyncio.get_running_loop().sock_connect(sock, address)
            else:
                # A connected datagram socket gets the kernel's errors, and replies from nobody
                # else.
                sock.connect(address)
        except BaseException:
            sock.close()
            raise
        now = self._clock.monotonic()
        return _Connection(sock, now, now)


def _said(error: OSError, step: str) -> str:
    """Return the error as Go says it: with the system call that failed."""
    if not error.errno:
        return str(error)
    call = {"dial": "connect"}.get(step, step)
    if error.errno in (errno.EMFILE, errno.ENFILE):
        call = "socket"
    return f"{call}: {os.strerror(error.errno).lower()}"


def _socket_address(upstream: Upstream) -> tuple[str, int] | tuple[str, int, int, int]:
    host, _, scope = upstream.address.partition("%")
    if not scope:
        return host, upstream.port
    index = int(scope) if scope.isdecimal() else socket.if_nametoindex(scope)
    return host, upstream.port, 0, index


def _own(sock: socket.socket) -> str:
    host, port, *_ = sock.getsockname()
    return f"[{host}]:{port}->" if ":" in host else f"{host}:{port}->"


async def _over_udp(sock: socket.socket, packet: bytes) -> bytes:
    loop = asyncio.get_running_loop()
    sock.send(packet)
    while True:
        raw = await _readable(loop, sock, lambda: sock.recv(65535))
        # What has another ID is somebody's guess: ours may still come.
        if raw[:2] == packet[:2] and len(raw) >= HEADER:
            return raw


async def _over_tcp(sock: socket.socket, packet: bytes) -> bytes:
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(sock, struct.pack("!H", len(packet)) + packet)
    buffer = bytearray()
    while True:
        while len(buffer) < 2 or len(buffer) < 2 + (buffer[0] << 8 | buffer[1]):
            chunk = await loop.sock_recv(sock, 65537)
            if not chunk:
                raise EOFError
            buffer += chunk
        size = buffer[0] << 8 | buffer[1]
        raw = bytes(buffer[2 : 2 + size])
        del buffer[: 2 + size]
        if raw[:2] == packet[:2]:
            return raw


async def _readable(
    loop: asyncio.AbstractEventLoop, sock: socket.socket, receive: Callable[[], bytes]
) -> bytes:
    """Return what *receive* gives once the datagram socket has something, or its error."""
    while True:
        try:
            return receive()
        except BlockingIOError:
            ready: asyncio.Future[None] = loop.create_future()
            loop.add_reader(sock.fileno(), _resolve, ready)
            try:
                await ready
            finally:
                loop.remove_reader(sock.fileno())


def _resolve(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
