"""The forward handler: asks upstream servers what this server does not know itself.

Each look-up has a socket, a port and an ID of its own, so a forged reply has all of them to guess
(RFC 5452). What the kernel reports (refused, unreachable) ends a try at once.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address
from random import Random
from typing import Final, Protocol

from podwire.dns.chain import Link, Plugin, Request, waiting
from podwire.dns.corefile import Line
from podwire.dns.message import Rcode, Reply, Transport, rcode_name
from podwire.dns.query import HEADER
from podwire.dns.site import Site
from podwire.dns.stanza import Stanza
from podwire.dns.wire import UnreadableReplyError, read_reply
from podwire.kube.clock import Clock

TRY_TIMEOUT: Final = 2.0
TIMEOUT: Final = 5.0
PASSES: Final = 2
MOST_UPSTREAMS: Final = 15
MOST_AT_ONCE: Final = 1000
OVERLOADED: Final = "concurrent queries exceeded maximum"

REFUSED_MEMORY: Final = 1.0
"""How long a refusal is remembered, seconds: the kernel reports only one per second."""
REFUSED_TIMEOUT: Final = 0.2
"""How long one waits in that time for a server that may have come back."""


def setup(stanza: Stanza, site: Site) -> Plugin:
    """Return what asks others: ``forward FROM TO... {...}``."""
    _, *targets = stanza.arguments_of(least=2)
    most_at_once = MOST_AT_ONCE

    def max_concurrent(line: Line) -> None:
        nonlocal most_at_once
        (text,) = stanza.arguments_of(line, least=1, most=1)
        most_at_once = stanza.number(text, line)

    stanza.options({"max_concurrent": max_concurrent})
    upstreams: list[Upstream] = []
    for target in targets:
        try:
            upstreams.append(parse_upstream(target))
        except ValueError:
            try:
                upstreams.extend(resolv_conf_upstreams((site.process.corefile.parent / target).read_text()))
            except (OSError, ValueError) as error:
                raise stanza.error(f"not an IP address or file: '{target}' ({error})") from None
    return Forward(
        upstreams,
        clock=site.process.clock,
        dice=site.process.dice,
        exchanges=site.process.metrics,
        most_at_once=most_at_once,
    )


@dataclass(frozen=True, slots=True)
class Upstream:
    """A server to ask."""

    address: str
    port: int = 53

    def __str__(self) -> str:
        return (
            f"[{self.address}]:{self.port}"
            if ":" in self.address
            else (f"{self.address}:{self.port}")
        )


class Exchanges(Protocol):
    """Who wants to know how each exchange with an upstream ended."""

    def exchanged(self, upstream: str, rcode: str, seconds: float) -> None:
        """Note one exchange; *rcode* is the reply's, or SERVFAIL."""
        ...

    def rejected(self) -> None:
        """Note a query refused because too many are under way."""
        ...


def parse_upstream(text: str, *, lowest_port: int = 1) -> Upstream:
    """Return the server that ADDRESS, ADDRESS:PORT or [ADDRESS]:PORT names; raises ValueError."""
    address, port = text, "53"
    if text.startswith("["):
        address, _, port = text[1:].partition("]")
        port = port.removeprefix(":") or "53"
    elif text.count(":") == 1:
        address, _, port = text.partition(":")
    if not port.isdigit() or not lowest_port <= int(port) < 65536:
        raise ValueError(f"{text}: no port number")
    return Upstream(str(ip_address(address)), int(port))


def resolv_conf_upstreams(text: str) -> tuple[Upstream, ...]:
    """Return the servers of a resolv.conf; search and options do not count."""
    words = (line.split() for line in text.splitlines())
    found = [parse_upstream(w[1]) for w in words if len(w) > 1 and w[0] == "nameserver"]
    return tuple(found[:MOST_UPSTREAMS])


class Forward(Plugin):
    """Asks one of the *upstreams*, the next one when it fails, all of them twice at most."""

    name = "forward"

    def __init__(
        self,
        upstreams: Sequence[Upstream],
        *,
        clock: Clock,
        dice: Random,
        exchanges: Exchanges | None = None,
        most_at_once: int = MOST_AT_ONCE,
    ) -> None:
        self._upstreams = tuple(upstreams)
        self._clock = clock
        self._dice = dice
        self._exchanges = exchanges
        self._most_at_once = most_at_once
        self._under_way = 0
        self._refused: dict[Upstream, float] = {}

    async def serve(self, request: Request, rest: Link) -> Reply:
        """Return an upstream's reply; SERVFAIL when none can be had, REFUSED when overloaded."""
        del rest
        await waiting()
        if self._under_way >= self._most_at_once:
            if self._exchanges:
                self._exchanges.rejected()
            return Reply(rcode=Rcode.REFUSED, by=self.name, error=OVERLOADED)
        self._under_way += 1
        try:
            return replace(await self._ask_all(request), by=self.name)
        finally:
            self._under_way -= 1

    async def _ask_all(self, request: Request) -> Reply:
        order = self._dice.sample(self._upstreams, len(self._upstreams))
        failure = "no upstream is known"
        deadline = self._clock.monotonic() + TIMEOUT
        for upstream in order * PASSES:
            left = deadline - self._clock.monotonic()
            if left <= 0:
                break
            began = self._clock.monotonic()
            reply = await self._ask(request, upstream, min(left, self._patience(upstream)))
            if self._exchanges:
                took = self._clock.monotonic() - began
                self._exchanges.exchanged(str(upstream), rcode_name(reply.rcode), took)
            if not reply.error:
                return reply
            failure = reply.error
        return Reply(rcode=Rcode.SERVFAIL, error=failure)

    def _patience(self, upstream: Upstream) -> float:
        refused = self._refused.get(upstream)
        if refused is not None and self._clock.monotonic() - refused < REFUSED_MEMORY:
            return REFUSED_TIMEOUT
        return TRY_TIMEOUT

    async def _ask(self, request: Request, upstream: Upstream, patience: float) -> Reply:
        proto = request.transport
        ident = self._dice.getrandbits(16).to_bytes(2, "big")
        packet = ident + request.query.packet[2:]
        family = socket.AF_INET6 if ":" in upstream.address else socket.AF_INET
        kind = socket.SOCK_STREAM if proto == "tcp" else socket.SOCK_DGRAM
        step = "dial"
        own = ""
        try:
            with socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC) as sock:
                async with asyncio.timeout(patience):
                    await _connect(sock, upstream, proto)
                    own = f"{sock.getsockname()[0]}:{sock.getsockname()[1]}->"
                    step = "read"
                    exchange = _over_tcp if proto == "tcp" else _over_udp
                    raw = await exchange(sock, packet)
            self._refused.pop(upstream, None)
            return read_reply(raw, request.query)
        except TimeoutError:
            reason = "i/o timeout"
        except UnreadableReplyError as error:
            reason = str(error)
        except EOFError:
            reason = "EOF"
        except OSError as error:
            reason = f"{os.strerror(error.errno).lower() if error.errno else error}"
            if error.errno in (errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH):
                self._refused[upstream] = self._clock.monotonic()
        return Reply(rcode=Rcode.SERVFAIL, error=f"{step} {proto} {own}{upstream}: {reason}")


async def _connect(sock: socket.socket, upstream: Upstream, proto: Transport) -> None:
    if proto == "tcp":
        await asyncio.get_running_loop().sock_connect(sock, (upstream.address, upstream.port))
    else:
        # A connected datagram socket gets the kernel's errors, and replies from nobody else.
        sock.connect((upstream.address, upstream.port))


async def _over_udp(sock: socket.socket, packet: bytes) -> bytes:
    loop = asyncio.get_running_loop()
    sock.send(packet)
    while True:
        raw = await _readable(loop, sock, lambda: sock.recv(65535))
        if raw[:2] == packet[:2] and len(raw) >= HEADER:
            return raw


async def _over_tcp(sock: socket.socket, packet: bytes) -> bytes:
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(sock, struct.pack("!H", len(packet)) + packet)
    buffer = bytearray()
    while len(buffer) < 2 or len(buffer) < 2 + (buffer[0] << 8 | buffer[1]):
        chunk = await loop.sock_recv(sock, 65537)
        if not chunk:
            raise EOFError
        buffer += chunk
    raw = bytes(buffer[2 : 2 + (buffer[0] << 8 | buffer[1])])
    if raw[:2] != packet[:2]:
        raise UnreadableReplyError("reply with another ID")
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
