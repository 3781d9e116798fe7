"""Handler protocol and the order of handlers: how one question travels through the server.

A handler answers, or lets the rest of the chain answer and changes what comes back. The order is
CoreDNS's own and does not depend on the order of a configuration file.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeAlias

from podwire.dns.message import Kind, Rcode, Reply, Transport
from podwire.dns.names import longest_match
from podwire.dns.query import Query

ORDER: Final = (
    "errors",
    "loadbalance",
    "rewrite",
    "autopath",
    "cache",
    "template",
    "transfer",
    "hosts",
    "kubernetes",
    "loop",
    "forward",
)


@dataclass(frozen=True, slots=True)
class Request:
    """A query and who sent it. *depth* counts the look-ups that it is part of, for aliases."""

    query: Query
    client: tuple[str, int]
    transport: Transport
    depth: int = 0


Link: TypeAlias = Callable[[Request], Awaitable[Reply]]
"""A handler with all that comes behind it."""


class Handler(Protocol):
    """One feature of the server."""

    @property
    def name(self) -> str:
        """Return the name that a Corefile gives it; it decides the place in the chain."""
        ...

    async def serve(self, request: Request, rest: Link) -> Reply:
        """Return the reply to *request*, asking the *rest* of the chain if need be."""
        ...


@dataclass(frozen=True, slots=True)
class Block:
    """A server block: the zones it serves (``.`` is all) and its handlers."""

    zones: tuple[str, ...]
    handlers: tuple[Handler, ...]
    link: Link = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "link", chained(self.handlers))


def chained(handlers: Iterable[Handler]) -> Link:
    """Return the start of a chain of *handlers*, put in order; behind the last is SERVFAIL."""
    link: Link = _nobody
    for handler in sorted(handlers, key=lambda h: ORDER.index(h.name), reverse=True):
        link = _before(handler, link)
    return link


def choose(blocks: Sequence[Block], name: str, kind: int) -> tuple[Block, str] | None:
    """Return the block whose zone holds *name* most closely, and that zone.

    DS lives in the parent of the zone that it signs, so it goes to the widest match below the root.
    """
    found: list[tuple[str, Block]] = []
    for block in blocks:
        zone = longest_match(name, block.zones)
        if zone is not None:
            found.append((zone, block))
    if not found:
        return None
    below_root = [pair for pair in found if pair[0] != "."]
    if kind == Kind.DS and below_root:
        zone, block = min(below_root, key=lambda pair: len(pair[0]))
    else:
        zone, block = max(found, key=lambda pair: (pair[0] != ".", len(pair[0])))
    return block, zone


def _before(handler: Handler, rest: Link) -> Link:
    async def link(request: Request) -> Reply:
        return await handler.serve(request, rest)

    return link


async def _nobody(request: Request) -> Reply:
    del request
    return Reply(rcode=Rcode.SERVFAIL, error="no next plugin found")
