"""Pure: rules for services.

What an address, a family or a node port may be is the allocator's matter (allocate.py,
service_families.py), and comes before these. Source: pkg/apis/core/validation of Kubernetes 1.32.
"""

from collections.abc import Iterable
from typing import Any

from podwire.emulator.apiserver.admission import service_families
from podwire.emulator.apiserver.admission.field_errors import (
    FieldError,
    Unquoted,
    duplicate,
    forbidden,
    invalid,
    not_supported,
    quoted,
    required,
)
from podwire.emulator.apiserver.admission.service_types import is_headless
from podwire.emulator.apiserver.admission.validate_endpoints import protocol, reachable_address
from podwire.emulator.apiserver.admission.validate_meta import Json, check, labels
from podwire.emulator.apiserver.admission.validate_service_traffic import traffic, traffic_change
from podwire.emulator.apiserver.types.fields import below, many
from podwire.kube import syntax

_TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
_MAX_STICKY_SECONDS = 86400
_KUBELET = 10250
_KUBELET_PORT = f"may not expose port {_KUBELET} externally since it is used by kubelet"
_TOPOLOGY_MODE = "service.kubernetes.io/topology-mode"
_TOPOLOGY_HINTS = "service.kubernetes.io/topology-aware-hints"


def service(obj: Json, old: Json | None) -> list[FieldError]:
    """Check a Service."""
    spec: Json = below(obj, "spec")
    kind, ports = spec.get("type", ""), many(spec, "ports")
    headless = is_headless(spec)
    problems = _topology(below(obj, "metadata", "annotations"))
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
    problems += service_families.related(spec)
    for index, address in enumerate(many(spec, "externalIPs")):
        problems += reachable_address(f"spec.externalIPs[{index}]", address)
    if not kind:
        problems.append(required("spec.type"))
    elif kind not in _TYPES:
        problems.append(not_supported("spec.type", kind, _TYPES))
    problems += _unique_ports(kind, ports)
    problems += traffic(obj)
    if old is None:
        return problems
    before: Json = below(old, "spec")
    return [
        *service_families.changed(spec, before),
        *traffic_change(spec, before),
        *problems,
    ]


def _topology(annotations: Json) -> list[FieldError]:
    mode, hints = annotations.get(_TOPOLOGY_MODE), annotations.get(_TOPOLOGY_HINTS)
    if mode is None or hints is None or mode == hints:
        return []
    message = f"must match annotations[{_TOPOLOGY_HINTS}] when both are specified"
    return [invalid(f"metadata.annotations[{_TOPOLOGY_MODE}]", mode, message)]


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
