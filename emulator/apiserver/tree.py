"""Pure: reading JSON objects whose members may be missing or null."""

from typing import Any

Json = dict[str, Any]


def below(obj: Json | None, *path: str) -> Json:
    """Return the object that is found below *obj*, an empty one where there is none."""
    for step in path:
        obj = (obj or {}).get(step)
    return obj or {}


def many(obj: Json | None, name: str) -> list[Any]:
    """Return the list that is member *name* of *obj*, an empty one where there is none."""
    found: list[Any] | None = (obj or {}).get(name)
    return found or []
