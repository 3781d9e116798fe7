"""Unbound pods -> a node: the decision is scheduling.choose; this loop binds and says so."""

from collections.abc import Callable, Mapping

import msgspec

from podwire.emulator.controllers.context import ControllerContext
from podwire.emulator.controllers.nodes.neighbours import asks, gains
from podwire.emulator.controllers.nodes.scheduling import (
    SCHEDULER,
    Placements,
    Unschedulable,
    choose,
    wants_scheduling,
)
from podwire.emulator.controllers.podstate import is_finished
from podwire.emulator.controllers.status_writer import write_status
from podwire.errors import Conflict, NotFound
from podwire.kube.codec import key_of
from podwire.kube.names import Key
from podwire.kube.objects import Condition, Namespace, Node, Pod, PodSpec
from podwire.kube.reconcile import Reconciler
from podwire.kube.times import rfc3339


class Scheduler:
    """Binds pods to nodes; a pod that fits nowhere is tried again when nodes or pods change."""

    def __init__(self, context: ControllerContext) -> None:
        self._context = context
        self._client = context.client
        self._pods = context.informers.of(Pod)
        self._nodes = context.informers.of(Node)
        self._namespaces = context.informers.of(Namespace)
        self._events = context.recorder(SCHEDULER)
        self._placements = Placements()
        self._waiting: set[Key] = set()
        self._loop = Reconciler(self.reconcile, name="scheduler", concurrency=16)
        self._pods.subscribe(self._pod_changed)
        self._nodes.subscribe(self._node_changed)

    async def run(self) -> None:
        """Work until cancelled."""
        await self._context.serve(self._loop.run, self._events.run)

    async def reconcile(self, key: Key) -> float | None:
        """Give one pod a node, or note why it has none."""
        pod = self._pods.get(key)
        if pod is None or not wants_scheduling(pod) or self._placements.holds(pod.metadata.uid):
            self._waiting.discard(key)
            return None
        choice = choose(pod, self._nodes.all(), self._placements, self._labels_of)
        if isinstance(choice, Unschedulable):
            self._waiting.add(key)
            await self._say_unschedulable(pod, choice.message)
            return None
        # Before the first await: other pods that are placed meanwhile must count this one.
        self._placements.put(pod, choice)
        self._waiting.discard(key)
        try:
            await self._client.bind(key, choice, uid=pod.metadata.uid)
        except (NotFound, Conflict):
            self._recount(key, pod.metadata.uid)  # gone, or bound by somebody else
            return None
        except BaseException:
            self._recount(key, pod.metadata.uid)
            raise
        self._events.event(pod, "Normal", "Scheduled", f"Successfully assigned {key} to {choice}")
        return None

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        if old is not None and (new is None or new.metadata.uid != old.metadata.uid):
            self._left(old)
            self._waiting.discard(key_of(old))
        if new is None:
            return
        if is_finished(new):
            self._left(new)
        elif new.spec.node_name:
            self._placements.put(new, new.spec.node_name)
            if old is not None and old.metadata.labels != new.metadata.labels:
                self._try_neighbours_again(asks)
            elif old is None or _where(old) != _where(new):
                self._try_neighbours_again(gains)
        elif wants_scheduling(new):
            self._loop.add(key_of(new))

    def _recount(self, key: Key, uid: str) -> None:
        """Count a pod where it is known to be, as it did not go where we counted it."""
        pod = self._pods.get(key)
        # That it was bound by somebody else may have been heard before the answer to our binding.
        if pod is None or pod.metadata.uid != uid or is_finished(pod) or not pod.spec.node_name:
            self._placements.remove(uid)
        else:
            self._placements.put(pod, pod.spec.node_name)
        self._try_again()

    def _left(self, pod: Pod) -> None:
        if self._placements.remove(pod.metadata.uid):
            self._try_again()

    def _node_changed(self, old: Node | None, new: Node | None) -> None:
        # A kubelet's heartbeat changes nothing that a pod asks for.
        if old and new and _offers(old) == _offers(new):
            return
        self._try_again()

    def _labels_of(self, namespace: str) -> Mapping[str, str]:
        found = self._namespaces.get(Key("", namespace))
        return found.metadata.labels if found is not None else {}

    def _try_neighbours_again(self, concerned: Callable[[PodSpec], bool]) -> None:
        """Try those again to whom it matters which others are where: that one came, or changed."""
        for key in self._waiting:
            pod = self._pods.get(key)
            if pod is not None and concerned(pod.spec):
                self._loop.add(key)

    def _try_again(self) -> None:
        for key in self._waiting:
            self._loop.add(key)

    async def _say_unschedulable(self, pod: Pod, message: str) -> None:
        present = next((c for c in pod.status.conditions if c.type == "PodScheduled"), None)
        if present is not None and (present.status, present.message) == ("False", message):
            return
        self._events.event(pod, "Warning", "FailedScheduling", message)
        condition = Condition(
            type="PodScheduled",
            status="False",
            reason="Unschedulable",
            message=message,
            last_transition_time=(
                present.last_transition_time
                if present is not None and present.status == "False"
                else rfc3339(self._context.clock.now())
            ),
        )
        others = (c for c in pod.status.conditions if c.type != "PodScheduled")
        conditions = [msgspec.to_builtins(c) for c in (*others, condition)]
        patch = {"status": {"phase": "Pending", "conditions": conditions}}
        await write_status(self._client, pod, patch)


def _where(pod: Pod) -> tuple[str, bool]:
    """Return what it means to others that a pod is there, whatever its labels."""
    return pod.spec.node_name, pod.metadata.deletion_timestamp is not None


def _offers(node: Node) -> tuple[object, ...]:
    """Return what a pod may ask of a node."""
    return node.metadata.labels, node.spec, node.status.allocatable
