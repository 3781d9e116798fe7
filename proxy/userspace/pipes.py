"""Pipes through which bulk data moves between two sockets without being copied (splice).

A pipe is lent for one burst and is given back empty, so a few of them serve thousands of
connections. Only a connection whose receiver is slower than its sender keeps one longer; when all
are lent, the relay copies instead. That bounds the memory that stalled connections can hold.
"""

import contextlib
import fcntl
import logging
import os
from dataclasses import dataclass

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Pipe:
    """A pipe, how much fits in, and how many bytes wait in it."""

    reads: int
    writes: int
    size: int
    held: int = 0


class Pipes:
    """Lends pipes: at most *limit* of them, each of about *size* bytes."""

    def __init__(self, *, limit: int = 16, size: int = 1 << 19) -> None:
        self._limit = limit
        self._size = size
        self._idle: list[Pipe] = []
        self.made = 0  # pipes that exist, lent or not

    def take(self) -> Pipe | None:
        """Return an empty pipe, None when all are lent or no more can be made."""
        if self._idle:
            return self._idle.pop()
        if self.made >= self._limit:
            return None
        try:
            reads, writes = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            log.debug("no pipe for bulk data, copying instead: %s", error)
            return None
        self.made += 1
        return Pipe(reads, writes, self._enlarged(writes))

    def give_back(self, pipe: Pipe) -> None:
        """Take *pipe* back; one that still holds bytes of a dead connection is closed."""
        if pipe.held:
            self._close(pipe)
        else:
            self._idle.append(pipe)

    def close(self) -> None:
        """Close the pipes that are not lent."""
        while self._idle:
            self._close(self._idle.pop())

    def _close(self, pipe: Pipe) -> None:
        os.close(pipe.reads)
        os.close(pipe.writes)
        self.made -= 1

    def _enlarged(self, fd: int) -> int:
        # Refused beyond fs.pipe-max-size, or when the user holds many pipes already
        # (fs.pipe-user-pages-soft); a pipe of the default 64 KiB works as well, only slower.
        with contextlib.suppress(OSError):
            return fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, self._size)
        return fcntl.fcntl(fd, fcntl.F_GETPIPE_SZ)
