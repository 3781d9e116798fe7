"""Pure: a PodDisruptionBudget and its pods -> how many of them may be evicted.

As pkg/controller/disruption/disruption.go.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from podwire.emulator.controllers.counts import scaled_up
from podwire.emulator.controllers.ownership import controller_uid
from podwire.emulator.controllers.podstate import is_ready, is_terminating
from podwire.kube.objects import (
    Condition,
    IntOrString,
    Pod,
    PodDisruptionBudget,
    PodDisruptionBudgetStatus,
)
from podwire.kube.times import parse_rfc3339, rfc3339

ALLOWED = "DisruptionAllowed"

# An evicted pod that is not being deleted after so many seconds stays, after all.
PATIENCE = 120.0


@dataclass(frozen=True, slots=True)
class Expected:
    """How many pods there should be, and how many of them must be healthy."""

    pods: int
    healthy: int


@dataclass(frozen=True, slots=True)
class Scale:
    """How many pods somebody wants, a Deployment for all of its ReplicaSets."""

    uid: str
    replicas: int


class NoScale(Exception):
    """Nobody says how many pods there should be; the message is Kubernetes'."""


def expected(
    budget: PodDisruptionBudget, pods: Sequence[Pod], scales: Mapping[str, Scale]
) -> Expected:
    """Return what the budget asks for; raises NoScale.

    *scales* holds who wants how many pods, by the uid of a pod's controller; a share can be taken
    of that only. Pods without a controller do not count in it.
    """
    if budget.spec.max_unavailable is not None:
        total = _scale(pods, scales)
        return Expected(total, max(0, total - scaled_up(budget.spec.max_unavailable, total)))
    least: IntOrString = budget.spec.min_available or 0
    if isinstance(least, int):
        return Expected(len(pods), least)
    total = _scale(pods, scales)
    return Expected(total, scaled_up(least, total))


def budget_status(
    budget: PodDisruptionBudget, pods: Sequence[Pod], wanted: Expected, *, now: float
) -> PodDisruptionBudgetStatus:
    """Return the status: what is healthy, and what may go."""
    disrupted = _disrupted(budget, pods, now)
    healthy = sum(
        1
        for pod in pods
        if not is_terminating(pod) and pod.metadata.name not in disrupted and is_ready(pod)
    )
    spare = max(0, healthy - wanted.healthy) if wanted.pods > 0 else 0
    status = PodDisruptionBudgetStatus(
        observed_generation=budget.metadata.generation,
        disrupted_pods=disrupted,
        disruptions_allowed=spare,
        current_healthy=healthy,
        desired_healthy=wanted.healthy,
        expected_pods=wanted.pods,
        conditions=budget.status.conditions,
    )
    reason = "SufficientPods" if spare else "InsufficientPods"
    return _with_condition(status, "True" if spare else "False", reason, "", now)


def failed_status(
    budget: PodDisruptionBudget, message: str, *, now: float
) -> PodDisruptionBudgetStatus:
    """Return the status where nothing can be said: then no pod may go."""
    status = replace(budget.status, disruptions_allowed=0)
    return _with_condition(status, "False", "SyncFailed", message, now)


def recheck_in(status: PodDisruptionBudgetStatus, *, now: float) -> float | None:
    """Return in how many seconds an evicted pod that is still there counts again."""
    waits = [parse_rfc3339(since) + PATIENCE - now for since in status.disrupted_pods.values()]
    return max(0.0, min(waits)) + 1 if waits else None


def unmanaged(pods: Sequence[Pod]) -> tuple[Pod, ...]:
    """Return the pods that nobody would make anew."""
    return tuple(pod for pod in pods if not controller_uid(pod))


def _scale(pods: Sequence[Pod], scales: Mapping[str, Scale]) -> int:
    found: dict[str, int] = {}
    for pod in pods:
        uid = controller_uid(pod)
        if not uid:
            continue
        if uid not in scales:
            raise NoScale(f'found no controllers for pod "{pod.metadata.name}"')
        found[scales[uid].uid] = scales[uid].replicas
    return sum(found.values())


def _disrupted(budget: PodDisruptionBudget, pods: Sequence[Pod], now: float) -> dict[str, str]:
    present = {pod.metadata.name for pod in pods if not is_terminating(pod)}
    return {
        name: since
        for name, since in budget.status.disrupted_pods.items()
        if name in present and parse_rfc3339(since) + PATIENCE >= now
    }


def _with_condition(
    status: PodDisruptionBudgetStatus, value: str, reason: str, message: str, now: float
) -> PodDisruptionBudgetStatus:
    present = next((c for c in status.conditions if c.type == ALLOWED), None)
    since = present.last_transition_time if present and present.status == value else None
    condition = Condition(
        type=ALLOWED,
        status=value,
        reason=reason,
        message=message,
        observed_generation=status.observed_generation,
        last_transition_time=since or rfc3339(now),
    )
    others = tuple(c for c in status.conditions if c.type != ALLOWED)
    return replace(status, conditions=(*others, condition))
