"""Pure: rules for services, endpoints and endpoint slices.

Ranges and free node ports are the allocator's matter.
Source: pkg/apis/core/validation and pkg/apis/discovery/validation of Kubernetes 1.32.
"""

import ipaddress
from collections.abc import Iterable
from typing import Any

from podwire.emulator.apiserver import syntax
from podwire.emulator.apiserver.field_errors import (
    FieldError,
    Unquoted,
    duplicate,
    forbidden,
    go_list,
    invalid,
    not_supported,
    quoted,
    required,
    too_many,
)
from podwire.emulator.apiserver.tree import below, many
from podwire.emulator.apiserver.validate_meta import Json, check, labels

PROTOCOLS = ("SCTP", "TCP", "UDP")
_TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
_ONCE = "may not change once set"
_MAX_STICKY_SECONDS = 86400
_FAMILIES = {"IPv4": 4, "IPv6": 6}


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
    if kind == "ExternalName":
        problems += _external_name(spec)
    names: set[str] = set()
    for index, port in enumerate(ports):
        problems += _service_port(f"spec.ports[{index}]", port, names, alone=len(ports) == 1)
    problems += labels("spec.selector", spec.get("selector"))
    problems += _affinity(spec)
    problems += _cluster_ips(spec)
    for index, address in enumerate(many(spec, "externalIPs")):
        problems += _address(f"spec.externalIPs[{index}]", address)
    if not kind:
        problems.append(required("spec.type"))
    elif kind not in _TYPES:
        problems.append(not_supported("spec.type", kind, _TYPES))
    problems += _unique_ports(kind, ports)
    problems += _load_balancer(spec)
    problems += _policies(spec)
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


def protocol(field: str, value: str) -> list[FieldError]:
    """Check a transport protocol."""
    if not value:
        return [required(field)]
    return [] if value in PROTOCOLS else [not_supported(field, value, PROTOCOLS)]


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
        if family not in _FAMILIES:
            problems.append(not_supported(f"spec.ipFamilies[{index}]", family, _FAMILIES))
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


def _address(field: str, value: str) -> list[FieldError]:
    """Check an address that traffic may be sent to."""
    problems = check(field, value, syntax.address)
    if problems:
        return problems
    address = ipaddress.ip_address(value)
    if address.is_unspecified:
        return [invalid(field, value, f"may not be unspecified ({value})")]
    if address.is_loopback:
        message = "may not be in the loopback range (127.0.0.0/8, ::1/128)"
        return [invalid(field, value, message)]
    if address.is_link_local:
        message = "may not be in the link-local range (169.254.0.0/16, fe80::/10)"
        return [invalid(field, value, message)]
    if address.is_multicast and value.startswith(("224.0.0.", "ff02")):
        message = "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"
        return [invalid(field, value, message)]
    return []


def endpoints(obj: Json, old: Json | None) -> list[FieldError]:
    """Check an Endpoints object."""
    del old
    problems: list[FieldError] = []
    for index, subset in enumerate(many(obj, "subsets")):
        field = f"subsets[{index}]"
        if not subset.get("addresses") and not subset.get("notReadyAddresses"):
            message = "must specify `addresses` or `notReadyAddresses`"
            problems.append(required(field, message))
        for name in ("addresses", "notReadyAddresses"):
            for at, address in enumerate(subset.get(name) or ()):
                inner = f"{field}.{name}[{at}]"
                problems += _address(f"{inner}.ip", address.get("ip", ""))
                if address.get("hostname"):
                    problems += check(f"{inner}.hostname", address["hostname"], syntax.label)
        ports: list[Json] = many(subset, "ports")
        for at, port in enumerate(ports):
            problems += _endpoint_port(f"{field}.ports[{at}]", port, alone=len(ports) == 1)
    return problems


def _endpoint_port(field: str, port: Json, *, alone: bool) -> list[FieldError]:
    problems: list[FieldError] = []
    name, number = port.get("name", ""), port.get("port", 0)
    if not name and not alone:
        problems.append(required(f"{field}.name"))
    elif name:
        problems += check(f"{field}.name", name, syntax.label)
    problems += [invalid(f"{field}.port", number, m) for m in syntax.port_number(number)]
    return problems + protocol(f"{field}.protocol", port.get("protocol", ""))


def endpoint_slice(obj: Json, old: Json | None) -> list[FieldError]:
    """Check an EndpointSlice."""
    kind = obj.get("addressType", "")
    kinds = ("FQDN", "IPv4", "IPv6")
    problems: list[FieldError] = []
    if not kind:
        problems.append(required("addressType"))
    elif kind not in kinds:
        problems.append(not_supported("addressType", kind, kinds))
    if old is not None and old.get("addressType") != kind:
        problems.append(invalid("addressType", kind, "field is immutable"))
    members: list[Json] = many(obj, "endpoints")
    if len(members) > 1000:
        return [*problems, too_many("endpoints", len(members), 1000)]
    for index, endpoint in enumerate(members):
        problems += _slice_endpoint(f"endpoints[{index}]", endpoint, kind)
    return problems + _slice_ports(many(obj, "ports"))


def _slice_endpoint(field: str, endpoint: Json, kind: str) -> list[FieldError]:
    addresses: list[str] = many(endpoint, "addresses")
    problems: list[FieldError] = []
    if not addresses:
        problems.append(required(f"{field}.addresses", "must contain at least 1 address"))
    elif len(addresses) > 100:
        problems.append(too_many(f"{field}.addresses", len(addresses), 100))
    for index, address in enumerate(addresses):
        problems += _slice_address(f"{field}.addresses[{index}]", address, kind)
    if endpoint.get("hostname"):
        problems += check(f"{field}.hostname", endpoint["hostname"], syntax.label)
    if endpoint.get("nodeName"):
        problems += check(f"{field}.nodeName", endpoint["nodeName"], syntax.subdomain)
    return problems


def _slice_address(field: str, address: str, kind: str) -> list[FieldError]:
    if kind == "FQDN":
        return check(field, address, syntax.subdomain)
    if kind not in _FAMILIES:
        return []
    try:
        right = ipaddress.ip_address(address).version == _FAMILIES[kind]
    except ValueError:
        right = False
    return (
        _address(field, address)
        if right
        else [invalid(field, address, f"must be a valid {kind} address")]
    )


def _slice_ports(ports: list[Json]) -> list[FieldError]:
    problems: list[FieldError] = []
    if len(ports) > 20000:
        return [too_many("ports", len(ports), 20000)]
    names: set[str] = set()
    for index, port in enumerate(ports):
        field, name = f"ports[{index}]", port.get("name") or ""
        if name:
            problems += check(f"{field}.name", name, syntax.label)
        if name in names:
            problems.append(duplicate(f"{field}.name", name))
        names.add(name)
        problems += protocol(f"{field}.protocol", port.get("protocol") or "")
        if port.get("port") is not None:
            number = port["port"]
            problems += [invalid(f"{field}.port", number, m) for m in syntax.port_number(number)]
        if port.get("appProtocol"):
            problems += check(f"{field}.appProtocol", port["appProtocol"], syntax.qualified_name)
    return problems
