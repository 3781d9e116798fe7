"""Pure: rules for who may reach a Service from where: load balancers, policies, distribution.

Source: pkg/apis/core/validation of Kubernetes 1.32; the words PreferSameZone and PreferSameNode
are those of 1.34 (KEP-3015).
"""

from podwire.emulator.apiserver.admission.field_errors import (
    FieldError,
    forbidden,
    invalid,
    not_supported,
    required,
)
from podwire.emulator.apiserver.admission.service_types import (
    is_reachable_from_outside,
    load_balancer_ingress,
    needs_health_check,
)
from podwire.emulator.apiserver.admission.validate_meta import Json, check
from podwire.emulator.apiserver.types.fields import below, many
from podwire.kube import syntax

_POLICIES = ("Cluster", "Local")
_DISTRIBUTIONS = ("PreferClose", "PreferSameZone", "PreferSameNode")
_IP_MODES = ("Proxy", "VIP")
_RANGES = "service.beta.kubernetes.io/load-balancer-source-ranges"
_BALANCED_ONLY = "may only be used when `type` is 'LoadBalancer'"
_FOR_HEALTH_CHECKS = (
    "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
)


def traffic(obj: Json) -> list[FieldError]:
    """Check what a Service says of load balancers and traffic policies."""
    spec: Json = below(obj, "spec")
    problems = _source_ranges(obj, spec)
    balanced, gives = spec.get("type") == "LoadBalancer", spec.get("allocateLoadBalancerNodePorts")
    if gives is not None and not balanced:
        problems.append(forbidden("spec.allocateLoadBalancerNodePorts", _BALANCED_ONLY))
    if gives is None and balanced:
        problems.append(required("allocateLoadBalancerNodePorts"))
    problems += _class(spec)
    problems += _external_policy(spec)
    problems += _health_check(spec)
    field, inside = "spec.internalTrafficPolicy", spec.get("internalTrafficPolicy")
    if inside is None and spec.get("type") in ("ClusterIP", "NodePort", "LoadBalancer"):
        problems.append(required(field))
    elif inside is not None and inside not in _POLICIES:
        problems.append(not_supported(field, inside, _POLICIES))
    near = spec.get("trafficDistribution")
    if near is not None and near not in _DISTRIBUTIONS:
        problems.append(not_supported("spec.trafficDistribution", near, _DISTRIBUTIONS))
    return problems


def traffic_change(spec: Json, old: Json) -> list[FieldError]:
    """Check what may not change while the type stays LoadBalancer."""
    problems: list[FieldError] = []
    both = old.get("type") == spec.get("type") == "LoadBalancer"
    if both and old.get("loadBalancerClass") != spec.get("loadBalancerClass"):
        field = "spec.loadBalancerClass"
        problems.append(invalid(field, spec.get("loadBalancerClass"), "may not change once set"))
    field = "healthCheckNodePort"
    stays = needs_health_check(old) and needs_health_check(spec)
    if stays and old.get(field) != spec.get(field):
        problems.append(forbidden(f"spec.{field}", "field is immutable"))
    return problems


def status(obj: Json) -> list[FieldError]:
    """Check the status that a load balancer's controller writes."""
    entries, field = load_balancer_ingress(obj), "status.loadBalancer.ingress"
    if entries and below(obj, "spec").get("type") != "LoadBalancer":
        return [forbidden(field, "may only be used when `spec.type` is 'LoadBalancer'")]
    return [
        error
        for index, entry in enumerate(entries)
        for error in _ingress(f"{field}[{index}]", entry)
    ]


def _ingress(field: str, entry: Json) -> list[FieldError]:
    problems: list[FieldError] = []
    address, mode, name = entry.get("ip", ""), entry.get("ipMode"), entry.get("hostname", "")
    if address:
        problems += check(f"{field}.ip", address, syntax.address)
    if mode is None:
        if address:
            problems.append(required(f"{field}.ipMode", "must be specified when `ip` is set"))
    elif not address:
        message = "may not be specified when `ip` is not set"
        problems.append(forbidden(f"{field}.ipMode", message))
    elif mode not in _IP_MODES:
        problems.append(not_supported(f"{field}.ipMode", mode, _IP_MODES))
    if name:
        problems += check(f"{field}.hostname", name, syntax.subdomain)
        if not syntax.address(name):
            message = "must be a DNS name, not an IP address"
            problems.append(invalid(f"{field}.hostname", name, message))
    return problems


def _source_ranges(obj: Json, spec: Json) -> list[FieldError]:
    # Kubernetes calls the field by a capital letter here.
    field, problems = "spec.LoadBalancerSourceRanges", list[FieldError]()
    ranges: list[str] = many(spec, "loadBalancerSourceRanges")
    annotation: str | None = below(obj, "metadata", "annotations").get(_RANGES)
    fields = [f"{field}[{index}]" for index in range(len(ranges))]
    if not ranges:
        if annotation is None:
            return []
        field = f"metadata.annotations[{_RANGES}]"
        ranges = annotation.split(",") if annotation.strip() else []
        fields = [field] * len(ranges)
    if spec.get("type") != "LoadBalancer":
        problems.append(forbidden(field, _BALANCED_ONLY))
    # Spaces are taken since the days when the ranges were an annotation.
    for at, text in zip(fields, ranges, strict=True):
        problems += check(at, text.strip(), syntax.network)
    return problems


def _class(spec: Json) -> list[FieldError]:
    name, field = spec.get("loadBalancerClass"), "spec.loadBalancerClass"
    if name is None:
        return []
    if spec.get("type") != "LoadBalancer":
        return [forbidden(field, _BALANCED_ONLY)]
    return check(field, name, syntax.qualified_name)


def _external_policy(spec: Json) -> list[FieldError]:
    policy, field = spec.get("externalTrafficPolicy", ""), "spec.externalTrafficPolicy"
    if not is_reachable_from_outside(spec):
        message = "may only be set for externally-accessible services"
        return [invalid(field, policy, message)] if policy else []
    if not policy:
        return [required(field)]
    return [] if policy in _POLICIES else [not_supported(field, policy, _POLICIES)]


def _health_check(spec: Json) -> list[FieldError]:
    number, field = spec.get("healthCheckNodePort", 0), "spec.healthCheckNodePort"
    if not needs_health_check(spec):
        return [invalid(field, number, _FOR_HEALTH_CHECKS)] if number else []
    if not number:
        return [required(field)]
    return [invalid(field, number, message) for message in syntax.port_number(number)]
