"""One pod's life on its node: sandbox, volumes, containers, status, and its end."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from podwire.emulator.kubelet.access import NotYetError, PodTokens
from podwire.emulator.kubelet.container import ContainerRun
from podwire.emulator.kubelet.context import NodeContext
from podwire.emulator.kubelet.environment import MissingSourceError
from podwire.emulator.kubelet.ephemeral import EphemeralRuns
from podwire.emulator.kubelet.files import PodFiles, make_files, write_volumes
from podwire.emulator.kubelet.grace import Grace
from podwire.emulator.kubelet.host_names import HostNameError
from podwire.emulator.kubelet.launch import sandbox_of
from podwire.emulator.kubelet.unsupported import unsupported
from podwire.emulator.kubelet.volume_files import VolumeError, objects_in
from podwire.emulator.kubelet.volumes import remove
from podwire.emulator.runtimes.runtime import (
    PodSandbox,
    RunningProcess,
    RuntimeFailure,
)
from podwire.errors import ApiError, Conflict, NotFound, UnreachableError
from podwire.kube.codec import key_of
from podwire.kube.node_ready import held_back
from podwire.kube.objects import EphemeralContainer, Object, Pod
from podwire.kube.podstatus import status_of
from podwire.kube.times import parse_rfc3339

log = logging.getLogger(__name__)

FIRST_RETRY = 0.1
LAST_RETRY = 5.0
# So long a pod waits in silence for what each namespace gets at its birth. Seconds.
_BIRTH = 2.0
_OVERDUE = "Pod was active on the node longer than the specified deadline"

T = TypeVar("T")


class PodLife:
    """Makes one pod true from its binding to its end. `run` returns when nothing of it is left."""

    def __init__(self, node: NodeContext, pod: Pod) -> None:
        self._node = node
        self.pod = pod
        self.sandbox: PodSandbox | None = None
        # Set when the pod is to end; and whether the API server has forgotten it already.
        self._ending = asyncio.Event()
        self._forgotten = False
        # Set when it is to end, or has been active for too long.
        self._interrupted = asyncio.Event()
        self._deadline: asyncio.TimerHandle | None = None
        self._failed: tuple[str, str] | None = None
        self._grace: Grace | None = None
        self._dirty = asyncio.Event()
        self._news = asyncio.Event()
        self._began = node.clock.monotonic()
        # A kubelet that starts anew finds pods that have begun.
        self._start_time = pod.status.start_time or node.now()
        self._tokens = PodTokens(node, self._current)
        # Until its volumes have been made once, that is tried again and again.
        self._has_files = False
        self._written: dict[str, Any] = {}
        policy = pod.spec.restart_policy
        self._init = [
            ContainerRun(
                node,
                container,
                self._current,
                self._dirty.set,
                _init_policy(container.restart_policy, policy),
                kind="initContainers",
            )
            for container in pod.spec.init_containers
        ]
        self._containers = [
            ContainerRun(node, container, self._current, self._dirty.set, policy)
            for container in pod.spec.containers
        ]
        for run in (*self._init, *self._containers):
            run.record.reason = "PodInitializing" if self._init else "ContainerCreating"
        self._ephemerals = EphemeralRuns(self._ephemeral)
        self._ephemerals.update(pod)
        self._set_deadline()

    def update(self, pod: Pod) -> None:
        """Take note of a newer version of the pod."""
        self.pod = _newer(self.pod, pod)
        if pod.metadata.deletion_timestamp is not None:
            seconds = pod.metadata.deletion_grace_period_seconds
            self._end_in(30.0 if seconds is None else float(seconds))
            return
        self._set_deadline()
        spec = self.pod.spec
        wanted = (*spec.init_containers, *spec.containers)
        for run, container in zip((*self._init, *self._containers), wanted, strict=True):
            run.change_image(container)
        if len(self._ephemerals.runs) != len(self.pod.spec.ephemeral_containers):
            self._ephemerals.update(self.pod)
            self._dirty.set()
        if pod.spec.readiness_gates or self._contradicted():
            self._dirty.set()

    def forget(self) -> None:
        """Take note that the API server has no such pod any more: end it at once."""
        self._forgotten = True
        self._end_in(0.0)

    def look_again(self) -> None:
        """Try now what waits for a ConfigMap, a Secret or an image."""
        self._news.set()
        for run in self.runs():
            run.look_again()

    def report(self) -> None:
        """Have the status written if the API server has another one."""
        self._dirty.set()

    def container(self, name: str) -> ContainerRun | None:
        """Return a container by name; an empty name is the first one."""
        runs = (*self._containers, *self._init, *self._ephemerals.runs)
        return next((run for run in runs if not name or run.container.name == name), None)

    def runs(self) -> tuple[ContainerRun, ...]:
        """Return all containers, of all three kinds."""
        return (*self._init, *self._containers, *self._ephemerals.runs)

    async def look_after_volumes(self) -> None:
        """Replace the tokens that will not last much longer; write what could not be written."""
        if self.sandbox is None or self._ending.is_set():
            return
        try:
            await self._tokens.renew()
        except VolumeError as error:
            # It still has some of its life; the next round asks again.
            log.info("tokens of %s: %s", key_of(self.pod), error)
        self.refresh_volumes()

    async def run(self) -> None:
        """Live until the pod is deleted; then clean up and tell the API server."""
        for text in unsupported(self.pod, self._node.honoured):
            self._node.event(self.pod, "Warning", "NotSupported", text)
        try:
            async with asyncio.TaskGroup() as tasks:
                reporter = tasks.create_task(self._report())
                living = tasks.create_task(self._live())
                await self._interrupted.wait()
                if not self._ending.is_set() and not living.done():
                    await self._exceed(living)
                await self._ending.wait()
                await self._stop()
                living.cancel()
                await asyncio.wait([living])
                await self._release()
                reporter.cancel()
        finally:
            if self._deadline is not None:
                self._deadline.cancel()
            for run in self.runs():
                run.log.close()
            remove(self._node.directory_of(self.pod.metadata.uid))
        if not self._forgotten:
            await self._write_status(ended=True)
            await self._delete()

    def _current(self) -> Pod:
        return self.pod

    def _ephemeral(self, container: EphemeralContainer) -> ContainerRun:
        def target() -> RunningProcess | None:
            name = container.target_container_name
            found = self.container(name) if name else None
            if name and (found is None or found.process is None):
                raise MissingSourceError(f"unable to find target container {name}")
            return found.process if found is not None else None

        return ContainerRun(
            self._node,
            container,
            self._current,
            self._dirty.set,
            "Never",
            kind="ephemeralContainers",
            beside=target,
        )

    def _set_deadline(self) -> None:
        """Have the pod ended when it has been active for activeDeadlineSeconds."""
        seconds = self.pod.spec.active_deadline_seconds
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if seconds is not None:
            left = parse_rfc3339(self._start_time) + seconds - self._node.clock.now()
            loop = asyncio.get_running_loop()
            self._deadline = loop.call_later(max(left, 0.0), self._interrupted.set)

    async def _exceed(self, living: asyncio.Task[None]) -> None:
        """End a pod that has been active for too long: it has failed, and its object stays."""
        self._node.event(self.pod, "Normal", "DeadlineExceeded", _OVERDUE)
        self._grace = Grace(float(self.pod.spec.termination_grace_period_seconds))
        await self._stop()
        living.cancel()
        await asyncio.wait([living])
        await self._release()
        # Not before its containers have ended: until then it is not over.
        self._failed = ("DeadlineExceeded", _OVERDUE)
        self._dirty.set()

    def _end_in(self, seconds: float) -> None:
        # The wish may come again with less time, while we wait for the containers to end.
        if self._grace is None:
            self._grace = Grace(seconds)
        self._grace.shorten(seconds)
        self._ending.set()
        self._interrupted.set()

    async def _live(self) -> None:
        try:
            await self._start_and_wait()
        except Exception as error:
            # A fault of ours. The pod can still be looked at, and deleted.
            log.exception("pod %s", key_of(self.pod))
            self._node.event(self.pod, "Warning", "FailedSync", f"error syncing pod: {error}")

    async def _start_and_wait(self) -> None:
        while True:
            self._dirty.set()
            async with asyncio.TaskGroup() as tasks:
                # Beside it, so that it costs no time.
                tasks.create_task(self._ask_for_tokens())
                self.sandbox = sandbox = await self._retried(self._make_sandbox)
            self._dirty.set()
            files = await self._retried(self._make_files)
            if not await self._lost(sandbox, self._containers_over(sandbox, files)):
                break
            text = "Pod sandbox changed, it will be killed and re-created."
            self._node.event(self.pod, "Normal", "SandboxChanged", text)
            for run in self.runs():
                run.lose_sandbox()
            if not self._goes_on():
                break
            for run in (*self._init, *self._containers):
                if run in self._init or not run.finished:
                    waits = "PodInitializing" if self._init else "ContainerCreating"
                    run.begin_anew(waits)
            await self._release()
        if not self._ending.is_set():
            # Over: Succeeded or Failed. The address goes back, the logs stay.
            await self._release()

    async def _lost(self, sandbox: PodSandbox, life: Coroutine[Any, Any, None]) -> bool:
        """Live in *sandbox*; tells whether somebody ended that before."""
        async with asyncio.TaskGroup() as tasks:
            living = tasks.create_task(life)
            lost = tasks.create_task(self._node.runtime.lost(sandbox))
            await asyncio.wait([living, lost], return_when=asyncio.FIRST_COMPLETED)
            if living.done() or self._ending.is_set():
                # Ending, it needs no other: `run` cancels us when the containers have ended.
                await living
                lost.cancel()
                return False
            living.cancel()
        return True

    def _goes_on(self) -> bool:
        """Tell whether something of the pod would be started again, as the kubelet does."""
        failed = any(run.finished and not run.record.initialised for run in self._init)
        return not failed and not all(run.finished for run in self._containers)

    async def _containers_over(self, sandbox: PodSandbox, files: PodFiles) -> None:
        async with asyncio.TaskGroup() as tasks:
            # Before all others: they also show why an init container does not start.
            added = tasks.create_task(self._ephemerals.run(sandbox, files))
            beside: list[ContainerRun] = []
            for run in self._init:
                if run.record.sidecar:
                    tasks.create_task(run.run(sandbox, files))
                    beside.append(run)
                    await run.started.wait()
                else:
                    await run.run(sandbox, files)
                    if not run.record.initialised:
                        break
            else:
                left = [run for run in self._containers if not run.finished]
                for run in left:
                    run.record.reason = "ContainerCreating"
                for run in left:
                    tasks.create_task(run.run(sandbox, files))
                    if run.container.lifecycle and run.container.lifecycle.post_start:
                        # Proxies hold the application back like that until they are there.
                        await run.attempted.wait()
                for run in left:
                    await run.over.wait()
            if not self._ending.is_set():
                grace = Grace(float(self.pod.spec.termination_grace_period_seconds))
                for run in reversed(beside):
                    await run.stop(grace)
            added.cancel()
        self._ephemerals.end()

    async def _ask_for_tokens(self) -> None:
        try:
            await self._node.informed()
            await self._tokens.obtain()
        except VolumeError as error:
            # Its volumes are next, and will say what is missing.
            log.debug("tokens of %s: %s", key_of(self.pod), error)

    async def _retried(self, step: Callable[[], Awaitable[T]]) -> T:
        delay = FIRST_RETRY
        while True:
            self._news.clear()
            try:
                return await step()
            except RuntimeFailure as error:
                text = f"Failed to create pod sandbox: {error}"
                self._node.event(self.pod, "Warning", error.reason, text)
            except HostNameError as error:
                text = f"Failed to create pod sandbox: {error}"
                self._node.event(self.pod, "Warning", "FailedCreatePodSandBox", text)
            except (VolumeError, OSError) as error:
                young = self._node.clock.monotonic() - self._began < _BIRTH
                if not (young and isinstance(error, NotYetError)):
                    text = f"MountVolume.SetUp failed {error}"
                    self._node.event(self.pod, "Warning", "FailedMount", text)
            await _first(self._news, delay)
            delay = min(delay * 2, LAST_RETRY)

    async def _make_sandbox(self) -> PodSandbox:
        return await self._node.runtime.create(sandbox_of(self._node, self.pod))

    async def _make_files(self) -> PodFiles:
        assert self.sandbox is not None
        await self._tokens.obtain()
        files = make_files(self._node, self.pod, self._tokens, str(self.sandbox.address))
        self._has_files = True
        return files

    def shows(self, kind: type[Object], name: str) -> bool:
        """Tell whether a volume of the pod shows that object."""
        return (kind, name) in objects_in(self._tokens.volumes())

    def refresh_volumes(self) -> None:
        """Bring configMap, secret and downwardAPI volumes up to date, as the kubelet does."""
        if self.sandbox is None or not self._has_files or self._ending.is_set():
            return
        try:
            write_volumes(self._node, self.pod, self._tokens)
        except NotYetError as error:
            log.info("volumes of %s: %s", key_of(self.pod), error)
        except (VolumeError, OSError) as error:
            # The files stay as they were.
            text = f"MountVolume.SetUp failed {error}"
            self._node.event(self.pod, "Warning", "FailedMount", text)

    async def _stop(self) -> None:
        """End the containers, and after them the side-cars, the last one first (KEP-753)."""
        grace = self._grace
        assert grace is not None
        beside = [run for run in self._init if run.record.sidecar]
        async with asyncio.TaskGroup() as tasks:
            for run in self.runs():
                if not run.record.sidecar:
                    tasks.create_task(run.stop(grace))
        for run in reversed(beside):
            await run.stop(grace)

    async def _release(self) -> None:
        delay = FIRST_RETRY
        while self.sandbox is not None:
            try:
                await self._node.runtime.remove(self.sandbox)
                # Only now: if we are cancelled before, it is to be tried again.
                self.sandbox = None
                return
            except RuntimeFailure as error:
                text = f"error killing pod: {error}"
                self._node.event(self.pod, "Warning", "FailedKillPod", text)
            await asyncio.sleep(delay)
            delay = min(delay * 2, LAST_RETRY)

    async def _report(self) -> None:
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            await self._write_status()

    async def _write_status(self, *, ended: bool = False) -> None:
        address = str(self.sandbox.address) if self.sandbox is not None else ""
        now = self._node.now()
        status = status_of(
            self.pod,
            [run.record for run in self._init],
            [run.record for run in self._containers],
            host_ip=str(self._node.address),
            pod_ip=address or self.pod.status.pod_ip,
            start_time=self._start_time,
            now=now,
            ended=ended,
            ephemeral=[run.record for run in self._ephemerals.runs],
            failed=self._failed,
        )
        if self._node.is_down:
            conditions, present = status["conditions"], self.pod.status
            status["conditions"] = held_back(conditions, self._node.name, present, now)
        if status == self._written and not self._contradicted():
            return
        # The uid keeps us from writing on a successor of the same name (as the kubelet does).
        patch = {"metadata": {"uid": self.pod.metadata.uid}, "status": status}
        try:
            pod = await self._node.client.patch(Pod, key_of(self.pod), patch, subresource="status")
        except (NotFound, Conflict):
            return
        except (ApiError, UnreachableError) as error:
            log.warning("status of %s: %s", key_of(self.pod), error)
            self._dirty.set()
            await asyncio.sleep(FIRST_RETRY)
            return
        self._written = status
        if pod.metadata.uid == self.pod.metadata.uid:
            self.pod = _newer(self.pod, pod)

    def _contradicted(self) -> bool:
        """Tell whether somebody wrote another readiness after us: the node lifecycle controller."""
        written = [c["status"] for c in self._written.get("conditions", ()) if c["type"] == "Ready"]
        present = [c.status for c in self.pod.status.conditions if c.type == "Ready"]
        return bool(written) and written != present

    async def _delete(self) -> None:
        delay = FIRST_RETRY
        while not self._forgotten:
            try:
                await self._node.client.delete(
                    Pod, key_of(self.pod), grace=0, uid=self.pod.metadata.uid
                )
            except (NotFound, Conflict):
                return
            except (ApiError, UnreachableError) as error:
                log.warning("deletion of %s: %s", key_of(self.pod), error)
                await asyncio.sleep(delay)
                delay = min(delay * 2, LAST_RETRY)
            else:
                return


def _init_policy(own: str, pods: str) -> str:
    """Return an init container's policy: a side-car's own, else never again after success."""
    if own == "Always":
        return own
    return "Never" if pods == "Never" else "OnFailure"


def _newer(known: Pod, heard: Pod) -> Pod:
    """Return the later version: what a watch says may be older than the answer to a write."""
    versions = [pod.metadata.resource_version for pod in (known, heard)]
    if all(version.isdigit() for version in versions) and int(versions[0]) > int(versions[1]):
        return known
    return heard


async def _first(event: asyncio.Event, seconds: float) -> None:
    """Wait until *event* is set, *seconds* at most."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
