"""prometheus: the page of counters."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from podwire.dns.chain import Plugin
from podwire.dns.site import Site
from podwire.dns.stanza import Stanza
from podwire.kube.httpd import Page


def setup(stanza: Stanza, site: Site) -> Plugin:
    """Return the plugin: ``prometheus [ADDRESS]``."""
    (where,) = stanza.arguments_of(most=1) or ("localhost:9153",)
    stanza.no_lines()
    return Prometheus(site, *stanza.endpoint(where))


class Prometheus(Plugin):
    """Serves what the process has counted."""

    name = "prometheus"

    def __init__(self, site: Site, address: str, port: int) -> None:
        self._site = site
        self._address = address
        self._port = port

    @asynccontextmanager
    async def run(self) -> AsyncGenerator[None]:
        """Serve the page."""
        process = self._site.process
        for plugin in self._site.siblings:
            labels = {
                "server": self._site.server,
                "zone": self._site.zones[0],
                "view": "",
                "name": plugin.name,
            }
            process.metrics.counter("coredns_plugin_enabled", labels).value = 1

        def page() -> Page:
            return Page(process.metrics.text())

        async with process.pages.serving(self._address, self._port, "/metrics", page):
            yield
