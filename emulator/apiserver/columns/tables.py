"""Pure: the tables that ``kubectl get`` prints: columns and one row per object.

Kinds without a table of their own show their name and when they were created.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any, Literal, Protocol

from podwire.emulator.apiserver.columns import (
    table_cluster,
    table_metrics,
    table_pods,
    table_services,
    table_workloads,
)
from podwire.emulator.apiserver.columns.cells import Printer, Row, name
from podwire.emulator.apiserver.resources import CustomKind, Resource

Json = dict[str, Any]


class Versioned(Protocol):
    """A kind in a version."""

    @property
    def api_version(self) -> str:
        """Return ``v1`` or ``apps/v1``."""
        ...

    @property
    def kind(self) -> str:
        """Return ``Pod``."""
        ...


_PRINTERS: dict[tuple[str, str], Printer] = {
    **table_pods.PRINTERS,
    **table_services.PRINTERS,
    **table_workloads.PRINTERS,
    **table_cluster.PRINTERS,
    **table_metrics.PRINTERS,
}


def _plain(obj: Json, now: float) -> Row:
    del now
    return Row([name(obj), obj["metadata"].get("creationTimestamp")])


_DEFAULT = Printer("Name|Created At:date", _plain)


def _printer(api_version: str, kind: str) -> Printer:
    return _PRINTERS.get((api_version, kind), _DEFAULT)


@cache
def columns(api_version: str, kind: str) -> tuple[Json, ...]:
    """Return the columnDefinitions of a kind. Do not change them: they are shared."""
    texts = _printer(api_version, kind).columns.split("|")
    names = [text for text in texts if text.endswith(":name")] or texts[:1]
    return tuple(_column(text, "name" if text in names else "") for text in texts)


def _column(text: str, form: str) -> Json:
    wide = "*" in text
    title, _, type_ = text.replace("*", "").partition(":")
    return {
        "name": title,
        "type": "string" if type_ in ("", "name") else type_,
        "format": form,
        "description": _DESCRIPTIONS.get(title, ""),
        "priority": int(wide),
    }


_DESCRIPTIONS = {
    "Name": "Name must be unique within a namespace.",
    "Age": "How long ago the object was created.",
    "Created At": "When the object was created.",
}


def row(obj: Json, api_version: str, kind: str, *, now: float) -> Row:
    """Return the cells for an object; *now* in Unix seconds gives the ages."""
    return _printer(api_version, kind).row(obj, now)


def table(
    resource: Versioned,
    objects: Sequence[Json],
    *,
    now: float,
    include_object: Literal["Metadata", "None", "Object"] = "Metadata",
    first: bool = True,
) -> Json:
    """Return a meta.k8s.io/v1 Table, without metadata.

    *first*: with column definitions; in a watch only the first event has them.
    """
    if isinstance(resource, Resource) and resource.custom:
        return _custom(resource, resource.custom, objects, now, include_object, first=first)
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "columnDefinitions": columns(resource.api_version, resource.kind) if first else None,
        "rows": [_row(resource, obj, now, include_object) for obj in objects],
    }


def _custom(
    resource: Resource,
    kind: CustomKind,
    objects: Sequence[Json],
    now: float,
    include: str,
    *,
    first: bool,
) -> Json:
    # Clusters without custom resources start without this.
    from podwire.emulator.apiserver.custom import table_custom  # noqa: PLC0415

    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "columnDefinitions": table_custom.columns(kind.columns) if first else None,
        "rows": [
            _filled(resource, obj, Row(table_custom.row(obj, kind.columns, now)), include)
            for obj in objects
        ],
    }


def _row(resource: Versioned, obj: Json, now: float, include: str) -> Json:
    made = row(obj, resource.api_version, resource.kind, now=now)
    return _filled(resource, obj, made, include)


def _filled(resource: Versioned, obj: Json, made: Row, include: str) -> Json:
    result: Json = {"cells": made.cells}
    if made.conditions:
        result["conditions"] = made.conditions
    if include == "Object":
        result["object"] = {"kind": resource.kind, "apiVersion": resource.api_version, **obj}
    elif include == "Metadata":
        head = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1"}
        result["object"] = {**head, "metadata": obj["metadata"]}
    else:
        result["object"] = None
    return result
