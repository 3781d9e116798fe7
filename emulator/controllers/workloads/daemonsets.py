"""DaemonSets -> one pod per node that fits; carries out what daemon_plan and history decide."""

from typing import Any

import msgspec

from podwire.emulator.controllers.context import ControllerContext
from podwire.emulator.controllers.owned_pods import OwnedPods
from podwire.emulator.controllers.patches import status_patch
from podwire.emulator.controllers.pod_templates import (
    CONTROLLER_REVISION_HASH,
    POD_TEMPLATE_GENERATION,
    TEMPLATE_GENERATION,
    generated_name,
    pod_of,
    with_label,
)
from podwire.emulator.controllers.podstate import available_in
from podwire.emulator.controllers.status_writer import write_status
from podwire.emulator.controllers.workloads.daemon_plan import (
    DaemonPlan,
    daemon_set_status,
    own_spec_of,
    plan_daemons,
    tolerations_of,
)
from podwire.emulator.controllers.workloads.history import newest
from podwire.emulator.controllers.workloads.revisions import Revisions
from podwire.errors import ApiError
from podwire.kube.codec import key_of
from podwire.kube.names import Key
from podwire.kube.objects import ControllerRevision, DaemonSet, Node
from podwire.kube.reconcile import Reconciler
from podwire.kube.selectors import from_selector

_ALWAYS = (
    "currentNumberScheduled",
    "numberMisscheduled",
    "desiredNumberScheduled",
    "numberReady",
)


class DaemonSets:
    """Keeps the pods of every DaemonSet."""

    def __init__(self, context: ControllerContext) -> None:
        self._context = context
        self._sets = context.informers.of(DaemonSet)
        self._nodes = context.informers.of(Node)
        self._events = context.recorder("daemonset-controller")
        self._loop = Reconciler(self.reconcile, name="daemonset")
        self._revisions = Revisions(context.client, context.informers.of(ControllerRevision))
        self._pods = OwnedPods(
            context,
            DaemonSet,
            self._events,
            wake=self._loop.add,
            accepts=lambda ds, pod: from_selector(ds.spec.selector).matches(pod.metadata.labels),
        )
        self._sets.subscribe(self._loop.add_changed)
        self._nodes.subscribe(self._node_changed)

    async def run(self) -> None:
        """Work until cancelled."""
        await self._context.serve(self._loop.run, self._events.run)

    async def reconcile(self, key: Key) -> float | None:
        """Take the next step of one DaemonSet; return when to look again, seconds."""
        daemon_set = self._sets.get(key)
        if daemon_set is None or daemon_set.metadata.deletion_timestamp is not None:
            return None
        pods = await self._pods.claimed(daemon_set, daemon_set.spec.selector)
        if not self._context.accepts_objects(key.namespace):
            return None
        revisions = await self._revisions.claimed(daemon_set, daemon_set.spec.selector)
        collisions = daemon_set.status.collision_count or 0
        found = newest(
            daemon_set,
            daemon_set.spec.template,
            revisions,
            collisions=collisions,
            hash_label=CONTROLLER_REVISION_HASH,
        )
        current = await self._revisions.keep(daemon_set, found, collisions)
        revision = current.metadata.labels[CONTROLLER_REVISION_HASH]
        nodes = sorted(self._nodes.all(), key=lambda node: node.metadata.name)
        now = self._context.clock.now()
        errors: tuple[ApiError, ...] = ()
        waiting = self._pods.missing(key)
        if waiting is None:
            step = plan_daemons(daemon_set, nodes, pods, revision=revision, now=now)
            errors = await self._carry_out(daemon_set, step, revision)
        status = daemon_set_status(daemon_set, nodes, pods, revision=revision, now=now)
        if status != daemon_set.status:
            patch = status_patch(status, always=_ALWAYS)
            if await write_status(self._context.client, daemon_set, patch) is None:
                return None
        live = {p.metadata.labels.get(CONTROLLER_REVISION_HASH) for p in pods}
        await self._revisions.trim(
            revisions,
            {
                r.metadata.name
                for r in revisions
                if r.metadata.labels.get(CONTROLLER_REVISION_HASH) in live
            }
            | {current.metadata.name},
            daemon_set.spec.revision_history_limit,
        )
        if errors:
            raise errors[0]
        waits = [available_in(pod, daemon_set.spec.min_ready_seconds, now=now) for pod in pods]
        return min((w for w in (*waits, waiting) if w), default=None)

    def _node_changed(self, old: Node | None, new: Node | None) -> None:
        if old and new and (old.metadata.labels, old.spec) == (new.metadata.labels, new.spec):
            return
        for daemon_set in self._sets.all():
            self._loop.add(key_of(daemon_set))

    async def _carry_out(
        self, daemon_set: DaemonSet, step: DaemonPlan, revision: str
    ) -> tuple[ApiError, ...]:
        for pod in step.failed:
            self._events.event(
                daemon_set,
                "Warning",
                "FailedDaemonPod",
                f"Found failed daemon pod {key_of(pod)} on node {pod.spec.node_name}, "
                "will try to kill it",
            )
        errors = await self._pods.delete(daemon_set, step.delete)
        _made, refused = await self._pods.create(
            daemon_set,
            step.create_on,
            lambda node: daemon_pod(
                daemon_set,
                generated_name(daemon_set.metadata.name, self._context.rng),
                node,
                revision,
            ),
        )
        return errors + refused


def daemon_pod(daemon_set: DaemonSet, name: str, node: str, revision: str) -> dict[str, Any]:
    """Return the pod for *node*, as JSON values: bound by an affinity to the node's name.

    The scheduler places it, as in Kubernetes since 1.12; so its filters and events hold here too.
    """
    template = daemon_set.spec.template
    labelled = with_label(template, CONTROLLER_REVISION_HASH, revision)
    generation = daemon_set.metadata.annotations.get(TEMPLATE_GENERATION)
    if generation is not None:
        labelled = with_label(labelled, POD_TEMPLATE_GENERATION, generation)
    pod = pod_of(daemon_set, labelled, name)
    spec = dict(pod["spec"])
    only = {"key": "metadata.name", "operator": "In", "values": [node]}
    affinity = dict(spec.get("affinity") or {})
    # The template's own terms were checked for this node already; terms are alternatives, so they
    # are replaced and not added to.
    affinity["nodeAffinity"] = {
        **(affinity.get("nodeAffinity") or {}),
        "requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [{"matchFields": [only]}]
        },
    }
    spec["affinity"] = affinity
    extra = tolerations_of(own_spec_of(template))
    spec["tolerations"] = [*(spec.get("tolerations") or []), *map(msgspec.to_builtins, extra)]
    return {**pod, "spec": spec}
