"""minimal: answers without what nobody asked for."""

from __future__ import annotations

from dataclasses import replace

from podwire.dns.chain import Link, Plugin, Request
from podwire.dns.corefile.stanza import Stanza
from podwire.dns.messages.message import Kind, Rcode, Reply
from podwire.dns.site import Site


def setup(stanza: Stanza, site: Site) -> Plugin:
    """Return the plugin: ``minimal``."""
    del site
    stanza.arguments_of(most=0)
    stanza.no_lines()
    return Minimal()


class Minimal(Plugin):
    """Drops authority and additional section of answers; denials and referrals need theirs."""

    name = "minimal"

    async def serve(self, request: Request, rest: Link) -> Reply:
        """Pass on; make what comes back smaller."""
        reply = await rest(request)
        is_referral = any(record.kind in (Kind.SOA, Kind.NS) for record in reply.authority)
        if reply.rcode != Rcode.NOERROR or reply.is_transfer:
            return reply
        if not reply.answer and is_referral:
            return reply
        return replace(reply, authority=(), additional=())
