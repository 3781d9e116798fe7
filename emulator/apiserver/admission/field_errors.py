"""Pure: one broken rule of one field, worded as Kubernetes words it.

Source: k8s.io/apimachinery/pkg/util/validation/field.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from podwire.emulator.apiserver.types.fields import many


@dataclass(frozen=True, slots=True)
class FieldError:
    """What is wrong with a field."""

    #: such as ``spec.ports[0].port``
    field: str
    #: such as ``FieldValueInvalid``, the reason of the cause in a Status
    reason: str
    #: such as ``Invalid value: 70000: must be between 1 and 65535, inclusive``
    message: str


def required(field: str, detail: str = "") -> FieldError:
    """Return the error for a field that must be set."""
    return FieldError(field, "FieldValueRequired", _join("Required value", detail))


def invalid(field: str, value: Any, detail: str) -> FieldError:
    """Return the error for a value that breaks a rule."""
    return FieldError(field, "FieldValueInvalid", f"Invalid value: {shown(value)}: {detail}")


def omitted(field: str, detail: str) -> FieldError:
    """Return the error for a value that breaks a rule and is too large to be shown."""
    return FieldError(field, "FieldValueInvalid", f"Invalid value: {detail}")


def forbidden(field: str, detail: str) -> FieldError:
    """Return the error for a field that may not be set here."""
    return FieldError(field, "FieldValueForbidden", _join("Forbidden", detail))


def duplicate(field: str, value: Any) -> FieldError:
    """Return the error for a second use of a value that must be unique."""
    return FieldError(field, "FieldValueDuplicate", f"Duplicate value: {shown(value)}")


def not_found(field: str, value: Any) -> FieldError:
    """Return the error for a reference to something that is not there."""
    return FieldError(field, "FieldValueNotFound", f"Not found: {shown(value)}")


def not_supported(field: str, value: Any, supported: Iterable[str]) -> FieldError:
    """Return the error for a word that is not among the known ones."""
    words = ", ".join(quoted(word) for word in supported)
    detail = f"supported values: {words}" if words else ""
    return FieldError(
        field, "FieldValueNotSupported", _join(f"Unsupported value: {shown(value)}", detail)
    )


def too_long(field: str, limit: int) -> FieldError:
    """Return the error for a text of more than *limit* bytes."""
    return FieldError(field, "FieldValueTooLong", f"Too long: may not be more than {limit} bytes")


def too_many(field: str, count: int, limit: int) -> FieldError:
    """Return the error for a list of more than *limit* items."""
    return FieldError(
        field, "FieldValueTooMany", f"Too many: {count}: must have at most {limit} items"
    )


def shown(value: Any) -> str:
    """Return a value as Go prints it in an error."""
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return "null"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, Unquoted):
        return value.text
    if isinstance(value, list) and all(isinstance(one, int) for one in value):  # pyright: ignore[reportUnknownVariableType]
        return f"[]int32{{{', '.join(map(str, value))}}}"  # pyright: ignore[reportUnknownArgumentType]
    if isinstance(value, list) and all(isinstance(one, str) for one in value):  # pyright: ignore[reportUnknownVariableType]
        return go_list(value)  # pyright: ignore[reportUnknownArgumentType]
    # Go prints the struct's Go syntax; JSON is as near as one gets without Go's types.
    return json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Unquoted:
    """A value that is shown as *text* says: Go's own syntax for it."""

    text: str


def go_map(pairs: Mapping[str, str] | None) -> Unquoted:
    """Return a map of strings in Go's syntax."""
    if pairs is None:
        return Unquoted("map[string]string(nil)")
    inside = ", ".join(f"{quoted(k)}:{quoted(v)}" for k, v in sorted(pairs.items()))
    return Unquoted(f"map[string]string{{{inside}}}")


def go_list(items: Iterable[str]) -> str:
    """Return a list of strings in Go's syntax."""
    return f"[]string{{{', '.join(map(quoted, items))}}}"


def go_words(items: Iterable[str]) -> str:
    """Return a list of strings as Go's %q prints it."""
    return f"[{' '.join(map(quoted, items))}]"


def go_selector(selector: Mapping[str, Any]) -> Unquoted:
    """Return a label selector in Go's syntax."""
    rules = [
        f"v1.LabelSelectorRequirement{{Key:{quoted(rule.get('key', ''))},"
        f" Operator:{quoted(rule.get('operator', ''))},"
        f" Values:{go_list(rule['values']) if rule.get('values') else '[]string(nil)'}}}"
        for rule in many(dict(selector), "matchExpressions")
    ]
    listed = f"{{{', '.join(rules)}}}" if rules else "(nil)"
    return Unquoted(
        f"v1.LabelSelector{{MatchLabels:{go_map(selector.get('matchLabels')).text},"
        f" MatchExpressions:[]v1.LabelSelectorRequirement{listed}}}"
    )


def go_amount(value: int | str) -> Unquoted:
    """Return a number or a percentage (IntOrString) in Go's syntax."""
    number, text = (0, value) if isinstance(value, str) else (value, "")
    kind = int(isinstance(value, str))
    return Unquoted(f"intstr.IntOrString{{Type:{kind}, IntVal:{number}, StrVal:{quoted(text)}}}")


def go_struct(name: str, **members: Any) -> Unquoted:
    """Return a struct in Go's syntax; *name* with its package, such as ``rbac.RoleRef``."""
    inside = ", ".join(f"{member}:{shown(value)}" for member, value in members.items())
    return Unquoted(f"{name}{{{inside}}}")


def quoted(text: str) -> str:
    """Return a text in Go's quotes."""
    return json.dumps(text, ensure_ascii=False)


def _join(kind: str, detail: str) -> str:
    return f"{kind}: {detail}" if detail else kind
