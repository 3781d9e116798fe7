"""Talks to the capture agent, a process of its own that is started when it is first needed."""

import asyncio
import sys
from asyncio.subprocess import DEVNULL
from asyncio.subprocess import Process as Child
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Protocol

from podwire.emulator.apiserver.agent import AgentError, CapturePoint, Instruction
from podwire.emulator.sandbox.forks import Forks
from podwire.emulator.sandbox.processes import Place, Program, StartError
from podwire.emulator.trace.agent import Order, Point

PATIENCE = 15.0
_PROGRAM = "podwire.emulator.trace.agent"


class Running(Protocol):
    """A process that serves captures."""

    @property
    def running(self) -> bool:
        """Tell whether it has not ended yet."""
        ...


Start = Callable[[Path], Awaitable[Running]]
"""Starts an agent that will listen at that path; raises OSError or StartError."""


def forked(forks: Forks) -> Start:
    """Return how to start the agent in a sandbox, where it reaches namespaces by their files."""

    async def start(path: Path) -> Running:
        return await forks.fork(Program(("capture", str(path)), builtin="capture"), Place())

    return start


async def as_child(path: Path) -> Running:
    """Start the agent as a child of this process; it ends with it.

    It has no more rights than we have: what it captures must be lent to it (podwire.lending).
    """
    return _Child(
        await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", _PROGRAM, str(path), stdin=DEVNULL
        )
    )


class _Child:
    def __init__(self, process: Child) -> None:
        self._process = process

    @property
    def running(self) -> bool:
        return self._process.returncode is None


class CaptureAgent:
    """Starts captures; the agent is started again if it has ended."""

    def __init__(self, start: Start, socket_path: Path) -> None:
        """Use *start* (`forked`, `as_child`) for an agent that listens at *socket_path*."""
        self._start = start
        self._path = socket_path
        self._process: Running | None = None
        self._starting = asyncio.Lock()

    async def capture(
        self, points: Sequence[CapturePoint], snaplen: int, filter_: Sequence[Instruction]
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Begin to capture; when this returns, no packet is missed any more."""
        order = Order(
            tuple(Point(shown(point.where), point.netns) for point in points),
            snaplen=snaplen,
            filter=tuple(filter_),
        )
        try:
            async with asyncio.timeout(PATIENCE):
                reader, writer = await self._connect()
                writer.write(order.line())
                # The agent speaks first when every socket is armed. What it said goes back at once,
                # into an empty buffer, so the caller reads it all.
                first = await reader.read(1 << 24)
                if not first or first.startswith(b"{"):
                    raise OSError(first.decode(errors="replace") or "it ended")
                reader.feed_data(first)
                return reader, writer
        except (OSError, TimeoutError, StartError) as error:
            why = str(error) or f"it did not begin within {PATIENCE:g} s; this machine is too busy"
            raise AgentError(500, "InternalError", f"the capture agent failed: {why}") from error

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        async with self._starting:
            if self._process is None or not self._process.running:
                self._path.unlink(missing_ok=True)
                self._process = await self._start(self._path)
        while True:
            try:
                return await asyncio.open_unix_connection(str(self._path), limit=1 << 20)
            except (FileNotFoundError, ConnectionRefusedError):
                await asyncio.sleep(0.002)


def shown(where: str) -> str:
    """Return a capture point as hop tables and interfaces name it: default/client, node-1."""
    kind, slash, name = where.partition("/")
    return name if slash and kind in ("pod", "node") else where
