"""Nodes go down and come back: what becomes of the readiness of their pods."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from podwire.emulator.controllers.podstate import is_ready, ready_condition
from podwire.kube.mirror_pods import MIRROR
from podwire.kube.names import Key
from podwire.kube.objects import EndpointSlice, Node, Pod, Service

Cluster = Callable[..., AbstractAsyncContextManager[Any]]


async def node_says(world: Any, name: str, status: str, reason: str = "") -> None:
    ready = {"type": "Ready", "status": status, "reason": reason}
    patch = {"status": {"conditions": [ready]}}
    await world.client.patch(Node, Key("", name), patch, subresource="status")


async def pod_on(world: Any, name: str, node: str, **annotations: str) -> None:
    await world.create(
        Pod,
        name,
        metadata={"name": name, "labels": {"app": "web"}, "annotations": annotations},
        spec={"nodeName": node, "containers": [{"name": "main", "image": "nginx"}]},
    )
    await world.until(lambda: is_ready(world.get(Pod, name)))


def ready_endpoints(world: Any) -> set[str]:
    slices = world.all(EndpointSlice)
    endpoints = [e for one in slices for e in one.endpoints or () if e.conditions.ready]
    return {e.target_ref.name for e in endpoints if e.target_ref is not None}


def starts(_pod: Pod) -> bool:
    return True


def starts_not(_pod: Pod) -> bool:
    return False


def starts_elsewhere(pod: Pod) -> bool:
    return pod.spec.node_name != "node-1"


@pytest.mark.parametrize(
    ("status", "reason"),
    [("False", "ContainerNotRunning"), ("False", "KubeletNotReady"), ("Unknown", "")],
)
async def test_pods_of_a_node_that_is_down_are_not_ready(
    status: str, reason: str, cluster: Cluster
) -> None:
    async with cluster() as world:
        await world.nodes("node-1", "node-2")
        spec = {"selector": {"app": "web"}, "ports": [{"port": 80}]}
        await world.create(Service, "web", spec=spec)
        await pod_on(world, "here", "node-1")
        await pod_on(world, "shown", "node-1", **{MIRROR: "id"})
        await pod_on(world, "there", "node-2")
        await world.until(lambda: ready_endpoints(world) == {"here", "shown", "there"})
        world.kubelet.starts = starts_elsewhere
        await node_says(world, "node-1", status, reason)
        await world.until(lambda: ready_endpoints(world) == {"shown", "there"})
        found = ready_condition(world.get(Pod, "here"))
        assert found is not None
        assert (found.status, found.reason) == ("False", "NodeNotReady")
        assert found.message == "node node-1 does not run"
        others = [(c.type, c.status) for c in world.get(Pod, "here").status.conditions]
        assert ("PodScheduled", "True") in others
        await world.until(lambda: world.messages("NodeNotReady") == ["Node is not ready"])
        assert world.has(Pod, "shown")
        assert is_ready(world.get(Pod, "shown"))
        # The kubelet makes them ready, once the node is.
        await node_says(world, "node-1", "True")
        world.kubelet.starts = starts
        world.kubelet.look_again()
        await world.until(lambda: ready_endpoints(world) == {"here", "shown", "there"})
        assert world.messages("NodeNotReady") == ["Node is not ready"]


async def test_a_pod_that_says_it_is_ready_on_a_node_that_is_down_is_not(cluster: Cluster) -> None:
    async with cluster() as world:
        await world.nodes("node-1")
        await pod_on(world, "here", "node-1")
        world.kubelet.starts = starts_not
        await node_says(world, "node-1", "False", "ContainerNotRunning")
        await world.until(lambda: not is_ready(world.get(Pod, "here")))
        conditions = [{"type": "Ready", "status": "True"}]
        patch = {"status": {"conditions": conditions}}
        await world.client.patch(Pod, Key("default", "here"), patch, subresource="status")
        await world.until(lambda: world.messages("NodeNotReady") == ["Node is not ready"] * 2)
        await world.until(lambda: not is_ready(world.get(Pod, "here")))


@pytest.mark.parametrize("reason", ["ContainerStarting", "ContainerUnhealthy"])
async def test_a_node_that_only_fails_its_health_check_keeps_its_pods(
    reason: str, cluster: Cluster
) -> None:
    async with cluster() as world:
        await world.nodes("node-1", "node-2")
        await pod_on(world, "here", "node-1")
        await pod_on(world, "there", "node-2")
        world.kubelet.starts = starts_not
        await node_says(world, "node-1", "False", reason)
        await node_says(world, "node-2", "False", "ContainerNotRunning")
        await world.until(lambda: not is_ready(world.get(Pod, "there")))
        assert is_ready(world.get(Pod, "here"))
