"""What a client sent for one connection that goes on elsewhere, and that waits there."""

import asyncio
from collections import deque

# Bytes of one connection that wait for the pod. Then all connections of the client wait: its SPDY
# knows no windows of single streams.
_LARGEST_BACKLOG = 1 << 20


class Backlog:
    """What a client sent for one connection and the pod has not taken yet."""

    def __init__(self) -> None:
        self._pieces: deque[bytes] = deque()
        self._size = 0
        self._ended = False
        self._changed = asyncio.Event()
        self.is_broken = False
        """The client wants no more of the connection, in either direction."""

    async def put(self, content: bytes) -> None:
        """Add *content*, waiting while there is too much."""
        if self.is_broken:
            return
        self._pieces.append(content)
        self._size += len(content)
        self._tell()
        while self._size > _LARGEST_BACKLOG and not self.is_broken:
            await self._changed.wait()

    async def get(self) -> bytes:
        """Return what came next, waiting for it; empty at the end."""
        while not self._pieces and not self._ended and not self.is_broken:
            await self._changed.wait()
        if self.is_broken or not self._pieces:
            return b""
        content = self._pieces.popleft()
        self._size -= len(content)
        self._tell()
        return content

    async def broken(self) -> None:
        """Wait until it `is_broken`."""
        while not self.is_broken:
            await self._changed.wait()

    def end(self) -> None:
        """Note that no more comes."""
        self._ended = True
        self._tell()

    def give_up(self) -> None:
        """Forget all: nobody reads any more, or the client is gone."""
        self.is_broken = True
        self._pieces.clear()
        self._size = 0
        self._tell()

    def _tell(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
