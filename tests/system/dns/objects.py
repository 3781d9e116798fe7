"""Pure: a fixture of the vector files -> what an API server lists."""

from ipaddress import ip_address
from typing import Any

Json = dict[str, Any]


def objects(fixture: Json) -> dict[str, list[Json]]:
    """Return the objects of a fixture by plural name."""
    makers = {
        "namespaces": _namespace,
        "services": _service,
        "endpointslices": _slice,
        "pods": _pod,
        "serviceimports": _import,
    }
    entries = {"endpointslices": "endpointSlices", "serviceimports": "serviceImports"}
    return {
        plural: [make(entry) for entry in fixture.get(entries.get(plural, plural), [])]
        for plural, make in makers.items()
    }


def _namespace(entry: Json) -> Json:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": _metadata(entry)}


def _service(entry: Json) -> Json:
    addresses: list[str] = entry.get("clusterIPs", [])
    # The fixture lists names of load balancers among the external addresses.
    external: list[str] = entry.get("externalIPs", [])
    ingress = [*entry.get("loadBalancerIngress", []), *(e for e in external if not _is_ip(e))]
    spec = {
        "type": entry.get("type", "ClusterIP"),
        "clusterIP": addresses[0] if addresses else "",
        "clusterIPs": addresses,
        "externalName": entry.get("externalName", ""),
        "externalIPs": [e for e in external if _is_ip(e)],
        "publishNotReadyAddresses": entry.get("publishNotReadyAddresses", False),
        "ports": entry.get("ports", []),
    }
    status = {
        "loadBalancer": {"ingress": [{"ip" if _is_ip(i) else "hostname": i} for i in ingress]}
    }
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(entry),
        "spec": spec,
        "status": status,
    }


def _slice(entry: Json) -> Json:
    metadata = _metadata(entry)
    for field, label in (
        ("service", "kubernetes.io/service-name"),
        ("multiclusterService", "multicluster.kubernetes.io/service-name"),
        ("sourceCluster", "multicluster.kubernetes.io/source-cluster"),
    ):
        if entry.get(field):
            metadata["labels"][label] = entry[field]
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": metadata,
        "addressType": entry.get("addressType", "IPv4"),
        "endpoints": [_endpoint(entry, e) for e in entry.get("endpoints", [])],
        "ports": entry.get("ports", []),
    }


def _endpoint(slice_: Json, entry: Json) -> Json:
    made: Json = {"addresses": entry["addresses"], "conditions": {}}
    if "ready" in entry:
        made["conditions"] = {"ready": entry["ready"]}
    for field in ("hostname", "zone"):
        if entry.get(field):
            made[field] = entry[field]
    if entry.get("targetPod"):
        namespace = slice_.get("namespace", "")
        made["targetRef"] = {"kind": "Pod", "name": entry["targetPod"], "namespace": namespace}
    return made


def _pod(entry: Json) -> Json:
    metadata = _metadata(entry)
    if entry.get("terminating"):
        metadata["deletionTimestamp"] = "2026-01-02T03:04:05Z"
    address = entry.get("ip", "")
    status = {
        "phase": entry.get("phase", ""),
        "podIP": address,
        "podIPs": [{"ip": address}] if address else [],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {}, "status": status}


def _import(entry: Json) -> Json:
    return {
        "apiVersion": "multicluster.x-k8s.io/v1alpha1",
        "kind": "ServiceImport",
        "metadata": _metadata(entry),
        "spec": {
            "type": entry.get("type", "ClusterSetIP"),
            "ips": entry.get("ips", []),
            "ports": entry.get("ports", []),
        },
    }


def _metadata(entry: Json) -> Json:
    made: Json = {"name": entry["name"], "labels": dict(entry.get("labels") or {})}
    if entry.get("namespace"):
        made["namespace"] = entry["namespace"]
    return made


def _is_ip(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
