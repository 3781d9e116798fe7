"""Pure: the table of a custom resource, whose columns its definition names."""

import json
from collections.abc import Sequence
from typing import Any

from podwire.emulator.apiserver.columns.cells import name, since
from podwire.emulator.apiserver.custom import jsonpath
from podwire.emulator.apiserver.resources import PrinterColumn

Json = dict[str, Any]

_NAME: Json = {
    "name": "Name",
    "type": "string",
    "format": "name",
    "description": "Name must be unique within a namespace.",
    "priority": 0,
}


def columns(wanted: Sequence[PrinterColumn]) -> list[Json]:
    """Return the columnDefinitions: the name and what the definition adds."""
    return [_NAME, *(_column(column) for column in wanted)]


def row(obj: Json, wanted: Sequence[PrinterColumn], now: float) -> list[Any]:
    """Return the cells of one object; what is missing is null."""
    return [name(obj), *(_cell(obj, column, now) for column in wanted)]


def _column(column: PrinterColumn) -> Json:
    shown = f"Custom resource definition column (in JSONPath format): {column.path}"
    return {
        "name": column.name,
        "type": column.type,
        "format": column.format,
        "description": column.description or shown,
        "priority": column.priority,
    }


def _cell(obj: Json, column: PrinterColumn, now: float) -> Any:
    try:
        found = jsonpath.find(column.path, obj)
    except jsonpath.PathError:
        return None
    return _shown(found[0], column.type, now) if found else None


def _shown(value: Any, type_: str, now: float) -> Any:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    match type_:
        case "string":
            return _text(value)
        case "integer":
            return int(value) if number else None
        case "number":
            return value if number else None
        case "boolean":
            return value if isinstance(value, bool) else None
        case _:
            return _since(value, now) if isinstance(value, str) else None


def _since(value: str, now: float) -> str:
    try:
        return since(value, now)
    except ValueError:
        return "<invalid>"


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    return json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
