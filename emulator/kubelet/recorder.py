"""Talks to the capture agent, a process of its own that is started when it is first needed."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from podwire.emulator.apiserver.agent import AgentError, CapturePoint, Instruction
from podwire.emulator.sandbox.forks import Forks
from podwire.emulator.sandbox.processes import Place, Process, Program, StartError
from podwire.emulator.trace.agent import Order, Point

PATIENCE = 5.0


class CaptureAgent:
    """Starts captures; the agent is started again if it has ended."""

    def __init__(self, forks: Forks, socket_path: Path) -> None:
        self._forks = forks
        self._path = socket_path
        self._process: Process | None = None
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
            raise AgentError(500, "InternalError", f"the capture agent failed: {error}") from error

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        async with self._starting:
            if self._process is None or not self._process.running:
                self._path.unlink(missing_ok=True)
                self._process = await self._forks.fork(
                    Program(("capture", str(self._path)), builtin="capture"), Place()
                )
        while True:
            try:
                return await asyncio.open_unix_connection(str(self._path), limit=1 << 20)
            except (FileNotFoundError, ConnectionRefusedError):
                await asyncio.sleep(0.002)


def shown(where: str) -> str:
    """Return a capture point as hop tables and interfaces name it: default/client, node-1."""
    kind, slash, name = where.partition("/")
    return name if slash and kind in ("pod", "node") else where
