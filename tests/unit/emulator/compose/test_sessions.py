"""Processes behind the engine, relayed to a client: what both sides see."""

import asyncio
import socket
import struct
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import msgspec
import pytest

from podwire.emulator.apiserver.streams import channels, streams
from podwire.emulator.compose.sessions import EngineSession
from podwire.emulator.engine.client import Engine, EngineError

OUT, ERR = 1, 2


@dataclass
class Process:
    """The far end of a hijacked connection, as a test plays it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    code: int = 0
    running: bool = True
    container_gone: bool = False
    asked: int = 0

    async def get(self, _path: str) -> dict[str, Any]:
        """Answer as the engine does to /exec/ID/json."""
        self.asked += 1
        if self.container_gone:
            raise EngineError(404, "no such exec")
        if self.asked > 2:  # a process ends a little later than its streams
            self.running = False
        return {"Running": self.running, "ExitCode": None if self.running else self.code}

    def says(self, text: bytes, stream: int = OUT) -> None:
        self.writer.write(struct.pack(">BxxxL", stream, len(text)) + text)

    def prints(self, text: bytes) -> None:
        self.writer.write(text)

    def ends(self, code: int = 0) -> None:
        self.code = code
        self.writer.close()


@dataclass
class Client:
    """A WebSocket, as a test plays it."""

    frames: asyncio.Queue[bytes | None] = field(default_factory=asyncio.Queue[bytes | None])
    seen: list[bytes] = field(default_factory=list[bytes])

    async def receive(self) -> bytes | str | None:
        return await self.frames.get()

    async def send(self, message: bytes | str) -> None:
        assert isinstance(message, bytes)
        self.seen.append(message)

    async def close(self) -> None:
        self.frames.put_nowait(None)

    def text(self, channel: int) -> bytes:
        return b"".join(frame[1:] for frame in self.seen if frame[0] == channel)

    @property
    def outcome(self) -> str:
        """Return how the command ended, in words."""
        status = msgspec.json.decode(self.text(3))
        return str(status["details"]["causes"][0]["message"] if "details" in status else "success")


@dataclass
class Pair:
    process: Process
    session: EngineSession
    client: Client
    resized: list[tuple[str, dict[str, int]]]
    left: list[str]

    async def run(self, **wanted: bool) -> None:
        client = channels.ChannelClient(self.client)
        await streams.run(client, self.session, streams.Wanted(stdout=True, **wanted))


@asynccontextmanager
async def session(**wanted: bool) -> AsyncGenerator[Pair]:
    ours, theirs = socket.socketpair()
    process = Process(*await asyncio.open_connection(sock=theirs))
    resized: list[tuple[str, dict[str, int]]] = []
    left: list[str] = []
    asked = {"stdin": False, "stderr": False, "tty": False} | wanted
    made = EngineSession(
        cast(Engine, process),
        "/exec/1",
        await asyncio.open_connection(sock=ours),
        framed=not asked["tty"],
        later=lambda path, query: resized.append((path, query)),
        left=lambda: left.append("left"),
        **asked,
    )
    try:
        yield Pair(process, made, Client(), resized, left)
    finally:
        process.writer.close()


async def test_output_errors_and_the_exit_code() -> None:
    async with session(stderr=True) as pair:
        pair.process.says(b"out")
        pair.process.says(b"err", ERR)
        pair.process.says(b"more")
        pair.process.ends(7)
        await pair.run(stderr=True)
        assert (pair.client.text(1), pair.client.text(2)) == (b"outmore", b"err")
        assert pair.client.outcome == "7"
        assert pair.left == []


async def test_errors_that_nobody_wants_are_dropped() -> None:
    async with session() as pair:
        pair.process.says(b"err", ERR)
        pair.process.says(b"out")
        pair.process.ends()
        await pair.run()
        assert pair.client.seen[0] == b"\x01out"


async def test_input_and_its_end_reach_the_process() -> None:
    async with session(stdin=True) as pair:
        pair.client.frames.put_nowait(b"\0typed")
        pair.client.frames.put_nowait(b"\xff\0")

        async def cat() -> None:
            pair.process.says(await pair.process.reader.read())
            pair.process.ends()

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(cat())
            await pair.run(stdin=True)
        assert pair.client.text(1) == b"typed"


@pytest.mark.parametrize("typed", [b"", b"not read any more"])
async def test_a_terminal_is_one_stream_both_ways(typed: bytes) -> None:
    async with session(stdin=True, tty=True) as pair:
        pair.client.frames.put_nowait(b'\4{"Width":100,"Height":30}')
        pair.client.frames.put_nowait(b"\0ls\n")

        async def shell() -> None:
            assert await pair.process.reader.readline() == b"ls\n"
            pair.process.prints(b"file\r\n")
            if typed:
                pair.client.frames.put_nowait(b"\0" + typed)
            pair.process.ends()

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(shell())
            await pair.run(stdin=True, tty=True)
        assert pair.client.text(1) == b"file\r\n"
        assert pair.client.outcome == "success"
        assert pair.resized == [("/exec/1/resize", {"h": 30, "w": 100})]


async def test_a_client_that_leaves_has_its_process_ended() -> None:
    async with session() as pair:
        pair.client.frames.put_nowait(None)
        await pair.run()
        assert pair.left == ["left"]
        assert await pair.process.reader.read() == b""


async def test_a_process_whose_container_is_removed_was_killed() -> None:
    async with session() as pair:
        pair.process.container_gone = True
        pair.process.ends()
        await pair.run()
        assert pair.client.outcome == "137"


async def test_much_output_waits_for_a_slow_client() -> None:
    async with session() as pair:
        for _ in range(200):
            pair.process.says(b"x" * 10_000)
        pair.process.ends()
        await pair.run()
        assert len(pair.client.text(1)) == 2_000_000
