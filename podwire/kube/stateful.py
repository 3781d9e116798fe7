"""Typed views of StatefulSet and ControllerRevision (apps/v1)."""

from typing import Any

import msgspec

from podwire.kube.meta import Condition, LabelSelectorSpec, Object, Resource, View


class StatefulSetRollingUpdate(View, frozen=True):
    """Only so many pods, counted from the first, stay as they are."""

    partition: int = 0


class StatefulSetUpdateStrategy(View, frozen=True):
    """RollingUpdate or OnDelete."""

    type: str = "RollingUpdate"
    rolling_update: StatefulSetRollingUpdate | None = None


class StatefulSetOrdinals(View, frozen=True):
    """The number of the first pod."""

    start: int = 0


class StatefulSetSpec(View, frozen=True):
    """How many pods with a name and a place of their own, of which template."""

    replicas: int = 1
    service_name: str = ""
    selector: LabelSelectorSpec = LabelSelectorSpec()
    template: dict[str, Any] = {}
    volume_claim_templates: tuple[dict[str, Any], ...] = ()
    pod_management_policy: str = "OrderedReady"
    update_strategy: StatefulSetUpdateStrategy = StatefulSetUpdateStrategy()
    revision_history_limit: int = 10
    min_ready_seconds: int = 0
    ordinals: StatefulSetOrdinals = StatefulSetOrdinals()


class StatefulSetStatus(View, frozen=True):
    """What a StatefulSet has; the revisions are names of ControllerRevisions."""

    observed_generation: int = 0
    replicas: int = 0
    ready_replicas: int = 0
    current_replicas: int = 0
    updated_replicas: int = 0
    available_replicas: int = 0
    current_revision: str = ""
    update_revision: str = ""
    collision_count: int | None = None
    conditions: tuple[Condition, ...] = ()


class StatefulSet(Object, frozen=True):
    """apps/v1 StatefulSet."""

    RESOURCE = Resource(group="apps", version="v1", plural="statefulsets", kind="StatefulSet")

    spec: StatefulSetSpec = StatefulSetSpec()
    status: StatefulSetStatus = StatefulSetStatus()


class ControllerRevision(Object, frozen=True):
    """apps/v1 ControllerRevision: what a workload's template once was. *data* is a patch."""

    RESOURCE = Resource(
        group="apps", version="v1", plural="controllerrevisions", kind="ControllerRevision"
    )

    # Required by the API, so written even where it is 0.
    revision: int = msgspec.field(default=0)
    data: dict[str, Any] | None = None
