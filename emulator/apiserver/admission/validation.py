"""Pure: may this object be stored? Every broken rule, in Kubernetes' own words.

Kinds without rules of their own are checked for their metadata alone.
"""

from collections.abc import Callable
from typing import Any

from podwire.emulator.apiserver.admission import (
    validate_autoscaling,
    validate_batch,
    validate_config,
    validate_endpoints,
    validate_meta,
    validate_networking,
    validate_pods,
    validate_policy,
    validate_rbac,
    validate_services,
    validate_workloads,
)
from podwire.emulator.apiserver.admission.field_errors import FieldError
from podwire.emulator.apiserver.types.fields import below
from podwire.kube import syntax

Json = dict[str, Any]
_Rules = Callable[[Json, Json | None], list[FieldError]]

__all__ = ["FieldError", "validate"]


def validate(obj: Json, api_version: str, kind: str, old: Json | None) -> list[FieldError]:
    """Return what is wrong with a defaulted object; *old* is what it replaces."""
    name_check = _NAMES.get(kind, syntax.subdomain)
    before = None if old is None else below(old, "metadata")
    problems = validate_meta.metadata(below(obj, "metadata"), name_check, before)
    rules = _RULES.get((api_version, kind))
    # An object that was stored keeps its right to be: only what changes is checked again.
    if rules is None or (old is not None and _content(old) == _content(obj)):
        return problems
    return problems + rules(obj, old)


def _content(obj: Json) -> Json:
    return {name: value for name, value in obj.items() if name not in ("metadata", "status")}


_NAMES: dict[str, syntax.Check] = {
    "Service": syntax.label_1035,
    "Namespace": syntax.label,
    "Role": syntax.path_segment,
    "RoleBinding": syntax.path_segment,
    "ClusterRole": syntax.path_segment,
    "ClusterRoleBinding": syntax.path_segment,
}


def _definition(obj: Json, old: Json | None) -> list[FieldError]:
    # Most clusters have no definitions: their rules are loaded with the first.
    from podwire.emulator.apiserver.custom import validate_definitions  # noqa: PLC0415

    return validate_definitions.definition(obj, old)


_RULES: dict[tuple[str, str], _Rules] = {
    ("apiextensions.k8s.io/v1", "CustomResourceDefinition"): _definition,
    ("v1", "Pod"): validate_pods.pod,
    ("v1", "Service"): validate_services.service,
    ("v1", "Endpoints"): validate_endpoints.endpoints,
    ("discovery.k8s.io/v1", "EndpointSlice"): validate_endpoints.endpoint_slice,
    ("v1", "ConfigMap"): validate_config.config_map,
    ("v1", "Secret"): validate_config.secret,
    ("v1", "Namespace"): validate_config.namespace,
    ("v1", "Node"): validate_config.node,
    ("v1", "Event"): validate_config.event,
    ("networking.k8s.io/v1", "NetworkPolicy"): validate_networking.network_policy,
    ("networking.k8s.io/v1", "Ingress"): validate_networking.ingress,
    ("networking.k8s.io/v1", "IngressClass"): validate_networking.ingress_class,
    ("policy/v1", "PodDisruptionBudget"): validate_policy.budget,
    ("scheduling.k8s.io/v1", "PriorityClass"): validate_policy.priority_class,
    ("coordination.k8s.io/v1", "Lease"): validate_policy.lease,
    ("v1", "ResourceQuota"): validate_policy.quota,
    ("v1", "LimitRange"): validate_policy.limit_range,
    (f"{validate_rbac.GROUP}/v1", "Role"): validate_rbac.role,
    (f"{validate_rbac.GROUP}/v1", "ClusterRole"): validate_rbac.cluster_role,
    (f"{validate_rbac.GROUP}/v1", "RoleBinding"): validate_rbac.role_binding,
    (f"{validate_rbac.GROUP}/v1", "ClusterRoleBinding"): validate_rbac.cluster_role_binding,
    ("apps/v1", "Deployment"): validate_workloads.deployment,
    ("apps/v1", "ReplicaSet"): validate_workloads.replica_set,
    ("apps/v1", "DaemonSet"): validate_workloads.daemon_set,
    ("apps/v1", "StatefulSet"): validate_workloads.stateful_set,
    ("batch/v1", "Job"): validate_batch.job,
    ("batch/v1", "CronJob"): validate_batch.cron_job,
    ("autoscaling/v1", "HorizontalPodAutoscaler"): validate_autoscaling.autoscaler,
    ("autoscaling/v2", "HorizontalPodAutoscaler"): validate_autoscaling.autoscaler,
}
