"""Deployments -> ReplicaSets: carries out what deployment_plan.plan decides."""

from collections import Counter
from typing import Any

from podwire.emulator.controllers.claims import settle
from podwire.emulator.controllers.context import ControllerContext
from podwire.emulator.controllers.ownership import claim, controller_of, controller_uid
from podwire.emulator.controllers.patches import status_patch
from podwire.emulator.controllers.pod_templates import same_template
from podwire.emulator.controllers.podstate import is_finished
from podwire.emulator.controllers.status_writer import write_status
from podwire.emulator.controllers.workloads.deployment_plan import REVISION, Plan, plan, split
from podwire.emulator.controllers.workloads.deployment_status import counted, deadline_in
from podwire.errors import AlreadyExists, Conflict, NotFound
from podwire.kube.codec import key_of
from podwire.kube.index import Index
from podwire.kube.names import Key
from podwire.kube.objects import Deployment, DeploymentStatus, Pod, ReplicaSet
from podwire.kube.reconcile import Reconciler
from podwire.kube.selectors import from_selector


class Deployments:
    """Keeps the ReplicaSets of every Deployment."""

    def __init__(self, context: ControllerContext) -> None:
        self._context = context
        self._client = context.client
        self._deployments = context.informers.of(Deployment)
        self._events = context.recorder("deployment-controller")
        self._loop = Reconciler(self.reconcile, name="deployment", concurrency=8)
        sets = context.informers.of(ReplicaSet)
        pods = context.informers.of(Pod)
        self._pods = Index(pods, lambda p: [controller_uid(p)] if controller_of(p) else [])
        self._sets = Index(sets, lambda r: [(r.metadata.namespace, controller_uid(r))])
        self._sets_by_uid = Index(sets, lambda r: [r.metadata.uid])
        self._by_namespace = Index(self._deployments, lambda d: [d.metadata.namespace])
        self._deployments.subscribe(self._loop.add_changed)
        sets.subscribe(self._set_changed)
        pods.subscribe(self._pod_changed)

    async def run(self) -> None:
        """Work until cancelled."""
        await self._context.serve(self._loop.run, self._events.run)

    async def reconcile(self, key: Key) -> float | None:
        """Take the next step of one Deployment; return when its deadline is over, seconds."""
        deployment = self._deployments.get(key)
        if deployment is None:
            return None
        if deployment.metadata.deletion_timestamp is not None:
            await self._write_status(deployment, self._last_words(deployment))
            return None
        if not self._context.accepts_objects(key.namespace):
            return None
        candidates = self._sets.get((key.namespace, deployment.metadata.uid))
        candidates += self._sets.get((key.namespace, ""))
        claims = claim(deployment, from_selector(deployment.spec.selector), candidates)
        owned = await settle(self._client, deployment, claims)
        now = self._context.clock.now()
        step = plan(
            deployment,
            owned,
            occupied=frozenset(rs.metadata.uid for rs in owned if self._is_occupied(rs)),
            now=now,
        )
        await self._carry_out(deployment, step)
        return deadline_in(deployment, step.status, now=now)

    def _last_words(self, deployment: Deployment) -> DeploymentStatus:
        """Return the status of a Deployment that is being deleted: it only counts."""
        key = (deployment.metadata.namespace, deployment.metadata.uid)
        new, old = split(deployment, self._sets.get(key))
        everything = [*old, *([new] if new else [])]
        return counted(deployment, everything, new, now=self._context.clock.now())

    def _set_changed(self, old: ReplicaSet | None, new: ReplicaSet | None) -> None:
        for replica_set in (old, new):
            if replica_set is None:
                continue
            owner = controller_of(replica_set)
            namespace = replica_set.metadata.namespace
            if owner is not None:
                if owner.kind == "Deployment":
                    self._loop.add(Key(namespace, owner.name))
                continue
            for deployment in self._by_namespace.get(namespace):
                selector = from_selector(deployment.spec.selector)
                if selector.matches(replica_set.metadata.labels):
                    self._loop.add(key_of(deployment))

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        # Only Recreate waits for pods: for the last of the old ones to be gone.
        if old is None or (new is not None and not is_finished(new)):
            return
        for replica_set in self._sets_by_uid.get(controller_uid(old)):
            self._set_changed(replica_set, None)

    def _is_occupied(self, replica_set: ReplicaSet) -> bool:
        return any(not is_finished(pod) for pod in self._pods.get(replica_set.metadata.uid))

    async def _carry_out(self, deployment: Deployment, step: Plan) -> None:
        if step.create is not None:
            await self._create(deployment, step.create)
        for present, wanted in step.updates:
            await self._update(deployment, present, wanted)
        for replica_set in step.delete:
            await self._delete(replica_set)
        if step.revision and deployment.metadata.annotations.get(REVISION) != step.revision:
            metadata = {
                "resourceVersion": deployment.metadata.resource_version,
                "annotations": {REVISION: step.revision},
            }
            deployment = await self._client.patch(
                Deployment, key_of(deployment), {"metadata": metadata}
            )
        await self._write_status(deployment, step.status)

    async def _create(self, deployment: Deployment, wanted: ReplicaSet) -> None:
        try:
            await self._client.create(wanted)
        except AlreadyExists:
            present = await self._client.get(ReplicaSet, key_of(wanted))
            ours = controller_uid(present) == deployment.metadata.uid
            if ours and same_template(present.spec.template, deployment.spec.template):
                return  # the informer lags; the ReplicaSet's event brings us back
            await self._count_collision(deployment)
            raise Conflict(409, "Conflict", f"the name {wanted.metadata.name} is taken") from None
        self._scaled(deployment, wanted, 0)

    async def _count_collision(self, deployment: Deployment) -> None:
        count = (deployment.status.collision_count or 0) + 1
        await self._client.patch(
            Deployment,
            key_of(deployment),
            {"status": {"collisionCount": count}},
            subresource="status",
        )

    async def _update(
        self, deployment: Deployment, present: ReplicaSet, wanted: ReplicaSet
    ) -> None:
        patch: dict[str, Any] = {
            # A stale copy must not size twice: the revision turns that into a conflict.
            "metadata": {
                "resourceVersion": present.metadata.resource_version,
                "annotations": wanted.metadata.annotations,
            },
            "spec": {
                "replicas": wanted.spec.replicas,
                "minReadySeconds": wanted.spec.min_ready_seconds,
            },
        }
        await self._client.patch(ReplicaSet, key_of(wanted), patch)
        self._scaled(deployment, wanted, present.spec.replicas)

    async def _delete(self, replica_set: ReplicaSet) -> None:
        try:
            await self._client.delete(ReplicaSet, key_of(replica_set), uid=replica_set.metadata.uid)
        except NotFound:
            return

    def _scaled(self, deployment: Deployment, wanted: ReplicaSet, before: int) -> None:
        size = wanted.spec.replicas
        if size == before:
            return
        direction = "up" if size > before else "down"
        self._events.event(
            deployment,
            "Normal",
            "ScalingReplicaSet",
            f"Scaled {direction} replica set {wanted.metadata.name} from {before} to {size}",
        )

    async def _write_status(self, deployment: Deployment, status: DeploymentStatus) -> None:
        if _unordered(status) == _unordered(deployment.status):
            return
        # From an old copy: what a pass noted meanwhile (a new ReplicaSet) would be lost.
        metadata = {"resourceVersion": deployment.metadata.resource_version}
        patch = {**status_patch(status), "metadata": metadata}
        await write_status(self._client, deployment, patch)


def _unordered(status: DeploymentStatus) -> Any:
    return Counter(status.conditions), [
        getattr(status, name) for name in status.__struct_fields__ if name != "conditions"
    ]
