"""One pod's life on its node: sandbox, volumes, containers, status, and its end."""

import asyncio
import logging
from typing import Any

from podwire.emulator.kubelet.container import ContainerRun, PodFiles
from podwire.emulator.kubelet.context import NodeContext
from podwire.emulator.kubelet.resolver import hosts, resolver_of
from podwire.emulator.kubelet.status import status_of
from podwire.emulator.kubelet.volumes import VolumeError, files_of, remove, write
from podwire.emulator.runtimes.mounts import Bind
from podwire.emulator.runtimes.runtime import PodRequest, PodSandbox, RuntimeFailure
from podwire.errors import ApiError, Conflict, NotFound, UnreachableError
from podwire.kube.codec import key_of
from podwire.kube.objects import Pod

log = logging.getLogger(__name__)

FIRST_RETRY = 0.1
LAST_RETRY = 5.0


class PodLife:
    """Makes one pod true from its binding to its end. `run` returns when nothing of it is left."""

    def __init__(self, node: NodeContext, pod: Pod) -> None:
        self._node = node
        self.pod = pod
        self.sandbox: PodSandbox | None = None
        # Set when the pod is to end; and when the API server has forgotten it already.
        self._ending = asyncio.Event()
        self._forgotten = False
        self._dirty = asyncio.Event()
        self._start_time = node.now()
        self._written: dict[str, Any] = {}
        policy = pod.spec.restart_policy
        self._init = [
            ContainerRun(
                node, c, self._current, self._changed, _init_policy(c.restart_policy, policy)
            )
            for c in pod.spec.init_containers
        ]
        self._containers = [
            ContainerRun(node, c, self._current, self._changed, policy) for c in pod.spec.containers
        ]
        for run in (*self._init, *self._containers):
            run.record.reason = "PodInitializing" if self._init else "ContainerCreating"

    def update(self, pod: Pod) -> None:
        """Take note of a newer version of the pod."""
        self.pod = pod
        if pod.metadata.deletion_timestamp is not None:
            self._ending.set()

    def forget(self) -> None:
        """Take note that the API server has no such pod any more: end it at once."""
        self._forgotten = True
        self._ending.set()

    def container(self, name: str) -> ContainerRun | None:
        """Return a container by name; an empty name is the first one."""
        runs = (*self._containers, *self._init)
        return next((run for run in runs if not name or run.container.name == name), None)

    @property
    def container_names(self) -> list[str]:
        """Return the names of the containers, without init containers."""
        return [run.container.name for run in self._containers]

    async def run(self) -> None:
        """Live until the pod is deleted; then clean up and tell the API server."""
        async with asyncio.TaskGroup() as tasks:
            reporter = tasks.create_task(self._report())
            living = tasks.create_task(self._live())
            await self._ending.wait()
            await self._stop()
            living.cancel()
            await asyncio.wait([living])
            await self._release()
            reporter.cancel()
        for run in (*self._init, *self._containers):
            run.log.close()
        remove(self._node.directory_of(self.pod.metadata.uid))
        if not self._forgotten:
            await self._write_status()
            await self._delete()

    def _current(self) -> Pod:
        return self.pod

    def _changed(self) -> None:
        self._dirty.set()

    async def _live(self) -> None:
        self._changed()
        await self._retried(self._make_sandbox)
        files = await self._retried(self._make_files)
        assert self.sandbox is not None
        sandbox = self.sandbox
        async with asyncio.TaskGroup() as tasks:
            for run in self._init:
                if run.container.restart_policy == "Always":
                    tasks.create_task(run.run(sandbox, files))
                    await run.started.wait()
                    continue
                await run.run(sandbox, files)
                if run.record.exit_code:
                    return
            for run in self._containers:
                if run.record.reason == "PodInitializing":
                    run.record.reason = "ContainerCreating"
                tasks.create_task(run.run(sandbox, files))
        # Over: Succeeded or Failed. The address goes back, the logs stay.
        await self._release()

    async def _retried(self, step: Any) -> Any:
        delay = FIRST_RETRY
        while True:
            try:
                return await step()
            except RuntimeFailure as error:
                text = f"Failed to create pod sandbox: {error}"
                self._node.event(self.pod, "Warning", error.reason, text)
            except VolumeError as error:
                text = f"MountVolume.SetUp failed: {error}"
                self._node.event(self.pod, "Warning", "FailedMount", text)
            await asyncio.sleep(delay)
            delay = min(delay * 2, LAST_RETRY)

    async def _make_sandbox(self) -> None:
        meta, spec = self.pod.metadata, self.pod.spec
        request = PodRequest(
            meta.namespace,
            meta.name,
            meta.uid,
            self._node.hostname(self.pod),
            spec.host_network,
        )
        self.sandbox = await self._node.runtime.create(request)
        self._changed()

    async def _make_files(self) -> PodFiles:
        pod, node = self.pod, self._node
        assert self.sandbox is not None
        directory = node.directory_of(pod.metadata.uid)
        namespace = pod.metadata.namespace
        for volume in pod.spec.volumes:
            if volume.host_path is not None:
                continue
            files = files_of(
                volume,
                pod,
                lambda name: node.config_map(namespace, name),
                lambda name: node.secret(namespace, name),
            )
            place = directory / "volumes" / volume.name
            place.mkdir(parents=True, exist_ok=True)
            if files is not None:
                write(place, files)
        resolver, omitted = resolver_of(
            pod.spec,
            namespace,
            node=node.resolver,
            cluster_dns=node.cluster_dns,
            domain=node.domain,
        )
        for text in omitted:
            node.event(pod, "Warning", "DNSConfigForming", text)
        hostname = node.hostname(pod)
        etc = directory / "etc"
        etc.mkdir(parents=True, exist_ok=True)
        (etc / "resolv.conf").write_text(resolver.text())
        (etc / "hostname").write_text(hostname + "\n")
        (etc / "hosts").write_text(
            hosts(
                pod.spec,
                address=str(self.sandbox.address),
                hostname=hostname,
                domain=node.domain,
                namespace=namespace,
            )
        )
        common = [
            Bind(f"/etc/{name}", str(etc / name), is_directory=False)
            for name in ("resolv.conf", "hostname", "hosts")
        ]
        return PodFiles(common, node, pod.metadata.uid)

    async def refresh_volumes(self) -> None:
        """Bring configMap and secret volumes up to date, as the kubelet does after a change."""
        if self.sandbox is None or self._ending.is_set():
            return
        try:
            await self._make_files()
        except VolumeError as error:
            # The files stay as they were; a container that starts later will say what is missing.
            log.info("volumes of %s: %s", self.pod.metadata.name, error)

    async def _stop(self) -> None:
        grace = self.pod.metadata.deletion_grace_period_seconds
        seconds = 0.0 if self._forgotten else float(grace if grace is not None else 30)
        async with asyncio.TaskGroup() as tasks:
            for run in (*self._containers, *self._init):
                tasks.create_task(run.stop(seconds))

    async def _release(self) -> None:
        sandbox, self.sandbox = self.sandbox, None
        if sandbox is None:
            return
        try:
            await self._node.runtime.remove(sandbox)
        except RuntimeFailure as error:
            self._node.event(self.pod, "Warning", "FailedKillPod", str(error))

    async def _report(self) -> None:
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            await self._write_status()

    async def _write_status(self) -> None:
        address = str(self.sandbox.address) if self.sandbox is not None else ""
        status = status_of(
            self.pod,
            [run.record for run in self._init],
            [run.record for run in self._containers],
            host_ip=str(self._node.address),
            pod_ip=address or self.pod.status.pod_ip,
            start_time=self._start_time,
            now=self._node.now(),
        )
        if status == self._written:
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
            self.pod = pod

    async def _delete(self) -> None:
        try:
            await self._node.client.delete(
                Pod, key_of(self.pod), grace=0, uid=self.pod.metadata.uid
            )
        except (NotFound, Conflict):
            return


def _init_policy(own: str, pods: str) -> str:
    """Return an init container's policy: a side-car's own, else never again after success."""
    if own == "Always":
        return own
    return "Never" if pods == "Never" else "OnFailure"
