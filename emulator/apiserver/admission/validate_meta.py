"""Pure: rules for metadata, labels and selectors.

Source: k8s.io/apimachinery/pkg/api/validation/objectmeta.go and apis/meta/v1/validation.
"""

from collections.abc import Mapping
from typing import Any

from podwire.emulator.apiserver.admission.field_errors import (
    FieldError,
    forbidden,
    go_list,
    invalid,
    required,
    too_long,
)
from podwire.emulator.apiserver.types.fields import below, many
from podwire.kube import syntax
from podwire.kube.syntax import Check

Json = dict[str, Any]

_ANNOTATION_BYTES = 256 * 1024
_FIXED = ("name", "namespace", "uid", "creationTimestamp")


def metadata(meta: Json, name_check: Check, old: Json | None) -> list[FieldError]:
    """Check an object's metadata; *old* is the metadata that it replaces."""
    problems: list[FieldError] = []
    if meta.get("generateName"):
        problems += check(
            "metadata.generateName",
            meta["generateName"],
            lambda value: syntax.prefix_of(name_check, value),
        )
    if meta.get("name"):
        problems += check("metadata.name", meta["name"], name_check)
    else:
        problems.append(required("metadata.name", "name or generateName is required"))
    problems += labels("metadata.labels", meta.get("labels"))
    problems += _annotations(below(meta, "annotations"))
    problems += _owners(many(meta, "ownerReferences"))
    problems += _finalizers(many(meta, "finalizers"))
    return problems if old is None else problems + _changes(meta, old)


def check(field: str, value: str, rule: Check) -> list[FieldError]:
    """Return a rule's messages about a value as errors of its field."""
    return [invalid(field, value, message) for message in rule(value)]


def labels(field: str, pairs: Mapping[str, str] | None) -> list[FieldError]:
    """Check the keys and values of labels."""
    problems: list[FieldError] = []
    for key, value in (pairs or {}).items():
        problems += check(field, key, syntax.qualified_name)
        problems += check(field, value, syntax.label_value)
    return problems


def not_negative(spec: Json, *names: str, field: str = "spec") -> list[FieldError]:
    """Check numbers that may be absent, and below zero may not be."""
    return [
        invalid(f"{field}.{name}", spec[name], "must be greater than or equal to 0")
        for name in names
        if (spec.get(name) or 0) < 0
    ]


def _annotations(pairs: Mapping[str, str]) -> list[FieldError]:
    field = "metadata.annotations"
    problems = [
        invalid(field, key, message)
        for key in pairs
        for message in syntax.qualified_name(key.lower())
    ]
    if sum(len(k.encode()) + len(v.encode()) for k, v in pairs.items()) > _ANNOTATION_BYTES:
        problems.append(too_long(field, _ANNOTATION_BYTES))
    return problems


def _owners(owners: list[Json]) -> list[FieldError]:
    problems: list[FieldError] = []
    field = "metadata.ownerReferences"
    for owner in owners:
        if not owner.get("apiVersion"):
            problems.append(invalid(f"{field}.apiVersion", "", "version must not be empty"))
        for name in ("kind", "name", "uid"):
            if not owner.get(name):
                problems.append(invalid(f"{field}.{name}", "", f"{name} must not be empty"))
    managing = [f"{o.get('kind')}/{o.get('name')}" for o in owners if o.get("controller")]
    if len(managing) > 1:
        problems.append(
            invalid(
                field,
                owners,
                "Only one reference can have Controller set to true. Found"
                f' "true" in references for {managing[0]} and {managing[1]}',
            )
        )
    return problems


def _finalizers(names: list[str]) -> list[FieldError]:
    field = "metadata.finalizers"
    problems = [e for name in names for e in check(field, name, syntax.qualified_name)]
    if {"orphan", "foregroundDeletion"} <= set(names):
        message = "finalizer orphan and foregroundDeletion cannot be both set"
        problems.append(invalid(field, names, message))
    return problems


def _changes(meta: Json, old: Json) -> list[FieldError]:
    """Check what may not change in metadata once an object exists."""
    problems = [
        invalid(f"metadata.{name}", meta.get(name), "field is immutable")
        for name in _FIXED
        if meta.get(name) != old.get(name)
    ]
    added = sorted(set(many(meta, "finalizers")) - set(many(old, "finalizers")))
    if old.get("deletionTimestamp") and added:
        problems.append(
            forbidden(
                "metadata.finalizers",
                "no new finalizers can be added if the object is being deleted, found new"
                f" finalizers {go_list(added)}",
            )
        )
    return problems


def selector(field: str, value: Json | None) -> list[FieldError]:
    """Check a label selector."""
    if value is None:
        return []
    problems = labels(f"{field}.matchLabels", value.get("matchLabels"))
    for index, rule in enumerate(many(value, "matchExpressions")):
        problems += _requirement(f"{field}.matchExpressions[{index}]", rule)
    return problems


def _requirement(field: str, rule: Json) -> list[FieldError]:
    problems: list[FieldError] = []
    values, operator = many(rule, "values"), rule.get("operator", "")
    if operator in ("In", "NotIn"):
        if not values:
            message = "must be specified when `operator` is 'In' or 'NotIn'"
            problems.append(required(f"{field}.values", message))
    elif operator in ("Exists", "DoesNotExist"):
        if values:
            message = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            problems.append(forbidden(f"{field}.values", message))
    else:
        problems.append(invalid(f"{field}.operator", operator, "not a valid selector operator"))
    problems += check(f"{field}.key", rule.get("key", ""), syntax.qualified_name)
    for index, text in enumerate(values):
        problems += check(f"{field}.values[{index}]", text, syntax.label_value)
    return problems


def selects(value: Json, pairs: Mapping[str, str]) -> bool:
    """Tell whether a label selector matches labels."""
    if any(pairs.get(key) != text for key, text in below(value, "matchLabels").items()):
        return False
    for rule in many(value, "matchExpressions"):
        key, values = rule.get("key", ""), many(rule, "values")
        match rule.get("operator"):
            case "In":
                holds = key in pairs and pairs[key] in values
            case "NotIn":
                holds = pairs.get(key) not in values
            case "Exists":
                holds = key in pairs
            case _:
                holds = key not in pairs
        if not holds:
            return False
    return True
