"""Pure: rules for pods and pod templates.

Source: pkg/apis/core/validation/validation.go of Kubernetes 1.32.
"""

from collections.abc import Callable
from dataclasses import replace

from podwire.emulator.apiserver.admission import (
    validate_affinity,
    validate_containers,
    validate_meta,
    validate_pod_dns,
    validate_pod_update,
    validate_volumes,
)
from podwire.emulator.apiserver.admission.field_errors import (
    FieldError,
    forbidden,
    invalid,
    not_supported,
    required,
)
from podwire.emulator.apiserver.admission.validate_meta import Json, check
from podwire.emulator.apiserver.types.fields import below, many
from podwire.kube import syntax

_RESTART = ("Always", "OnFailure", "Never")
_DNS = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
_MIRROR = "kubernetes.io/config.mirror"
_MAX_INT32 = 2**31 - 1


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


def _change(spec: Json, old: Json) -> list[FieldError]:
    """Check an update: few fields of a pod may change."""
    if spec == old:
        return []
    return pod_spec(spec) + validate_pod_update.spec(spec, old)


def ephemeral(obj: Json, old: Json) -> list[FieldError]:
    """Check an update of a pod's ephemeral containers."""
    if _MIRROR in below(old, "metadata", "annotations"):
        # Whose containers somebody else runs. The field is Kubernetes' word for none.
        return [forbidden("[]", "static pods do not support ephemeral containers")]
    spec: Json = below(obj, "spec")
    problems = pod_spec(spec)
    return problems + validate_pod_update.ephemeral(spec, below(old, "spec"))


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
        problems += validate_volumes.volume(f"spec.volumes[{index}]", volume, names)
    problems += validate_containers.containers(spec, names)
    problems += _word("spec.restartPolicy", spec.get("restartPolicy", ""), _RESTART)
    problems += _word("spec.dnsPolicy", spec.get("dnsPolicy", ""), _DNS)
    problems += validate_pod_dns.config(spec)
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
    problems += validate_affinity.placement(spec)
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


def _alias(field: str, alias: Json) -> list[FieldError]:
    problems = check(f"{field}.ip", alias.get("ip", ""), syntax.address)
    for name in many(alias, "hostnames"):
        problems += check(f"{field}.hostnames", name, syntax.subdomain)
    return problems
