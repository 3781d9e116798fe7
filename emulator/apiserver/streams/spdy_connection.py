"""One SPDY connection over whatever carries bytes: answers pings, keeps count of the streams."""

from collections.abc import Iterator
from typing import Protocol

from podwire.emulator.apiserver.streams import spdy
from podwire.emulator.apiserver.streams.channels import Socket
from podwire.emulator.apiserver.streams.spdy import Data, Frame, Opened, Reset, SpdyError

Event = Opened | Data | Reset

_MOST_STREAMS = 2048
_PIECE = 1 << 20


class Line(Protocol):
    """Bytes in both directions: a TCP connection, or the messages of a WebSocket."""

    async def read(self) -> bytes:
        """Return what has come, waiting for the first byte; empty at the end."""
        ...

    async def write(self, content: bytes) -> None:
        """Send all of *content*, waiting while the other side does not read.

        Before the first wait *content* has its place in the order. Who has left is no error.
        """
        ...


class Tunnel:
    """A Line inside of a WebSocket: its messages, put together, are the bytes (KEP-4006)."""

    def __init__(self, socket: Socket) -> None:
        self._socket = socket

    async def read(self) -> bytes:
        """Return what has come, waiting for the first byte; empty at the end."""
        while (message := await self._socket.receive()) is not None:
            if isinstance(message, bytes) and message:
                return message
        return b""

    async def write(self, content: bytes) -> None:
        """Send all of *content*, waiting while the other side does not read."""
        await self._socket.send(content)


class Connection:
    """The streams of a client. Nothing happens unless somebody asks for the `next` event."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._framing = spdy.Framing()
        self._frames: Iterator[Frame] = iter(())
        self._theirs: set[int] = set()
        """Streams on which the client may still send."""
        self._ours: set[int] = set()
        """Streams on which we may."""

    async def next(self) -> Event | None:
        """Return what the client does next on one of its streams; None when it is gone.

        A new stream waits for `accept` or `reset`. While nobody asks for events the client has to
        wait: deal with one before asking for the next.
        """
        while True:
            try:
                for frame in self._frames:
                    event = await self._seen(frame)
                    if event is not None:
                        return event
            except SpdyError:
                last = self._framing.last
                await self._line.write(spdy.go_away(last, spdy.PROTOCOL_ERROR))
                return None
            content = await self._line.read()
            if not content:
                return None
            self._frames = self._framing.receive(content)

    async def accept(self, stream: int) -> None:
        """Tell the client that it can use the stream that it opened."""
        await self._line.write(self._framing.reply(stream))

    async def send(self, stream: int, content: bytes) -> None:
        """Send on a stream; nothing happens if the client does not want more."""
        for at in range(0, len(content), _PIECE):
            if stream in self._ours:
                await self._line.write(spdy.data(stream, content[at : at + _PIECE]))

    async def end(self, stream: int) -> None:
        """Send no more on a stream; the client still may."""
        if stream in self._ours:
            self._ours.discard(stream)
            await self._line.write(spdy.data(stream, b"", ended=True))

    async def reset(self, stream: int, why: int) -> None:
        """End a stream in both directions."""
        if stream in self._ours or stream in self._theirs:
            self._forget(stream)
            await self._line.write(spdy.reset(stream, why))

    async def taken(self, stream: int, count: int) -> None:
        """Let the client send *count* bytes more: so many of it were used."""
        if count and stream in self._theirs:
            await self._line.write(spdy.window_update(stream, count))

    async def _seen(self, frame: Frame) -> Event | None:
        match frame:
            case Opened(stream):
                self._ours.add(stream)
                if not frame.ended:
                    self._theirs.add(stream)
                if len(self._ours | self._theirs) <= _MOST_STREAMS:
                    return frame
                await self.reset(stream, spdy.REFUSED_STREAM)
            case Data(stream) if stream in self._theirs:
                if frame.ended:
                    self._theirs.discard(stream)
                return frame
            case Data(stream) if stream > self._framing.last or not stream & 1:
                await self._line.write(spdy.reset(stream, spdy.INVALID_STREAM))
            case Reset(stream) if stream in self._ours or stream in self._theirs:
                self._forget(stream)
                return frame
            case spdy.Ping():
                await self._line.write(spdy.pong(frame))
            case _:
                # What was on its way to a stream that is over; or GOAWAY: open streams go on.
                pass
        return None

    def _forget(self, stream: int) -> None:
        self._ours.discard(stream)
        self._theirs.discard(stream)
