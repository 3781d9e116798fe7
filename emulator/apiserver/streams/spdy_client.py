"""Processes over SPDY: v4.channel.k8s.io of kubectl 1.29, one stream for each channel."""

import asyncio
from collections import deque
from typing import Any

import msgspec

from podwire.emulator.apiserver.streams import spdy
from podwire.emulator.apiserver.streams.spdy import Data, Opened, Reset
from podwire.emulator.apiserver.streams.spdy_connection import Connection
from podwire.emulator.apiserver.streams.streams import (
    END,
    RESIZE,
    STATUS,
    STDERR,
    STDIN,
    STDOUT,
    Wanted,
)

Json = dict[str, Any]

PROTOCOL = "v4.channel.k8s.io"

_CHANNELS = {"error": STATUS, "stdin": STDIN, "stdout": STDOUT, "stderr": STDERR, "resize": RESIZE}
# As in Kubernetes (kubelet, StreamCreationTimeout).
_OPENING_SECONDS = 30.0
_LONGEST_LINE = 4096
# Pieces of input, 64 KiB at most, that may come before all streams are open.
_MOST_EARLY = 16


class SpdyClient:
    """A client of a process, at the other end of *connection*; `begin` comes first."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._streams: dict[int, int] = {}
        """From channels to streams."""
        self._waiting: deque[tuple[int, bytes]] = deque()
        self._taken = (0, 0)
        """The stream that was read last, and how many bytes of it."""
        self._sizes = b""

    async def begin(self, wanted: Wanted) -> bool:
        """Wait until the client has opened what it wants; False if it does not."""
        channels = {STATUS}
        channels |= {STDIN} if wanted.stdin else set()
        channels |= {STDOUT} if wanted.stdout else set()
        channels |= {STDERR} if wanted.stderr else set()
        channels |= {RESIZE} if wanted.tty else set()
        try:
            async with asyncio.timeout(_OPENING_SECONDS):
                while not channels <= set(self._streams):
                    if not await self._look() or len(self._waiting) > _MOST_EARLY:
                        return False
        except TimeoutError:
            return False
        return True

    async def receive(self) -> tuple[int, bytes] | None:
        """Return a channel and what came on it, or None when the client is gone."""
        await self._connection.taken(*self._taken)
        self._taken = (0, 0)
        while not self._waiting:
            if not await self._look():
                return None
        return self._waiting.popleft()

    async def send(self, channel: int, content: bytes) -> None:
        """Send, waiting while the client does not read."""
        if channel in self._streams:
            await self._connection.send(self._streams[channel], content)

    async def finish(self, status: Json) -> None:
        """Say how it ended, and that all is said."""
        await self.send(STATUS, msgspec.json.encode(status))
        for stream in self._streams.values():
            await self._connection.end(stream)

    async def _look(self) -> bool:
        """Deal with the next event; False when there is none any more."""
        event = await self._connection.next()
        match event:
            case None:
                return False
            case Opened(stream, headers):
                channel = _CHANNELS.get(headers.get("streamtype", ""))
                if channel is None or channel in self._streams:
                    await self._connection.reset(stream, spdy.REFUSED_STREAM)
                else:
                    self._streams[channel] = stream
                    await self._connection.accept(stream)
            case Data(stream, content):
                self._taken = (stream, len(content))
                if stream == self._streams.get(STDIN):
                    self._typed(content, ended=event.ended)
                elif stream == self._streams.get(RESIZE):
                    self._resized(content)
            case Reset(stream):
                if stream == self._streams.get(STDIN):
                    self._typed(b"", ended=True)
        return True

    def _typed(self, content: bytes, *, ended: bool) -> None:
        if content:
            self._waiting.append((STDIN, content))
        if ended:
            self._waiting.append((END, bytes([STDIN])))

    def _resized(self, content: bytes) -> None:
        *lines, rest = (self._sizes + content).split(b"\n")
        self._waiting.extend((RESIZE, line) for line in lines)
        self._sizes = rest[:_LONGEST_LINE]
