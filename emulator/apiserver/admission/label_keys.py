"""Pure: matchLabelKeys: labels of the pod itself that a selector in its spec is to have as well.

Source: applyMatchLabelKeysAndMismatchLabelKeys in pkg/registry/core/pod/strategy.go, and
validateMatchLabelKeysAndMismatchLabelKeys in pkg/apis/core/validation of Kubernetes 1.32.
"""

from collections.abc import Iterator

from podwire.emulator.apiserver.admission.field_errors import FieldError, forbidden, invalid
from podwire.emulator.apiserver.admission.validate_meta import Json, check
from podwire.emulator.apiserver.types.fields import below, many
from podwire.kube import syntax

_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
_OPERATORS = (("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn"))
_TWICE = "exists in both matchLabelKeys and labelSelector"


def merge(pod: Json) -> None:
    """Write the keys of a new pod's affinity terms into their selectors, with its labels' values.

    Those of topology spread constraints are the scheduler's.
    """
    labels: Json = below(pod, "metadata").get("labels") or {}
    for term in _terms(below(pod, "spec", "affinity")):
        selector = term.get("labelSelector")
        if selector is None:
            continue
        added = [
            {"key": key, "operator": operator, "values": [labels[key]]}
            for name, operator in _OPERATORS
            for key in many(term, name)
            if key in labels
        ]
        if added:
            selector["matchExpressions"] = [*many(selector, "matchExpressions"), *added]


def of_term(field: str, term: Json) -> list[FieldError]:
    """Check the keys of an affinity term, in whose selector they are already."""
    selector = term.get("labelSelector")
    wanted, unwanted = (many(term, name) for name, _ in _OPERATORS)
    problems: list[FieldError] = []
    for name, keys in (("matchLabelKeys", wanted), ("mismatchLabelKeys", unwanted)):
        if keys and selector is None:
            problems.append(_without_selector(f"{field}.{name}"))
        elif keys:
            problems += _names(f"{field}.{name}", keys)
    seen = set(below(selector or {}, "matchLabels"))
    for line in many(selector or {}, "matchExpressions"):
        key = line.get("key", "")
        if key in wanted and key in seen:
            problems.append(invalid(f"{field}[{wanted.index(key)}]", key, _TWICE))
        seen.add(key)
    problems += [
        invalid(
            f"{field}.matchLabelKeys[{index}]",
            key,
            "exists in both matchLabelKeys and mismatchLabelKeys",
        )
        for index, key in enumerate(wanted)
        if key in unwanted
    ]
    return problems


def of_spread(field: str, constraint: Json) -> list[FieldError]:
    """Check the keys of a topology spread constraint."""
    keys, selector = many(constraint, "matchLabelKeys"), constraint.get("labelSelector")
    if not keys:
        return []
    problems = [_without_selector(field)] if selector is None else []
    named = set(below(selector or {}, "matchLabels"))
    named.update(line.get("key", "") for line in many(selector or {}, "matchExpressions"))
    for index, key in enumerate(keys):
        problems += _names(field, [key], index)
        if key in named:
            problems.append(invalid(f"{field}[{index}]", key, _TWICE))
    return problems


def _terms(affinity: Json) -> Iterator[Json]:
    for kind in ("podAffinity", "podAntiAffinity"):
        yield from many(below(affinity, kind), _REQUIRED)
        for weighted in many(below(affinity, kind), _PREFERRED):
            yield below(weighted, "podAffinityTerm")


def _without_selector(field: str) -> FieldError:
    return forbidden(field, "must not be specified when labelSelector is not set")


def _names(field: str, keys: list[str], first: int = 0) -> list[FieldError]:
    return [
        problem
        for index, key in enumerate(keys, first)
        for problem in check(f"{field}[{index}]", key, syntax.qualified_name)
    ]
