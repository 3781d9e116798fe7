"""Pure: the tables of what makes pods: deployments, sets, jobs, autoscalers."""

from typing import Any

from podwire.emulator.apiserver.columns.cells import (
    Json,
    Printer,
    Row,
    age,
    containers,
    count,
    human_duration,
    labels,
    name,
    seconds_of,
    selector,
    since,
    some,
    template_containers,
)
from podwire.emulator.apiserver.types.fields import below, many

_MOST_METRICS = 2


def _deployment(obj: Json, now: float) -> Row:
    ready = f"{count(obj, 'status', 'readyReplicas')}/{count(obj, 'spec', 'replicas')}"
    return Row(
        [
            name(obj),
            ready,
            count(obj, "status", "updatedReplicas"),
            count(obj, "status", "availableReplicas"),
            age(obj, now),
            *template_containers(obj),
            selector(obj["spec"].get("selector")),
        ]
    )


def _replica_set(obj: Json, now: float) -> Row:
    return Row([*_replicas(obj, now), selector(obj["spec"].get("selector"))])


def _replication_controller(obj: Json, now: float) -> Row:
    return Row([*_replicas(obj, now), labels(obj["spec"].get("selector"))])


def _replicas(obj: Json, now: float) -> list[Any]:
    return [
        name(obj),
        count(obj, "spec", "replicas"),
        count(obj, "status", "replicas"),
        count(obj, "status", "readyReplicas"),
        age(obj, now),
        *template_containers(obj),
    ]


def _scale(obj: Json, now: float) -> Row:
    wanted, present = count(obj, "spec", "replicas"), count(obj, "status", "replicas")
    return Row([name(obj), wanted, present, age(obj, now)])


def _stateful_set(obj: Json, now: float) -> Row:
    ready = f"{count(obj, 'status', 'readyReplicas')}/{count(obj, 'spec', 'replicas')}"
    return Row([name(obj), ready, age(obj, now), *template_containers(obj)])


def _daemon_set(obj: Json, now: float) -> Row:
    pod_spec = below(obj["spec"], "template", "spec")
    return Row(
        [
            name(obj),
            count(obj, "status", "desiredNumberScheduled"),
            count(obj, "status", "currentNumberScheduled"),
            count(obj, "status", "numberReady"),
            count(obj, "status", "updatedNumberScheduled"),
            count(obj, "status", "numberAvailable"),
            labels(pod_spec.get("nodeSelector")),
            age(obj, now),
            *template_containers(obj),
            selector(obj["spec"].get("selector")),
        ]
    )


def _revision(obj: Json, now: float) -> Row:
    owners = many(obj["metadata"], "ownerReferences")
    owner = next((one for one in owners if one.get("controller")), None)
    shown = "<none>"
    if owner:
        group = owner["apiVersion"].rpartition("/")[0]
        shown = f"{owner['kind'].lower()}{'.' if group else ''}{group}/{owner['name']}"
    return Row([name(obj), shown, str(obj.get("revision", 0)), age(obj, now)])


def _job(obj: Json, now: float) -> Row:
    spec, status = obj["spec"], below(obj, "status")
    succeeded = status.get("succeeded", 0)
    if spec.get("completions") is not None:
        completions = f"{succeeded}/{spec['completions']}"
    elif (spec.get("parallelism") or 0) > 1:
        completions = f"{succeeded}/1 of {spec['parallelism']}"
    else:
        completions = f"{succeeded}/1"
    return Row(
        [
            name(obj),
            _job_status(obj),
            completions,
            _job_duration(status, now),
            age(obj, now),
            *template_containers(obj),
            selector(spec.get("selector")),
        ]
    )


def _job_status(obj: Json) -> str:
    conditions = many(below(obj, "status"), "conditions")
    true = {c.get("type") for c in conditions if c.get("status") == "True"}
    for word in ("Complete", "Failed"):
        if word in true:
            return word
    if obj["metadata"].get("deletionTimestamp"):
        return "Terminating"
    for word in ("Suspended", "FailureTarget", "SuccessCriteriaMet"):
        if word in true:
            return word
    return "Running"


def _job_duration(status: Json, now: float) -> str:
    started, ended = seconds_of(status.get("startTime")), seconds_of(status.get("completionTime"))
    if started is None:
        return ""
    return human_duration((now if ended is None else ended) - started)


def _cron_job(obj: Json, now: float) -> Row:
    spec, status = obj["spec"], below(obj, "status")
    job = below(spec, "jobTemplate", "spec")
    last = status.get("lastScheduleTime")
    suspended = {True: "True", False: "False"}.get(spec.get("suspend"), "<unset>")
    return Row(
        [
            name(obj),
            spec.get("schedule", ""),
            spec.get("timeZone") or "<none>",
            suspended,
            len(many(status, "active")),
            since(last, now) if last else "<none>",
            age(obj, now),
            *containers(below(job, "template").get("spec")),
            selector(job.get("selector")),
        ]
    )


def _autoscaler(obj: Json, now: float) -> Row:
    spec, status = obj["spec"], below(obj, "status")
    target = below(spec, "scaleTargetRef")
    smallest = spec.get("minReplicas")
    return Row(
        [
            name(obj),
            f"{target.get('kind', '')}/{target.get('name', '')}",
            _metrics(spec, status),
            "<unset>" if smallest is None else str(smallest),
            spec.get("maxReplicas", 0),
            status.get("currentReplicas", 0),
            age(obj, now),
        ]
    )


def _metrics(spec: Json, status: Json) -> str:
    wanted = spec.get("metrics")
    if wanted is None and spec.get("targetCPUUtilizationPercentage"):  # autoscaling/v1
        current = status.get("currentCPUUtilizationPercentage")
        shown = "<unknown>" if current is None else f"{current}%"
        return f"cpu: {shown}/{spec['targetCPUUtilizationPercentage']}%"
    present: list[Json] = many(status, "currentMetrics")
    texts = [
        _metric(metric, present[index] if index < len(present) else {})
        for index, metric in enumerate(wanted or ())
    ]
    return some(texts, _MOST_METRICS, empty="<none>", joint=", ")


def _metric(metric: Json, present: Json) -> str:
    kind: str = metric.get("type", "")
    source = kind[:1].lower() + kind[1:]
    if source not in metric:
        return "<unknown type>"
    target: Json = metric[source].get("target") or {}
    current: Json = below(present, source, "current")
    of_resource = kind in ("Resource", "ContainerResource")
    prefix = f"{metric[source].get('name', '')}: " if of_resource else ""
    if target.get("averageValue") is not None:
        average = kind in ("External", "Object")
        return (
            f"{prefix}{current.get('averageValue', '<unknown>')}/{target['averageValue']}"
            f"{' (avg)' if average else ''}"
        )
    if of_resource:
        percent = current.get("averageUtilization")
        goal = target.get("averageUtilization")
        return (
            f"{prefix}{'<unknown>' if percent is None else f'{percent}%'}"
            f"/{'<auto>' if goal is None else f'{goal}%'}"
        )
    return f"{current.get('value', '<unknown>')}/{target.get('value', '')}"


_REPLICAS = "Name|Desired:integer|Current:integer|Ready:integer|Age|Containers*|Images*|Selector*"
_AUTOSCALER = Printer("Name|Reference|Targets|MinPods|MaxPods|Replicas|Age", _autoscaler)

PRINTERS = {
    ("apps/v1", "Deployment"): Printer(
        "Name|Ready|Up-to-date|Available|Age|Containers*|Images*|Selector*", _deployment
    ),
    ("apps/v1", "ReplicaSet"): Printer(_REPLICAS, _replica_set),
    ("v1", "ReplicationController"): Printer(_REPLICAS, _replication_controller),
    ("apps/v1", "StatefulSet"): Printer("Name|Ready|Age|Containers*|Images*", _stateful_set),
    ("apps/v1", "DaemonSet"): Printer(
        "Name|Desired:integer|Current:integer|Ready:integer|Up-to-date:integer"
        "|Available:integer|Node Selector|Age|Containers*|Images*|Selector*",
        _daemon_set,
    ),
    ("apps/v1", "ControllerRevision"): Printer("Name|Controller|Revision|Age", _revision),
    ("autoscaling/v1", "Scale"): Printer("Name|Desired:integer|Available:integer|Age", _scale),
    ("batch/v1", "Job"): Printer(
        "Name|Status|Completions|Duration|Age|Containers*|Images*|Selector*", _job
    ),
    ("batch/v1", "CronJob"): Printer(
        "Name|Schedule|Timezone|Suspend:boolean|Active:integer|Last Schedule|Age"
        "|Containers*|Images*|Selector*",
        _cron_job,
    ),
    ("autoscaling/v1", "HorizontalPodAutoscaler"): _AUTOSCALER,
    ("autoscaling/v2", "HorizontalPodAutoscaler"): _AUTOSCALER,
}
