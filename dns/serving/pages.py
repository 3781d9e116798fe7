"""The HTTP servers of health, readiness and metrics: one per address, kept across reloads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from podwire.errors import MachineError
from podwire.kube.httpd import Page, serving


class PageServers:
    """Serves pages for whoever wants them; a page wanted twice is that of the last who came."""

    def __init__(self) -> None:
        self._servers: dict[tuple[str, int], _Server] = {}
        self._lock = asyncio.Lock()

    @asynccontextmanager
    async def serving(
        self, address: str, port: int, path: str, page: Callable[[], Page]
    ) -> AsyncGenerator[int]:
        """Answer GET of *path* with *page* inside the block; yields the port (0: a free one).

        Raises MachineError when the address cannot be had.
        """
        async with self._lock:
            server = self._servers.get((address, port))
            if server is None:
                server = _Server()
                try:
                    server.port = await server.stack.enter_async_context(
                        serving(server.pages, address, port)
                    )
                except OSError as error:
                    raise MachineError(
                        f"cannot serve {path} on {address}:{port}: {error.strerror or error}"
                    ) from error
                self._servers[address, port] = server
            wanted = server.wanted.setdefault(path, [])
            wanted.append(page)
            server.pages[path] = page
        try:
            yield server.port
        finally:
            async with self._lock:
                wanted.remove(page)
                if wanted:
                    server.pages[path] = wanted[-1]
                else:
                    del server.pages[path], server.wanted[path]
                if not server.pages:
                    del self._servers[address, port]
                    await server.stack.aclose()


class _Server:
    def __init__(self) -> None:
        self.stack = AsyncExitStack()
        self.pages: dict[str, Callable[[], Page]] = {}
        self.wanted: dict[str, list[Callable[[], Page]]] = {}
        self.port = 0
