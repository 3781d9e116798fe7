"""any: a minimal answer to those who ask for every type at once (RFC 8482)."""

from __future__ import annotations

from typing import Final

from podwire.dns.chain import Link, Plugin, Request
from podwire.dns.corefile.stanza import Stanza
from podwire.dns.messages.message import Kind, Opaque, Record, Reply
from podwire.dns.site import Site

TTL: Final = 8482
HINFO: Final = Opaque(b"\x0dANY obsoleted\x0cSee RFC 8482")


def setup(stanza: Stanza, site: Site) -> Plugin:
    """Return the plugin: ``any``."""
    del site
    stanza.arguments_of(most=0)
    stanza.no_lines()
    return Any()


class Any(Plugin):
    """Answers type ANY; everything else goes on."""

    name = "any"

    async def serve(self, request: Request, rest: Link) -> Reply:
        """Return the HINFO record of RFC 8482, 4.2."""
        question = request.query.question
        if question.kind != Kind.ANY:
            return await rest(request)
        record = Record(question.name, Kind.HINFO, TTL, HINFO)
        return Reply(answer=(record,), lasting=True, by=self.name)
