"""Pure: JSON of a request, read within limits, and the members that stand twice in it."""

import json
from collections import deque
from typing import Any

import msgspec

Json = dict[str, Any]

DEEPEST = 200
"""Levels of a document. Types nest a tenth of that; what walks through objects recurses."""

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


class JsonError(ValueError):
    """A text that is not JSON, or JSON that nests too deep."""


def read(content: bytes) -> Any:
    """Return any JSON value; raises JsonError."""
    try:
        value = _decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise JsonError(str(error)) from error
    except RecursionError as error:
        raise JsonError(f"it nests deeper than {DEEPEST} levels") from error
    # Counting brackets is a hundred times as fast as walking, and most bodies have few.
    if content.count(b"{") + content.count(b"[") > DEEPEST and too_deep(value):
        raise JsonError(f"it nests deeper than {DEEPEST} levels")
    return value


def too_deep(value: Any) -> bool:
    """Tell whether *value* nests deeper than DEEPEST levels."""
    level: list[Any] = [value]
    for _ in range(DEEPEST + 1):
        inside: list[Any] = []
        for entry in level:
            if isinstance(entry, dict):
                inside += entry.values()
            elif isinstance(entry, list):
                inside += entry
        if not inside:
            return False
        level = inside
    return True


def doubles(content: bytes, value: Any) -> list[str]:
    """Return the paths of members that stand twice, as `data.a`; *value* is what was read."""
    # Each member has a quote and a colon; of two with one name, reading keeps one.
    if not content or content.count(b'":') == _encode(value).count(b'":'):
        return []
    found: list[str] = []
    pending = deque([("", json.loads(content, object_pairs_hook=_Pairs))])
    while pending:
        path, entry = pending.popleft()
        if isinstance(entry, _Pairs):
            names = set[str]()
            for name, inside in entry.pairs:
                where = f"{path}.{name}" if path else name
                if name in names:
                    found.append(where)
                names.add(name)
                pending.append((where, inside))
        elif isinstance(entry, list):
            pending += [(f"{path}[{i}]", inside) for i, inside in enumerate(entry)]  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    return list(dict.fromkeys(found))


class _Pairs:
    """A JSON object with all its members."""

    __slots__ = ("pairs",)

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        self.pairs = pairs
