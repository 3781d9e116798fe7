"""k8s_external: Services under names for clients outside of the cluster."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final

from podwire.dns.chain import Link, Plugin, Request
from podwire.dns.cluster.external_names import ExternalOptions, external_answer, outside_targets
from podwire.dns.corefile.corefile import Line
from podwire.dns.corefile.stanza import Stanza
from podwire.dns.messages.message import Kind, Question, Record, Reply
from podwire.dns.plugins.kubernetes import Kubernetes
from podwire.dns.site import Site

LONGEST_TTL: Final = 3600


def setup(stanza: Stanza, site: Site) -> Plugin:
    """Return the plugin: ``k8s_external [ZONES...] { apex; ttl; headless; fallthrough }``."""
    return External(stanza, parse(stanza), site)


def parse(stanza: Stanza) -> ExternalOptions:
    """Return what the stanza says. Raises CorefileError."""
    options = ExternalOptions(zones=stanza.zones_or_block(stanza.arguments))

    def ttl(line: Line) -> None:
        nonlocal options
        text, *_ = stanza.arguments_of(line, least=1)
        seconds = stanza.number(text, line, lowest=-(2**31))
        if not 0 <= seconds <= LONGEST_TTL:
            raise stanza.error(f"ttl must be in range [0, {LONGEST_TTL}]: {seconds}", line)
        options = replace(options, ttl=seconds)

    def apex(line: Line) -> None:
        nonlocal options
        label, *_ = stanza.arguments_of(line, least=1)
        options = replace(options, apex=label.lower())

    def headless(line: Line) -> None:
        nonlocal options
        stanza.arguments_of(line, most=0)
        options = replace(options, headless=True)

    def fallthrough(line: Line) -> None:
        nonlocal options
        options = replace(options, fallthrough=stanza.fallthrough(line))

    stanza.options({"ttl": ttl, "apex": apex, "headless": headless, "fallthrough": fallthrough})
    return options


class External(Plugin):
    """Answers from the table of the kubernetes plugin in the same block."""

    name = "k8s_external"

    def __init__(self, stanza: Stanza, options: ExternalOptions, site: Site) -> None:
        self._stanza = stanza
        self._options = options
        self._site = site
        self._cluster: Kubernetes | None = None

    @asynccontextmanager
    async def run(self) -> AsyncGenerator[None]:
        """Find the kubernetes plugin. Raises CorefileError when there is none."""
        self._kubernetes()
        yield

    async def serve(self, request: Request, rest: Link) -> Reply:
        """Answer from the table, with what host names of load balancers lead to."""
        cluster = self._kubernetes()
        question = request.query.question
        reply = external_answer(question, cluster.table, self._options, cluster.options)
        if reply is None:
            return await rest(request)
        if reply.follow:
            target = await self._site.lookup(Question(reply.follow, question.kind), request)
            reply = replace(
                reply,
                answer=reply.answer + target.answer,
                truncated=target.truncated,
                follow="",
                lasting=False,
            )
        found: list[Record] = []
        for name in outside_targets(reply, self._options):
            for kind in (Kind.A, Kind.AAAA):
                found += (await self._site.lookup(Question(name, kind), request)).answer
        if found:
            reply = replace(reply, additional=(*reply.additional, *found), lasting=False)
        return reply

    def _kubernetes(self) -> Kubernetes:
        if self._cluster is None:
            for plugin in self._site.siblings:
                if isinstance(plugin, Kubernetes):
                    self._cluster = plugin
                    return plugin
            raise self._stanza.error("k8s_external: kubernetes plugin not loaded in this block")
        return self._cluster
