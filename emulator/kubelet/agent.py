"""What the API server asks of the nodes: exec, attach, logs, captures (its Protocol NodeAgent)."""

import asyncio
import errno
import os
from collections.abc import AsyncIterator, Sequence

from podwire.emulator.apiserver.agent import (
    AgentError,
    CapturePoint,
    HostName,
    Instruction,
    LogOptions,
    PodPlace,
    Tcp,
    Usages,
)
from podwire.emulator.kubelet.container import ContainerRun
from podwire.emulator.kubelet.dial import connected, connected_inside
from podwire.emulator.kubelet.hosts import Hosts
from podwire.emulator.kubelet.kubelet import Kubelet
from podwire.emulator.kubelet.logview import last_lines, pieces, text_of
from podwire.emulator.kubelet.pod import PodLife
from podwire.emulator.kubelet.recorder import CaptureAgent
from podwire.emulator.kubelet.sessions import (
    AttachedSession,
    ProcessSession,
    joined,
    with_pipes,
    with_terminal,
)
from podwire.emulator.kubelet.usage import Running, Usage
from podwire.emulator.kubelet.usage_report import Where, report
from podwire.emulator.runtimes.meter import Meter
from podwire.kube.clock import Clock
from podwire.kube.codec import key_of
from podwire.kube.names import Key

# Bytes of a log that are read at once.
_PIECE = 64 << 10


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
        """Join a container's first process: what it prints from now on, and its input.

        Of one that has only just started, also what it has printed, even if it has ended.
        """
        run = self._container(self._life(namespace, pod), container)
        if run.record.state == "waiting" or not run.log.is_untold():
            run = self.running(namespace, pod, container)
        return await joined(run, stdin=stdin, tty=tty)

    async def logs(
        self, namespace: str, pod: str, container: str, options: LogOptions
    ) -> AsyncIterator[bytes]:
        """Yield the log in pieces; with *follow* until the container ends."""
        run = self._container(self._life(namespace, pod), container)
        if run.record.state == "waiting" and not (run.record.container_id or run.record.last):
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
        log = b"".join(path.read_bytes() for path in run.log.paths(previous=options.previous))
        if options.tail_lines is not None:
            kept = last_lines(log, options.tail_lines)
            skip = len(log) - len(kept)
        else:
            kept, skip = log, 0
        if not options.follow or options.previous:
            for piece in pieces(kept, _PIECE):
                yield text_of(piece, since=since, timestamps=options.timestamps)
                await asyncio.sleep(0)  # it is much, and others wait
            return
        rest = b""
        async for chunk in run.log.follow():
            chunk, skip = chunk[skip:], max(0, skip - len(chunk))
            rest += chunk
            whole, newline, rest = rest.rpartition(b"\n")
            if text := text_of(whole + newline, since=since, timestamps=options.timestamps):
                yield text

    async def connect(self, pod: PodPlace, port: int) -> Tcp:
        """Connect to *port* inside of a pod: of its localhost, as the kubelet does."""
        life = self._life(pod.namespace, pod.name)
        if life.sandbox is None:
            raise AgentError(500, "InternalError", f"the sandbox of pod {pod.name} is not running")
        return await connected_inside(life.sandbox.netns, port)

    async def reach(self, node: str, address: str, port: int, *, tls: bool) -> Tcp:
        """Connect to an address of the cluster's network from *node*; any, if it is unknown."""
        known = {kubelet.context.name: kubelet.context for kubelet in self._kubelets}
        if not known:
            raise OSError(errno.EHOSTUNREACH, os.strerror(errno.EHOSTUNREACH))
        place = known.get(node) or next(iter(known.values()))
        return await connected(place.netns, address, port, tls=tls)

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

    def containers(self) -> list[Running]:
        """Return the containers that run, by where they are."""
        return [
            Running(
                Where(
                    kubelet.context.name,
                    key_of(life.pod),
                    run.container.name,
                    run.record.container_id.partition("://")[2],
                ),
                process,
                run.began,
            )
            for kubelet in self._kubelets
            for life in kubelet.lives()
            for run in life.runs()
            if (process := run.process) is not None and run.record.container_id
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
        meter: Meter,
    ) -> None:
        super().__init__(kubelets, clock)
        self._usage = Usage(self.containers, meter, clock)
        self._hosts = hosts
        self._recorder = recorder

    async def run(self) -> None:
        """Look at what containers use, now and then, until cancelled."""
        await self._usage.run()

    async def usage(self) -> Usages:
        """Return what pods and nodes use now."""
        at, figures = await self._usage.figures()
        running = [key for key in figures if isinstance(key, Where)]
        return report(at, figures, running, [k.context.name for k in self._kubelets])

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
