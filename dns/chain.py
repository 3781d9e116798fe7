"""Plugin, request and the order of plugins: how one question travels through the server.

A plugin answers, or lets the rest of the chain answer and changes what comes back. The order is
CoreDNS's own (plugin.cfg) and does not depend on the order of a Corefile.
"""

from __future__ import annotations

import types
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from podwire.dns.messages.message import Kind, Rcode, Reply, Transport
from podwire.dns.messages.names import within
from podwire.dns.messages.query import LONGEST_NAME, Query, Rejection

ORDER: Final = (
    "root",
    "metadata",
    "reload",
    "bufsize",
    "bind",
    "debug",
    "ready",
    "health",
    "prometheus",
    "errors",
    "log",
    "any",
    "chaos",
    "loadbalance",
    "rewrite",
    "autopath",
    "cache",
    "minimal",
    "template",
    "transfer",
    "hosts",
    "k8s_external",
    "kubernetes",
    "loop",
    "forward",
    "whoami",
)
"""Every plugin that there is, from the client to the upstream server."""


@dataclass(frozen=True, slots=True)
class Request:
    """A query and who sent it. *depth* counts the look-ups that it is part of, for aliases."""

    query: Query
    client: tuple[str, int]
    transport: Transport
    depth: int = 0


Link: TypeAlias = Callable[[Request], Awaitable[Reply]]
"""A plugin with all that comes behind it."""


class Plugin:
    """One feature of the server, as one directive of a server block configures it.

    A plugin overrides what it needs: `serve` to take part in answering, `run` for what must go on
    beside that.
    """

    name: str = ""
    """What a Corefile calls it; it decides the place in the chain."""

    lameduck: float = 0.0
    """How many seconds the server goes on after it was told to end."""

    async def serve(self, request: Request, rest: Link) -> Reply:
        """Return the reply to *request*, asking the *rest* of the chain if need be.

        What waits for anything (a socket, a timer) must await `waiting()` before.
        """
        return await rest(request)

    @asynccontextmanager
    async def run(self) -> AsyncGenerator[None]:
        """Do what must be done while the configuration serves; it serves when this has yielded.

        Entered in the order of the chain. Raises MachineError for what the machine refuses.
        """
        yield

    def answer_rejected(self, rejection: Rejection) -> bytes | None:
        """Return a reply to a request that no chain takes, for its class for instance; else None.

        Without one it gets the error that it deserves.
        """
        del rejection
        return None

    def is_ready(self) -> bool:
        """Return whether the plugin can do its work: for the ready plugin."""
        return True


@dataclass(frozen=True, slots=True)
class Block:
    """A server block: the zones it serves (``.`` is all) and its plugins."""

    zones: tuple[str, ...]
    plugins: tuple[Plugin, ...]
    link: Link = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "link", chained(self.plugins))


def in_order(plugins: Iterable[Plugin]) -> tuple[Plugin, ...]:
    """Return *plugins* in the order of the chain; those of one name as they came."""
    return tuple(sorted(plugins, key=lambda plugin: ORDER.index(plugin.name)))


def chained(plugins: Iterable[Plugin]) -> Link:
    """Return the start of a chain of *plugins*, put in order; behind the last is SERVFAIL.

    Plugins that do not override `serve` have no link: what they would pass on passes without them.
    """
    link: Link = _nobody
    for plugin in reversed(in_order(plugins)):
        if type(plugin).serve is not Plugin.serve:
            link = _before(plugin, link)
    return link


@types.coroutine
def waiting() -> Generator[None]:
    """Let the caller put the chain into a task, if it is not in one yet.

    A chain runs at once and without a task as far as it gets: most answers wait for nothing.
    Whatever waits needs a task (so does `asyncio.timeout`), and asks for it by awaiting this.
    """
    yield


def choose(blocks: Sequence[Block], name: str, kind: int) -> tuple[Block, str] | None:
    """Return the block whose zone holds *name* most closely, and that zone.

    DS lives in the parent of the zone that it signs, so it goes to the widest match below the root.
    """
    chosen: tuple[Block, str] | None = None
    best = -1
    for block in blocks:
        for zone in block.zones:
            rank = 0 if zone == "." else len(zone) if kind != Kind.DS else LONGEST_NAME - len(zone)
            if rank > best and (zone == "." or within(name, zone)):
                chosen, best = (block, zone), rank
    return chosen


def _before(plugin: Plugin, rest: Link) -> Link:
    serve = plugin.serve

    # Not a coroutine of its own: each one costs as much as a small plugin.
    def link(request: Request) -> Awaitable[Reply]:
        return serve(request, rest)

    return link


async def _nobody(request: Request) -> Reply:
    del request
    return Reply(rcode=Rcode.SERVFAIL, error="no next plugin found")
