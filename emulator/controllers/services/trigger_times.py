"""When the change that a slice or Endpoints object shows first happened, for latency measurements.

The value of the annotation endpoints.kubernetes.io/last-change-trigger-time, found as Kubernetes'
TriggerTimeTracker finds it: the oldest of the changes that are new since the last pass.
"""

from collections.abc import Iterable

from podwire.emulator.controllers.podstate import ready_condition
from podwire.kube.codec import key_of
from podwire.kube.names import Key
from podwire.kube.objects import Pod, Service

LAST_CHANGE = "endpoints.kubernetes.io/last-change-trigger-time"


class TriggerTimes:
    """Remembers per Service which changes were seen."""

    def __init__(self) -> None:
        self._seen: dict[Key, dict[str, str]] = {}

    def annotation(self, service: Service, pods: Iterable[Pod]) -> dict[str, str]:
        """Return the annotation for this pass; empty if nothing new is known."""
        times = {"": service.metadata.creation_timestamp or ""}
        for pod in pods:
            condition = ready_condition(pod)
            if condition is not None and condition.last_transition_time:
                times[pod.metadata.name] = condition.last_transition_time
        before = self._seen.get(key_of(service), {})
        self._seen[key_of(service)] = times
        # RFC 3339 in UTC: the order of the texts is the order of the times.
        fresh = [moment for name, moment in times.items() if moment > before.get(name, "")]
        return {LAST_CHANGE: min(fresh)} if fresh else {}

    def forget(self, service: Key) -> None:
        """Drop what is remembered of a Service that is gone."""
        self._seen.pop(service, None)
