"""errors: a line in the log for each reply that carries an error."""

from __future__ import annotations

import logging

from podwire.dns.chain import Link, Plugin, Request
from podwire.dns.message import Reply, kind_name
from podwire.dns.site import Site
from podwire.dns.stanza import Stanza

log = logging.getLogger("podwire.dns")


def setup(stanza: Stanza, site: Site) -> Plugin:
    """Return the plugin: ``errors``."""
    del site
    stanza.arguments_of(most=0)
    return Errors()


class Errors(Plugin):
    """Logs what went wrong behind it."""

    name = "errors"

    async def serve(self, request: Request, rest: Link) -> Reply:
        """Pass on; log the error of what comes back."""
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
