"""The objects that show containers."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest

from podwire.emulator.discovery import mirror, node_mirror
from podwire.emulator.discovery.facts import Container
from podwire.emulator.discovery.labels import Port
from podwire.emulator.discovery.world import Member, NodeView, PodView
from podwire.kube.codec import convert
from podwire.kube.names import Key
from podwire.kube.objects import Node, Pod, PodStatus, Taint

ID = "c" * 64
NOW, LATER = "2026-11-20T14:00:00Z", "2026-11-20T15:00:00Z"
BOX = Container(
    ID,
    "box",
    image="devbox:1",
    image_id="sha256:1",
    created=1_000_000_000.0,
    status="running",
    started=1_000_000_010.0,
)
EXITED = replace(BOX, status="exited", finished=1_000_000_020.0)


def pod(*members: Container, **fields: Any) -> PodView:
    """Return the pod of *members*, the first of which holds the network."""
    named = [Member("web" if n == 0 else f"side-{n}", one) for n, one in enumerate(members)]
    address = IPv4Address("10.244.1.5") if members[0].has_processes else None
    fields = {"address": address, "node_up": True} | fields
    return PodView(
        Key("default", "web"), {"app": "web"}, members[0], tuple(named), "node-a",
        host_address=IPv4Address("10.1.0.1"), **fields,
    )  # fmt: skip


def shown(view: PodView, present: PodStatus | None = None, now: str = NOW) -> PodStatus:
    written = mirror.status(view, present or PodStatus(), now)
    return convert(Pod, {"status": {k: v for k, v in written.items() if v is not None}}).status


def condition(status: PodStatus, kind: str) -> str:
    found = next(one for one in status.conditions if one.type == kind)
    return " ".join(part for part in (found.status, found.reason) if part)


def state(status: PodStatus) -> str:
    found = status.container_statuses[0].state
    if found.running is not None:
        return f"running since {found.running.started_at}"
    if found.waiting is not None:
        return found.waiting.reason
    assert found.terminated is not None
    return f"{found.terminated.reason} {found.terminated.exit_code}"


@pytest.mark.parametrize(
    ("container", "phase", "ready", "what"),
    [
        (replace(BOX, status="created", started=0), "Pending", "False ContainersNotReady", "ContainerCreating"),
        (
            replace(BOX, status="created", started=0, error="port is allocated"),
            "Pending", "False ContainersNotReady", "RunContainerError",
        ),
        (BOX, "Running", "True", "running since 2001-09-09T01:46:50Z"),
        (replace(BOX, health="healthy"), "Running", "True", "running since 2001-09-09T01:46:50Z"),
        (replace(BOX, health="starting"), "Running", "False ContainersNotReady", "running since 2001-09-09T01:46:50Z"),
        (replace(BOX, health="unhealthy"), "Running", "False ContainersNotReady", "running since 2001-09-09T01:46:50Z"),
        (replace(BOX, status="paused"), "Running", "False ContainersNotReady", "running since 2001-09-09T01:46:50Z"),
        (replace(BOX, leaving=True), "Running", "False ContainersNotReady", "running since 2001-09-09T01:46:50Z"),
        (replace(BOX, status="restarting", exit_code=3), "Running", "False ContainersNotReady", "CrashLoopBackOff"),
        (EXITED, "Succeeded", "False PodCompleted", "Completed 0"),
        (replace(EXITED, exit_code=1), "Failed", "False PodFailed", "Error 1"),
        (replace(EXITED, exit_code=137, oom_killed=True), "Failed", "False PodFailed", "OOMKilled 137"),
        (replace(EXITED, restart_policy="always"), "Succeeded", "False PodCompleted", "Completed 0"),
    ],
)  # fmt: skip
def test_what_a_container_is_doing(container: Container, phase: str, ready: str, what: str) -> None:
    if container.status == "restarting":
        container = replace(container, restart_policy="always")
    status = shown(pod(container))
    assert (status.phase, condition(status, "Ready"), state(status)) == (phase, ready, what)
    assert status.container_statuses[0].ready is (ready == "True")
    assert condition(status, "ContainersReady").split()[0] == ready.split()[0]
    assert condition(status, "PodScheduled") == "True"
    assert bool(status.pod_ip) is container.has_processes


def test_the_names_of_things() -> None:
    status = shown(pod(BOX))
    [container] = status.container_statuses
    assert container.container_id == f"docker://{ID}"
    assert container.image_id == "sha256:1"
    assert (status.pod_ip, status.host_ip) == ("10.244.1.5", "10.1.0.1")
    assert status.start_time == "2001-09-09T01:46:40Z"


def test_a_pod_is_ready_when_all_of_its_containers_are() -> None:
    side = replace(BOX, id="d" * 64, name="side")
    assert condition(shown(pod(BOX, side)), "Ready") == "True"
    status = shown(pod(BOX, replace(side, status="exited")))
    assert (status.phase, condition(status, "Ready")) == ("Running", "False ContainersNotReady")


def test_why_it_is_not_ready_is_said() -> None:
    lost = replace(BOX, labels={"com.docker.compose.service": "app"})
    view = replace(pod(BOX), members=(Member("app", lost, cut_off=True),))
    [message] = [one.message for one in shown(view).conditions if one.type == "Ready"]
    assert message == (
        "containers with unready status: [app]; the network that container app shared is gone,"
        " since box was started again or has ended: docker compose up -d --force-recreate app"
    )


def test_pods_of_a_node_that_is_down() -> None:
    before = shown(pod(BOX))
    status = shown(pod(BOX, node_up=False), before, LATER)
    assert condition(status, "Ready") == "False NodeNotReady"
    assert condition(status, "ContainersReady") == "True"
    times = {one.type: one.last_transition_time for one in status.conditions}
    assert (times["Ready"], times["ContainersReady"]) == (LATER, NOW)


def test_the_same_again_is_no_difference() -> None:
    view = pod(BOX)
    status = shown(view)
    assert not mirror.differs(mirror.status(view, status, LATER), status)
    assert mirror.differs(mirror.status(pod(EXITED), status, LATER), status)
    assert mirror.status(pod(EXITED), status, LATER)["podIP"] is None


def test_restarts_are_counted_whoever_caused_them() -> None:
    first = shown(pod(BOX))
    ended = shown(pod(replace(EXITED, exit_code=2)), first)
    again = shown(pod(replace(BOX, started=1_000_000_030.0)), ended)
    [container] = again.container_statuses
    assert container.restart_count == 1
    assert container.last_state.terminated is not None
    assert container.last_state.terminated.exit_code == 2
    same = shown(pod(replace(BOX, started=1_000_000_030.0)), again)
    assert same.container_statuses == again.container_statuses
    counted = shown(pod(replace(BOX, started=1_000_000_040.0, restarts=7)), again)
    assert counted.container_statuses[0].restart_count == 7
    other = shown(pod(replace(BOX, id="e" * 64)), again)
    assert other.container_statuses[0].restart_count == 0


def test_the_manifest() -> None:
    view = replace(pod(BOX), members=(Member("web", BOX, (Port(80, "http"), Port(53, "", "UDP"))),))
    made = mirror.manifest(view)
    assert made["metadata"]["annotations"] == {
        "kubernetes.io/config.mirror": ID,
        "kubernetes.io/config.source": "docker",
    }
    assert made["spec"]["nodeName"] == "node-a"
    [container] = made["spec"]["containers"]
    assert container["ports"] == [
        {"containerPort": 80, "protocol": "TCP", "name": "http"},
        {"containerPort": 53, "protocol": "UDP"},
    ]


@pytest.mark.parametrize(
    ("change", "replaced"),
    [
        ({}, False),
        ({"sandbox": replace(BOX, id="d" * 64)}, True),
        ({"node": "node-b"}, True),
        ({"members": (Member("web", BOX, (Port(80),)),)}, True),
        ({"members": (Member("web", BOX), Member("side", BOX))}, True),
        ({"labels": {"app": "other"}}, False),
        ({"members": (Member("web", replace(BOX, restart_policy="always")),)}, False),
    ],
)
def test_what_makes_it_another_pod(change: dict[str, Any], replaced: bool) -> None:  # noqa: FBT001
    present = convert(Pod, mirror.manifest(pod(BOX)))
    assert mirror.replaced(replace(pod(BOX), **change), present) is replaced


def test_what_somebody_changed_is_put_right() -> None:
    view = pod(BOX)
    made = mirror.manifest(view)
    assert mirror.correction(view, convert(Pod, made)) is None
    made["metadata"]["labels"] = {"more": "x"}
    made["spec"]["containers"][0]["image"] = "other"
    patch = mirror.correction(view, convert(Pod, made))
    assert patch is not None
    assert patch["metadata"]["labels"] == {"more": None, "app": "web"}
    assert patch["spec"]["containers"][0]["image"] == "devbox:1"


def test_a_new_restart_policy_is_no_correction_either() -> None:
    present = convert(Pod, mirror.manifest(pod(BOX)))
    assert mirror.correction(pod(replace(BOX, restart_policy="always")), present) is None


@pytest.mark.parametrize(
    ("view", "told"),
    [
        (pod(BOX), []),
        (pod(replace(BOX, health="starting")), []),
        (pod(replace(BOX, health="unhealthy", health_output="")), ["Unhealthy: Health check of container web failed: it printed nothing"]),
        (pod(replace(BOX, health="unhealthy", health_output="refused")), ["Unhealthy: Health check of container web failed: refused"]),
        (pod(replace(BOX, health="unhealthy", health_output=None)), []),
        (pod(replace(BOX, leaving=True)), []),
        (pod(EXITED), []),
        (pod(replace(BOX, status="paused")), ["Paused: container web is paused: docker unpause box"]),
        (pod(BOX, node_up=False), ["NodeNotReady: Node is not ready"]),
        (pod(EXITED, node_up=False), []),
        (
            pod(replace(BOX, status="paused"), replace(BOX, name="side", status="paused")),
            ["Paused: container web is paused: docker unpause box",
             "Paused: container side-1 is paused: docker unpause side"],
        ),
        (
            replace(pod(BOX), members=(Member("app", BOX, cut_off=True),)),
            ["NetworkLost: the network that container app shared is gone, since box was started"
             " again or has ended: docker restart box"],
        ),
    ],
)  # fmt: skip
def test_what_an_event_tells(view: PodView, told: list[str]) -> None:
    found = mirror.obstacles(view)
    assert [f"{one.reason}: {one.text}" for one in found] == told


NODE = NodeView(
    "node-a", BOX, IPv4Network("10.244.1.0/24"), {"zone": "a"}, IPv4Address("10.1.0.1"), "net"
)


@pytest.mark.parametrize(
    ("container", "ready"),
    [
        (BOX, ("True", "KubeletReady", "container box runs")),
        (
            replace(BOX, health="starting"),
            ("False", "ContainerStarting", "container box is starting"),
        ),
        (
            replace(BOX, health="unhealthy", health_output="no endpoint"),
            ("False", "ContainerUnhealthy", "container box is unhealthy: no endpoint"),
        ),
        (replace(BOX, leaving=True), ("False", "ContainerEnds", "container box was told to end")),
        (
            replace(BOX, status="paused"),
            ("False", "ContainerNotRunning", "container box is paused"),
        ),
        (EXITED, ("False", "ContainerNotRunning", "container box is exited")),
    ],
)
def test_whether_a_node_is_ready(container: Container, ready: tuple[str, str, str]) -> None:
    assert node_mirror.ready(replace(NODE, container=container)) == ready


def test_a_node_as_it_is_made() -> None:
    made = node_mirror.manifest(NODE, "docker://26.1.5", NOW)
    assert made["spec"]["podCIDR"] == "10.244.1.0/24"
    assert made["metadata"]["labels"]["zone"] == "a"
    assert made["status"]["nodeInfo"]["containerRuntimeVersion"] == "docker://26.1.5"
    assert {"type": "InternalIP", "address": "10.1.0.1"} in made["status"]["addresses"]
    present = convert(Node, made)
    assert node_mirror.status(NODE, present, LATER) is None
    assert node_mirror.correction(NODE, present) is None
    assert node_mirror.replaced(replace(NODE, pod_cidr=IPv4Network("10.9.0.0/24")), present)


def test_a_node_that_is_down_gets_a_taint_beside_those_of_others() -> None:
    made = node_mirror.manifest(NODE, "docker://26.1.5", NOW)
    made["spec"]["taints"] = [{"key": "mine", "value": "1", "effect": "NoExecute"}]
    present = convert(Node, made)
    down = replace(NODE, container=EXITED)
    status, patch = node_mirror.status(down, present, LATER), node_mirror.correction(down, present)
    assert status is not None
    assert status["conditions"][0]["lastTransitionTime"] == LATER
    assert patch is not None
    assert [taint["key"] for taint in patch["spec"]["taints"]] == [
        "mine",
        node_mirror.NOT_READY.key,
    ]
    tainted = convert(Node, {**made, "spec": {"taints": patch["spec"]["taints"]}})
    again = node_mirror.correction(NODE, tainted)
    assert again is not None
    assert [taint["key"] for taint in again["spec"]["taints"]] == ["mine"]
    assert Taint(key="mine", value="1", effect="NoExecute") in present.spec.taints


def test_a_pod_with_a_subdomain_has_a_name_in_it() -> None:
    spec = mirror.manifest(pod(BOX, subdomain="db"))["spec"]
    assert (spec["hostname"], spec["subdomain"]) == ("web", "db")
    assert not {"hostname", "subdomain"} & set(mirror.manifest(pod(BOX))["spec"])
