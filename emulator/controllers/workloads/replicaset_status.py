"""Pure: what a ReplicaSet reports about its pods."""

from collections.abc import Sequence

from podwire.emulator.controllers.pod_templates import labels_of
from podwire.emulator.controllers.podstate import is_available, is_ready
from podwire.kube.objects import Condition, Pod, ReplicaSet, ReplicaSetStatus
from podwire.kube.times import rfc3339

REPLICA_FAILURE = "ReplicaFailure"


def replica_set_status(
    replica_set: ReplicaSet, active: Sequence[Pod], refusal: str, *, now: float
) -> ReplicaSetStatus:
    """Return the status for the *active* pods; *refusal* is why pods were not made, or empty."""
    wanted = labels_of(replica_set.spec.template).items()
    return ReplicaSetStatus(
        replicas=len(active),
        fully_labeled_replicas=sum(1 for pod in active if wanted <= pod.metadata.labels.items()),
        ready_replicas=sum(1 for pod in active if is_ready(pod)),
        available_replicas=sum(
            1 for pod in active if is_available(pod, replica_set.spec.min_ready_seconds, now=now)
        ),
        observed_generation=max(
            replica_set.metadata.generation, replica_set.status.observed_generation
        ),
        conditions=_conditions(replica_set, len(active), refusal, now),
    )


def _conditions(
    replica_set: ReplicaSet, active: int, refusal: str, now: float
) -> tuple[Condition, ...]:
    others = tuple(c for c in replica_set.status.conditions if c.type != REPLICA_FAILURE)
    present = next((c for c in replica_set.status.conditions if c.type == REPLICA_FAILURE), None)
    if not refusal:
        # The failure is over when the number is right; a pass that only waits proves nothing.
        gone = present is None or active >= replica_set.spec.replicas
        return others if gone else replica_set.status.conditions
    reason = "FailedCreate" if active < replica_set.spec.replicas else "FailedDelete"
    if present is not None and (present.reason, present.message) == (reason, refusal):
        return replica_set.status.conditions
    return (
        *others,
        Condition(
            type=REPLICA_FAILURE,
            status="True",
            reason=reason,
            message=refusal,
            last_transition_time=rfc3339(now),
        ),
    )
