"""Pure: rules for configuration, namespaces and nodes.

Source: pkg/apis/core/validation of Kubernetes 1.32.
"""

from podwire.emulator.apiserver.admission.field_errors import (
    FieldError,
    forbidden,
    invalid,
    not_supported,
    required,
    too_long,
)
from podwire.emulator.apiserver.admission.validate_meta import Json, check
from podwire.emulator.apiserver.types.fields import below, many
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
        len(v or "") * 3 // 4 for v in binary.values()
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
    if sum(len(v or "") * 3 // 4 for v in data.values()) > _MAX_BYTES:
        problems.append(too_long("data", _MAX_BYTES))
    problems += [required(f"data[{k}]") for k in _NEEDED_KEYS.get(kind, ()) if k not in data]
    account = "kubernetes.io/service-account.name"
    if kind == "kubernetes.io/service-account-token" and not below(
        obj, "metadata", "annotations"
    ).get(account):
        problems.append(required(f"metadata.annotations[{account}]"))
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


def event(obj: Json, old: Json | None) -> list[FieldError]:
    """Check where an Event is, as pkg/apis/core/validation/events.go does for core/v1."""
    del old
    here, there = obj["metadata"].get("namespace"), below(obj, "involvedObject").get("namespace")
    homes = ("default", "kube-system") if obj.get("eventTime") else ("default",)
    if here in homes if not there else there == here or obj.get("eventTime"):
        return []
    message = "does not match event.namespace"
    return [invalid("involvedObject.namespace", there or "", message)]


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
