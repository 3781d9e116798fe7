"""ready: a page that says whether every plugin can do its work."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from podwire.dns.chain import Plugin
from podwire.dns.site import Site
from podwire.dns.stanza import Stanza
from podwire.kube.httpd import Page


def setup(stanza: Stanza, site: Site) -> Plugin:
    """Return the plugin: ``ready [ADDRESS]``."""
    (where,) = stanza.arguments_of(most=1) or (":8181",)
    return Ready(site, *stanza.endpoint(where))


class Ready(Plugin):
    """Answers OK once all plugins have been ready once, else 503 and the names of the others."""

    name = "ready"

    def __init__(self, site: Site, address: str, port: int) -> None:
        self._site = site
        self._address = address
        self._port = port
        self._seen: set[Plugin] = set()

    @asynccontextmanager
    async def run(self) -> AsyncGenerator[None]:
        """Serve the page."""
        pages = self._site.process.pages
        async with pages.serving(self._address, self._port, "/ready", self._page):
            yield

    def _page(self) -> Page:
        if self._site.process.life.ending.is_set():
            return Page("Shutting down", status=503)
        self._seen.update(p for p in self._site.everyone if p not in self._seen and p.is_ready())
        missing = {p.name for p in self._site.everyone if p not in self._seen}
        return Page(",".join(sorted(missing)), status=503) if missing else Page("OK")
