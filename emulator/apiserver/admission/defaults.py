"""Pure: what kube-apiserver fills into objects on every create, update and patch.

Exact enough that ``kubectl get -o yaml`` and ``kubectl diff`` show what they show on a real 1.32
server. What needs a choice (ClusterIP, node port, uid, times) is not here.
Source: the defaults.go files under pkg/apis of Kubernetes 1.32.
"""

import base64
from collections.abc import Callable
from typing import Any

from podwire.emulator.apiserver.admission import pod_defaults, workload_defaults
from podwire.emulator.apiserver.custom import crd
from podwire.emulator.apiserver.types.fields import below, fill, many, spec_of

Json = dict[str, Any]

_RBAC = "rbac.authorization.k8s.io"
_CLIENT_IP_SECONDS = 10800


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


def _service(obj: Json) -> None:
    spec = spec_of(obj)
    fill(spec, "sessionAffinity", "None")
    if spec["sessionAffinity"] == "None":
        spec.pop("sessionAffinityConfig", None)
    elif spec["sessionAffinity"] == "ClientIP":
        client = below(spec, "sessionAffinityConfig", "clientIP")
        if client.get("timeoutSeconds") is None:
            spec["sessionAffinityConfig"] = {"clientIP": {"timeoutSeconds": _CLIENT_IP_SECONDS}}
    fill(spec, "type", "ClusterIP")
    for port in many(spec, "ports"):
        fill(port, "protocol", "TCP")
        fill(port, "targetPort", port.get("port", 0))
    kind = spec["type"]
    if (kind in ("NodePort", "LoadBalancer")) or (kind == "ClusterIP" and spec.get("externalIPs")):
        fill(spec, "externalTrafficPolicy", "Cluster")
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
            fill(port, "protocol", "TCP")


def _endpoint_slice(obj: Json) -> None:
    for port in many(obj, "ports"):
        port.setdefault("name", "")
        port.setdefault("protocol", "TCP")
    for endpoint in many(obj, "endpoints"):
        # A field of v1beta1; through v1 it is silently ignored (dropTopologyOnV1).
        endpoint.pop("deprecatedTopology", None)


def _secret(obj: Json) -> None:
    fill(obj, "type", "Opaque")
    plain: dict[str, str] = obj.pop("stringData", None) or {}
    if plain:
        encoded = {name: base64.b64encode(text.encode()).decode() for name, text in plain.items()}
        obj["data"] = below(obj, "data") | encoded


def _namespace(obj: Json) -> None:
    meta: Json = obj.setdefault("metadata", {})
    if meta.get("name"):
        meta["labels"] = below(meta, "labels") | {"kubernetes.io/metadata.name": meta["name"]}
    if not meta.get("deletionTimestamp"):
        fill(obj.setdefault("status", {}), "phase", "Active")


def _node(obj: Json) -> None:
    spec, status = spec_of(obj), obj.setdefault("status", {})
    if status.get("capacity") and status.get("allocatable") is None:
        status["allocatable"] = dict(status["capacity"])
    if spec.get("podCIDR") and not spec.get("podCIDRs"):
        spec["podCIDRs"] = [spec["podCIDR"]]
    elif spec.get("podCIDRs"):
        spec["podCIDR"] = spec["podCIDRs"][0]


def _network_policy(obj: Json) -> None:
    spec = spec_of(obj)
    for rule in (*many(spec, "ingress"), *many(spec, "egress")):
        for port in many(rule, "ports"):
            port.setdefault("protocol", "TCP")
    if not spec.get("policyTypes"):
        spec["policyTypes"] = ["Ingress", *(["Egress"] if spec.get("egress") else [])]


def _ingress_class(obj: Json) -> None:
    parameters = below(obj, "spec", "parameters")
    if parameters:
        fill(parameters, "scope", "Cluster")


def _limit_range(obj: Json) -> None:
    """Derive a container's limits from each other, as SetDefaults_LimitRangeItem does."""
    for limit in many(spec_of(obj), "limits"):
        if limit.get("type") != "Container":
            continue
        limits = below(limit, "max") | below(limit, "default")
        requests = below(limit, "min") | limits | below(limit, "defaultRequest")
        if limits:
            limit["default"] = limits
        if requests:
            limit["defaultRequest"] = requests


def _volume(obj: Json) -> None:
    workload_defaults.claim(obj)
    fill(obj["spec"], "persistentVolumeReclaimPolicy", "Retain")


def _storage_class(obj: Json) -> None:
    obj.setdefault("reclaimPolicy", "Delete")
    obj.setdefault("volumeBindingMode", "Immediate")


def _role_binding(obj: Json) -> None:
    fill(obj.setdefault("roleRef", {}), "apiGroup", _RBAC)
    for subject in many(obj, "subjects"):
        if subject.get("kind") in ("User", "Group"):
            fill(subject, "apiGroup", _RBAC)


def _priority_class(obj: Json) -> None:
    fill(obj, "preemptionPolicy", "PreemptLowerPriority")


_FILLERS: dict[tuple[str, str], Callable[[Json], None]] = {
    **workload_defaults.FILLERS,
    ("apiextensions.k8s.io/v1", "CustomResourceDefinition"): crd.default,
    ("v1", "Pod"): pod_defaults.pod,
    ("v1", "PodTemplate"): pod_defaults.template,
    ("v1", "Service"): _service,
    ("v1", "Endpoints"): _endpoints,
    ("v1", "Secret"): _secret,
    ("v1", "Namespace"): _namespace,
    ("v1", "Node"): _node,
    ("v1", "PersistentVolume"): _volume,
    ("discovery.k8s.io/v1", "EndpointSlice"): _endpoint_slice,
    ("networking.k8s.io/v1", "NetworkPolicy"): _network_policy,
    ("networking.k8s.io/v1", "IngressClass"): _ingress_class,
    ("v1", "LimitRange"): _limit_range,
    ("storage.k8s.io/v1", "StorageClass"): _storage_class,
    (f"{_RBAC}/v1", "RoleBinding"): _role_binding,
    (f"{_RBAC}/v1", "ClusterRoleBinding"): _role_binding,
    ("scheduling.k8s.io/v1", "PriorityClass"): _priority_class,
}
