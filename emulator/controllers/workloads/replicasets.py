"""ReplicaSets -> pods: as many as wanted, made and deleted in slow-start batches.

Pure decisions are in victims.py, ownership.py and replicaset_status.py.
"""

from podwire.emulator.controllers.context import ControllerContext
from podwire.emulator.controllers.owned_pods import OwnedPods
from podwire.emulator.controllers.ownership import controller_uid
from podwire.emulator.controllers.patches import status_patch
from podwire.emulator.controllers.pod_templates import generated_name, pod_of
from podwire.emulator.controllers.podstate import available_in, is_active
from podwire.emulator.controllers.status_writer import write_status
from podwire.emulator.controllers.victims import victims
from podwire.emulator.controllers.workloads.replicaset_status import replica_set_status
from podwire.errors import ApiError
from podwire.kube.index import Index
from podwire.kube.names import Key
from podwire.kube.objects import Pod, ReplicaSet
from podwire.kube.reconcile import Reconciler
from podwire.kube.selectors import from_selector

# Kubernetes' BurstReplicas: so many pods one pass makes or deletes at most.
BURST = 500


class ReplicaSets:
    """Keeps the number of pods of every ReplicaSet."""

    def __init__(self, context: ControllerContext) -> None:
        self._context = context
        self._sets = context.informers.of(ReplicaSet)
        self._events = context.recorder("replicaset-controller")
        self._loop = Reconciler(self.reconcile, name="replicaset", concurrency=8)
        self._pods = OwnedPods(
            context,
            ReplicaSet,
            self._events,
            wake=self._loop.add,
            accepts=_accepts,
        )
        self._siblings = Index(self._sets, lambda r: [(r.metadata.namespace, controller_uid(r))])
        self._sets.subscribe(self._loop.add_changed)

    async def run(self) -> None:
        """Work until cancelled."""
        await self._context.serve(self._loop.run, self._events.run)

    async def reconcile(self, key: Key) -> float | None:
        """Make the pods of one ReplicaSet as many as wanted; return when to look again, seconds."""
        replica_set = self._sets.get(key)
        if replica_set is None:
            return None
        pods = await self._pods.claimed(replica_set, replica_set.spec.selector)
        active = tuple(pod for pod in pods if is_active(pod))
        errors: tuple[ApiError, ...] = ()
        waiting = self._pods.missing(key)
        if waiting is None and replica_set.metadata.deletion_timestamp is None:
            errors = await self._manage(replica_set, active)
        await self._write_status(replica_set, active, errors)
        if errors:
            raise errors[0]
        return _sooner(waiting, self._next_available(replica_set, active))

    async def _manage(
        self, replica_set: ReplicaSet, active: tuple[Pod, ...]
    ) -> tuple[ApiError, ...]:
        missing = replica_set.spec.replicas - len(active)
        if missing > 0 and self._context.accepts_objects(replica_set.metadata.namespace):
            _made, errors = await self._pods.create(
                replica_set,
                range(min(missing, BURST)),
                lambda _: pod_of(
                    replica_set,
                    replica_set.spec.template,
                    generated_name(replica_set.metadata.name, self._context.rng),
                ),
            )
            return errors
        if missing < 0:
            chosen = victims(
                active,
                min(-missing, BURST),
                related=self._related(replica_set),
                now=self._context.clock.now(),
            )
            return await self._pods.delete(replica_set, chosen)
        return ()

    def _related(self, replica_set: ReplicaSet) -> tuple[Pod, ...]:
        namespace = replica_set.metadata.namespace
        deployment = controller_uid(replica_set)
        siblings = self._siblings.get((namespace, deployment)) if deployment else (replica_set,)
        return tuple(pod for s in siblings for pod in self._pods.of(s))

    async def _write_status(
        self, replica_set: ReplicaSet, active: tuple[Pod, ...], errors: tuple[ApiError, ...]
    ) -> None:
        status = replica_set_status(
            replica_set, active, errors[0].message if errors else "", now=self._context.clock.now()
        )
        if status != replica_set.status:
            patch = status_patch(status, always=("replicas",))
            await write_status(self._context.client, replica_set, patch)

    def _next_available(self, replica_set: ReplicaSet, active: tuple[Pod, ...]) -> float | None:
        seconds = replica_set.spec.min_ready_seconds
        now = self._context.clock.now()
        waits = [available_in(pod, seconds, now=now) for pod in active]
        return min((wait for wait in waits if wait), default=None)


def _accepts(replica_set: ReplicaSet, orphan: Pod) -> bool:
    """Tell whether *replica_set* would take *orphan*, which counts only while it runs."""
    selector = from_selector(replica_set.spec.selector)
    return is_active(orphan) and selector.matches(orphan.metadata.labels)


def _sooner(a: float | None, b: float | None) -> float | None:
    return min((seconds for seconds in (a, b) if seconds is not None), default=None)
