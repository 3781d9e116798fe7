"""One node's kubelet: registers the node, and gives each pod bound to it a life."""

import asyncio
import logging
from collections.abc import Mapping
from types import MappingProxyType

from podwire.emulator.controllers.podstate import is_finished
from podwire.emulator.kubelet.admission import Refusal, refusal
from podwire.emulator.kubelet.catalogue_images import IMAGES
from podwire.emulator.kubelet.context import NodeContext
from podwire.emulator.kubelet.lease import heartbeat
from podwire.emulator.kubelet.pod import FIRST_RETRY, PodLife
from podwire.emulator.kubelet.resolver import node_complaint
from podwire.errors import AlreadyExists, ApiError, NotFound, UnreachableError
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
# Seconds that each pod which was refused holds up the next: a ReplicaSet makes another one at once,
# without end.
_PATIENCE = 0.05
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
        # Pods that may run here, until they have ended; and those that may not.
        self._admitted: dict[str, Pod] = {}
        self._refused: set[str] = set()
        self._tasks: asyncio.TaskGroup | None = None
        # Set when the node's object is known.
        self._known = asyncio.Event()

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
            self._informers.of(ConfigMap).subscribe(self._source_changed)
            self._informers.of(Secret).subscribe(self._source_changed)
            self._informers.of(ServiceAccount).subscribe(self._source_changed)
            self._informers.of(Node).subscribe(self._node_changed)
            # What a node can take cannot be told before.
            await self._known.wait()
            await self.context.pods.synced.wait()
            self._count_those_that_have_begun()
            self.context.pods.subscribe(self._pod_changed)
            await asyncio.Event().wait()

    def _count_those_that_have_begun(self) -> None:
        """Admit what was admitted before we started anew: whoever is new comes after them."""
        for pod in self.context.pods.all():
            ours = pod.spec.node_name == self.context.name and not is_mirror(pod)
            if ours and pod.status.start_time is not None and not is_finished(pod):
                self._admitted[pod.metadata.uid] = pod

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        if old is not None and (new is None or new.metadata.uid != old.metadata.uid):
            life = self._lives.get(old.metadata.uid)
            if life is not None:
                life.forget()
            self._over.discard(old.metadata.uid)
            self._refused.discard(old.metadata.uid)
            self._admitted.pop(old.metadata.uid, None)
        if new is None or new.spec.node_name != self.context.name or is_mirror(new):
            return
        if is_finished(new):
            self._admitted.pop(new.metadata.uid, None)
        life = self._lives.get(new.metadata.uid)
        if life is not None:
            life.update(new)
            if old is not None and _described(old) != _described(new):
                life.refresh_volumes()
            return
        if new.metadata.uid in self._over:
            return  # a finalizer keeps its object
        if new.metadata.deletion_timestamp is None and (is_finished(new) or not self._admits(new)):
            return
        life = PodLife(self.context, new)
        self._lives[new.metadata.uid] = life
        self._by_key[Key(new.metadata.namespace, new.metadata.name)] = life
        if new.metadata.deletion_timestamp is not None:
            life.update(new)
        assert self._tasks is not None
        self._tasks.create_task(self._live(life), name=f"pod {new.metadata.name}")

    def _admits(self, pod: Pod) -> bool:
        """Tell whether a pod that is new here may run; have it fail if it may not."""
        uid = pod.metadata.uid
        if uid in self._refused:
            return False
        node, why = self.context.node, None
        # One that has begun was admitted before we started anew.
        if node is not None and pod.status.start_time is None:
            why = refusal(pod, node, self._admitted.values())
        if why is None:
            self._admitted[uid] = pod
            return True
        patience = _PATIENCE * len(self._refused)
        self._refused.add(uid)
        assert self._tasks is not None
        refusing = self._refuse(pod, why, patience)
        self._tasks.create_task(refusing, name=f"refusal of {pod.metadata.name}")
        return False

    async def _refuse(self, pod: Pod, why: Refusal, patience: float) -> None:
        """Say in *patience* seconds that a pod failed before it began (the kubelet's rejectPod)."""
        await asyncio.sleep(patience)
        if pod.metadata.uid in self._refused:
            self.context.event(pod, "Warning", why.reason, why.message)
        status = {
            "phase": "Failed",
            "reason": why.reason,
            "message": f"Pod was rejected: {why.message}",
            "startTime": self.context.now(),
        }
        patch = {"metadata": {"uid": pod.metadata.uid}, "status": status}
        while pod.metadata.uid in self._refused:
            try:
                await self.context.client.patch(Pod, key_of(pod), patch, subresource="status")
            except NotFound:
                return
            except (ApiError, UnreachableError) as error:
                log.warning("status of %s: %s", key_of(pod), error)
                await asyncio.sleep(FIRST_RETRY)
            else:
                return

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
        self._known.set()
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
