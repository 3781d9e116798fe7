"""forward: asks upstream servers what this server does not know itself."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from random import Random
from typing import Final

from podwire.dns.chain import Link, Plugin, Request, waiting
from podwire.dns.corefile.stanza import Stanza
from podwire.dns.messages.message import Rcode, Reply
from podwire.dns.parts.forward_options import ForwardOptions, parse
from podwire.dns.parts.peer import Peer
from podwire.dns.parts.upstream import ExchangeError
from podwire.dns.serving.background import Background
from podwire.dns.serving.metrics import Counters, Metrics
from podwire.dns.site import Site
from podwire.kube.clock import Clock

TIMEOUT: Final = 5.0
"""Seconds for all tries together."""

BROKEN: Final = Counters(
    "coredns_forward_healthcheck_broken_total",
    "Counter of the number of complete failures of the healthchecks.",
)
REJECTS: Final = Counters(
    "coredns_forward_max_concurrent_rejects_total",
    "Counter of the number of queries rejected because the concurrent queries were at maximum.",
)


def setup(stanza: Stanza, site: Site) -> Plugin:
    """Return what asks others: ``forward FROM TO... {...}``."""
    process = site.process
    return Forward(
        parse(stanza, site.folder),
        clock=process.clock,
        dice=process.dice,
        metrics=process.metrics,
        siblings=site.siblings,
    )


class Forward(Plugin):
    """Asks one of the upstreams, and another one when it fails.

    *siblings* are all plugins of the server block: a cache before this wants to know what was
    checked, and another forward behind this takes what this one's `next` says.
    """

    name = "forward"

    def __init__(
        self,
        options: ForwardOptions,
        *,
        clock: Clock,
        dice: Random,
        metrics: Metrics | None = None,
        siblings: Sequence[Plugin] = (),
    ) -> None:
        metrics = metrics or Metrics()
        self._options = options
        self._clock = clock
        self._dice = dice
        self._siblings = siblings
        self._background = Background(self.name)
        self._broken = metrics.counter(BROKEN)
        self._rejects = metrics.counter(REJECTS)
        self._peers = [Peer(one, options, clock, dice, metrics) for one in options.upstreams]
        self._turn = 0
        self._under_way = 0

    @asynccontextmanager
    async def run(self) -> AsyncGenerator[None]:
        """Let health checks run, and keep connections."""
        for peer in self._peers:
            peer.channel.open()
        try:
            async with self._background.open():
                yield
        finally:
            for peer in self._peers:
                peer.channel.close()

    async def serve(self, request: Request, rest: Link) -> Reply:
        """Return an upstream's reply; SERVFAIL when none can be had, REFUSED when overloaded."""
        options = self._options
        if not options.concerns(request.query.question.name.lower()):
            return await rest(request)
        most = options.max_concurrent
        if most and self._under_way >= most:
            self._rejects.value += 1
            error = f"concurrent queries exceeded maximum {most}"
            return Reply(rcode=Rcode.REFUSED, by=self.name, error=error)
        await waiting()
        self._under_way += 1
        try:
            reply = await self._ask(request)
            if self._is_for_next(reply):
                return await rest(request)
        finally:
            self._under_way -= 1
        return replace(reply, by=self.name)

    async def _ask(self, request: Request) -> Reply:
        """Return the reply of the first upstream that has one."""
        options, clock = self._options, self._clock
        order = self._in_order()
        most = 2 * len(order) if options.max_attempts is None else options.max_attempts
        deadline = clock.monotonic() + TIMEOUT
        failure = "no healthy proxies"
        at = down = attempts = failovers = 0
        while (left := deadline - clock.monotonic()) > 0 and not (most and attempts >= most):
            if at >= len(order):
                at = down = 0
            peer = order[at]
            at += 1
            if peer.is_down:
                down += 1
                if down < len(order):
                    continue
                self._broken.value += 1
                if options.fails_fast:
                    break
                # All of them down: rather the checks are broken than all servers.
                peer = self._dice.choice(order)
            try:
                reply = await peer.ask(request, left, wants_ad=self._is_behind_cache)
            except ExchangeError as error:
                failure = str(error)
                if options.max_fails:
                    self._check(peer)
                attempts += 1
                if down >= len(order):
                    break
                continue
            if reply.rcode in options.failover_codes:
                failovers += 1
                if failovers < len(order):
                    continue
            return reply
        return Reply(rcode=Rcode.SERVFAIL, error=failure)

    def _in_order(self) -> list[Peer]:
        """Return the upstreams as they shall be tried for one request."""
        peers = self._peers
        match self._options.policy:
            case "random":
                return self._dice.sample(peers, len(peers)) if len(peers) > 1 else peers
            case "round_robin":
                self._turn = (self._turn + 1) % len(peers)
                at = self._turn
                return [peers[at], *peers[:at], *peers[at + 1 :]]
            case "sequential":
                return peers

    def _check(self, peer: Peer) -> None:
        """Ask *peer* until it replies, if that is not being done."""
        if not peer.is_checked:
            peer.is_checked = True
            if not self._background.start(peer.check()):
                peer.is_checked = False

    def _is_for_next(self, reply: Reply) -> bool:
        options = self._options
        if not options.next_codes and not options.next_on_nodata:
            return False
        is_nodata = reply.rcode == Rcode.NOERROR and not reply.answer and not reply.error
        if reply.error or not (
            reply.rcode in options.next_codes or (options.next_on_nodata and is_nodata)
        ):
            return False
        behind = self._siblings[self._siblings.index(self) + 1 :]
        return bool(behind) and isinstance(behind[0], Forward)

    @property
    def _is_behind_cache(self) -> bool:
        return any(plugin.name == "cache" for plugin in self._siblings)
