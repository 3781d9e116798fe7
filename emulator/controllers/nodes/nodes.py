"""Pods whose Node object is gone: nobody will ever report about them, so they are removed."""

from podwire.emulator.controllers.context import ControllerContext
from podwire.errors import NotFound
from podwire.kube.codec import key_of
from podwire.kube.index import Index
from podwire.kube.names import Key
from podwire.kube.objects import Node, Pod
from podwire.kube.reconcile import Reconciler

# Kubernetes' pod collector waits this long, in seconds: the node may register again.
QUARANTINE = 40.0


class OrphanedPods:
    """Deletes the pods of nodes that were deleted, after a quarantine."""

    def __init__(self, context: ControllerContext) -> None:
        self._context = context
        self._nodes = context.informers.of(Node)
        self._loop = Reconciler(self.reconcile, name="orphaned-pods")
        pods = context.informers.of(Pod)
        self._pods = Index(pods, lambda p: [p.spec.node_name] if p.spec.node_name else [])
        self._missing: dict[str, float] = {}
        self._nodes.subscribe(self._node_changed)
        pods.subscribe(self._pod_changed)

    async def run(self) -> None:
        """Work until cancelled."""
        await self._context.serve(self._loop.run)

    async def reconcile(self, key: Key) -> float | None:
        """Delete the pods of one node that is gone; *key* is the node's."""
        name = key.name
        if self._nodes.get(key) is not None or not self._pods.get(name):
            self._missing.pop(name, None)
            return None
        now = self._context.clock.monotonic()
        wait = self._missing.setdefault(name, now) + QUARANTINE - now
        if wait > 0:
            return wait
        try:
            await self._context.client.get(Node, key)
            return QUARANTINE
        except NotFound:
            pass
        for pod in self._pods.get(name):
            try:
                await self._context.client.delete(Pod, key_of(pod), grace=0, uid=pod.metadata.uid)
            except NotFound:
                continue
        self._missing.pop(name, None)
        return None

    def _node_changed(self, old: Node | None, new: Node | None) -> None:
        if old is not None and new is None:
            self._loop.add(key_of(old))

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        if new is None or not new.spec.node_name:
            return
        key = Key("", new.spec.node_name)
        if self._nodes.get(key) is None:
            self._loop.add(key)
