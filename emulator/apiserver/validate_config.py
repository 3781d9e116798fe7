"""Pure: rules for configuration, namespaces and nodes, ingresses and network policies.

Source: pkg/apis/{core,networking}/validation of Kubernetes 1.32.
"""

from podwire.emulator.apiserver import validate_meta
from podwire.emulator.apiserver.field_errors import (
    FieldError,
    forbidden,
    invalid,
    not_supported,
    required,
    too_long,
)
from podwire.emulator.apiserver.fields import below, many
from podwire.emulator.apiserver.validate_endpoints import PROTOCOLS
from podwire.emulator.apiserver.validate_meta import Json, check
from podwire.kube import syntax

_MAX_BYTES = 1024 * 1024
_NEEDED_KEYS = {
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
}


def config_map(obj: Json, old: Json | None) -> list[FieldError]:
    """Check a ConfigMap."""
    data: dict[str, str] = below(obj, "data")
    binary: dict[str, str] = below(obj, "binaryData")
    problems: list[FieldError] = []
    for key in data:
        problems += check(f"data[{key}]", key, syntax.config_key)
        if key in binary:
            message = "duplicate of key present in binaryData"
            problems.append(invalid(f"data[{key}]", key, message))
    for key in binary:
        problems += check(f"binaryData[{key}]", key, syntax.config_key)
    size = sum(len(v.encode()) for v in data.values()) + sum(
        len(v) * 3 // 4 for v in binary.values()
    )
    if size > _MAX_BYTES:
        problems.append(too_long("", _MAX_BYTES))
    return problems + _frozen(obj, old, ("data", "binaryData"))


def secret(obj: Json, old: Json | None) -> list[FieldError]:
    """Check a Secret."""
    data: dict[str, str] = below(obj, "data")
    kind: str = obj.get("type", "")
    problems: list[FieldError] = []
    for key in data:
        problems += check(f"data[{key}]", key, syntax.config_key)
    if sum(len(v) * 3 // 4 for v in data.values()) > _MAX_BYTES:
        problems.append(too_long("data", _MAX_BYTES))
    problems += [required(f"data[{k}]") for k in _NEEDED_KEYS.get(kind, ()) if k not in data]
    if kind == "kubernetes.io/basic-auth" and not {"username", "password"} & set(data):
        problems += [required("data[username]"), required("data[password]")]
    if old is not None and old.get("type") != kind:
        problems.append(invalid("type", kind, "field is immutable"))
    return problems + _frozen(obj, old, ("data",))


def _frozen(obj: Json, old: Json | None, fields: tuple[str, ...]) -> list[FieldError]:
    """Check that what was declared immutable stays as it is."""
    if old is None or not old.get("immutable"):
        return []
    message = "field is immutable when `immutable` is set"
    problems = [] if obj.get("immutable") else [forbidden("immutable", message)]
    changed = [name for name in fields if (obj.get(name) or {}) != (old.get(name) or {})]
    return problems + [forbidden(name, message) for name in changed]


def namespace(obj: Json, old: Json | None) -> list[FieldError]:
    """Check a Namespace."""
    del old
    problems: list[FieldError] = []
    for name in many(below(obj, "spec"), "finalizers"):
        wrong = check("spec.finalizers", name, syntax.qualified_name)
        if not wrong and "/" not in name and name != "kubernetes":
            message = "name is neither a standard finalizer name nor is it fully qualified"
            wrong = [invalid("spec.finalizers", name, message)]
        problems += wrong
    return problems


def node(obj: Json, old: Json | None) -> list[FieldError]:
    """Check a Node."""
    spec: Json = below(obj, "spec")
    problems: list[FieldError] = []
    for index, cidr in enumerate(many(spec, "podCIDRs")):
        problems += check(f"spec.podCIDRs[{index}]", cidr, syntax.network)
    for index, taint in enumerate(many(spec, "taints")):
        field = f"spec.taints[{index}]"
        problems += check(f"{field}.key", taint.get("key", ""), syntax.qualified_name)
        problems += check(f"{field}.value", taint.get("value", ""), syntax.label_value)
        effects = ("NoSchedule", "PreferNoSchedule", "NoExecute")
        if taint.get("effect") not in effects:
            value = taint.get("effect", "")
            problems.append(not_supported(f"{field}.effect", value, effects))
    before = many(below(old, "spec"), "podCIDRs")
    if before and before != spec.get("podCIDRs"):
        message = 'node updates may not change podCIDR except from "" to valid'
        problems.append(forbidden("spec.podCIDRs", message))
    return problems


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
            problems += check(f"{field}.ipBlock.cidr", block["cidr"], syntax.network)
    elif not peer:
        problems.append(required(field, "must specify a peer"))
    return problems


def ingress(obj: Json, old: Json | None) -> list[FieldError]:
    """Check an Ingress."""
    del old
    spec: Json = below(obj, "spec")
    problems: list[FieldError] = []
    if not spec.get("rules") and spec.get("defaultBackend") is None:
        message = "either `defaultBackend` or `rules` must be specified"
        problems.append(invalid("spec", Json(), message))
    if spec.get("defaultBackend") is not None:
        problems += _backend("spec.defaultBackend", spec["defaultBackend"])
    for index, rule in enumerate(many(spec, "rules")):
        host: str = rule.get("host", "")
        if host:
            check_host = syntax.wildcard_subdomain if "*" in host else syntax.subdomain
            problems += check(f"spec.rules[{index}].host", host, check_host)
        for at, path in enumerate(many(below(rule, "http"), "paths")):
            problems += _path(f"spec.rules[{index}].http.paths[{at}]", path)
    return problems


def _path(field: str, path: Json) -> list[FieldError]:
    words = ("Exact", "ImplementationSpecific", "Prefix")
    kind, text = path.get("pathType"), path.get("path", "")
    problems: list[FieldError] = []
    if kind is None:
        problems.append(required(f"{field}.pathType", "pathType must be specified"))
    elif kind not in words:
        problems.append(not_supported(f"{field}.pathType", kind, words))
    elif kind != "ImplementationSpecific" and not text.startswith("/"):
        problems.append(invalid(f"{field}.path", text, "must be an absolute path"))
    return problems + _backend(f"{field}.backend", below(path, "backend"))


def _backend(field: str, backend: Json) -> list[FieldError]:
    service = backend.get("service")
    if service is None:
        if backend.get("resource") is not None:
            return []
        return [required(field, "resource or service backend is required")]
    problems: list[FieldError] = []
    if not service.get("name"):
        problems.append(required(f"{field}.service.name"))
    else:
        problems += check(f"{field}.service.name", service["name"], syntax.label_1035)
    port = below(service, "port")
    if port.get("name"):
        problems += check(f"{field}.service.port.name", port["name"], syntax.port_name)
    elif not port.get("number"):
        problems.append(required(f"{field}.service.port", "port name or number is required"))
    else:
        problems += [
            invalid(f"{field}.service.port.number", port["number"], message)
            for message in syntax.port_number(port["number"])
        ]
    return problems
