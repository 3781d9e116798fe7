"""Pure: what a Deployment reports: counts, and the conditions Available and Progressing."""

from collections.abc import Sequence

import msgspec

from podwire.emulator.controllers.workloads.replicaset_status import REPLICA_FAILURE
from podwire.emulator.controllers.workloads.rollout import max_unavailable
from podwire.kube.objects import Condition, Deployment, DeploymentStatus, ReplicaSet
from podwire.kube.times import parse_rfc3339, rfc3339

AVAILABLE = "Available"
PROGRESSING = "Progressing"

# Kubernetes takes the largest number for "no deadline".
NO_DEADLINE = 2**31 - 1


def counted(
    deployment: Deployment, everything: Sequence[ReplicaSet], new: ReplicaSet | None, *, now: float
) -> DeploymentStatus:
    """Return the counts over all ReplicaSets, and whether enough pods are available."""
    replicas = sum(rs.status.replicas for rs in everything)
    available = sum(rs.status.available_replicas for rs in everything)
    enough = available >= deployment.spec.replicas - max_unavailable(deployment)
    condition = Condition(
        type=AVAILABLE,
        status="True" if enough else "False",
        reason="MinimumReplicasAvailable" if enough else "MinimumReplicasUnavailable",
        message=(
            "Deployment has minimum availability."
            if enough
            else "Deployment does not have minimum availability."
        ),
    )
    return DeploymentStatus(
        observed_generation=deployment.metadata.generation,
        replicas=replicas,
        updated_replicas=new.status.replicas if new else 0,
        ready_replicas=sum(rs.status.ready_replicas for rs in everything),
        available_replicas=available,
        unavailable_replicas=max(0, sum(rs.spec.replicas for rs in everything) - available),
        collision_count=deployment.status.collision_count,
        conditions=with_condition(deployment.status.conditions, condition, now=now),
    )


def with_progress(
    deployment: Deployment,
    status: DeploymentStatus,
    everything: Sequence[ReplicaSet],
    new: ReplicaSet | None,
    *,
    now: float,
) -> DeploymentStatus:
    """Return *status* with the condition Progressing as the rollout stands."""
    conditions = status.conditions
    present = find(conditions, PROGRESSING)
    finished_before = (
        present is not None
        and present.reason == "NewReplicaSetAvailable"
        and status.replicas == status.updated_replicas
    )
    if deployment.spec.progress_deadline_seconds >= NO_DEADLINE:
        conditions = tuple(c for c in conditions if c.type != PROGRESSING)
    elif not finished_before:
        subject = (
            f'ReplicaSet "{new.metadata.name}"'
            if new
            else f'Deployment "{deployment.metadata.name}"'
        )
        if is_complete(deployment, status):
            conditions = with_condition(
                conditions,
                _progressing(
                    "True", "NewReplicaSetAvailable", f"{subject} has successfully progressed."
                ),
                now=now,
            )
        elif _moved(deployment.status, status):
            conditions = _refreshed(
                conditions,
                _progressing("True", "ReplicaSetUpdated", f"{subject} is progressing."),
                now,
            )
        elif _is_late(deployment, present, now):
            conditions = with_condition(
                conditions,
                _progressing(
                    "False", "ProgressDeadlineExceeded", f"{subject} has timed out progressing."
                ),
                now=now,
            )
    return msgspec.structs.replace(status, conditions=_with_failures(conditions, everything, new))


def is_complete(deployment: Deployment, status: DeploymentStatus) -> bool:
    """Tell whether all wanted pods are new and available, and no old one is left."""
    wanted = deployment.spec.replicas
    return (
        status.updated_replicas == wanted
        and status.replicas == wanted
        and status.available_replicas == wanted
        and status.observed_generation >= deployment.metadata.generation
    )


def deadline_in(deployment: Deployment, status: DeploymentStatus, *, now: float) -> float | None:
    """Return in how many seconds the rollout is late; None if nothing is to be waited for."""
    present = find(status.conditions, PROGRESSING)
    if (
        present is None
        or deployment.spec.progress_deadline_seconds >= NO_DEADLINE
        or deployment.spec.paused
        or is_complete(deployment, status)
        or present.reason in ("NewReplicaSetAvailable", "ProgressDeadlineExceeded")
        or present.last_update_time is None
    ):
        return None
    due = parse_rfc3339(present.last_update_time) + deployment.spec.progress_deadline_seconds
    # Times are whole seconds: a second more makes sure that the limit is then really over.
    return max(0.0, due - now) + 1


def pause_noted(deployment: Deployment, *, now: float) -> tuple[Condition, ...]:
    """Return the conditions, with the note that the Deployment was paused or resumed."""
    conditions = deployment.status.conditions
    present = find(conditions, PROGRESSING)
    if deployment.spec.progress_deadline_seconds >= NO_DEADLINE:
        return conditions
    if present is not None and present.reason == "ProgressDeadlineExceeded":
        return conditions
    noted = present is not None and present.reason == "DeploymentPaused"
    if deployment.spec.paused and not noted:
        note = _progressing("Unknown", "DeploymentPaused", "Deployment is paused")
    elif not deployment.spec.paused and noted:
        note = _progressing("Unknown", "DeploymentResumed", "Deployment is resumed")
    else:
        return conditions
    return with_condition(conditions, note, now=now)


def found_new(replica_set: str) -> Condition:
    """Return the condition that a ReplicaSet with the wanted template existed already."""
    return _progressing("True", "FoundNewReplicaSet", f'Found new replica set "{replica_set}"')


def created_new(replica_set: str) -> Condition:
    """Return the condition that a ReplicaSet was made for the wanted template."""
    return _progressing("True", "NewReplicaSetCreated", f'Created new replica set "{replica_set}"')


def speaks_of_another(progressing: Condition, replica_set: str) -> bool:
    """Tell whether the condition says that another ReplicaSet's rollout is complete."""
    done = progressing.reason == "NewReplicaSetAvailable"
    subject = progressing.message.partition(" has ")[0]
    return done and subject.startswith("ReplicaSet ") and subject != f'ReplicaSet "{replica_set}"'


def find(conditions: Sequence[Condition], type_: str) -> Condition | None:
    """Return the condition of a type."""
    return next((c for c in conditions if c.type == type_), None)


def with_condition(
    conditions: Sequence[Condition], condition: Condition, *, now: float
) -> tuple[Condition, ...]:
    """Return the conditions with one set; the same status and reason again change nothing."""
    present = find(conditions, condition.type)
    if present and (present.status, present.reason) == (condition.status, condition.reason):
        return tuple(conditions)
    return _refreshed(conditions, condition, now)


def _refreshed(
    conditions: Sequence[Condition], condition: Condition, now: float
) -> tuple[Condition, ...]:
    moment = rfc3339(now)
    present = find(conditions, condition.type)
    kept = present.last_transition_time if present and present.status == condition.status else None
    return (
        *(c for c in conditions if c.type != condition.type),
        msgspec.structs.replace(
            condition, last_update_time=moment, last_transition_time=kept or moment
        ),
    )


def _progressing(status: str, reason: str, message: str) -> Condition:
    return Condition(type=PROGRESSING, status=status, reason=reason, message=message)


def _moved(before: DeploymentStatus, after: DeploymentStatus) -> bool:
    return (
        after.updated_replicas > before.updated_replicas
        or after.replicas - after.updated_replicas < before.replicas - before.updated_replicas
        or after.ready_replicas > before.ready_replicas
        or after.available_replicas > before.available_replicas
    )


def _is_late(deployment: Deployment, present: Condition | None, now: float) -> bool:
    if present is None or present.reason == "NewReplicaSetAvailable" or deployment.spec.paused:
        return False
    if present.reason == "ProgressDeadlineExceeded":
        return True
    if present.last_update_time is None:
        return False
    due = parse_rfc3339(present.last_update_time) + deployment.spec.progress_deadline_seconds
    return due < now


def _with_failures(
    conditions: Sequence[Condition], everything: Sequence[ReplicaSet], new: ReplicaSet | None
) -> tuple[Condition, ...]:
    """Return the conditions with ReplicaFailure of the new or else of an old ReplicaSet."""
    others = tuple(c for c in conditions if c.type != REPLICA_FAILURE)
    ordered = ([new] if new else []) + [rs for rs in everything if rs is not new]
    for rs in ordered:
        failure = find(rs.status.conditions, REPLICA_FAILURE)
        if failure is not None:
            moment = failure.last_transition_time
            return (*others, msgspec.structs.replace(failure, last_update_time=moment))
    return others
