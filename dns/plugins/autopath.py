"""autopath: walks a client's whole search list for it, at its first question."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Final

from podwire.dns.chain import Link, Plugin, Request
from podwire.dns.cluster.search_path import autopath_candidates, renamed, search_domains
from podwire.dns.corefile.stanza import Stanza
from podwire.dns.messages.message import Question, Rcode, Reply
from podwire.dns.messages.names import absolute, longest_match
from podwire.dns.messages.wire import asked_again
from podwire.dns.messages.writer import UnwritableReplyError
from podwire.dns.plugins.kubernetes import Kubernetes
from podwire.dns.serving.metrics import Counters
from podwire.dns.site import Site

RESOLV_CONF: Final = "/etc/resolv.conf"

SUCCESSES: Final = Counters(
    "coredns_autopath_success_total", "Counter of requests that did autopath.", ("server",)
)

Search = Callable[[Request], Sequence[str]]
"""The search list of who sent a request; its last element is empty. No list: nobody's walk."""


def setup(stanza: Stanza, site: Site) -> Plugin:
    """Return the plugin: ``autopath [ZONES...] RESOLV-CONF|@kubernetes``."""
    stanza.no_lines()
    if not stanza.arguments:
        raise stanza.error("no resolv-conf specified; write @kubernetes or a file like it")
    *zones, source = stanza.arguments
    if source.startswith("@"):
        if source != "@kubernetes":
            raise stanza.error(
                f"{source[1:]} does not implement the AutoPather interface; known is: @kubernetes"
            )
        search = _of_pods(site)
    else:
        search = _of_file(stanza, site, source)
    return Autopath(stanza.zones_or_block(zones), search, site)


class Autopath(Plugin):
    """Returns what the first existing name of a walk has, under the name that was asked for."""

    name = "autopath"

    def __init__(self, zones: Sequence[str], search: Search, site: Site) -> None:
        self._zones = tuple(zones)
        self._search = search
        self._successes = site.process.metrics.counter(SUCCESSES, site.server)

    async def serve(self, request: Request, rest: Link) -> Reply:
        """Ask the rest of the chain for one name after the other; all unknown: as if for one."""
        query = request.query
        asked = query.question.name
        if longest_match(asked, self._zones) is None:
            return await rest(request)
        candidates = autopath_candidates(asked, self._search(request))
        if not candidates:
            # For another client the same question may be the first of a walk.
            reply = await rest(request)
            return replace(reply, lasting=False) if reply.rcode == Rcode.NXDOMAIN else reply
        first: Reply | None = None
        for candidate in candidates:
            try:
                question = Question(candidate, query.question.kind)
                inner = replace(request, query=asked_again(query, question, query.edns))
            except UnwritableReplyError:
                # Too long with that domain: no such name.
                continue
            reply = await rest(inner)
            if reply.error:
                return reply
            first = first or reply
            if reply.rcode != Rcode.NXDOMAIN:
                self._successes.value += 1
                return replace(renamed(reply, asked), lasting=False)
        return replace(first, lasting=False) if first else await rest(request)


def _of_pods(site: Site) -> Search:
    own: list[str] = []

    def search(request: Request) -> Sequence[str]:
        for plugin in site.siblings:
            if isinstance(plugin, Kubernetes):
                return plugin.search_list(request.query.question.name, request.client[0], own)
        return ()

    # A server without such a file has no domains of its own.
    with suppress(OSError):
        own += search_domains((site.folder / RESOLV_CONF).read_text())
    return search


def _of_file(stanza: Stanza, site: Site, source: str) -> Search:
    try:
        domains = search_domains((site.folder / source).read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise stanza.error(f'failed to parse "{source}": {error}') from None
    found = (*(absolute(domain.lower()) for domain in domains), "")
    return lambda _: found
