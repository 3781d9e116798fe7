"""Pure: what a pod's status says, in the words that controllers use: active, ready, available."""

from podwire.kube.objects import Condition, Pod
from podwire.kube.times import parse_rfc3339


def is_finished(pod: Pod) -> bool:
    """Tell whether the pod ended for good: its phase is Succeeded or Failed."""
    return pod.status.phase in ("Succeeded", "Failed")


def is_terminating(pod: Pod) -> bool:
    """Tell whether somebody asked for the pod's deletion."""
    return pod.metadata.deletion_timestamp is not None


def is_active(pod: Pod) -> bool:
    """Tell whether the pod counts as a replica: neither finished nor terminating."""
    return not is_finished(pod) and not is_terminating(pod)


def ready_condition(pod: Pod) -> Condition | None:
    """Return the condition `Ready`, or None where the kubelet has not spoken yet."""
    return next((c for c in pod.status.conditions if c.type == "Ready"), None)


def is_ready(pod: Pod) -> bool:
    """Tell whether the kubelet says that the pod is ready."""
    condition = ready_condition(pod)
    return condition is not None and condition.status == "True"


def ready_since(pod: Pod) -> float | None:
    """Return since when the pod is ready, seconds since 1970; None if it is not or nobody knows."""
    condition = ready_condition(pod)
    if condition is None or condition.status != "True" or condition.last_transition_time is None:
        return None
    return parse_rfc3339(condition.last_transition_time)


def available_in(pod: Pod, min_ready_seconds: int, *, now: float) -> float | None:
    """Return in how many seconds the pod is available: 0 for now, None while it is not ready."""
    if not is_ready(pod):
        return None
    if min_ready_seconds == 0:
        return 0.0
    since = ready_since(pod)
    return None if since is None else max(0.0, since + min_ready_seconds - now)


def is_available(pod: Pod, min_ready_seconds: int, *, now: float) -> bool:
    """Tell whether the pod has been ready for *min_ready_seconds*."""
    return available_in(pod, min_ready_seconds, now=now) == 0.0


def restarts(pod: Pod) -> int:
    """Return the restart count of the container that restarted most often."""
    return max((status.restart_count for status in pod.status.container_statuses), default=0)
