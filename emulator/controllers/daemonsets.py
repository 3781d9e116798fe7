"""DaemonSets -> one pod per node that fits; carries out what daemon_plan and history decide."""

from typing import Any

import msgspec

from podwire.emulator.controllers.batches import in_batches, together
from podwire.emulator.controllers.claims import settle
from podwire.emulator.controllers.context import ControllerContext
from podwire.emulator.controllers.daemon_plan import (
    DaemonPlan,
    daemon_set_status,
    own_spec_of,
    plan_daemons,
    tolerations_of,
)
from podwire.emulator.controllers.expectations import Expectations
from podwire.emulator.controllers.history import newest
from podwire.emulator.controllers.ownership import claim, controller_of, controller_uid
from podwire.emulator.controllers.patches import status_patch
from podwire.emulator.controllers.pod_templates import (
    CONTROLLER_REVISION_HASH,
    generated_name,
    pod_of,
    with_label,
)
from podwire.emulator.controllers.podstate import available_in
from podwire.emulator.controllers.revisions import Revisions
from podwire.errors import ApiError, NotFound
from podwire.kube.codec import key_of
from podwire.kube.index import Index
from podwire.kube.names import Key
from podwire.kube.objects import ControllerRevision, DaemonSet, Node, Pod
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
        self._client = context.client
        self._sets = context.informers.of(DaemonSet)
        self._nodes = context.informers.of(Node)
        self._events = context.recorder("daemonset-controller")
        self._expectations = Expectations(context.clock)
        self._loop = Reconciler(self.reconcile, name="daemonset")
        self._revisions = Revisions(context.client, context.informers.of(ControllerRevision))
        pods = context.informers.of(Pod)
        self._pods = Index(pods, lambda p: [(p.metadata.namespace, controller_uid(p))])
        self._by_namespace = Index(self._sets, lambda d: [d.metadata.namespace])
        self._sets.subscribe(self._set_changed)
        self._nodes.subscribe(self._node_changed)
        pods.subscribe(self._pod_changed)

    async def run(self) -> None:
        """Work until cancelled."""
        await self._context.serve(self._loop.run, self._events.run)

    async def reconcile(self, key: Key) -> float | None:
        """Take the next step of one DaemonSet; return when to look again, seconds."""
        daemon_set = self._sets.get(key)
        if daemon_set is None or daemon_set.metadata.deletion_timestamp is not None:
            return None
        candidates = self._pods.get((key.namespace, daemon_set.metadata.uid))
        candidates += self._pods.get((key.namespace, ""))
        claims = claim(daemon_set, from_selector(daemon_set.spec.selector), candidates)
        pods = await settle(self._client, daemon_set, claims)
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
        waiting = self._expectations.missing(key)
        if waiting is None:
            step = plan_daemons(daemon_set, nodes, pods, revision=revision, now=now)
            errors = await self._carry_out(daemon_set, step, revision)
        status = daemon_set_status(daemon_set, nodes, pods, revision=revision, now=now)
        if status != daemon_set.status:
            patch = status_patch(status, always=_ALWAYS)
            try:
                await self._client.patch(DaemonSet, key, patch, subresource="status")
            except NotFound:
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

    def _set_changed(self, old: DaemonSet | None, new: DaemonSet | None) -> None:
        if new is not None:
            self._loop.add(key_of(new))

    def _node_changed(self, old: Node | None, new: Node | None) -> None:
        if old and new and (old.metadata.labels, old.spec) == (new.metadata.labels, new.spec):
            return
        for daemon_set in self._sets.all():
            self._loop.add(key_of(daemon_set))

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        self._expectations.saw(old, new)
        for pod in (old, new):
            owner = controller_of(pod) if pod else None
            if pod and owner and owner.kind == "DaemonSet":
                self._loop.add(Key(pod.metadata.namespace, owner.name))
        if new is not None and controller_of(new) is None:
            for daemon_set in self._by_namespace.get(new.metadata.namespace):
                if from_selector(daemon_set.spec.selector).matches(new.metadata.labels):
                    self._loop.add(key_of(daemon_set))

    async def _carry_out(
        self, daemon_set: DaemonSet, step: DaemonPlan, revision: str
    ) -> tuple[ApiError, ...]:
        owner = key_of(daemon_set)
        for pod in step.failed:
            self._events.event(
                daemon_set,
                "Warning",
                "FailedDaemonPod",
                f"Found failed daemon pod {key_of(pod)} on node {pod.spec.node_name}, "
                "will try to kill it",
            )
        for pod in step.delete:
            self._expectations.delete(owner, pod.metadata.uid)
        errors = await together(step.delete, lambda pod: self._delete(daemon_set, pod))
        return errors + await in_batches(
            step.create_on, lambda node: self._create(daemon_set, node, revision)
        )

    async def _create(self, daemon_set: DaemonSet, node: str, revision: str) -> None:
        namespace = daemon_set.metadata.namespace
        name = Key(namespace, generated_name(daemon_set.metadata.name, self._context.rng))
        self._expectations.create(key_of(daemon_set), name)
        try:
            pod = daemon_pod(daemon_set, name.name, node, revision)
            await self._client.create_raw(Pod, namespace, pod)
        except BaseException as error:
            self._expectations.forget(name)
            if isinstance(error, ApiError):
                self._events.event(
                    daemon_set, "Warning", "FailedCreate", f"Error creating: {error.message}"
                )
            raise
        self._events.event(daemon_set, "Normal", "SuccessfulCreate", f"Created pod: {name.name}")

    async def _delete(self, daemon_set: DaemonSet, pod: Pod) -> None:
        try:
            await self._client.delete(Pod, key_of(pod), uid=pod.metadata.uid)
        except NotFound:
            self._expectations.forget(pod.metadata.uid)
            return
        except BaseException:
            self._expectations.forget(pod.metadata.uid)
            raise
        self._events.event(
            daemon_set, "Normal", "SuccessfulDelete", f"Deleted pod: {pod.metadata.name}"
        )


def daemon_pod(daemon_set: DaemonSet, name: str, node: str, revision: str) -> dict[str, Any]:
    """Return the pod for *node*, as JSON values: bound by an affinity to the node's name.

    The scheduler places it, as in Kubernetes since 1.12; so its filters and events hold here too.
    """
    template = daemon_set.spec.template
    pod = pod_of(
        daemon_set,
        with_label(template, CONTROLLER_REVISION_HASH, revision),
        name,
    )
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
