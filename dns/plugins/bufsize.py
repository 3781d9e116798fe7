"""bufsize: a ceiling for datagrams, so that none is broken into pieces on its way."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from podwire.dns.chain import Link, Plugin, Request
from podwire.dns.corefile.stanza import Stanza
from podwire.dns.messages.message import Reply
from podwire.dns.messages.wire import asked_again
from podwire.dns.site import Site

DEFAULT: Final = 1232
SMALLEST: Final = 512
LARGEST: Final = 4096


def setup(stanza: Stanza, site: Site) -> Plugin:
    """Return the plugin: ``bufsize [SIZE]``."""
    del site
    stanza.no_lines()
    (text,) = stanza.arguments_of(most=1) or (str(DEFAULT),)
    return Bufsize(stanza.number(text, lowest=SMALLEST, highest=LARGEST))


class Bufsize(Plugin):
    """Takes clients that say they can take more for clients that can take *size* bytes."""

    name = "bufsize"

    def __init__(self, size: int) -> None:
        self._size = size

    async def serve(self, request: Request, rest: Link) -> Reply:
        """Pass on; upstreams are asked for no more either."""
        query = request.query
        if query.edns is None or query.edns.size <= self._size:
            return await rest(request)
        smaller = asked_again(query, query.question, replace(query.edns, size=self._size))
        reply = await rest(replace(request, query=smaller))
        return replace(reply, limit=min(reply.limit or self._size, self._size))
