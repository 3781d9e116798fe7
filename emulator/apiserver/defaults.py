"""Pure: what kube-apiserver fills into objects on every create, update and patch.

Exact enough that ``kubectl get -o yaml`` and ``kubectl diff`` show what they show on a real 1.32
server. What needs a choice (ClusterIP, node port, uid, times) is not here.
Source: the defaults.go files under pkg/apis of Kubernetes 1.32.
"""

import base64
from collections.abc import Callable
from typing import Any

from podwire.emulator.apiserver import pod_defaults
from podwire.emulator.apiserver.fields import below, many

Json = dict[str, Any]

_RBAC = "rbac.authorization.k8s.io"
_CLIENT_IP_SECONDS = 10800
_MAX_INT32 = 2**31 - 1


def default(obj: Json, api_version: str, kind: str) -> Json:
    """Return a normalised object with every default filled in; *obj* itself stays as it is."""
    fill = _FILLERS.get((api_version, kind))
    if fill is None:
        return obj
    filled: Json = _copied(obj)
    fill(filled)
    return filled


def _copied(value: Any) -> Any:
    """Copy JSON, three times as fast as copy.deepcopy."""
    if isinstance(value, dict):
        return {name: _copied(member) for name, member in value.items()}  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, list):
        return [_copied(member) for member in value]  # pyright: ignore[reportUnknownVariableType]
    return value


def _or(holder: Json, name: str, value: Any) -> None:
    """Set *name* where Go has its zero value."""
    if not holder.get(name):
        holder[name] = value


def _spec(obj: Json) -> Json:
    spec: Json = obj.setdefault("spec", {})
    return spec


def _service(obj: Json) -> None:
    spec = _spec(obj)
    _or(spec, "sessionAffinity", "None")
    if spec["sessionAffinity"] == "None":
        spec.pop("sessionAffinityConfig", None)
    elif spec["sessionAffinity"] == "ClientIP":
        client = below(spec, "sessionAffinityConfig", "clientIP")
        if client.get("timeoutSeconds") is None:
            spec["sessionAffinityConfig"] = {"clientIP": {"timeoutSeconds": _CLIENT_IP_SECONDS}}
    _or(spec, "type", "ClusterIP")
    for port in many(spec, "ports"):
        _or(port, "protocol", "TCP")
        _or(port, "targetPort", port.get("port", 0))
    kind = spec["type"]
    if (kind in ("NodePort", "LoadBalancer")) or (kind == "ClusterIP" and spec.get("externalIPs")):
        _or(spec, "externalTrafficPolicy", "Cluster")
    if kind in ("NodePort", "LoadBalancer", "ClusterIP"):
        spec.setdefault("internalTrafficPolicy", "Cluster")
    if kind == "LoadBalancer":
        spec.setdefault("allocateLoadBalancerNodePorts", True)
        for ingress in many(below(obj, "status", "loadBalancer"), "ingress"):
            if ingress.get("ip"):
                ingress.setdefault("ipMode", "VIP")


def _endpoints(obj: Json) -> None:
    for subset in many(obj, "subsets"):
        for port in many(subset, "ports"):
            _or(port, "protocol", "TCP")


def _endpoint_slice(obj: Json) -> None:
    for port in many(obj, "ports"):
        port.setdefault("name", "")
        port.setdefault("protocol", "TCP")


def _secret(obj: Json) -> None:
    _or(obj, "type", "Opaque")
    plain: dict[str, str] = obj.pop("stringData", None) or {}
    if plain:
        encoded = {name: base64.b64encode(text.encode()).decode() for name, text in plain.items()}
        obj["data"] = below(obj, "data") | encoded


def _namespace(obj: Json) -> None:
    meta: Json = obj.setdefault("metadata", {})
    if meta.get("name"):
        meta["labels"] = below(meta, "labels") | {"kubernetes.io/metadata.name": meta["name"]}
    if not meta.get("deletionTimestamp"):
        _or(obj.setdefault("status", {}), "phase", "Active")


def _node(obj: Json) -> None:
    spec, status = _spec(obj), obj.setdefault("status", {})
    if status.get("capacity") and status.get("allocatable") is None:
        status["allocatable"] = dict(status["capacity"])
    if spec.get("podCIDR") and not spec.get("podCIDRs"):
        spec["podCIDRs"] = [spec["podCIDR"]]
    elif spec.get("podCIDRs"):
        spec["podCIDR"] = spec["podCIDRs"][0]


def _replicated(obj: Json) -> None:
    spec = _spec(obj)
    spec.setdefault("replicas", 1)
    pod_defaults.template(spec)


def _controller(obj: Json) -> None:
    """Fill a ReplicationController, whose selector and labels come from its template."""
    _replicated(obj)
    labels = (below(obj["spec"], "template", "metadata")).get("labels")
    if labels:
        _or(obj["spec"], "selector", dict(labels))
        _or(obj["metadata"], "labels", dict(labels))


def _deployment(obj: Json) -> None:
    _replicated(obj)
    spec = obj["spec"]
    strategy: Json = spec.setdefault("strategy", {})
    _or(strategy, "type", "RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        rolling: Json = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxUnavailable", "25%")
        rolling.setdefault("maxSurge", "25%")
    spec.setdefault("revisionHistoryLimit", 10)
    spec.setdefault("progressDeadlineSeconds", 600)


def _daemon_set(obj: Json) -> None:
    spec = _spec(obj)
    pod_defaults.template(spec)
    strategy: Json = spec.setdefault("updateStrategy", {})
    _or(strategy, "type", "RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        rolling: Json = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxUnavailable", 1)
        rolling.setdefault("maxSurge", 0)
    spec.setdefault("revisionHistoryLimit", 10)


def _stateful_set(obj: Json) -> None:
    _replicated(obj)
    spec = obj["spec"]
    _or(spec, "podManagementPolicy", "OrderedReady")
    strategy: Json = spec.setdefault("updateStrategy", {})
    _or(strategy, "type", "RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        strategy.setdefault("rollingUpdate", {}).setdefault("partition", 0)
    retention: Json = spec.setdefault("persistentVolumeClaimRetentionPolicy", {})
    _or(retention, "whenDeleted", "Retain")
    _or(retention, "whenScaled", "Retain")
    spec.setdefault("revisionHistoryLimit", 10)
    for claim in many(spec, "volumeClaimTemplates"):
        _claim(claim)


def _job(obj: Json) -> None:
    spec = _spec(obj)
    pod_defaults.template(spec)
    if spec.get("completions") is None and spec.get("parallelism") is None:
        spec["completions"] = spec["parallelism"] = 1
    spec.setdefault("parallelism", 1)
    per_index = spec.get("backoffLimitPerIndex") is not None
    spec.setdefault("backoffLimit", _MAX_INT32 if per_index else 6)
    spec.setdefault("completionMode", "NonIndexed")
    spec.setdefault("suspend", False)
    policy: Json | None = spec.get("podFailurePolicy")
    spec.setdefault("podReplacementPolicy", "TerminatingOrFailed" if policy is None else "Failed")
    for rule in (policy or {}).get("rules") or ():
        for condition in many(rule, "onPodConditions"):
            _or(condition, "status", "True")
    _job_selector(obj)


def _job_selector(obj: Json) -> None:
    """Give a job the selector that no other job can match, unless its user chose one."""
    spec, meta = obj["spec"], obj["metadata"]
    if spec.get("manualSelector") or spec.get("selector") or not meta.get("uid"):
        return
    spec["selector"] = {"matchLabels": {"batch.kubernetes.io/controller-uid": meta["uid"]}}
    inner: Json = spec["template"].setdefault("metadata", {})
    inner["labels"] = below(inner, "labels") | {
        "batch.kubernetes.io/controller-uid": meta["uid"],
        "batch.kubernetes.io/job-name": meta.get("name", ""),
        "controller-uid": meta["uid"],
        "job-name": meta.get("name", ""),
    }


def _cron_job(obj: Json) -> None:
    spec = _spec(obj)
    _or(spec, "concurrencyPolicy", "Allow")
    spec.setdefault("suspend", False)
    spec.setdefault("successfulJobsHistoryLimit", 3)
    spec.setdefault("failedJobsHistoryLimit", 1)
    pod_defaults.template(spec.setdefault("jobTemplate", {}).setdefault("spec", {}))


def _autoscaler_v1(obj: Json) -> None:
    _spec(obj).setdefault("minReplicas", 1)


def _autoscaler_v2(obj: Json) -> None:
    spec = _spec(obj)
    spec.setdefault("minReplicas", 1)
    if not spec.get("metrics"):
        target = {"type": "Utilization", "averageUtilization": 80}
        spec["metrics"] = [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]
    behaviour: Json | None = spec.get("behavior")
    if behaviour is not None:
        quick = {"type": "Percent", "value": 100, "periodSeconds": 15}
        pods = {"type": "Pods", "value": 4, "periodSeconds": 15}
        _scaling(behaviour, "scaleUp", {"stabilizationWindowSeconds": 0}, [pods, quick])
        _scaling(behaviour, "scaleDown", {}, [quick])


def _scaling(behaviour: Json, name: str, more: Json, policies: list[Json]) -> None:
    base: Json = {**more, "selectPolicy": "Max", "policies": policies}
    behaviour[name] = base | (behaviour.get(name) or {})


def _network_policy(obj: Json) -> None:
    spec = _spec(obj)
    for rule in (*many(spec, "ingress"), *many(spec, "egress")):
        for port in many(rule, "ports"):
            port.setdefault("protocol", "TCP")
    if not spec.get("policyTypes"):
        spec["policyTypes"] = ["Ingress", *(["Egress"] if spec.get("egress") else [])]


def _claim(obj: Json) -> None:
    _or(obj.setdefault("status", {}), "phase", "Pending")
    _spec(obj).setdefault("volumeMode", "Filesystem")


def _volume(obj: Json) -> None:
    _claim(obj)
    _or(obj["spec"], "persistentVolumeReclaimPolicy", "Retain")


def _storage_class(obj: Json) -> None:
    obj.setdefault("reclaimPolicy", "Delete")
    obj.setdefault("volumeBindingMode", "Immediate")


def _role_binding(obj: Json) -> None:
    _or(obj.setdefault("roleRef", {}), "apiGroup", _RBAC)
    for subject in many(obj, "subjects"):
        if subject.get("kind") in ("User", "Group"):
            _or(subject, "apiGroup", _RBAC)


def _priority_class(obj: Json) -> None:
    obj.setdefault("preemptionPolicy", "PreemptLowerPriority")


def _custom_resource_definition(obj: Json) -> None:
    spec = _spec(obj)
    names: Json = spec.setdefault("names", {})
    _or(names, "singular", names.get("kind", "").lower())
    _or(names, "listKind", f"{names.get('kind', '')}List")
    spec.setdefault("conversion", {"strategy": "None"})


_FILLERS: dict[tuple[str, str], Callable[[Json], None]] = {
    ("v1", "Pod"): pod_defaults.pod,
    ("v1", "PodTemplate"): pod_defaults.template,
    ("v1", "Service"): _service,
    ("v1", "Endpoints"): _endpoints,
    ("v1", "Secret"): _secret,
    ("v1", "Namespace"): _namespace,
    ("v1", "Node"): _node,
    ("v1", "ReplicationController"): _controller,
    ("v1", "PersistentVolumeClaim"): _claim,
    ("v1", "PersistentVolume"): _volume,
    ("discovery.k8s.io/v1", "EndpointSlice"): _endpoint_slice,
    ("apps/v1", "ReplicaSet"): _replicated,
    ("apps/v1", "Deployment"): _deployment,
    ("apps/v1", "DaemonSet"): _daemon_set,
    ("apps/v1", "StatefulSet"): _stateful_set,
    ("batch/v1", "Job"): _job,
    ("batch/v1", "CronJob"): _cron_job,
    ("autoscaling/v1", "HorizontalPodAutoscaler"): _autoscaler_v1,
    ("autoscaling/v2", "HorizontalPodAutoscaler"): _autoscaler_v2,
    ("networking.k8s.io/v1", "NetworkPolicy"): _network_policy,
    ("storage.k8s.io/v1", "StorageClass"): _storage_class,
    (f"{_RBAC}/v1", "RoleBinding"): _role_binding,
    (f"{_RBAC}/v1", "ClusterRoleBinding"): _role_binding,
    ("scheduling.k8s.io/v1", "PriorityClass"): _priority_class,
    ("apiextensions.k8s.io/v1", "CustomResourceDefinition"): _custom_resource_definition,
}
