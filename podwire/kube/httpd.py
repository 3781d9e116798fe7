"""A small HTTP server for health, readiness and metrics."""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import web


@dataclass(frozen=True, slots=True)
class Page:
    """An answer."""

    body: str
    status: int = 200
    content_type: str = "text/plain"
    headers: Mapping[str, str] | None = None


Pages = Mapping[str, Callable[[], Page]] | Callable[[], Page]
"""A page for each path, or one that answers every path and method."""


@asynccontextmanager
async def serving(pages: Pages, address: str, port: int) -> AsyncGenerator[int]:
    """Answer with *pages* on *address*; yields the port (0 asks for a free one).

    Pages with paths answer GET and HEAD.

    Raises OSError when the address cannot be bound.
    """

    async def answer(request: web.Request) -> web.Response:
        page = pages.get(request.path) if isinstance(pages, Mapping) else pages
        if page is None:
            return web.Response(status=404, text="404 page not found\n")
        made = page()
        return web.Response(
            status=made.status, text=made.body, content_type=made.content_type, headers=made.headers
        )

    app = web.Application()
    if isinstance(pages, Mapping):
        app.router.add_get("/{tail:.*}", answer)
    else:
        app.router.add_route("*", "/{tail:.*}", answer)
    # Answers are made at once: who connects while the server closes shall not wait for a minute.
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.2)
    await runner.setup()
    try:
        site = web.TCPSite(runner, address, port)
        await site.start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()
