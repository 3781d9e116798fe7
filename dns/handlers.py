"""The small handlers: kubernetes, loadbalance, errors. Cache and forward have their own files."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace

from podwire.dns.answer import Options, answer, joined
from podwire.dns.chain import Link, Request
from podwire.dns.message import Kind, Question, Rcode, Reply, kind_name
from podwire.dns.records import Table

Lookup = Callable[[Question, Request], Awaitable[Reply]]
"""Answers a question of our own through the server's front door."""

log = logging.getLogger("podwire.dns")


class Kubernetes:
    """Answers from the table; names of other zones, and those that fall through, go on."""

    name = "kubernetes"

    def __init__(self, table: Table, options: Options, lookup: Lookup) -> None:
        self._table = table
        self._options = options
        self._lookup = lookup

    async def serve(self, request: Request, rest: Link) -> Reply:
        """Answer from the table, following an alias that leads out of it."""
        question = request.query.question
        reply = answer(question, self._table, self._options)
        if reply is None:
            return await rest(request)
        if reply.follow:
            target = await self._lookup(Question(reply.follow, question.kind), request)
            reply = joined(reply, target)
        return replace(reply, by=self.name)


class LoadBalance:
    """Has the addresses of each reply shuffled when it is written."""

    name = "loadbalance"

    async def serve(self, request: Request, rest: Link) -> Reply:
        """Mark what comes back to be dealt."""
        reply = await rest(request)
        kind = request.query.question.kind
        if reply.rcode != Rcode.NOERROR or kind in (Kind.AXFR, Kind.IXFR):
            return reply
        return replace(reply, dealt=True)


class Errors:
    """Writes a line for each reply that carries an error."""

    name = "errors"

    async def serve(self, request: Request, rest: Link) -> Reply:
        """Log what went wrong behind us."""
        reply = await rest(request)
        if reply.error:
            question = request.query.question
            log.error(
                "plugin/errors: %d %s %s: %s",
                reply.rcode,
                question.name,
                kind_name(question.kind),
                reply.error,
            )
        return reply
