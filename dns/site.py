"""Where a plugin stands: its server block, and what it may use of the process.

Setting up a plugin reads its stanza and does nothing else; what it uses of the machine it takes in
`Plugin.run`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Literal

from podwire.dns.chain import Plugin, Request
from podwire.dns.cluster.sources import Sources
from podwire.dns.corefile.stanza import Stanza
from podwire.dns.messages.message import Address, Question, Reply
from podwire.dns.serving.metrics import Metrics
from podwire.dns.serving.pages import PageServers
from podwire.kube.clock import Clock

Lookup = Callable[[Question, Request], Awaitable[Reply]]
"""Answers a question of our own, asked on behalf of a request, through the server's front door."""


class Life:
    """What may be asked of the whole process: to end, or to read its Corefile again."""

    def __init__(self) -> None:
        self.ending = asyncio.Event()
        self.failure = ""
        self._news = asyncio.Event()
        self._hurry = asyncio.Event()

    def end(self) -> None:
        """Stop serving, after the lame duck; asked for twice, at once."""
        if self.ending.is_set():
            self._hurry.set()
        self.ending.set()
        self._news.set()

    def fail(self, message: str) -> None:
        """Stop serving at once with exit status 1; *message* is the last line of the log."""
        self.failure = message
        self.end()

    async def hurried(self, limit: float) -> None:
        """Return when the end is asked for a second time, or after *limit* seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(limit):
                await self._hurry.wait()

    def reload(self) -> None:
        """Have the Corefile read again."""
        self._news.set()

    async def next(self) -> Literal["end", "reload"]:
        """Return what was asked for, as soon as something is."""
        await self._news.wait()
        if self.ending.is_set():
            return "end"
        self._news.clear()
        return "reload"


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """What all servers of the process share, also across reloads."""

    corefile: Path
    life: Life
    pages: PageServers
    sources: Sources
    metrics: Metrics
    clock: Clock
    dice: Random


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A server block on one port.

    *zones* are those of the block; *server* is how CoreDNS names the listener, ``dns://:53``.
    *listens* are the addresses it is bound to (empty: all), *own_addresses* those under which
    others find the block. *folder* is where files with a relative path are, *corefile* the text
    that is being loaded. *siblings* fills with the plugins of this block, *everyone* with those of
    all blocks: both are whole when `Plugin.run` is entered.
    """

    process: Process
    zones: tuple[str, ...]
    server: str
    port: int
    listens: tuple[str, ...]
    own_addresses: tuple[Address, ...]
    lookup: Lookup
    folder: Path
    corefile: str
    siblings: list[Plugin] = field(default_factory=list[Plugin])
    everyone: list[Plugin] = field(default_factory=list[Plugin])


Setup = Callable[[Stanza, Site], Plugin]
"""Returns the plugin that a stanza configures. Raises CorefileError."""

SetupOfAll = Callable[[Sequence[Stanza], Site], Plugin]
"""Returns the one plugin that all stanzas of its name in a block configure together."""
