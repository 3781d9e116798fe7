"""Pure: the table of pods. The STATUS column is worked out from containers, as kubectl users know.

Source: printPod in pkg/printers/internalversion/printers.go.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from podwire.emulator.apiserver.columns.cells import (
    Json,
    Printer,
    Row,
    age,
    containers,
    labels,
    name,
    seconds_of,
    since,
)
from podwire.emulator.apiserver.types.fields import below, many

_FINISHED = {
    "Succeeded": "The pod has completed successfully.",
    "Failed": "The pod failed.",
}


@dataclass(slots=True)
class _Summary:
    """What is found while the containers of a pod are looked through."""

    reason: str
    ready: int = 0
    restarts: int = 0
    last_restart: str = ""

    def count(self, status: Json) -> None:
        """Add a container's restarts, and remember the latest."""
        self.restarts += status.get("restartCount", 0)
        ended: str = (_state(status, "lastState", "terminated") or {}).get("finishedAt") or ""
        if ended and (seconds_of(ended) or 0) > (seconds_of(self.last_restart) or 0):
            self.last_restart = ended


def _pod(obj: Json, now: float) -> Row:
    spec, status = below(obj, "spec"), below(obj, "status")
    phase: str = status.get("phase", "")
    found = _summary(obj)
    sidecars = sum(map(_is_sidecar, many(spec, "initContainers")))
    total = len(many(spec, "containers")) + sidecars
    restarts = str(found.restarts)
    if found.restarts and found.last_restart:
        restarts = f"{found.restarts} ({since(found.last_restart, now)} ago)"
    addresses: list[Json] = many(status, "podIPs") or [{}]
    cells: list[Any] = [
        name(obj),
        f"{found.ready}/{total}",
        found.reason,
        restarts,
        age(obj, now),
        addresses[0].get("ip") or "<none>",
        spec.get("nodeName") or "<none>",
        status.get("nominatedNodeName") or "<none>",
        _gates(many(spec, "readinessGates"), many(status, "conditions")),
    ]
    if phase not in _FINISHED:
        return Row(cells)
    mark = {"type": "Completed", "status": "True", "reason": phase, "message": _FINISHED[phase]}
    return Row(cells, [mark])


def _summary(obj: Json) -> _Summary:
    status: Json = below(obj, "status")
    phase: str = status.get("phase", "")
    found = _Summary(status.get("reason") or phase)
    conditions: list[Json] = many(status, "conditions")
    if any(c.get("reason") == "SchedulingGated" for c in _of(conditions, "PodScheduled")):
        found.reason = "SchedulingGated"
    sidecars = _Summary("")
    initializing = _look_at_init_containers(obj, found, sidecars)
    done = any(c.get("status") == "True" for c in _of(conditions, "Initialized"))
    if not initializing or done:
        found.restarts, found.last_restart = sidecars.restarts, sidecars.last_restart
        _look_at_containers(status, found)
    if obj["metadata"].get("deletionTimestamp"):
        if status.get("reason") == "NodeLost":
            found.reason = "Unknown"
        elif phase not in _FINISHED:
            found.reason = "Terminating"
    return found


def _look_at_init_containers(obj: Json, found: _Summary, sidecars: _Summary) -> bool:
    """Return whether the pod still initialises; *sidecars* counts restartable ones alone."""
    wanted = {c["name"]: c for c in many(below(obj, "spec"), "initContainers")}
    for index, status in enumerate(many(below(obj, "status"), "initContainerStatuses")):
        found.count(status)
        sidecar = _is_sidecar(wanted.get(status.get("name", ""), {}))
        if sidecar:
            sidecars.count(status)
        ended = _state(status, "state", "terminated")
        waiting = (_state(status, "state", "waiting") or {}).get("reason", "")
        if ended is not None and ended.get("exitCode", 0) == 0:
            continue
        if sidecar and status.get("started"):
            found.ready += bool(status.get("ready"))
            continue
        if ended is not None:
            found.reason = f"Init:{_end(ended)}"
        elif waiting and waiting != "PodInitializing":
            found.reason = f"Init:{waiting}"
        else:
            found.reason = f"Init:{index}/{len(wanted)}"
        return True
    return False


def _look_at_containers(status: Json, found: _Summary) -> None:
    running = False
    for container in reversed(many(status, "containerStatuses")):
        found.count(container)
        ended = _state(container, "state", "terminated")
        waiting = (_state(container, "state", "waiting") or {}).get("reason", "")
        if waiting:
            found.reason = waiting
        elif ended is not None:
            found.reason = _end(ended)
        elif container.get("ready") and _state(container, "state", "running") is not None:
            running = True
            found.ready += 1
    if found.reason == "Completed" and running:
        ready = any(c.get("status") == "True" for c in _of(many(status, "conditions"), "Ready"))
        found.reason = "Running" if ready else "NotReady"


def _end(terminated: Json) -> str:
    """Return why a container ended: its reason, else its signal or exit code."""
    if terminated.get("reason"):
        return str(terminated["reason"])
    if terminated.get("signal"):
        return f"Signal:{terminated['signal']}"
    return f"ExitCode:{terminated.get('exitCode', 0)}"


def _state(status: Json, when: str, which: str) -> Json | None:
    state: Json | None = below(status, when).get(which)
    return state


def _of(conditions: Iterable[Json], kind: str) -> list[Json]:
    return [condition for condition in conditions if condition.get("type") == kind]


def _is_sidecar(container: Json) -> bool:
    return bool(container.get("restartPolicy") == "Always")


def _gates(gates: Iterable[Json], conditions: Iterable[Json]) -> str:
    wanted = [gate.get("conditionType") for gate in gates]
    if not wanted:
        return "<none>"
    true = {c.get("type") for c in conditions if c.get("status") == "True"}
    return f"{sum(one in true for one in wanted)}/{len(wanted)}"


def _template(obj: Json, now: float) -> Row:
    del now
    template = below(obj, "template")
    pod_labels = below(template, "metadata").get("labels")
    return Row([name(obj), *containers(template.get("spec")), labels(pod_labels)])


PRINTERS = {
    ("v1", "Pod"): Printer(
        "Name|Ready|Status|Restarts|Age|IP*|Node*|Nominated Node*|Readiness Gates*", _pod
    ),
    ("v1", "PodTemplate"): Printer("Name|Containers|Images|Pod Labels", _template),
}
