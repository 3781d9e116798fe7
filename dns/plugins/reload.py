"""reload: has the Corefile read again when it has changed."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

from podwire.dns.chain import Plugin
from podwire.dns.site import Site
from podwire.dns.stanza import Stanza

INTERVAL: Final = 30.0
JITTER: Final = 15.0
SHORTEST_INTERVAL: Final = 2.0
SHORTEST_JITTER: Final = 1.0


def setup(stanza: Stanza, site: Site) -> Plugin:
    """Return the plugin: ``reload [INTERVAL] [JITTER]``."""
    words = stanza.arguments_of(most=2)
    interval = stanza.duration(words[0]) if words else INTERVAL
    jitter = stanza.duration(words[1]) if len(words) > 1 else min(JITTER, interval / 2)
    interval = max(interval, SHORTEST_INTERVAL)
    jitter = min(max(jitter, SHORTEST_JITTER), interval / 2)
    stanza.no_lines()
    return Reload(site, interval, jitter)


class Reload(Plugin):
    """Looks at the file every *interval* seconds, give or take up to *jitter*."""

    name = "reload"

    def __init__(self, site: Site, interval: float, jitter: float) -> None:
        self._site = site
        self._interval = interval
        self._jitter = jitter

    @asynccontextmanager
    async def run(self) -> AsyncGenerator[None]:
        """Watch the file."""
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(self._watch())
            try:
                yield
            finally:
                task.cancel()

    async def _watch(self) -> None:
        process = self._site.process
        known = self._digest()
        while True:
            await asyncio.sleep(self._interval + process.dice.uniform(0, self._jitter))
            found = self._digest()
            if found and found != known:
                known = found
                process.life.reload()

    def _digest(self) -> bytes:
        try:
            return hashlib.sha512(self._site.process.corefile.read_bytes()).digest()
        except OSError:
            # It is being replaced, or it is gone: what is known serves on.
            return b""
