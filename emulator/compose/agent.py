"""What the API server asks of the nodes, where pods are containers (its Protocol NodeAgent)."""

import asyncio
import errno
import logging
import os
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Protocol

from podwire import lending
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
from podwire.emulator.compose.commands import Commands, failed
from podwire.emulator.compose.settings import Settings
from podwire.emulator.discovery.discovery import DiscoveredNode, Interface, RunningMember
from podwire.emulator.engine.client import Engine, EngineError
from podwire.emulator.engine.streams import demultiplexed
from podwire.emulator.kubelet.agent import PodAgent
from podwire.emulator.kubelet.dial import connected, words
from podwire.emulator.kubelet.usage import Running, Usage
from podwire.emulator.kubelet.usage_report import Where, report
from podwire.emulator.runtimes.engine_stats import EngineStats
from podwire.kube.clock import Clock, parse_rfc3339
from podwire.kube.names import Key

log = logging.getLogger(__name__)

Json = dict[str, Any]

_NEVER = "0001-01-01T00:00:00Z"


class Discovered(Protocol):
    """What discovery knows: pods and nodes that are containers which somebody else started."""

    def containers(self, pod: Key) -> Mapping[str, str]:
        """Return the ids of a pod's containers by their names, the first one first."""
        ...

    def nodes(self) -> Sequence[DiscoveredNode]:
        """Return the nodes."""
        ...

    def running(self) -> Sequence[RunningMember]:
        """Return the pods' containers that run."""
        ...

    def interfaces(self) -> Mapping[Key, Interface]:
        """Return the interfaces of the pods that have one of their own."""
        ...


class Recorder(Protocol):
    """Starts captures."""

    async def capture(
        self, points: Sequence[CapturePoint], snaplen: int, filter_: Sequence[Instruction]
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Begin to capture; when this returns, no packet is missed any more."""
        ...


class ComposeAgent:
    """All nodes of the cluster, as seen from the API server; `run` serves it."""

    def __init__(
        self,
        engine: Engine,
        discovered: Discovered,
        made: PodAgent,
        recorder: Recorder,
        settings: Settings,
        clock: Clock,
    ) -> None:
        """*made* are the kubelets' pods."""
        self._engine = engine
        self._discovered = discovered
        self._made = made
        self._recorder = recorder
        self._settings = settings
        self._clock = clock
        self._commands = Commands(engine)
        self._usage = Usage(self._containers, EngineStats(engine), clock)

    async def run(self) -> None:
        """Do what sessions leave behind, and look at what is used, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._commands.run())
            tasks.create_task(self._usage.run())

    async def usage(self) -> Usages:
        """Return what pods and nodes use now."""
        at, figures = await self._usage.figures()
        running = [key for key in figures if isinstance(key, Where)]
        return report(at, figures, running, list(self._nodes()))

    def _containers(self) -> list[Running]:
        """Return the containers that run: the kubelets', those that were found, and the nodes."""
        found = [
            Running(Where(one.node, one.pod, one.name, one.container_id), one.container_id, 0.0)
            for one in self._discovered.running()
        ]
        known = {one.process for one in found}
        nodes = [
            Running(Where(name, None, "", identity), identity, 0.0)
            for name, identity in self._nodes().items()
            # As a rule it is a pod as well: kube-proxy's.
            if identity not in known
        ]
        return [*self._made.containers(), *found, *nodes]

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
        """Start *command* in a container."""
        found = self._running(Key(namespace, pod), container)
        return await self._commands.execute(found, command, stdin=stdin, stderr=stderr, tty=tty)

    async def attach(
        self, namespace: str, pod: str, container: str, *, stdin: bool, tty: bool
    ) -> Session:
        """Join a container's first process: what it prints from now on, and its input."""
        if self._made.life(namespace, pod) is not None:
            return await self._made.attach(namespace, pod, container, stdin=stdin, tty=tty)
        found = self._running(Key(namespace, pod), container)
        return await self._commands.join(found, stdin=stdin, tty=tty)

    async def logs(
        self, namespace: str, pod: str, container: str, options: LogOptions
    ) -> AsyncIterator[bytes]:
        """Yield the log in pieces; with *follow* until the container ends."""
        if self._made.life(namespace, pod) is not None:
            async for piece in self._made.logs(namespace, pod, container, options):
                yield piece
            return
        found = self._discovered.containers(Key(namespace, pod)).get(container)
        if found is None:
            raise AgentError(
                400,
                "BadRequest",
                f'container "{container}" in pod "{pod}" has no logs: it has ended, and what it '
                "wrote was not kept over a restart of the api container; or its node is not up",
            )
        try:
            inspected = await self._engine.get(f"/containers/{found}/json")
            query = _log_query(options, inspected, self._clock.now())
            chunks = self._engine.chunks(f"/containers/{found}/logs", **query)
            async for _stream, part in demultiplexed(chunks, tty=bool(inspected["Config"]["Tty"])):
                yield part
        except EngineError as error:
            raise failed("reading the log", error) from error

    async def connect(self, pod: PodPlace, port: int) -> Tcp:
        """Connect to a pod's port from its node.

        Not to its localhost: nobody here may enter the network of a container.
        """
        try:
            return await self.reach(pod.node, pod.address, port, tls=False)
        except OSError as error:
            raise AgentError(
                500,
                "InternalError",
                f"dial tcp {pod.address}:{port}: connect: {words(error)} (from node {pod.node}: a "
                "server that listens on 127.0.0.1 only cannot be reached in a container)",
            ) from error

    async def reach(self, node: str, address: str, port: int, *, tls: bool) -> Tcp:
        """Connect to an address of the cluster's network from *node*; any, if it is unknown."""
        nodes = self._nodes()
        if not nodes:
            raise OSError(errno.EHOSTUNREACH, os.strerror(errno.EHOSTUNREACH))
        place = node if node in nodes else next(iter(nodes))
        return await connected(self._settings.node_socket(place), address, port, tls=tls)

    async def exec_host(
        self, name: str, command: Sequence[str], *, stdin: bool, tty: bool
    ) -> Session:
        """Start *command* in a node's container."""
        found = self._nodes().get(name)
        if found is None:
            have = ", ".join(self._nodes()) or "none"
            raise AgentError(404, "NotFound", f"no node {name!r} runs; there are: {have}")
        return await self._commands.execute(found, command, stdin=stdin, stderr=not tty, tty=tty)

    def hosts(self) -> Sequence[HostName]:
        """Return the machines on which commands can be run."""
        return [HostName(name, "node") for name in self._nodes()]

    def capture_points(self) -> Sequence[CapturePoint]:
        """Return where packets can be captured: at pods only with the profile `capture`."""
        points = [
            CapturePoint(f"node/{name}", "node", str(self._settings.node_socket(name)))
            for name in self._nodes()
        ]
        lender = str(self._settings.captures_socket)
        if _answers(lender):
            points += [
                CapturePoint(
                    f"pod/{pod.namespace}/{pod.name}",
                    "pod",
                    str(lending.Place(lender, found.mac, str(found.address))),
                    ("eth0",),
                )
                for pod, found in self._discovered.interfaces().items()
            ]
            points += [point for point in self._made.capture_points() if point.netns]
        return points

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
                f"no such capture point: {', '.join(unknown)} (have: {', '.join(known)}); "
                "pods are among them after: docker compose --profile capture up -d",
            )
        chosen = [known[point] for point in points] if points else list(known.values())
        return await self._recorder.capture(chosen, snaplen, filter_)

    def _nodes(self) -> Mapping[str, str]:
        """Return the nodes that run, and the ids of their containers."""
        return {node.name: node.container_id for node in self._discovered.nodes() if node.is_up}

    def _running(self, pod: Key, container: str) -> str:
        """Return the id of a pod's container; raises AgentError if it does not run."""
        if self._made.life(pod.namespace, pod.name) is not None:
            run = self._made.running(pod.namespace, pod.name, container)
            return run.record.container_id.removeprefix("docker://")
        containers = self._discovered.containers(pod)
        found = containers.get(container) if container else next(iter(containers.values()), None)
        if found is None:
            raise AgentError(
                500,
                "InternalError",
                f'unable to upgrade connection: container not found ("{container}")',
            )
        return found


def _log_query(options: LogOptions, inspected: Mapping[str, Any], now: float) -> dict[str, object]:
    """Return what to ask the engine, which keeps one log over all restarts of a container."""
    last_end = str(inspected["State"]["FinishedAt"])
    query: dict[str, object] = {
        "stdout": True,
        "stderr": True,
        "follow": options.follow and not options.previous,
        "timestamps": options.timestamps,
        "tail": "all" if options.tail_lines is None else options.tail_lines,
    }
    if options.previous:
        if last_end == _NEVER:
            raise AgentError(400, "BadRequest", "previous terminated container not found")
        query["until"] = _stamp(last_end)
    elif options.since_time is not None:
        query["since"] = f"{options.since_time:.9f}"
    elif options.since_seconds is not None:
        query["since"] = f"{now - options.since_seconds:.9f}"
    elif inspected["State"]["Running"] and last_end != _NEVER:
        query["since"] = _stamp(last_end)
    return query


def _stamp(moment: str) -> str:
    """Return RFC 3339 with nine decimals as the engine takes it: seconds.nanoseconds."""
    whole, _, fraction = moment.rstrip("Z").partition(".")
    return f"{int(parse_rfc3339(f'{whole}Z'))}.{fraction:0<9}"


def _answers(path: str) -> bool:
    """Tell whether somebody listens on the Unix socket *path*."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.setblocking(False)
        return sock.connect_ex(path) == 0
