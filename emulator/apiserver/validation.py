"""Pure: may this object be stored? Every broken rule, in Kubernetes' own words.

Kinds without rules of their own are checked for their metadata alone.
"""

from collections.abc import Callable
from typing import Any

from podwire.emulator.apiserver import (
    validate_config,
    validate_endpoints,
    validate_meta,
    validate_pods,
    validate_services,
    validate_workloads,
)
from podwire.emulator.apiserver.field_errors import FieldError
from podwire.emulator.apiserver.fields import below
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


def _cron_job_name(value: str) -> list[str]:
    # A job's name is the cron job's with eleven characters more.
    return syntax.subdomain(value) + (
        ["must be no more than 52 characters"] if len(value) > 52 else []
    )


_NAMES: dict[str, syntax.Check] = {
    "Service": syntax.label_1035,
    "Namespace": syntax.label,
    "CronJob": _cron_job_name,
    "Role": syntax.path_segment,
    "RoleBinding": syntax.path_segment,
    "ClusterRole": syntax.path_segment,
    "ClusterRoleBinding": syntax.path_segment,
}

_RULES: dict[tuple[str, str], _Rules] = {
    ("v1", "Pod"): validate_pods.pod,
    ("v1", "Service"): validate_services.service,
    ("v1", "Endpoints"): validate_endpoints.endpoints,
    ("discovery.k8s.io/v1", "EndpointSlice"): validate_endpoints.endpoint_slice,
    ("v1", "ConfigMap"): validate_config.config_map,
    ("v1", "Secret"): validate_config.secret,
    ("v1", "Namespace"): validate_config.namespace,
    ("v1", "Node"): validate_config.node,
    ("networking.k8s.io/v1", "NetworkPolicy"): validate_config.network_policy,
    ("networking.k8s.io/v1", "Ingress"): validate_config.ingress,
    ("apps/v1", "Deployment"): validate_workloads.deployment,
    ("apps/v1", "ReplicaSet"): validate_workloads.replica_set,
    ("apps/v1", "DaemonSet"): validate_workloads.daemon_set,
    ("apps/v1", "StatefulSet"): validate_workloads.stateful_set,
    ("batch/v1", "Job"): validate_workloads.job,
    ("batch/v1", "CronJob"): validate_workloads.cron_job,
    ("autoscaling/v1", "HorizontalPodAutoscaler"): validate_workloads.autoscaler,
    ("autoscaling/v2", "HorizontalPodAutoscaler"): validate_workloads.autoscaler,
}
