"""Port forwarding: connections that a client accepted go on to ports of a pod.

Over SPDY (raw, or tunnelled in a WebSocket: KEP-4006) there are two streams for each connection,
`data` and `error`, with the same `requestid`. Over a plain WebSocket (v4.channel.k8s.io) there is
one connection for each port that the query names: channel 2i its data, 2i+1 its error.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from podwire.emulator.apiserver.agent import AgentError, Tcp
from podwire.emulator.apiserver.streams import spdy
from podwire.emulator.apiserver.streams.backlog import Backlog
from podwire.emulator.apiserver.streams.channels import Socket, frame_of
from podwire.emulator.apiserver.streams.spdy import Data, Opened, Reset
from podwire.emulator.apiserver.streams.spdy_connection import Connection, Line

TUNNEL = "SPDY/3.1+portforward.k8s.io"
"""The WebSocket subprotocol that carries SPDY."""
SPDY_PROTOCOL = "portforward.k8s.io"
CHANNELS = "v4.channel.k8s.io"

_PIECE = 64 << 10


@dataclass(frozen=True, slots=True)
class Target:
    """A pod whose ports are forwarded: how to connect, and how errors name it."""

    connect: Callable[[int], Awaitable[Tcp]]
    name: str
    uid: str

    def complaint(self, port: int, error: AgentError) -> bytes:
        """Return what kubectl prints (kubelet, portforward/httpstream.go)."""
        text = f"error forwarding port {port} to pod {self.name}, uid {self.uid}: {error.message}"
        return text.encode()


class _Way(Protocol):
    """One connection's way back to the client."""

    async def send(self, content: bytes) -> None:
        """Send what the pod said, waiting while the client does not read."""
        ...

    async def taken(self, count: int) -> None:
        """Note that the pod has taken *count* bytes."""
        ...

    async def end(self) -> None:
        """Say that the pod will say no more."""
        ...

    async def lose(self) -> None:
        """Say that the connection is broken."""
        ...

    async def fail(self, complaint: bytes) -> None:
        """Say why there is no connection."""
        ...


@dataclass(frozen=True, slots=True)
class _Pair:
    """The two streams of a connection over SPDY."""

    connection: Connection
    data: int
    error: int

    async def send(self, content: bytes) -> None:
        await self.connection.send(self.data, content)

    async def taken(self, count: int) -> None:
        await self.connection.taken(self.data, count)

    async def end(self) -> None:
        # kubectl waits for the end of both, whatever its own side still has to say.
        await self.connection.end(self.data)
        await self.connection.end(self.error)

    async def lose(self) -> None:
        # Without words: they would make kubectl end all that it forwards.
        await self.connection.reset(self.data, spdy.CANCEL)
        await self.connection.end(self.error)

    async def fail(self, complaint: bytes) -> None:
        await self.connection.send(self.error, complaint)
        await self.end()


@dataclass(frozen=True, slots=True)
class _Channels:
    """The two channels of a connection over a WebSocket."""

    socket: Socket
    data: int
    backlog: Backlog

    async def send(self, content: bytes) -> None:
        await self.socket.send(bytes([self.data]) + content)

    async def taken(self, count: int) -> None:
        del count

    async def end(self) -> None:
        self.backlog.give_up()  # nothing here can say "one half is closed"

    async def lose(self) -> None:
        self.backlog.give_up()

    async def fail(self, complaint: bytes) -> None:
        await self.socket.send(bytes([self.data + 1]) + complaint)


async def over_spdy(line: Line, target: Target) -> None:
    """Forward what a client sends over SPDY until it is gone."""
    connection = Connection(line)
    # Streams that wait for their partner, by request; and those of connections, by data stream.
    single: dict[str, dict[str, int]] = {}
    backlogs: dict[int, Backlog] = {}
    running: set[asyncio.Task[None]] = set()
    async with asyncio.TaskGroup() as tasks:
        while (event := await connection.next()) is not None:
            match event:
                case Opened(stream, headers):
                    port, kind = _port(headers.get("port", "")), headers.get("streamtype", "")
                    request = headers.get("requestid") or _request(stream, kind)
                    pair = single.setdefault(request, {})
                    if port is None or kind not in ("data", "error") or kind in pair:
                        await connection.reset(stream, spdy.REFUSED_STREAM)
                        continue
                    await connection.accept(stream)
                    pair[kind] = stream
                    if kind == "data":
                        backlogs[stream] = Backlog()
                        if event.ended:
                            backlogs[stream].end()
                    if len(pair) == 2:
                        del single[request]
                        way = _Pair(connection, pair["data"], pair["error"])
                        backlog = backlogs[way.data]
                        task = tasks.create_task(_forward(target, port, backlog, way))
                        running.add(task)
                        task.add_done_callback(running.discard)
                        task.add_done_callback(partial(_forget, backlogs, way.data))
                case Data(stream, content):
                    if stream in backlogs:
                        await backlogs[stream].put(content)
                        if event.ended:
                            backlogs[stream].end()
                case Reset(stream):
                    if stream in backlogs:
                        backlogs[stream].give_up()
        for task in running:
            task.cancel()


def _forget(backlogs: dict[int, Backlog], stream: int, _: object) -> None:
    # Whoever still puts something into it must not wait.
    backlogs.pop(stream).give_up()


async def over_channels(socket: Socket, ports: Sequence[int], target: Target) -> None:
    """Forward one connection to each of *ports* until all have ended or the client is gone."""
    backlogs = [Backlog() for _ in ports]
    async with asyncio.TaskGroup() as tasks:
        for n, port in enumerate(ports):
            for channel in (2 * n, 2 * n + 1):
                await socket.send(bytes([channel]) + port.to_bytes(2, "little"))
        hearing = tasks.create_task(_hear(socket, backlogs))
        forwards = [
            tasks.create_task(_forward(target, port, backlog, _Channels(socket, 2 * n, backlog)))
            for n, (port, backlog) in enumerate(zip(ports, backlogs, strict=True))
        ]
        everything = tasks.create_task(_all(forwards))
        await asyncio.wait([hearing, everything], return_when=asyncio.FIRST_COMPLETED)
        if everything.done():
            await socket.close()
        for task in (hearing, everything, *forwards):
            task.cancel()


async def _all(tasks: Sequence[asyncio.Task[None]]) -> None:
    await asyncio.wait(tasks)


async def _hear(socket: Socket, backlogs: Sequence[Backlog]) -> None:
    while (message := await socket.receive()) is not None:
        frame = frame_of(message)
        if frame and frame[0] % 2 == 0 and frame[0] < 2 * len(backlogs):
            await backlogs[frame[0] // 2].put(frame[1:])


async def _forward(target: Target, port: int, backlog: Backlog, way: _Way) -> None:
    """Relay one connection until both sides have said all, or one of them is gone."""
    try:
        reader, writer = await target.connect(port)
    except AgentError as error:
        backlog.give_up()
        await way.fail(target.complaint(port, error))
        return
    try:
        async with asyncio.TaskGroup() as tasks:
            broken = tasks.create_task(backlog.broken())
            pumps = {
                tasks.create_task(_up(backlog, writer, way)),
                tasks.create_task(_down(backlog, reader, way)),
            }
            while pumps and not broken.done():
                done, _ = await asyncio.wait({*pumps, broken}, return_when=asyncio.FIRST_COMPLETED)
                pumps -= done
            for task in (broken, *pumps):
                task.cancel()
        if backlog.is_broken:
            await way.lose()
    finally:
        if backlog.is_broken:
            writer.transport.abort()
        writer.close()


async def _up(backlog: Backlog, writer: asyncio.StreamWriter, way: _Way) -> None:
    try:
        while content := await backlog.get():
            writer.write(content)
            await writer.drain()
            await way.taken(len(content))
        if not backlog.is_broken:
            writer.write_eof()
    except OSError:
        backlog.give_up()


async def _down(backlog: Backlog, reader: asyncio.StreamReader, way: _Way) -> None:
    try:
        while content := await reader.read(_PIECE):
            await way.send(content)
        await way.end()
    except OSError:
        backlog.give_up()


def _request(stream: int, kind: str) -> str:
    # Of clients that name no request: the error stream's number, and data comes right after it.
    return str(stream - 2 if kind == "data" else stream)


def _port(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and 0 < int(text[:6]) < 65536 else None
