"""One node's kubelet: registers the node, and gives each pod bound to it a life."""

import asyncio
import logging
from collections.abc import Mapping
from types import MappingProxyType

from podwire.emulator.kubelet.catalogue_images import IMAGES
from podwire.emulator.kubelet.context import NodeContext
from podwire.emulator.kubelet.lease import heartbeat
from podwire.emulator.kubelet.pod import PodLife
from podwire.emulator.kubelet.resolver import node_complaint
from podwire.errors import AlreadyExists
from podwire.kube.codec import key_of
from podwire.kube.informers import Informers
from podwire.kube.mirror_pods import is_mirror
from podwire.kube.names import Key
from podwire.kube.node_object import node_object
from podwire.kube.node_ready import is_down
from podwire.kube.objects import ConfigMap, Node, Pod, Secret, ServiceAccount

log = logging.getLogger(__name__)

# Seconds between looks at the volumes, as the kubelet's; the shortest-lived token lasts 600.
_VOLUMES_EVERY = 60.0
_NONE: Mapping[str, str] = MappingProxyType({})


class Kubelet:
    """Runs the pods of one node until cancelled."""

    def __init__(
        self,
        context: NodeContext,
        informers: Informers,
        pod_cidr: str = "",
        labels: Mapping[str, str] = _NONE,
    ) -> None:
        """Without *pod_cidr* somebody else keeps the Node object."""
        self.context = context
        self._informers = informers
        self._pod_cidr = pod_cidr
        self._labels = dict(labels)
        self._lives: dict[str, PodLife] = {}
        self._by_key: dict[Key, PodLife] = {}
        # Pods whose lives are over, and whose objects are still there.
        self._over: set[str] = set()
        self._tasks: asyncio.TaskGroup | None = None

    def life(self, key: Key) -> PodLife | None:
        """Return the life of a pod on this node, or None."""
        return self._by_key.get(key)

    def lives(self) -> tuple[PodLife, ...]:
        """Return the lives of all pods on this node."""
        return tuple(self._lives.values())

    async def run(self) -> None:
        """Register the node and run its pods until cancelled."""
        if self._pod_cidr:
            await self._register()
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            tasks.create_task(self.context.record_events())
            tasks.create_task(heartbeat(self.context), name=f"lease of {self.context.name}")
            tasks.create_task(self._look_after_volumes(), name=f"volumes of {self.context.name}")
            self.context.pods.subscribe(self._pod_changed)
            self._informers.of(ConfigMap).subscribe(self._source_changed)
            self._informers.of(Secret).subscribe(self._source_changed)
            self._informers.of(ServiceAccount).subscribe(self._source_changed)
            self._informers.of(Node).subscribe(self._node_changed)
            await asyncio.Event().wait()

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        if old is not None and (new is None or new.metadata.uid != old.metadata.uid):
            life = self._lives.get(old.metadata.uid)
            if life is not None:
                life.forget()
            self._over.discard(old.metadata.uid)
        if new is None or new.spec.node_name != self.context.name or is_mirror(new):
            return
        life = self._lives.get(new.metadata.uid)
        if life is not None:
            life.update(new)
            if old is not None and _described(old) != _described(new):
                life.refresh_volumes()
            return
        if new.metadata.uid in self._over:
            return  # a finalizer keeps its object
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
            if self.context.pods.get(key_of(life.pod)) is not None:
                self._over.add(meta.uid)
            key = Key(meta.namespace, meta.name)
            if self._by_key.get(key) is life:
                del self._by_key[key]

    async def _look_after_volumes(self) -> None:
        while True:
            await asyncio.sleep(_VOLUMES_EVERY)
            for life in self.lives():
                await life.look_after_volumes()

    def _source_changed(
        self,
        old: ConfigMap | Secret | ServiceAccount | None,
        new: ConfigMap | Secret | ServiceAccount | None,
    ) -> None:
        known = new or old
        assert known is not None
        key = key_of(known)
        for life in self._lives.values():
            within = life.pod.metadata.namespace == key.namespace
            if new is not None and (within or key == IMAGES):
                life.look_again()
            # One that is made anew is followed as well, and an optional one may go.
            if within and life.shows(type(known), key.name):
                life.refresh_volumes()

    def _node_changed(self, old: Node | None, new: Node | None) -> None:
        if new is None or new.metadata.name != self.context.name:
            return
        if old is None:
            self._check_resolver()
        if not is_down(new) and (old is None or is_down(old)):
            # Readiness was taken from its pods, and nobody else knows which of them have it.
            for life in self._lives.values():
                life.report()

    def _check_resolver(self) -> None:
        complaint = node_complaint(self.context.resolver, self.context.domain)
        if complaint:
            self.context.node_event("Warning", "CheckLimitsForResolvConf", complaint)

    async def _register(self) -> None:
        node = node_object(
            self.context.name,
            str(self.context.address),
            self._pod_cidr,
            self._labels,
            self.context.now,
            runtime=self.context.runtime_version,
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
