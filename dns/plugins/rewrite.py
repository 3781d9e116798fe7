"""rewrite: asks the rest of the chain something else, and tells the client what it asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from podwire.dns.chain import Link, Plugin, Request
from podwire.dns.corefile.corefile import Line
from podwire.dns.corefile.stanza import Stanza
from podwire.dns.messages.message import Kind, Question, Rcode, Record, Reply
from podwire.dns.messages.names import absolute
from podwire.dns.messages.wire import asked_again
from podwire.dns.messages.writer import UnwritableReplyError
from podwire.dns.parts.rewrite_rules import rule_of
from podwire.dns.parts.rewriting import Aliases, Asked, Rule, Way, led_back
from podwire.dns.site import Lookup, Site


def setup(stanzas: Sequence[Stanza], site: Site) -> Plugin:
    """Return the plugin: ``rewrite [stop|continue] RULE...``, one or more lines of it."""
    return Rewrite([parse(stanza) for stanza in stanzas], site.lookup)


def parse(stanza: Stanza) -> Rule:
    """Return the rule of one stanza. Raises CorefileError."""
    words = list(stanza.arguments)
    if len(words) < 2:
        # A rule may stand in braces, over several lines.
        words += [word for line in stanza.lines for word in _words(line)]
    elif stanza.lines:
        stanza.no_lines()
    try:
        return rule_of(words)
    except ValueError as error:
        raise stanza.error(str(error)) from None


class Rewrite(Plugin):
    """Applies the rules in the order of the Corefile until one that fits says stop."""

    name = "rewrite"

    def __init__(self, rules: Sequence[Rule], lookup: Lookup) -> None:
        self._rules = tuple(rules)
        self._lookup = lookup

    async def serve(self, request: Request, rest: Link) -> Reply:
        """Rewrite the question, pass it on, and rewrite what comes back."""
        query = request.query
        asked = first = Asked(query.question, query.edns)
        ways: list[Way] = []
        for rule in self._rules:
            found = rule.change(asked)
            if found is None:
                continue
            asked, back = found
            ways += back
            if not rule.goes_on:
                break
        inner = request
        if asked != first:
            try:
                inner = replace(request, query=asked_again(query, asked.question, asked.edns))
            except UnwritableReplyError:
                return Reply(
                    rcode=Rcode.SERVFAIL,
                    error=f"invalid name after rewrite: {asked.question.name}",
                )
        reply = await rest(inner)
        if not ways:
            return reply
        reply = led_back(reply, ways)
        for way in ways:
            if isinstance(way, Aliases):
                reply = await self._elsewhere(reply, way, request)
        return reply

    async def _elsewhere(self, reply: Reply, way: Aliases, request: Request) -> Reply:
        """Return *reply* with the first alias that fits leading where *way* says."""
        answer: list[Record] = []
        for record in reply.answer:
            if record.kind != Kind.CNAME or not isinstance(record.data, str):
                continue
            target = way.target(record.data)
            if target == record.data:
                answer.append(record)
                continue
            question = Question(absolute(target), request.query.question.kind)
            found = await self._lookup(question, request)
            answer += [replace(record, data=question.name), *found.answer]
            return replace(reply, answer=tuple(answer), truncated=found.truncated, lasting=False)
        return reply


def _words(line: Line) -> list[str]:
    return [*line.words, *(word for inner in line.lines for word in _words(inner))]
