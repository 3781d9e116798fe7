"""Pure: a Job and its pods -> pods to make and to delete, what to count, and how it ends.

The order of things is that of Kubernetes' job controller (pkg/controller/job/job_controller.go):
first the status that names the ended pods, then their finalizers, then the counts.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from podwire.emulator.controllers.jobs.job_backoff import Backoff, delay_left, ended_at
from podwire.emulator.controllers.jobs.job_facts import JobFacts, all_failures
from podwire.emulator.controllers.jobs.job_indexes import index_of
from podwire.emulator.controllers.jobs.job_outcome import (
    Outcome,
    completed,
    deadline_in,
    decided,
    early,
)
from podwire.emulator.controllers.jobs.job_status import counted, reported, suspension
from podwire.emulator.controllers.podstate import is_terminating
from podwire.emulator.controllers.victims import victims
from podwire.kube.objects import Job, JobStatus, Pod
from podwire.kube.times import rfc3339

BURST = 500
"""So many pods one pass makes or deletes at most."""


@dataclass(frozen=True)
class JobPlan:
    """The next step, to be carried out in the order of the fields."""

    create: tuple[int | None, ...]
    """Completion indexes of pods to make; None: the Job has no indexes."""
    delete: tuple[Pod, ...]
    uncounted: bool
    """Whether the deleted pods are just too many: they are let go first, and are no failures."""
    status: JobStatus
    """What to write before any finalizer is taken away."""
    free: tuple[Pod, ...]
    """Pods whose finalizer is to be taken away then."""
    outcome: Outcome | None
    event: str
    """Suspended or Resumed, if that has just happened."""
    backoff: Backoff
    again: float | None
    """In how many seconds to look again."""


@dataclass
class _Draft:
    create: list[int | None] = field(default_factory=list[int | None])
    delete: list[Pod] = field(default_factory=list[Pod])
    wait: list[float] = field(default_factory=list[float])


def plan_job(
    job: Job,
    pods: Sequence[Pod],
    *,
    gone: Collection[str] = (),
    settled: bool = True,
    ending: bool = False,
    backoff: Backoff,
    now: float,
) -> JobPlan:
    """Return the next step of *job*, which has not ended and owns *pods*.

    *gone*: uids of pods whose finalizer was taken away and whose copy still has it. *settled*:
    whether all pods that were made and deleted have been seen. *ending*: the namespace is being
    deleted, so no pod can be made; those that end are counted all the same, or they could not go.
    """
    if job.status.start_time is None and not job.spec.suspend:
        job = replace(job, status=replace(job.status, start_time=rfc3339(now)))
    facts = JobFacts(job, pods, gone)
    after = backoff.after(facts.new_succeeded, facts.new_failed, now=now)
    draft = _Draft()
    outcome = decided(job) or early(facts, now=now)
    conditions, event = job.status.conditions, ""
    failing = outcome is not None
    if failing:
        draft.delete += facts.active
        if not settled:
            outcome = None  # there may be pods that were not seen yet
    else:
        managed = settled and job.metadata.deletion_timestamp is None and not ending
        if managed:
            _manage(facts, draft, after, now=now)
        outcome = completed(facts, len(facts.active) - len(draft.delete) + len(draft.create))
        if outcome is None and managed:
            conditions, event = suspension(job, now=now)
        deadline = deadline_in(job, now=now)
        draft.wait += [] if deadline is None else [deadline]
    status = reported(
        facts,
        outcome,
        created=len(draft.create),
        deleted=draft.delete,
        conditions=conditions,
        now=now,
    )
    if event == "Resumed":
        # The deadline is for the time that the Job is active.
        status = replace(status, start_time=rfc3339(now))
    status, free = counted(facts, status, outcome)
    return JobPlan(
        create=tuple(draft.create),
        delete=tuple(draft.delete),
        uncounted=not failing,
        status=status,
        free=free,
        outcome=outcome,
        event=event,
        backoff=after,
        again=min(draft.wait, default=None),
    )


def _manage(facts: JobFacts, draft: _Draft, backoff: Backoff, *, now: float) -> None:
    """Have as many pods running as there should be: make some, or delete some."""
    job = facts.job
    if job.spec.suspend:
        draft.delete += facts.active
        return
    wanted = _wanted_active(facts)
    draft.delete += _too_many(facts, max(0, len(facts.active) - wanted), now=now)[:BURST]
    if draft.delete:
        return
    leaving = facts.terminating if job.spec.pod_replacement_policy == "Failed" else 0
    missing = min(BURST, wanted - leaving - len(facts.active))
    if missing <= 0:
        return
    if not facts.per_index:
        wait = backoff.remaining(now=now)
        if wait > 0:
            draft.wait.append(wait)
            return
    if not facts.indexed:
        draft.create += [None] * missing
        return
    indexes = _pending_indexes(facts, missing)
    waits = {index: _index_wait(facts, index, now=now) for index in indexes}
    draft.create += [index for index in indexes if waits[index] == 0]
    draft.wait += [wait for wait in waits.values() if wait > 0]


def _wanted_active(facts: JobFacts) -> int:
    spec = facts.job.spec
    if spec.completions is None:
        # A work queue: after the first success the others finish, and no more are made.
        return len(facts.active) if facts.succeeded else spec.parallelism
    return max(0, min(spec.parallelism, spec.completions - facts.succeeded))


def _too_many(facts: JobFacts, at_least: int, *, now: float) -> list[Pod]:
    """Return the pods to delete: indexes twice or beyond the last, then the youngest."""
    rest = list(facts.active)
    chosen: list[Pod] = []
    if facts.indexed:
        best: dict[int, Pod] = {}
        for pod in reversed(victims(facts.active, len(facts.active), now=now)):
            index = index_of(pod)
            if index is None or index >= facts.completions or index in best:
                chosen.append(pod)
            else:
                best[index] = pod
        rest = list(best.values())
    return [*chosen, *victims(rest, max(0, at_least - len(chosen)), now=now)]


def _pending_indexes(facts: JobFacts, count: int) -> list[int]:
    busy = {index_of(pod) for pod in facts.active}
    if facts.job.spec.pod_replacement_policy == "Failed":
        busy |= {index_of(pod) for pod in facts.pods if is_terminating(pod)}
    done = facts.succeeded_indexes | facts.failed_indexes
    free = (i for i in range(facts.completions) if i not in busy and i not in done)
    return [index for index, _ in zip(free, range(count), strict=False)]


def _index_wait(facts: JobFacts, index: int, *, now: float) -> float:
    last = facts.delayed.get(index)
    if last is None:
        return 0.0
    return delay_left(all_failures(last) + 1, ended_at(last, now), now=now)
