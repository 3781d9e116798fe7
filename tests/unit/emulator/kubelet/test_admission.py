"""Which pods a node refuses that nobody asked for them, and what becomes of those."""

from typing import Any

import pytest

from podwire.emulator.kubelet.admission import refusal
from podwire.kube.codec import convert
from podwire.kube.names import Key
from podwire.kube.objects import Node, Pod
from podwire.testing.jumps import JumpingLoop
from tests.unit.emulator.kubelet.conftest import Json
from tests.unit.emulator.kubelet.conftest import Node as OneNode

LOOPS = {"jumping": JumpingLoop}
PORTS = "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"


def pod(requests: Json | None = None, port: int = 0, **spec: Any) -> Pod:
    container: Json = {"name": "c", "resources": {"requests": requests or {}}}
    if port:
        container["ports"] = [{"containerPort": 80, "hostPort": port}]
    return convert(Pod, {"metadata": {"name": "p"}, "spec": {"containers": [container], **spec}})


def node(pods: int = 3, **taint: str) -> Node:
    allocatable = {"cpu": "1", "memory": "1Gi", "pods": str(pods), "example.com/gpu": "1"}
    return convert(
        Node,
        {
            "metadata": {"name": "node-1", "labels": {"disk": "ssd"}},
            "spec": {"taints": [taint] if taint else []},
            "status": {"allocatable": allocatable},
        },
    )


SMALL = pod({"cpu": "400m", "memory": "100Mi"}, port=80)


@pytest.mark.parametrize(
    ("wants", "others", "reason", "message"),
    [
        (pod(), [], "", ""),
        (pod(), [SMALL, SMALL], "", ""),
        (
            pod(),
            [SMALL, SMALL, SMALL],
            "OutOfpods",
            "Node didn't have enough resource: pods, requested: 1, used: 3, capacity: 3",
        ),
        (pod({"cpu": "600m"}), [SMALL], "", ""),
        (
            pod({"cpu": "600.5m"}),
            [SMALL],
            "OutOfcpu",
            "Node didn't have enough resource: cpu, requested: 601, used: 400, capacity: 1000",
        ),
        (
            pod({"memory": "1Gi"}),
            [SMALL],
            "OutOfmemory",
            "Node didn't have enough resource: memory, requested: 1073741824, used: 104857600, "
            "capacity: 1073741824",
        ),
        (
            pod({"example.com/gpu": "2"}),
            [],
            "OutOfexample.com/gpu",
            "Node didn't have enough resource: example.com/gpu, requested: 2, used: 0, capacity: 1",
        ),
        # Others may give what the node does not have.
        (pod({"example.com/tpu": "2"}), [], "", ""),
        (pod(nodeSelector={"disk": "ssd"}), [], "", ""),
        (
            pod(nodeSelector={"disk": "hdd"}),
            [],
            "NodeAffinity",
            "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector",
        ),
        (pod(port=81), [SMALL], "", ""),
        (pod(port=80), [SMALL], "NodePorts", PORTS),
        (pod(containers=[{"name": "c", "ports": [{"containerPort": 80}]}]), [SMALL], "", ""),
    ],
)
def test_what_a_node_cannot_take(wants: Pod, others: list[Pod], reason: str, message: str) -> None:
    found = refusal(wants, node(), others)
    assert (found.reason, found.message) == (reason, message) if found else not reason


@pytest.mark.parametrize(
    ("effect", "reason"),
    [("NoExecute", "TaintToleration"), ("NoSchedule", ""), ("PreferNoSchedule", "")],
)
def test_taints(effect: str, reason: str) -> None:
    tainted = node(key="team", value="db", effect=effect)
    found = refusal(pod(), tainted, [])
    assert (found.reason if found else "") == reason
    assert refusal(pod(tolerations=[{"key": "team", "operator": "Exists"}]), tainted, []) is None


async def test_a_pod_that_is_too_many_fails_and_the_next_may_come(node: OneNode) -> None:
    async with node() as world:
        status = {"status": {"allocatable": {"pods": "1"}}}
        context = world.kubelet.context
        # The kubelet writes its own, once, and hears of ours by its watch.
        await world.until(lambda: context.allocatable)
        await world.client.patch(Node, Key("", "node-1"), status, subresource="status")
        await world.until(lambda: context.allocatable.get("pods") == "1")
        await world.pod("first")
        await world.until(lambda: world.ready("first"))
        await world.pod("second")
        await world.until(lambda: world.phase("second") == "Failed")
        refused = world.get("second")
        assert refused is not None
        words = "Node didn't have enough resource: pods, requested: 1, used: 1, capacity: 1"
        assert refused.status.reason == "OutOfpods"
        assert refused.status.message == f"Pod was rejected: {words}"
        assert not refused.status.container_statuses
        await world.until(lambda: world.events("second") == [f"OutOfpods: {words}"])
        assert len(world.runtime.sandboxes) == 1
        # It has failed for good; who comes when there is room may stay.
        await world.delete("first")
        await world.until(lambda: world.phase("first") == "gone")
        assert world.phase("second") == "Failed"
        await world.pod("third")
        await world.until(lambda: world.ready("third"))
        await world.delete("second")
        await world.until(lambda: world.phase("second") == "gone")
