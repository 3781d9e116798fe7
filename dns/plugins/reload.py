"""reload: has the Corefile read again when it, or a file that it imports, has changed."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

from podwire.dns.chain import Plugin
from podwire.dns.corefile.corefile import CorefileError, parse
from podwire.dns.corefile.imports import read_import
from podwire.dns.corefile.stanza import Stanza
from podwire.dns.serving.metrics import Gauges, Readings
from podwire.dns.site import Site

INTERVAL: Final = 30.0
JITTER: Final = 15.0
SHORTEST_INTERVAL: Final = 2.0
SHORTEST_JITTER: Final = 1.0

VERSION: Final = Gauges(
    "coredns_reload_version_info",
    "A metric with a constant '1' value labeled by hash, and value which type of hash generated.",
    ("hash", "value"),
)

log = logging.getLogger("podwire.dns")


def setup(stanza: Stanza, site: Site) -> Plugin:
    """Return the plugin: ``reload [INTERVAL] [JITTER]``."""
    words = stanza.arguments_of(most=2)
    stanza.no_lines()
    interval = stanza.duration(words[0]) if words else INTERVAL
    if interval < SHORTEST_INTERVAL:
        raise stanza.error(f"interval value must be greater or equal to {SHORTEST_INTERVAL:g}s")
    jitter = stanza.duration(words[1]) if len(words) > 1 else JITTER
    if 0 < jitter < SHORTEST_JITTER:
        raise stanza.error(f"jitter value must be 0 or greater or equal to {SHORTEST_JITTER:g}s")
    return Reload(site, interval, min(jitter, interval / 2))


class Reload(Plugin):
    """Looks at the file every *interval* seconds, give or take half of *jitter*.

    One for the whole process, however many blocks have it.
    """

    name = "reload"

    def __init__(self, site: Site, interval: float, jitter: float) -> None:
        self._site = site
        self.interval = interval
        self._jitter = jitter
        self._running = ""

    @asynccontextmanager
    async def run(self) -> AsyncGenerator[None]:
        """Watch the file."""
        process = self._site.process
        first = next(plugin for plugin in self._site.everyone if isinstance(plugin, Reload))
        if first is not self:
            yield
            return
        # Of what was loaded: the file may be another one by now.
        self._running = self._digest_of(self._site.corefile)
        log.info("plugin/reload: Running configuration SHA512 = %s", self._running)
        with process.metrics.showing(VERSION, self._version):
            async with asyncio.TaskGroup() as tasks:
                task = tasks.create_task(self._watch(self._running))
                try:
                    yield
                finally:
                    task.cancel()

    async def _watch(self, known: str) -> None:
        process = self._site.process
        # Replicas that start together shall not reload together.
        half = self._jitter / 2
        interval = self.interval + process.dice.uniform(-half, half)
        while True:
            await asyncio.sleep(interval)
            found = self._digest()
            if found is not None and found != known:
                # Not again for the same text, even if it cannot be served.
                known = found
                process.life.reload()

    def _digest(self) -> str | None:
        """Return the digest of what the Corefile says; None: it cannot be read just now."""
        try:
            text = self._site.process.corefile.read_text()
        except (OSError, UnicodeDecodeError):
            # It is being replaced, or it is gone: what is known serves on.
            return None
        return self._digest_of(text)

    def _digest_of(self, text: str) -> str:
        path = self._site.process.corefile
        try:
            said = repr(parse(text, name=str(path), environ=os.environ, read=read_import))
        except CorefileError:
            # Loading it says what is wrong.
            said = text
        return hashlib.sha512(said.encode()).hexdigest()

    def _version(self) -> Readings:
        return {("sha512", self._running): 1.0}
