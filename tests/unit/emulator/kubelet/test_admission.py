"""Which pods a node refuses that nobody asked for them, and what becomes of those."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from podwire.emulator.kubelet.admission import refusal
from podwire.emulator.kubelet.context import NodeContext
from podwire.emulator.kubelet.kubelet import Kubelet
from podwire.emulator.kubelet.resolver import Resolver
from podwire.kube.codec import convert
from podwire.kube.events import EventRecorder
from podwire.kube.informers import Informers
from podwire.kube.names import Key
from podwire.kube.objects import Node, Pod
from podwire.testing.jumps import JumpingLoop, LoopClock
from tests.unit.emulator.kubelet.conftest import Json, World
from tests.unit.emulator.kubelet.conftest import Node as OneNode
from tests.unit.emulator.kubelet.containers import settle

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


@asynccontextmanager
async def kubelet_that_starts(world: World, directory: Path) -> AsyncGenerator[None]:
    """Run the kubelet of node-2, whose object somebody else keeps."""
    client, clock = world.node_client, LoopClock()
    informers = Informers(client)
    context = NodeContext(
        "node-2",
        IPv4Address("192.168.1.11"),
        netns=Path("/proc/self/ns/net"),
        pods=directory / "node-2",
        runtime=world.runtime,
        client=client,
        informers=informers,
        recorder=EventRecorder(client, clock, "kubelet", "node-2"),
        clock=clock,
        resolver=Resolver(("192.168.1.1",)),
        cluster_dns="10.96.0.10",
        domain="cluster.local",
    )
    async with asyncio.TaskGroup() as tasks:
        works = (informers.run(), Kubelet(context, informers).run())
        running = [tasks.create_task(work) for work in works]
        yield
        for task in running:
            task.cancel()


async def test_no_pod_is_admitted_before_the_node_is_known(node: OneNode, tmp_path: Path) -> None:
    async with node() as world, kubelet_that_starts(world, tmp_path):
        await world.pod("web", nodeName="node-2", nodeSelector={"disk": "hdd"})
        await settle()
        assert world.phase() == "Pending"
        assert not world.runtime.sandboxes
        await world.client.create_raw(Node, "", {"metadata": {"name": "node-2"}})
        await world.until(lambda: world.phase() == "Failed")
        assert not world.runtime.sandboxes


async def test_pods_that_have_begun_count_before_those_that_have_not(
    node: OneNode, tmp_path: Path
) -> None:
    async with node() as world:
        made = {"metadata": {"name": "node-2"}, "status": {"allocatable": {"pods": "1"}}}
        await world.client.create_raw(Node, "", made)
        await world.client.patch(Node, Key("", "node-2"), made, subresource="status")
        for name in ("a", "b", "c"):
            await world.pod(name, nodeName="node-2")
        began = {"status": {"phase": "Running", "startTime": "2026-01-01T00:00:00Z"}}
        await world.client.patch(Pod, Key("default", "b"), began, subresource="status")
        async with kubelet_that_starts(world, tmp_path):
            await world.until(lambda: world.ready("b"))
            await world.until(lambda: world.phase("a") == world.phase("c") == "Failed")
            # Its room is free when it is gone.
            await world.delete("b")
            await world.until(lambda: world.phase("b") == "gone")
            await world.pod("d", nodeName="node-2")
            await world.until(lambda: world.ready("d"))
