"""Typed views of ReplicaSet, Deployment and DaemonSet (apps/v1).

Pod templates stay whole (plain JSON values): pods are copies of them, and a typed view would drop
what it does not know.
"""

from typing import Any

import msgspec

from podwire.kube.meta import Condition, IntOrString, LabelSelectorSpec, Object, Resource, View


class ReplicaSetSpec(View, frozen=True):
    """How many pods of which template."""

    replicas: int = 1
    min_ready_seconds: int = 0
    selector: LabelSelectorSpec = LabelSelectorSpec()
    template: dict[str, Any] = {}


class ReplicaSetStatus(View, frozen=True):
    """Counts of pods."""

    replicas: int = 0
    fully_labeled_replicas: int = 0
    ready_replicas: int = 0
    available_replicas: int = 0
    observed_generation: int = 0
    conditions: tuple[Condition, ...] = ()


class ReplicaSet(Object, frozen=True):
    """apps/v1 ReplicaSet."""

    RESOURCE = Resource(group="apps", version="v1", plural="replicasets", kind="ReplicaSet")

    spec: ReplicaSetSpec = ReplicaSetSpec()
    status: ReplicaSetStatus = ReplicaSetStatus()


class RollingUpdate(View, frozen=True):
    """How far an update may stray from the wanted number: a count or a percentage."""

    max_unavailable: IntOrString | None = None
    max_surge: IntOrString | None = None


class UpdateStrategy(View, frozen=True):
    """RollingUpdate, Recreate or OnDelete."""

    type: str = "RollingUpdate"
    rolling_update: RollingUpdate | None = None


class DeploymentSpec(View, frozen=True):
    """What a Deployment wants."""

    replicas: int = 1
    min_ready_seconds: int = 0
    selector: LabelSelectorSpec = LabelSelectorSpec()
    template: dict[str, Any] = {}
    strategy: UpdateStrategy = UpdateStrategy()
    revision_history_limit: int = 10
    progress_deadline_seconds: int = 600
    paused: bool = False


class DeploymentStatus(View, frozen=True):
    """What a Deployment has."""

    observed_generation: int = 0
    replicas: int = 0
    updated_replicas: int = 0
    ready_replicas: int = 0
    available_replicas: int = 0
    unavailable_replicas: int = 0
    collision_count: int | None = None
    conditions: tuple[Condition, ...] = ()


class Deployment(Object, frozen=True):
    """apps/v1 Deployment."""

    RESOURCE = Resource(group="apps", version="v1", plural="deployments", kind="Deployment")

    spec: DeploymentSpec = DeploymentSpec()
    status: DeploymentStatus = DeploymentStatus()


class DaemonSetSpec(View, frozen=True):
    """A pod on each node that fits."""

    selector: LabelSelectorSpec = LabelSelectorSpec()
    template: dict[str, Any] = {}
    update_strategy: UpdateStrategy = UpdateStrategy()
    min_ready_seconds: int = 0
    revision_history_limit: int = 10


class DaemonSetStatus(View, frozen=True):
    """What a DaemonSet has."""

    current_number_scheduled: int = msgspec.field(default=0)
    number_misscheduled: int = 0
    desired_number_scheduled: int = 0
    number_ready: int = 0
    observed_generation: int = 0
    updated_number_scheduled: int = 0
    number_available: int = 0
    number_unavailable: int = 0
    collision_count: int | None = None


class DaemonSet(Object, frozen=True):
    """apps/v1 DaemonSet."""

    RESOURCE = Resource(group="apps", version="v1", plural="daemonsets", kind="DaemonSet")

    spec: DaemonSetSpec = DaemonSetSpec()
    status: DaemonSetStatus = DaemonSetStatus()
