"""Typed view of PodDisruptionBudget (policy/v1)."""

from podwire.kube.meta import Condition, IntOrString, LabelSelectorSpec, Object, Resource, View


class PodDisruptionBudgetSpec(View, frozen=True):
    """How many pods must stay. No selector selects nothing, an empty one everything."""

    min_available: IntOrString | None = None
    max_unavailable: IntOrString | None = None
    selector: LabelSelectorSpec | None = None
    unhealthy_pod_eviction_policy: str | None = None


class PodDisruptionBudgetStatus(View, frozen=True):
    """How many pods may go. *disrupted_pods*: names of evicted pods -> when, RFC 3339 text."""

    observed_generation: int = 0
    disrupted_pods: dict[str, str] = {}
    disruptions_allowed: int = 0
    current_healthy: int = 0
    desired_healthy: int = 0
    expected_pods: int = 0
    conditions: tuple[Condition, ...] = ()


class PodDisruptionBudget(Object, frozen=True):
    """policy/v1 PodDisruptionBudget."""

    RESOURCE = Resource(
        group="policy", version="v1", plural="poddisruptionbudgets", kind="PodDisruptionBudget"
    )

    spec: PodDisruptionBudgetSpec = PodDisruptionBudgetSpec()
    status: PodDisruptionBudgetStatus = PodDisruptionBudgetStatus()
