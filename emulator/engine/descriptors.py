"""Between descriptors and a hijacked connection: copies what a process reads and writes.

The descriptors are pipes, terminals or files of ours; they are made non-blocking, for whoever is at
their other end may live on the same event loop.
"""

import asyncio
import os
import termios
import tty
from collections.abc import AsyncIterable, Callable
from contextlib import suppress

from podwire.emulator.engine.streams import StreamName

_LARGEST_PIECE = 1 << 16


class Descriptors:
    """Our own copies of a process's three standard streams; -1 is /dev/null."""

    def __init__(self, stdin: int, stdout: int, stderr: int, *, terminal: bool) -> None:
        self.terminal = terminal
        self.stdin, self.stdout, self.stderr = (
            os.dup(fd) if fd >= 0 else -1 for fd in (stdin, stdout, stderr)
        )
        for fd in self._open():
            os.set_blocking(fd, False)
        if terminal and self.stdout >= 0:
            # The container's own terminal echoes and edits; done here as well, it would be twice.
            with suppress(termios.error):
                tty.setraw(self.stdout)

    async def copy_output(self, parts: AsyncIterable[tuple[StreamName, bytes]]) -> None:
        """Write *parts* until they end; what nobody reads is thrown away."""
        gone: set[int] = {-1}
        async for name, chunk in parts:
            fd = self.stderr if name == "stderr" else self.stdout
            if fd in gone:
                continue
            try:
                await _write(fd, chunk)
            except OSError:
                # EPIPE, EIO: the reader has left. The container must not wait for it.
                gone.add(fd)

    async def copy_input(self, writer: asyncio.StreamWriter) -> None:
        """Send what can be read until it ends, and then the end."""
        while chunk := await _read(self.stdin):
            writer.write(chunk)
            await writer.drain()
        writer.write_eof()

    def close(self) -> None:
        """Close our copies."""
        for fd in self._open():
            os.close(fd)
        self.stdin = self.stdout = self.stderr = -1

    def _open(self) -> list[int]:
        return [fd for fd in (self.stdin, self.stdout, self.stderr) if fd >= 0]


async def _write(fd: int, chunk: bytes) -> None:
    loop = asyncio.get_running_loop()
    view = memoryview(chunk)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            await _ready(fd, loop.add_writer, loop.remove_writer)


async def _read(fd: int) -> bytes:
    """Return what comes next, nothing at the end."""
    if fd < 0:
        return b""
    loop = asyncio.get_running_loop()
    while True:
        try:
            return os.read(fd, _LARGEST_PIECE)
        except BlockingIOError:
            await _ready(fd, loop.add_reader, loop.remove_reader)
        except OSError:
            return b""  # EIO: the terminal's other end is closed


async def _ready(
    fd: int, watch: Callable[[int, Callable[[], None]], object], forget: Callable[[int], object]
) -> None:
    ready = asyncio.Event()
    watch(fd, ready.set)
    try:
        await ready.wait()
    finally:
        forget(fd)
