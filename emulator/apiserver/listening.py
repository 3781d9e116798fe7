"""The sockets on which a front answers, and who is hung up on: a client that never gets to ask."""

import asyncio
import socket
import ssl
from collections.abc import AsyncGenerator, Sequence
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from podwire import unix
from podwire.emulator.apiserver.http import LARGEST_BODY, Front

Listener = tuple[socket.socket, ssl.SSLContext | None]

_KEEP_ALIVE_SECONDS = 300
_BACKLOG = 128


class _Server(web.Server):
    """aiohttp's server, which waits for the first request of a connection *seconds* and no more.

    A client that sends a letter now and then would else hold its connection for long.
    """

    def __init__(self, front: Front, seconds: float) -> None:
        # handler_cancellation: a watch or a session of a client that has left must end.
        super().__init__(
            front.handle,
            request_factory=self._request,
            handler_cancellation=True,
            keepalive_timeout=_KEEP_ALIVE_SECONDS,
        )
        self._seconds = seconds
        self._silent: dict[web.RequestHandler, asyncio.TimerHandle] = {}

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        """Begin to wait."""
        super().connection_made(handler, transport)
        loop = asyncio.get_running_loop()
        self._silent[handler] = loop.call_later(self._seconds, handler.force_close)

    def connection_lost(
        self,
        handler: web.RequestHandler,
        exc: BaseException | None = None,
    ) -> None:
        """Wait no longer."""
        self._heard(handler)
        super().connection_lost(handler, exc)

    def _heard(self, handler: web.RequestHandler) -> None:
        timer = self._silent.pop(handler, None)
        if timer is not None:
            timer.cancel()

    def _request(self, *parts: Any) -> web.BaseRequest:
        message, payload, protocol, writer, task = parts
        self._heard(protocol)
        loop = asyncio.get_running_loop()
        return web.BaseRequest(
            message, payload, protocol, writer, task, loop, client_max_size=LARGEST_BODY
        )


@asynccontextmanager
async def listening(
    front: Front, sockets: Sequence[Listener], unix_path: Path | None, *, unix_mode: int
) -> AsyncGenerator[None]:
    """Serve on *sockets* (with TLS where there is a context) and on a Unix socket."""
    runner = web.ServerRunner(_Server(front, front.patience.request), access_log=None)
    await runner.setup()
    names = ExitStack()
    try:
        for listener, context in sockets:
            await web.SockSite(runner, listener, ssl_context=context).start()
        if unix_path is not None:
            made = unix.listening(unix_path, backlog=_BACKLOG, mode=unix_mode)
            names.callback(unix_path.unlink, missing_ok=True)
            await web.SockSite(runner, made, backlog=_BACKLOG).start()
        yield
    finally:
        front.stop()
        names.close()
        await runner.cleanup()
