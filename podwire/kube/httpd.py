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


Pages = Mapping[str, Callable[[], Page]]


@asynccontextmanager
async def serving(pages: Pages, address: str, port: int) -> AsyncGenerator[int]:
    """Answer GET (and HEAD) of *pages* on *address*; yields the port (0 asks for a free one).

    Raises OSError when the address cannot be bound.
    """

    async def answer(request: web.Request) -> web.Response:
        page = pages.get(request.path)
        if page is None:
            return web.Response(status=404, text="404 page not found\n")
        made = page()
        return web.Response(
            status=made.status, text=made.body, content_type=made.content_type, headers=made.headers
        )

    app = web.Application()
    app.router.add_get("/{tail:.*}", answer)
    runner = web.AppRunner(app, access_log=None, handle_signals=False)
    await runner.setup()
    try:
        site = web.TCPSite(runner, address, port)
        await site.start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()
