"""Taints of nodes: cordoned nodes get theirs, and NoExecute sends running pods away.

Carries out what taint_plan decides. Why a node is not ready is told to the scheduler by who shows
the node; nothing here taints a node that does not run with NoExecute, so its pods stay.
"""

from podwire.emulator.controllers.context import ControllerContext
from podwire.emulator.controllers.nodes.taint_plan import leaves_in, wanted_taints
from podwire.emulator.controllers.patches import conditions_patch
from podwire.errors import NotFound
from podwire.kube.codec import key_of
from podwire.kube.index import Index
from podwire.kube.mirror_pods import is_mirror
from podwire.kube.names import Key
from podwire.kube.objects import Node, Pod
from podwire.kube.podstatus import condition
from podwire.kube.reconcile import Reconciler
from podwire.kube.times import rfc3339


class CordonTaints:
    """Gives cordoned nodes the taint node.kubernetes.io/unschedulable, and takes it away."""

    def __init__(self, context: ControllerContext) -> None:
        self._context = context
        self._nodes = context.informers.of(Node)
        self._loop = Reconciler(self.reconcile, name="cordon-taints")
        self._nodes.subscribe(self._changed)

    async def run(self) -> None:
        """Work until cancelled."""
        await self._context.serve(self._loop.run)

    async def reconcile(self, key: Key) -> float | None:
        """Bring the taints of one node in line with whether pods may come to it."""
        node = self._nodes.get(key)
        if node is None or wanted_taints(node) == node.spec.taints:
            return None
        written = [
            {"key": t.key, "effect": t.effect, **({"value": t.value} if t.value else {})}
            for t in wanted_taints(node)
        ]
        patch = {
            # The list is replaced as a whole: it must not undo what somebody else added.
            "metadata": {"resourceVersion": node.metadata.resource_version},
            "spec": {"taints": written or None},
        }
        try:
            await self._context.client.patch(Node, key, patch)
        except NotFound:
            return None
        return None

    def _changed(self, old: Node | None, new: Node | None) -> None:
        if new is not None and wanted_taints(new) != new.spec.taints:
            self._loop.add(key_of(new))


class TaintEviction:
    """Deletes pods that do not bear a NoExecute taint of their node, or bear it no longer.

    How long a pod has borne a taint is counted from when it was first seen here. Mirror pods stay:
    they are not the API's to end.
    """

    def __init__(self, context: ControllerContext) -> None:
        self._context = context
        self._events = context.recorder("taint-eviction-controller")
        self._loop = Reconciler(self.reconcile, name="taint-eviction", concurrency=8)
        self._nodes = context.informers.of(Node)
        self._pods = context.informers.of(Pod)
        self._by_node = Index(self._pods, lambda p: [p.spec.node_name] if p.spec.node_name else [])
        # By the uid of a pod that must leave later: since when, in the clock's monotonic time.
        self._since: dict[str, float] = {}
        self._nodes.subscribe(self._node_changed)
        self._pods.subscribe(self._pod_changed)

    async def run(self) -> None:
        """Work until cancelled."""
        await self._context.serve(self._loop.run, self._events.run)

    async def reconcile(self, key: Key) -> float | None:
        """Delete one pod if it must leave; return in how many seconds it will have to."""
        pod = self._pods.get(key)
        if pod is None:
            return None
        stay = self._stay(pod)
        if stay is None:
            self._since.pop(pod.metadata.uid, None)
            return None
        now = self._context.clock.monotonic()
        left = self._since.setdefault(pod.metadata.uid, now) + stay - now
        if left > 0:
            return left
        try:
            if all(one.type != "DisruptionTarget" for one in pod.status.conditions):
                await self._mark(pod)
            await self._context.client.delete(Pod, key, uid=pod.metadata.uid)
        except NotFound:
            return None
        return None

    async def _mark(self, pod: Pod) -> None:
        now = rfc3339(self._context.clock.now())
        conditions = [
            condition(one.type, one.status, one.reason, one.message, one, now)
            for one in pod.status.conditions
        ]
        message = "Taint manager: deleting due to NoExecute taint"
        reason = "DeletionByTaintManager"
        conditions.append(condition("DisruptionTarget", "True", reason, message, None, now))
        patch = conditions_patch(pod, conditions)
        await self._context.client.patch(Pod, key_of(pod), patch, subresource="status")
        said = f"Marking for deletion Pod {key_of(pod)}"
        self._events.event(pod, "Normal", "TaintManagerEviction", said)

    def _stay(self, pod: Pod) -> float | None:
        node = self._nodes.get(Key("", pod.spec.node_name))
        if node is None or pod.metadata.deletion_timestamp is not None or is_mirror(pod):
            return None
        return leaves_in(node.spec.taints, pod.spec.tolerations)

    def _node_changed(self, old: Node | None, new: Node | None) -> None:
        if new is None or (old.spec.taints if old else ()) == new.spec.taints:
            return
        for pod in self._by_node.get(new.metadata.name):
            self._loop.add(key_of(pod))

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        if old is not None and (new is None or new.metadata.uid != old.metadata.uid):
            self._since.pop(old.metadata.uid, None)
        if new is not None and (self._stay(new) is not None or new.metadata.uid in self._since):
            self._loop.add(key_of(new))
