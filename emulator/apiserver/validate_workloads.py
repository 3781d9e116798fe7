"""Pure: rules for what makes pods: replica sets, deployments, daemon and stateful sets, jobs.

Source: pkg/apis/{apps,batch,autoscaling}/validation of Kubernetes 1.32.
"""

from typing import Any

from podwire.emulator.apiserver import validate_meta, validate_pods
from podwire.emulator.apiserver.field_errors import (
    FieldError,
    Unquoted,
    forbidden,
    go_map,
    go_selector,
    invalid,
    not_supported,
    required,
)
from podwire.emulator.apiserver.fields import below
from podwire.emulator.apiserver.validate_meta import Json
from podwire.kube import syntax

_NOT_NEGATIVE = "must be greater than or equal to 0"
_IMMUTABLE = "field is immutable"
_STATEFUL_CHANGES = frozenset(
    {
        "replicas", "ordinals", "template", "updateStrategy",
        "persistentVolumeClaimRetentionPolicy", "minReadySeconds",
    }
)  # fmt: skip


def deployment(obj: Json, old: Json | None) -> list[FieldError]:
    """Check a Deployment."""
    spec: Json = below(obj, "spec")
    problems = _not_negative(spec, "replicas")
    problems += _selector(spec, "empty selector is invalid for deployment")
    problems += _template(spec, "ReplicaSet")
    problems += _deployment_strategy(below(spec, "strategy"))
    problems += _not_negative(spec, "minReadySeconds", "revisionHistoryLimit")
    problems += _not_negative(spec, "progressDeadlineSeconds")
    deadline, ready = spec.get("progressDeadlineSeconds"), spec.get("minReadySeconds", 0)
    if deadline is not None and deadline <= ready:
        message = "must be greater than minReadySeconds"
        problems.append(invalid("spec.progressDeadlineSeconds", deadline, message))
    return problems + _selector_change(spec, old)


def replica_set(obj: Json, old: Json | None) -> list[FieldError]:
    """Check a ReplicaSet."""
    spec: Json = below(obj, "spec")
    problems = _not_negative(spec, "replicas", "minReadySeconds")
    problems += _selector(spec, "empty selector is invalid for deployment")
    problems += _template(spec, "ReplicaSet")
    return problems + _selector_change(spec, old)


def daemon_set(obj: Json, old: Json | None) -> list[FieldError]:
    """Check a DaemonSet."""
    spec: Json = below(obj, "spec")
    problems = _selector(spec, "empty selector is invalid for daemonset", demanded=False)
    problems += _template(spec, "DaemonSet")
    problems += _not_negative(spec, "minReadySeconds", "revisionHistoryLimit")
    strategy = below(spec, "updateStrategy")
    field, kind = "spec.updateStrategy", strategy.get("type", "")
    if kind == "RollingUpdate":
        rolling = below(strategy, "rollingUpdate")
        surge, missing = rolling.get("maxSurge", 0), rolling.get("maxUnavailable", 0)
        problems += _amount(f"{field}.rollingUpdate.maxUnavailable", missing)
        problems += _amount(f"{field}.rollingUpdate.maxSurge", surge)
        if _is_some(surge) and _is_some(missing):
            message = "may not be set when maxUnavailable is non-zero"
            problems.append(invalid(f"{field}.rollingUpdate.maxSurge", surge, message))
        elif not _is_some(surge) and not _is_some(missing):
            message = "cannot be 0 when maxSurge is 0"
            problems.append(required(f"{field}.rollingUpdate.maxUnavailable", message))
    elif kind != "OnDelete":
        problems.append(not_supported(field, kind, ("RollingUpdate", "OnDelete")))
    return problems + _selector_change(spec, old)


def stateful_set(obj: Json, old: Json | None) -> list[FieldError]:
    """Check a StatefulSet."""
    spec: Json = below(obj, "spec")
    problems: list[FieldError] = []
    if spec.get("podManagementPolicy") not in ("OrderedReady", "Parallel"):
        message = "must be 'OrderedReady' or 'Parallel'"
        value = spec.get("podManagementPolicy", "")
        problems.append(invalid("spec.podManagementPolicy", value, message))
    kind = below(spec, "updateStrategy").get("type", "")
    if kind not in ("RollingUpdate", "OnDelete"):
        message = "must be 'RollingUpdate' or 'OnDelete'"
        problems.append(invalid("spec.updateStrategy", kind, message))
    problems += _not_negative(spec, "replicas", "minReadySeconds")
    problems += _selector(spec, "empty selector is invalid for statefulset")
    problems += _template(spec, "")
    if old is not None and _outside(spec) != _outside(below(old, "spec")):
        message = (
            "updates to statefulset spec for fields other than 'replicas', 'ordinals',"
            " 'template', 'updateStrategy', 'persistentVolumeClaimRetentionPolicy' and"
            " 'minReadySeconds' are forbidden"
        )
        problems.append(forbidden("spec", message))
    return problems


def _outside(spec: Json) -> Json:
    return {name: value for name, value in spec.items() if name not in _STATEFUL_CHANGES}


def job(obj: Json, old: Json | None) -> list[FieldError]:
    """Check a Job."""
    spec: Json = below(obj, "spec")
    problems = job_spec("spec", spec)
    if spec.get("selector") is None:
        problems.append(required("spec.selector"))
    if old is None:
        return problems
    before: Json = below(old, "spec")
    for name in ("completions", "selector", "completionMode", "podFailurePolicy"):
        if spec.get(name) != before.get(name) and not (
            name == "completions" and spec.get("completionMode") == "Indexed"
        ):
            value: Any = spec.get(name)
            shown = go_selector(value or {}) if name == "selector" else value
            problems.append(invalid(f"spec.{name}", shown, _IMMUTABLE))
    if spec.get("template") != before.get("template"):
        problems.append(invalid("spec.template", Unquoted("core.PodTemplateSpec{...}"), _IMMUTABLE))
    return problems


def job_spec(field: str, spec: Json) -> list[FieldError]:
    """Check the spec of a Job, or of a CronJob's jobs."""
    problems = _not_negative(
        spec, "parallelism", "completions", "activeDeadlineSeconds", "backoffLimit",
        "ttlSecondsAfterFinished", field=field,
    )  # fmt: skip
    if spec.get("completionMode") == "Indexed" and spec.get("completions") is None:
        message = "when completion mode is Indexed, completions must be set"
        problems.append(required(f"{field}.completions", message))
    policies = ("OnFailure", "Never")
    value = spec.get("template")
    problems += validate_pods.template(f"{field}.template", value, restart=policies)
    return problems


def cron_job(obj: Json, old: Json | None) -> list[FieldError]:
    """Check a CronJob."""
    del old
    spec: Json = below(obj, "spec")
    problems: list[FieldError] = []
    schedule: str = spec.get("schedule", "")
    if not schedule:
        problems.append(required("spec.schedule"))
    elif not schedule.startswith("@") and len(schedule.split()) != 5:
        fields = " ".join(schedule.split())
        count = len(schedule.split())
        message = f"expected exactly 5 fields, found {count}: [{fields}]"
        problems.append(invalid("spec.schedule", schedule, message))
    words = ("Allow", "Forbid", "Replace")
    policy = spec.get("concurrencyPolicy", "")
    if policy not in words:
        problems.append(not_supported("spec.concurrencyPolicy", policy, words))
    problems += _not_negative(
        spec, "startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"
    )
    inner = below(spec, "jobTemplate", "spec")
    return problems + job_spec("spec.jobTemplate.spec", inner)


def autoscaler(obj: Json, old: Json | None) -> list[FieldError]:
    """Check a HorizontalPodAutoscaler."""
    del old
    spec: Json = below(obj, "spec")
    problems: list[FieldError] = []
    least, most = spec.get("minReplicas"), spec.get("maxReplicas", 0)
    if least is not None and least < 1:
        message = "must be greater than or equal to 1"
        problems.append(invalid("spec.minReplicas", least, message))
    if most < 1:
        problems.append(invalid("spec.maxReplicas", most, "must be greater than 0"))
    if least is not None and most < least:
        message = "must be greater than or equal to `minReplicas`"
        problems.append(invalid("spec.maxReplicas", most, message))
    target = below(spec, "scaleTargetRef")
    for name in ("kind", "name"):
        field = f"spec.scaleTargetRef.{name}"
        if not target.get(name):
            problems.append(required(field))
        else:
            problems += validate_meta.check(field, target[name], syntax.path_segment)
    return problems


def _selector(spec: Json, empty: str, *, demanded: bool = True) -> list[FieldError]:
    selector = spec.get("selector")
    if selector is None:
        return [required("spec.selector")] if demanded else []
    problems = validate_meta.selector("spec.selector", selector)
    if not _is_set(selector):
        problems.append(invalid("spec.selector", go_selector(selector), empty))
    return problems


def _is_set(selector: Json | None) -> bool:
    chosen = selector or {}
    return bool(chosen.get("matchLabels") or chosen.get("matchExpressions"))


def _template(spec: Json, owner: str) -> list[FieldError]:
    """Check the pod template, and that the selector finds the pods made from it."""
    template, selector = spec.get("template"), spec.get("selector")
    problems: list[FieldError] = []
    labels = below(template, "metadata", "labels")
    wrong = _is_set(selector) and not validate_meta.selects(selector or {}, labels)
    if template is not None and wrong:
        message = "`selector` does not match template `labels`"
        problems.append(invalid("spec.template.metadata.labels", go_map(labels), message))
    return problems + validate_pods.template("spec.template", template, owner=owner)


def _selector_change(spec: Json, old: Json | None) -> list[FieldError]:
    if old is None or spec.get("selector") == below(old, "spec").get("selector"):
        return []
    return [invalid("spec.selector", go_selector(below(spec, "selector")), _IMMUTABLE)]


def _not_negative(spec: Json, *names: str, field: str = "spec") -> list[FieldError]:
    return [
        invalid(f"{field}.{name}", spec[name], _NOT_NEGATIVE)
        for name in names
        if (spec.get(name) or 0) < 0
    ]


def _deployment_strategy(strategy: Json) -> list[FieldError]:
    field, kind = "spec.strategy", strategy.get("type", "")
    rolling = strategy.get("rollingUpdate")
    if kind == "Recreate":
        message = "may not be specified when strategy `type` is 'Recreate'"
        return [] if rolling is None else [forbidden(f"{field}.rollingUpdate", message)]
    if kind != "RollingUpdate":
        return [not_supported(f"{field}.type", kind, ("Recreate", "RollingUpdate"))]
    if rolling is None:
        message = "this should be defaulted and never be nil"
        return [required(f"{field}.rollingUpdate", message)]
    missing, surge = rolling.get("maxUnavailable", 0), rolling.get("maxSurge", 0)
    at = f"{field}.rollingUpdate"
    problems = _amount(f"{at}.maxUnavailable", missing) + _amount(f"{at}.maxSurge", surge)
    if not _is_some(missing) and not _is_some(surge):
        message = "may not be 0 when `maxSurge` is 0"
        problems.append(invalid(f"{at}.maxUnavailable", missing, message))
    percent = isinstance(missing, str) and missing.removesuffix("%").isdecimal()
    if percent and int(missing.removesuffix("%")) > 100:
        problems.append(invalid(f"{at}.maxUnavailable", missing, "must not be greater than 100%"))
    return problems


def _amount(field: str, value: int | str) -> list[FieldError]:
    if isinstance(value, str):
        return [invalid(field, value, message) for message in syntax.percent(value)]
    return [invalid(field, value, _NOT_NEGATIVE)] if value < 0 else []


def _is_some(value: int | str) -> bool:
    return value not in (0, "0%")
