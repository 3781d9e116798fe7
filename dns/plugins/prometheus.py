"""prometheus: the page of counters, and the counting of what this server block answers."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import ExitStack, asynccontextmanager
from typing import Final

from podwire.dns.chain import Plugin
from podwire.dns.corefile.corefile import Line
from podwire.dns.corefile.stanza import Stanza
from podwire.dns.serving import own_process
from podwire.dns.serving.metrics import Gauges, Readings
from podwire.dns.site import Site
from podwire.kube.httpd import Page

PLUGIN_ENABLED: Final = Gauges(
    "coredns_plugin_enabled",
    "A metric that indicates whether a plugin is enabled on per server and zone basis.",
    ("server", "zone", "view", "name"),
)
# They are no part of the chain in CoreDNS, so it does not show them.
_NOT_SHOWN: Final = frozenset({"root", "reload", "bind", "debug", "ready", "health"})


def setup(stanza: Stanza, site: Site) -> Plugin:
    """Return the plugin: ``prometheus [ADDRESS] { runtime_metrics }``."""
    (where,) = stanza.arguments_of(most=1) or ("localhost:9153",)

    def runtime_metrics(line: Line) -> None:
        # Those of the Go runtime: there is none here, and a Corefile with it is served.
        stanza.arguments_of(line, most=0)

    def tls(line: Line) -> None:
        raise stanza.error("tls is not supported here: the page is served over HTTP", line)

    stanza.options({"runtime_metrics": runtime_metrics, "tls": tls})
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
        metrics = process.metrics

        def page() -> Page:
            return Page(metrics.text())

        with ExitStack() as stack:
            stack.enter_context(metrics.showing(PLUGIN_ENABLED, self._enabled))
            for family, read in own_process.READERS.items():
                stack.enter_context(metrics.showing(family, read))
            async with process.pages.serving(self._address, self._port, "/metrics", page):
                yield

    def _enabled(self) -> Readings:
        site = self._site
        return {
            (site.server, zone, "", plugin.name): 1.0
            for zone in site.zones
            for plugin in site.siblings
            if plugin.name not in _NOT_SHOWN
        }
