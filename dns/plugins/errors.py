"""errors: a line in the log for each reply that carries an error, or one for many of a kind."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from podwire.dns.chain import Link, Plugin, Request
from podwire.dns.corefile.corefile import Line
from podwire.dns.corefile.stanza import Stanza
from podwire.dns.messages.message import Reply, kind_name
from podwire.dns.parts.patterns import Pattern, pattern
from podwire.dns.site import Site
from podwire.kube.durations import written

LEVELS: Final = {
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "info": logging.INFO,
    "debug": logging.DEBUG,
}
SHOW_FIRST: Final = "show_first"

log = logging.getLogger("podwire.dns")


@dataclass(slots=True, eq=False)
class Consolidated:
    """Errors that fit *pattern*: counted for *period* seconds, then told of in one line."""

    period: float
    pattern: Pattern
    pattern_text: str
    level: int = logging.ERROR
    is_first_shown: bool = False
    count: int = 0
    timer: asyncio.TimerHandle | None = field(default=None, repr=False)

    def take(self) -> bool:
        """Count one; return whether it is told of later, and not now."""
        self.count += 1
        if self.count > 1:
            return True
        self.timer = asyncio.get_running_loop().call_later(self.period, self.tell)
        return not self.is_first_shown

    def tell(self) -> None:
        """Tell of what was counted, and begin anew."""
        if self.timer is not None:
            self.timer.cancel()
        count, self.count, self.timer = self.count, 0, None
        if count > 1 or (count and not self.is_first_shown):
            log.log(
                self.level,
                "plugin/errors: %d errors like '%s' occurred in last %s",
                count,
                self.pattern_text,
                written(self.period),
            )


def setup(stanza: Stanza, site: Site) -> Plugin:
    """Return the plugin: ``errors [stdout] { stacktrace; consolidate DURATION REGEXP ... }``."""
    del site
    for word in stanza.arguments_of(most=1):
        if word != "stdout":
            raise stanza.error(f"invalid log file: {word}; known is: stdout")
    consolidated: list[Consolidated] = []

    def stacktrace(line: Line) -> None:
        # A bug's trace is always in the log here.
        stanza.arguments_of(line, most=0)

    stanza.options(
        {
            "stacktrace": stacktrace,
            "consolidate": lambda line: consolidated.append(_consolidated(stanza, line)),
        }
    )
    return Errors(consolidated)


class Errors(Plugin):
    """Logs what went wrong behind it."""

    name = "errors"

    def __init__(self, consolidated: Sequence[Consolidated] = ()) -> None:
        self._consolidated = tuple(consolidated)

    @asynccontextmanager
    async def run(self) -> AsyncGenerator[None]:
        """Tell at the end of what was counted till then."""
        try:
            yield
        finally:
            for one in self._consolidated:
                one.tell()

    async def serve(self, request: Request, rest: Link) -> Reply:
        """Pass on; log the error of what comes back."""
        reply = await rest(request)
        if reply.error:
            self._log(request, reply)
        return reply

    def _log(self, request: Request, reply: Reply) -> None:
        level = logging.ERROR
        for one in self._consolidated:
            if one.pattern.search(reply.error):
                if one.take():
                    return
                level = one.level
                break
        question = request.query.question
        log.log(
            level,
            "plugin/errors: %d %s %s: %s",
            reply.rcode,
            question.name.lower(),
            kind_name(question.kind),
            reply.error,
        )


def _consolidated(stanza: Stanza, line: Line) -> Consolidated:
    period, text, *options = stanza.arguments_of(line, least=2, most=4)
    try:
        compiled = pattern(text)
    except ValueError as error:
        raise stanza.error(str(error), line) from None
    made = Consolidated(stanza.duration(period, line), compiled, text)
    has_level = False
    for option in options:
        if option in LEVELS:
            if has_level:
                raise stanza.error("multiple log levels specified in consolidate", line)
            if made.is_first_shown:
                raise stanza.error("log level must come before show_first in consolidate", line)
            made.level, has_level = LEVELS[option], True
        elif option == SHOW_FIRST:
            made.is_first_shown = True
        else:
            raise stanza.error(
                f"unknown option in consolidate: {option}; known are: "
                f"{', '.join((*LEVELS, SHOW_FIRST))}",
                line,
            )
    return made
