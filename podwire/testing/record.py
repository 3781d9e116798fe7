"""The caller's side of the capture agent: an order out, a growing pcapng file in."""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Callable

from podwire.emulator.trace import pcapng
from podwire.emulator.trace.agent import SOCKET_PATH, Order
from podwire.errors import MachineError


class Recording:
    """A capture that runs, or has run; whole only after its block has been left."""

    def __init__(self, sink: Callable[[bytes], None] | None = None) -> None:
        self._data = bytearray()
        self._sink = sink or self._data.extend

    def take(self, chunk: bytes) -> None:
        """Add bytes of the stream."""
        self._sink(chunk)

    def capture(self) -> pcapng.Capture:
        """Return what has been captured so far."""
        return pcapng.decode(bytes(self._data))


@contextlib.asynccontextmanager
async def record(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    order: Order,
    *,
    sink: Callable[[bytes], None] | None = None,
) -> AsyncGenerator[Recording]:
    """Capture while the block runs; it is entered when every socket is armed.

    With *sink* the bytes go there (a file's write) and the recording keeps none. Raises
    MachineError if the agent refuses.
    """
    recording = Recording(sink)
    writer.write(order.line())
    await writer.drain()
    first = await reader.read(65536)
    if not first.startswith(b"\x0a\x0d\x0d\x0a"):
        raise MachineError(_refusal(first + await reader.read()))
    recording.take(first)
    async with asyncio.TaskGroup() as tasks:
        copying = tasks.create_task(_copy(reader, recording))
        try:
            yield recording
            writer.write(b"stop\n")
            await writer.drain()
            await copying
        finally:
            copying.cancel()
            writer.close()


@contextlib.asynccontextmanager
async def record_at(
    order: Order, *, path: str = SOCKET_PATH, sink: Callable[[bytes], None] | None = None
) -> AsyncGenerator[Recording]:
    """Capture by the agent that listens at *path*, as `record` does."""
    try:
        reader, writer = await asyncio.open_unix_connection(path)
    except OSError as error:
        raise MachineError(
            f"the capture agent does not answer at {path}: {error.strerror}\n"
            "  it is started with the cluster; see: podwire status"
        ) from error
    async with record(reader, writer, order, sink=sink) as recording:
        yield recording


async def _copy(reader: asyncio.StreamReader, recording: Recording) -> None:
    while chunk := await reader.read(1 << 20):
        recording.take(chunk)


def _refusal(answer: bytes) -> str:
    try:
        return f"the capture agent refused: {json.loads(answer)['error']}"
    except (ValueError, KeyError, TypeError):
        return "the capture agent went away before the capture began"
