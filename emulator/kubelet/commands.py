"""Commands in a running container: for clients, probes and hooks."""

import os
import signal
from collections.abc import Sequence
from dataclasses import replace

from podwire.emulator.runtimes.runtime import (
    ContainerRequest,
    RunningProcess,
    Runtime,
    RuntimeFailure,
    Streams,
)

_LONGEST_OUTPUT = 4096


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
        """Return a command's exit status and output; it is killed when we are cancelled."""
        output = os.memfd_create("output", os.MFD_CLOEXEC)
        try:
            process = await self.execute(command, Streams(-1, output, output))
            try:
                status = await process.wait()
            finally:
                process.send_signal(signal.SIGKILL)
                process.close()
            return status, os.pread(output, _LONGEST_OUTPUT, 0).decode(errors="replace")
        except RuntimeFailure as error:
            return 126, str(error)
        finally:
            os.close(output)

    def _running(self) -> tuple[RunningProcess, ContainerRequest]:
        if self._process is None or self._request is None:
            raise RuntimeFailure("InternalError", f'container "{self._name}" is not running')
        return self._process, self._request
