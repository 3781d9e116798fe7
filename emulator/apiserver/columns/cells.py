"""Pure: how values are written in the cells of ``kubectl get``.

Source: pkg/printers/internalversion and k8s.io/apimachinery/pkg/util/duration.
"""

import datetime
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from podwire.emulator.apiserver.types.fields import below, many

Json = dict[str, Any]

_MINUTE, _HOUR, _DAY, _YEAR = 60, 3600, 86400, 86400 * 365


@dataclass(frozen=True, slots=True)
class Row:
    """The cells of one object, and what marks it (a finished pod is Completed)."""

    cells: list[Any]
    conditions: list[Json] = field(default_factory=list[Json])


@dataclass(frozen=True, slots=True)
class Printer:
    """The table of one kind.

    *columns* names them, separated by ``|``; ``*`` at the end: only with ``-o wide``; ``:type`` for
    other types than string. The first column is the name unless one is marked ``:name``.
    """

    columns: str
    row: Callable[[Json, float], Row]


def human_duration(seconds: float) -> str:
    """Return a duration as kubectl's AGE shows it: two digits or so, never rounded up."""
    whole = int(seconds)
    if whole < -1:
        return "<invalid>"
    if whole < 0:
        return "0s"
    if whole < 2 * _MINUTE:
        return f"{whole}s"
    minutes, hours, days = whole // _MINUTE, whole // _HOUR, whole // _DAY
    if minutes < 10:
        return f"{minutes}m" + _rest(whole % 60, "s")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h" + _rest(minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if hours < 24 * 8:
        return f"{days}d" + _rest(hours % 24, "h")
    if days < 2 * 365:
        return f"{days}d"
    if days < 8 * 365:
        return f"{days // 365}y" + _rest(days % 365, "d")
    return f"{days // 365}y"


def _rest(value: int, unit: str) -> str:
    return f"{value}{unit}" if value else ""


def seconds_of(time: str | None) -> float | None:
    """Return an API time as Unix seconds, or None if there is none."""
    return None if not time else datetime.datetime.fromisoformat(time).timestamp()


def since(time: str | None, now: float) -> str:
    """Return how long ago an API time was."""
    at = seconds_of(time)
    return "<unknown>" if at is None else human_duration(now - at)


def age(obj: Json, now: float) -> str:
    """Return how old an object is."""
    return since(obj["metadata"].get("creationTimestamp"), now)


def name(obj: Json) -> str:
    """Return an object's name."""
    text: str = obj["metadata"].get("name", "")
    return text


def labels(pairs: Mapping[str, str] | None) -> str:
    """Return a map as ``a=b,c=d``, sorted, or ``<none>``."""
    return ",".join(f"{k}={v}" for k, v in sorted((pairs or {}).items())) or "<none>"


def selector(value: Json | None) -> str:
    """Return a label selector as ``a=b,c in (d,e),!f``, sorted by key, or ``<none>``."""
    value = value or {}
    parts = [(key, f"{key}={text}") for key, text in below(value, "matchLabels").items()]
    for rule in many(value, "matchExpressions"):
        key, values = rule["key"], ",".join(sorted(many(rule, "values")))
        match rule["operator"]:
            case "In":
                text = f"{key} in ({values})"
            case "NotIn":
                text = f"{key} notin ({values})"
            case "Exists":
                text = key
            case _:
                text = f"!{key}"
        parts.append((key, text))
    return ",".join(text for _, text in sorted(parts)) or "<none>"


def containers(spec: Json | None) -> tuple[str, str]:
    """Return the names and the images of a pod spec's containers."""
    found = (spec or {}).get("containers") or ()
    return ",".join(c["name"] for c in found), ",".join(c.get("image", "") for c in found)


def template_containers(obj: Json) -> tuple[str, str]:
    """Return the names and the images of a workload's containers."""
    return containers(below(obj["spec"], "template").get("spec"))


def some(values: Iterable[str], limit: int, *, empty: str, joint: str = ",") -> str:
    """Return the first *limit* values and how many more there are."""
    every = list(values)
    text = joint.join(every[:limit]) or empty
    return f"{text} + {len(every) - limit} more..." if len(every) > limit else text


def count(obj: Json, *path: str) -> int:
    """Return a number below *obj*, 0 where there is none."""
    for step in path:
        obj = obj.get(step) or {}
    return obj if isinstance(obj, int) else 0
