"""Pure: rules for disruption budgets, priorities, quotas, limit ranges and leases.

Source: pkg/apis/{policy,scheduling,coordination,core}/validation of Kubernetes 1.32.
"""

import re

from podwire.emulator.apiserver.admission import validate_meta
from podwire.emulator.apiserver.admission.field_errors import (
    FieldError,
    Unquoted,
    duplicate,
    forbidden,
    go_list,
    invalid,
    not_supported,
    required,
)
from podwire.emulator.apiserver.admission.priorities import HIGHEST, SYSTEM
from podwire.emulator.apiserver.admission.validate_meta import Json, check, not_negative
from podwire.emulator.apiserver.admission.validate_workloads import amount, at_most_all
from podwire.emulator.apiserver.types.fields import below, many
from podwire.kube import quantity, syntax

_IMMUTABLE = "field is immutable"
_NOT_NEGATIVE = "must be greater than or equal to 0"
_PREEMPTION = ("Never", "PreemptLowerPriority")
_EVICTION = ("AlwaysAllow", "IfHealthyBudget")
_QUOTA = frozenset(
    {
        "cpu", "memory", "ephemeral-storage", "requests.cpu", "requests.memory",
        "requests.storage", "requests.ephemeral-storage", "limits.cpu", "limits.memory",
        "limits.ephemeral-storage", "pods", "resourcequotas", "services",
        "replicationcontrollers", "secrets", "persistentvolumeclaims", "configmaps",
        "services.nodeports", "services.loadbalancers",
    }
)  # fmt: skip
_WHOLE = frozenset(
    {
        "pods", "resourcequotas", "services", "replicationcontrollers", "secrets",
        "persistentvolumeclaims", "configmaps", "services.nodeports", "services.loadbalancers",
    }
)  # fmt: skip
_SCOPES = frozenset(
    {
        "Terminating", "NotTerminating", "BestEffort", "NotBestEffort", "PriorityClass",
        "CrossNamespacePodAffinity",
    }
)  # fmt: skip
_OF_PODS = frozenset(
    {
        "pods", "cpu", "memory", "ephemeral-storage", "requests.cpu", "requests.memory",
        "requests.ephemeral-storage", "limits.cpu", "limits.memory", "limits.ephemeral-storage",
    }
)  # fmt: skip
_AGAINST = ({"Terminating", "NotTerminating"}, {"BestEffort", "NotBestEffort"})
_LIMIT_FIELDS = ("max", "min", "default", "defaultRequest", "maxLimitRequestRatio")
_COUNT = re.compile(r"count/.+")


def budget(obj: Json, old: Json | None) -> list[FieldError]:
    """Check a PodDisruptionBudget."""
    del old
    spec = below(obj, "spec")
    problems: list[FieldError] = []
    least, most = spec.get("minAvailable"), spec.get("maxUnavailable")
    if least is not None and most is not None:
        shown = Unquoted("policy.PodDisruptionBudgetSpec{...}")
        message = "minAvailable and maxUnavailable cannot be both set"
        problems.append(invalid("spec", shown, message))
    for name, value in (("minAvailable", least), ("maxUnavailable", most)):
        if value is not None:
            problems += amount(f"spec.{name}", value)
            problems += at_most_all(f"spec.{name}", value)
    problems += validate_meta.selector("spec.selector", spec.get("selector"))
    policy = spec.get("unhealthyPodEvictionPolicy")
    if policy is not None and policy not in _EVICTION:
        problems.append(not_supported("spec.unhealthyPodEvictionPolicy", policy, _EVICTION))
    return problems


def priority_class(obj: Json, old: Json | None) -> list[FieldError]:
    """Check a PriorityClass."""
    name, value = below(obj, "metadata").get("name", ""), obj.get("value", 0)
    problems: list[FieldError] = []
    if name.startswith("system-"):
        if SYSTEM.get(name) != value or obj.get("globalDefault"):
            message = (
                "priority class names with 'system-' prefix are reserved for system use only. "
                f"error: {name} is not a known system priority class"
            )
            problems.append(forbidden("metadata.name", message))
    elif value > HIGHEST:
        message = f"maximum allowed value of a user defined priority is {HIGHEST}"
        problems.append(forbidden("value", message))
    policy = obj.get("preemptionPolicy")
    if policy not in _PREEMPTION:
        field = "preemptionPolicy"
        known = not_supported(field, policy, ("PreemptLowerPriority", "Never"))
        problems.append(known if policy else required(field))
    if old is not None and old.get("value", 0) != value:
        problems.append(forbidden("value", "may not be changed in an update."))
    if old is not None and old.get("preemptionPolicy") != policy:
        problems.append(invalid("preemptionPolicy", policy, _IMMUTABLE))
    return problems


def quota(obj: Json, old: Json | None) -> list[FieldError]:
    """Check a ResourceQuota."""
    spec = below(obj, "spec")
    problems: list[FieldError] = []
    for name, text in below(spec, "hard").items():
        field = f"spec.hard[{name}]"
        problems += check(field, name, syntax.qualified_name)
        if "/" not in name and name not in _QUOTA and not name.startswith("requests.hugepages-"):
            problems.append(invalid(field, name, "must be a standard resource for quota"))
        problems += _quantity(field, name, text)
    scopes: list[str] = many(spec, "scopes")
    shown = Unquoted(go_list(scopes).replace("[]string", "[]core.ResourceQuotaScope", 1))
    for scope in scopes:
        if scope not in _SCOPES:
            problems.append(invalid("spec.scopes", shown, "unsupported scope"))
        problems += [
            invalid("spec.scopes", shown, "unsupported scope applied to resource")
            for name in below(spec, "hard")
            if name in _QUOTA and scope in _SCOPES and name not in _scoped(scope)
        ]
    if any(pair <= set(scopes) for pair in _AGAINST):
        problems.append(invalid("spec.scopes", shown, "conflicting scopes"))
    if old is not None and set(scopes) != set(many(below(old, "spec"), "scopes")):
        problems.append(invalid("spec.scopes", shown, _IMMUTABLE))
    return problems


def _scoped(scope: str) -> frozenset[str]:
    """Return what a quota with *scope* may count: pods, and mostly what they ask for."""
    return frozenset({"pods"}) if scope == "BestEffort" else _OF_PODS


def _quantity(field: str, name: str, text: str) -> list[FieldError]:
    found = quantity.parse(text)
    if found.nano < 0:
        return [invalid(field, text, _NOT_NEGATIVE)]
    if (name in _WHOLE or _COUNT.fullmatch(name)) and found.nano % 10**9:
        return [invalid(field, text, "must be an integer")]
    return []


def limit_range(obj: Json, old: Json | None) -> list[FieldError]:
    """Check a LimitRange."""
    del old
    problems: list[FieldError] = []
    kinds: set[str] = set()
    for index, limit in enumerate(many(below(obj, "spec"), "limits")):
        field, kind = f"spec.limits[{index}]", limit.get("type", "")
        problems += check(f"{field}.type", kind, syntax.qualified_name)
        if kind in kinds:
            problems.append(duplicate(f"{field}.type", kind))
        kinds.add(kind)
        if kind == "Pod":
            problems += [
                forbidden(f"{field}.{name}", "may not be specified when `type` is 'Pod'")
                for name in ("default", "defaultRequest")
                if limit.get(name)
            ]
        problems += _limits(field, limit)
    return problems


# A pair of fields that must be in this order, as Kubernetes names them and the error's place.
_ORDER = (
    ("min", "max", "min", "min value {} is greater than max value {}"),
    (
        "min", "defaultRequest", "defaultRequest",
        "min value {} is greater than default request value {}",
    ),
    (
        "defaultRequest", "max", "defaultRequest",
        "default request value {} is greater than max value {}",
    ),
    (
        "defaultRequest", "default", "defaultRequest",
        "default request value {} is greater than default limit value {}",
    ),
    ("min", "default", "min", "min value {} is greater than default value {}"),
    ("default", "max", "default", "default value {} is greater than max value {}"),
)  # fmt: skip


def _limits(field: str, limit: Json) -> list[FieldError]:
    problems: list[FieldError] = []
    for name in sorted({key for part in _LIMIT_FIELDS for key in below(limit, part)}):
        problems += check(f"{field}.{name}", name, syntax.qualified_name)
        for low, high, at, words in _ORDER:
            lower, upper = below(limit, low).get(name), below(limit, high).get(name)
            if lower is None or upper is None:
                continue
            if quantity.parse(lower).nano > quantity.parse(upper).nano:
                shown = lower if at == low else upper
                message = words.format(lower, upper)
                problems.append(invalid(f"{field}.{at}[{name}]", shown, message))
    return problems


def lease(obj: Json, old: Json | None) -> list[FieldError]:
    """Check a Lease."""
    del old
    spec = below(obj, "spec")
    problems: list[FieldError] = []
    seconds = spec.get("leaseDurationSeconds")
    if seconds is not None and seconds <= 0:
        problems.append(invalid("spec.leaseDurationSeconds", seconds, "must be greater than 0"))
    return problems + not_negative(spec, "leaseTransitions")
