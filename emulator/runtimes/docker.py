"""The docker runtime: a pod is a container that sleeps, and containers in its namespaces."""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar, cast

from podwire.emulator.engine.client import Engine, EngineError
from podwire.emulator.engine.descriptors import Descriptors
from podwire.emulator.runtimes.docker_commands import command
from podwire.emulator.runtimes.docker_process import (
    Attached,
    Connection,
    EngineProcess,
    Logged,
    OfContainer,
)
from podwire.emulator.runtimes.docker_requests import (
    DETACH_KEYS,
    SANDBOX,
    DockerNode,
    Project,
    container_body,
    first_name,
    in_short,
    lifetime,
)
from podwire.emulator.runtimes.docker_sandboxes import Sandboxes, of_network
from podwire.emulator.runtimes.made import MadeContainers
from podwire.emulator.runtimes.mounts import Bind
from podwire.emulator.runtimes.runtime import (
    ContainerRequest,
    PodRequest,
    PodSandbox,
    RunningProcess,
    RuntimeFailure,
    Streams,
)

log = logging.getLogger(__name__)

T = TypeVar("T")


class DockerRuntime:
    """Makes the pods of one node with an engine.

    *tasks* owns what goes on for each container, and has to outlive the kubelet. When it ends, the
    containers go on: the next runtime finds them by their labels, and `create` and `start` take
    over what runs already, and what has ended meanwhile.
    """

    # The engine looks for it again when a container starts.
    pins_paths = False

    def __init__(
        self, engine: Engine, node: DockerNode, project: Project, tasks: asyncio.TaskGroup
    ) -> None:
        self._engine = engine
        self._project = project
        self._tasks = tasks
        self._made = MadeContainers(engine, project.name)
        self._sandboxes = Sandboxes(engine, node, project, self._made)
        # The last container of each name of each pod, by uid, that was started or joined here.
        self._seen: dict[tuple[str, str], str] = {}

    def move(self, node: DockerNode) -> None:
        """Make what comes from now on where *node* says: its container may have been replaced."""
        self._sandboxes.node = node

    async def create(self, request: PodRequest) -> PodSandbox:
        """Make the pod's sandbox, or find it; raises RuntimeFailure.

        Failed or cancelled, it leaves nothing.
        """
        try:
            found = await self._sandboxes.found(request)
            if found is not None:
                return found
            return await self._undone_unless(
                lambda: self._sandboxes.make(request),
                lambda: self._made.remove_pod(request.uid, SANDBOX),
            )
        except EngineError as error:
            raise RuntimeFailure("FailedCreatePodSandBox", of_network(error)) from error

    async def has(self, sandbox: PodSandbox, container: str) -> bool:
        """Tell whether a container of that name runs, or ended while we were away.

        Raises RuntimeFailure.
        """
        try:
            return bool(await self._there(sandbox.request.uid, container))
        except EngineError as error:
            raise RuntimeFailure("CreateContainerError", str(error)) from error

    def times(self, container: RunningProcess) -> tuple[float, float]:
        """Return when a joined container started and ended, in seconds since 1970; 0: not known."""
        process = cast(EngineProcess, container)
        return process.began, process.ended

    async def lost(self, sandbox: PodSandbox) -> None:
        """Return when the sandbox was ended by somebody else, or has lost its node's network."""
        await self._sandboxes.lost(sandbox)

    async def start(
        self, sandbox: PodSandbox, request: ContainerRequest, streams: Streams
    ) -> RunningProcess:
        """Start a container, or join the one that runs; raises RuntimeFailure.

        Cancelled, it leaves no process. The standard input of one that runs stays where it was.
        """
        descriptors = Descriptors(
            streams.stdin, streams.stdout, streams.stderr, terminal=request.tty
        )
        uid, name = sandbox.request.uid, request.name
        try:
            process = await self._joined(uid, name, descriptors, stamped=streams.stamped)
            if process is None and streams.stamped:
                raise RuntimeFailure("CreateContainerError", "the container has just been removed")
            if process is None:
                process = await self._undone_unless(
                    lambda: self._started(sandbox, request, descriptors),
                    lambda: self._made.remove_pod(uid, name),
                )
        except BaseException as error:
            descriptors.close()
            if isinstance(error, EngineError):
                raise RuntimeFailure("CreateContainerError", str(error)) from error
            raise
        self._seen[uid, name] = process.id
        process.live(self._tasks)
        return process

    async def execute(
        self, container: RunningProcess, request: ContainerRequest, streams: Streams
    ) -> RunningProcess:
        """Run a command inside a running container; raises RuntimeFailure.

        The engine signals no commands: see OfCommand for what a signal does.
        """
        descriptors = Descriptors(
            streams.stdin, streams.stdout, streams.stderr, terminal=request.tty
        )
        try:
            process = await command(
                self._engine, cast(EngineProcess, container).container, request, descriptors
            )
        except BaseException as error:
            descriptors.close()
            if isinstance(error, EngineError):
                raise RuntimeFailure("InternalError", str(error)) from error
            raise
        process.live(self._tasks)
        return process

    def container_id(self, container: RunningProcess) -> str:
        """Return the engine's id."""
        return f"docker://{cast(EngineProcess, container).container}"

    async def remove(self, sandbox: PodSandbox) -> None:
        """Remove all containers of the pod; again is fine, also after RuntimeFailure."""
        try:
            await self._made.remove_pod(sandbox.request.uid)
        except EngineError as error:
            raise RuntimeFailure("FailedKillPod", str(error)) from error
        for key in [key for key in self._seen if key[0] == sandbox.request.uid]:
            del self._seen[key]

    async def _there(self, uid: str, name: str) -> str:
        """Return the id of a container that runs, or whose end nobody has been told yet."""
        running = await self._made.running(uid, name)
        if running:
            return running
        ended = await self._made.ended(uid, name)
        return ended if ended != self._seen.get((uid, name)) else ""

    async def _joined(
        self, uid: str, name: str, descriptors: Descriptors, *, stamped: bool
    ) -> EngineProcess | None:
        there = await self._there(uid, name)
        found = await self._made.inspected(there) if there else {}
        if not found:
            return None
        state = found["State"]
        connection: Connection = Logged(self._engine, there, stamped=stamped)
        if descriptors.terminal and state["Running"]:
            # The engine logs whole lines only, and a terminal's user waits for less.
            connection = Attached(*await self._attached(there, stdin=False, logs=True))
        began, ended = lifetime(state)
        return EngineProcess(
            there,
            there,
            OfContainer(self._engine, there),
            connection,
            descriptors,
            began=began,
            ended=ended,
        )

    async def _started(
        self, sandbox: PodSandbox, request: ContainerRequest, descriptors: Descriptors
    ) -> EngineProcess:
        pod = sandbox.request
        # The one that has ended before.
        await self._made.remove_pod(pod.uid, request.name)
        stdin = descriptors.stdin >= 0
        request = replace(request, binds=[_without_links(bind) for bind in request.binds])
        beside = cast("EngineProcess | None", request.beside)
        body = container_body(
            self._project,
            sandbox.id,
            pod,
            request,
            stdin=stdin,
            beside=beside.container if beside is not None else "",
        )
        identity = await self._made.create(
            first_name(self._project.name, pod.namespace, pod.name, request.name), body
        )
        try:
            # Before it starts: nothing that it says is missed.
            connection = await self._attached(identity, stdin=stdin, logs=False)
            try:
                await self._engine.post(f"/containers/{identity}/start")
            except BaseException:
                connection[1].close()
                raise
        except EngineError as error:
            # An engine that is gone, or never was asked, says nothing about the program.
            gone = error.status == 0
            raise RuntimeFailure(
                "CreateContainerError" if gone else "RunContainerError",
                f'cannot start "{" ".join(request.argv)}": {in_short(str(error))}',
            ) from error
        kind = OfContainer(self._engine, identity)
        return EngineProcess(identity, identity, kind, Attached(*connection), descriptors)

    async def _attached(
        self, identity: str, *, stdin: bool, logs: bool
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await self._engine.hijack(
            f"/containers/{identity}/attach",
            stream=True,
            stdin=stdin,
            stdout=True,
            stderr=True,
            logs=logs,
            detachKeys=DETACH_KEYS,
        )

    async def _undone_unless(
        self, work: Callable[[], Awaitable[T]], undo: Callable[[], Awaitable[None]]
    ) -> T:
        """Do *work*; if it fails or is cancelled, undo it, as far as the engine lets us."""
        try:
            return await self._unbroken(work)
        except BaseException:
            try:
                await undo()
            except EngineError as error:
                # The kubelet tries again, and removes the pod in the end.
                log.info("what was begun is left: %s", error)
            raise

    async def _unbroken(self, work: Callable[[], Awaitable[T]]) -> T:
        """Finish *work* even if we are cancelled meanwhile: the engine finishes its part, too."""
        outcome: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        async def finish() -> None:
            try:
                outcome.set_result(await work())
            except (EngineError, RuntimeFailure, OSError) as error:
                outcome.set_exception(error)

        # Not at the task's own end: one that is cancelled before it begins has none.
        self._tasks.create_task(finish()).add_done_callback(lambda _task: outcome.cancel())
        try:
            return await asyncio.shield(outcome)
        except asyncio.CancelledError:
            await asyncio.wait([outcome])
            if not outcome.cancelled() and outcome.exception() is None:
                made = outcome.result()
                if isinstance(made, EngineProcess):
                    made.release()
            raise


def _without_links(bind: Bind) -> Bind:
    # A container may have made a link in its volume: the engine would follow it on its machine.
    return replace(bind, source=os.path.realpath(bind.source))
