"""One upstream server of a forward plugin: asked, checked, and counted."""

from __future__ import annotations

import asyncio
import struct
from random import Random
from typing import Final

from podwire.dns.chain import Request
from podwire.dns.messages.message import Kind, Question, Reply, Transport, rcode_name
from podwire.dns.messages.query import AD, RD
from podwire.dns.messages.wire import UnreadableReplyError, question_packet, read_reply
from podwire.dns.parts.forward_options import ForwardOptions
from podwire.dns.parts.upstream import Channel, ExchangeError, Upstream
from podwire.dns.serving.metrics import Counter, Counters, Histogram, Histograms, Metrics
from podwire.kube.clock import Clock

HEALTH_TIMEOUT: Final = 1.0

_PROXY: Final = ("proxy_name", "to")
DURATION: Final = Histograms(
    "coredns_proxy_request_duration_seconds",
    "Histogram of the time each request took.",
    (*_PROXY, "rcode"),
)
HEALTH_FAILURES: Final = Counters(
    "coredns_proxy_healthcheck_failures_total",
    "Counter of the number of failed healthchecks.",
    _PROXY,
)
REUSED: Final = Counters(
    "coredns_proxy_conn_cache_hits_total",
    "Counter of connection cache hits per upstream and protocol.",
    (*_PROXY, "proto"),
)
OPENED: Final = Counters(
    "coredns_proxy_conn_cache_misses_total",
    "Counter of connection cache misses per upstream and protocol.",
    (*_PROXY, "proto"),
)


class Peer:
    """An upstream, how it fares, and what is counted of it."""

    def __init__(
        self,
        upstream: Upstream,
        options: ForwardOptions,
        clock: Clock,
        dice: Random,
        metrics: Metrics,
    ) -> None:
        self._options = options
        self._clock = clock
        self._dice = dice
        self._metrics = metrics
        self._labels = ("forward", str(upstream))
        self._failures = metrics.counter(HEALTH_FAILURES, *self._labels)
        self._durations: dict[int, Histogram] = {}
        self._ways: dict[tuple[Counters, Transport], Counter] = {}
        self._fails = 0
        self.is_checked = False
        self.channel = Channel(
            upstream,
            options.connecting,
            clock,
            reused=lambda proto: self._count(REUSED, proto),
            opened=lambda proto: self._count(OPENED, proto),
        )

    @property
    def is_down(self) -> bool:
        """Return whether more health checks failed in a row than may."""
        most = self._options.max_fails
        return bool(most) and self._fails > most

    async def ask(self, request: Request, left: float, *, wants_ad: bool) -> Reply:
        """Return the reply to *request*, to be had within *left* seconds; raises ExchangeError."""
        options = self._options
        transport: Transport = "udp" if options.prefer_udp else request.transport
        if options.force_tcp:
            transport = "tcp"
        began = self._clock.monotonic()
        packet = self._packet(request, wants_ad=wants_ad)
        patience = min(left, options.read_timeout)
        reply = await self._exchanged(packet, request, transport, patience)
        if reply.truncated and transport == "udp" and options.prefer_udp:
            reply = await self._exchanged(packet, request, "tcp", patience)
        took = self._clock.monotonic() - began
        duration = self._durations.get(reply.rcode)
        if duration is None:
            labels = (*self._labels, rcode_name(reply.rcode))
            duration = self._durations[reply.rcode] = self._metrics.histogram(DURATION, *labels)
        duration.add(took)
        return reply

    async def check(self) -> None:
        """Ask until there is a reply, whatever it says."""
        health = self._options.health
        transport: Transport = "tcp" if self._options.force_tcp else "udp"
        try:
            while True:
                ident = self._dice.getrandbits(16)
                packet = bytearray(question_packet(ident, Question(health.domain, Kind.NS)))
                if not health.wants_recursion:
                    packet[2] &= ~(RD >> 8) & 0xFF
                try:
                    await self.channel.exchange(bytes(packet), transport, HEALTH_TIMEOUT)
                except ExchangeError:
                    self._fails += 1
                    self._failures.value += 1
                else:
                    self._fails = 0
                    return
                await asyncio.sleep(health.interval)
        finally:
            self.is_checked = False

    async def _exchanged(
        self, packet: bytes, request: Request, transport: Transport, patience: float
    ) -> Reply:
        raw = await self.channel.exchange(packet, transport, patience)
        try:
            return read_reply(raw, request.query)
        except UnreadableReplyError as error:
            raise ExchangeError(f"read {transport} {self._labels[1]}: {error}") from error

    def _packet(self, request: Request, *, wants_ad: bool) -> bytes:
        """Return the request with an ID of our own."""
        ident = self._dice.getrandbits(16)
        (flags,) = struct.unpack_from("!H", request.query.packet, 2)
        flags |= AD if wants_ad else 0
        return struct.pack("!2H", ident, flags) + request.query.packet[4:]

    def _count(self, family: Counters, transport: Transport) -> None:
        counter = self._ways.get((family, transport))
        if counter is None:
            counter = self._metrics.counter(family, *self._labels, transport)
            self._ways[family, transport] = counter
        counter.value += 1
