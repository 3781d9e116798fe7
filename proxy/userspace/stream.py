"""Carries bytes between two connected TCP sockets, each way on its own, until both have ended.

Small messages are received and sent through one buffer; a direction that fills it again and again
moves by splice through a pipe. When the receiver cannot take more, the sender is not read: at most
one buffer or one pipe waits. The end of one direction is passed on as the end of that direction
(half-close), a reset as a reset.
"""

import os
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, field

from podwire.proxy.userspace.pipes import Pipe, Pipes
from podwire.proxy.userspace.readiness import Readiness

BUFFER = 1 << 16
"""Bytes that are received at once, and kept at most for a receiver that does not read."""

_BULK_AFTER = 2  # full buffers in a row
_PIPES_AT_ONCE = 4  # between which no other connection has its turn
_QUIET_BELOW = 1 << 14  # bytes moved at once, below which a direction is no longer bulk
_SPLICE = 0x01 | 0x02  # SPLICE_F_MOVE | SPLICE_F_NONBLOCK (linux/splice.h)
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


def reset(sock: socket.socket) -> None:
    """Close *sock* so that its peer sees a reset, not an orderly end."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    finally:
        sock.close()


@dataclass(slots=True)
class Machinery:
    """What all streams of a relay share: readiness, pipes, and one buffer (they take turns)."""

    ready: Readiness
    pipes: Pipes
    buffer: bytearray = field(default_factory=lambda: bytearray(BUFFER))
    view: memoryview = field(init=False)
    bytes_carried: int = 0

    def __post_init__(self) -> None:
        self.view = memoryview(self.buffer)


class Stream:
    """Two sockets that are joined. Calls *over* once, when both are closed."""

    __slots__ = ("_backward", "_forward", "_over", "broken", "machinery")

    def __init__(
        self,
        client: socket.socket,
        backend: socket.socket,
        machinery: Machinery,
        over: "Callable[[Stream], None]",
    ) -> None:
        self.machinery = machinery
        self.broken = False
        self._over: Callable[[Stream], None] | None = over
        self._forward = _Direction(client, backend, self)
        self._backward = _Direction(backend, client, self)
        self._forward.opposite = self._backward
        self._backward.opposite = self._forward

    def start(self) -> None:
        """Begin to carry; what the client has sent so far is carried at once."""
        self._backward.start()
        self._forward.start()
        self._forward.readable()

    def finished(self) -> None:
        """Close both sockets in order if both directions have ended."""
        if self._forward.ended and self._backward.ended:
            if self.broken:
                self.abort()
            else:
                self._close(socket.socket.close)

    def abort(self) -> None:
        """Reset both sockets."""
        self._close(reset)

    def _close(self, close: Callable[[socket.socket], None]) -> None:
        over, self._over = self._over, None
        if over is None:
            return
        self._forward.forget()
        self._backward.forget()
        close(self._forward.source)
        close(self._forward.sink)
        over(self)


class _Direction:
    """One way through a stream: from *source* to *sink*."""

    __slots__ = (
        "_full",
        "_machinery",
        "_pending",
        "_pipe",
        "_reading",
        "_sink_fd",
        "_source_fd",
        "_stalled",
        "_stream",
        "ended",
        "opposite",
        "sink",
        "source",
    )

    opposite: "_Direction"

    def __init__(self, source: socket.socket, sink: socket.socket, stream: Stream) -> None:
        self.source = source
        self.sink = sink
        self.ended = False
        self._source_fd = source.fileno()
        self._sink_fd = sink.fileno()
        self._stream = stream
        self._machinery = stream.machinery
        self._pending = b""
        self._pipe: Pipe | None = None
        self._full = 0  # full buffers in a row; from _BULK_AFTER on this direction is bulk
        self._reading = False
        self._stalled = False

    def start(self) -> None:
        self._reading = True
        self._machinery.ready.add_reader(self._source_fd, self.readable)

    def stop(self) -> None:
        self._pause()
        if self._stalled:
            self._stalled = False
            self._machinery.ready.remove_writer(self._sink_fd)
        self._release()
        self._pending = b""

    def forget(self) -> None:
        """Stop, when the source is about to be closed; the sink is the other direction's source."""
        self._machinery.ready.forget(self._source_fd)
        self._reading = self._stalled = False
        self._release()
        self._pending = b""

    def readable(self) -> None:
        """Carry what the source has sent."""
        if self._full >= _BULK_AFTER:
            pipe = self._machinery.pipes.take()
            if pipe is not None:
                self._pipe = pipe
                self._move(pipe)
                return
        machinery = self._machinery
        try:
            count = self.source.recv_into(machinery.buffer)
        except BlockingIOError:
            return
        except OSError:
            self._source_failed()
            return
        if not count:
            self._end()
            return
        machinery.bytes_carried += count
        try:
            sent = self.sink.send(machinery.view[:count])
        except BlockingIOError:
            sent = 0
        except OSError:
            self._sink_failed()
            return
        if sent < count:
            self._pending = bytes(machinery.view[sent:count])
            self._stall()
        self._full = self._full + 1 if count == BUFFER else 0

    def _move(self, pipe: Pipe) -> None:
        """Move some pipes full; *pipe* is given back empty, or kept while the sink stalls."""
        for _ in range(_PIPES_AT_ONCE):
            try:
                count = os.splice(self._source_fd, pipe.writes, pipe.size, flags=_SPLICE)
            except BlockingIOError:
                break
            except OSError:
                self._source_failed()
                return
            if not count:
                self._release()
                self._end()
                return
            pipe.held = count
            self._machinery.bytes_carried += count
            if not self._drain(pipe):
                return
            if count < pipe.size:
                # A trickle is no longer bulk.
                self._full = 0 if count < _QUIET_BELOW else self._full
                break
        self._release()

    def _drain(self, pipe: Pipe) -> bool:
        """Empty *pipe* into the sink; False when the sink takes no more or has failed."""
        while pipe.held:
            try:
                pipe.held -= os.splice(pipe.reads, self._sink_fd, pipe.held, flags=_SPLICE)
            except BlockingIOError:
                self._stall()
                return False
            except OSError:
                self._sink_failed()
                return False
        return True

    def _writable(self) -> None:
        if self._pipe is not None:
            if not self._drain(self._pipe):
                return
            self._release()
        elif self._pending:
            try:
                sent = self.sink.send(self._pending)
            except BlockingIOError:
                return
            except OSError:
                self._sink_failed()
                return
            self._pending = self._pending[sent:]
            if self._pending:
                return
        self._stalled = False
        self._machinery.ready.remove_writer(self._sink_fd)
        self.start()

    def _stall(self) -> None:
        if not self._stalled:
            self._pause()
            self._stalled = True
            self._machinery.ready.add_writer(self._sink_fd, self._writable)

    def _pause(self) -> None:
        if self._reading:
            self._reading = False
            self._machinery.ready.remove_reader(self._source_fd)

    def _release(self) -> None:
        if self._pipe is not None:
            self._machinery.pipes.give_back(self._pipe)
            self._pipe = None

    def _end(self) -> None:
        """Pass on that the source sends no more."""
        self.ended = True
        if self.opposite.ended:
            self._stream.finished()  # closes both
            return
        self._reading = False
        self._machinery.ready.read_no_more(self._source_fd, self._stream.abort)
        if not self._stream.broken:
            try:
                self.sink.shutdown(socket.SHUT_WR)
            except OSError:
                self._stream.abort()
                return
        self._stream.finished()

    def _source_failed(self) -> None:
        self._stream.abort()

    def _sink_failed(self) -> None:
        """Stop this direction, but let through what the sink said before it closed.

        A server may answer and close while its client still sends: the answer must arrive, and the
        reset after it.
        """
        self.stop()
        self._stream.broken = True
        self.ended = True
        self._stream.finished()
