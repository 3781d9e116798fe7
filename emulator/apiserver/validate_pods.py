"""Pure: rules for pods and pod templates.

Source: pkg/apis/core/validation/validation.go of Kubernetes 1.32.
"""

from collections.abc import Callable
from dataclasses import replace

from podwire.emulator.apiserver import validate_containers, validate_meta
from podwire.emulator.apiserver.field_errors import (
    FieldError,
    duplicate,
    forbidden,
    invalid,
    not_supported,
    required,
)
from podwire.emulator.apiserver.fields import below, many
from podwire.emulator.apiserver.validate_meta import Json, check
from podwire.kube import syntax

_RESTART = ("Always", "OnFailure", "Never")
_DNS = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_MAX_INT32 = 2**31 - 1
_MODE = "must be a number between 0 and 0777 (octal), both inclusive"
_MAX_NAMESERVERS = 3
_CHANGEABLE = ("activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds")
_MAY_CHANGE = (
    "pod updates may not change fields other than `spec.containers[*].image`,"
    "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations`"
    " (only additions to existing tolerations),`spec.terminationGracePeriodSeconds`"
    " (allow it to be set to 1 if it was previously negative)"
)


def pod(obj: Json, old: Json | None) -> list[FieldError]:
    """Check a Pod."""
    spec: Json = below(obj, "spec")
    if old is not None:
        return _change(spec, below(old, "spec"))
    problems = pod_spec(spec)
    if spec.get("ephemeralContainers"):
        message = "cannot be set on create"
        problems.append(forbidden("spec.ephemeralContainers", message))
    return problems


def template(
    field: str, value: Json | None, *, restart: tuple[str, ...] = ("Always",), owner: str = ""
) -> list[FieldError]:
    """Check a pod template; *owner* (``ReplicaSet``) refuses an activeDeadlineSeconds."""
    if value is None:
        return [required(field)]
    meta, spec = below(value, "metadata"), below(value, "spec")
    problems = validate_meta.labels(f"{field}.labels", meta.get("labels"))
    problems += [
        invalid(f"{field}.annotations", key, message)
        for key in below(meta, "annotations")
        for message in syntax.qualified_name(key.lower())
    ]
    problems += [replace(error, field=f"{field}.{error.field}") for error in pod_spec(spec)]
    policy = spec.get("restartPolicy", "")
    if policy in _RESTART and policy not in restart:
        problems.append(not_supported(f"{field}.spec.restartPolicy", policy, restart))
    if owner and spec.get("activeDeadlineSeconds") is not None:
        message = f"activeDeadlineSeconds in {owner} is not Supported"
        problems.append(forbidden(f"{field}.spec.activeDeadlineSeconds", message))
    return problems


def pod_spec(spec: Json) -> list[FieldError]:
    """Check what pods and templates share; fields begin with ``spec``."""
    names: set[str] = set()
    problems: list[FieldError] = []
    for index, volume in enumerate(many(spec, "volumes")):
        problems += _volume(f"spec.volumes[{index}]", volume, names)
    problems += validate_containers.containers(spec, names)
    problems += _word("spec.restartPolicy", spec.get("restartPolicy", ""), _RESTART)
    problems += _word("spec.dnsPolicy", spec.get("dnsPolicy", ""), _DNS)
    problems += _dns(spec)
    problems += validate_meta.labels("spec.nodeSelector", spec.get("nodeSelector"))
    for name, rule in _NAMES.items():
        if spec.get(name):
            problems += check(f"spec.{name}", spec[name], rule)
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None:
        problems += [
            invalid("spec.activeDeadlineSeconds", deadline, message)
            for message in syntax.in_range(deadline, 1, _MAX_INT32)
        ]
    grace = spec.get("terminationGracePeriodSeconds", 0)
    if grace < 0:
        message = "must be greater than or equal to 0"
        problems.append(invalid("spec.terminationGracePeriodSeconds", grace, message))
    for index, toleration in enumerate(many(spec, "tolerations")):
        problems += _toleration(f"spec.tolerations[{index}]", toleration)
    for index, alias in enumerate(many(spec, "hostAliases")):
        problems += _alias(f"spec.hostAliases[{index}]", alias)
    return problems


_NAMES: dict[str, Callable[[str], list[str]]] = {
    "serviceAccountName": syntax.subdomain,
    "nodeName": syntax.subdomain,
    "hostname": syntax.label,
    "subdomain": syntax.label,
    "priorityClassName": syntax.subdomain,
    "runtimeClassName": syntax.subdomain,
}


def _word(field: str, value: str, words: tuple[str, ...]) -> list[FieldError]:
    if not value:
        return [required(field)]
    return [] if value in words else [not_supported(field, value, words)]


def _dns(spec: Json) -> list[FieldError]:
    config: Json | None = spec.get("dnsConfig")
    servers: list[str] = (config or {}).get("nameservers") or []
    field = "spec.dnsConfig"
    problems: list[FieldError] = []
    if spec.get("dnsPolicy") == "None" and config is None:
        message = "must provide `dnsConfig` when `dnsPolicy` is None"
        problems.append(required(field, message))
    elif spec.get("dnsPolicy") == "None" and not servers:
        message = "must provide at least one DNS nameserver when `dnsPolicy` is None"
        problems.append(required(f"{field}.nameservers", message))
    if len(servers) > _MAX_NAMESERVERS:
        message = f"must not have more than {_MAX_NAMESERVERS} nameservers"
        problems.append(invalid(f"{field}.nameservers", servers, message))
    for index, server in enumerate(servers):
        problems += check(f"{field}.nameservers[{index}]", server, syntax.address)
    return problems


def _toleration(field: str, toleration: Json) -> list[FieldError]:
    problems: list[FieldError] = []
    key, operator = toleration.get("key", ""), toleration.get("operator", "")
    if key:
        problems += check(f"{field}.key", key, syntax.qualified_name)
    elif operator != "Exists":
        message = (
            "operator must be Exists when `key` is empty,"
            ' which means "match all values and all keys"'
        )
        problems.append(invalid(f"{field}.operator", operator, message))
    seconds = toleration.get("tolerationSeconds")
    if seconds is not None and toleration.get("effect") != "NoExecute":
        message = "effect must be 'NoExecute' when `tolerationSeconds` is set"
        problems.append(invalid(f"{field}.effect", toleration.get("effect", ""), message))
    if operator not in ("", "Equal", "Exists"):
        problems.append(not_supported(f"{field}.operator", operator, ("Equal", "Exists")))
    elif operator == "Exists" and toleration.get("value"):
        message = "value must be empty when `operator` is 'Exists'"
        problems.append(invalid(f"{field}.operator", toleration["value"], message))
    effect = toleration.get("effect", "")
    if effect and effect not in _EFFECTS:
        problems.append(not_supported(f"{field}.effect", effect, _EFFECTS))
    return problems


def _alias(field: str, alias: Json) -> list[FieldError]:
    problems = check(f"{field}.ip", alias.get("ip", ""), syntax.address)
    for name in many(alias, "hostnames"):
        problems += check(f"{field}.hostnames", name, syntax.subdomain)
    return problems


def _volume(field: str, volume: Json, names: set[str]) -> list[FieldError]:
    name = volume.get("name", "")
    problems = check(f"{field}.name", name, syntax.label) if name else [required(f"{field}.name")]
    if name in names:
        problems.append(duplicate(f"{field}.name", name))
    names.add(name)
    sources = [one for one in volume if one != "name"]
    if not sources:
        problems.append(required(field, "must specify a volume type"))
    problems += [
        forbidden(f"{field}.{one}", "may not specify more than 1 volume type")
        for one in sources[1:]
    ]
    for one in sources[:1]:
        problems += _source(f"{field}.{one}", one, volume[one] or {})
    return problems


def _source(field: str, kind: str, source: Json) -> list[FieldError]:
    problems: list[FieldError] = []
    needed = {
        "secret": "secretName",
        "configMap": "name",
        "hostPath": "path",
        "persistentVolumeClaim": "claimName",
    }
    if kind in needed and not source.get(needed[kind]):
        problems.append(required(f"{field}.{needed[kind]}"))
    if kind == "hostPath" and ".." in source.get("path", "").split("/"):
        problems.append(invalid(f"{field}.path", source["path"], "must not contain '..'"))
    if kind in ("secret", "configMap", "downwardAPI", "projected"):
        mode = source.get("defaultMode")
        if mode is None:
            problems.append(required(f"{field}.defaultMode"))
        elif not 0 <= mode <= 0o777:
            problems.append(invalid(f"{field}.defaultMode", mode, _MODE))
    for index, item in enumerate(many(source, "items")):
        problems += _item(f"{field}.items[{index}]", item, keyed=kind in ("secret", "configMap"))
    return problems


def _item(field: str, item: Json, *, keyed: bool) -> list[FieldError]:
    problems: list[FieldError] = []
    path: str = item.get("path", "")
    if keyed and not item.get("key"):
        problems.append(required(f"{field}.key"))
    if not path:
        problems.append(required(f"{field}.path"))
    elif path.startswith("/"):
        problems.append(invalid(f"{field}.path", path, "must be a relative path"))
    elif ".." in path.split("/"):
        problems.append(invalid(f"{field}.path", path, "must not contain '..'"))
    elif path.startswith(".."):
        problems.append(invalid(f"{field}.path", path, "must not start with '..'"))
    mode = item.get("mode")
    if mode is not None and not 0 <= mode <= 0o777:
        problems.append(invalid(f"{field}.mode", mode, _MODE))
    return problems


def _change(spec: Json, old: Json) -> list[FieldError]:
    """Check an update: few fields of a pod may change."""
    if spec == old:
        return []
    problems = pod_spec(spec)
    counts = [len(many(one, "containers")) for one in (spec, old)]
    if counts[0] != counts[1]:
        message = "pod updates may not add or remove containers"
        return [*problems, forbidden("spec.containers", message)]
    before = many(old, "tolerations")
    after = many(spec, "tolerations")
    lost = [one for one in before if one not in after]
    # Scheduling sets nodeName once, through the binding subresource.
    was, now = _fixed(old), _fixed(spec)
    if not was.get("nodeName"):
        was.pop("nodeName", None)
        now.pop("nodeName", None)
    names = sorted(n for n in {*was, *now} if was.get(n) != now.get(n))
    if lost:
        names.append("tolerations")
    if names:
        shown = "\n".join(f"  spec.{name} differs" for name in names)
        problems.append(forbidden("spec", f"{_MAY_CHANGE}\n{shown}"))
    return problems


def _fixed(spec: Json) -> Json:
    """Return the part of a pod's spec that may not change."""
    fixed = {name: value for name, value in spec.items() if name not in _CHANGEABLE}
    for kind in ("containers", "initContainers"):
        if kind in fixed:
            fixed[kind] = [{**container, "image": ""} for container in fixed[kind]]
    # Ephemeral containers have a subresource of their own; gates may be removed.
    fixed.pop("ephemeralContainers", None)
    fixed.pop("schedulingGates", None)
    return fixed
