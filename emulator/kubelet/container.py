"""One container of a pod: start, wait for its end, start again as the restart policy says."""

import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import Literal

from podwire.emulator.images.catalogue import Image, ImageError
from podwire.emulator.kubelet import backoff
from podwire.emulator.kubelet.commands import Commands
from podwire.emulator.kubelet.context import NodeContext
from podwire.emulator.kubelet.environment import MissingSourceError
from podwire.emulator.kubelet.files import PodFiles
from podwire.emulator.kubelet.grace import Grace
from podwire.emulator.kubelet.last_words import message_of
from podwire.emulator.kubelet.launch import request_of
from podwire.emulator.kubelet.lifecycle import end, run_hook
from podwire.emulator.kubelet.logs import ContainerLog
from podwire.emulator.kubelet.probes import Outcome, ask
from podwire.emulator.kubelet.probing import Probed, watch_over
from podwire.emulator.kubelet.standard_streams import StandardStreams
from podwire.emulator.kubelet.volume_files import VolumeError
from podwire.emulator.runtimes.runtime import (
    ContainerRequest,
    PodSandbox,
    RunningProcess,
    RuntimeFailure,
)
from podwire.kube.objects import Container, Pod, Probe
from podwire.kube.podstatus import ContainerRecord
from podwire.kube.times import rfc3339

Kind = Literal["initContainers", "containers", "ephemeralContainers"]

# Seconds for a container's last words to come through after its end.
_LAST_WORDS = 1.0
# How a container ends whose program cannot be run, and since when it ran then (containerd,
# internal/cri/server/container_start.go).
_NOT_STARTED = 128
_NEVER = "1970-01-01T00:00:00Z"


class ContainerRun:
    """Runs one container until the pod ends or, by its restart policy, it is over."""

    def __init__(
        self,
        node: NodeContext,
        container: Container,
        pod: Callable[[], Pod],
        changed: Callable[[], None],
        restart_policy: str,
        *,
        kind: Kind = "containers",
        beside: Callable[[], RunningProcess | None] = lambda: None,
    ) -> None:
        """*kind* is the field of the pod's spec that it stands in.

        *beside* returns the process whose processes it is to see, None for nobody's; it raises
        MissingSourceError.
        """
        self._node = node
        self.container = container
        self._pod = pod
        self._changed = changed
        self._restart_policy = restart_policy
        self._kind: Kind = kind
        self._shares = beside
        uid = pod().metadata.uid
        self.log = ContainerLog(node.directory_of(uid) / "logs" / container.name, node.now_nano)
        self.streams = StandardStreams(container, self.log)
        status = pod().status
        statuses = (
            *status.init_container_statuses,
            *status.container_statuses,
            *status.ephemeral_container_statuses,
        )
        known = next((one for one in statuses if one.name == container.name), None)
        self.record = ContainerRecord(
            container.name,
            # That of the last one that was made, if there was one.
            known.image if known is not None and known.container_id else container.image,
            sidecar=kind == "initContainers" and container.restart_policy == "Always",
            ephemeral=kind == "ephemeralContainers",
            # A kubelet that starts anew goes on counting.
            restarts=0 if known is None else known.restart_count,
        )
        self.commands = Commands(node.runtime, container.name)
        self.process: RunningProcess | None = None
        # Since when that runs, in seconds since 1970.
        self.began = 0.0
        # Set when it has been up once: started, and its startup probe has succeeded.
        self.started = asyncio.Event()
        # Set when the first attempt to start it is over, and its postStart hook, which is part of
        # that: not before, the kubelet turns to the pod's next container.
        self.attempted = asyncio.Event()
        # Set when it will not be started any more.
        self.over = asyncio.Event()
        self._ends = 0
        self._failures = 0
        # Why its image could not be had the last time; empty: it was.
        self._unpulled = ""
        self._stopping = False
        # It is ended because the pod wants another image.
        self._replacing = False
        # A probe ends it.
        self._killing = False
        self._news = False
        self._woken = asyncio.Event()
        self._image: Image | None = None
        self._files: PodFiles | None = None
        self._sandbox: PodSandbox | None = None
        # When a container that is joined has ended, in seconds since 1970; 0: it has not yet.
        self._found_ended = 0.0

    @property
    def finished(self) -> bool:
        """Tell whether it has ended, and its restart policy leaves it at that."""
        return self.record.state == "terminated" and not self._restarts()

    @property
    def _outdated(self) -> bool:
        """Tell whether the pod wants another image than that of the last one that was made."""
        return self.container.image != self.record.image

    def _restarts(self) -> bool:
        record = self.record
        return record.replaced or backoff.restarts(self._restart_policy, record.exit_code)

    async def run(self, sandbox: PodSandbox, files: PodFiles) -> None:
        """Start the container, again and again as its restart policy says."""
        self._sandbox, self._files = sandbox, files
        try:
            await self._run(sandbox, files)
        finally:
            self.attempted.set()
            self.over.set()

    async def _run(self, sandbox: PodSandbox, files: PodFiles) -> None:
        clock = self._node.clock.monotonic
        while not self._stopping:
            began = clock()
            status = await self._once(sandbox, files)
            self.attempted.set()
            if status is None:
                if self.finished:
                    return  # it was to be replaced, and the policy holds again
                self._failures += 1
                await self._wait_to_retry()
                continue
            self._failures = 0
            if self._stopping or not self._restarts():
                return
            self._ends = 1 if clock() - began > backoff.LONG_LIFE else self._ends + 1
            delay = 0.0 if self._outdated else backoff.before_restart(self._ends)
            if delay:
                self._crash_loop(delay)
                await self._wait(delay, lambda: self._outdated)
            if self._outdated:
                # Each image has a back-off of its own (GetStableKey in pkg/kubelet/kuberuntime).
                self._ends = 0 if self.record.replaced else 1

    async def _wait_to_retry(self) -> None:
        if not self._unpulled:
            await self._wait(backoff.before_retry(self._failures), lambda: self._news)
            return
        await self._wait(backoff.PULL_FAILED, lambda: self._news)
        if self._stopping or self._news:
            return
        text = f'Back-off pulling image "{self.container.image}"'
        self._event("Normal", "BackOff", text)
        message = f"{text}: ErrImagePull: {self._unpulled}"
        self._cannot_start("ImagePullBackOff", message, "Error: ImagePullBackOff")
        left = backoff.before_pull(self._failures) - backoff.PULL_FAILED
        await self._wait(left, lambda: self._news)

    def lose_sandbox(self) -> None:
        """Take note that it is killed with the pod's network, after `run` was cancelled."""
        if self.record.state == "running":
            self._event("Normal", "Killing", f"Stopping container {self.record.name}")
            self._ended(128 + signal.SIGKILL)

    def begin_anew(self, reason: str) -> None:
        """Make ready for another `run`, in another sandbox."""
        self.record.wait(reason, "")
        self.over.clear()
        self.started.clear()
        self.attempted.clear()

    def look_again(self) -> None:
        """Try now what could not start for want of something: it may be there."""
        self._news = True
        self._woken.set()

    def change_image(self, container: Container) -> None:
        """Run *container*, which is the same but for its image, from the next start on.

        One that runs is ended for that; but not an init container, which does its work to the end
        (computePodActions and computeInitContainerActions in pkg/kubelet/kuberuntime).
        """
        if container.image == self.container.image:
            return
        self.container = container
        if self.record.fresh:
            self.record.image = container.image
            self._changed()
        self._failures = 0
        self.look_again()

    async def stop(self, grace: Grace) -> None:
        """Run preStop, ask the container to end, and kill it when *grace* is over."""
        process, again, self._stopping = self.process, self._stopping, True
        self._woken.set()
        if process is None:
            return
        if not again:
            self._event("Normal", "Killing", f"Stopping container {self.record.name}")
            await self._end(process, grace)
        else:
            # Somebody else ends it already, and may have given it more time.
            try:
                async with grace.limit():
                    await process.wait()
            except TimeoutError:
                process.send_signal(signal.SIGKILL)
        # When this returns its end has been noted, too.
        await self.over.wait()

    async def _once(self, sandbox: PodSandbox, files: PodFiles) -> int | None:
        """Start, wait, and note the end.

        Returns the exit status, or None if it could not even be made.
        """
        pod, container = self._pod(), self.container
        self._unpulled, self._news = "", False
        self._replacing = self._killing = False
        try:
            # A kubelet that starts anew finds containers that run: nothing happens to them.
            joins = await self._node.runtime.has(sandbox, container.name)
            wanted = self.record.image if joins else container.image
            image = self._image = await self._node.images.image(
                wanted,
                "IfNotPresent" if joins else container.image_pull_policy,
                lambda reason, message: None if joins else self._event("Normal", reason, message),
            )
            await self._node.informed()
            request = request_of(
                self._node,
                pod,
                container,
                image=image,
                sandbox=sandbox,
                files=files,
                beside=None if joins else self._shares(),
                joins=joins,
            )
        except ImageError as error:
            if error.reason == "ErrImagePull":
                self._unpulled = str(error)
                text = f'Failed to pull image "{container.image}": {error}'
                self._event("Warning", "Failed", text)
            else:
                # An image's name that is none is an image that cannot be looked at
                # (pkg/kubelet/images/image_manager.go).
                invalid = error.reason == "InvalidImageName"
                self._event("Warning", "InspectFailed" if invalid else error.reason, str(error))
            self._cannot_start(error.reason, str(error), f"Error: {error.reason}")
            return None
        except (MissingSourceError, VolumeError) as error:
            self._cannot_start("CreateContainerConfigError", str(error), f"Error: {error}")
            return None
        except (RuntimeFailure, OSError) as error:
            self._cannot_start("CreateContainerError", str(error), f"Error: {error}")
            return None
        if not joins:
            self._event("Normal", "Created", f"Created container: {self.record.name}")
        try:
            process = await self._start(sandbox, request, joins=joins)
        except (RuntimeFailure, OSError) as error:
            self.streams.close()
            reason = error.reason if isinstance(error, RuntimeFailure) else "CreateContainerError"
            self._cannot_start(reason, str(error), f"Error: {error}")
            if reason != "RunContainerError":
                return None
            # It was made, and has ended as soon as it was to run: the restart policy decides.
            self.record.make(wanted, anew=True)
            self.record.started_at = _NEVER
            self._over(_NOT_STARTED, str(error), reason="StartError")
            return _NOT_STARTED
        self.process = process
        self.log.started()
        self.commands.begin(process, request)
        self.record.make(wanted, anew=not joins)
        self.record.image_id = image.identity
        self.record.container_id = self._node.runtime.container_id(process)
        began, self._found_ended = self._node.runtime.times(process)
        self.began = began or self._node.clock.now()
        self.record.started_at = rfc3339(self.began)
        process.when_paused(self._paused)
        if not joins:
            self._event("Normal", "Started", f"Started container {self.record.name}")
        try:
            status = await self._live(process, joined=joins)
        finally:
            # Gone already, unless we were cancelled or something failed.
            process.send_signal(signal.SIGKILL)
            self.process = None
            self.commands.end()
            process.close()
            self.streams.close()
        self._ended(status)
        return status

    async def _start(
        self, sandbox: PodSandbox, request: ContainerRequest, *, joins: bool
    ) -> RunningProcess:
        streams = self.streams.open(joins=joins)
        try:
            return await self._node.runtime.start(sandbox, request, streams)
        finally:
            for fd in {streams.stdin, streams.stdout, streams.stderr} - {-1}:
                os.close(fd)

    async def _live(self, process: RunningProcess, *, joined: bool) -> int:
        beside: list[asyncio.Task[None]] = []
        async with asyncio.TaskGroup() as tasks:
            if not self._found_ended:
                beside.append(tasks.create_task(self._beside(process, joined=joined)))
            if self._stopping:  # it was told to while it started
                process.send_signal(signal.SIGKILL)
            status = await process.wait()
            for task in beside:
                task.cancel()
        with suppress(TimeoutError):
            async with asyncio.timeout(_LAST_WORDS):
                await self.log.drained()
        return status

    async def _beside(self, process: RunningProcess, *, joined: bool) -> None:
        """Run what goes on beside a running container: the postStart hook, then the probes."""
        lifecycle = self.container.lifecycle
        # Until the hook is over the container does not count as running (Kubernetes docs,
        # "Container Lifecycle Hooks").
        hook = lifecycle.post_start if lifecycle is not None else None
        if hook is not None and not joined and not await run_hook(hook, self._asked, None):
            self._event("Warning", "FailedPostStartHook", "PostStartHook failed")
            self._event("Normal", "Killing", "FailedPostStartHook")
            await self._end(process, self._own_grace())
            return
        self.attempted.set()
        self.record.run(
            started=self.container.startup_probe is None,
            ready=self.container.readiness_probe is None,
        )
        self._probed()
        probed = Probed(
            self.container,
            self.record,
            ask=self._asked,
            unhealthy=lambda message: self._event("Warning", "Unhealthy", message),
            changed=self._probed,
            kill=self._kill,
            stopping=lambda: self._stopping or self._replacing,
        )
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(watch_over(probed))
            await self._replace(process)

    async def _replace(self, process: RunningProcess) -> None:
        """End a container as soon as the pod wants another image."""
        sidecar, name = self.record.sidecar, self.record.name
        if self._kind != "containers" and not sidecar:
            return
        if sidecar:
            await self.started.wait()
        while not self._outdated:
            self._woken.clear()
            await self._woken.wait()
        if self._stopping:
            return
        self._replacing = True
        if self._killing:
            return  # it ends already, and what comes after it is the new one
        text = f"Container {name} definition changed, will be restarted"
        text = f"Init container {name} definition changed" if sidecar else text
        self._event("Normal", "Killing", text)
        await self._end(process, self._own_grace())

    async def _asked(self, probe: Probe) -> Outcome:
        assert self._sandbox is not None
        address = str(self._sandbox.address)
        return await ask(probe, self.container, address, self._node.netns, self.commands.output_of)

    async def _kill(self, kind: str, probe: Probe) -> None:
        text = f"Container {self.record.name} failed {kind} probe, will be restarted"
        self._event("Normal", "Killing", text)
        if self.process is not None:
            self._killing = True
            await self._end(self.process, self._own_grace(probe.termination_grace_period_seconds))

    def _own_grace(self, seconds: int | None = None) -> Grace:
        pods = self._pod().spec.termination_grace_period_seconds
        return Grace(float(pods if seconds is None else seconds))

    async def _end(self, process: RunningProcess, grace: Grace) -> None:
        lifecycle = self.container.lifecycle
        hook = lifecycle.pre_stop if lifecycle is not None else None

        limit = self._pod().spec.termination_grace_period_seconds

        async def pre_stop() -> None:
            if hook is not None and not await run_hook(hook, self._asked, limit):
                self._event("Warning", "FailedPreStopHook", "PreStopHook failed")

        stop_signal = self._image.stop_signal if self._image else signal.SIGTERM
        await end(process, grace, stop_signal=stop_signal, pre_stop=pre_stop if hook else None)

    async def _wait(self, seconds: float, no_longer: Callable[[], bool]) -> None:
        """Wait, but not longer than until we are to stop or *no_longer* says so."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not self._stopping and not no_longer():
                    self._woken.clear()
                    await self._woken.wait()

    def _event(self, type_: str, reason: str, message: str) -> None:
        path = f"spec.{self._kind}{{{self.record.name}}}"
        self._node.event(self._pod(), type_, reason, message, field_path=path)

    def _cannot_start(self, reason: str, message: str, text: str) -> None:
        self.record.replaced = False
        if not self.finished:
            self.record.wait(reason, message)
        self._event("Warning", "Failed", text)
        self._changed()

    def _crash_loop(self, delay: float) -> None:
        meta, name = self._pod().metadata, self.record.name
        pod = f"{meta.name}_{meta.namespace}({meta.uid})"
        text = f"Back-off restarting failed container {name} in pod {pod}"
        self._event("Warning", "BackOff", text)
        self.record.wait(
            "CrashLoopBackOff",
            f"back-off {delay:g}s restarting failed container={name} pod={pod}",
        )
        self._changed()

    def _probed(self) -> None:
        if self.record.started:
            self.started.set()
        self._changed()

    def _ended(self, status: int) -> None:
        message = ""
        if self._files is not None:
            log = self.log.paths(previous=False)
            message = message_of(self.container, status, self._files.messages, log)
        self._over(status, message)

    def _over(self, status: int, message: str, *, reason: str = "") -> None:
        once = self._kind == "initContainers" and not self.record.sidecar
        at = rfc3339(self._found_ended or self._node.clock.now())
        self.record.end(
            status,
            at,
            done=once and status == 0,
            message=message,
            reason=reason,
            replaced=self._replacing,
        )
        self._changed()

    def _paused(self, paused: bool) -> None:  # noqa: FBT001 - a callback's only argument
        self.record.paused = paused
        if paused and self.container.readiness_probe is not None:
            # It has to show again that it answers.
            self.record.ready = False
        self._changed()
