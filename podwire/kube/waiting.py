"""Waits, by watching, until objects are ready; says what is lacking when the limit is over."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

from podwire.errors import ApiError, PodwireError, TimedOut
from podwire.kube import meant, readiness
from podwire.kube.plain import Connection

Json = dict[str, Any]

_LOOK = 1.0  # seconds between looks at the pods of what is waited for


@dataclass(frozen=True, slots=True)
class Target:
    """An object to wait for: the path of its collection, and its name."""

    kind: str
    collection: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind.lower()} {self.name}"


def until_ready(
    connection: Connection,
    targets: Iterable[Target],
    *,
    limit: float,
    setting: str = "--timeout SECONDS",
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Return when all *targets* are ready.

    Raises TimedOut after *limit* seconds, naming each pod that is not ready and why, and
    PodwireError as soon as one can never become ready, for lack of an image say. *setting* is how
    the caller would wait longer.
    """
    deadline = clock() + limit
    wanted = tuple(targets)
    for target in wanted:  # one after another: the sum of the waits is the longest of them
        look = clock() + _LOOK
        while not _until_ready(connection, target, lambda: min(look, deadline) - clock()):  # noqa: B023
            if clock() >= deadline:
                raise TimedOut(
                    f"not ready within {limit:g} s:\n{_report(connection, wanted)}"
                    f"; or wait longer: {setting}"
                )
            if _has_no_image(connection, target):
                raise PodwireError(f"cannot become ready:\n{_report(connection, wanted)}")
            look = clock() + _LOOK


def _has_no_image(connection: Connection, target: Target) -> bool:
    obj = connection.find(f"{target.collection}/{target.name}")
    if obj is None:
        return False
    # What a rollout leaves behind does not count.
    wanted = readiness.images(obj["spec"].get("template") or obj)
    return any(
        readiness.has_no_image(pod)
        for pod in _pods_of(connection, target, obj)
        if readiness.images(pod) == wanted and not pod["metadata"].get("deletionTimestamp")
    )


def _until_ready(connection: Connection, target: Target, left: Callable[[], float]) -> bool:
    path = f"{target.collection}/{target.name}"
    while True:
        obj: Json = {**connection.get(path), "kind": target.kind}
        if _is_ready(target, obj):
            return True
        if left() <= 0:
            return False
        query = {
            "watch": "true",
            "fieldSelector": f"metadata.name={target.name}",
            "resourceVersion": obj["metadata"]["resourceVersion"],
        }
        try:
            for event in connection.lines(target.collection, query, left=left):
                if event["type"] == "ERROR":
                    break  # too old a revision: read it again
                if event["type"] == "DELETED":
                    raise PodwireError(f"{target} was deleted while it was waited for")
                if _is_ready(target, event["object"] | {"kind": target.kind}):
                    return True
        except TimeoutError:
            return False


def _is_ready(target: Target, obj: Json) -> bool:
    why = readiness.hopeless(obj)
    if why:
        raise PodwireError(f"{target} cannot become ready: {why}\n  see: kubectl describe {target}")
    return not readiness.lack(obj)


def _report(connection: Connection, targets: Sequence[Target]) -> str:
    """Return who lacks what: each object, and each of its pods with its reason."""
    lines = list[str]()
    for target in targets:
        obj = connection.find(f"{target.collection}/{target.name}")
        if obj is None:
            lines.append(f"  {target}: is gone")
            continue
        what = readiness.lack(obj | {"kind": target.kind})
        if not what:
            continue
        lines.append(f"  {target}: {what}")
        for pod in _pods_of(connection, target, obj):
            events = _events_of(connection, pod)
            why = readiness.pod_lack(pod, events)
            if why:
                lines.append(f"    pod {pod['metadata']['name']}: {why}")
                last = [f"      its last words: {text}" for text in _last_words(connection, pod)]
                lines += [line for line in last if line not in lines]
    lines.append("  look closer: kubectl get events -A")
    return "\n".join(lines)


def _pods_of(connection: Connection, target: Target, obj: Json) -> list[Json]:
    if target.kind == "Pod":
        return [obj]
    labels = meant.selector(obj)
    if not labels:
        return []
    namespace = obj["metadata"]["namespace"]
    listing = connection.find(f"/api/v1/namespaces/{namespace}/pods", {"labelSelector": labels})
    return cast("list[Json]", (listing or {}).get("items") or [])


def _last_words(connection: Connection, pod: Json) -> list[str]:
    """Return the last lines of the containers that ended: why they did is mostly there."""
    metadata, said = pod["metadata"], list[str]()
    for name, previous in readiness.ended(pod):
        path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}/log"
        query = {"container": name, "tailLines": "3", "previous": "true" if previous else ""}
        try:
            text = b"".join(connection.stream(path, query)).decode(errors="replace")
        except PodwireError:
            continue  # the reasons in the pod's status must do
        said += [line for line in text.splitlines() if line.strip()]
    return said


def _events_of(connection: Connection, pod: Json) -> list[Json]:
    metadata = pod["metadata"]
    query = {"fieldSelector": f"involvedObject.uid={metadata['uid']}"}
    try:
        listing = connection.get(f"/api/v1/namespaces/{metadata['namespace']}/events", query)
    except ApiError:
        return []  # the reasons in the pod's status must do
    items = cast("list[Json]", listing.get("items") or [])
    return sorted(items, key=lambda event: str(event.get("lastTimestamp") or ""))
