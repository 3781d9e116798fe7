"""Pure: how long a Job waits after failures of its pods before it makes new ones.

10 s after the first, doubled by each further one without a success between, 10 minutes at most
(pkg/controller/job/backoff_utils.go).
"""

from collections.abc import Iterable
from dataclasses import dataclass

from podwire.kube.objects import Pod
from podwire.kube.times import parse_rfc3339

FIRST = 10.0
LONGEST = 600.0


@dataclass(frozen=True, slots=True)
class Backoff:
    """How many pods failed since the last success, and when the last one did (since 1970)."""

    failures: int = 0
    last: float = 0.0

    def after(self, succeeded: Iterable[Pod], failed: Iterable[Pod], *, now: float) -> "Backoff":
        """Return the record with pods that have just ended."""
        ended = [(ended_at(pod, now), 1, pod) for pod in failed]
        ended += [(ended_at(pod, now), 0, pod) for pod in succeeded]
        failures, last = self.failures, self.last
        # At the same second a success counts first: the failure after it must be waited for.
        for moment, failure, _pod in sorted(ended, key=lambda entry: entry[:2]):
            failures, last = (failures + 1, moment) if failure else (0, 0.0)
        return Backoff(failures, last)

    def remaining(self, *, now: float) -> float:
        """Return the seconds until a pod may be made."""
        return delay_left(self.failures, self.last, now=now)


def delay_left(failures: int, last: float, *, now: float) -> float:
    """Return the seconds to wait after *failures* in a row, the last of them at *last*."""
    if failures == 0:
        return 0.0
    # Beyond that the power only grows.
    delay = min(FIRST * 2.0 ** min(failures - 1, 10), LONGEST)
    return max(0.0, last + delay - now)


def ended_at(pod: Pod, now: float) -> float:
    """Return when the last container of an ended pod ended; if nobody says, when it was deleted."""
    ends = [
        status.state.terminated.finished_at
        for status in pod.status.container_statuses
        if status.state.terminated is not None and status.state.terminated.finished_at
    ]
    if ends and len(ends) == len(pod.status.container_statuses):
        return max(parse_rfc3339(end) for end in ends)
    ready = next((c for c in pod.status.conditions if c.type == "Ready"), None)
    if ready is not None and ready.status == "False" and ready.last_transition_time:
        return parse_rfc3339(ready.last_transition_time)
    return now if pod.metadata.deletion_timestamp is None else _deleted_at(pod)


def _deleted_at(pod: Pod) -> float:
    moment = parse_rfc3339(pod.metadata.deletion_timestamp or "")
    return moment - (pod.metadata.deletion_grace_period_seconds or 0)
