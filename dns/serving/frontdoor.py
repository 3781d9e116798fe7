"""The way in: bytes of a request -> bytes of its reply, whichever socket they came by.

A reply that stays right until the table changes is kept under the bytes of its request (the ID
apart), so most requests cost a dictionary look-up; the addresses in it are shuffled all the same.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from random import Random
from typing import Any, Final

from podwire.dns.chain import Block, Request, choose
from podwire.dns.messages.dealing import Written
from podwire.dns.messages.message import Question, Rcode, Reply, Transport
from podwire.dns.messages.query import Query, Rejection, screen
from podwire.dns.messages.wire import question_packet
from podwire.dns.messages.writer import (
    LARGEST_TCP,
    UnwritableReplyError,
    reject,
    transfer,
    udp_limit,
    write,
)
from podwire.dns.serving.replies import KeptReply, Store
from podwire.dns.serving.traffic import DROPPED, Traffic
from podwire.kube.clock import Clock

LONGEST_KEPT_REQUEST: Final = 300
DEEPEST: Final = 8
"""How many look-ups may be nested in one request: two zones may alias each other in a ring."""

log = logging.getLogger("podwire.dns")


class FrontDoor:
    """Answers requests through the server *blocks*; *revision* changes when kept replies go bad."""

    def __init__(
        self,
        *,
        revision: Callable[[], int],
        clock: Clock,
        dice: Random,
        traffic: Traffic,
    ) -> None:
        self._blocks: tuple[Block, ...] = ()
        self._revision = revision
        self._clock = clock
        self._random = dice.random
        self._traffic = traffic
        self._kept: dict[Transport, Store] = {
            "udp": Store(shuffle=self._shuffle, now=clock.monotonic),
            "tcp": Store(shuffle=self._shuffle, now=clock.monotonic),
        }
        self._lookups = {transport: store.reply for transport, store in self._kept.items()}
        self._kept_at = -1
        traffic.before_reading(self._settle)

    def open(self, blocks: Sequence[Block]) -> None:
        """Serve these blocks from now on. They may hold plugins that ask this very door."""
        self._blocks = tuple(blocks)
        self._traffic.show(
            zone
            for block in blocks
            if any(plugin.name == "prometheus" for plugin in block.plugins)
            for zone in block.zones
        )
        self._forget()

    def kept(self, transport: Transport) -> Callable[[bytes], bytes | None]:
        """Return what gives the reply that is kept for a request, or None; both without their IDs.

        It may be used until the loop's next turn: what was kept may be wrong then.
        """
        if self._revision() != self._kept_at:
            self._forget()
        return self._lookups[transport]

    async def answer(
        self, packet: bytes, client: tuple[str, int], transport: Transport
    ) -> Iterable[bytes]:
        """Return the reply to *packet*, nothing when it deserves none. Never raises.

        A zone transfer over TCP is several messages, which are written as they are taken.
        """
        began = self._clock.monotonic()
        screened = screen(packet)
        if screened is None:
            return ()
        if isinstance(screened, Rejection):
            return (self._answer_rejected(screened) or reject(screened),)
        # What is made now by the plugins of now, from the table of now, must not be kept for later.
        revision, blocks = self._revision(), self._blocks
        request = Request(screened, client, transport)
        reply, zone = await self._resolve(request)
        if reply.is_transfer and transport == "tcp":
            return self._transfer(packet, request, reply, zone, began)
        limit = _limit(screened, reply, transport)
        written, reply = self._written(screened, reply, limit)
        message = written.message
        took = self._clock.monotonic() - began
        series = self._traffic.series(request, reply, zone)
        series.count(len(packet), len(message), took)
        if reply.sent is not None:
            reply.sent(message, took)
        elif (
            reply.lasting
            and revision == self._revision()
            and blocks is self._blocks
            and _is_usual(packet, screened)
        ):
            store, key = self._kept[transport], packet[2:]
            if store.is_asked_again(key):
                kept = KeptReply(screened, reply, limit, written, series, len(packet))
                store.put(key, kept)
        return (message,)

    async def lookup(self, question: Question, request: Request) -> Reply:
        """Answer a question of our own, asked on behalf of *request*, by the same rules."""
        if request.depth >= DEEPEST:
            return Reply(rcode=Rcode.SERVFAIL, error="too many nested look-ups")
        try:
            inner = screen(question_packet(request.query.id, question))
        except UnwritableReplyError as error:
            return Reply(rcode=Rcode.SERVFAIL, error=str(error))
        if not isinstance(inner, Query):
            return Reply(rcode=Rcode.SERVFAIL)
        nested = Request(inner, request.client, request.transport, request.depth + 1)
        reply, _ = await self._resolve(nested)
        return reply

    def _answer_rejected(self, rejection: Rejection) -> bytes | None:
        for block in self._blocks:
            for plugin in block.plugins:
                reply = plugin.answer_rejected(rejection)
                if reply is not None:
                    return reply
        return None

    async def _resolve(self, request: Request) -> tuple[Reply, str]:
        question = request.query.question
        chosen = choose(self._blocks, question.name, question.kind)
        if chosen is None:
            return Reply(rcode=Rcode.REFUSED, lasting=True), DROPPED
        block, zone = chosen
        try:
            return await block.link(request), zone
        except Exception:
            # A bug in a handler must not silence the server.
            self._traffic.panics.value += 1
            log.exception("plugin/errors: bug met by %s %s", question.name, question.kind)
            return Reply(rcode=Rcode.SERVFAIL), zone

    def _written(self, query: Query, reply: Reply, limit: int) -> tuple[Written, Reply]:
        """Return *reply* as bytes, or SERVFAIL if it cannot be written."""
        try:
            return write(query, reply, limit, self._shuffle), reply
        except UnwritableReplyError as error:
            log.error("plugin/errors: %d %s", Rcode.SERVFAIL, error)
            reply = Reply(rcode=Rcode.SERVFAIL, by=reply.by, sent=reply.sent)
            return write(query, reply, limit, self._shuffle), reply

    def _transfer(
        self, packet: bytes, request: Request, reply: Reply, zone: str, began: float
    ) -> Iterator[bytes]:
        query = request.query
        size = 0
        message = b""
        try:
            for message in transfer(query, reply):
                size += len(message)
                yield message
        except UnwritableReplyError as error:
            log.error("plugin/errors: %d %s", Rcode.SERVFAIL, error)
            # An error ends a transfer wherever it is met (RFC 5936, 2.2).
            yield reject(Rejection(Rcode.SERVFAIL, query.id, query.flags, query))
        took = self._clock.monotonic() - began
        self._traffic.series(request, reply, zone).count(len(packet), size, took)
        if reply.sent is not None:
            reply.sent(message, took)

    def _shuffle(self, cards: list[Any]) -> None:
        # Several times as fast as Random.shuffle, which draws bits for each place.
        random = self._random
        cards.sort(key=lambda _: random())

    def _settle(self) -> None:
        for store in self._kept.values():
            store.settle()

    def _forget(self) -> None:
        self._kept_at = self._revision()
        for store in self._kept.values():
            store.clear()


def _limit(query: Query, reply: Reply, transport: Transport) -> int:
    """Return how many bytes a message may have."""
    if transport == "tcp":
        return LARGEST_TCP
    limit = udp_limit(query)
    return min(limit, reply.limit) if reply.limit else limit


def _is_usual(packet: bytes, query: Query) -> bool:
    """Return whether such a request may come again; a cookie makes each one another."""
    return len(packet) <= LONGEST_KEPT_REQUEST and (query.edns is None or not query.edns.options)
