"""Definitions for the tests of custom resources."""

from typing import Any

Json = dict[str, Any]

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
WIDGETS = "/apis/example.com/v1/namespaces/default/widgets"

SPEC: Json = {
    "type": "object",
    "required": ["size"],
    "properties": {
        "size": {"type": "integer", "minimum": 1, "maximum": 9, "default": 3},
        "color": {"type": "string", "enum": ["red", "blue"]},
        "parts": {
            "type": "array",
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
            "items": {
                "type": "object",
                "required": ["name"],
                "properties": {"name": {"type": "string"}, "count": {"type": "integer"}},
            },
        },
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        "port": {"x-kubernetes-int-or-string": True},
        "maybe": {"type": "string", "nullable": True},
    },
}
STATUS: Json = {
    "type": "object",
    "properties": {"phase": {"type": "string"}, "size": {"type": "integer"}},
}


def schema(spec: Json | None = None) -> Json:
    """Return the schema of a widget."""
    properties = {"spec": SPEC if spec is None else spec, "status": STATUS}
    return {"openAPIV3Schema": {"type": "object", "properties": properties}}


def version(name: str = "v1", **more: Any) -> Json:
    """Return a version of a definition; the only one, unless *more* says otherwise."""
    return {"name": name, "served": True, "storage": True, "schema": schema(), **more}


def definition(*versions: Json, plural: str = "widgets", kind: str = "Widget", **more: Any) -> Json:
    """Return a definition; *more* goes into its spec."""
    names = {"plural": plural, "kind": kind, **more.pop("names", {})}
    group = more.get("group", "example.com")
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}", **more.pop("metadata", {})},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": names,
            "versions": list(versions) or [version()],
            **more,
        },
    }


def widget(name: str = "w", **spec: Any) -> Json:
    """Return a widget."""
    return {
        "apiVersion": "example.com/v1",
        "kind": "Widget",
        "metadata": {"name": name},
        "spec": spec,
    }
