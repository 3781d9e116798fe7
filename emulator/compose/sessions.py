"""A process in a container of the engine, as the API server relays it: pipes, or one socket."""

import asyncio
import os
import socket
from collections.abc import Callable
from contextlib import suppress

from podwire.emulator.apiserver.streams import descriptors
from podwire.emulator.engine.client import Engine, EngineError
from podwire.emulator.engine.streams import demultiplexed, pieces

_LAST_LOOK = 0.2
"""Seconds between looks at a process whose streams have ended, at most."""


class EngineSession:
    """A hijacked connection to what is at *path*: `/exec/ID` or `/containers/ID`.

    *tty* says what the client has, *framed* what the connection carries. `wait` does the work: the
    API server awaits it from the start on. *left* is called at the end, if the process still runs.
    """

    def __init__(
        self,
        engine: Engine,
        path: str,
        connection: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        *,
        stdin: bool,
        stderr: bool,
        tty: bool,
        framed: bool,
        later: Callable[[str, dict[str, int]], None],
        left: Callable[[], None] | None = None,
    ) -> None:
        self._engine = engine
        self._path = path
        self._reader, self._writer = connection
        self._framed = framed
        self._later = later
        self._left = left
        self._ended = False
        self._given, self._shown, self._complained = -1, -1, -1
        self.stdin: int | None = None
        self.stderr: int | None = None
        self._terminal: socket.socket | None = None
        if tty:
            self._terminal, theirs = socket.socketpair()
            self._shown, self.stdout = self._terminal.fileno(), theirs.detach()
            if stdin:
                self._given, self.stdin = self._shown, self.stdout
        else:
            self.stdout, self._shown = os.pipe2(os.O_CLOEXEC)
            if stdin:
                self._given, self.stdin = os.pipe2(os.O_CLOEXEC)
            if stderr:
                self.stderr, self._complained = os.pipe2(os.O_CLOEXEC)
        for fd in self._own():
            os.set_blocking(fd, False)

    async def wait(self) -> int:
        """Relay until the process has ended; return its exit code."""
        async with asyncio.TaskGroup() as tasks:
            giving = tasks.create_task(self._give()) if self._given >= 0 else None
            await self._show()
            if giving is not None:
                giving.cancel()
        self._end_output()
        code = await self._exit_code()
        self._ended = True
        return code

    def resize(self, columns: int, rows: int) -> None:
        """Change the size of the terminal in the container; without one nothing happens."""
        if not self._framed:
            self._later(f"{self._path}/resize", {"h": rows, "w": columns})

    def close(self) -> None:
        """End the connection, and the process, if it is the client's and still runs."""
        self._close()
        self._writer.close()
        if not self._ended and self._left is not None:
            self._left()

    def _own(self) -> set[int]:
        return {self._given, self._shown, self._complained} - {-1}

    def _end_output(self) -> None:
        """Let whoever reads see the end."""
        if self._terminal is None:
            self._close()
        else:
            # Not close: what was typed and not read would make that an error for the reader.
            self._terminal.shutdown(socket.SHUT_WR)

    def _close(self) -> None:
        if self._terminal is not None:
            self._terminal.close()
        else:
            for fd in self._own():
                os.close(fd)
        self._given = self._shown = self._complained = -1

    async def _give(self) -> None:
        with suppress(OSError):  # it does not read any more, or the engine is gone
            while content := await descriptors.read(self._given):
                self._writer.write(content)
                await self._writer.drain()
            self._writer.write_eof()

    async def _show(self) -> None:
        with suppress(OSError, ValueError):
            async for name, part in demultiplexed(pieces(self._reader), tty=not self._framed):
                fd = self._complained if name == "stderr" else self._shown
                if fd >= 0:
                    await descriptors.write(fd, part)

    async def _exit_code(self) -> int:
        delay = 0.001
        while True:
            try:
                found = await self._engine.get(f"{self._path}/json")
            except EngineError:
                return 137  # its container was removed
            state = found.get("State", found)
            if not state["Running"]:
                return int(state["ExitCode"] or 0)
            await asyncio.sleep(delay)
            delay = min(2 * delay, _LAST_LOOK)
