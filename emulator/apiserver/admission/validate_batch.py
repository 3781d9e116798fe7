"""Pure: rules for Jobs and CronJobs.

Source: pkg/apis/batch/validation/validation.go of Kubernetes 1.32.
"""

import re
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from podwire.emulator.apiserver.admission import validate_job_policies, validate_meta, validate_pods
from podwire.emulator.apiserver.admission.field_errors import (
    FieldError,
    Unquoted,
    go_map,
    go_selector,
    invalid,
    not_supported,
    required,
)
from podwire.emulator.apiserver.admission.validate_meta import Json, not_negative
from podwire.emulator.apiserver.types.fields import below
from podwire.kube import cron, syntax

_IMMUTABLE = "field is immutable"
_LABEL = "batch.kubernetes.io/"
_MAX_PARALLELISM = 100_000
_FIXED = (
    "completionMode",
    "podFailurePolicy",
    "backoffLimitPerIndex",
    "managedBy",
    "successPolicy",
)
# What may change in the template of a Job that is suspended and has never started.
_SCHEDULING = ("nodeSelector", "tolerations", "schedulingGates")
_ZONE_PART = re.compile(r"[A-Za-z.\-_0-9+]{1,14}", re.ASCII)
_MAX_NAME = 52


def job(obj: Json, old: Json | None) -> list[FieldError]:
    """Check a Job."""
    spec: Json = below(obj, "spec")
    problems = _generated(obj, spec) + _job_spec("spec", spec)
    selector = spec.get("selector")
    if selector is None:
        problems.append(required("spec.selector"))
    else:
        problems += validate_meta.selector("spec.selector", selector)
    labels = below(spec, "template", "metadata", "labels")
    if selector is None or not validate_meta.selects(selector, labels):
        message = "`selector` does not match template `labels`"
        problems.append(invalid("spec.template.metadata.labels", go_map(labels), message))
    problems += _host_names(obj, spec)
    return problems if old is None else problems + _changes(spec, below(old, "spec"), old)


def _generated(obj: Json, spec: Json) -> list[FieldError]:
    """Check that nobody wrote a part of the selector that the server makes."""
    selector: Json | None = spec.get("selector")
    if spec.get("manualSelector") or selector is None:
        return []
    meta = below(obj, "metadata")
    expected = {
        name: meta.get(key, "")
        for prefix in ("", _LABEL)
        for name, key in ((f"{prefix}controller-uid", "uid"), (f"{prefix}job-name", "name"))
    }
    labels = below(spec, "template", "metadata", "labels")
    field = "spec.template.metadata.labels"
    problems: list[FieldError] = []
    for name, value in expected.items():
        if name not in labels:
            problems.append(required(field, f"must be '{value}'"))
        elif labels[name] != value:
            problems.append(invalid(field, go_map(labels), f"must be '{value}'"))
    if not validate_meta.selects(selector, expected):
        message = "`selector` not auto-generated"
        problems.append(invalid("spec.selector", go_selector(selector), message))
    return problems


def _host_names(obj: Json, spec: Json) -> list[FieldError]:
    count = spec.get("completions") or 0
    if spec.get("completionMode") != "Indexed" or count <= 0:
        return []
    name = below(obj, "metadata").get("name", "")
    longest = f"{name}-{count - 1}"
    message = f"will not able to create pod with invalid DNS label: {longest}"
    return [invalid("metadata.name", name, message)] if syntax.label(longest) else []


def _changes(spec: Json, before: Json, old: Json) -> list[FieldError]:
    problems: list[FieldError] = []
    completions = spec.get("completions")
    if completions != before.get("completions"):
        if spec.get("completionMode") != "Indexed":
            problems.append(invalid("spec.completions", completions, _IMMUTABLE))
        elif completions is not None and completions != spec.get("parallelism"):
            message = "can only be modified in tandem with spec.parallelism"
            problems.append(invalid("spec.completions", completions, message))
    if spec.get("selector") != before.get("selector"):
        shown = go_selector(below(spec, "selector"))
        problems.append(invalid("spec.selector", shown, _IMMUTABLE))
    startable = bool(before.get("suspend")) and not below(old, "status").get("startTime")
    template, present = below(spec, "template"), below(before, "template")
    if template != (_scheduled_as(present, template) if startable else present):
        problems.append(invalid("spec.template", Unquoted("core.PodTemplateSpec{...}"), _IMMUTABLE))
    problems += [
        invalid(f"spec.{name}", spec.get(name), _IMMUTABLE)
        for name in _FIXED
        if spec.get(name) != before.get(name)
    ]
    return problems


def _scheduled_as(present: Json, wanted: Json) -> Json:
    """Return the present template with what says where pods go as in the *wanted* one."""
    spec, wish = dict(below(present, "spec")), below(wanted, "spec")
    for name in _SCHEDULING:
        spec.pop(name, None)
        if name in wish:
            spec[name] = wish[name]
    affinity = {n: v for n, v in below(spec, "affinity").items() if n != "nodeAffinity"}
    if "nodeAffinity" in below(wish, "affinity"):
        affinity["nodeAffinity"] = wish["affinity"]["nodeAffinity"]
    spec.pop("affinity", None)
    if affinity:
        spec["affinity"] = affinity
    meta, new = dict(below(present, "metadata")), below(wanted, "metadata")
    for name in ("labels", "annotations"):
        meta.pop(name, None)
        if name in new:
            meta[name] = new[name]
    return present | {"metadata": meta, "spec": spec}


def _job_spec(field: str, spec: Json) -> list[FieldError]:
    """Check the spec of a Job, or of a CronJob's jobs."""
    problems = not_negative(
        spec, "parallelism", "completions", "activeDeadlineSeconds", "backoffLimit",
        "ttlSecondsAfterFinished", "backoffLimitPerIndex", "maxFailedIndexes", field=field,
    )  # fmt: skip
    if spec.get("maxFailedIndexes") is not None and spec.get("backoffLimitPerIndex") is None:
        message = "when maxFailedIndexes is specified"
        problems.append(required(f"{field}.backoffLimitPerIndex", message))
    problems += _mode(field, spec)
    if spec.get("podFailurePolicy") is not None:
        problems += validate_job_policies.failure(f"{field}.podFailurePolicy", spec)
    problems += validate_job_policies.success(f"{field}.successPolicy", spec)
    problems += _replacement(f"{field}.podReplacementPolicy", spec)
    problems += validate_pods.template(
        f"{field}.template", spec.get("template"), restart=("Always", "OnFailure", "Never")
    )
    return problems + _restart(f"{field}.template.spec.restartPolicy", spec)


def _mode(field: str, spec: Json) -> list[FieldError]:
    mode = spec.get("completionMode", "NonIndexed")
    problems: list[FieldError] = []
    if mode not in ("NonIndexed", "Indexed"):
        problems.append(not_supported(f"{field}.completionMode", mode, ("NonIndexed", "Indexed")))
    most = spec.get("maxFailedIndexes")
    if mode == "Indexed":
        count, parallel = spec.get("completions"), spec.get("parallelism") or 0
        if count is None:
            problems.append(required(f"{field}.completions", "when completion mode is Indexed"))
        if parallel > _MAX_PARALLELISM:
            message = (
                f"must be less than or equal to {_MAX_PARALLELISM} when completion mode is Indexed"
            )
            problems.append(invalid(f"{field}.parallelism", parallel, message))
        if count is not None and most is not None and most > count:
            message = "must be less than or equal to completions"
            problems.append(invalid(f"{field}.maxFailedIndexes", most, message))
    elif mode == "NonIndexed":
        problems += [
            invalid(f"{field}.{name}", spec[name], "requires indexed completion mode")
            for name in ("backoffLimitPerIndex", "maxFailedIndexes")
            if spec.get(name) is not None
        ]
    return problems


def _restart(field: str, spec: Json) -> list[FieldError]:
    policy = below(spec, "template", "spec").get("restartPolicy", "")
    if policy in ("Always", ""):
        return [required(field, 'valid values: "OnFailure", "Never"')]
    if policy == "OnFailure" and spec.get("podFailurePolicy") is not None:
        message = 'only "Never" is supported when podFailurePolicy is specified'
        return [invalid(field, policy, message)]
    return []


def _replacement(field: str, spec: Json) -> list[FieldError]:
    policy = spec.get("podReplacementPolicy")
    words: tuple[str, ...] = ("Failed", "TerminatingOrFailed")
    if spec.get("podFailurePolicy") is not None:
        words = ("Failed",)
    return [] if policy is None or policy in words else [not_supported(field, policy, words)]


def cron_job(obj: Json, old: Json | None) -> list[FieldError]:
    """Check a CronJob."""
    spec: Json = below(obj, "spec")
    problems: list[FieldError] = []
    schedule: str = spec.get("schedule", "")
    if not schedule:
        problems.append(required("spec.schedule"))
    else:
        problems += _schedule(schedule)
    problems += not_negative(spec, "startingDeadlineSeconds")
    if old is None or below(old, "spec").get("timeZone") != spec.get("timeZone"):
        problems += _zone(spec.get("timeZone"))
    words = ("Allow", "Forbid", "Replace")
    policy = spec.get("concurrencyPolicy", "")
    if policy not in words:
        problems.append(not_supported("spec.concurrencyPolicy", policy, words))
    field, inner = "spec.jobTemplate.spec", below(spec, "jobTemplate", "spec")
    problems += _job_spec(field, inner)
    if inner.get("selector") is not None:
        message = "`selector` will be auto-generated"
        problems.append(invalid(f"{field}.selector", go_selector(inner["selector"]), message))
    if inner.get("manualSelector"):
        shown = inner["manualSelector"]
        problems.append(not_supported(f"{field}.manualSelector", shown, ("nil", "false")))
    problems += not_negative(spec, "successfulJobsHistoryLimit", "failedJobsHistoryLimit")
    name = below(obj, "metadata").get("name", "")
    if old is None and len(name) > _MAX_NAME:
        # A job's name is the cron job's with eleven characters more.
        message = f"must be no more than {_MAX_NAME} characters"
        problems.append(invalid("metadata.name", name, message))
    return problems


def _schedule(schedule: str) -> list[FieldError]:
    field = "spec.schedule"
    problems: list[FieldError] = []
    try:
        cron.parse(schedule)
    except cron.ScheduleError as error:
        problems.append(invalid(field, schedule, str(error)))
    if "TZ" in schedule:
        message = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
        problems.append(invalid(field, schedule, message))
    return problems


def _zone(name: str | None) -> list[FieldError]:
    field = "spec.timeZone"
    if name is None:
        return []
    if not name:
        return [invalid(field, name, "timeZone must be nil or non-empty string")]
    for part in name.split("/"):
        if part in (".", "..") or part.startswith("-") or not _ZONE_PART.fullmatch(part):
            return [invalid(field, name, f"unknown time zone {name}")]
    if name.lower() == "local":
        message = (
            "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"
        )
        return [invalid(field, name, message)]
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, OSError, ValueError):
        return [invalid(field, name, f"unknown time zone {name}")]
    return []
