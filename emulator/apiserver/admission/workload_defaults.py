"""Pure: what kube-apiserver fills into what makes pods: sets, deployments, jobs, autoscalers.

Source: the defaults.go files under pkg/apis/{apps,batch,autoscaling} of Kubernetes 1.32.
"""

from collections.abc import Callable, Mapping
from typing import Any

from podwire.emulator.apiserver.admission import pod_defaults
from podwire.emulator.apiserver.types.fields import below, fill, many, spec_of

Json = dict[str, Any]

_MAX_INT32 = 2**31 - 1


def claim(obj: Json) -> None:
    """Fill a PersistentVolumeClaim."""
    fill(obj.setdefault("status", {}), "phase", "Pending")
    spec_of(obj).setdefault("volumeMode", "Filesystem")


def _replicated(obj: Json) -> None:
    spec = spec_of(obj)
    spec.setdefault("replicas", 1)
    pod_defaults.template(spec)


def _controller(obj: Json) -> None:
    """Fill a ReplicationController, whose selector and labels come from its template."""
    _replicated(obj)
    labels = (below(obj["spec"], "template", "metadata")).get("labels")
    if labels:
        fill(obj["spec"], "selector", dict(labels))
        fill(obj["metadata"], "labels", dict(labels))


def _deployment(obj: Json) -> None:
    _replicated(obj)
    spec = obj["spec"]
    strategy: Json = spec.setdefault("strategy", {})
    fill(strategy, "type", "RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        rolling: Json = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxUnavailable", "25%")
        rolling.setdefault("maxSurge", "25%")
    spec.setdefault("revisionHistoryLimit", 10)
    spec.setdefault("progressDeadlineSeconds", 600)


def _daemon_set(obj: Json) -> None:
    spec = spec_of(obj)
    pod_defaults.template(spec)
    strategy: Json = spec.setdefault("updateStrategy", {})
    fill(strategy, "type", "RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        rolling: Json = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxUnavailable", 1)
        rolling.setdefault("maxSurge", 0)
    spec.setdefault("revisionHistoryLimit", 10)


def _stateful_set(obj: Json) -> None:
    _replicated(obj)
    spec = obj["spec"]
    fill(spec, "podManagementPolicy", "OrderedReady")
    strategy: Json = spec.setdefault("updateStrategy", {})
    fill(strategy, "type", "RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        strategy.setdefault("rollingUpdate", {}).setdefault("partition", 0)
    retention: Json = spec.setdefault("persistentVolumeClaimRetentionPolicy", {})
    fill(retention, "whenDeleted", "Retain")
    fill(retention, "whenScaled", "Retain")
    spec.setdefault("revisionHistoryLimit", 10)
    for one in many(spec, "volumeClaimTemplates"):
        claim(one)


def _job(obj: Json) -> None:
    spec = spec_of(obj)
    pod_defaults.template(spec)
    if spec.get("completions") is None and spec.get("parallelism") is None:
        spec["completions"] = spec["parallelism"] = 1
    spec.setdefault("parallelism", 1)
    per_index = spec.get("backoffLimitPerIndex") is not None
    spec.setdefault("backoffLimit", _MAX_INT32 if per_index else 6)
    spec.setdefault("completionMode", "NonIndexed")
    spec.setdefault("suspend", False)
    policy: Json | None = spec.get("podFailurePolicy")
    spec.setdefault("podReplacementPolicy", "TerminatingOrFailed" if policy is None else "Failed")
    for rule in (policy or {}).get("rules") or ():
        for condition in many(rule, "onPodConditions"):
            fill(condition, "status", "True")
    _job_selector(obj)


def _job_selector(obj: Json) -> None:
    """Give a job the selector that no other job can match, unless its user chose one."""
    spec, meta = obj["spec"], obj["metadata"]
    # What has a version is in the store already: a PUT must bring the selector along.
    if spec.get("manualSelector") or not meta.get("uid") or meta.get("resourceVersion"):
        return
    selector: Json = spec.setdefault("selector", {})
    labels = below(selector, "matchLabels")
    selector["matchLabels"] = {"batch.kubernetes.io/controller-uid": meta["uid"]} | labels
    inner: Json = spec["template"].setdefault("metadata", {})
    # Labels that contradict these are for the validation to refuse.
    inner["labels"] = {
        "batch.kubernetes.io/controller-uid": meta["uid"],
        "batch.kubernetes.io/job-name": meta.get("name", ""),
        "controller-uid": meta["uid"],
        "job-name": meta.get("name", ""),
    } | below(inner, "labels")


def _cron_job(obj: Json) -> None:
    spec = spec_of(obj)
    fill(spec, "concurrencyPolicy", "Allow")
    spec.setdefault("suspend", False)
    spec.setdefault("successfulJobsHistoryLimit", 3)
    spec.setdefault("failedJobsHistoryLimit", 1)
    pod_defaults.template(spec.setdefault("jobTemplate", {}).setdefault("spec", {}))


def _autoscaler_v1(obj: Json) -> None:
    spec_of(obj).setdefault("minReplicas", 1)


def _autoscaler_v2(obj: Json) -> None:
    spec = spec_of(obj)
    spec.setdefault("minReplicas", 1)
    if not spec.get("metrics"):
        target = {"type": "Utilization", "averageUtilization": 80}
        spec["metrics"] = [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]
    behaviour: Json | None = spec.get("behavior")
    if behaviour is not None:
        quick = {"type": "Percent", "value": 100, "periodSeconds": 15}
        pods = {"type": "Pods", "value": 4, "periodSeconds": 15}
        _scaling(behaviour, "scaleUp", {"stabilizationWindowSeconds": 0}, [pods, quick])
        _scaling(behaviour, "scaleDown", {}, [quick])


def _scaling(behaviour: Json, name: str, more: Json, policies: list[Json]) -> None:
    base: Json = {**more, "selectPolicy": "Max", "policies": policies}
    given = {key: value for key, value in below(behaviour, name).items() if value is not None}
    behaviour[name] = base | given


FILLERS: Mapping[tuple[str, str], Callable[[Json], None]] = {
    ("v1", "ReplicationController"): _controller,
    ("v1", "PersistentVolumeClaim"): claim,
    ("apps/v1", "ReplicaSet"): _replicated,
    ("apps/v1", "Deployment"): _deployment,
    ("apps/v1", "DaemonSet"): _daemon_set,
    ("apps/v1", "StatefulSet"): _stateful_set,
    ("batch/v1", "Job"): _job,
    ("batch/v1", "CronJob"): _cron_job,
    ("autoscaling/v1", "HorizontalPodAutoscaler"): _autoscaler_v1,
    ("autoscaling/v2", "HorizontalPodAutoscaler"): _autoscaler_v2,
}
