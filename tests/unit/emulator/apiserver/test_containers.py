from collections.abc import Callable
from typing import Any

import pytest

from podwire.emulator.apiserver.statuses import Refused
from podwire.emulator.apiserver.streams import containers

Json = dict[str, Any]


def pod(names: str, init: str = "", **status: Any) -> Json:
    spec: Json = {"containers": [{"name": name} for name in names.split()]}
    if init:
        spec["initContainers"] = [{"name": name} for name in init.split()]
    return {"metadata": {"name": "p"}, "spec": spec, "status": status}


@pytest.mark.parametrize(
    ("names", "init", "asked", "expected"),
    [
        ("app", "", "", "app"),
        ("app side", "", "side", "side"),
        ("app", "setup", "setup", "setup"),
        ("app side", "", "", "400: a container name must be specified for pod p, choose one of: [app side]"),
        ("app", "setup", "", "app"),
        ("app side", "setup", "", "400: a container name must be specified for pod p, choose one of: [app side] or one of the init containers: [setup]"),
        ("app", "", "nope", "400: container nope is not valid for pod p"),
    ],
)  # fmt: skip
def test_which_container(names: str, init: str, asked: str, expected: str) -> None:
    assert outcome(lambda: containers.chosen(pod(names, init), asked)) == expected


@pytest.mark.parametrize(
    ("state", "last", "which", "expected"),
    [
        ({}, {}, "now", '400: container "app" in pod "p" is waiting to start - no logs yet'),
        ({"running": {"startedAt": "x"}}, {}, "now", ""),
        ({"terminated": {"exitCode": 1}}, {}, "now", ""),
        ({"waiting": {"reason": "CrashLoopBackOff"}}, {"terminated": {"exitCode": 1}}, "now", ""),
        ({"waiting": {"reason": "ContainerCreating"}}, {}, "now", '400: container "app" in pod "p" is waiting to start: ContainerCreating'),
        ({"waiting": {"reason": "ErrImagePull"}}, {}, "now", "400: container \"app\" in pod \"p\" is waiting to start: image can't be pulled"),
        ({"waiting": {"reason": "ImagePullBackOff"}}, {}, "now", '400: container "app" in pod "p" is waiting to start: trying and failing to pull image'),
        ({"running": {"startedAt": "x"}}, {}, "previous", '400: previous terminated container "app" in pod "p" not found'),
        ({"running": {"startedAt": "x"}}, {"terminated": {"exitCode": 1}}, "previous", ""),
    ],
)  # fmt: skip
def test_which_containers_have_a_log(state: Json, last: Json, which: str, expected: str) -> None:
    asked = pod("app", containerStatuses=[{"name": "app", "state": state, "lastState": last}])

    def check() -> str:
        containers.check_log(asked, "app", previous=which == "previous")
        return ""

    assert outcome(check) == expected


def test_a_pod_without_a_node_runs_nothing() -> None:
    with pytest.raises(Refused, match="pod p does not have a host assigned"):
        containers.check_assigned(pod("app"))


def outcome(ask: Callable[[], str]) -> str:
    try:
        return ask()
    except Refused as refusal:
        return f"{refusal.code}: {refusal}"
