"""Pure: what a Job reports, and how pods that ended come into its counts."""

from collections.abc import Collection, Iterable, Sequence

from msgspec.structs import replace

from podwire.emulator.controllers.jobs.job_facts import JobFacts
from podwire.emulator.controllers.jobs.job_indexes import index_of, written
from podwire.emulator.controllers.jobs.job_outcome import Outcome
from podwire.emulator.controllers.podstate import is_ready
from podwire.kube.objects import Job, JobCondition, JobStatus, Pod, UncountedTerminatedPods
from podwire.kube.times import rfc3339

MOST_UNCOUNTED = 500
"""So many pods one pass counts at most: their uids are in the status."""

_INTERIM = {"Complete": "SuccessCriteriaMet", "Failed": "FailureTarget"}


def reported(
    facts: JobFacts,
    outcome: Outcome | None,
    *,
    created: int,
    deleted: Sequence[Pod],
    conditions: Iterable[JobCondition],
    now: float,
) -> JobStatus:
    """Return the status after *created* pods are made and others *deleted*; nothing is counted."""
    present = tuple(conditions)
    if outcome is not None:
        interim = _INTERIM[outcome.type]
        if not any(c.type == interim for c in present):
            present = (*present, _condition(interim, outcome.reason, outcome.message, now))
    return replace(
        facts.job.status,
        conditions=present,
        active=len(facts.active) - len(deleted) + created,
        ready=facts.ready - sum(1 for pod in deleted if is_ready(pod)),
        terminating=facts.terminating + len(deleted),
    )


def counted(
    facts: JobFacts, status: JobStatus, outcome: Outcome | None
) -> tuple[JobStatus, tuple[Pod, ...]]:
    """Return *status* with the uids of ended pods, and the pods to free of the finalizer then."""
    tracked = [pod for pod in facts.pods if facts.is_tracked(pod)]
    status = freed(status, {pod.metadata.uid for pod in tracked})
    before = status.uncounted_terminated_pods or UncountedTerminatedPods()
    succeeded, failed = list(before.succeeded), list(before.failed)
    new_indexes: set[int] = set()
    free: list[Pod] = []
    for pod in sorted(tracked, key=lambda p: index_of(p) or 0) if facts.indexed else tracked:
        uid, good = pod.metadata.uid, pod.status.phase == "Succeeded"
        if not _may_go(facts, pod, outcome):
            continue
        free.append(pod)
        index = index_of(pod)
        valid = not facts.indexed or (index is not None and index < facts.completions)
        if good and uid not in failed:
            if facts.indexed:
                # The index itself keeps it from being counted twice.
                if valid and index is not None and index not in facts.known_indexes:
                    new_indexes.add(index)
            elif uid not in succeeded:
                succeeded.append(uid)
        elif uid not in failed and valid and _failed(facts, pod, outcome) and facts.counts(pod):
            failed.append(uid)
        if len(new_indexes) + len(succeeded) + len(failed) >= MOST_UNCOUNTED:
            break
    status = replace(
        status, uncounted_terminated_pods=UncountedTerminatedPods(tuple(succeeded), tuple(failed))
    )
    if facts.indexed:
        indexes = facts.known_indexes | new_indexes
        status = replace(status, succeeded=len(indexes), completed_indexes=written(indexes))
        if facts.per_index:
            status = replace(status, failed_indexes=written(facts.failed_indexes))
    return status, tuple(free)


def freed(status: JobStatus, tracked: Collection[str]) -> JobStatus:
    """Return *status* with the pods counted that are not *tracked* (by uid) any more."""
    uncounted = status.uncounted_terminated_pods or UncountedTerminatedPods()
    succeeded = tuple(uid for uid in uncounted.succeeded if uid in tracked)
    failed = tuple(uid for uid in uncounted.failed if uid in tracked)
    return replace(
        status,
        succeeded=status.succeeded + len(uncounted.succeeded) - len(succeeded),
        failed=status.failed + len(uncounted.failed) - len(failed),
        uncounted_terminated_pods=UncountedTerminatedPods(succeeded, failed),
    )


def ended(status: JobStatus, outcome: Outcome | None, *, now: float) -> JobStatus | None:
    """Return the last status of the Job, None while pods are uncounted or terminating."""
    uncounted = status.uncounted_terminated_pods or UncountedTerminatedPods()
    if outcome is None or uncounted.succeeded or uncounted.failed or status.terminating:
        return None
    condition = _condition(outcome.type, outcome.reason, outcome.message, now)
    status = replace(status, conditions=(*status.conditions, condition))
    if outcome.type == "Complete":
        return replace(status, completion_time=rfc3339(now))
    return status


def suspension(job: Job, *, now: float) -> tuple[tuple[JobCondition, ...], str]:
    """Return the conditions with Suspended as the spec has it, and the event if it is new."""
    present = next((c for c in job.status.conditions if c.type == "Suspended"), None)
    if job.spec.suspend:
        if present is not None and present.status == "True":
            return job.status.conditions, ""
        wanted = _condition("Suspended", "JobSuspended", "Job suspended", now)
        event = "Suspended"
    else:
        if present is None or present.status == "False":
            return job.status.conditions, ""
        wanted = replace(_condition("Suspended", "JobResumed", "Job resumed", now), status="False")
        event = "Resumed"
    others = (c for c in job.status.conditions if c.type != "Suspended")
    return (*others, wanted), event


def _failed(facts: JobFacts, pod: Pod, outcome: Outcome | None) -> bool:
    # When the Job fails, so do the pods that still run.
    return facts.has_failed(pod) or (outcome is not None and outcome.type == "Failed")


def _may_go(facts: JobFacts, pod: Pod, outcome: Outcome | None) -> bool:
    if facts.job.metadata.deletion_timestamp is not None or outcome is not None:
        return True
    if pod.status.phase == "Succeeded":
        return True
    if not facts.has_failed(pod):
        return False
    index = index_of(pod)
    kept = None if index is None else facts.delayed.get(index)
    return kept is None or kept.metadata.uid != pod.metadata.uid


def _condition(type_: str, reason: str, message: str, now: float) -> JobCondition:
    moment = rfc3339(now)
    return JobCondition(
        type=type_,
        status="True",
        reason=reason,
        message=message,
        last_probe_time=moment,
        last_transition_time=moment,
    )
