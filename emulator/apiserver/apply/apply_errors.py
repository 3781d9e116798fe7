"""Pure: what is wrong with an applied configuration, and who is in its way, in Kubernetes' words.

Source: sigs.k8s.io/structured-merge-diff/typed/validate.go,
k8s.io/apimachinery/pkg/util/managedfields/internal/conflict.go.
"""

from typing import Any

from podwire.emulator.apiserver import statuses
from podwire.emulator.apiserver.apply import fieldset
from podwire.emulator.apiserver.apply.apply import Conflict
from podwire.emulator.apiserver.apply.compare import Unkeyed, element_of
from podwire.emulator.apiserver.apply.shape import Shape, Wants
from podwire.emulator.apiserver.statuses import Refused

Json = dict[str, Any]

_LISTS = ("keyed", "set")


def mistakes(value: Any, shape: Shape, path: str = "") -> list[str]:
    """Return where a configuration is not what its kind declares; the members in their order."""
    if value is None:
        return []
    wrong = _wrong(value, shape.wants)
    if wrong:
        return [f"{path}: {wrong}" if path else wrong]
    found: list[str] = []
    if isinstance(value, dict):
        members: Json = value  # pyright: ignore[reportUnknownVariableType]
        for name, inside in members.items():
            below = shape.member(name) or shape.others
            if below is None:
                found.append(f"{path}.{name}: field not declared in schema")
            else:
                found += mistakes(inside, below, f"{path}.{name}")
    elif isinstance(value, list):
        found += _mistakes_of_items(value, shape, path)  # pyright: ignore[reportUnknownArgumentType]
    return found


def _mistakes_of_items(items: list[Any], shape: Shape, path: str) -> list[str]:
    found: list[str] = []
    seen = set[str]()
    for position, item in enumerate(items):
        where = f"[{position}]"
        if shape.form in _LISTS:
            try:
                element = element_of(shape, item)
            except Unkeyed as error:
                return [*found, f"{path}: element {position}: {error}"]
            where = fieldset.shown((element,))
            if element in seen:
                found.append(f"{path}: duplicate entries for key {where}")
            seen.add(element)
        found += mistakes(item, shape.items, path + where)
    return found


def together(messages: list[str]) -> str:
    """Return one message for all."""
    if len(messages) == 1:
        return messages[0]
    return "\n".join(["errors:", *(f"  {message}" for message in messages)])


def refusal(conflict: Conflict) -> Refused:
    """409 with a cause for each contested field."""
    contested = list(conflict)
    causes = [
        {
            "reason": "FieldManagerConflict",
            "message": f"conflict with {who}",
            "field": fieldset.shown(path),
        }
        for who, path in contested
    ]
    if len(contested) == 1:
        who, path = contested[0]
        text = f"Apply failed with 1 conflict: conflict with {who}: {fieldset.shown(path)}"
    else:
        lines: list[str] = []
        for who, fields in conflict.fields.items():
            lines.append(f"conflicts with {who}:")
            lines += [f"- {fieldset.shown(path)}" for path in fieldset.paths(fields)]
        text = f"Apply failed with {len(contested)} conflicts: " + "\n".join(lines)
    return statuses.refused(409, "Conflict", text, causes=causes)


def _wrong(value: Any, wants: Wants) -> str:
    """Return what a value should be, in Go's words; empty if it is that."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    match wants:
        case "map" if not isinstance(value, dict):
            return f"expected map, got &{{{_go(value)}}}"
        case "list" if not isinstance(value, list):
            return f"expected list, got &{{{_go(value)}}}"
        case "string" if not isinstance(value, str):
            return f"expected string, got &value.valueUnstructured{{Value:{_go(value)}}}"
        case "boolean" if not isinstance(value, bool):
            return f"expected boolean, got &{{{_go(value)}}}"
        case "numeric" if not number:
            return f"expected numeric (int or float), got {_go_type(value)}"
        case "scalar" if isinstance(value, dict | list):
            return f"expected any scalar, got &{{{_go(value)}}}"
        case _:
            return ""


def _go(value: Any) -> str:
    """Return a JSON value as Go's %v prints it."""
    if isinstance(value, dict):
        members: Json = value  # pyright: ignore[reportUnknownVariableType]
        return "map[" + " ".join(f"{k}:{_go(members[k])}" for k in sorted(members)) + "]"
    if isinstance(value, list):
        return "[" + " ".join(map(_go, value)) + "]"  # pyright: ignore[reportUnknownArgumentType]
    if isinstance(value, bool):
        return "true" if value else "false"
    return "<nil>" if value is None else str(value)


def _go_type(value: Any) -> str:
    if isinstance(value, dict):
        return "map[string]interface {}"
    if isinstance(value, list):
        return "[]interface {}"
    return "bool" if isinstance(value, bool) else "string"
