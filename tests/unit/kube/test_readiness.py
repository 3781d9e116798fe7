from typing import Any

import pytest

from podwire.kube.readiness import ended, hopeless, lack, pod_lack

Json = dict[str, Any]


def workload(kind: str, status: Json, replicas: int = 3, generation: int = 1) -> Json:
    metadata = {"name": "x", "generation": generation}
    return {"kind": kind, "metadata": metadata, "spec": {"replicas": replicas}, "status": status}


@pytest.mark.parametrize(
    ("kind", "status", "words"),
    [
        ("Deployment", {}, "not seen by its controller yet"),
        ("Deployment", {"observedGeneration": 1}, "0 of 3 replicas are up to date"),
        (
            "Deployment",
            {"observedGeneration": 1, "updatedReplicas": 3, "replicas": 4},
            "1 old replicas are still there",
        ),
        (
            "Deployment",
            {"observedGeneration": 1, "updatedReplicas": 3, "replicas": 3, "availableReplicas": 2},
            "2 of 3 replicas are available",
        ),
        (
            "Deployment",
            {"observedGeneration": 1, "updatedReplicas": 3, "replicas": 3, "availableReplicas": 3},
            "",
        ),
        ("ReplicaSet", {"observedGeneration": 1, "readyReplicas": 1}, "1 of 3 replicas are ready"),
        ("ReplicaSet", {"observedGeneration": 1, "readyReplicas": 3}, ""),
        (
            "DaemonSet",
            {"observedGeneration": 1, "desiredNumberScheduled": 2, "updatedNumberScheduled": 2},
            "0 of 2 pods are ready",
        ),
        (
            "DaemonSet",
            {
                "observedGeneration": 1,
                "desiredNumberScheduled": 2,
                "updatedNumberScheduled": 2,
                "numberReady": 2,
                "numberAvailable": 2,
            },
            "",
        ),
        ("StatefulSet", {"readyReplicas": 3}, "not seen by its controller yet"),
        ("StatefulSet", {"observedGeneration": 1, "readyReplicas": 2}, "2 of 3 pods are ready"),
        (
            "StatefulSet",
            {"observedGeneration": 1, "readyReplicas": 3, "updatedReplicas": 1},
            "1 of 3 pods are up to date",
        ),
        ("StatefulSet", {"observedGeneration": 1, "readyReplicas": 3, "updatedReplicas": 3}, ""),
        ("Job", {"succeeded": 0}, "0 of 1 are complete"),
        ("Job", {"conditions": [{"type": "Complete", "status": "True"}]}, ""),
        ("Service", {}, ""),
    ],
)
def test_what_a_workload_lacks(kind: str, status: Json, words: str) -> None:
    assert lack(workload(kind, status)) == words


@pytest.mark.parametrize(
    ("strategy", "words"),
    [
        (
            {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}},
            "1 of 2 pods are up to date",
        ),
        ({"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}, ""),
        ({"type": "RollingUpdate", "rollingUpdate": {"partition": 9}}, ""),
        ({"type": "OnDelete"}, ""),
    ],
)
def test_a_stateful_set_is_updated_as_far_as_it_is_to_be(strategy: Json, words: str) -> None:
    status = {"observedGeneration": 1, "readyReplicas": 3, "updatedReplicas": 1}
    made = workload("StatefulSet", status)
    made["spec"]["updateStrategy"] = strategy
    assert lack(made) == words


POD_TABLE: list[tuple[Json, list[Json], str]] = [
    ({"conditions": [{"type": "Ready", "status": "True"}]}, [], ""),
    ({}, [], "phase Pending"),
    (
        {
            "containerStatuses": [
                {
                    "name": "c",
                    "state": {"waiting": {"reason": "ErrImagePull", "message": "no image"}},
                }
            ]
        },
        [],
        "container c ErrImagePull: no image",
    ),
    (
        {"containerStatuses": [{"name": "c", "state": {"running": {}}}]},
        [{"type": "Warning", "message": "Readiness probe failed: refused"}],
        "container c runs but is not ready; last event: Readiness probe failed: refused",
    ),
    (
        {"containerStatuses": [{"name": "c", "state": {"terminated": {"exitCode": 3}}}]},
        [],
        "container c ended with status 3",
    ),
    (
        {"conditions": [{"type": "PodScheduled", "status": "False", "message": "no node"}]},
        [],
        "not scheduled: no node",
    ),
]


@pytest.mark.parametrize(("status", "events", "words"), POD_TABLE)
def test_what_a_pod_lacks(status: Json, events: list[Json], words: str) -> None:
    assert pod_lack({"metadata": {"name": "p"}, "status": status}, events) == words


def test_a_finished_pod_lacks_nothing_and_a_failed_one_is_hopeless() -> None:
    assert lack({"kind": "Pod", "metadata": {}, "status": {"phase": "Succeeded"}}) == ""
    failed = {"kind": "Pod", "metadata": {}, "status": {"phase": "Failed", "reason": "Evicted"}}
    assert hopeless(failed) == "it failed: Evicted"
    assert hopeless({"kind": "Pod", "metadata": {}, "status": {"phase": "Running"}}) == ""


def test_a_job_that_failed_is_not_waited_for() -> None:
    condition = {"type": "Failed", "status": "True", "message": "too many retries"}
    assert hopeless(workload("Job", {"conditions": [condition]})) == "it failed: too many retries"


FAILED = {"terminated": {"exitCode": 2}}


@pytest.mark.parametrize(
    ("container", "found"),
    [
        (
            {"state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": FAILED},
            [("c", True)],
        ),
        ({"state": {"running": {}}, "lastState": FAILED}, [("c", True)]),
        ({"state": FAILED}, [("c", False)]),
        ({"state": {"running": {}}, "lastState": FAILED, "ready": True}, []),
        ({"state": {"terminated": {"exitCode": 0}}}, []),
        ({"state": {"waiting": {"reason": "ErrImagePull"}}}, []),
    ],
)
def test_containers_that_ended(container: Json, found: list[tuple[str, bool]]) -> None:
    pod = {"status": {"containerStatuses": [{"name": "c", **container}]}}
    assert ended(pod) == found
