"""Pure: the Scale of a custom resource: its definition says where the numbers are."""

from typing import Any

from podwire.emulator.apiserver.resources import ScalePaths
from podwire.emulator.apiserver.types.fields import below, struct

Json = dict[str, Any]


def replicas(obj: Json, paths: ScalePaths) -> int | None:
    """Return how many are wanted, None where nothing says so."""
    found = _at(obj, paths.wanted)
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def set_replicas(obj: Json, paths: ScalePaths, wanted: int) -> None:
    """Write how many are wanted."""
    *holders, name = paths.wanted
    holder = obj
    for step in holders:
        if not isinstance(holder.get(step), dict):
            holder[step] = {}
        holder = struct(holder, step)
    holder[name] = wanted


def as_workload(obj: Json, paths: ScalePaths) -> Json:
    """Return *obj* with the numbers where a Deployment has them; its selector is a text."""
    present = _at(obj, paths.present)
    selector = _at(obj, paths.selector) if paths.selector else ""
    return {
        "metadata": obj["metadata"],
        "spec": {
            "replicas": replicas(obj, paths) or 0,
            "selector": selector if isinstance(selector, str) else "",
        },
        "status": {"replicas": present if isinstance(present, int) else 0},
    }


def _at(obj: Json, path: tuple[str, ...]) -> Any:
    *holders, name = path
    return below(obj, *holders).get(name)
