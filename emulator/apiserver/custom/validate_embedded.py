"""Pure: whole objects within a custom resource (x-kubernetes-embedded-resource): which kind.

Source: k8s.io/apiextensions-apiserver/pkg/apiserver/schema/objectmeta/validation.go.
"""

from collections.abc import Iterator
from typing import Any

from podwire.emulator.apiserver.admission.field_errors import FieldError, invalid, required
from podwire.emulator.apiserver.custom.structural import Node, walk
from podwire.kube import syntax

Json = dict[str, Any]


def embedded(value: Any, node: Node | None) -> Iterator[FieldError]:
    """Yield what is wrong with the kinds of objects that stand in *value*."""
    for path, member, schema in walk(value, node):
        if schema.embedded and isinstance(member, dict):
            yield from _kind_of(member, path)  # pyright: ignore[reportUnknownArgumentType]


def _kind_of(obj: Json, path: str) -> Iterator[FieldError]:
    for name in ("apiVersion", "kind"):
        field, value = f"{path}.{name}", obj.get(name)
        if name not in obj:
            yield required(field)
        elif not isinstance(value, str):
            yield invalid(field, value, "must be a string")
        elif not value:
            yield invalid(field, value, "must not be empty")
        elif name == "apiVersion" and value.count("/") > 1:
            yield invalid(field, value, f"unexpected GroupVersion string: {value}")
        elif name == "kind" and (wrong := syntax.label_1035(value.lower())):
            text = f"may have mixed case, but should otherwise match: {','.join(wrong)}"
            yield invalid(field, value, text)
