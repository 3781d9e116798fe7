"""One container of a pod: start, probe, wait for its end, start again as the restart policy says."""

import asyncio
import os
import signal
from collections.abc import Callable, Sequence

from podwire.emulator.images.catalogue import Image, ImageError
from podwire.emulator.kubelet.context import NodeContext
from podwire.emulator.kubelet.environment import (
    PATH,
    MissingSourceError,
    command_line,
    environment,
)
from podwire.emulator.kubelet.logs import ContainerLog
from podwire.emulator.kubelet.probes import FIRST_RETRY, ask
from podwire.emulator.kubelet.status import ContainerRecord, with_addresses
from podwire.emulator.kubelet.volumes import VolumeError, binds_of
from podwire.emulator.runtimes.mounts import Bind
from podwire.emulator.runtimes.runtime import (
    ContainerRequest,
    PodSandbox,
    RunningProcess,
    RuntimeFailure,
    Streams,
)
from podwire.kube.clock import rfc3339
from podwire.kube.objects import Container, LifecycleHandler, Pod, Probe

# As the kubelet: at once the first time, then 10 s, doubling to 300 s; forgotten after 600 s of life.
FIRST_BACK_OFF = 10.0
LAST_BACK_OFF = 300.0
LONG_LIFE = 600.0


class PodFiles:
    """Where a pod's files are: the binds that every container gets, and volumes."""

    def __init__(self, common: Sequence[Bind], node: NodeContext, uid: str) -> None:
        self.common = common
        self.volumes = node.directory_of(uid) / "volumes"
        self.images = node.directory_of(uid) / "images"


class ContainerRun:
    """Runs one container until the pod ends or, by its restart policy, it is over."""

    def __init__(
        self,
        node: NodeContext,
        container: Container,
        pod: Callable[[], Pod],
        changed: Callable[[], None],
        restart_policy: str,
    ) -> None:
        self._node = node
        self.container = container
        self._pod = pod
        self._changed = changed
        self._restart_policy = restart_policy
        uid = pod().metadata.uid
        self.log = ContainerLog(node.directory_of(uid) / "logs" / container.name, node.now_nano)
        self.record = ContainerRecord(container.name, container.image)
        self.process: RunningProcess | None = None
        self.sandbox: PodSandbox | None = None
        self.image: Image | None = None
        self.stdin = -1
        self.started = asyncio.Event()
        self._failures = 0
        self._stopping = False
        self._request: ContainerRequest | None = None

    async def run(self, sandbox: PodSandbox, files: PodFiles) -> None:
        """Start the container, again and again as its restart policy says."""
        self.sandbox = sandbox
        while not self._stopping:
            began = self._node.clock.monotonic()
            status = await self._once(sandbox, files)
            if status is None:
                await self._wait_before_retry()
                continue
            self._ended(status)
            again = self._restart_policy == "Always" or (
                self._restart_policy == "OnFailure" and status != 0
            )
            if not again or self._stopping:
                return
            if self._node.clock.monotonic() - began > LONG_LIFE:
                self._failures = 0
            self._failures += 1
            if self._failures > 1:
                await self._crash_loop()
            self.record.restarts += 1

    async def stop(self, grace: float) -> None:
        """Run preStop, ask the container to end, and kill it after *grace* seconds."""
        self._stopping = True
        process = self.process
        if process is None:
            return
        self._node.event(self._pod(), "Normal", "Killing", f"Stopping container {self.record.name}")
        lifecycle = self.container.lifecycle
        try:
            async with asyncio.timeout(grace):
                if lifecycle is not None and lifecycle.pre_stop is not None:
                    await self._hook(lifecycle.pre_stop)
                process.send_signal(self.image.stop_signal if self.image else signal.SIGTERM)
                await process.wait()
        except TimeoutError:
            process.send_signal(signal.SIGKILL)
            await process.wait()

    async def execute(self, command: Sequence[str], streams: Streams) -> RunningProcess:
        """Run *command* in the running container with its environment; raises RuntimeFailure."""
        if self.process is None or self._request is None:
            raise RuntimeFailure("InternalError", f'container "{self.record.name}" is not running')
        request = self._request
        wanted = ContainerRequest(
            request.name, tuple(command), request.environ, directory=request.directory
        )
        return await self._node.runtime.execute(self.process, wanted, streams)

    async def execute_tty(self, command: Sequence[str], terminal: int) -> RunningProcess:
        """Run *command* with *terminal*, the slave end of a pty, as its terminal."""
        if self.process is None or self._request is None:
            raise RuntimeFailure("InternalError", f'container "{self.record.name}" is not running')
        environ = {"TERM": "xterm", **self._request.environ}
        wanted = ContainerRequest(
            self.record.name, tuple(command), environ, directory=self._request.directory, tty=True
        )
        streams = Streams(terminal, terminal, terminal)
        return await self._node.runtime.execute(self.process, wanted, streams)

    async def _once(self, sandbox: PodSandbox, files: PodFiles) -> int | None:
        """Start and wait; returns the exit status, or None if it could not start."""
        try:
            image = self.image = self._node.image(self.container.image)
            request = self._prepare(image, files)
        except ImageError as error:
            self._cannot_start(
                "ErrImagePull", str(error), "Failed", f"Failed to pull image: {error}"
            )
            return None
        except (MissingSourceError, VolumeError) as error:
            self._cannot_start(
                "CreateContainerConfigError", str(error), "Failed", f"Error: {error}"
            )
            return None
        pod, name = self._pod(), self.record.name
        self._node.event(
            pod, "Normal", "Pulled", f'Container image "{self.container.image}" is {image.says}'
        )
        self._node.event(pod, "Normal", "Created", f"Created container: {name}")
        stdout, stderr = self.log.begin()
        stdin, self.stdin = os.pipe2(os.O_CLOEXEC) if self.container.stdin else (-1, -1)
        try:
            process = await self._node.runtime.start(
                sandbox, request, Streams(stdin, stdout, stderr)
            )
        except RuntimeFailure as error:
            self._cannot_start(error.reason, str(error), "Failed", f"Error: {error}")
            return None
        finally:
            for fd in (stdin, stdout, stderr):
                if fd >= 0:
                    os.close(fd)
        self._request = request
        self.process = process
        self._node.event(pod, "Normal", "Started", f"Started container {name}")
        self._running()
        try:
            async with asyncio.TaskGroup() as tasks:
                probing = tasks.create_task(self._watch_over())
                status = await process.wait()
                probing.cancel()
        finally:
            self.process = None
            process.close()
            if self.stdin >= 0:
                os.close(self.stdin)
                self.stdin = -1
        return status

    def _prepare(self, image: Image, files: PodFiles) -> ContainerRequest:
        assert self.sandbox is not None
        container, node = self.container, self._node
        # The downward API tells the addresses at once, not when the status has been written.
        pod = with_addresses(self._pod(), str(self.sandbox.address), str(node.address))
        base = {"PATH": PATH, "HOSTNAME": node.hostname(pod), "HOME": "/tmp"}
        base |= {**image.environ, **node.service_variables(pod)}
        environ = environment(
            pod,
            container,
            base=base,
            config_map=lambda name: node.config_map(pod.metadata.namespace, name),
            secret=lambda name: node.secret_values(pod.metadata.namespace, name),
        )
        argv = command_line(container, image.entrypoint, image.command, environ)
        if not argv:
            raise MissingSourceError("no command specified")
        binds = binds_of(container, pod, files.volumes)
        mounted = {bind.path for bind in (*files.common, *binds)}
        image_files = files.images / container.name
        for path, text in image.files.items():
            if path in mounted or any(path.startswith(f"{m}/") for m in mounted):
                continue
            source = image_files / path.lstrip("/")
            source.parent.mkdir(parents=True, exist_ok=True)
            source.write_text(text)
            binds.append(Bind(path, str(source), is_directory=False))
        return ContainerRequest(
            container.name,
            argv,
            environ,
            directory=container.working_dir or "/",
            binds=(*files.common, *binds),
            directories=image.directories,
            tty=False,
        )

    def _cannot_start(self, reason: str, message: str, event: str, text: str) -> None:
        self.record.state = "waiting"
        self.record.reason = reason
        self.record.message = message
        self.record.ready = False
        self._node.event(self._pod(), "Warning", event, text)
        self._changed()

    async def _wait_before_retry(self) -> None:
        self._failures += 1
        delay = min(0.5 * 2.0**self._failures, LAST_BACK_OFF)
        if self.record.reason == "ErrImagePull":
            await self._node.images_changed(delay)
        else:
            await asyncio.sleep(delay)

    async def _crash_loop(self) -> None:
        delay = min(FIRST_BACK_OFF * 2.0 ** (self._failures - 2), LAST_BACK_OFF)
        self.record.state = "waiting"
        self.record.reason = "CrashLoopBackOff"
        pod = self._pod()
        name = f"{pod.metadata.name}_{pod.metadata.namespace}({pod.metadata.uid})"
        self.record.message = (
            f"back-off {delay:g}s restarting failed container={self.record.name} pod={name}"
        )
        self._node.event(
            pod,
            "Warning",
            "BackOff",
            f"Back-off restarting failed container {self.record.name} in pod {name}",
        )
        self._changed()
        await asyncio.sleep(delay)

    def _running(self) -> None:
        record = self.record
        record.state = "running"
        record.reason = record.message = ""
        record.container_id = f"podwire://{os.urandom(32).hex()}"
        record.started_at = rfc3339(self._node.clock.now())
        record.started = self.container.startup_probe is None
        record.ready = record.started and self.container.readiness_probe is None
        self.started.set()
        self._changed()

    def _ended(self, status: int) -> None:
        record = self.record
        record.state = "terminated"
        record.exit_code = status
        record.reason = "Completed" if status == 0 else "Error"
        record.finished_at = rfc3339(self._node.clock.now())
        record.ready = record.started = False
        record.last = record.terminated()
        self._changed()

    async def _watch_over(self) -> None:
        """Run the hooks and probes of a started container until cancelled."""
        container = self.container
        if container.lifecycle is not None and container.lifecycle.post_start is not None:
            await self._hook(container.lifecycle.post_start)
        if container.startup_probe is not None:
            await self._until_started(container.startup_probe)
        async with asyncio.TaskGroup() as tasks:
            if container.readiness_probe is not None:
                tasks.create_task(self._probe_readiness(container.readiness_probe))
            if container.liveness_probe is not None:
                tasks.create_task(self._probe_liveness(container.liveness_probe))

    async def _until_started(self, probe: Probe) -> None:
        await asyncio.sleep(probe.initial_delay_seconds)
        failures, delay = 0, FIRST_RETRY
        began = self._node.clock.monotonic()
        while not await self._asked(probe, "Startup"):
            waited = self._node.clock.monotonic() - began
            failures = int(waited / probe.period_seconds)
            if failures >= probe.failure_threshold:
                await self._kill("startup")
                return
            delay = min(delay * 2, probe.period_seconds)
            await asyncio.sleep(delay)
        self.record.started = True
        self.record.ready = self.container.readiness_probe is None
        self._changed()

    async def _probe_readiness(self, probe: Probe) -> None:
        await asyncio.sleep(probe.initial_delay_seconds)
        successes = failures = 0
        delay = FIRST_RETRY
        ever = False
        while True:
            success = await self._asked(probe, "Readiness", quiet=delay < 1 and not ever)
            successes, failures = (successes + 1, 0) if success else (0, failures + 1)
            wanted = self.record.ready
            if successes >= probe.success_threshold:
                wanted = True
            elif failures >= probe.failure_threshold:
                wanted = False
            if wanted != self.record.ready and not self._stopping:
                self.record.ready = wanted
                self._changed()
            ever = ever or success
            delay = probe.period_seconds if ever else min(delay * 2, probe.period_seconds)
            await asyncio.sleep(delay)

    async def _probe_liveness(self, probe: Probe) -> None:
        await asyncio.sleep(probe.initial_delay_seconds)
        failures = 0
        while True:
            failures = 0 if await self._asked(probe, "Liveness") else failures + 1
            if failures >= probe.failure_threshold:
                await self._kill("liveness")
                return
            await asyncio.sleep(probe.period_seconds)

    async def _kill(self, probe: str) -> None:
        name = self.record.name
        self._node.event(
            self._pod(),
            "Normal",
            "Killing",
            f"Container {name} failed {probe} probe, will be restarted",
        )
        process = self.process
        if process is None:
            return
        process.send_signal(self.image.stop_signal if self.image else signal.SIGTERM)
        try:
            async with asyncio.timeout(self._pod().spec.termination_grace_period_seconds):
                await process.wait()
        except TimeoutError:
            process.send_signal(signal.SIGKILL)

    async def _asked(self, probe: Probe, kind: str, *, quiet: bool = False) -> bool:
        assert self.sandbox is not None
        outcome = await ask(
            probe,
            self.container,
            str(self.sandbox.address),
            self._node.netns,
            self._run_and_read,
        )
        if not outcome.success and not quiet and not self._stopping:
            self._node.event(
                self._pod(), "Warning", "Unhealthy", f"{kind} probe failed: {outcome.message}"
            )
        return outcome.success

    async def _run_and_read(self, command: Sequence[str], timeout: float) -> tuple[int, str]:
        output = os.memfd_create("probe", os.MFD_CLOEXEC)
        try:
            process = await self.execute(command, Streams(-1, output, output))
        except RuntimeFailure as error:
            os.close(output)
            return 126, str(error)
        try:
            async with asyncio.timeout(timeout):
                status = await process.wait()
        except TimeoutError:
            process.send_signal(signal.SIGKILL)
            raise
        finally:
            process.close()
            text = os.pread(output, 4096, 0).decode(errors="replace")
            os.close(output)
        return status, text

    async def _hook(self, handler: LifecycleHandler) -> None:
        if handler.sleep is not None:
            await asyncio.sleep(handler.sleep.get("seconds", 0))
        probe = Probe(
            exec=handler.exec,
            http_get=handler.http_get,
            tcp_socket=handler.tcp_socket,
            timeout_seconds=self._pod().spec.termination_grace_period_seconds or 1,
        )
        if handler.exec or handler.http_get or handler.tcp_socket:
            await self._asked(probe, "Lifecycle hook")
