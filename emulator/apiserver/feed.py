"""One watch on its connection: what changed in one turn of the loop, written in one piece.

The lines go straight to the transport as chunks of the answer's body (RFC 9112, 7.1): with a
thousand watchers of a kind a task to wake for each of them would cost more than the writing.
"""

import asyncio
from collections.abc import Iterator
from typing import Protocol

from podwire.emulator.apiserver.backlogs import Backlogs
from podwire.emulator.apiserver.store import Change, Store
from podwire.emulator.apiserver.watch import Watch

_BOOKMARK_SECONDS = 60.0
_PIECE = 256 * 1024


class Transport(Protocol):
    """What a feed needs of `asyncio.Transport`."""

    def write(self, data: bytes, /) -> None:
        """Send, or keep until the client reads."""
        ...

    def get_write_buffer_size(self) -> int:
        """Return how many bytes the client has still to read."""
        ...

    def is_closing(self) -> bool:
        """Tell whether the connection is over."""
        ...

    def abort(self) -> None:
        """End the connection at once."""
        ...


class Feed:
    """Writes a watch's lines to *transport*, on which an answer in chunks has begun.

    A client that lags further behind than *backlogs* bears is cut off, and begins again.
    """

    def __init__(
        self,
        store: Store,
        collection: str,
        watch: Watch,
        transport: Transport,
        backlogs: Backlogs,
    ) -> None:
        self._watch = watch
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        # Opening and subscription happen without an await between: no change falls in a gap.
        # A change that this watch does not see has an empty line, and an empty chunk is the end.
        self._lines = [line for line in watch.opening() if line]
        self._stop = store.subscribe(collection, self._tell)
        self._opening = sum(len(line) for line in self._lines)
        self._backlogs = backlogs
        self._write()
        backlogs.expect(transport, self._opening)
        if watch.over:
            self.close()

    async def run(self, seconds: float) -> None:
        """Return after *seconds*, or when the watch or the server ends."""
        ends = self._loop.time() + seconds
        try:
            while not self._ended.is_set():
                left = ends - self._loop.time()
                if left <= 0:
                    return
                if not await self._over_within(min(left, _BOOKMARK_SECONDS)):
                    self._tell_how_far(left)
        finally:
            self._write()
            self.close()

    def close(self) -> None:
        """End the watch."""
        self._stop()
        self._backlogs.forget(self._transport)
        self._ended.set()

    async def _over_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._ended.wait()
        except TimeoutError:
            return False
        return True

    def _tell_how_far(self, left: float) -> None:
        if self._watch.bookmarks and left > _BOOKMARK_SECONDS:
            self._lines.append(self._watch.bookmark())
            self._write()

    def _tell(self, change: Change) -> None:
        line = self._watch.line(change)
        if not line:
            return
        self._lines.append(line)
        if len(self._lines) == 1:
            self._loop.call_soon(self._write)

    def _write(self) -> None:
        lines, self._lines = self._lines, []
        transport = self._transport
        # After the end comes the last chunk, and perhaps another answer.
        if not lines or self._ended.is_set() or transport.is_closing():
            return
        if not self._backlogs.bears(transport, self._opening):
            self.close()
            transport.abort()
            return
        for piece in _pieces(lines):
            transport.write(b"%x\r\n%b\r\n" % (len(piece), piece))


def _pieces(lines: list[bytes]) -> Iterator[bytes]:
    """Yield *lines* together, but not too many: under TLS one write is passed on as a whole.

    What has been passed on is not in the transport's buffer any more: nobody sees the lag.
    """
    start = size = 0
    for end, line in enumerate(lines, 1):
        size += len(line)
        if size >= _PIECE:
            yield b"".join(lines[start:end])
            start, size = end, 0
    if size:
        yield b"".join(lines[start:])
