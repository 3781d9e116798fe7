import json
from typing import Any

import pytest
from msgspec.structs import replace

from podwire.kube.codec import decode
from podwire.kube.objects import Condition, Pod, PodReadinessGate, PodSpec
from podwire.kube.podstatus import (
    ContainerRecord,
    phase_of,
    quality_of_service,
    status_of,
    with_addresses,
)
from podwire.testing import build

NOW = "2026-01-02T03:04:05Z"
EARLIER = "2026-01-01T00:00:00Z"


def container(text: str) -> ContainerRecord:
    """Return a record from words: `running`, `ready`, `waiting`, `again`, `exit 1`; `+` side-car."""
    sidecar, state = text.startswith("+"), text.lstrip("+")
    record = ContainerRecord("c", "image", sidecar=sidecar)
    record.container_id = "" if state == "waiting" else "podwire://1"
    match state.split():
        case ["running"]:
            record.state, record.started = "running", not sidecar
        case ["ready"]:
            record.state, record.started, record.ready = "running", True, True
        case ["again"]:
            record.state, record.reason, record.last = (
                "waiting",
                "CrashLoopBackOff",
                {"exitCode": 1},
            )
        case ["exit", code]:
            record.state, record.exit_code = "terminated", int(code)
            record.reason = "Error" if int(code) else "Completed"
        case _:
            assert state == "waiting", text
    return record


def several(text: str) -> list[ContainerRecord]:
    return [container(word.strip()) for word in text.split(",") if word.strip()]


@pytest.mark.parametrize(
    ("init", "containers", "policy", "phase"),
    [
        ("", "waiting", "Always", "Pending"),
        ("", "running", "Always", "Running"),
        ("", "running, running", "Always", "Running"),
        # One that has never run keeps the pod pending, whatever the others do.
        ("", "running, waiting", "Always", "Pending"),
        ("", "exit 0, waiting", "Never", "Pending"),
        ("", "running, again", "Always", "Running"),
        ("", "again", "Always", "Running"),
        ("", "exit 0", "Always", "Running"),
        ("", "exit 1", "Always", "Running"),
        ("", "exit 0", "OnFailure", "Succeeded"),
        ("", "exit 1", "OnFailure", "Running"),
        ("", "again", "OnFailure", "Running"),
        ("", "exit 0", "Never", "Succeeded"),
        ("", "exit 0, exit 0", "Never", "Succeeded"),
        ("", "exit 0, exit 1", "Never", "Failed"),
        ("", "exit 1, running", "Never", "Running"),
        ("waiting", "waiting", "Always", "Pending"),
        ("running", "waiting", "Always", "Pending"),
        ("exit 1", "waiting", "Always", "Pending"),
        ("exit 1", "waiting", "Never", "Failed"),
        ("exit 0, again", "waiting", "OnFailure", "Pending"),
        ("exit 0", "running", "Always", "Running"),
        # Side-cars.
        ("+waiting", "waiting", "Always", "Pending"),
        ("+running", "waiting", "Always", "Pending"),
        ("+ready", "waiting", "Always", "Pending"),
        ("+ready", "running", "Always", "Running"),
        ("+ready, exit 0", "running", "Never", "Running"),
        ("+again", "running", "Always", "Running"),
        ("+ready", "exit 0", "Never", "Running"),
        ("+exit 143", "exit 0", "Never", "Succeeded"),
        ("+exit 137", "exit 0", "OnFailure", "Succeeded"),
        ("+exit 1", "exit 1", "Never", "Failed"),
    ],
)
def test_the_phase(init: str, containers: str, policy: str, phase: str) -> None:
    assert phase_of(several(init), several(containers), policy) == phase


@pytest.mark.parametrize(
    ("init", "containers", "policy", "phase"),
    [
        ("", "exit 0", "Always", "Succeeded"),
        ("", "exit 143", "Always", "Failed"),
        ("", "again", "Always", "Failed"),
        ("", "waiting", "Always", "Failed"),
        ("running", "waiting", "Always", "Failed"),
        ("exit 1", "waiting", "Always", "Failed"),
        ("+exit 137", "exit 0", "Always", "Succeeded"),
    ],
)
def test_the_phase_of_a_deleted_pod_whose_containers_have_ended(
    init: str, containers: str, policy: str, phase: str
) -> None:
    assert phase_of(several(init), several(containers), policy, ended=True) == phase


def written(
    pod: Pod, containers: str, init: str = "", *, pod_ip: str = "10.244.1.2", ended: bool = False
) -> dict[str, Any]:
    return status_of(
        pod,
        several(init),
        several(containers),
        host_ip="192.168.1.10",
        pod_ip=pod_ip,
        start_time=EARLIER,
        now=NOW,
        ended=ended,
    )


def conditions(status: dict[str, Any]) -> dict[str, str]:
    return {
        c["type"]: " ".join(filter(None, (c["status"], c.get("reason"), c.get("message"))))
        for c in status["conditions"]
    }


@pytest.mark.parametrize(
    ("init", "containers", "pod_ip", "expected"),
    [
        (
            "",
            "waiting",
            "",
            {
                "PodReadyToStartContainers": "False",
                "Initialized": "True",
                "Ready": "False ContainersNotReady containers with unready status: [c]",
                "ContainersReady": "False ContainersNotReady containers with unready status: [c]",
            },
        ),
        ("", "ready", "10.244.1.2", {"PodReadyToStartContainers": "True", "Ready": "True"}),
        (
            "",
            "ready, running",
            "10.244.1.2",
            {"Ready": "False ContainersNotReady containers with unready status: [c]"},
        ),
        (
            "+running",
            "ready",
            "10.244.1.2",
            {"Ready": "False ContainersNotReady containers with unready status: [c]"},
        ),
        ("+ready", "ready", "10.244.1.2", {"Ready": "True", "Initialized": "True"}),
        (
            "running, waiting",
            "waiting",
            "10.244.1.2",
            {
                "Initialized": "False ContainersNotInitialized containers with incomplete status: [c c]"
            },
        ),
        ("exit 0", "ready", "10.244.1.2", {"Initialized": "True"}),
    ],
)
def test_conditions(init: str, containers: str, pod_ip: str, expected: dict[str, str]) -> None:
    found = conditions(written(build.pod("web"), containers, init, pod_ip=pod_ip))
    assert {kind: found[kind] for kind in expected} == expected
    assert found["PodScheduled"] == "True"


@pytest.mark.parametrize(
    ("containers", "reason"), [("exit 0", "PodCompleted"), ("exit 1", "PodFailed")]
)
def test_conditions_of_a_pod_that_is_over(containers: str, reason: str) -> None:
    pod = replace(build.pod("job"), spec=PodSpec(restart_policy="Never"))
    found = conditions(written(pod, containers))
    assert found["Ready"] == found["ContainersReady"] == f"False {reason}"
    assert found["PodReadyToStartContainers"] == "False"


def gated(*present: Condition) -> Pod:
    pod = build.pod("web")
    gates = (PodReadinessGate(condition_type="example.com/lb"),)
    return replace(
        pod,
        spec=replace(pod.spec, readiness_gates=gates),
        status=replace(pod.status, conditions=present),
    )


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (
            None,
            'False ReadinessGatesNotReady corresponding condition of pod readiness gate "example.com/lb" does not exist.',
        ),
        (
            "False",
            'False ReadinessGatesNotReady the status of pod readiness gate "example.com/lb" is not "True", but False',
        ),
        ("True", "True"),
    ],
)
def test_readiness_gates(status: str | None, expected: str) -> None:
    present = [Condition(type="example.com/lb", status=status)] if status else []
    found = conditions(written(gated(*present), "ready"))
    assert found["Ready"] == expected
    assert found["ContainersReady"] == "True"


def test_conditions_of_others_stay_and_times_change_only_with_the_status() -> None:
    pod = gated(
        Condition(type="example.com/lb", status="True", last_transition_time=EARLIER),
        Condition(type="Ready", status="True", last_transition_time=EARLIER),
        Condition(type="ContainersReady", status="False", last_transition_time=EARLIER),
    )
    times = {c["type"]: c["lastTransitionTime"] for c in written(pod, "ready")["conditions"]}
    assert times["example.com/lb"] == times["Ready"] == EARLIER
    assert times["ContainersReady"] == times["Initialized"] == NOW


def test_addresses_and_times() -> None:
    status = written(build.pod("web"), "ready")
    assert (status["hostIP"], status["hostIPs"]) == ("192.168.1.10", [{"ip": "192.168.1.10"}])
    assert (status["podIP"], status["podIPs"]) == ("10.244.1.2", [{"ip": "10.244.1.2"}])
    assert status["startTime"] == EARLIER
    assert "podIP" not in written(build.pod("web"), "waiting", pod_ip="")
    pod = with_addresses(build.pod("web"), "10.244.1.9", "192.168.1.10")
    assert (pod.status.pod_ip, pod.status.host_ip) == ("10.244.1.9", "192.168.1.10")


def test_a_containers_states() -> None:
    record = ContainerRecord("web", "nginx")
    assert record.status() == {
        "name": "web",
        "image": "nginx",
        "imageID": "",
        "ready": False,
        "started": False,
        "restartCount": 0,
        "state": {"waiting": {"reason": "ContainerCreating"}},
        "lastState": {},
    }
    record.state, record.started_at, record.container_id = "running", EARLIER, "podwire://1"
    assert record.status()["state"] == {"running": {"startedAt": EARLIER}}
    assert record.status()["containerID"] == "podwire://1"
    record.state, record.exit_code, record.reason, record.finished_at = (
        "terminated",
        137,
        "Error",
        NOW,
    )
    ended = {
        "exitCode": 137,
        "reason": "Error",
        "startedAt": EARLIER,
        "finishedAt": NOW,
        "containerID": "podwire://1",
    }
    assert record.status()["state"] == {"terminated": ended}
    record.last = record.terminated()
    record.state, record.reason, record.message = "waiting", "CrashLoopBackOff", "back-off 10s"
    assert record.status()["lastState"] == {"terminated": ended}
    assert record.status()["state"] == {
        "waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}
    }


BOTH = {"cpu": "1", "memory": "1Gi"}
RESOURCES: list[tuple[list[dict[str, Any]], str]] = [
    ([{}], "BestEffort"),
    ([{"requests": {"cpu": "1"}}], "Burstable"),
    ([{"limits": {"cpu": "1"}}], "Burstable"),
    ([{"limits": BOTH}], "Guaranteed"),
    ([{"limits": BOTH, "requests": BOTH}], "Guaranteed"),
    ([{"limits": BOTH, "requests": {"cpu": "500m"}}], "Burstable"),
    ([{"limits": BOTH}, {}], "Burstable"),
]


@pytest.mark.parametrize(("resources", "expected"), RESOURCES)
def test_quality_of_service(resources: list[dict[str, Any]], expected: str) -> None:
    containers = [{"name": f"c{n}", "resources": r} for n, r in enumerate(resources)]
    pod = decode(Pod, json.dumps({"spec": {"containers": containers}}).encode())
    assert quality_of_service(pod) == expected
