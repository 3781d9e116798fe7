"""What the API server asks of the nodes: exec, attach, logs, captures (its Protocol NodeAgent)."""

import asyncio
import fcntl
import os
import signal
import struct
import termios
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from podwire.emulator.apiserver.agent import (
    AgentError,
    CapturePoint,
    HostName,
    Instruction,
    LogOptions,
)
from podwire.emulator.kubelet.container import ContainerRun
from podwire.emulator.kubelet.hosts import Hosts
from podwire.emulator.kubelet.kubelet import Kubelet
from podwire.emulator.kubelet.logview import entries, last_lines, selected
from podwire.emulator.kubelet.pod import PodLife
from podwire.emulator.kubelet.recorder import CaptureAgent
from podwire.emulator.runtimes.runtime import RunningProcess, RuntimeFailure, Streams
from podwire.kube.clock import Clock
from podwire.kube.names import Key

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
        self, run: ContainerRun, stdin: int | None, stdout: int, leave: Callable[[], None]
    ) -> None:
        self._run = run
        self._leave = leave
        self.stdin = stdin
        self.stdout = stdout
        self.stderr: int | None = None

    async def wait(self) -> int:
        """Return the exit code when the container has ended."""
        process = self._run.process
        return await process.wait() if process is not None else self._run.record.exit_code

    def resize(self, columns: int, rows: int) -> None:
        """Change the size of the container's terminal; without one nothing happens."""
        if self._run.container.tty and self._run.stdin >= 0:
            resize(self._run.stdin, columns, rows)
            if self._run.process is not None:
                self._run.process.resize(columns, rows)

    def close(self) -> None:
        """Leave the container alone."""
        self._leave()


class PodAgent:
    """The pods of *kubelets*, which may become more, as seen from the API server."""

    def __init__(self, kubelets: Sequence[Kubelet], clock: Clock) -> None:
        self._kubelets = kubelets
        self._clock = clock

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
    ) -> ProcessSession:
        """Start *command* in a container."""
        run = self.running(namespace, pod, container)
        if tty:
            return await with_terminal(lambda slave: run.commands.execute_tty(command, slave))
        return await with_pipes(
            lambda streams: run.commands.execute(command, streams), stdin=stdin, stderr=stderr
        )

    async def attach(
        self, namespace: str, pod: str, container: str, *, stdin: bool, tty: bool
    ) -> AttachedSession:
        """Join a container's first process: what it prints from now on, and its input."""
        run = self.running(namespace, pod, container)
        read, write = os.pipe2(os.O_CLOEXEC)
        transport, _protocol = await asyncio.get_running_loop().connect_write_pipe(
            asyncio.BaseProtocol, os.fdopen(write, "wb")
        )

        def heard(chunk: bytes) -> None:
            if chunk and transport.get_write_buffer_size() < _MOST_UNREAD:
                transport.write(chunk)
            else:
                transport.close()

        leave = run.log.listen(heard)
        return AttachedSession(run, run.input() if stdin else None, read, leave)

    async def logs(
        self, namespace: str, pod: str, container: str, options: LogOptions
    ) -> AsyncIterator[bytes]:
        """Yield the log in pieces; with *follow* until the container ends."""
        run = self._container(self._life(namespace, pod), container)
        if run.record.state == "waiting" and not run.record.container_id:
            raise AgentError(
                400,
                "BadRequest",
                f'container "{run.record.name}" in pod "{pod}" is waiting to start: '
                f"{run.record.reason}",
            )
        if options.previous and not run.log.paths(previous=True):
            raise AgentError(
                400,
                "BadRequest",
                f'previous terminated container "{run.record.name}" in pod "{pod}" not found',
            )
        since = options.since_time
        if options.since_seconds is not None:
            since = self._clock.now() - options.since_seconds
        text = b"".join(path.read_bytes() for path in run.log.paths(previous=options.previous))
        if options.tail_lines is not None:
            kept = last_lines(text, options.tail_lines)
            skip = len(text) - len(kept)
        else:
            kept, skip = text, 0
        if not options.follow or options.previous:
            for line in entries(kept):
                if selected(line, since):
                    yield line.shown(timestamps=options.timestamps)
            return
        rest = b""
        async for chunk in run.log.follow():
            chunk, skip = chunk[skip:], max(0, skip - len(chunk))
            rest += chunk
            whole, newline, rest = rest.rpartition(b"\n")
            for line in entries(whole + newline):
                if selected(line, since):
                    yield line.shown(timestamps=options.timestamps)

    def capture_points(self) -> Sequence[CapturePoint]:
        """Return where packets of pods can be captured."""
        return [
            CapturePoint(
                f"pod/{life.pod.metadata.namespace}/{life.pod.metadata.name}",
                "pod",
                life.sandbox.netns,
                ("eth0",),
            )
            for kubelet in self._kubelets
            for life in kubelet.lives()
            if life.sandbox is not None and not life.sandbox.request.host_network
        ]

    def life(self, namespace: str, pod: str) -> PodLife | None:
        """Return the life of a pod, or None."""
        lives = (kubelet.life(Key(namespace, pod)) for kubelet in self._kubelets)
        return next((life for life in lives if life is not None), None)

    def running(self, namespace: str, pod: str, container: str) -> ContainerRun:
        """Return a container whose process runs; raises AgentError."""
        run = self._container(self._life(namespace, pod), container)
        if run.process is None:
            raise AgentError(
                500,
                "InternalError",
                f'unable to upgrade connection: container not found ("{run.record.name}")',
            )
        return run

    def _life(self, namespace: str, pod: str) -> PodLife:
        life = self.life(namespace, pod)
        if life is not None:
            return life
        raise AgentError(400, "BadRequest", f"pod {pod} does not have a host assigned")

    def _container(self, life: PodLife, name: str) -> ContainerRun:
        run = life.container(name)
        if run is None:
            raise AgentError(
                400,
                "BadRequest",
                f"container {name} is not valid for pod {life.pod.metadata.name}",
            )
        return run


class ClusterAgent(PodAgent):
    """All nodes of the cluster, as seen from the API server."""

    def __init__(
        self,
        kubelets: Sequence[Kubelet],
        hosts: Hosts,
        recorder: CaptureAgent,
        clock: Clock,
    ) -> None:
        super().__init__(kubelets, clock)
        self._hosts = hosts
        self._recorder = recorder

    async def exec_host(
        self, name: str, command: Sequence[str], *, stdin: bool, tty: bool
    ) -> ProcessSession:
        """Start *command* on a node, on `external` or on the router."""
        if tty:
            return await with_terminal(lambda slave: self._hosts.execute_tty(name, command, slave))
        return await with_pipes(
            lambda streams: self._hosts.execute(name, command, streams), stdin=stdin, stderr=True
        )

    def hosts(self) -> Sequence[HostName]:
        """Return the machines on which commands can be run."""
        return [HostName(name, kind) for name, kind in self._hosts.kinds()]

    def capture_points(self) -> Sequence[CapturePoint]:
        """Return where packets can be captured."""
        points = [
            CapturePoint(
                f"node/{name}" if kind == "node" else name, kind, str(self._hosts.netns(name))
            )
            for name, kind in self._hosts.kinds()
        ]
        return [*points, *super().capture_points()]

    async def capture(
        self, points: Sequence[str], *, snaplen: int, filter_: Sequence[Instruction]
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Begin to capture; when this returns, no packet is missed any more."""
        known = {point.where: point for point in self.capture_points()}
        unknown = [point for point in points if point not in known]
        if unknown:
            raise AgentError(
                404,
                "NotFound",
                f"no such capture point: {', '.join(unknown)} (have: {list(known)})",
            )
        chosen = [known[point] for point in points] if points else list(known.values())
        return await self._recorder.capture(chosen, snaplen, filter_)


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


def resize(terminal: int, columns: int, rows: int) -> None:
    """Set the size of a pty, in characters."""
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
