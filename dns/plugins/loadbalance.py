"""loadbalance: the addresses of each reply in a new random order."""

from __future__ import annotations

from dataclasses import replace

from podwire.dns.chain import Link, Plugin, Request
from podwire.dns.corefile.stanza import Stanza
from podwire.dns.messages.message import Kind, Rcode, Reply
from podwire.dns.site import Site


def setup(stanza: Stanza, site: Site) -> Plugin:
    """Return the plugin: ``loadbalance [round_robin]``."""
    del site
    if stanza.arguments[:1] == ("weighted",):
        raise stanza.error("policy weighted is not there; known is: round_robin")
    (policy,) = stanza.arguments_of(most=1) or ("round_robin",)
    if policy != "round_robin":
        raise stanza.error(f"unknown policy: {policy}; known is: round_robin")
    stanza.no_lines()
    return LoadBalance()


class LoadBalance(Plugin):
    """Has the addresses of each reply shuffled when it is written."""

    name = "loadbalance"

    async def serve(self, request: Request, rest: Link) -> Reply:
        """Mark what comes back to be dealt."""
        reply = await rest(request)
        kind = request.query.question.kind
        if reply.rcode != Rcode.NOERROR or kind in (Kind.AXFR, Kind.IXFR):
            return reply
        if max(len(reply.answer), len(reply.authority), len(reply.additional)) < 2:
            return reply
        return replace(reply, dealt=True)
