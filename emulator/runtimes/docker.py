"""The docker runtime: a pod is a container that sleeps, and containers in its namespaces."""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Collection
from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any, TypeVar, cast

from podwire.emulator.engine.client import Engine, EngineError
from podwire.emulator.engine.descriptors import Descriptors
from podwire.emulator.runtimes.docker_process import EngineProcess, OfCommand, OfContainer
from podwire.emulator.runtimes.docker_requests import (
    DETACH_KEYS,
    SANDBOX,
    DockerNode,
    Json,
    Project,
    command_body,
    container_body,
    in_short,
    name_of,
    sandbox_body,
)
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
from podwire.lending import Place

log = logging.getLogger(__name__)

T = TypeVar("T")

# Seconds between looks at a command that is about to start.
_ASK_AGAIN = 0.01


class DockerRuntime:
    """Makes the pods of one node with an engine.

    *tasks* owns what goes on for each container, and has to outlive the kubelet. When it ends, the
    containers go on: the next runtime finds them by their labels, and `create` and `start` take
    over what runs already.
    """

    def __init__(
        self, engine: Engine, node: DockerNode, project: Project, tasks: asyncio.TaskGroup
    ) -> None:
        self._engine = engine
        self._node = node
        self._project = project
        self._tasks = tasks
        self._made = MadeContainers(engine, project.name)

    def move(self, node: DockerNode) -> None:
        """Make what comes from now on where *node* says: its container may have been replaced."""
        self._node = node

    async def create(self, request: PodRequest) -> PodSandbox:
        """Make the pod's sandbox, or find it; raises RuntimeFailure.

        Failed or cancelled, it leaves nothing.
        """
        try:
            found = await self._found(request)
            if found is not None:
                return found
            return await self._undone_unless(
                self._sandbox(request), lambda: self._made.remove_pod(request.uid)
            )
        except EngineError as error:
            raise RuntimeFailure("FailedCreatePodSandBox", _of_network(error)) from error

    async def has(self, sandbox: PodSandbox, container: str) -> bool:
        """Tell whether a container of that name runs; raises RuntimeFailure."""
        try:
            return bool(await self._made.running(sandbox.request.uid, container))
        except EngineError as error:
            raise RuntimeFailure("CreateContainerError", str(error)) from error

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
            process = await self._joined(uid, name, descriptors)
            if process is None:
                process = await self._undone_unless(
                    self._started(sandbox, request, descriptors),
                    lambda: self._made.remove_pod(uid, name),
                )
        except BaseException as error:
            descriptors.close()
            if isinstance(error, EngineError):
                raise RuntimeFailure("CreateContainerError", str(error)) from error
            raise
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
            process = await self._command(
                cast(EngineProcess, container).container, request, descriptors
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

    async def leftovers(self, known_uids: Collection[str]) -> tuple[str, ...]:
        """Remove what unknown pods of this cluster, on any node, have left; returns their uids."""
        return await self._made.leftovers(known_uids)

    async def remove_all(self) -> None:
        """Remove everything that was made for this cluster, on any node."""
        await self._made.remove_all()

    async def _found(self, request: PodRequest) -> PodSandbox | None:
        running = await self._made.running(request.uid, SANDBOX)
        interface = await self._interface(running, request) if running else None
        if interface is None:
            return None
        return PodSandbox(request, running, interface[0], netns=interface[1])

    async def _sandbox(self, request: PodRequest) -> PodSandbox:
        # What is left of an earlier one has lost its network.
        await self._made.remove_pod(request.uid)
        body = sandbox_body(self._project, self._node, request)
        made = await self._created(request, SANDBOX, body)
        await self._engine.post(f"/containers/{made}/start")
        interface = await self._interface(made, request)
        if interface is None:
            raise EngineError(500, f"the sandbox {made[:12]} has no address")
        return PodSandbox(request, made, interface[0], netns=interface[1])

    async def _interface(self, sandbox: str, request: PodRequest) -> tuple[IPv4Address, str] | None:
        """Return a sandbox's address, and where captures find its packets (empty: nowhere).

        None if it has ended, and with it its network.
        """
        if request.host_network:
            return self._node.address, ""
        found = await self._engine.get(f"/containers/{sandbox}/json")
        networks: Collection[Json] = found["NetworkSettings"]["Networks"].values()
        for network in networks:
            if network["IPAddress"]:
                lender, mac = self._project.captures, network.get("MacAddress") or ""
                place = str(Place(lender, mac, network["IPAddress"])) if lender and mac else ""
                return IPv4Address(network["IPAddress"]), place
        return None

    async def _joined(self, uid: str, name: str, descriptors: Descriptors) -> EngineProcess | None:
        running = await self._made.running(uid, name)
        if not running:
            return None
        connection = await self._attached(running, stdin=False, logs=True)
        return self._process(running, connection, descriptors)

    async def _started(
        self, sandbox: PodSandbox, request: ContainerRequest, descriptors: Descriptors
    ) -> EngineProcess:
        pod = sandbox.request
        # The one that has ended before.
        await self._made.remove_pod(pod.uid, request.name)
        await self._revived(sandbox)
        stdin = descriptors.stdin >= 0
        request = replace(request, binds=[_without_links(bind) for bind in request.binds])
        body = container_body(self._project, sandbox.id, pod, request, stdin=stdin)
        identity = await self._created(pod, request.name, body)
        try:
            # Before it starts: nothing that it says is missed.
            connection = await self._attached(identity, stdin=stdin, logs=False)
            try:
                await self._engine.post(f"/containers/{identity}/start")
            except BaseException:
                connection[1].close()
                raise
        except EngineError as error:
            raise RuntimeFailure(
                "RunContainerError",
                f'cannot start "{" ".join(request.argv)}": {in_short(str(error))}',
            ) from error
        return self._process(identity, connection, descriptors)

    async def _revived(self, sandbox: PodSandbox) -> None:
        """Start the sandbox again if it has ended: with the engine, or by somebody's hand."""
        found = await self._engine.get(f"/containers/{sandbox.id}/json")
        if not found["State"]["Running"]:
            await self._engine.post(f"/containers/{sandbox.id}/start")
            interface = await self._interface(sandbox.id, sandbox.request)
            if interface is not None:
                sandbox.address, sandbox.netns = interface

    def _process(
        self,
        identity: str,
        connection: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        descriptors: Descriptors,
    ) -> EngineProcess:
        kind = OfContainer(self._engine, identity)
        return EngineProcess(identity, identity, kind, connection, descriptors)

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

    async def _command(
        self, container: str, request: ContainerRequest, descriptors: Descriptors
    ) -> EngineProcess:
        body = command_body(request, stdin=descriptors.stdin >= 0)
        identity = (await self._engine.post(f"/containers/{container}/exec", body))["Id"]
        connection = await self._engine.hijack(
            f"/exec/{identity}/start", {"Detach": False, "Tty": request.tty}
        )
        reader, writer = connection
        try:
            while True:
                found = await self._engine.get(f"/exec/{identity}/json")
                if found["Pid"]:
                    break
                if found["ExitCode"] is not None:
                    # The connection carries the words instead of what the command would print.
                    raise EngineError(400, _words(await reader.read()))
                await asyncio.sleep(_ASK_AGAIN)
        except BaseException:
            writer.close()
            raise
        kind = OfCommand(self._engine, identity, writer, terminal=request.tty)
        return EngineProcess(identity, container, kind, connection, descriptors)

    async def _created(self, pod: PodRequest, container: str, body: Json) -> str:
        """Create a container under the first name that is free, and return its id."""
        attempt = 0
        while True:
            name = name_of(self._project, pod, container, attempt)
            try:
                created: dict[str, Any] = await self._engine.post(
                    "/containers/create", body, name=name
                )
            except EngineError as error:
                # A predecessor of the same name may still be about to go.
                if error.status != 409 or "name" not in str(error):
                    raise
                attempt += 1
            else:
                return str(created["Id"])

    async def _undone_unless(self, work: Awaitable[T], undo: Callable[[], Awaitable[None]]) -> T:
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

    async def _unbroken(self, work: Awaitable[T]) -> T:
        """Finish *work* even if we are cancelled meanwhile: the engine finishes its part, too."""
        outcome: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        async def finish() -> None:
            try:
                outcome.set_result(await work)
            except (EngineError, RuntimeFailure, OSError) as error:
                outcome.set_exception(error)
            finally:
                outcome.cancel()

        self._tasks.create_task(finish())
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


def _of_network(error: EngineError) -> str:
    words = in_short(str(error))
    if "no available IPv4 addresses" in words:
        return f"no IP addresses available: {words}"
    return words


def _words(output: bytes) -> str:
    """Return an error that came in frames, or plain."""
    text = output[8:] if output[:1] in (b"\x00", b"\x01", b"\x02") else output
    return in_short(text.decode(errors="replace").strip())
