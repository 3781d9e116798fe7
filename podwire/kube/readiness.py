"""Pure: is an object ready, and if not, what is lacking; the rules of `kubectl rollout status`."""

from collections.abc import Sequence
from typing import Any, cast

Json = dict[str, Any]

# In the message of a container whose image nobody knows.
HOW_TO_ADD = "podwire up --image"
WAITED_FOR = ("Deployment", "DaemonSet", "StatefulSet", "ReplicaSet", "Pod")


def lack(obj: Json) -> str:
    """Return what *obj* lacks to be ready, or an empty text."""
    rule = _RULES.get(str(obj.get("kind")))
    return rule(obj) if rule else ""


def hopeless(obj: Json) -> str:
    """Return why *obj* can never become ready, or an empty text."""
    status = _status(obj)
    if obj.get("kind") == "Pod" and status.get("phase") == "Failed":
        return f"it failed: {status.get('reason') or 'its containers ended'}"
    for condition in _conditions(obj):
        if obj.get("kind") == "Job" and condition.get("type") == "Failed":
            return f"it failed: {condition.get('message') or condition.get('reason')}"
        if condition.get("reason") == "ProgressDeadlineExceeded":
            return str(condition.get("message") or "its progress deadline is exceeded")
    return ""


def has_no_image(pod: Json) -> bool:
    """Return whether an image of *pod* is none that Podwire knows; it pulls none, so it stays so.

    The messages of an engine, which does pull, say otherwise (emulator/images/catalogue.py).
    """
    for container in _container_statuses(pod):
        state: Json = container.get("state") or {}
        wait: Json = state.get("waiting") or {}
        if wait.get("reason") == "InvalidImageName" or HOW_TO_ADD in str(wait.get("message")):
            return True
    return False


def images(pod: Json) -> list[str]:
    """Return the images of a pod or of a pod's template, by the order of its containers."""
    spec: Json = pod.get("spec") or {}
    kinds = ("initContainers", "containers")
    return [
        str(one.get("image")) for kind in kinds for one in cast("list[Json]", spec.get(kind) or [])
    ]


def pod_lack(pod: Json, events: Sequence[Json] = ()) -> str:
    """Return what a pod lacks, in the words of its containers and of its newest warning."""
    status = _status(pod)
    if pod["metadata"].get("deletionTimestamp"):
        return "is being deleted"
    reasons = list[str]()
    for container in cast("list[Json]", status.get("containerStatuses") or []):
        if container.get("ready"):
            continue
        state: Json = container.get("state") or {}
        name = container["name"]
        waiting: Json = state.get("waiting") or {}
        terminated: Json = state.get("terminated") or {}
        if waiting:
            text = f"{waiting.get('reason', 'waiting')}"
            text += f": {waiting['message']}" if waiting.get("message") else ""
            reasons.append(f"container {name} {text}")
        elif terminated:
            reasons.append(f"container {name} ended with status {terminated.get('exitCode')}")
        else:
            reasons.append(f"container {name} runs but is not ready")
    if not reasons:
        for condition in _conditions(pod):
            if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
                reasons.append(f"not scheduled: {condition.get('message', '')}")
    if not reasons and not _is_true(pod, "Ready"):
        reasons.append(f"phase {status.get('phase') or 'Pending'}")
    warnings = [event for event in events if event.get("type") == "Warning"]
    if reasons and warnings:
        message = str(warnings[-1].get("message", ""))
        if message not in "; ".join(reasons):
            reasons.append(f"last event: {message}")
    return "; ".join(reasons)


def ended(pod: Json) -> list[tuple[str, bool]]:
    """Return the containers that ended although they should not have, and whether they began anew.

    The log of those that did, or wait to, is the previous one.
    """
    found = list[tuple[str, bool]]()
    for container in _container_statuses(pod):
        state: Json = container.get("state") or {}
        before: Json = container.get("lastState") or {}
        if container.get("ready"):
            continue
        now: Json = state.get("terminated") or {}
        then: Json = before.get("terminated") or {}
        if now.get("exitCode"):
            found.append((str(container["name"]), False))
        elif then.get("exitCode"):
            found.append((str(container["name"]), True))
    return found


def _container_statuses(pod: Json) -> list[Json]:
    status = _status(pod)
    kinds = ("initContainerStatuses", "containerStatuses")
    return [one for kind in kinds for one in cast("list[Json]", status.get(kind) or [])]


def _deployment(obj: Json) -> str:
    status, wanted = _status(obj), _wanted(obj)
    if _is_unobserved(obj):
        return "not seen by its controller yet"
    updated = int(status.get("updatedReplicas") or 0)
    if updated < wanted:
        return f"{updated} of {wanted} replicas are up to date"
    if int(status.get("replicas") or 0) > updated:
        return f"{int(status['replicas']) - updated} old replicas are still there"
    available = int(status.get("availableReplicas") or 0)
    return "" if available >= wanted else f"{available} of {wanted} replicas are available"


def _replica_set(obj: Json) -> str:
    ready, wanted = int(_status(obj).get("readyReplicas") or 0), _wanted(obj)
    if _is_unobserved(obj):
        return "not seen by its controller yet"
    return "" if ready >= wanted else f"{ready} of {wanted} replicas are ready"


def _daemon_set(obj: Json) -> str:
    status = _status(obj)
    if _is_unobserved(obj):
        return "not seen by its controller yet"
    wanted = int(status.get("desiredNumberScheduled") or 0)
    for field, words in (
        ("updatedNumberScheduled", "up to date"),
        ("numberReady", "ready"),
        ("numberAvailable", "available"),
    ):
        present = int(status.get(field) or 0)
        if present < wanted:
            return f"{present} of {wanted} pods are {words}"
    return ""


def _stateful_set(obj: Json) -> str:
    status, wanted = _status(obj), _wanted(obj)
    if _is_unobserved(obj):
        return "not seen by its controller yet"
    ready = int(status.get("readyReplicas") or 0)
    if ready < wanted:
        return f"{ready} of {wanted} pods are ready"
    spec: Json = obj.get("spec") or {}
    strategy: Json = spec.get("updateStrategy") or {}
    if strategy.get("type") == "OnDelete":
        return ""  # its user says when
    rolling: Json = strategy.get("rollingUpdate") or {}
    partition = int(rolling.get("partition") or 0)
    updated, new = int(status.get("updatedReplicas") or 0), max(wanted - partition, 0)
    return "" if updated >= new else f"{updated} of {new} pods are up to date"


def _pod(obj: Json) -> str:
    if _status(obj).get("phase") == "Succeeded" or _is_true(obj, "Ready"):
        return ""
    return pod_lack(obj)


def _job(obj: Json) -> str:
    if _is_true(obj, "Complete"):
        return ""
    spec: Json = obj.get("spec") or {}
    return f"{int(_status(obj).get('succeeded') or 0)} of {spec.get('completions', 1)} are complete"


_RULES = {
    "Job": _job,
    "Deployment": _deployment,
    "ReplicaSet": _replica_set,
    "DaemonSet": _daemon_set,
    "StatefulSet": _stateful_set,
    "Pod": _pod,
}


def _is_unobserved(obj: Json) -> bool:
    generation = int(obj["metadata"].get("generation") or 0)
    return int(_status(obj).get("observedGeneration") or 0) < generation


def _wanted(obj: Json) -> int:
    spec: Json = obj.get("spec") or {}
    replicas = spec.get("replicas")
    return 1 if replicas is None else int(replicas)


def _is_true(obj: Json, kind: str) -> bool:
    return any(c.get("type") == kind and c.get("status") == "True" for c in _conditions(obj))


def _conditions(obj: Json) -> list[Json]:
    return cast("list[Json]", _status(obj).get("conditions") or [])


def _status(obj: Json) -> Json:
    return cast("Json", obj.get("status") or {})
