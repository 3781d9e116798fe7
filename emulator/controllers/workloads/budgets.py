"""PodDisruptionBudgets: keeps their status, by which evictions are allowed; see budget_plan."""

from typing import Any

from podwire.emulator.controllers.context import ControllerContext
from podwire.emulator.controllers.ownership import controller_of
from podwire.emulator.controllers.patches import status_patch
from podwire.emulator.controllers.status_writer import write_status
from podwire.emulator.controllers.workloads.budget_plan import (
    NoScale,
    Scale,
    budget_status,
    expected,
    failed_status,
    recheck_in,
    unmanaged,
)
from podwire.kube.codec import key_of
from podwire.kube.index import Index
from podwire.kube.names import Key
from podwire.kube.objects import (
    Deployment,
    Object,
    Pod,
    PodDisruptionBudget,
    PodDisruptionBudgetStatus,
    ReplicaSet,
    StatefulSet,
)
from podwire.kube.reconcile import Reconciler
from podwire.kube.selectors import from_selector

_ALWAYS = (
    "disruptionsAllowed",
    "currentHealthy",
    "desiredHealthy",
    "expectedPods",
)


class PodDisruptionBudgets:
    """Keeps the status of every PodDisruptionBudget.

    The owners that a share can be taken of are Deployments, ReplicaSets and StatefulSets; custom
    resources with a scale are not asked.
    """

    def __init__(self, context: ControllerContext) -> None:
        self._context = context
        self._client = context.client
        self._budgets = context.informers.of(PodDisruptionBudget)
        self._replica_sets = context.informers.of(ReplicaSet)
        self._deployments = context.informers.of(Deployment)
        self._stateful_sets = context.informers.of(StatefulSet)
        self._events = context.recorder("controllermanager")
        self._loop = Reconciler(self.reconcile, name="disruption")
        pods = context.informers.of(Pod)
        self._pods = Index(pods, lambda p: [p.metadata.namespace])
        self._by_namespace = Index(self._budgets, lambda b: [b.metadata.namespace])
        self._budgets.subscribe(self._loop.add_changed)
        pods.subscribe(self._pod_changed)
        for owners in (self._replica_sets, self._deployments, self._stateful_sets):
            owners.subscribe(self._owner_changed)

    async def run(self) -> None:
        """Work until cancelled."""
        await self._context.serve(self._loop.run, self._events.run)

    async def reconcile(self, key: Key) -> float | None:
        """Bring the status of one budget up to date; return when to look again, seconds."""
        budget = self._budgets.get(key)
        if budget is None or budget.metadata.deletion_timestamp is not None:
            return None
        pods = self._covered(budget)
        now = self._context.clock.now()
        if not pods:
            self._events.event(budget, "Normal", "NoPods", "No matching pods found")
        try:
            wanted = expected(budget, pods, self._scales(pods))
        except NoScale as error:
            message = f"Failed to calculate the number of expected pods: {error}"
            self._events.event(budget, "Warning", "CalculateExpectedPodCountFailed", message)
            await self._write(budget, failed_status(budget, str(error), now=now))
            return None
        if unmanaged(pods) and not isinstance(budget.spec.min_available, int):
            self._warn_of_unmanaged(budget)
        status = budget_status(budget, pods, wanted, now=now)
        await self._write(budget, status)
        return recheck_in(status, now=now)

    def _warn_of_unmanaged(self, budget: PodDisruptionBudget) -> None:
        self._events.event(
            budget,
            "Warning",
            "UnmanagedPods",
            "Pods selected by this PodDisruptionBudget were found to be unmanaged. As a result, "
            "the status of the PDB cannot be calculated correctly, which may result in undefined "
            'behavior. To account for these pods please set ".spec.minAvailable" field of the PDB '
            "to an integer value.",
        )

    def _covered(self, budget: PodDisruptionBudget) -> tuple[Pod, ...]:
        if budget.spec.selector is None:
            return ()
        selector = from_selector(budget.spec.selector)
        return tuple(
            pod
            for pod in self._pods.get(budget.metadata.namespace)
            if selector.matches(pod.metadata.labels)
        )

    def _scales(self, pods: tuple[Pod, ...]) -> dict[str, Scale]:
        """Return how many pods the controllers of *pods* want, by the controllers' uids."""
        found: dict[str, Scale] = {}
        for pod in pods:
            owner = controller_of(pod)
            if owner is None or owner.uid in found:
                continue
            key = Key(pod.metadata.namespace, owner.name)
            scale = None
            if owner.kind == "ReplicaSet":
                scale = self._scaled(self._replica_sets.get(key), owner.uid)
            elif owner.kind == "StatefulSet":
                scale = self._scaled(self._stateful_sets.get(key), owner.uid)
            if scale is not None:
                found[owner.uid] = scale
        return found

    def _scaled(self, owner: ReplicaSet | StatefulSet | None, uid: str) -> Scale | None:
        if owner is None or owner.metadata.uid != uid:
            return None
        above = controller_of(owner)
        if above is not None and above.kind == "Deployment":
            deployment = self._deployments.get(Key(owner.metadata.namespace, above.name))
            if deployment is not None and deployment.metadata.uid == above.uid:
                return Scale(above.uid, deployment.spec.replicas)
        return Scale(uid, owner.spec.replicas)

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        changed = new or old
        if changed is None:
            return
        for budget in self._by_namespace.get(changed.metadata.namespace):
            if budget.spec.selector is None:
                continue
            selector = from_selector(budget.spec.selector)
            if any(selector.matches(pod.metadata.labels) for pod in (old, new) if pod):
                self._loop.add(key_of(budget))

    def _owner_changed(self, old: Object | None, new: Object | None) -> None:
        changed = new or old
        if changed is not None:
            for budget in self._by_namespace.get(changed.metadata.namespace):
                self._loop.add(key_of(budget))

    async def _write(self, budget: PodDisruptionBudget, status: PodDisruptionBudgetStatus) -> None:
        if status == budget.status:
            return
        patch: dict[str, Any] = status_patch(status, always=_ALWAYS)
        # An eviction may have been granted meanwhile: it must not be granted twice.
        patch["metadata"] = {"resourceVersion": budget.metadata.resource_version}
        before = budget.status.disrupted_pods
        patch["status"]["disruptedPods"] = {
            **dict.fromkeys(before),
            **status.disrupted_pods,
        } or None
        for condition in patch["status"]["conditions"] or ():
            condition.setdefault("message", "")
        await write_status(self._client, budget, patch)
