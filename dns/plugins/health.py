"""health: a page that says the process runs, and how long it serves on when told to end."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from podwire.dns.chain import Plugin
from podwire.dns.corefile import Line
from podwire.dns.site import Site
from podwire.dns.stanza import Stanza
from podwire.kube.httpd import Page


def setup(stanza: Stanza, site: Site) -> Plugin:
    """Return the plugin: ``health [ADDRESS] { lameduck DURATION }``."""
    (where,) = stanza.arguments_of(most=1) or (":8080",)
    plugin = Health(site, *stanza.endpoint(where))

    def lameduck(line: Line) -> None:
        (text,) = stanza.arguments_of(line, least=1, most=1)
        plugin.lameduck = stanza.duration(text, line)

    stanza.options({"lameduck": lameduck})
    return plugin


class Health(Plugin):
    """Answers OK for as long as the process runs, in its lame duck too."""

    name = "health"

    def __init__(self, site: Site, address: str, port: int) -> None:
        self._site = site
        self._address = address
        self._port = port

    @asynccontextmanager
    async def run(self) -> AsyncGenerator[None]:
        """Serve the page."""
        pages = self._site.process.pages
        async with pages.serving(self._address, self._port, "/health", lambda: Page("OK")):
            yield
