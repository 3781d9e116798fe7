"""Pure: rules for Ingresses, IngressClasses and NetworkPolicies.

Source: pkg/apis/networking/validation of Kubernetes 1.32.
"""

import ipaddress
import re

from podwire.emulator.apiserver.admission import validate_meta
from podwire.emulator.apiserver.admission.field_errors import (
    FieldError,
    Unquoted,
    forbidden,
    invalid,
    not_supported,
    required,
    too_long,
)
from podwire.emulator.apiserver.admission.validate_endpoints import PROTOCOLS
from podwire.emulator.apiserver.admission.validate_meta import Json, check
from podwire.emulator.apiserver.types.fields import below, many
from podwire.kube import syntax

_OLD_CLASS = "kubernetes.io/ingress.class"
_NEVER_IN_PATHS = ("//", "/./", "/../", "%2f", "%2F")
_NEVER_AT_END = ("/..", "/.")
_MAX_CONTROLLER = 250
_PATH = re.compile(r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+")


def network_policy(obj: Json, old: Json | None) -> list[FieldError]:
    """Check a NetworkPolicy."""
    del old
    spec: Json = below(obj, "spec")
    problems = validate_meta.selector("spec.podSelector", spec.get("podSelector"))
    for direction, side in (("ingress", "from"), ("egress", "to")):
        for index, rule in enumerate(many(spec, direction)):
            field = f"spec.{direction}[{index}]"
            for at, port in enumerate(many(rule, "ports")):
                problems += _policy_port(f"{field}.ports[{at}]", port)
            for at, peer in enumerate(many(rule, side)):
                problems += _policy_peer(f"{field}.{side}[{at}]", peer)
    words = ("Egress", "Ingress")
    for index, kind in enumerate(many(spec, "policyTypes")):
        if kind not in words:
            problems.append(not_supported(f"spec.policyTypes[{index}]", kind, words))
    return problems


def _policy_port(field: str, port: Json) -> list[FieldError]:
    problems: list[FieldError] = []
    if port.get("protocol") and port["protocol"] not in PROTOCOLS:
        problems.append(not_supported(f"{field}.protocol", port["protocol"], PROTOCOLS))
    value, end = port.get("port"), port.get("endPort")
    if value is not None:
        problems += [invalid(f"{field}.port", value, m) for m in syntax.port(value)]
    if end is not None and value is None:
        problems.append(required(f"{field}.port", "must be specified when `endPort` is specified"))
    elif end is not None and isinstance(value, int) and end < value:
        message = "must be greater than or equal to `port`"
        problems.append(invalid(f"{field}.endPort", end, message))
    return problems


def _policy_peer(field: str, peer: Json) -> list[FieldError]:
    problems: list[FieldError] = []
    for name in ("podSelector", "namespaceSelector"):
        problems += validate_meta.selector(f"{field}.{name}", peer.get(name))
    block: Json | None = peer.get("ipBlock")
    if block is not None:
        if "podSelector" in peer or "namespaceSelector" in peer:
            message = "may not specify both ipBlock and another peer"
            problems.append(forbidden(field, message))
        if not block.get("cidr"):
            problems.append(required(f"{field}.ipBlock.cidr"))
        else:
            problems += _block(f"{field}.ipBlock", block["cidr"], many(block, "except"))
    elif not peer:
        problems.append(required(field, "must specify a peer"))
    return problems


def _block(field: str, cidr: str, holes: list[str]) -> list[FieldError]:
    problems = check(f"{field}.cidr", cidr, syntax.network)
    if problems:
        return problems
    whole = ipaddress.ip_network(cidr, strict=False)
    for index, hole in enumerate(holes):
        at = f"{field}.except[{index}]"
        wrong = check(at, hole, syntax.network)
        problems += wrong
        if wrong:
            continue
        part = ipaddress.ip_network(hole, strict=False)
        inside = part.version == whole.version and part.network_address in whole
        if not inside or part.prefixlen <= whole.prefixlen:
            problems.append(invalid(at, hole, "must be a strict subset of `cidr`"))
    return problems


def ingress(obj: Json, old: Json | None) -> list[FieldError]:
    """Check an Ingress."""
    spec: Json = below(obj, "spec")
    problems: list[FieldError] = []
    rules = many(spec, "rules")
    if not rules and spec.get("defaultBackend") is None:
        message = "either `defaultBackend` or `rules` must be specified"
        problems.append(invalid("spec", Unquoted("[]networking.IngressRule(nil)"), message))
    if spec.get("defaultBackend") is not None:
        problems += _backend("spec.defaultBackend", spec["defaultBackend"])
    for index, rule in enumerate(rules):
        problems += _rule(f"spec.rules[{index}]", rule)
    for index, tls in enumerate(many(spec, "tls")):
        field = f"spec.tls[{index}]"
        for at, host in enumerate(many(tls, "hosts")):
            problems += _host(f"{field}.hosts[{at}]", host)
        if tls.get("secretName"):
            problems += check(f"{field}.secretName", tls["secretName"], syntax.subdomain)
    chosen = spec.get("ingressClassName")
    if chosen is not None:
        problems += check("spec.ingressClassName", chosen, syntax.subdomain)
    note = below(obj, "metadata", "annotations").get(_OLD_CLASS)
    if old is None and note is not None and chosen is not None and note != chosen:
        message = "must match `ingressClassName` when both are specified"
        problems.append(invalid(f"annotations.{_OLD_CLASS}", note, message))
    return problems


def _rule(field: str, rule: Json) -> list[FieldError]:
    problems: list[FieldError] = []
    host: str = rule.get("host", "")
    if host:
        if not syntax.address(host):
            message = "must be a DNS name, not an IP address"
            problems.append(invalid(f"{field}.host", host, message))
        problems += _host(f"{field}.host", host)
    http = rule.get("http")
    if http is not None and not many(http, "paths"):
        problems.append(required(f"{field}.http.paths"))
    for index, path in enumerate(many(http, "paths")):
        problems += _path(f"{field}.http.paths[{index}]", path)
    return problems


def _host(field: str, host: str) -> list[FieldError]:
    return check(field, host, syntax.wildcard_subdomain if "*" in host else syntax.subdomain)


def _path(field: str, path: Json) -> list[FieldError]:
    words = ("Exact", "ImplementationSpecific", "Prefix")
    kind, text = path.get("pathType"), path.get("path", "")
    problems: list[FieldError] = []
    if kind is None:
        return [required(f"{field}.pathType", "pathType must be specified")]
    if kind not in words:
        problems.append(not_supported(f"{field}.pathType", kind, words))
    elif not text.startswith("/") and (text or kind != "ImplementationSpecific"):
        problems.append(invalid(f"{field}.path", text, "must be an absolute path"))
    if kind in ("Exact", "Prefix"):
        problems += [
            invalid(f"{field}.path", text, f"must not contain '{part}'")
            for part in _NEVER_IN_PATHS
            if part in text
        ]
        problems += [
            invalid(f"{field}.path", text, f"cannot end with '{part}'")
            for part in _NEVER_AT_END
            if text.endswith(part)
        ]
    return problems + _backend(f"{field}.backend", below(path, "backend"))


def _backend(field: str, backend: Json) -> list[FieldError]:
    service, resource = backend.get("service"), backend.get("resource")
    if service is not None and resource is not None:
        return [invalid(field, "", "cannot set both resource and service backends")]
    if resource is not None:
        return _reference(f"{field}.resource", resource)
    if service is None:
        return [invalid(field, "", "resource or service backend is required")]
    problems: list[FieldError] = []
    if not service.get("name"):
        problems.append(required(f"{field}.service.name"))
    else:
        problems += check(f"{field}.service.name", service["name"], syntax.label_1035)
    port = below(service, "port")
    name, number = port.get("name"), port.get("number")
    if name and number:
        problems.append(invalid(field, "", "cannot set both port name & port number"))
    elif name:
        problems += check(f"{field}.service.port.name", name, syntax.port_name)
    elif not number:
        problems.append(required(field, "port name or number is required"))
    else:
        problems += [
            invalid(f"{field}.service.port.number", number, message)
            for message in syntax.port_number(number)
        ]
    return problems


def _reference(field: str, reference: Json) -> list[FieldError]:
    problems: list[FieldError] = []
    if reference.get("apiGroup") is not None:
        problems += check(f"{field}.apiGroup", reference["apiGroup"], syntax.subdomain)
    for name in ("kind", "name"):
        if not reference.get(name):
            problems.append(required(f"{field}.{name}", f"{name} is required"))
        else:
            problems += check(f"{field}.{name}", reference[name], syntax.path_segment)
    return problems


def ingress_class(obj: Json, old: Json | None) -> list[FieldError]:
    """Check an IngressClass."""
    spec = below(obj, "spec")
    field, controller = "spec.controller", spec.get("controller", "")
    problems: list[FieldError] = []
    if old is not None and controller != below(old, "spec").get("controller", ""):
        problems.append(invalid(field, controller, "field is immutable"))
    if len(controller) > _MAX_CONTROLLER:
        problems.append(too_long(field, _MAX_CONTROLLER))
    problems += _domain_path(field, controller)
    parameters: Json | None = spec.get("parameters")
    if parameters is not None:
        problems += _parameters("spec.parameters", parameters)
    return problems


def _parameters(field: str, parameters: Json) -> list[FieldError]:
    problems = _reference(field, parameters)
    scope, namespace = parameters.get("scope"), parameters.get("namespace")
    if scope not in ("Cluster", "Namespace"):
        problems.append(not_supported(f"{field}.scope", scope, ("Cluster", "Namespace")))
    elif scope == "Namespace" and namespace is None:
        message = "`parameters.scope` is set to 'Namespace'"
        problems.append(required(f"{field}.namespace", message))
    elif scope == "Namespace":
        problems += check(f"{field}.namespace", str(namespace), syntax.label)
    elif namespace is not None:
        message = "`parameters.scope` is set to 'Cluster'"
        problems.append(forbidden(f"{field}.namespace", message))
    return problems


def _domain_path(field: str, value: str) -> list[FieldError]:
    """Check `example.com/path`."""
    if not value:
        return [required(field)]
    host, slash, path = value.partition("/")
    if not slash or not host or not path:
        message = 'must be a domain-prefixed path (such as "acme.io/foo")'
        return [invalid(field, value, message)]
    problems = check(field, host, syntax.subdomain)
    if not _PATH.fullmatch(path):
        message = "Invalid path (regex used for validation is '[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+')"
        problems.append(invalid(field, path, message))
    return problems
