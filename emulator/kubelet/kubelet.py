"""One node's kubelet: registers the node, and gives each pod bound to it a life."""

import asyncio
import logging
import os
import platform
from collections.abc import Callable, Mapping

from podwire import __version__
from podwire.emulator.kubelet.context import IMAGES, NodeContext
from podwire.emulator.kubelet.lease import heartbeat
from podwire.emulator.kubelet.pod import PodLife
from podwire.errors import AlreadyExists
from podwire.kube.informers import Informers
from podwire.kube.names import Key
from podwire.kube.objects import ConfigMap, Node, Pod, Secret

log = logging.getLogger(__name__)

KUBELET_VERSION = "v1.32.0"


class Kubelet:
    """Runs the pods of one node until cancelled."""

    def __init__(
        self, context: NodeContext, informers: Informers, pod_cidr: str, labels: Mapping[str, str]
    ) -> None:
        self.context = context
        self._informers = informers
        self._pod_cidr = pod_cidr
        self._labels = dict(labels)
        self._lives: dict[str, PodLife] = {}
        self._by_key: dict[Key, PodLife] = {}
        self._tasks: asyncio.TaskGroup | None = None

    def life(self, key: Key) -> PodLife | None:
        """Return the life of a pod on this node, or None."""
        return self._by_key.get(key)

    def lives(self) -> tuple[PodLife, ...]:
        """Return the lives of all pods on this node."""
        return tuple(self._lives.values())

    async def run(self) -> None:
        """Register the node and run its pods until cancelled."""
        await self._register()
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            tasks.create_task(self.context.record_events())
            tasks.create_task(heartbeat(self.context), name=f"lease of {self.context.name}")
            self.context.pods.subscribe(self._pod_changed)
            self._informers.of(ConfigMap).subscribe(self._source_changed)
            self._informers.of(Secret).subscribe(self._source_changed)
            await asyncio.Event().wait()

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        if old is not None and (new is None or new.metadata.uid != old.metadata.uid):
            life = self._lives.get(old.metadata.uid)
            if life is not None:
                life.forget()
        if new is None or new.spec.node_name != self.context.name:
            return
        life = self._lives.get(new.metadata.uid)
        if life is not None:
            life.update(new)
            if old is not None and _described(old) != _described(new):
                life.refresh_volumes()
            return
        if new.status.phase in ("Succeeded", "Failed") and new.metadata.deletion_timestamp is None:
            return
        life = PodLife(self.context, new)
        self._lives[new.metadata.uid] = life
        self._by_key[Key(new.metadata.namespace, new.metadata.name)] = life
        if new.metadata.deletion_timestamp is not None:
            life.update(new)
        assert self._tasks is not None
        self._tasks.create_task(self._live(life), name=f"pod {new.metadata.name}")

    async def _live(self, life: PodLife) -> None:
        meta = life.pod.metadata
        try:
            await life.run()
        except Exception:
            # One pod's failure must not take the node's others with it.
            log.exception("pod %s/%s", meta.namespace, meta.name)
        finally:
            self._lives.pop(meta.uid, None)
            key = Key(meta.namespace, meta.name)
            if self._by_key.get(key) is life:
                del self._by_key[key]

    def _source_changed(
        self, old: ConfigMap | Secret | None, new: ConfigMap | Secret | None
    ) -> None:
        if new is None:
            return
        key = Key(new.metadata.namespace, new.metadata.name)
        for life in self._lives.values():
            if key == IMAGES or life.pod.metadata.namespace == key.namespace:
                life.look_again()
                if old is not None:
                    life.refresh_volumes()

    async def _register(self) -> None:
        node = node_object(
            self.context.name,
            str(self.context.address),
            self._pod_cidr,
            self._labels,
            self.context.now,
        )
        try:
            await self.context.client.create_raw(Node, "", node)
        except AlreadyExists:
            log.info("node %s is registered already", self.context.name)
        await self.context.client.patch(
            Node, Key("", self.context.name), {"status": node["status"]}, subresource="status"
        )


def _described(pod: Pod) -> tuple[Mapping[str, str], ...]:
    """Return what of a pod may change and be in its downwardAPI volumes."""
    return pod.metadata.labels, pod.metadata.annotations


def node_object(
    name: str, address: str, pod_cidr: str, labels: Mapping[str, str], now: Callable[[], str]
) -> dict[str, object]:
    """Return the Node that describes this machine as one node of the cluster."""
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 1024
    resources = {"cpu": str(os.cpu_count() or 1), "memory": f"{memory}Ki", "pods": "250"}
    ready = {
        "type": "Ready",
        "status": "True",
        "reason": "KubeletReady",
        "message": "podwire's kubelet is posting ready status",
        "lastHeartbeatTime": now(),
        "lastTransitionTime": now(),
    }
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {
                "kubernetes.io/hostname": name,
                "kubernetes.io/os": "linux",
                "kubernetes.io/arch": machine,
                **labels,
            },
        },
        "spec": {"podCIDR": pod_cidr, "podCIDRs": [pod_cidr]},
        "status": {
            "capacity": resources,
            "allocatable": resources,
            "conditions": [ready],
            "addresses": [
                {"type": "InternalIP", "address": address},
                {"type": "Hostname", "address": name},
            ],
            "nodeInfo": {
                "kubeletVersion": KUBELET_VERSION,
                "kubeProxyVersion": KUBELET_VERSION,
                "containerRuntimeVersion": f"podwire://{__version__}",
                "kernelVersion": platform.release(),
                "osImage": os_image(),
                "operatingSystem": "linux",
                "architecture": machine,
                "machineID": "",
                "systemUUID": "",
                "bootID": "",
            },
        },
    }


def os_image() -> str:
    """Return what this machine calls its operating system."""
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    except OSError:
        return "Linux"
