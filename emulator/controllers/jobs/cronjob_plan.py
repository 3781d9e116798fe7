"""Pure: a CronJob and its Jobs -> the Job that is due, the Jobs to delete, and what to report.

As pkg/controller/cronjob (cronjob_controllerv2.go, utils.go).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

from msgspec.structs import replace

from podwire.emulator.controllers.jobs.job_outcome import finished
from podwire.kube import cron
from podwire.kube.objects import CronJob, CronJobStatus, Job, ObjectReference
from podwire.kube.times import parse_rfc3339, rfc3339

SCHEDULED_AT = "batch.kubernetes.io/cronjob-scheduled-timestamp"

# A moment late, so that the time is then really over.
_MARGIN = 0.1
_TOO_MANY = 100

Zones = Callable[[str], tzinfo]
"""Returns a time zone by its name; raises KeyError or ValueError."""


@dataclass(frozen=True, slots=True)
class Note:
    """An event to report."""

    type: str
    reason: str
    message: str


@dataclass(frozen=True)
class CronPlan:
    """What to do now. *due*: the time for which to make a Job, after *delete* is done."""

    status: CronJobStatus
    due: datetime | None = None
    replaced: tuple[ObjectReference, ...] = ()
    """Jobs that run and must give way to the one that is due."""
    surplus: tuple[Job, ...] = ()
    """Ended Jobs beyond the limits of the history."""
    notes: tuple[Note, ...] = ()
    again: float | None = None


@dataclass
class _Draft:
    status: CronJobStatus
    notes: list[Note] = field(default_factory=list[Note])

    def note(self, type_: str, reason: str, message: str) -> None:
        self.notes.append(Note(type_, reason, message))


def plan_cron(cron_job: CronJob, jobs: Sequence[Job], *, zones: Zones, now: float) -> CronPlan:
    """Return the next step of *cron_job*, which owns *jobs*."""
    draft = _Draft(cron_job.status)
    for job in jobs:
        _notice(draft, job)
    _miss(draft, jobs)
    surplus = _surplus(cron_job, jobs)
    if cron_job.metadata.deletion_timestamp is not None or cron_job.spec.suspend:
        return CronPlan(draft.status, surplus=surplus, notes=tuple(draft.notes))
    try:
        zone = zones(cron_job.spec.time_zone) if cron_job.spec.time_zone else UTC
        schedule = cron.parse(cron_job.spec.schedule, zone)
    except cron.ScheduleError as error:
        said = f'unparseable schedule: "{cron_job.spec.schedule}" : {error}'
        draft.note("Warning", "UnparseableSchedule", said)
        return CronPlan(draft.status, surplus=surplus, notes=tuple(draft.notes))
    except (KeyError, ValueError):
        name = cron_job.spec.time_zone
        said = f'invalid timeZone: "{name}": unknown time zone {name}'
        draft.note("Warning", "UnknownTimeZone", said)
        return CronPlan(draft.status, surplus=surplus, notes=tuple(draft.notes))
    moment = datetime.fromtimestamp(now, UTC)
    due = _due(cron_job, draft, schedule, moment)
    coming = schedule.after(moment)
    again = None if coming is None else (coming - moment).total_seconds() + _MARGIN
    replaced: tuple[ObjectReference, ...] = ()
    if due is not None and cron_job.spec.concurrency_policy == "Replace":
        replaced = draft.status.active
    return CronPlan(draft.status, due, replaced, surplus, tuple(draft.notes), again)


def job_name(cron_job: CronJob, due: datetime) -> str:
    """Return the name of the Job for a time: the same for the same minute, so it is made once."""
    return f"{cron_job.metadata.name}-{int(due.timestamp()) // 60}"


def scheduled_job(cron_job: CronJob, due: datetime, owner: dict[str, Any]) -> dict[str, Any]:
    """Return the Job for a time, as JSON values; *owner* is the reference to the CronJob."""
    template = cron_job.spec.job_template
    given: dict[str, Any] = template.get("metadata") or {}
    metadata: dict[str, Any] = {
        "name": job_name(cron_job, due),
        "namespace": cron_job.metadata.namespace,
        "annotations": {**(given.get("annotations") or {}), SCHEDULED_AT: _written(due)},
        "ownerReferences": [owner],
    }
    if given.get("labels"):
        metadata["labels"] = given["labels"]
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata,
        "spec": template.get("spec") or {},
    }


def started(status: CronJobStatus, job: Job, due: datetime) -> CronJobStatus:
    """Return *status* with *job*, which was made for the time *due*."""
    reference = ObjectReference(
        kind="Job",
        namespace=job.metadata.namespace,
        name=job.metadata.name,
        uid=job.metadata.uid,
        api_version=Job.RESOURCE.api_version,
        resource_version=job.metadata.resource_version,
    )
    moment = rfc3339(due.timestamp())
    return replace(status, active=(*status.active, reference), last_schedule_time=moment)


def without(status: CronJobStatus, uids: Sequence[str]) -> CronJobStatus:
    """Return *status* without the Jobs of those uids among the active ones."""
    return replace(status, active=tuple(r for r in status.active if r.uid not in uids))


def _notice(draft: _Draft, job: Job) -> None:
    end = finished(job)
    name, uid = job.metadata.name, job.metadata.uid
    listed = any(reference.uid == uid for reference in draft.status.active)
    if end is None:
        if not listed:
            said = f"Saw a job that the controller did not create or forgot: {name}"
            draft.note("Warning", "UnexpectedJob", said)
        return
    if listed:
        draft.status = without(draft.status, [uid])
        said = f"Saw completed job: {name}, condition: {end.type}"
        draft.note("Normal", "SawCompletedJob", said)
    done, known = job.status.completion_time, draft.status.last_successful_time
    if end.type == "Complete" and done is not None and (known is None or _later(done, known)):
        draft.status = replace(draft.status, last_successful_time=done)


def _miss(draft: _Draft, jobs: Sequence[Job]) -> None:
    present = {job.metadata.uid for job in jobs}
    for reference in draft.status.active:
        if reference.uid not in present:
            draft.status = without(draft.status, [reference.uid])
            draft.note("Normal", "MissingJob", f"Active job went missing: {reference.name}")


def _due(
    cron_job: CronJob, draft: _Draft, schedule: cron.Schedule, now: datetime
) -> datetime | None:
    """Return the time for which a Job must be made now, None if there is none."""
    recent = _most_recent(cron_job, draft, schedule, now)
    if recent is None:
        return None
    deadline = cron_job.spec.starting_deadline_seconds
    if deadline is not None and recent + timedelta(seconds=deadline) < now:
        said = f"Missed scheduled time to start a job: {recent.astimezone(UTC):%a, %d %b %Y %T %z}"
        draft.note("Warning", "MissSchedule", said)
        return None
    name = job_name(cron_job, recent)
    last = draft.status.last_schedule_time
    if any(r.name == name for r in draft.status.active):
        return None
    if last is not None and parse_rfc3339(last) == recent.timestamp():
        return None
    if cron_job.spec.concurrency_policy == "Forbid" and draft.status.active:
        draft.note(
            "Normal",
            "JobAlreadyActive",
            "Not starting job because prior execution is running and concurrency policy is Forbid",
        )
        return None
    return recent


def _most_recent(
    cron_job: CronJob, draft: _Draft, schedule: cron.Schedule, now: datetime
) -> datetime | None:
    """Return the last time of the schedule that is over and was not served, None if all were."""
    last = draft.status.last_schedule_time or cron_job.metadata.creation_timestamp
    earliest = datetime.fromtimestamp(parse_rfc3339(last) if last else now.timestamp(), UTC)
    deadline = cron_job.spec.starting_deadline_seconds
    if deadline is not None:
        earliest = max(earliest, now - timedelta(seconds=deadline))
    first = schedule.after(earliest)
    if first is None or first > now:
        return None
    recent, missed = first, 1
    while True:
        following = schedule.after(recent)
        if following is None or following > now:
            break
        recent, missed = following, missed + 1
        if missed > _TOO_MANY:
            # After a long pause: the times between do not matter, only the last one does.
            recent = _last_before(schedule, now, recent)
            draft.note(
                "Warning",
                "TooManyMissedTimes",
                "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or "
                "check clock skew",
            )
            break
    return recent


def _last_before(schedule: cron.Schedule, now: datetime, known: datetime) -> datetime:
    """Return the last time until *now*, looking back over ever longer spans till *known*."""
    span = timedelta(minutes=2)
    while now - span > known:
        found = schedule.after(now - span)
        if found is not None and found <= now:
            break
        span *= 2
    start = max(known, now - span)
    recent = known
    while True:
        following = schedule.after(start)
        if following is None or following > now:
            return recent
        recent = start = following


def _surplus(cron_job: CronJob, jobs: Sequence[Job]) -> tuple[Job, ...]:
    by_end: dict[str, list[Job]] = {"Complete": [], "Failed": []}
    for job in sorted(jobs, key=_start):
        end = finished(job)
        if end is not None:
            by_end[end.type].append(job)
    limits = {
        "Complete": cron_job.spec.successful_jobs_history_limit,
        "Failed": cron_job.spec.failed_jobs_history_limit,
    }
    return tuple(
        job
        for type_, limit in limits.items()
        if limit is not None
        for job in by_end[type_][: max(0, len(by_end[type_]) - limit)]
    )


def _start(job: Job) -> tuple[bool, str, str]:
    # One that never started counts as the youngest.
    start = job.status.start_time
    return start is None, start or "", job.metadata.name


def _later(a: str, b: str) -> bool:
    return parse_rfc3339(a) > parse_rfc3339(b)


def _written(due: datetime) -> str:
    return due.isoformat(timespec="seconds").replace("+00:00", "Z")
