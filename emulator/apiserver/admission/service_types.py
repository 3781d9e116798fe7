"""Pure: what each type of Service needs, and what an update keeps of the Service before it.

Source: pkg/registry/core/service (patchAllocatedValues, normalizeClusterIPs,
dropTypeDependentFields) of Kubernetes 1.32.
"""

from typing import Any

from podwire.emulator.apiserver.types.fields import many, struct

Json = dict[str, Any]

_NODE_PORT_TYPES = ("NodePort", "LoadBalancer")


def needs_address(spec: Json) -> bool:
    """Tell whether the Service has a ClusterIP, of which "None" is one."""
    return bool(spec.get("type", "ClusterIP") != "ExternalName")


def needs_node_ports(spec: Json) -> bool:
    """Tell whether the type knows node ports at all."""
    return spec.get("type") in _NODE_PORT_TYPES


def gives_node_ports(spec: Json) -> bool:
    """Tell whether ports that name no node port are given one."""
    wants = spec.get("allocateLoadBalancerNodePorts") is not False
    return needs_node_ports(spec) and (spec.get("type") != "LoadBalancer" or wants)


def needs_health_check(spec: Json) -> bool:
    """Tell whether a load balancer has to ask each node for endpoints (KEP-27)."""
    return bool(spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local")


def is_reachable_from_outside(spec: Json) -> bool:
    """Tell whether externalTrafficPolicy has a meaning for the Service."""
    external = spec.get("type", "ClusterIP") == "ClusterIP" and bool(spec.get("externalIPs"))
    return needs_node_ports(spec) or external


def is_headless(spec: Json) -> bool:
    """Tell whether the Service wants no address."""
    return many(spec, "clusterIPs") == ["None"]


def node_ports(spec: Json) -> list[int]:
    """Return the node ports of the Service's ports, without that of the health check."""
    return [port["nodePort"] for port in many(spec, "ports") if port.get("nodePort")]


def inherit(spec: Json, old: Json) -> None:
    """Keep what was given to the Service before and is not named in an update of *spec*."""
    if needs_address(spec) and needs_address(old):
        if not spec.get("clusterIP") and old.get("clusterIP"):
            spec["clusterIP"] = old["clusterIP"]
        if not spec.get("clusterIPs") and old.get("clusterIPs"):
            spec["clusterIPs"] = old["clusterIPs"]
    if needs_node_ports(spec) and needs_node_ports(old):
        _inherit_node_ports(spec, old)
    if needs_health_check(spec) and needs_health_check(old) and not spec.get("healthCheckNodePort"):
        _copy(spec, old, "healthCheckNodePort")


def agree(spec: Json, old: Json | None) -> None:
    """Make clusterIPs follow clusterIP where a client knows the latter alone."""
    address: str = spec.get("clusterIP", "")
    if old is None:
        if address and not spec.get("clusterIPs"):
            spec["clusterIPs"] = [address]
    elif spec.get("clusterIPs") == old.get("clusterIPs") and address != old.get("clusterIP", ""):
        if address:
            spec["clusterIPs"] = [address]
        else:
            _drop(spec, "clusterIPs")


def drop_unused(obj: Json, old: Json) -> None:
    """Take away what only the old type needed, unless the update changed it on purpose.

    *obj* and *old* are whole Services: what a load balancer reported goes with the type.
    """
    now, before = struct(obj, "spec"), struct(old, "spec")
    if needs_address(before) and not needs_address(now):
        addresses = ("clusterIP", "clusterIPs")
        if all(now.get(name) == before.get(name) for name in addresses):
            _drop(now, *addresses)
        _drop_same(now, before, "ipFamilies")
        _drop_same(now, before, "ipFamilyPolicy")
    shrunk = set(node_ports(now)) <= set(node_ports(before))
    if needs_node_ports(before) and not needs_node_ports(now) and shrunk:
        for port in many(now, "ports"):
            _drop(port, "nodePort")
    if needs_health_check(before) and not needs_health_check(now):
        _drop_same(now, before, "healthCheckNodePort")
    if before.get("type") == "LoadBalancer" != now.get("type"):
        _drop_same(now, before, "allocateLoadBalancerNodePorts")
        _drop_same(now, before, "loadBalancerClass")
    if is_reachable_from_outside(before) and not is_reachable_from_outside(now):
        _drop_same(now, before, "externalTrafficPolicy")
    if now.get("type") != "LoadBalancer" and load_balancer_ingress(obj):
        obj["status"] = {**obj["status"], "loadBalancer": {}}


def load_balancer_ingress(obj: Json) -> list[Json]:
    """Return what load balancers reported of a Service: status.loadBalancer.ingress."""
    return many(struct(struct(obj, "status"), "loadBalancer"), "ingress")


def _inherit_node_ports(spec: Json, old: Json) -> None:
    # A port is known by its name: whatever else of it changes, it keeps its number.
    known = {port.get("name", ""): port.get("nodePort") for port in many(old, "ports")}
    elsewhere = set(node_ports(spec)) & set(node_ports(old))
    for port in many(spec, "ports"):
        before = known.get(port.get("name", ""))
        if before and not port.get("nodePort") and before not in elsewhere:
            port["nodePort"] = before


def _copy(spec: Json, old: Json, name: str) -> None:
    if name in old:
        spec[name] = old[name]


def _drop(spec: Json, *names: str) -> None:
    for name in names:
        spec.pop(name, None)


def _drop_same(spec: Json, old: Json, name: str) -> None:
    if spec.get(name) == old.get(name):
        spec.pop(name, None)
