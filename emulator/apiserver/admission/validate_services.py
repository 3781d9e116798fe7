"""Pure: rules for services.

Ranges and free node ports are the allocator's matter.
Source: pkg/apis/core/validation of Kubernetes 1.32.
"""

from collections.abc import Iterable
from typing import Any

from podwire.emulator.apiserver.admission.field_errors import (
    FieldError,
    Unquoted,
    duplicate,
    forbidden,
    go_list,
    invalid,
    not_supported,
    quoted,
    required,
)
from podwire.emulator.apiserver.admission.validate_endpoints import (
    FAMILIES,
    protocol,
    reachable_address,
)
from podwire.emulator.apiserver.admission.validate_meta import Json, check, labels
from podwire.emulator.apiserver.types.fields import below, many
from podwire.kube import syntax

_TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
_ONCE = "may not change once set"
_MAX_STICKY_SECONDS = 86400
_KUBELET = 10250
_KUBELET_PORT = f"may not expose port {_KUBELET} externally since it is used by kubelet"


def service(obj: Json, old: Json | None) -> list[FieldError]:
    """Check a Service."""
    spec: Json = below(obj, "spec")
    kind, ports = spec.get("type", ""), many(spec, "ports")
    headless = _is_headless(spec)
    problems: list[FieldError] = []
    if not ports and not headless and kind != "ExternalName":
        problems.append(required("spec.ports"))
    if kind in ("NodePort", "LoadBalancer") and headless:
        message = f"may not be set to 'None' for {kind} services"
        problems.append(invalid("spec.clusterIPs[0]", "None", message))
    if kind == "LoadBalancer":
        problems += [
            invalid(f"spec.ports[{index}]", _KUBELET, _KUBELET_PORT)
            for index, port in enumerate(ports)
            if port.get("port") == _KUBELET
        ]
    if kind == "ExternalName":
        problems += _external_name(spec)
    names: set[str] = set()
    for index, port in enumerate(ports):
        problems += _service_port(f"spec.ports[{index}]", port, names, alone=len(ports) == 1)
    problems += labels("spec.selector", spec.get("selector"))
    problems += _affinity(spec)
    problems += _cluster_ips(spec)
    for index, address in enumerate(many(spec, "externalIPs")):
        problems += reachable_address(f"spec.externalIPs[{index}]", address)
    if not kind:
        problems.append(required("spec.type"))
    elif kind not in _TYPES:
        problems.append(not_supported("spec.type", kind, _TYPES))
    problems += _unique_ports(kind, ports)
    problems += _load_balancer(spec)
    problems += _policies(spec)
    problems += _families(spec)
    return problems if old is None else problems + _service_change(spec, below(old, "spec"))


def _is_headless(spec: Json) -> bool:
    return bool(spec.get("clusterIP") == "None" or (spec.get("clusterIPs") or [""])[0] == "None")


def _external_name(spec: Json) -> list[FieldError]:
    problems = [
        forbidden(f"spec.{name}", "may not be set for ExternalName services")
        for name in ("clusterIPs", "ipFamilies", "ipFamilyPolicy")
        if spec.get(name)
    ]
    # A trailing dot makes the name absolute.
    target = spec.get("externalName", "").removesuffix(".")
    if not target:
        return [*problems, required("spec.externalName")]
    return problems + check("spec.externalName", target, syntax.subdomain)


def _service_port(field: str, port: Json, names: set[str], *, alone: bool) -> list[FieldError]:
    problems: list[FieldError] = []
    name = port.get("name", "")
    if not name and not alone:
        problems.append(required(f"{field}.name"))
    elif name:
        problems += check(f"{field}.name", name, syntax.label)
        if name in names:
            problems.append(duplicate(f"{field}.name", name))
        names.add(name)
    number = port.get("port", 0)
    problems += [invalid(f"{field}.port", number, m) for m in syntax.port_number(number)]
    problems += protocol(f"{field}.protocol", port.get("protocol", ""))
    target = port.get("targetPort", 0)
    problems += [invalid(f"{field}.targetPort", target, m) for m in syntax.port(target)]
    if port.get("appProtocol"):
        problems += check(f"{field}.appProtocol", port["appProtocol"], syntax.qualified_name)
    return problems


def _affinity(spec: Json) -> list[FieldError]:
    field, config = "spec.sessionAffinity", spec.get("sessionAffinityConfig")
    match spec.get("sessionAffinity", ""):
        case "":
            return [required(field)]
        case "None" if config is not None:
            message = "must not be set when session affinity is None"
            return [forbidden("spec.sessionAffinityConfig", message)]
        case "None":
            return []
        case "ClientIP":
            seconds = below(config, "clientIP").get("timeoutSeconds", 0)
            if 0 < seconds <= _MAX_STICKY_SECONDS:
                return []
            path = "spec.sessionAffinityConfig.clientIP.timeoutSeconds"
            message = f"must be greater than 0 and less than {_MAX_STICKY_SECONDS}"
            return [invalid(path, seconds, message)]
        case other:
            return [not_supported(field, other, ("ClientIP", "None"))]


def _cluster_ips(spec: Json) -> list[FieldError]:
    if spec.get("type") == "ExternalName":
        return []
    addresses: list[str] = many(spec, "clusterIPs")
    first = spec.get("clusterIP", "")
    problems: list[FieldError] = []
    if addresses and addresses[0] != first:
        shown = Unquoted(go_list(addresses))
        problems.append(invalid("spec.clusterIPs", shown, "first value must match `clusterIP`"))
    for index, address in enumerate(addresses):
        if address != "None":
            problems += check(f"spec.clusterIPs[{index}]", address, syntax.address)
    if "None" in addresses and len(addresses) > 1:
        message = "'None' must be the first and only value"
        problems.append(invalid("spec.clusterIPs", Unquoted(go_list(addresses)), message))
    for index, family in enumerate(many(spec, "ipFamilies")):
        if family not in FAMILIES:
            problems.append(not_supported(f"spec.ipFamilies[{index}]", family, FAMILIES))
    policy = spec.get("ipFamilyPolicy")
    policies = ("SingleStack", "PreferDualStack", "RequireDualStack")
    if policy and policy not in policies:
        problems.append(not_supported("spec.ipFamilyPolicy", policy, policies))
    return problems


def _unique_ports(kind: str, ports: list[Json]) -> list[FieldError]:
    problems: list[FieldError] = []
    if kind == "ClusterIP":
        problems += [
            forbidden(f"spec.ports[{index}].nodePort", "may not be used when `type` is 'ClusterIP'")
            for index, port in enumerate(ports)
            if port.get("nodePort")
        ]
    for index, number in _repeated((p.get("protocol"), p.get("nodePort")) for p in ports):
        problems.append(duplicate(f"spec.ports[{index}].nodePort", number))
    for index, number in _repeated((p.get("protocol"), p.get("port")) for p in ports):
        shown = (
            f'core.ServicePort{{Name:"", Protocol:{quoted(ports[index].get("protocol", ""))},'
            f" AppProtocol:(*string)(nil), Port:{number}, TargetPort:intstr.IntOrString{{Type:0,"
            ' IntVal:0, StrVal:""}, NodePort:0}'
        )
        problems.append(duplicate(f"spec.ports[{index}]", Unquoted(shown)))
    return problems


def _repeated(pairs: Iterable[tuple[Any, Any]]) -> Iterable[tuple[int, Any]]:
    seen: set[tuple[Any, Any]] = set()
    for index, pair in enumerate(pairs):
        if pair[1] and pair in seen:
            yield index, pair[1]
        seen.add(pair)


def _load_balancer(spec: Json) -> list[FieldError]:
    if spec.get("type") == "LoadBalancer":
        return [
            error
            for index, text in enumerate(many(spec, "loadBalancerSourceRanges"))
            for error in check(
                f"spec.loadBalancerSourceRanges[{index}]", text.strip(), syntax.network
            )
        ]
    return [
        forbidden(f"spec.{name}", "may only be used when `type` is 'LoadBalancer'")
        for name in (
            "loadBalancerSourceRanges",
            "allocateLoadBalancerNodePorts",
            "loadBalancerClass",
        )
        if spec.get(name) is not None and spec.get(name) != []
    ]


def _policies(spec: Json) -> list[FieldError]:
    problems: list[FieldError] = []
    kind, words = spec.get("type"), ("Cluster", "Local")
    outside = spec.get("externalTrafficPolicy", "")
    reachable = kind in ("NodePort", "LoadBalancer") or (
        kind == "ClusterIP" and bool(spec.get("externalIPs"))
    )
    field = "spec.externalTrafficPolicy"
    if outside and not reachable:
        message = "may only be set for externally-accessible services"
        problems.append(invalid(field, outside, message))
    elif reachable and outside not in words:
        problems.append(not_supported(field, outside, words) if outside else required(field))
    health = spec.get("healthCheckNodePort", 0)
    if health and not (kind == "LoadBalancer" and outside == "Local"):
        message = (
            "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
        )
        problems.append(invalid("spec.healthCheckNodePort", health, message))
    inside = spec.get("internalTrafficPolicy")
    if inside is not None and inside not in words:
        problems.append(not_supported("spec.internalTrafficPolicy", inside, words))
    if spec.get("trafficDistribution") not in (None, "PreferClose"):
        supported = ("PreferClose",)
        value = spec["trafficDistribution"]
        problems.append(not_supported("spec.trafficDistribution", value, supported))
    return problems


def _families(spec: Json) -> list[FieldError]:
    """Refuse the family of addresses that this cluster does not have."""
    problems = [
        invalid(f"spec.ipFamilies[{index}]", family, "not configured on this cluster")
        for index, family in enumerate(many(spec, "ipFamilies"))
        if family == "IPv6"
    ]
    if spec.get("ipFamilyPolicy") == "RequireDualStack":
        message = "this cluster is not configured for dual-stack services"
        problems.append(invalid("spec.ipFamilyPolicy", "RequireDualStack", message))
    return problems


def _service_change(spec: Json, old: Json) -> list[FieldError]:
    problems: list[FieldError] = []
    before, after = many(old, "clusterIPs"), many(spec, "clusterIPs")
    stays = "ExternalName" not in (old.get("type"), spec.get("type"))
    if stays and before and after and before[0] != after[0]:
        problems.append(invalid("spec.clusterIPs[0]", Unquoted(go_list(after)), _ONCE))
    both = old.get("type") == spec.get("type") == "LoadBalancer"
    if both and old.get("loadBalancerClass") != spec.get("loadBalancerClass"):
        problems.append(invalid("spec.loadBalancerClass", spec.get("loadBalancerClass"), _ONCE))
    return problems
