"""Pure: rules for HorizontalPodAutoscalers.

Source: pkg/apis/autoscaling/validation of Kubernetes 1.32.
"""

from collections.abc import Mapping

from podwire.emulator.apiserver.admission import validate_meta
from podwire.emulator.apiserver.admission.field_errors import (
    FieldError,
    forbidden,
    invalid,
    not_supported,
    required,
)
from podwire.emulator.apiserver.admission.validate_meta import Json
from podwire.emulator.apiserver.types.fields import below, many
from podwire.kube import quantity, syntax

_SOURCES = {
    "ContainerResource": "containerResource", "External": "external", "Object": "object",
    "Pods": "pods", "Resource": "resource",
}  # fmt: skip
_LONGEST_WINDOW, _LONGEST_PERIOD = 3600, 1800
_SELECT = ("Disabled", "Max", "Min")
_POSITIVE = "must be positive"


def autoscaler(obj: Json, old: Json | None) -> list[FieldError]:
    """Check a HorizontalPodAutoscaler."""
    del old
    spec: Json = below(obj, "spec")
    problems: list[FieldError] = []
    least, most = spec.get("minReplicas"), spec.get("maxReplicas", 0)
    if least is not None and least < 1:
        message = "must be greater than or equal to 1"
        problems.append(invalid("spec.minReplicas", least, message))
    if most < 1:
        problems.append(invalid("spec.maxReplicas", most, "must be greater than 0"))
    if least is not None and most < least:
        message = "must be greater than or equal to `minReplicas`"
        problems.append(invalid("spec.maxReplicas", most, message))
    problems += _reference("spec.scaleTargetRef", below(spec, "scaleTargetRef"))
    for index, metric in enumerate(many(spec, "metrics")):
        problems += _metric(f"spec.metrics[{index}]", metric)
    for name, rules in below(spec, "behavior").items():
        if rules:
            problems += _rules(f"spec.behavior.{name}", rules)
    return problems


def _reference(field: str, reference: Json) -> list[FieldError]:
    problems: list[FieldError] = []
    for name in ("kind", "name"):
        if not reference.get(name):
            problems.append(required(f"{field}.{name}"))
        else:
            rule = syntax.path_segment
            problems += validate_meta.check(f"{field}.{name}", reference[name], rule)
    return problems


def _metric(field: str, metric: Json) -> list[FieldError]:
    kind = metric.get("type", "")
    problems: list[FieldError] = []
    if not kind:
        problems.append(required(f"{field}.type", "must specify a metric source type"))
    wanted = _SOURCES.get(kind)
    if wanted is None:
        return [*problems, not_supported(f"{field}.type", kind, sorted(_SOURCES))]
    given = [name for name in _SOURCES.values() if metric.get(name) is not None]
    if given:
        problems += _source(f"{field}.{given[0]}", given[0], metric[given[0]])
    if wanted not in given:
        message = "must populate information for the given metric source"
        problems.append(required(f"{field}.{wanted}", message))
    if len(given) > 1:
        message = "must populate the given metric source only"
        problems += [forbidden(f"{field}.{name}", message) for name in given if name != wanted]
    return problems


def _source(field: str, kind: str, source: Json) -> list[FieldError]:
    problems: list[FieldError] = []
    of_resource = kind in ("resource", "containerResource")
    if of_resource and not source.get("name"):
        problems.append(required(f"{field}.name", "must specify a resource name"))
    if kind == "containerResource" and not source.get("container"):
        problems.append(required(f"{field}.container", "must specify a container"))
    if kind == "object":
        problems += _reference(f"{field}.describedObject", below(source, "describedObject"))
    if not of_resource:
        name = below(source, "metric").get("name", "")
        at = f"{field}.metric.name"
        if not name:
            problems.append(required(at, "must specify a metric name"))
        else:
            problems += validate_meta.check(at, name, syntax.path_segment)
    target = below(source, "target")
    return problems + _target(f"{field}.target", target) + _amounts(f"{field}.target", kind, target)


def _target(field: str, target: Json) -> list[FieldError]:
    kind = target.get("type", "")
    problems: list[FieldError] = []
    if not kind:
        problems.append(required(f"{field}.type", "must specify a metric target type"))
    if kind not in ("Utilization", "Value", "AverageValue"):
        message = "must be either Utilization, Value, or AverageValue"
        problems.append(invalid(f"{field}.type", kind, message))
    for name in ("value", "averageValue"):
        value = target.get(name)
        if value is not None and quantity.parse(value).nano <= 0:
            problems.append(invalid(f"{field}.{name}", value, _POSITIVE))
    percent = target.get("averageUtilization")
    if percent is not None and percent < 1:
        message = "must be greater than 0"
        problems.append(invalid(f"{field}.averageUtilization", percent, message))
    return problems


# What each source wants -> the field that is named when nothing is there, and the words.
_WANTED: Mapping[str, tuple[tuple[str, ...], str, str]] = {
    "object": (
        ("value", "averageValue"), "averageValue", "must set either a target value or averageValue",
    ),
    "external": (
        ("value", "averageValue"), "averageValue",
        "must set either a target value for metric or a per-pod target",
    ),
    "pods": (
        ("averageValue",), "averageValue", "must specify a positive target averageValue",
    ),
    "resource": (
        ("averageUtilization", "averageValue"), "averageUtilization",
        "must set either a target raw value or a target utilization",
    ),
    "containerResource": (
        ("averageUtilization", "averageValue"), "averageUtilization",
        "must set either a target raw value or a target utilization",
    ),
}  # fmt: skip


def _amounts(field: str, kind: str, target: Json) -> list[FieldError]:
    names, missing, words = _WANTED[kind]
    given = [name for name in names if target.get(name) is not None]
    if not given:
        return [required(f"{field}.{missing}", words)]
    if len(given) == 1 or kind == "object":
        return []
    if kind == "external":
        message = "may not set both a target value for metric and a per-pod target"
        return [forbidden(f"{field}.value", message)]
    message = "may not set both a target raw value and a target utilization"
    return [forbidden(f"{field}.averageValue", message)]


def _rules(field: str, rules: Json) -> list[FieldError]:
    problems: list[FieldError] = []
    window, select = rules.get("stabilizationWindowSeconds"), rules.get("selectPolicy")
    at = f"{field}.stabilizationWindowSeconds"
    if window is not None and window < 0:
        problems.append(invalid(at, window, "must be greater than or equal to zero"))
    if window is not None and window > _LONGEST_WINDOW:
        problems.append(invalid(at, window, f"must be less than or equal to {_LONGEST_WINDOW}"))
    if select is not None and select not in _SELECT:
        problems.append(not_supported(f"{field}.selectPolicy", select, _SELECT))
    policies = many(rules, "policies")
    if not policies:
        problems.append(required(f"{field}.policies", "must specify at least one Policy"))
    for index, policy in enumerate(policies):
        at = f"{field}.policies[{index}]"
        if policy.get("type") not in ("Pods", "Percent"):
            value = policy.get("type", "")
            problems.append(not_supported(f"{at}.type", value, ("Percent", "Pods")))
        for name in ("value", "periodSeconds"):
            if policy.get(name, 0) <= 0:
                message = "must be greater than zero"
                problems.append(invalid(f"{at}.{name}", policy.get(name, 0), message))
        if policy.get("periodSeconds", 0) > _LONGEST_PERIOD:
            message = f"must be less than or equal to {_LONGEST_PERIOD}"
            problems.append(invalid(f"{at}.periodSeconds", policy["periodSeconds"], message))
    return problems
