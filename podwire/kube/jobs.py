"""Typed views of Job and CronJob (batch/v1)."""

from typing import Any

from podwire.kube.meta import LabelSelectorSpec, Object, ObjectReference, Resource, View


class ExitCodes(View, frozen=True):
    """Which exit codes of containers a rule is about."""

    operator: str
    values: tuple[int, ...] = ()
    container_name: str | None = None


class PodConditionPattern(View, frozen=True):
    """Which condition of a pod a rule is about."""

    type: str
    status: str = "True"


class PodFailurePolicyRule(View, frozen=True):
    """What to do with a pod that failed so: FailJob, FailIndex, Ignore or Count."""

    action: str
    on_exit_codes: ExitCodes | None = None
    on_pod_conditions: tuple[PodConditionPattern, ...] = ()


class PodFailurePolicy(View, frozen=True):
    """The first rule that matches counts."""

    rules: tuple[PodFailurePolicyRule, ...] = ()


class SuccessPolicyRule(View, frozen=True):
    """Which indexes, or how many of them, make the whole Job a success."""

    succeeded_indexes: str | None = None
    succeeded_count: int | None = None


class SuccessPolicy(View, frozen=True):
    """The first rule that is met ends the Job."""

    rules: tuple[SuccessPolicyRule, ...] = ()


class JobSpec(View, frozen=True):
    """Pods that are to end, and how many of them well."""

    parallelism: int = 1
    completions: int | None = None
    active_deadline_seconds: int | None = None
    pod_failure_policy: PodFailurePolicy | None = None
    success_policy: SuccessPolicy | None = None
    backoff_limit: int = 6
    backoff_limit_per_index: int | None = None
    max_failed_indexes: int | None = None
    selector: LabelSelectorSpec = LabelSelectorSpec()
    template: dict[str, Any] = {}
    ttl_seconds_after_finished: int | None = None
    completion_mode: str = "NonIndexed"
    suspend: bool = False
    pod_replacement_policy: str = "TerminatingOrFailed"
    managed_by: str = ""


class JobCondition(View, frozen=True):
    """A condition of a Job: it has a time of probing as well."""

    type: str
    status: str
    last_probe_time: str | None = None
    last_transition_time: str | None = None
    reason: str = ""
    message: str = ""


class UncountedTerminatedPods(View, frozen=True):
    """Uids of pods that ended and are in no count yet: their finalizer may still be there."""

    succeeded: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()


class JobStatus(View, frozen=True):
    """What a Job has. Times are RFC 3339 text."""

    conditions: tuple[JobCondition, ...] = ()
    start_time: str | None = None
    completion_time: str | None = None
    active: int = 0
    succeeded: int = 0
    failed: int = 0
    terminating: int | None = None
    completed_indexes: str = ""
    failed_indexes: str | None = None
    uncounted_terminated_pods: UncountedTerminatedPods | None = None
    ready: int | None = None


class Job(Object, frozen=True):
    """batch/v1 Job."""

    RESOURCE = Resource(group="batch", version="v1", plural="jobs", kind="Job")

    spec: JobSpec = JobSpec()
    status: JobStatus = JobStatus()


class CronJobSpec(View, frozen=True):
    """When to make which Job."""

    schedule: str = ""
    time_zone: str | None = None
    starting_deadline_seconds: int | None = None
    concurrency_policy: str = "Allow"
    suspend: bool = False
    job_template: dict[str, Any] = {}
    successful_jobs_history_limit: int | None = 3
    failed_jobs_history_limit: int | None = 1


class CronJobStatus(View, frozen=True):
    """Which Jobs run, and when the last one was due and the last good one ended."""

    active: tuple[ObjectReference, ...] = ()
    last_schedule_time: str | None = None
    last_successful_time: str | None = None


class CronJob(Object, frozen=True):
    """batch/v1 CronJob."""

    RESOURCE = Resource(group="batch", version="v1", plural="cronjobs", kind="CronJob")

    spec: CronJobSpec = CronJobSpec()
    status: CronJobStatus = CronJobStatus()
