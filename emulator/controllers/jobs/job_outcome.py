"""Pure: how a Job ends: well, or by one of its limits and policies.

As pkg/controller/job/job_controller.go, syncJob; reasons and messages are Kubernetes'.
"""

from dataclasses import dataclass
from typing import Any, Literal

from podwire.emulator.controllers.jobs.job_facts import JobFacts
from podwire.emulator.controllers.jobs.job_policy import ruling, success
from podwire.kube.objects import Job, JobCondition
from podwire.kube.times import parse_rfc3339


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the Job ends."""

    type: Literal["Complete", "Failed"]
    reason: str
    message: str


def finished(job: Job) -> JobCondition | None:
    """Return the condition with which the Job ended, None while it has not."""
    return next(
        (
            c
            for c in job.status.conditions
            if c.type in ("Complete", "Failed") and c.status == "True"
        ),
        None,
    )


def expires_in(job: Job, *, now: float) -> float | None:
    """Return in how many seconds an ended Job is to be deleted; None: never."""
    end = finished(job)
    seconds = job.spec.ttl_seconds_after_finished
    if end is None or seconds is None or end.last_transition_time is None:
        return None
    return max(0.0, parse_rfc3339(end.last_transition_time) + seconds - now)


def decided(job: Job) -> Outcome | None:
    """Return the outcome that was decided before."""
    for condition in job.status.conditions:
        if condition.status == "True" and condition.type == "SuccessCriteriaMet":
            return Outcome("Complete", condition.reason, condition.message)
        if condition.status == "True" and condition.type == "FailureTarget":
            return Outcome("Failed", condition.reason, condition.message)
    return None


def early(facts: JobFacts, *, now: float) -> Outcome | None:
    """Return how the Job has come to its end without all of its completions."""
    job = facts.job
    for pod in facts.pods:
        if facts.has_failed(pod):
            said = ruling(job.spec.pod_failure_policy, pod)
            if said.action == "FailJob":
                return Outcome("Failed", "PodFailurePolicy", said.message)
    if facts.failed > job.spec.backoff_limit or _restarted_too_often(facts):
        message = "Job has reached the specified backoff limit"
        return Outcome("Failed", "BackoffLimitExceeded", message)
    deadline = deadline_in(job, now=now)
    if deadline is not None and deadline <= 0:
        message = "Job was active longer than specified deadline"
        return Outcome("Failed", "DeadlineExceeded", message)
    return _by_indexes(facts) if facts.indexed else None


def _by_indexes(facts: JobFacts) -> Outcome | None:
    spec = facts.job.spec
    failed = len(facts.failed_indexes)
    if spec.max_failed_indexes is not None and failed > spec.max_failed_indexes:
        message = "Job has exceeded the specified maximal number of failed indexes"
        return Outcome("Failed", "MaxFailedIndexesExceeded", message)
    if failed and failed + len(facts.succeeded_indexes) >= facts.completions:
        return Outcome("Failed", "FailedIndexes", "Job has failed indexes")
    met = success(spec.success_policy, facts.completions, facts.succeeded_indexes)
    return None if met is None else Outcome("Complete", "SuccessPolicy", met)


def _restarted_too_often(facts: JobFacts) -> bool:
    spec = facts.job.spec
    template: dict[str, Any] = spec.template.get("spec") or {}
    if template.get("restartPolicy") != "OnFailure":
        return False
    restarts = sum(
        status.restart_count
        for pod in facts.pods
        if pod.status.phase in ("Running", "Pending")
        for status in (*pod.status.init_container_statuses, *pod.status.container_statuses)
    )
    return restarts > 0 if spec.backoff_limit == 0 else restarts >= spec.backoff_limit


def deadline_in(job: Job, *, now: float) -> float | None:
    """Return in how many seconds the Job may run no longer; None: it may run for ever."""
    seconds, start = job.spec.active_deadline_seconds, job.status.start_time
    if seconds is None or start is None or job.spec.suspend:
        return None
    return parse_rfc3339(start) + seconds - now


def completed(facts: JobFacts, active: int) -> Outcome | None:
    """Return the good end, once there are enough completions and no pod is *active*."""
    wanted = facts.job.spec.completions
    # A work queue is done when one pod says so by its success and the others have ended.
    if active or facts.succeeded < (1 if wanted is None else wanted):
        return None
    return Outcome("Complete", "CompletionsReached", "Reached expected number of succeeded pods")
