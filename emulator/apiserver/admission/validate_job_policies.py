"""Pure: rules for what a Job says of pods that fail, and of when it is done.

Source: pkg/apis/batch/validation/validation.go of Kubernetes 1.32.
"""

from typing import Any

from podwire.emulator.apiserver.admission.field_errors import (
    FieldError,
    duplicate,
    go_words,
    invalid,
    not_supported,
    omitted,
    required,
    too_many,
)
from podwire.emulator.apiserver.admission.validate_meta import Json, check, not_negative
from podwire.emulator.apiserver.types.fields import below, many
from podwire.kube import syntax

_ACTIONS = ("Count", "FailIndex", "FailJob", "Ignore")
_OPERATORS = ("In", "NotIn")
_STATUSES = ("False", "True", "Unknown")
_MAX_RULES, _MAX_VALUES, _MAX_PATTERNS = 20, 255, 20


def failure(field: str, spec: Json) -> list[FieldError]:
    """Check the podFailurePolicy of a job's *spec*."""
    rules = many(below(spec, "podFailurePolicy"), "rules")
    problems: list[FieldError] = []
    if len(rules) > _MAX_RULES:
        problems.append(too_many(f"{field}.rules", len(rules), _MAX_RULES))
    pod = below(spec, "template", "spec")
    names = {
        container.get("name")
        for kind in ("containers", "initContainers")
        for container in many(pod, kind)
    }
    for index, rule in enumerate(rules):
        at, action = f"{field}.rules[{index}]", rule.get("action", "")
        if not action:
            problems.append(required(f"{at}.action", f"valid values: {go_words(_ACTIONS)}"))
        elif action == "FailIndex" and spec.get("backoffLimitPerIndex") is None:
            message = "requires the backoffLimitPerIndex to be set"
            problems.append(invalid(f"{at}.action", action, message))
        elif action not in _ACTIONS:
            problems.append(not_supported(f"{at}.action", action, _ACTIONS))
        codes, conditions = rule.get("onExitCodes"), many(rule, "onPodConditions")
        if codes is not None:
            problems += _exit_codes(f"{at}.onExitCodes", codes, names)
        problems += _conditions(f"{at}.onPodConditions", conditions)
        if codes is not None and conditions:
            message = "specifying both OnExitCodes and OnPodConditions is not supported"
            problems.append(omitted(at, message))
        elif codes is None and not conditions:
            message = "specifying one of OnExitCodes and OnPodConditions is required"
            problems.append(omitted(at, message))
    return problems


def _exit_codes(field: str, codes: Json, names: set[Any]) -> list[FieldError]:
    operator, values = codes.get("operator", ""), many(codes, "values")
    problems = _word(f"{field}.operator", operator, _OPERATORS)
    name = codes.get("containerName")
    if name is not None and name not in names:
        message = "must be one of the container or initContainer names in the pod template"
        problems.append(invalid(f"{field}.containerName", name, message))
    if not values:
        problems.append(invalid(f"{field}.values", values, "at least one value is required"))
    elif len(values) > _MAX_VALUES:
        problems.append(too_many(f"{field}.values", len(values), _MAX_VALUES))
    seen: set[int] = set()
    for index, value in enumerate(values):
        at = f"{field}.values[{index}]"
        if operator == "In" and value == 0:
            problems.append(invalid(at, value, "must not be 0 for the In operator"))
        if value in seen:
            problems.append(duplicate(at, value))
        seen.add(value)
    if sorted(values) != values:
        problems.append(invalid(f"{field}.values", values, "must be ordered"))
    return problems


def _conditions(field: str, patterns: list[Json]) -> list[FieldError]:
    problems: list[FieldError] = []
    if len(patterns) > _MAX_PATTERNS:
        problems.append(too_many(field, len(patterns), _MAX_PATTERNS))
    for index, pattern in enumerate(patterns):
        at = f"{field}[{index}]"
        problems += check(f"{at}.type", pattern.get("type", ""), syntax.qualified_name)
        problems += _word(f"{at}.status", pattern.get("status", ""), _STATUSES)
    return problems


def _word(field: str, value: str, words: tuple[str, ...]) -> list[FieldError]:
    if not value:
        return [required(field, f"valid values: {go_words(words)}")]
    return [] if value in words else [not_supported(field, value, words)]


def success(field: str, spec: Json) -> list[FieldError]:
    """Check the successPolicy of a job's *spec*."""
    policy: Json | None = spec.get("successPolicy")
    if policy is None:
        return []
    if spec.get("completionMode") != "Indexed":
        return [invalid(field, policy, "requires indexed completion mode")]
    rules, count = many(policy, "rules"), spec.get("completions") or 0
    problems: list[FieldError] = []
    if not rules:
        message = "at least one rules must be specified when the successPolicy is specified"
        problems.append(required(f"{field}.rules", message))
    if len(rules) > _MAX_RULES:
        problems.append(too_many(f"{field}.rules", len(rules), _MAX_RULES))
    for index, rule in enumerate(rules):
        at, enough = f"{field}.rules[{index}]", rule.get("succeededCount")
        if enough is None and rule.get("succeededIndexes") is None:
            message = "at least one of succeededCount or succeededIndexes must be specified"
            problems.append(required(at, message))
        problems += not_negative(rule, "succeededCount", field=at)
        if enough is not None and enough > count:
            message = f"must be less than or equal to {count} (the number of specified completions)"
            problems.append(invalid(f"{at}.succeededCount", enough, message))
    return problems
