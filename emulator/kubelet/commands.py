"""Commands in a running container: for clients, probes and hooks."""

import asyncio
import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Self

from podwire.emulator.runtimes.runtime import (
    ContainerRequest,
    RunningProcess,
    Runtime,
    RuntimeFailure,
    Streams,
)

_LONGEST_OUTPUT = 4096
_PIECE = 64 << 10


class Commands:
    """Runs commands in the container *name* while it runs, in what it was started with."""

    def __init__(self, runtime: Runtime, name: str) -> None:
        self._runtime = runtime
        self._name = name
        self._process: RunningProcess | None = None
        self._request: ContainerRequest | None = None

    def begin(self, process: RunningProcess, request: ContainerRequest) -> None:
        """Take note that the container runs."""
        self._process, self._request = process, request

    def end(self) -> None:
        """Take note that it does not run any more."""
        self._process = None

    async def execute(self, command: Sequence[str], streams: Streams) -> RunningProcess:
        """Run *command*; raises RuntimeFailure."""
        process, request = self._running()
        wanted = replace(request, argv=tuple(command), tty=False)
        return await self._runtime.execute(process, wanted, streams)

    async def execute_tty(self, command: Sequence[str], terminal: int) -> RunningProcess:
        """Run *command* with *terminal*, the slave end of a pty; raises RuntimeFailure."""
        process, request = self._running()
        environ = {"TERM": "xterm", **request.environ}
        wanted = replace(request, argv=tuple(command), environ=environ, tty=True)
        return await self._runtime.execute(process, wanted, Streams(terminal, terminal, terminal))

    async def output_of(self, command: Sequence[str]) -> tuple[int, str]:
        """Return a command's exit status and the beginning of its output.

        It is killed when we are cancelled.
        """
        with _Beginning() as output:
            try:
                process = await self.execute(command, Streams(-1, output.fd, output.fd))
            except RuntimeFailure as error:
                return 126, str(error)
            try:
                status = await process.wait()
            finally:
                process.send_signal(signal.SIGKILL)
                process.close()
            return status, output.text()

    def _running(self) -> tuple[RunningProcess, ContainerRequest]:
        if self._process is None or self._request is None:
            raise RuntimeFailure("InternalError", f'container "{self._name}" is not running')
        return self._process, self._request


class _Beginning:
    """Takes all that is written to `fd`, and keeps how it begins."""

    def __init__(self) -> None:
        self._read, self.fd = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._read, False)
        self._kept = b""

    def __enter__(self) -> Self:
        asyncio.get_running_loop().add_reader(self._read, self._take)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.get_running_loop().remove_reader(self._read)
        os.close(self._read)
        os.close(self.fd)

    def text(self) -> str:
        """Return the beginning of what was written."""
        self._take()
        return self._kept.decode(errors="replace")

    def _take(self) -> None:
        # What is kept comes first: a pipe holds more than that.
        with suppress(BlockingIOError):
            self._kept = (self._kept + os.read(self._read, _PIECE))[:_LONGEST_OUTPUT]
