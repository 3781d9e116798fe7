"""Reading and writing pipes and ptys without blocking the loop, one piece at a time."""

import asyncio
import errno
import os
from collections.abc import Callable

_PIECE = 32 * 1024


async def read(fd: int, size: int = _PIECE) -> bytes:
    """Return what is there, waiting for the first byte; empty at the end."""
    while True:
        try:
            return os.read(fd, size)
        except BlockingIOError:
            loop = asyncio.get_running_loop()
            await _ready(fd, loop.add_reader, loop.remove_reader)
        except OSError as error:
            # What reading a pty whose other side is closed says instead of "end of file".
            if error.errno == errno.EIO:
                return b""
            raise


async def write(fd: int, content: bytes) -> None:
    """Write all of *content*; raises BrokenPipeError when nobody reads any more."""
    rest = memoryview(content)
    while rest:
        try:
            rest = rest[os.write(fd, rest) :]
        except BlockingIOError:
            loop = asyncio.get_running_loop()
            await _ready(fd, loop.add_writer, loop.remove_writer)


async def _ready(
    fd: int,
    add: Callable[[int, Callable[[], None]], object],
    remove: Callable[[int], object],
) -> None:
    ready = asyncio.Event()
    add(fd, ready.set)
    try:
        await ready.wait()
    finally:
        remove(fd)
