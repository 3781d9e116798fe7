"""The lines of one watch as they come: what changed since the last write, in one piece."""

import asyncio
from collections.abc import AsyncIterator

from podwire.emulator.apiserver.store import Change, Store
from podwire.emulator.apiserver.watch import Watch

_BOOKMARK_SECONDS = 60.0
LARGEST_BACKLOG = 32 * 1024 * 1024
"""Bytes by which a client may lag behind; then its watch ends, and it begins again."""


class Feed:
    """Collects a watch's lines while its client is busy reading."""

    def __init__(self, store: Store, collection: str, watch: Watch) -> None:
        # Opening and subscription happen without an await between: no change falls in a gap.
        self._watch = watch
        self._lines = list(watch.opening())
        self._size = 0
        self._wake = asyncio.Event()
        self._over = watch.over
        self._stop = store.subscribe(collection, self._tell)

    async def pieces(self, seconds: float) -> AsyncIterator[bytes]:
        """Yield lines, joined, for *seconds*; or until the watch or the server ends."""
        try:
            async with asyncio.timeout(seconds):
                while True:
                    if self._lines:
                        piece, self._lines, self._size = b"".join(self._lines), [], 0
                        yield piece
                        continue
                    if self._over:
                        return
                    if not await self._woken() and self._watch.bookmarks:
                        yield self._watch.bookmark()
        except TimeoutError:
            return
        finally:
            self.close()

    def close(self) -> None:
        """End the watch."""
        self._stop()
        self._over = True
        self._wake.set()

    async def _woken(self) -> bool:
        """Wait for a change; return False if there was none for a while."""
        self._wake.clear()
        try:
            async with asyncio.timeout(_BOOKMARK_SECONDS):
                await self._wake.wait()
        except TimeoutError:
            return False
        return True

    def _tell(self, change: Change) -> None:
        line = self._watch.line(change)
        if not line:
            return
        self._lines.append(line)
        self._size += len(line)
        if self._size > LARGEST_BACKLOG:
            self._lines.clear()
            self.close()
        self._wake.set()
