"""Processes as clients look at them (the Protocol Session): pipes, ptys, what is overheard."""

import asyncio
import fcntl
import os
import signal
import struct
import termios
from collections.abc import Awaitable, Callable

from podwire.emulator.apiserver.agent import AgentError
from podwire.emulator.kubelet.container import ContainerRun
from podwire.emulator.runtimes.runtime import RunningProcess, RuntimeFailure, Streams

# Bytes that wait for a client that attached and does not read; then it is let go.
_MOST_UNREAD = 16 << 20


class ProcessSession:
    """A process started for a client. The API server owns the descriptors."""

    def __init__(
        self, process: RunningProcess, stdin: int | None, stdout: int, stderr: int | None
    ) -> None:
        self._process = process
        self.stdin = stdin
        self.stdout = stdout
        self.stderr = stderr

    async def wait(self) -> int:
        """Return the exit code, 128+n for signal n, when the process has ended."""
        return await self._process.wait()

    def resize(self, columns: int, rows: int) -> None:
        """Change the size of the tty; without one nothing happens."""
        if self.stdin == self.stdout:
            resize(self.stdout, columns, rows)
            self._process.resize(columns, rows)

    def close(self) -> None:
        """Kill the process if it still runs."""
        self._process.send_signal(signal.SIGKILL)
        self._process.close()


class AttachedSession:
    """A container's first process as somebody looks at it; closing does not end it."""

    def __init__(
        self,
        run: ContainerRun,
        stdin: int | None,
        stdout: int,
        stderr: int | None,
        leave: Callable[[], None],
    ) -> None:
        self._run = run
        self._leave = leave
        self.stdin = stdin
        self.stdout = stdout
        self.stderr = stderr

    async def wait(self) -> int:
        """Return the exit code when the container has ended."""
        process = self._run.process
        return await process.wait() if process is not None else self._run.record.exit_code

    def resize(self, columns: int, rows: int) -> None:
        """Change the size of the container's terminal; without one nothing happens."""
        if self._run.container.tty and self._run.streams.stdin >= 0:
            resize(self._run.streams.stdin, columns, rows)
            if self._run.process is not None:
                self._run.process.resize(columns, rows)

    def close(self) -> None:
        """Leave the container alone."""
        self._leave()


Start = Callable[[Streams], Awaitable[RunningProcess]]
StartTerminal = Callable[[int], Awaitable[RunningProcess]]


async def with_pipes(start: Start, *, stdin: bool, stderr: bool) -> ProcessSession:
    """Start a process with pipes as its streams; raises AgentError."""
    in_read, in_write = os.pipe2(os.O_CLOEXEC) if stdin else (-1, -1)
    out_read, out_write = os.pipe2(os.O_CLOEXEC)
    err_read, err_write = os.pipe2(os.O_CLOEXEC) if stderr else (-1, -1)
    try:
        process = await start(Streams(in_read, out_write, err_write))
    except RuntimeFailure as error:
        for fd in (in_write, out_read, err_read):
            if fd >= 0:
                os.close(fd)
        raise AgentError(500, "InternalError", f"error executing command: {error}") from error
    finally:
        for fd in (in_read, out_write, err_write):
            if fd >= 0:
                os.close(fd)
    return ProcessSession(
        process, in_write if stdin else None, out_read, err_read if stderr else None
    )


async def with_terminal(start: StartTerminal) -> ProcessSession:
    """Start a process on a new pty; raises AgentError."""
    master, slave = os.openpty()
    try:
        process = await start(slave)
    except RuntimeFailure as error:
        os.close(master)
        raise AgentError(500, "InternalError", f"error executing command: {error}") from error
    finally:
        os.close(slave)
    return ProcessSession(process, master, master, None)


async def joined(run: ContainerRun, *, stdin: bool, tty: bool) -> AttachedSession:
    """Return what a container prints from now on, and its input."""
    stdout, to_stdout = await _overheard()
    # Of a terminal, the client's or the container's, there is one stream.
    stderr, to_stderr = (None, None) if tty or run.container.tty else await _overheard()

    def heard(stream: str, chunk: bytes) -> None:
        target = to_stderr if to_stderr is not None and stream == "stderr" else to_stdout
        if chunk and target.get_write_buffer_size() < _MOST_UNREAD:
            target.write(chunk)
            return
        to_stdout.close()
        if to_stderr is not None:
            to_stderr.close()

    leave = run.log.listen(heard)
    return AttachedSession(run, run.streams.input() if stdin else None, stdout, stderr, leave)


async def _overheard() -> tuple[int, asyncio.WriteTransport]:
    """Return the read end of a pipe, and what writes to the other without waiting."""
    read, write = os.pipe2(os.O_CLOEXEC)
    transport, _protocol = await asyncio.get_running_loop().connect_write_pipe(
        asyncio.BaseProtocol, os.fdopen(write, "wb")
    )
    return read, transport


def resize(terminal: int, columns: int, rows: int) -> None:
    """Set the size of a pty, in characters."""
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
