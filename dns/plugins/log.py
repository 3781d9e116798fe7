"""log: a line for each query that was answered, or for those of one class."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from podwire.dns.chain import Link, Plugin, Request
from podwire.dns.corefile.corefile import Line
from podwire.dns.corefile.stanza import Stanza
from podwire.dns.messages.message import Reply
from podwire.dns.messages.names import absolute, within
from podwire.dns.parts.log_format import COMBINED, COMMON, Exchange, LogFormat, reply_class
from podwire.dns.site import Site

CLASSES: Final = ("all", "denial", "error", "success")

log = logging.getLogger("podwire.dns")


@dataclass(frozen=True, slots=True)
class Rule:
    """Which queries are logged, and how; the first rule whose *scope* holds a name decides."""

    scope: str
    format: LogFormat
    classes: frozenset[str]

    def wants(self, class_: str) -> bool:
        """Return whether replies of that class are logged."""
        return "all" in self.classes or class_ in self.classes


def setup(stanzas: Sequence[Stanza], site: Site) -> Plugin:
    """Return the plugin: ``log [NAMES...] [FORMAT] { class CLASSES... }``."""
    rules = [rule for stanza in stanzas for rule in rules_of(stanza)]
    return Log(rules, site.listens[0] if site.listens else "")


def rules_of(stanza: Stanza) -> list[Rule]:
    """Return the rules of one stanza. Raises CorefileError."""
    scopes, form = list(stanza.arguments), COMMON
    if scopes and "{" in scopes[-1]:
        form = scopes.pop().replace("{common}", COMMON).replace("{combined}", COMBINED)
        if not scopes:
            raise stanza.error("a format needs names in front of it; the dot is every name")
    classes: set[str] = set()

    def take(line: Line) -> None:
        for class_ in stanza.arguments_of(line, least=1):
            if class_ not in CLASSES:
                raise stanza.error(
                    f"invalid Class: {class_}; known are: {', '.join(CLASSES)}", line
                )
            classes.add(class_)

    stanza.options({"class": take})
    return [
        Rule(absolute(scope), LogFormat(form), frozenset(classes or ("all",)))
        for scope in scopes or ["."]
    ]


class Log(Plugin):
    """Writes lines as replies leave; what is logged passes here each time."""

    name = "log"

    def __init__(self, rules: Sequence[Rule], local: str = "") -> None:
        self._rules = tuple(rules)
        self._local = local

    async def serve(self, request: Request, rest: Link) -> Reply:
        """Pass on; have the reply logged if a rule wants that."""
        question = request.query.question
        reply = await rest(request)
        for rule in self._rules:
            if not within(question.name, rule.scope):
                continue
            if not rule.wants(reply_class(reply, question.kind)):
                return reply

            def sent(message: bytes, seconds: float, rule: Rule = rule) -> None:
                log.info(
                    "%s",
                    rule.format.line(Exchange(request, reply, message, seconds, self._local)),
                )

            return replace(reply, sent=sent, lasting=False)
        return reply
