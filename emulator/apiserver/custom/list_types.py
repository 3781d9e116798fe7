"""Pure: lists of a custom resource whose items must differ (x-kubernetes-list-type: set, map).

Source: k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype.
"""

from collections.abc import Iterator
from typing import Any

from podwire.emulator.apiserver.admission.field_errors import FieldError, duplicate, invalid, shown
from podwire.emulator.apiserver.custom.structural import Node, walk

Json = dict[str, Any]


def duplicates(obj: Json, root: Node) -> list[FieldError]:
    """Return an error for each item that is there twice."""
    found: list[FieldError] = []
    for path, value, node in walk(obj, root):
        if isinstance(value, list):
            entries: list[Any] = value  # pyright: ignore[reportUnknownVariableType]
            if node.list_type == "set":
                found += _repeated(entries, path)
            elif node.list_type == "map":
                found += _keyed(entries, node, path)
    return found


def _keyed(entries: list[Any], node: Node, path: str) -> Iterator[FieldError]:
    keys: list[Any] = []
    for index, entry in enumerate(entries):
        if not isinstance(entry, dict) and entry is not None:
            text = "must be an object for an array of list-type map"
            yield invalid(f"{path}[{index}]", entry, text)
            return
        members: Json = entry or {}  # pyright: ignore[reportUnknownVariableType]
        keys.append({name: members[name] for name in node.list_keys if name in members})
    yield from _repeated(keys, path)


def _repeated(entries: list[Any], path: str) -> Iterator[FieldError]:
    seen: dict[str, int] = {}
    for index, entry in enumerate(entries):
        text = shown(entry)
        seen[text] = seen.get(text, 0) + 1
        if seen[text] == 2:  # told once, as Go does
            yield duplicate(f"{path}[{index}]", entry)
