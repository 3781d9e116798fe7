"""StatefulSets -> pods with names and places of their own; carries out what stateful_plan decides.

There are no persistent volumes: see stateful_pods.
"""

from collections.abc import Mapping

from podwire.emulator.controllers.batches import together
from podwire.emulator.controllers.context import ControllerContext
from podwire.emulator.controllers.owned_pods import OwnedPods, Words
from podwire.emulator.controllers.patches import status_patch
from podwire.emulator.controllers.pod_templates import Template
from podwire.emulator.controllers.podstate import available_in
from podwire.emulator.controllers.status_writer import write_status
from podwire.emulator.controllers.workloads.history import newest, template_of
from podwire.emulator.controllers.workloads.revisions import Revisions
from podwire.emulator.controllers.workloads.stateful_plan import (
    StatefulPlan,
    plan_stateful,
    stateful_status,
)
from podwire.emulator.controllers.workloads.stateful_pods import (
    belongs,
    identity,
    ordinal_of,
    revision_label,
    stateful_pod,
)
from podwire.errors import ApiError, NotFound
from podwire.kube.codec import key_of
from podwire.kube.names import Key
from podwire.kube.objects import (
    ControllerRevision,
    Pod,
    StatefulSet,
    StatefulSetStatus,
)
from podwire.kube.reconcile import Reconciler

_HASH_LABEL = "controller.kubernetes.io/hash"

_WORDS = Words(
    created="create Pod {pod} in StatefulSet {owner} successful",
    not_created="create Pod {pod} in StatefulSet {owner} failed error: {error}",
    deleted="delete Pod {pod} in StatefulSet {owner} successful",
    not_deleted="delete Pod {pod} in StatefulSet {owner} failed error: {error}",
)

_ALWAYS = ("replicas", "availableReplicas", "collisionCount")


class StatefulSets:
    """Keeps the pods of every StatefulSet."""

    def __init__(self, context: ControllerContext) -> None:
        self._context = context
        self._client = context.client
        self._sets = context.informers.of(StatefulSet)
        self._events = context.recorder("statefulset-controller")
        self._loop = Reconciler(self.reconcile, name="statefulset")
        self._revisions = Revisions(context.client, context.informers.of(ControllerRevision))
        self._pods = OwnedPods(
            context,
            StatefulSet,
            self._events,
            wake=self._loop.add,
            # A pod that only has the labels is somebody else's.
            accepts=lambda stateful_set, pod: belongs(pod, stateful_set),
            words=_WORDS,
        )
        self._sets.subscribe(self._loop.add_changed)

    async def run(self) -> None:
        """Work until cancelled."""
        await self._context.serve(self._loop.run, self._events.run)

    async def reconcile(self, key: Key) -> float | None:
        """Take the next step of one StatefulSet; return when to look again, seconds."""
        stateful_set = self._sets.get(key)
        if stateful_set is None:
            return None
        if stateful_set.metadata.deletion_timestamp is not None:
            await self._write_status(stateful_set, self._last_words(stateful_set))
            return None
        if not self._context.accepts_objects(key.namespace):
            return None
        pods = await self._pods.claimed(stateful_set, stateful_set.spec.selector)
        revisions = await self._revisions.claimed(stateful_set, stateful_set.spec.selector)
        collisions = stateful_set.status.collision_count or 0
        found = newest(
            stateful_set,
            stateful_set.spec.template,
            revisions,
            collisions=collisions,
            hash_label=_HASH_LABEL,
        )
        update = await self._revisions.keep(stateful_set, found, collisions)
        known = {r.metadata.name: r for r in (*revisions, update)}
        current = known.get(stateful_set.status.current_revision, update)
        now = self._context.clock.now()
        errors: tuple[ApiError, ...] = ()
        waiting = self._pods.missing(key)
        if waiting is None:
            step = plan_stateful(
                stateful_set,
                pods,
                current=current.metadata.name,
                update=update.metadata.name,
                now=now,
            )
            templates = {name: template_of(r) or {} for name, r in known.items()}
            errors = await self._carry_out(stateful_set, step, templates)
        await self._write_status(
            stateful_set,
            stateful_status(
                stateful_set,
                pods,
                current=current.metadata.name,
                update=update.metadata.name,
                collisions=collisions,
                now=now,
            ),
        )
        live = {current.metadata.name, update.metadata.name, *map(revision_label, pods)}
        limit = stateful_set.spec.revision_history_limit
        await self._revisions.trim(known.values(), live, limit)
        if errors:
            raise errors[0]
        waits = [available_in(pod, stateful_set.spec.min_ready_seconds, now=now) for pod in pods]
        return min((w for w in (*waits, waiting) if w), default=None)

    def _last_words(self, stateful_set: StatefulSet) -> StatefulSetStatus:
        """Return the status of a StatefulSet that is being deleted: it only counts."""
        status = stateful_set.status
        return stateful_status(
            stateful_set,
            self._pods.of(stateful_set),
            current=status.current_revision,
            update=status.update_revision,
            collisions=status.collision_count or 0,
            now=self._context.clock.now(),
        )

    async def _carry_out(
        self, stateful_set: StatefulSet, step: StatefulPlan, templates: Mapping[str, Template]
    ) -> tuple[ApiError, ...]:
        errors = await together(step.relabel, lambda pod: self._relabel(stateful_set, pod))
        errors += await self._pods.delete(stateful_set, step.delete)
        _made, refused = await self._pods.create(
            stateful_set,
            step.create,
            lambda new: stateful_pod(
                stateful_set, templates[new.revision], new.revision, new.ordinal
            ),
        )
        return errors + refused

    async def _relabel(self, stateful_set: StatefulSet, pod: Pod) -> None:
        labels = identity(stateful_set, ordinal_of(pod))
        patch = {"metadata": {"uid": pod.metadata.uid, "labels": labels}}
        try:
            await self._client.patch(Pod, key_of(pod), patch)
        except NotFound:
            return

    async def _write_status(self, stateful_set: StatefulSet, status: StatefulSetStatus) -> None:
        if status != stateful_set.status:
            patch = status_patch(status, always=_ALWAYS)
            await write_status(self._client, stateful_set, patch)
