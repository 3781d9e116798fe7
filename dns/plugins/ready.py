"""ready: a page that says whether every plugin can do its work."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

from podwire.dns.chain import Plugin
from podwire.dns.corefile.corefile import Line
from podwire.dns.corefile.stanza import Stanza
from podwire.dns.site import Site
from podwire.kube.httpd import Page

UNTIL_READY: Final = "until-ready"
CONTINUOUSLY: Final = "continuously"

log = logging.getLogger("podwire.dns")


def setup(stanza: Stanza, site: Site) -> Plugin:
    """Return the plugin: ``ready [ADDRESS] { monitor until-ready|continuously }``."""
    (where,) = stanza.arguments_of(most=1) or (":8181",)
    plugin = Ready(site, *stanza.endpoint(where))

    def monitor(line: Line) -> None:
        (mode,) = stanza.arguments_of(line, least=1, most=1)
        if mode not in (UNTIL_READY, CONTINUOUSLY):
            raise stanza.error(
                f"monitor type '{mode}' not supported; known are: {UNTIL_READY}, {CONTINUOUSLY}",
                line,
            )
        plugin.is_always_asking = mode == CONTINUOUSLY

    stanza.options({"monitor": monitor})
    return plugin


class Ready(Plugin):
    """Answers OK once all plugins have been ready once, else 503 and the names of the others.

    With *is_always_asking* they must be ready now.
    """

    name = "ready"

    def __init__(self, site: Site, address: str, port: int) -> None:
        self.is_always_asking = False
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
        if self.is_always_asking:
            self._seen.clear()
        self._seen.update(p for p in self._site.everyone if p not in self._seen and p.is_ready())
        missing = {p.name for p in self._site.everyone if p not in self._seen}
        if not missing:
            return Page("OK")
        names = ",".join(sorted(missing))
        log.info('plugin/ready: Plugins not ready: "%s"', names)
        return Page(names, status=503)
