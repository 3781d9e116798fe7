"""Connections that stop to be HTTP: WebSockets, and raw ones for SPDY and proxied upgrades.

Which protocol: kubectl from 1.30 on asks for WebSockets and turns to SPDY when that is refused
with 400, 403 or 404; older ones know SPDY only; libraries know WebSockets only.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from aiohttp import WSMsgType, web

from podwire.emulator.apiserver import statuses
from podwire.emulator.apiserver.streams import channels, portforward, spdy_client
from podwire.emulator.apiserver.streams.channels import ChannelClient
from podwire.emulator.apiserver.streams.departures import end_when_left
from podwire.emulator.apiserver.streams.heads import Headers
from podwire.emulator.apiserver.streams.spdy_client import SpdyClient
from podwire.emulator.apiserver.streams.spdy_connection import Connection, Tunnel
from podwire.emulator.apiserver.streams.streams import Client, Wanted

_LARGEST_MESSAGE = 16 * 1024 * 1024
_PIECE = 64 * 1024
_SPDY = "SPDY/3.1"


class WebSocket:
    """A WebSocket in the words of `channels`."""

    def __init__(self, response: web.WebSocketResponse) -> None:
        self.response = response

    @property
    def protocol(self) -> str:
        """Return the subprotocol that was agreed on; empty: none."""
        return self.response.ws_protocol or ""

    async def receive(self) -> bytes | str | None:
        """Return the next message, or None when the other side is gone."""
        message = await self.response.receive()
        if message.type in (WSMsgType.BINARY, WSMsgType.TEXT):
            content: bytes | str = message.data
            return content
        return None

    async def send(self, message: bytes | str) -> None:
        """Send one message, waiting while the other side does not read."""
        # A client that left is noticed by `receive`; what is still sent to it is lost.
        with suppress(ConnectionError):
            if isinstance(message, str):
                await self.response.send_str(message)
            else:
                await self.response.send_bytes(message)

    async def close(self) -> None:
        """Say that all is well and done (1000)."""
        await self.response.close()


class Raw:
    """The bytes of a connection that was HTTP (a Line of `spdy_connection`)."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.response = _Nothing()

    async def read(self) -> bytes:
        """Return what has come, waiting for the first byte; empty at the end."""
        with suppress(ConnectionError):
            return await self._reader.read(_PIECE)
        return b""

    async def write(self, content: bytes) -> None:
        """Send all of *content*, waiting while the other side does not read."""
        with suppress(ConnectionError):
            if not self._writer.is_closing():
                self._writer.write(content)
                await self._writer.drain()

    def end(self) -> None:
        """Send no more; the other side still may."""
        with suppress(OSError):
            if self._writer.can_write_eof() and not self._writer.is_closing():
                self._writer.write_eof()


def taken_over(http: web.BaseRequest, headers: Headers) -> Raw:
    """Answer 101 with *headers* and return the connection; from now on it is no HTTP any more.

    aiohttp has no word for this (a 101 by StreamResponse does not work): its protocol is replaced
    at the transport, as asyncio allows. It still hears of the connection's end, so that it cancels
    the handler then. What the handler returns must be `Raw.response`.
    """
    transport = http.transport
    if transport is None:
        raise ConnectionResetError("the client has left")
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=_PIECE, loop=loop)
    protocol = _Protocol(reader, loop, http.protocol)
    transport.set_protocol(protocol)
    protocol.connection_made(transport)
    if not transport.is_reading():
        transport.resume_reading()
    end_when_left(transport)
    protocol.writer = writer = asyncio.StreamWriter(transport, protocol, reader, loop)
    lines = [f"{name}: {value}" for name, value in headers]
    head = "\r\n".join(["HTTP/1.1 101 Switching Protocols", "Connection: Upgrade", *lines, "", ""])
    writer.write(head.encode())
    # Whatever goes wrong from now on, nobody must answer with HTTP.
    http.writer.output_size = len(head)
    return Raw(reader, writer)


class _Protocol(asyncio.StreamReaderProtocol):
    def __init__(
        self,
        reader: asyncio.StreamReader,
        loop: asyncio.AbstractEventLoop,
        before: asyncio.BaseProtocol,
    ) -> None:
        super().__init__(reader, loop=loop)
        self._before = before
        self.writer: asyncio.StreamWriter | None = None
        """Kept as long as the connection: one that nobody keeps complains that it is open."""

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._before.connection_lost(exc)


class _Nothing(web.StreamResponse):
    """What is left to answer: nothing. The connection is closed after it."""

    def __init__(self) -> None:
        super().__init__()
        self.force_close()

    async def prepare(self, request: web.BaseRequest) -> None:
        del request

    async def write_eof(self, data: bytes = b"") -> None:
        del data


class Switch:
    """One request that wants another protocol; *response* is what its handler returns then."""

    def __init__(self, http: web.BaseRequest) -> None:
        self._http = http
        self._response: web.StreamResponse | None = None

    @property
    def response(self) -> web.StreamResponse:
        """Return what is left to answer after the switch."""
        if self._response is None:
            raise RuntimeError("nothing was switched")
        return self._response

    async def websocket(self, protocols: Sequence[str]) -> WebSocket:
        """Switch to a WebSocket that speaks one of *protocols*; raises Refused."""
        if self._http.headers.get("Upgrade", "").lower() != "websocket":
            raise statuses.bad_request("Upgrade request required")
        offered = self._offered("Sec-WebSocket-Protocol")
        if offered and not set(offered) & set(protocols):
            raise statuses.bad_request(
                f"unable to upgrade: {', '.join(offered)} is not among {', '.join(protocols)}"
            )
        response = web.WebSocketResponse(
            protocols=protocols, compress=False, max_msg_size=_LARGEST_MESSAGE
        )
        await response.prepare(self._http)
        if self._http.transport is not None:
            end_when_left(self._http.transport)
        self._response = response
        return WebSocket(response)

    async def capture(self) -> WebSocket:
        """Switch to what a capture is sent over; raises Refused."""
        return await self.websocket(channels.PROTOCOLS)

    async def process(self, wanted: Wanted) -> Client | None:
        """Switch to what carries the streams of a process; None if the client has left.

        Raises Refused.
        """
        if not self._asks_for_spdy():
            return ChannelClient(await self.websocket(channels.PROTOCOLS))
        client = SpdyClient(Connection(self._spdy(spdy_client.PROTOCOL)))
        return client if await client.begin(wanted) else None

    async def forward(self, target: portforward.Target, ports: Sequence[int]) -> None:
        """Switch to what carries forwarded connections, and forward; raises Refused."""
        if self._asks_for_spdy():
            await portforward.over_spdy(self._spdy(portforward.SPDY_PROTOCOL), target)
            return
        protocols = (portforward.TUNNEL, portforward.CHANNELS)
        if not ports and portforward.TUNNEL not in self._offered("Sec-WebSocket-Protocol"):
            raise statuses.bad_request('query parameter "ports" is required')
        socket = await self.websocket(protocols)
        if socket.protocol == portforward.TUNNEL:
            await portforward.over_spdy(Tunnel(socket), target)
        else:
            await portforward.over_channels(socket, ports, target)

    def _asks_for_spdy(self) -> bool:
        return self._http.headers.get("Upgrade", "").lower() == _SPDY.lower()

    def _spdy(self, protocol: str) -> Raw:
        offered = self._offered("X-Stream-Protocol-Version")
        if protocol not in offered:
            text = f"client supports [{' '.join(offered)}], server accepts [{protocol}]"
            message = f"unable to upgrade: unable to negotiate protocol: {text}"
            raise statuses.refused(403, "Forbidden", message)
        raw = taken_over(self._http, [("Upgrade", _SPDY), ("X-Stream-Protocol-Version", protocol)])
        self._response = raw.response
        return raw

    def _offered(self, header: str) -> list[str]:
        """Return what a header offers: it may come several times, and with commas."""
        values = self._http.headers.getall(header, [])
        return [word.strip() for value in values for word in value.split(",") if word.strip()]


class Answering:
    """The way back of an answer that was passed on (`passing`)."""

    def __init__(self, http: web.BaseRequest) -> None:
        self._http = http
        self._response: web.StreamResponse | None = None

    async def begin(self, status: int, reason: str, headers: Headers) -> None:
        """Send the head of the answer."""
        response = web.StreamResponse(status=status, reason=reason or None)
        for name, value in headers:
            response.headers.add(name, value)
        await response.prepare(self._http)
        self._response = response

    async def write(self, content: bytes) -> None:
        """Send a part of the body, waiting while the client does not read."""
        assert self._response is not None
        await self._response.write(content)

    def cut(self) -> None:
        """End the connection: there is no more, and it was not all."""
        if self._http.transport is not None:
            self._http.transport.abort()

    def switch(self, headers: Headers) -> Raw:
        """Send a 101 and return the connection."""
        raw = taken_over(self._http, headers)
        self._response = raw.response
        return raw

    async def end(self) -> web.StreamResponse:
        """End the answer, and return it."""
        assert self._response is not None
        with suppress(ConnectionError):
            await self._response.write_eof()
        return self._response
