"""Pure: members of JSON objects, read with the type they must have. null counts as absent.

Everything raises ValueError with the member's name; who calls knows which error of CNI that is.
"""

from collections.abc import Mapping
from ipaddress import ip_address
from typing import TypeVar, cast

from podwire.netlink.changes import Address

Json = Mapping[str, object]
Default = TypeVar("Default")


def text(document: Json, name: str, default: str = "") -> str:
    """Return a string member."""
    value = document.get(name)
    if value is None:
        return default
    if not isinstance(value, str):
        raise ValueError(f"{name!r} must be a string, not {value!r}")
    if not is_plain(value):
        raise ValueError(f"{name!r} must be text without NUL and half characters, not {value!r}")
    return value


def is_plain(value: str) -> bool:
    """Return whether the kernel can be given *value*, be it a name or a path."""
    return "\0" not in value and not any("\ud800" <= c <= "\udfff" for c in value)


def texts(document: Json, name: str) -> tuple[str, ...]:
    """Return a member that is a list of strings."""
    values = _list(document, name)
    for value in values:
        if not isinstance(value, str):
            raise ValueError(f"{name!r} must hold strings, not {value!r}")
    return tuple(cast("list[str]", values))


def flag(document: Json, name: str) -> bool:
    """Return a boolean member, false if absent."""
    value = document.get(name)
    if value is None:
        return False
    if not isinstance(value, bool):
        raise ValueError(f"{name!r} must be true or false, not {value!r}")
    return value


def number(document: Json, name: str, default: Default) -> int | Default:
    """Return an integer member."""
    value = document.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{name!r} must be a whole number, not {value!r}")
    return value


def ip(document: Json, name: str) -> Address | None:
    """Return a member that is an IP address, None if absent or empty."""
    value = text(document, name)
    try:
        return ip_address(value) if value else None
    except ValueError as error:
        raise ValueError(f"{name!r} must be an IP address, not {value!r}") from error


def u32(document: Json, name: str) -> int:
    """Return a member that the kernel keeps in 32 bits, 0 if absent."""
    value = number(document, name, 0)
    if not 0 <= value < 1 << 32:
        raise ValueError(f"{name!r} must be between 0 and 4294967295, not {value}")
    return value


def table(document: Json, name: str) -> Json:
    """Return a member that is an object, empty if absent."""
    value = document.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValueError(f"{name!r} must be an object, not {value!r}")
    return cast("Json", value)


def objects(document: Json, name: str) -> tuple[Json, ...]:
    """Return a member that is a list of objects."""
    return tuple(as_object(value, name) for value in _list(document, name))


def lists(document: Json, name: str) -> tuple[list[object], ...]:
    """Return a member that is a list of lists."""
    values = _list(document, name)
    for value in values:
        if not isinstance(value, list):
            raise ValueError(f"{name!r} must hold lists, not {value!r}")
    return tuple(cast("list[list[object]]", values))


def as_object(value: object, name: str) -> Json:
    """Return *value*, which must be an object."""
    if not isinstance(value, dict):
        raise ValueError(f"{name!r} must hold objects, not {value!r}")
    return cast("Json", value)


def anycase(document: Json) -> dict[str, object]:
    """Return *document* with its members' names in lower case, also inside.

    Runtimes written in Go send HostPort where the convention says hostPort, because Go's decoder
    does not mind; containerd does so.
    """
    return {name.lower(): _anycase(value) for name, value in document.items()}


def _anycase(value: object) -> object:
    if isinstance(value, dict):
        return anycase(cast("Json", value))
    if isinstance(value, list):
        return [_anycase(each) for each in cast("list[object]", value)]
    return value


def _list(document: Json, name: str) -> list[object]:
    value = document.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        raise ValueError(f"{name!r} must be a list, not {value!r}")
    return cast("list[object]", value)
