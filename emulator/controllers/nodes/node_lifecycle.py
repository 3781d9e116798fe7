"""Pods of a node that does not run are not ready: nobody there would say so.

As kube-controller-manager's, without its patience: a node's state is what its container is doing,
not when it was last heard of. It never makes a pod ready again: that is the kubelet's, which knows.
Mirror pods are left to who shows them, and sees the same sooner.
"""

from podwire.emulator.controllers.context import ControllerContext
from podwire.emulator.controllers.patches import conditions_patch
from podwire.emulator.controllers.podstate import is_ready
from podwire.errors import Conflict, NotFound
from podwire.kube.codec import key_of
from podwire.kube.index import Index
from podwire.kube.mirror_pods import is_mirror
from podwire.kube.names import Key
from podwire.kube.node_ready import NODE_NOT_READY, NODE_NOT_READY_EVENT, held_back, is_down
from podwire.kube.objects import Node, Pod
from podwire.kube.podstatus import condition
from podwire.kube.reconcile import Reconciler
from podwire.kube.times import rfc3339


class NodeLifecycle:
    """Takes readiness from the pods of nodes that are down."""

    def __init__(self, context: ControllerContext) -> None:
        self._context = context
        self._recorder = context.recorder("node-controller")
        self._loop = Reconciler(self.reconcile, name="node-lifecycle", concurrency=8)
        self._nodes = context.informers.of(Node)
        self._pods = context.informers.of(Pod)
        self._by_node = Index(self._pods, lambda p: [p.spec.node_name] if p.spec.node_name else [])
        self._nodes.subscribe(self._node_changed)
        self._pods.subscribe(self._pod_changed)

    async def run(self) -> None:
        """Work until cancelled."""
        await self._context.serve(self._loop.run, self._recorder.run)

    async def reconcile(self, key: Key) -> float | None:
        """Have one pod not ready if its node is down."""
        pod = self._pods.get(key)
        if pod is None or not self._wrong(pod):
            return None
        now = rfc3339(self._context.clock.now())
        present = [
            condition(one.type, one.status, one.reason, one.message, one, now)
            for one in pod.status.conditions
        ]
        conditions = held_back(present, pod.spec.node_name, pod.status, now)
        patch = conditions_patch(pod, conditions)
        try:
            await self._context.client.patch(Pod, key, patch, subresource="status")
        except (NotFound, Conflict):
            return None  # the watch will tell
        self._recorder.event(pod, "Warning", NODE_NOT_READY, NODE_NOT_READY_EVENT)
        return None

    def _wrong(self, pod: Pod) -> bool:
        return (
            is_ready(pod)
            and not is_mirror(pod)
            and is_down(self._nodes.get(Key("", pod.spec.node_name)))
        )

    def _node_changed(self, old: Node | None, new: Node | None) -> None:
        if new is not None and is_down(new) and not is_down(old):
            for pod in self._by_node.get(new.metadata.name):
                self._loop.add(key_of(pod))

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        if new is not None and self._wrong(new):
            self._loop.add(key_of(new))
