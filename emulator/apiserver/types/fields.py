"""Pure: parts of a JSON object that may be absent, null or of another type: read, or filled in."""

from collections.abc import Mapping
from typing import Any, cast

Json = dict[str, Any]


def struct(obj: Mapping[str, Any] | None, name: str) -> Json:
    """Return the object *name* of *obj*; an empty one (not part of *obj*) if there is none."""
    value = (obj or {}).get(name)
    return cast("Json", value) if isinstance(value, dict) else {}


def below(obj: Json | None, *path: str) -> Json:
    """Return the object that is found below *obj*; an empty one if there is none."""
    found = obj or {}
    for step in path:
        found = struct(found, step)
    return found


def many(obj: Mapping[str, Any] | None, name: str) -> list[Any]:
    """Return the list *name* of *obj*; an empty one (not part of *obj*) if there is none."""
    value: object = (obj or {}).get(name)
    found: list[Any] = value if isinstance(value, list) else []  # pyright: ignore[reportUnknownVariableType]
    return found


def text(obj: Mapping[str, Any], name: str) -> str:
    """Return the text *name* of *obj*; the empty one if there is none."""
    value = obj.get(name)
    return value if isinstance(value, str) else ""


def fill(obj: Json, name: str, value: Any) -> None:
    """Set *name* of *obj* where it has what Go takes for nothing."""
    if not obj.get(name):
        obj[name] = value


def spec_of(obj: Json) -> Json:
    """Return the spec of *obj*, which has one from then on."""
    found: Json = obj.setdefault("spec", {})
    return found
