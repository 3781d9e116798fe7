"""The TCP side of the server: messages of a stream in, replies out, within deadlines and limits.

The deadlines are those of RFC 7766 and CoreDNS: 3 s for the whole first message, 10 s for each
later one, 5 s for a client that does not read its replies. No byte extends them.
"""

from __future__ import annotations

import asyncio
import struct
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Protocol, cast

from podwire.dns.messages.message import Transport
from podwire.dns.serving.stepping import begin

FIRST_MESSAGE_TIMEOUT: Final = 3.0
NEXT_MESSAGE_TIMEOUT: Final = 10.0
WRITE_TIMEOUT: Final = 5.0
MOST_CONNECTIONS: Final = 512
MOST_CONNECTIONS_OF_ONE: Final = 256
MOST_WAITING: Final = 64
"""How many messages of one connection wait for those before them to be answered."""
MOST_BYTES_WAITING: Final = 1 << 17
"""How long they are together: 512 connections with 64 of 64 KB each would take 2 GB."""


class Answers(Protocol):
    """What stands behind the sockets."""

    def kept(self, transport: Transport) -> Callable[[bytes], bytes | None]:
        """Return what gives the reply that needs no work, or None; both without their IDs.

        It may be used until the loop's next turn.
        """
        ...

    async def answer(
        self, packet: bytes, client: tuple[str, int], transport: Transport
    ) -> Iterable[bytes]:
        """Return the reply: one message, none, or several for a zone transfer. Never raises."""
        ...


@dataclass(frozen=True, slots=True)
class Timeouts:
    """The deadlines of a TCP connection, seconds."""

    first_message: float = FIRST_MESSAGE_TIMEOUT
    next_message: float = NEXT_MESSAGE_TIMEOUT
    write: float = WRITE_TIMEOUT


class Connections:
    """All open TCP connections; the one that was quiet longest makes room for a new one."""

    def __init__(self) -> None:
        self._open: OrderedDict[Connection, str] = OrderedDict()
        self._of: dict[str, int] = {}

    def add(self, connection: Connection, host: str) -> None:
        """Take in a new connection of *host*, closing an old one if there are too many."""
        if self._of.get(host, 0) >= MOST_CONNECTIONS_OF_ONE:
            next(c for c, other in self._open.items() if other == host).abort()
        elif len(self._open) >= MOST_CONNECTIONS:
            next(iter(self._open)).abort()
        self._open[connection] = host
        self._of[host] = self._of.get(host, 0) + 1

    def spoke(self, connection: Connection) -> None:
        """Note that a connection was of use just now."""
        if connection in self._open:
            self._open.move_to_end(connection)

    def remove(self, connection: Connection) -> None:
        """Forget a connection; harmless if it is forgotten already."""
        host = self._open.pop(connection, None)
        if host is not None:
            self._of[host] -= 1
            if not self._of[host]:
                del self._of[host]

    def close_all(self) -> None:
        """Close every connection at once."""
        for connection in tuple(self._open):
            connection.abort()


class Connection(asyncio.Protocol):
    """One TCP client: messages in, replies out, in order."""

    def __init__(
        self,
        answers: Answers,
        tasks: asyncio.TaskGroup,
        connections: Connections,
        timeouts: Timeouts,
    ) -> None:
        self._answers = answers
        self._tasks = tasks
        self._connections = connections
        self._timeouts = timeouts
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._client = ("", 0)
        self._buffer = bytearray()
        self._waiting: deque[bytes] = deque()
        self._bytes_waiting = 0
        self._is_answering = False
        self._is_at_end = False
        self._can_write = asyncio.Event()
        self._can_write.set()
        self._deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None

    # What the loop tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the clock of the first message."""
        # uvloop's transports are no subclasses of asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername") or ("", 0)
        self._client = (str(peer[0]), int(peer[1]))
        self._transport.set_write_buffer_limits(high=1 << 17)
        self._connections.add(self, self._client[0])
        self._deadline = self._loop.time() + self._timeouts.first_message
        self._timer = self._loop.call_at(self._deadline, self._out_of_time)

    def data_received(self, data: bytes) -> None:
        """Cut the stream into messages: two bytes of length before each (RFC 1035, 4.2.2)."""
        self._buffer += data
        while len(self._buffer) >= 2:
            (size,) = struct.unpack_from("!H", self._buffer)
            if len(self._buffer) < size + 2:
                break
            self._waiting.append(bytes(self._buffer[2 : size + 2]))
            self._bytes_waiting += size
            del self._buffer[: size + 2]
        is_much = len(self._waiting) >= MOST_WAITING or self._bytes_waiting >= MOST_BYTES_WAITING
        if is_much and self._transport is not None:
            self._transport.pause_reading()
        if self._waiting and not self._is_answering:
            self._is_answering = True
            begin(self._answer_all(), self._tasks)

    def eof_received(self) -> bool:
        """Close once what was asked is answered: a client may ask, then shut its side."""
        self._is_at_end = True
        return self._is_answering

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the client."""
        del exc
        self._connections.remove(self)
        self._waiting.clear()
        self._transport = None
        self._can_write.set()
        for timer in (self._timer, self._write_timer):
            if timer is not None:
                timer.cancel()

    def pause_writing(self) -> None:
        """Start the clock of a client that does not read."""
        self._can_write.clear()
        self._write_timer = self._loop.call_later(self._timeouts.write, self.abort)

    def resume_writing(self) -> None:
        """Go on: it read."""
        self._can_write.set()
        if self._write_timer is not None:
            self._write_timer.cancel()

    # What we do

    def abort(self) -> None:
        """Close at once; what is unsent is lost."""
        self._connections.remove(self)
        if self._transport is not None:
            self._transport.abort()

    async def _answer_all(self) -> None:
        answered = 0
        while self._waiting:
            packet = self._waiting.popleft()
            self._bytes_waiting -= len(packet)
            kept = self._answers.kept("tcp")(packet[2:])
            if kept is not None:
                replies: Iterable[bytes] = (packet[:2] + kept,)
            else:
                replies = await self._answers.answer(packet, self._client, "tcp")
            for nth, reply in enumerate(replies):
                if nth:
                    # A zone takes long to write; others ask meanwhile.
                    await asyncio.sleep(0)
                await self._can_write.wait()
                if self._transport is None:
                    break
                self._write(reply)
            answered += 1
            if answered % MOST_WAITING == 0:
                # One client's long queue must not hold up the others.
                await asyncio.sleep(0)
        self._is_answering = False
        self._deadline = self._loop.time() + self._timeouts.next_message
        self._connections.spoke(self)
        self._read_on()

    def _write(self, reply: bytes) -> None:
        # The client may have gone while its question was answered.
        if self._transport is not None:
            self._transport.write(struct.pack("!H", len(reply)) + reply)

    def _read_on(self) -> None:
        if self._transport is not None:
            if self._is_at_end:
                self._transport.close()
            else:
                self._transport.resume_reading()

    def _out_of_time(self) -> None:
        # One timer per connection: it looks whether the deadline moved while it slept.
        if self._transport is None:
            return
        now = self._loop.time()
        if self._is_answering:
            self._timer = self._loop.call_later(self._timeouts.next_message, self._out_of_time)
        elif self._deadline > now:
            self._timer = self._loop.call_at(self._deadline, self._out_of_time)
        else:
            with suppress(OSError):
                self._transport.close()
