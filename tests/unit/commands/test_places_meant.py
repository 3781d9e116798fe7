"""Places that are not there, and places by the name of their workload."""

from typing import TYPE_CHECKING, Any

import pytest

from podwire.cli import main
from podwire.kube.apply import apply
from podwire.kube.manifests import from_text

if TYPE_CHECKING:
    from tests.unit.commands.conftest import Api

FRONT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: front}
spec:
  replicas: 2
  selector: {matchLabels: {app: front}}
  template:
    metadata: {labels: {app: front}}
    spec: {containers: [{name: c, image: busybox}]}
---
apiVersion: v1
kind: Service
metadata: {name: nobody}
spec: {ports: [{port: 80}]}
---
apiVersion: v1
kind: Pod
metadata: {name: front-1, labels: {app: front}}
spec: {nodeName: node-1, containers: [{name: c, image: busybox}]}
---
apiVersion: v1
kind: Pod
metadata: {name: front-2, labels: {app: front}}
spec: {nodeName: node-1, containers: [{name: c, image: busybox}]}
"""


@pytest.fixture
def front(api: "Api") -> "Api":
    """Return the API with a Deployment of two pods, of which front-2 is the one to take."""
    with api.connection() as connection:
        apply(connection, from_text(FRONT))
        status: dict[str, Any] = {
            "phase": "Running",
            "podIP": "10.244.1.2",
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [
                {"name": "c", "ready": True, "state": {"running": {}}, "image": "busybox",
                 "imageID": "", "restartCount": 0, "started": True}
            ],
        }  # fmt: skip
        connection.patch("/api/v1/namespaces/default/pods/front-2/status", {"status": status})
    return api


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["exec", "front", "--", "true"], 1),
        (["logs", "front"], 1),
        (["capture", "front", "-w", "/dev/null"], 1),
        (["dns", "query", "web", "--from", "front"], 64),
        (["trace", "front", "http://web", "--no-pcap"], 64),
    ],
)
def test_a_deployments_name_alone_names_its_pods(
    front: "Api", capfd: pytest.CaptureFixture[str], words: list[str], status: int
) -> None:
    cut = words.index("--") if "--" in words else len(words)
    assert main([*words[:cut], *front.options, *words[cut:]]) == status
    assert "; did you mean front-1 or front-2?" in capfd.readouterr().err


@pytest.mark.parametrize("place", ["deploy/front", "deployment/default/front"])
def test_a_command_runs_in_a_pod_of_the_deployment(
    front: "Api", capfd: pytest.CaptureFixture[str], place: str
) -> None:
    assert main(["exec", place, *front.options, "--", "echo", "hello"]) == 0
    assert capfd.readouterr().out == "hello\n"


def test_a_capture_is_of_the_pod_that_was_taken(
    front: "Api", capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["capture", "deploy/front", "-w", "/dev/null", *front.options]) == 1
    assert "'pod/default/front-2' not found" in capfd.readouterr().err  # the fake records others


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("deploy/none", 'deployments.apps "none" not found'),
        ("svc/nobody", "svc/nobody has no pods"),
    ],
)
def test_a_workload_without_pods_is_no_place(
    front: "Api", capfd: pytest.CaptureFixture[str], place: str, said: str
) -> None:
    assert main(["exec", place, *front.options, "--", "true"]) == 1
    assert said in capfd.readouterr().err
