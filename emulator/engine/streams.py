"""What a hijacked connection carries: standard output and error in frames, or a terminal's bytes.

A frame is one byte stream number, three of nothing, four of length, and so many bytes (Docker
Engine API, ContainerAttach).
"""

import asyncio
import struct
from collections.abc import AsyncIterable, AsyncIterator
from typing import Literal

StreamName = Literal["stdout", "stderr"]

_HEADER = struct.Struct(">BxxxL")
# 0 is stdin, written on stdout. 3 carries the engine's own complaints.
_NAMES: dict[int, StreamName] = {0: "stdout", 1: "stdout", 2: "stderr", 3: "stderr"}
_LARGEST_PIECE = 1 << 16


class Frames:
    """Takes bytes as they come, gives the parts of the frames in them."""

    def __init__(self) -> None:
        self._header = b""
        self._name: StreamName = "stdout"
        self._missing = 0

    def feed(self, chunk: bytes) -> list[tuple[StreamName, bytes]]:
        """Return what *chunk* adds to each stream, in order; raises ValueError for no frame."""
        parts: list[tuple[StreamName, bytes]] = []
        while chunk:
            if not self._missing:
                needed = _HEADER.size - len(self._header)
                self._header, chunk = self._header + chunk[:needed], chunk[needed:]
                if len(self._header) < _HEADER.size:
                    break
                number, self._missing = _HEADER.unpack(self._header)
                if number not in _NAMES:
                    raise ValueError(f"no frame of the engine: {self._header!r}")
                self._name, self._header = _NAMES[number], b""
                continue
            part, chunk = chunk[: self._missing], chunk[self._missing :]
            self._missing -= len(part)
            parts.append((self._name, part))
        return parts


async def demultiplexed(
    chunks: AsyncIterable[bytes], *, tty: bool = False
) -> AsyncIterator[tuple[StreamName, bytes]]:
    """Yield which stream said what; of a terminal all is stdout."""
    frames = Frames()
    async for chunk in chunks:
        if tty:
            yield "stdout", chunk
        else:
            for part in frames.feed(chunk):
                yield part


async def messages(chunks: AsyncIterable[bytes]) -> AsyncIterator[tuple[StreamName, bytes]]:
    """Yield whole frames, for a log has one for each line; raises ValueError for no frame."""
    held = bytearray()
    async for chunk in chunks:
        held += chunk
        at = 0
        while len(held) - at >= _HEADER.size:
            number, length = _HEADER.unpack_from(held, at)
            if number not in _NAMES:
                raise ValueError(f"no frame of the engine: {bytes(held[at : at + 8])!r}")
            begin = at + _HEADER.size
            if len(held) < begin + length:
                break
            at = begin + length
            yield _NAMES[number], bytes(held[begin:at])
        del held[:at]


async def stamped(chunks: AsyncIterable[bytes]) -> AsyncIterator[tuple[StreamName, bytes]]:
    """Yield the lines of a log with times, as `stamped_line` writes them."""
    async for name, message in messages(chunks):
        yield name, stamped_line(message)


def stamped_line(message: bytes) -> bytes:
    """Return `TIME text` of a log as `TIME F text`, or P for what the engine cut in its middle."""
    time, _, text = message.partition(b" ")
    whole = text.endswith(b"\n")
    return b"%s %s %s\n" % (time, b"F" if whole else b"P", text[:-1] if whole else text)


async def pieces(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """Yield what comes over a hijacked connection until its end."""
    while chunk := await reader.read(_LARGEST_PIECE):
        yield chunk
