"""The way in: bytes of a request -> bytes of its reply, whichever socket they came by.

A reply that stays right until the table changes is kept under the bytes of its request (the ID
apart), so most requests cost a dictionary look-up; the addresses in it are shuffled all the same.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

from podwire.dns.chain import Block, Request, choose
from podwire.dns.message import (
    Question,
    Rcode,
    Reply,
    Transport,
    kind_name,
    rcode_name,
)
from podwire.dns.metrics import Metrics, Series
from podwire.dns.query import AA, CD, HEADER, RA, RD, TC, Query, Rejection, screen
from podwire.dns.wire import (
    LARGEST_TCP,
    UnwritableReplyError,
    Written,
    deal,
    question_packet,
    reject,
    udp_limit,
    write,
)
from podwire.kube.clock import Clock

MOST_KEPT: Final = 4096
LARGEST_KEPT: Final = 2048
LONGEST_KEPT_REQUEST: Final = 300
DEEPEST: Final = 8
"""How many look-ups may be nested in one request: two zones may alias each other in a ring."""

log = logging.getLogger("podwire.dns")


@dataclass(frozen=True, slots=True)
class _Kept:
    written: Written
    series: Series
    size: int
    query: Query
    rcode: int


class FrontDoor:
    """Answers requests through the server *blocks*; *revision* changes when kept replies go bad.

    With *is_logging* each request has a line in the log, in CoreDNS's form.
    """

    def __init__(
        self,
        *,
        revision: Callable[[], int],
        clock: Clock,
        dice: Random,
        metrics: Metrics,
        is_logging: bool = False,
    ) -> None:
        self._blocks: tuple[Block, ...] = ()
        self._revision = revision
        self._clock = clock
        self._dice = dice
        self._metrics = metrics
        self._is_logging = is_logging
        self._kept: dict[Transport, dict[bytes, _Kept]] = {"udp": {}, "tcp": {}}
        self._kept_at = -1

    def open(self, blocks: Sequence[Block]) -> None:
        """Serve these blocks from now on. They may hold handlers that ask this very door."""
        self._blocks = tuple(blocks)
        self._forget()

    def answer_kept(
        self, packet: bytes, client: tuple[str, int], transport: Transport
    ) -> bytes | None:
        """Return the reply if one is kept for such a request, else None."""
        if self._revision() != self._kept_at:
            self._forget()
        kept = self._kept[transport].get(packet[2:])
        if kept is None:
            return None
        began = self._clock.monotonic()
        reply = deal(kept.written, packet[:2], self._dice.shuffle)
        took = self._clock.monotonic() - began
        kept.series.count(len(packet), kept.size, took)
        if self._is_logging:
            self._log(kept.query, client, transport, packet, reply, kept.rcode, took)
        return reply

    async def answer(
        self, packet: bytes, client: tuple[str, int], transport: Transport
    ) -> bytes | None:
        """Return the reply to *packet*, or None when it deserves none. Never raises."""
        began = self._clock.monotonic()
        screened = screen(packet)
        if screened is None:
            return None
        if isinstance(screened, Rejection):
            return reject(screened)
        # What is made now from the table of now must not be kept for the table of later.
        revision = self._revision()
        request = Request(screened, client, transport)
        reply, zone = await self._resolve(request)
        limit = udp_limit(screened) if transport == "udp" else LARGEST_TCP
        try:
            written = write(screened, reply, limit, self._dice.shuffle)
        except UnwritableReplyError as error:
            log.error("plugin/errors: %d %s", Rcode.SERVFAIL, error)
            reply = Reply(rcode=Rcode.SERVFAIL)
            written = write(screened, reply, limit, self._dice.shuffle)
        message = written.message
        took = self._clock.monotonic() - began
        series = self._metrics.series(request, reply, zone)
        series.count(len(packet), len(message), took)
        if self._is_logging:
            self._log(screened, client, transport, packet, message, reply.rcode, took)
        if reply.lasting and written.can_be_dealt and revision == self._revision():
            kept = _Kept(written, series, len(message), screened, reply.rcode)
            self._keep(packet, transport, kept)
        return message

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

    async def _resolve(self, request: Request) -> tuple[Reply, str]:
        question = request.query.question
        chosen = choose(self._blocks, question.name, question.kind)
        if chosen is None:
            return Reply(rcode=Rcode.REFUSED, lasting=True), "dropped"
        block, zone = chosen
        try:
            return await block.link(request), zone
        except Exception:
            # A bug in a handler must not silence the server.
            self._metrics.panics.value += 1
            log.exception("plugin/errors: bug met by %s %s", question.name, question.kind)
            return Reply(rcode=Rcode.SERVFAIL), zone

    def _keep(self, packet: bytes, transport: Transport, kept: _Kept) -> None:
        edns = kept.query.edns
        if len(packet) > LONGEST_KEPT_REQUEST or kept.size > LARGEST_KEPT:
            return
        if edns is not None and edns.options:
            # A cookie makes each request another one.
            return
        store = self._kept[transport]
        if len(store) >= MOST_KEPT:
            store.clear()
        store[packet[2:]] = kept

    def _forget(self) -> None:
        self._kept_at = self._revision()
        for store in self._kept.values():
            store.clear()

    def _log(
        self,
        query: Query,
        client: tuple[str, int],
        transport: Transport,
        packet: bytes,
        reply: bytes,
        rcode: int,
        took: float,
    ) -> None:
        edns = query.edns
        host = f"[{client[0]}]" if ":" in client[0] else client[0]
        log.info(
            '%s:%d - %d "%s IN %s %s %d %s %d" %s %s %d %ss',
            host,
            client[1],
            int.from_bytes(packet[:2], "big"),
            kind_name(query.question.kind),
            query.question.name.lower(),
            transport,
            len(packet),
            str(edns is not None and edns.dnssec_ok).lower(),
            edns.size if edns is not None else 512 if transport == "udp" else LARGEST_TCP,
            rcode_name(rcode),
            _flags(reply),
            len(reply),
            f"{took:.9f}",
        )


def _flags(reply: bytes) -> str:
    flags = reply[2] << 8 | reply[3] if len(reply) >= HEADER else 0
    known = {"aa": AA, "tc": TC, "rd": RD, "ra": RA, "ad": 0x20, "cd": CD}
    return ",".join(["qr", *(name for name, bit in known.items() if flags & bit)])
