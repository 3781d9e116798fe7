"""Pure: the JSONPath that printer columns use: fields, items, `[*]` and `[?(@.type=="Ready")]`.

Source: k8s.io/client-go/util/jsonpath, of which this is the part without text, ranges and `..`.
"""

import operator
import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any

Step = Callable[[Any], Iterator[Any]]
Json = dict[str, Any]

_FIELD = re.compile(r"\.((?:\\.|[^\\.\[])+)")
_QUOTED = re.compile(r"\[(?:'((?:\\.|[^'\\])*)'|\"((?:\\.|[^\"\\])*)\")\]")
_INDEX = re.compile(r"\[(-?\d+)\]")
_SLICE = re.compile(r"\[(-?\d*):(-?\d*)\]")
_ALL = re.compile(r"\[\*\]|\.\*")
_FILTER = re.compile(
    r"\[\?\(\s*@((?:[^=!<>\"'\[]|\[[^\]]*\])*?)\s*(?:(==|!=|<=|>=|<|>)\s*(.+?)\s*)?\)\]"
)


_ORDERS: dict[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class PathError(ValueError):
    """A path that cannot be read."""


def find(path: str, value: Any) -> list[Any]:
    """Return what *path* leads to below *value*; raises PathError. What is missing is left out."""
    found = [value]
    for step in steps(path):
        found = [below for one in found for below in step(one)]
    return found


@lru_cache(maxsize=256)
def steps(path: str) -> tuple[Step, ...]:
    """Return *path* taken apart; raises PathError."""
    text = path.strip()
    if text.startswith("{") and text.endswith("}"):
        text = text[1:-1]
    text = text.removeprefix("$")
    if text == ".":
        return ()
    made: list[Step] = []
    at = 0
    while at < len(text):
        step, length = _step(text, at)
        made.append(step)
        at += length
    return tuple(made)


def _step(text: str, at: int) -> tuple[Step, int]:
    if match := _ALL.match(text, at):
        return _every, len(match[0])
    if match := _FIELD.match(text, at):
        return _field(re.sub(r"\\(.)", r"\1", match[1])), len(match[0])
    if match := _QUOTED.match(text, at):
        name = match[1] if match[1] is not None else match[2]
        return _field(re.sub(r"\\(.)", r"\1", name)), len(match[0])
    if match := _INDEX.match(text, at):
        return _item(int(match[1])), len(match[0])
    if match := _SLICE.match(text, at):
        start, end = (int(part) if part else None for part in match.groups())
        return _some(slice(start, end)), len(match[0])
    if match := _FILTER.match(text, at):
        return _filter(match[1].strip(), match[2], match[3]), len(match[0])
    raise PathError(f"cannot read {text[at:]!r} in the path {text!r}")


def _field(name: str) -> Step:
    def step(value: Any) -> Iterator[Any]:
        if isinstance(value, dict) and name in value:
            yield value[name]

    return step


def _item(index: int) -> Step:
    def step(value: Any) -> Iterator[Any]:
        if isinstance(value, list) and -len(value) <= index < len(value):  # pyright: ignore[reportUnknownArgumentType]
            yield value[index]

    return step


def _some(part: slice) -> Step:
    def step(value: Any) -> Iterator[Any]:
        if isinstance(value, list):
            yield from value[part]

    return step


def _every(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from value.values()  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
    elif isinstance(value, list):
        yield from value  # pyright: ignore[reportUnknownVariableType]


def _filter(path: str, sign: str | None, literal: str | None) -> Step:
    inner = steps(path) if path else ()
    wanted = None if literal is None else _literal(literal)

    def step(value: Any) -> Iterator[Any]:
        for entry in _every(value):
            found: Sequence[Any] = [entry]
            for one in inner:
                found = [below for item in found for below in one(item)]
            if found and (sign is None or _compare(found[0], sign, wanted)):
                yield entry

    return step


def _literal(text: str) -> Any:
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "'\"":
        return re.sub(r"\\(.)", r"\1", text[1:-1])
    if text in ("true", "false"):
        return text == "true"
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        raise PathError(f"cannot compare with {text!r}") from None


def _compare(left: Any, sign: str, right: Any) -> bool:
    if isinstance(left, bool) is not isinstance(right, bool):
        return sign == "!="
    if sign in ("==", "!="):
        return bool(left == right) is (sign == "==")
    alike = isinstance(left, str) and isinstance(right, str)
    numbers = isinstance(left, int | float) and isinstance(right, int | float)
    if not (alike or numbers):
        return False
    return bool(_ORDERS[sign](left, right))
