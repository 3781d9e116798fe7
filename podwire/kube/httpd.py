"""A small HTTP server for health, readiness and metrics."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
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
        return _response(page())

    async with _listening("GET", answer, address, port) as bound:
        yield bound


@asynccontextmanager
async def serving_one(page: Callable[[], Page], address: str, port: int) -> AsyncGenerator[int]:
    """Answer every path and method with *page*; else as `serving`."""

    async def answer(_: web.Request) -> web.Response:
        return _response(page())

    async with _listening("*", answer, address, port) as bound:
        yield bound


def _response(page: Page) -> web.Response:
    return web.Response(
        status=page.status, text=page.body, content_type=page.content_type, headers=page.headers
    )


@asynccontextmanager
async def _listening(
    method: str,
    answer: Callable[[web.Request], Awaitable[web.Response]],
    address: str,
    port: int,
) -> AsyncGenerator[int]:
    app = web.Application()
    if method == "GET":
        app.router.add_get("/{tail:.*}", answer)  # and HEAD
    else:
        app.router.add_route(method, "/{tail:.*}", answer)
    # Answers are made at once: who connects while the server closes shall not wait for a minute.
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.2)
    await runner.setup()
    try:
        site = web.TCPSite(runner, address, port)
        await site.start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()
