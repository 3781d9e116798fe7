"""A tiny API server on a Unix socket, which says just what a test tells it to."""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

Json = dict[str, Any]
Loops = Mapping[str, Callable[[], asyncio.AbstractEventLoop]]


def pytest_asyncio_loop_factories(item: pytest.Item) -> Loops:
    """Run the tests of a module on the loops that it names in LOOPS."""
    default: Loops = {"asyncio": asyncio.new_event_loop}
    module: Any = item.getparent(pytest.Module)
    return getattr(module.obj, "LOOPS", default)


class Watch:
    """One open watch of the tiny server."""

    def __init__(self, since: str, response: web.StreamResponse) -> None:
        self.since = since
        self.response = response
        self.over = asyncio.Event()

    async def send(self, type_: str, obj: Json) -> None:
        await self.write(json.dumps({"type": type_, "object": obj}).encode() + b"\n")

    async def write(self, data: bytes) -> None:
        await self.response.write(data)

    def end(self) -> None:
        """End the stream as a server does when the time is over."""
        self.over.set()

    def cut(self) -> None:
        """Break the connection."""
        transport = self.response._req.transport if self.response._req else None  # pyright: ignore
        assert transport is not None
        transport.abort()
        self.over.set()


class TinyServer:
    """Lists what it is told, keeps watches open, and records what is written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.objects: list[Json] = []
        self.revision = "10"
        self.lists = 0
        self.asked = asyncio.Event()
        self.refusals: deque[tuple[int, Json | bytes]] = deque()
        self.requests: list[tuple[str, str, Json]] = []
        self.queries: list[dict[str, str]] = []
        self.headers: list[dict[str, str]] = []
        self._watches: asyncio.Queue[Watch] = asyncio.Queue()
        self._opened: list[Watch] = []

    async def watch(self) -> Watch:
        """Return the next watch that is opened."""
        async with asyncio.timeout(10):
            return await self._watches.get()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.queries.append(dict(request.query))
        self.headers.append(dict(request.headers))
        body = await request.read()
        sent: Json = json.loads(body) if body else {}
        self.requests.append((request.method, request.path, sent))
        self.asked.set()
        if self.refusals:
            code, said = self.refusals.popleft()
            raw = said if isinstance(said, bytes) else json.dumps(said).encode()
            return web.Response(status=code, body=raw)
        if request.query.get("watch") == "true":
            return await self._watch(request)
        if request.method == "GET" and request.path.endswith("s"):
            self.lists += 1
            meta = {"resourceVersion": self.revision}
            return web.json_response({"metadata": meta, "items": self.objects})
        if request.method == "GET":
            found = [
                o for o in self.objects if o["metadata"]["name"] == request.path.split("/")[-1]
            ]
            return web.json_response(found[0])
        return web.json_response(sent)

    def end_all(self) -> None:
        for watch in self._opened:
            watch.end()

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        watch = Watch(request.query["resourceVersion"], response)
        self._opened.append(watch)
        self._watches.put_nowait(watch)
        await watch.over.wait()
        return response


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[TinyServer]:
    tiny = TinyServer(tmp_path / "api.sock")
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", tiny.answer)
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.1)
    await runner.setup()
    await web.UnixSite(runner, str(tiny.path)).start()
    yield tiny
    tiny.end_all()
    await runner.cleanup()


def config_map(name: str, revision: str, **data: str) -> Json:
    meta = {"name": name, "namespace": "default", "resourceVersion": revision}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data}
