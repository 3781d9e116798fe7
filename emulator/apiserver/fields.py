"""Pure: reading parts of a JSON object that may be absent, null or of another type."""

from collections.abc import Mapping
from typing import Any, cast

Json = dict[str, Any]


def struct(obj: Mapping[str, Any], name: str) -> Json:
    """Return the object *name* of *obj*; an empty one (not part of *obj*) if there is none."""
    value = obj.get(name)
    return cast("Json", value) if isinstance(value, dict) else {}


def items(obj: Mapping[str, Any], name: str) -> list[Any]:
    """Return the list *name* of *obj*; an empty one (not part of *obj*) if there is none."""
    return cast("list[Any]", obj[name]) if isinstance(obj.get(name), list) else []


def text(obj: Mapping[str, Any], name: str) -> str:
    """Return the text *name* of *obj*; the empty one if there is none."""
    value = obj.get(name)
    return value if isinstance(value, str) else ""
