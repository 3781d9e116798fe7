"""Pure: the pod that a Job makes."""

from collections.abc import Mapping
from typing import Any

from podwire.emulator.controllers.jobs.job_facts import TRACKING
from podwire.emulator.controllers.jobs.job_indexes import (
    COMPLETION_INDEX,
    INDEX_FAILURES,
    INDEX_IGNORED_FAILURES,
    failures_of,
)
from podwire.emulator.controllers.jobs.job_policy import ruling
from podwire.emulator.controllers.pod_templates import Template, metadata_of, pod_of, with_label
from podwire.kube.objects import Job, Pod

_INDEX_VARIABLE = "JOB_COMPLETION_INDEX"
_HOST_NAME_LENGTH = 63


def base_name(job: Job, index: int | None) -> str:
    """Return what the random letters of the pod's name are appended to, without the last dash."""
    return job.metadata.name if index is None else f"{job.metadata.name}-{index}"


def job_pod(job: Job, name: str, index: int | None, last: Pod | None) -> dict[str, Any]:
    """Return the pod called *name*, as JSON values.

    *last* is the failed pod in whose place it comes; only where failures are counted per index.
    """
    template: Template = job.spec.template
    annotations = dict(metadata_of(template).get("annotations") or {})
    if index is not None:
        template = with_label(template, COMPLETION_INDEX, str(index))
        annotations |= {COMPLETION_INDEX: str(index), **_failures(job, last)}
    pod = pod_of(job, template, name)
    metadata: dict[str, Any] = {
        **pod["metadata"],
        "generateName": f"{base_name(job, index)}-",
        "finalizers": [*pod["metadata"].get("finalizers", ()), TRACKING],
    }
    if annotations:
        metadata["annotations"] = annotations
    spec: dict[str, Any] = dict(pod["spec"])
    if index is not None:
        # Together with a headless Service the pods find each other by it.
        spec["hostname"] = base_name(job, index)[:_HOST_NAME_LENGTH]
        for kind in ("initContainers", "containers"):
            if kind in spec:
                spec[kind] = [_with_index(container) for container in spec[kind]]
    return {**pod, "metadata": metadata, "spec": spec}


def _failures(job: Job, last: Pod | None) -> dict[str, str]:
    """Return the annotations that hand on how often the index has failed."""
    if job.spec.backoff_limit_per_index is None:
        return {}
    if last is None:
        return {INDEX_FAILURES: "0"}
    counted, ignored = failures_of(last, INDEX_FAILURES), failures_of(last, INDEX_IGNORED_FAILURES)
    if ruling(job.spec.pod_failure_policy, last).action == "Ignore":
        ignored += 1
    else:
        counted += 1
    annotations = {INDEX_FAILURES: str(counted)}
    return {**annotations, INDEX_IGNORED_FAILURES: str(ignored)} if ignored else annotations


def _with_index(container: Mapping[str, Any]) -> dict[str, Any]:
    environment = list(container.get("env") or [])
    if any(entry.get("name") == _INDEX_VARIABLE for entry in environment):
        return dict(container)
    path = f"metadata.labels['{COMPLETION_INDEX}']"
    source = {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}
    return {
        **container,
        "env": [*environment, {"name": _INDEX_VARIABLE, "valueFrom": source}],
    }
