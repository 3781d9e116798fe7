"""StatefulSets -> pods with names and places of their own; carries out what stateful_plan decides.

There are no persistent volumes: see stateful_pods.
"""

from collections.abc import Mapping

from podwire.emulator.controllers.batches import in_batches, together
from podwire.emulator.controllers.claims import settle
from podwire.emulator.controllers.context import ControllerContext
from podwire.emulator.controllers.expectations import Expectations
from podwire.emulator.controllers.history import newest, template_of
from podwire.emulator.controllers.ownership import claim, controller_of, controller_uid
from podwire.emulator.controllers.patches import status_patch
from podwire.emulator.controllers.pod_templates import Template
from podwire.emulator.controllers.podstate import available_in
from podwire.emulator.controllers.revisions import Revisions
from podwire.emulator.controllers.stateful_plan import (
    Creation,
    StatefulPlan,
    plan_stateful,
    stateful_status,
)
from podwire.emulator.controllers.stateful_pods import (
    belongs,
    identity,
    ordinal_of,
    pod_name,
    revision_label,
    stateful_pod,
)
from podwire.errors import AlreadyExists, ApiError, NotFound
from podwire.kube.codec import key_of
from podwire.kube.index import Index
from podwire.kube.names import Key
from podwire.kube.objects import (
    ControllerRevision,
    Pod,
    StatefulSet,
    StatefulSetStatus,
)
from podwire.kube.reconcile import Reconciler
from podwire.kube.selectors import from_selector

_HASH_LABEL = "controller.kubernetes.io/hash"

_ALWAYS = ("replicas", "availableReplicas", "collisionCount")


class StatefulSets:
    """Keeps the pods of every StatefulSet."""

    def __init__(self, context: ControllerContext) -> None:
        self._context = context
        self._client = context.client
        self._sets = context.informers.of(StatefulSet)
        self._events = context.recorder("statefulset-controller")
        self._expectations = Expectations(context.clock)
        self._loop = Reconciler(self.reconcile, name="statefulset")
        self._revisions = Revisions(context.client, context.informers.of(ControllerRevision))
        pods = context.informers.of(Pod)
        self._pods = Index(pods, lambda p: [(p.metadata.namespace, controller_uid(p))])
        self._by_namespace = Index(self._sets, lambda s: [s.metadata.namespace])
        self._sets.subscribe(self._set_changed)
        pods.subscribe(self._pod_changed)

    async def run(self) -> None:
        """Work until cancelled."""
        await self._context.serve(self._loop.run, self._events.run)

    async def reconcile(self, key: Key) -> float | None:
        """Take the next step of one StatefulSet; return when to look again, seconds."""
        stateful_set = self._sets.get(key)
        if stateful_set is None or stateful_set.metadata.deletion_timestamp is not None:
            return None
        if not self._context.accepts_objects(key.namespace):
            return None
        pods = await self._claimed(stateful_set)
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
        waiting = self._expectations.missing(key)
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

    def _set_changed(self, old: StatefulSet | None, new: StatefulSet | None) -> None:
        if new is not None:
            self._loop.add(key_of(new))

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        self._expectations.saw(old, new)
        for pod in (old, new):
            owner = controller_of(pod) if pod else None
            if pod and owner and owner.kind == "StatefulSet":
                self._loop.add(Key(pod.metadata.namespace, owner.name))
        if new is not None and controller_of(new) is None:
            for stateful_set in self._by_namespace.get(new.metadata.namespace):
                if belongs(new, stateful_set):
                    self._loop.add(key_of(stateful_set))

    async def _claimed(self, stateful_set: StatefulSet) -> tuple[Pod, ...]:
        namespace = stateful_set.metadata.namespace
        candidates = self._pods.get((namespace, stateful_set.metadata.uid))
        candidates += tuple(
            # A pod that only has the labels is somebody else's.
            pod
            for pod in self._pods.get((namespace, ""))
            if belongs(pod, stateful_set)
        )
        claims = claim(stateful_set, from_selector(stateful_set.spec.selector), candidates)
        return await settle(self._client, stateful_set, claims)

    async def _carry_out(
        self, stateful_set: StatefulSet, step: StatefulPlan, templates: Mapping[str, Template]
    ) -> tuple[ApiError, ...]:
        owner = key_of(stateful_set)
        for pod in step.delete:
            self._expectations.delete(owner, pod.metadata.uid)
        errors = await together(step.relabel, lambda pod: self._relabel(stateful_set, pod))
        errors += await together(step.delete, lambda pod: self._delete(stateful_set, pod))
        return errors + await in_batches(
            step.create,
            lambda creation: self._create(stateful_set, templates[creation.revision], creation),
        )

    async def _create(
        self, stateful_set: StatefulSet, template: Template, creation: Creation
    ) -> None:
        name = Key(stateful_set.metadata.namespace, pod_name(stateful_set, creation.ordinal))
        what = f"create Pod {name.name} in StatefulSet {stateful_set.metadata.name}"
        pod = stateful_pod(stateful_set, template, creation.revision, creation.ordinal)
        self._expectations.create(key_of(stateful_set), name)
        try:
            await self._client.create_raw(Pod, name.namespace, pod)
        except AlreadyExists:
            # Ours, and the informer lags; or a stranger's, whose end brings us back.
            self._expectations.forget(name)
            raise
        except BaseException as error:
            self._expectations.forget(name)
            if isinstance(error, ApiError):
                message = f"{what} failed error: {error.message}"
                self._events.event(stateful_set, "Warning", "FailedCreate", message)
            raise
        self._events.event(stateful_set, "Normal", "SuccessfulCreate", f"{what} successful")

    async def _delete(self, stateful_set: StatefulSet, pod: Pod) -> None:
        what = f"delete Pod {pod.metadata.name} in StatefulSet {stateful_set.metadata.name}"
        try:
            await self._client.delete(Pod, key_of(pod), uid=pod.metadata.uid)
        except NotFound:
            self._expectations.forget(pod.metadata.uid)
            return
        except BaseException as error:
            self._expectations.forget(pod.metadata.uid)
            if isinstance(error, ApiError):
                message = f"{what} failed error: {error.message}"
                self._events.event(stateful_set, "Warning", "FailedDelete", message)
            raise
        self._events.event(stateful_set, "Normal", "SuccessfulDelete", f"{what} successful")

    async def _relabel(self, stateful_set: StatefulSet, pod: Pod) -> None:
        labels = identity(stateful_set, ordinal_of(pod))
        patch = {"metadata": {"uid": pod.metadata.uid, "labels": labels}}
        try:
            await self._client.patch(Pod, key_of(pod), patch)
        except NotFound:
            return

    async def _write_status(self, stateful_set: StatefulSet, status: StatefulSetStatus) -> None:
        if status == stateful_set.status:
            return
        patch = status_patch(status, always=_ALWAYS)
        try:
            await self._client.patch(StatefulSet, key_of(stateful_set), patch, subresource="status")
        except NotFound:
            return
