"""A NodeAgent whose containers are processes of this machine: for tests of the API server."""

import asyncio
import contextlib
import fcntl
import os
import pty
import signal
import socket
import struct
import termios
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from podwire.emulator.apiserver.agent import (
    AgentError,
    CapturePoint,
    HostName,
    Instruction,
    LogOptions,
    PodPlace,
    Session,
    Tcp,
    Usages,
)


class ProcessSession:
    """A process with pipes, or with a pty."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        stdin: int | None,
        stdout: int,
        stderr: int | None,
    ) -> None:
        self._process = process
        self.stdin = stdin
        self.stdout = stdout
        self.stderr = stderr
        self._tty = stderr is None

    async def wait(self) -> int:
        """Return the exit code, 128+n for signal n."""
        code = await self._process.wait()
        return 128 - code if code < 0 else code

    def resize(self, columns: int, rows: int) -> None:
        """Set the pty's size."""
        if self._tty:
            size = struct.pack("HHHH", rows, columns, 0, 0)
            fcntl.ioctl(self.stdout, termios.TIOCSWINSZ, size)

    def close(self) -> None:
        """Kill the process if it still runs."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)


@dataclass
class FakeAgent:
    """Runs commands on this machine; serves the logs and packets that a test gives it."""

    log_pieces: Sequence[bytes] = (b"one\n", b"two\n")
    log_failure: Exception | None = None
    packets: bytes = b"pcapng"
    statistics: bytes = b"statistics"
    captured: list[tuple[tuple[str, ...], int, tuple[Instruction, ...]]] = field(
        default_factory=list[tuple[tuple[str, ...], int, tuple[Instruction, ...]]]
    )
    log_calls: list[LogOptions] = field(default_factory=list[LogOptions])
    started: list[Session] = field(default_factory=list[Session])
    usages: Usages = field(default_factory=Usages)

    async def exec(
        self,
        namespace: str,
        pod: str,
        container: str,
        command: Sequence[str],
        *,
        stdin: bool,
        stdout: bool,
        stderr: bool,
        tty: bool,
    ) -> Session:
        """Start *command* here."""
        del namespace, pod, container, stdout, stderr
        session = await _start(command, stdin=stdin, tty=tty)
        self.started.append(session)
        return session

    async def attach(
        self, namespace: str, pod: str, container: str, *, stdin: bool, tty: bool
    ) -> Session:
        """Start a process that repeats its input."""
        del namespace, pod, container
        return await _start(["cat"], stdin=stdin, tty=tty)

    async def logs(
        self, namespace: str, pod: str, container: str, options: LogOptions
    ) -> AsyncIterator[bytes]:
        """Yield the pieces; for the container `broken` fail."""
        del namespace, pod
        self.log_calls.append(options)
        if container == "broken":
            raise AgentError(500, "InternalError", "the log is broken")
        for piece in self.log_pieces:
            yield piece
        if self.log_failure is not None:
            raise self.log_failure

    async def connect(self, pod: PodPlace, port: int) -> Tcp:
        """Connect to a port of this machine."""
        del pod
        try:
            return await asyncio.open_connection("127.0.0.1", port)
        except OSError as error:
            raise AgentError(500, "InternalError", "connect: connection refused") from error

    async def reach(self, node: str, address: str, port: int, *, tls: bool) -> Tcp:
        """Connect to a port of this machine."""
        del node, address, tls
        return await asyncio.open_connection("127.0.0.1", port)

    async def exec_host(
        self, name: str, command: Sequence[str], *, stdin: bool, tty: bool
    ) -> Session:
        """Start *command* here."""
        del name
        return await _start(command, stdin=stdin, tty=tty)

    def hosts(self) -> Sequence[HostName]:
        """Return a node and the outside."""
        return (HostName("node-1", "node"), HostName("external", "external"))

    async def usage(self) -> Usages:
        """Return what the test gives."""
        return self.usages

    def capture_points(self) -> Sequence[CapturePoint]:
        """Return one node and one pod."""
        return (
            CapturePoint("node/node-1", "node", "/run/netns/node-1", ("eth0", "cni0")),
            CapturePoint("pod/default/client", "pod", "/run/netns/cni-1", ("eth0",)),
        )

    async def capture(
        self, points: Sequence[str], *, snaplen: int, filter_: Sequence[Instruction]
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Send the packets, wait for the stop, send the statistics."""
        self.captured.append((tuple(points), snaplen, tuple(filter_)))
        ours, theirs = socket.socketpair()
        loop = asyncio.get_running_loop()
        theirs.sendall(self.packets)

        def stop() -> None:
            theirs.recv(1)  # empty: the server's half is closed
            loop.remove_reader(theirs)
            with theirs, suppress(BrokenPipeError):
                theirs.sendall(self.statistics)

        loop.add_reader(theirs, stop)
        return await asyncio.open_connection(sock=ours)


async def _start(command: Sequence[str], *, stdin: bool, tty: bool) -> Session:
    ours, theirs = _pty() if tty else _pipes()
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=theirs[0] if stdin else asyncio.subprocess.DEVNULL,
            stdout=theirs[1],
            stderr=theirs[2],
            start_new_session=True,
        )
    except FileNotFoundError as error:
        for fd in set(ours):
            os.close(fd)
        message = f'exec: "{command[0]}": executable file not found in $PATH'
        raise AgentError(500, "InternalError", message) from error
    finally:
        for fd in set(theirs):
            os.close(fd)
    if tty:
        return ProcessSession(process, ours[0], ours[0], None)
    if not stdin:
        os.close(ours[0])
    return ProcessSession(process, ours[0] if stdin else None, ours[1], ours[2])


def _pty() -> tuple[tuple[int, ...], tuple[int, ...]]:
    ours, theirs = pty.openpty()
    return (ours, ours, ours), (theirs, theirs, theirs)


def _pipes() -> tuple[tuple[int, ...], tuple[int, ...]]:
    (in_read, in_write), (out_read, out_write), (err_read, err_write) = (os.pipe() for _ in "123")
    return (in_write, out_read, err_read), (in_read, out_write, err_write)
