"""health: a page that says the process runs, and how long it serves on when told to end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

from podwire.dns.chain import Plugin
from podwire.dns.corefile.corefile import Line
from podwire.dns.corefile.stanza import Stanza
from podwire.dns.serving.metrics import SLIM_DURATION_BUCKETS, Counters, Histograms
from podwire.dns.site import Site
from podwire.kube.httpd import Page

PATH: Final = "/health"
EVERY: Final = 1.0
TIMEOUT: Final = 3.0
SLOW: Final = 1.0
"""A page of our own that takes so long, in seconds, is worth a warning."""

DURATION: Final = Histograms(
    "coredns_health_request_duration_seconds",
    "Histogram of the time (in seconds) each request took.",
    buckets=SLIM_DURATION_BUCKETS,
)
FAILURES: Final = Counters(
    "coredns_health_request_failures_total", "The number of times the health check failed."
)

log = logging.getLogger("podwire.dns")


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
    """Answers OK for as long as the process runs, in its lame duck too.

    It asks its own page each second: how long that takes tells how busy the process is.
    """

    name = "health"

    def __init__(self, site: Site, address: str, port: int) -> None:
        self._site = site
        self._address = address
        self._port = port

    @asynccontextmanager
    async def run(self) -> AsyncGenerator[None]:
        """Serve the page."""
        pages = self._site.process.pages
        async with (
            pages.serving(self._address, self._port, PATH, lambda: Page("OK")) as port,
            asyncio.TaskGroup() as tasks,
        ):
            task = tasks.create_task(self._measure(port))
            try:
                yield
            finally:
                task.cancel()

    async def _measure(self, port: int) -> None:
        metrics, clock = self._site.process.metrics, self._site.process.clock
        duration, failures = metrics.histogram(DURATION), metrics.counter(FAILURES)
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self._address, self._address)
        url = f"http://{f'[{host}]' if ':' in host else host}:{port}{PATH}"
        while True:
            await asyncio.sleep(EVERY)
            began = clock.monotonic()
            try:
                async with asyncio.timeout(TIMEOUT):
                    await _get(host, port)
            except (OSError, TimeoutError, EOFError) as error:
                failures.value += 1
                log.warning('plugin/health: Local health request to "%s" failed: %s', url, error)
            took = clock.monotonic() - began
            duration.add(took)
            if took > SLOW:
                log.warning(
                    'plugin/health: Local health request to "%s" took more than 1s: %.3fs',
                    url,
                    took,
                )


async def _get(host: str, port: int) -> None:
    """Read our own page. Raises OSError, and EOFError when there is no reply."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(f"GET {PATH} HTTP/1.1\r\nHost: health\r\nConnection: close\r\n\r\n".encode())
        if not await reader.read():
            raise EOFError("the connection was closed")
    finally:
        writer.close()
