"""Containers come, go and fare badly; the objects follow."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from msgspec.structs import replace

from podwire.emulator.apiserver.store import Store
from podwire.emulator.discovery.discovery import DiscoveredNode
from podwire.kube.mirror_pods import MIRROR
from podwire.kube.names import Key
from podwire.kube.objects import Namespace, NamespaceSpec, Node, Pod

Start = Callable[..., AbstractAsyncContextManager[Any]]

NODES = ("node-a-1", "node-b-1")


async def test_what_runs_at_the_start_is_there_when_it_is_synced(cluster: Start) -> None:
    async with cluster(*NODES, "web-1", "web-2", "client-1", "plain-1") as world:
        await world.until_ready("web-1")
        await world.until_ready("web-2")
        await world.until_ready("client", "shop")
        await world.until_ready("kube-proxy-node-a", "kube-system")
        web = world.get(Pod, "web-1")
        assert web.metadata.labels == {"app": "web", "tier": "front"}
        assert web.metadata.annotations[MIRROR] == world.engine.containers["web-1"]["Id"]
        assert web.spec.node_name == "node-a"
        assert web.status.host_ip == "10.194.0.11"
        assert world.has(Namespace, "shop")
        node = world.get(Node, "node-a")
        assert node.spec.pod_cidr == "10.195.1.0/24"
        assert node.metadata.labels["zone"] == "a"
        assert [node.name for node in world.discovery.nodes()] == ["node-a", "node-b"]
        assert world.discovery.containers(Key("default", "web-1")) == {
            "web": world.engine.containers["web-1"]["Id"]
        }
        assert world.discovery.containers(Key("default", "nobody")) == {}


async def test_a_container_that_starts_becomes_a_ready_pod(cluster: Start) -> None:
    async with cluster(*NODES) as world:
        world.engine.add("web-3", like="web-1", labels={"pod": "web-3"})
        world.engine.start("web-3", "10.195.1.77")
        await world.until_not_ready("web-3", "ContainersNotReady")
        world.engine.health("web-3", "healthy")
        await world.until_ready("web-3")
        assert world.get(Pod, "web-3").status.pod_ip == "10.195.1.77"


async def test_scaling_down_takes_the_pod_away(cluster: Start) -> None:
    async with cluster(*NODES, "web-1", "web-2") as world:
        await world.until_ready("web-2")
        world.engine.kill("web-2")
        world.engine.die("web-2", 143)
        world.engine.remove("web-2")
        await world.until(lambda: not world.has(Pod, "web-2"))
        assert world.ready("web-1") == "True"


@pytest.mark.parametrize("signal", [15, 9, 2, 3, 10])  # 10, SIGUSR1, is web's own stop signal
async def test_a_signal_that_ends_it_takes_readiness_before_anybody_is_asked(
    cluster: Start, signal: int
) -> None:
    async with cluster(*NODES, "web-1") as world:
        await world.until_ready("web-1")
        world.engine.answers.clear()
        asked = world.engine.inspected
        world.engine.kill("web-1", signal)
        await world.until_not_ready("web-1", "container web was told to end")
        assert world.engine.inspected == asked
        assert world.get(Pod, "web-1").status.pod_ip == "10.195.1.132"


async def test_a_signal_that_ends_nothing_changes_nothing(cluster: Start) -> None:
    async with cluster(*NODES, "web-1", "web-2") as world:
        await world.until_ready("web-1")
        before = world.get(Pod, "web-1").metadata.resource_version
        world.engine.kill("web-1", 1)
        world.engine.kill("web-2", 9)
        await world.until_not_ready("web-2", "told to end")
        assert world.get(Pod, "web-1").metadata.resource_version == before


async def test_who_survives_the_signal_is_ready_again(cluster: Start) -> None:
    async with cluster(*NODES, "web-1") as world:
        world.engine.containers["web-1"]["Config"]["StopTimeout"] = 0
        world.engine.health("web-1", "healthy")  # it is looked at
        await world.until_ready("web-1")
        world.engine.kill("web-1")
        await world.until_not_ready("web-1", "told to end")
        world.engine.health("web-1", "healthy")  # no reason to send it traffic again
        await world.until_ready("web-1")


async def test_pause_takes_readiness_at_once_and_unpause_waits_for_health(cluster: Start) -> None:
    async with cluster(*NODES, "web-1", "client-1") as world:
        await world.until_ready("web-1")
        world.engine.answers.clear()
        world.engine.pause("web-1")
        world.engine.pause("client-1")
        await world.until_not_ready("web-1", "is paused: docker unpause h2c-web-1")
        await world.until_not_ready("client", "is paused", "shop")
        told = "container web is paused: docker unpause h2c-web-1"
        await world.until(lambda: told in world.events("Paused"))
        world.engine.answers.set()
        world.engine.unpause("client-1")
        await world.until_ready("client", "shop")
        world.engine.unpause("web-1")
        await world.until_not_ready("web-1", "containers with unready status: [web]")
        world.engine.health("web-1", "healthy")
        await world.until_ready("web-1")
        assert world.events("Unhealthy") == []


async def test_a_crash_takes_address_and_readiness(cluster: Start) -> None:
    async with cluster(*NODES, "web-1") as world:
        await world.until_ready("web-1")
        world.engine.answers.clear()
        world.engine.die("web-1", 137)
        await world.until(lambda: world.get(Pod, "web-1").status.phase == "Failed")
        assert world.get(Pod, "web-1").status.pod_ip == ""
        world.engine.answers.set()
        world.engine.start("web-1", "10.195.1.140")
        world.engine.health("web-1", "healthy")
        await world.until_ready("web-1")
        [status] = world.get(Pod, "web-1").status.container_statuses
        assert status.restart_count == 1
        assert status.last_state.terminated is not None
        assert status.last_state.terminated.exit_code == 137


async def test_what_the_engine_restarts_is_in_crash_loop_and_comes_back(cluster: Start) -> None:
    async with cluster(*NODES, "crash-1") as world:
        await world.until(lambda: world.get(Pod, "crash").status.container_statuses)
        pod = world.get(Pod, "crash")
        assert pod.status.phase == "Running"
        [status] = pod.status.container_statuses
        assert status.state.waiting is not None
        assert status.state.waiting.reason == "CrashLoopBackOff"
        before = status.restart_count
        world.engine.restart("crash-1", "10.195.1.150")
        await world.until_ready("crash")
        [status] = world.get(Pod, "crash").status.container_statuses
        assert status.restart_count == before + 1
        world.engine.die("crash-1", 3)
        await world.until_not_ready("crash", "ContainersNotReady")


async def test_health_decides_and_an_event_says_what_the_check_printed(cluster: Start) -> None:
    async with cluster(*NODES, "web-1") as world:
        await world.until_ready("web-1")
        world.engine.health("web-1", "unhealthy", "connection refused")
        await world.until_not_ready("web-1", "health check of web failed: connection refused")
        await world.until(lambda: world.events("Unhealthy"))
        assert world.events("Unhealthy") == [
            "Health check of container web failed: connection refused"
        ]
        world.engine.health("web-1", "healthy")
        await world.until_ready("web-1")


async def test_a_new_restart_policy_leaves_the_pod_alone(cluster: Start) -> None:
    async with cluster(*NODES, "web-1") as world:
        await world.until_ready("web-1")
        uid = world.get(Pod, "web-1").metadata.uid
        world.engine.restart_policy("web-1", "always")
        world.engine.pause("web-1")
        await world.until(lambda: world.events("Paused"))
        world.engine.unpause("web-1")
        world.engine.health("web-1", "healthy")
        await world.until_ready("web-1")
        assert world.get(Pod, "web-1").metadata.uid == uid


async def test_the_older_of_two_keeps_the_name_until_it_goes(cluster: Start) -> None:
    async with cluster(*NODES, "client-1", "twin-1") as world:
        await world.until_ready("client", "shop")
        client = world.engine.containers["client-1"]["Id"]
        twin = world.engine.containers["twin-1"]["Id"]
        assert world.get(Pod, "client", "shop").metadata.annotations[MIRROR] == client
        await world.until(lambda: world.events("DuplicatePodName"))
        [text] = world.events("DuplicatePodName")
        assert "container h2c-twin-1: label podwire.dev/pod: pod shop/client is" in text
        assert [one.reason for one in world.discovery.mistakes()] == ["DuplicatePodName"]
        world.engine.remove("client-1")
        await world.until(
            lambda: world.get(Pod, "client", "shop").metadata.annotations[MIRROR] == twin
        )
        await world.until_ready("client", "shop")
        assert world.discovery.mistakes() == ()


async def relabelled(world: Any, label: str) -> None:
    patch = {"metadata": {"labels": {label: "set"}}}
    await world.client.patch(Pod, Key("default", "web-1"), patch)
    await world.until(lambda: label in world.get(Pod, "web-1").metadata.labels)


async def test_a_pod_that_somebody_made_by_hand_keeps_its_name(
    cluster: Start, caplog: pytest.LogCaptureFixture
) -> None:
    async with cluster(*NODES) as world:
        spec = {"containers": [{"name": "main", "image": "devbox:1"}]}
        made = await world.client.create_raw(
            Pod, "default", {"metadata": {"name": "web-1"}, "spec": spec}
        )
        world.engine.add("web-1")
        await world.until(lambda: world.events("DuplicatePodName"))
        assert world.get(Pod, "web-1").metadata.uid == made.metadata.uid
        await relabelled(world, "first")
        # It is heard of after all that the first has led to.
        await relabelled(world, "second")
        assert caplog.text.count("says that it is pod default/web-1") == 1
        await world.client.delete(Pod, Key("default", "web-1"), grace=0)
        await world.until_ready("web-1")


async def test_the_pods_of_a_node_that_is_down_are_not_ready(cluster: Start) -> None:
    changes: list[DiscoveredNode | None] = []

    def changed(old: DiscoveredNode | None, new: DiscoveredNode | None) -> None:
        changes.append(new)

    async with cluster(*NODES, "web-1", "client-1") as world:
        world.discovery.subscribe(changed)
        await world.until_ready("web-1")
        world.engine.answers.clear()
        world.engine.kill("node-a-1", 9)
        await world.until_not_ready("web-1", "NodeNotReady: node node-a does not run")
        await world.until(lambda: "Node is not ready" in world.events("NodeNotReady"))
        await world.until(
            lambda: (
                [t.key for t in world.get(Node, "node-a").spec.taints]
                == ["node.kubernetes.io/not-ready"]
            )
        )
        assert world.ready("client", "shop") == "True"
        assert changes[-1] is not None
        assert not changes[-1].is_up
        world.engine.die("node-a-1", 137)
        world.engine.answers.set()
        world.engine.start("node-a-1", "10.194.0.11")
        await world.until_ready("web-1")  # though the node's health check has not passed
        world.engine.health("node-a-1", "healthy")
        await world.until(lambda: not world.get(Node, "node-a").spec.taints)
        assert changes[-1] is not None
        assert changes[-1].is_up


async def test_a_node_whose_container_is_removed_is_gone(cluster: Start) -> None:
    async with cluster(*NODES, "web-1") as world:
        await world.until_ready("web-1")
        world.engine.remove("node-a-1")
        await world.until(lambda: not world.has(Node, "node-a"))
        await world.until(lambda: not world.has(Pod, "web-1"))
        assert [one.reason for one in world.discovery.mistakes()] == ["NoPodNetwork"]
        world.engine.add("node-a-1")
        await world.until_ready("web-1")


async def test_nothing_is_lost_while_the_engine_is_away(cluster: Start) -> None:
    async with cluster(*NODES, "web-1", "web-2") as world:
        await world.until_ready("web-2")
        world.engine.go_away()
        world.engine.die("web-1", 137)
        world.engine.remove("web-2")
        world.engine.add("client-1")
        world.engine.come_back()
        await world.until(lambda: world.get(Pod, "web-1").status.phase == "Failed")
        await world.until(lambda: not world.has(Pod, "web-2"))
        await world.until_ready("client", "shop")
        world.engine.kill("client-1")  # events flow again
        await world.until_not_ready("client", "told to end", "shop")


async def test_what_is_left_from_before_is_removed_and_what_is_true_is_not_written(
    cluster: Start,
) -> None:
    store = Store()
    async with cluster(*NODES, "web-1", "web-2", store=store) as world:
        await world.until_ready("web-1")
        await world.until_ready("web-2")
        before = world.get(Pod, "web-1").metadata
    async with cluster(*NODES, "web-1", store=store) as world:
        await world.until(lambda: world.has(Pod, "web-1"))
        await world.until(lambda: not world.has(Pod, "web-2"))
        assert world.get(Pod, "web-1").metadata == before


async def test_what_somebody_deletes_or_changes_comes_back(cluster: Start) -> None:
    key = Key("default", "web-1")
    async with cluster(*NODES, "web-1") as world:
        await world.until_ready("web-1")
        uid = world.get(Pod, "web-1").metadata.uid
        await world.client.delete(Pod, key)
        await world.until(lambda: world.get(Pod, "web-1").metadata.uid != uid)
        await world.until_ready("web-1")
        labels = {"metadata": {"labels": {"app": "other", "more": "x"}}}
        await world.client.patch(Pod, key, labels)
        await world.until(lambda: world.get(Pod, "web-1").metadata.labels["app"] == "web")
        assert "more" not in world.get(Pod, "web-1").metadata.labels
        await world.client.patch(Pod, key, {"status": {"conditions": None}}, subresource="status")
        await world.until_ready("web-1")
        await world.client.delete(Node, Key("", "node-a"))
        await world.until(lambda: world.has(Node, "node-a"))


async def test_a_pod_of_several_containers(cluster: Start) -> None:
    async with cluster(*NODES, "pair-1") as world:
        assert not world.has(Pod, "pair")  # nothing but a pause container
        world.engine.add("pair-app-1")
        world.engine.add("pair-log-1")
        # As recorded: pair was restarted, and the two are left behind.
        await world.until_not_ready("pair", "docker compose up -d --force-recreate pair-app")
        world.engine.start("pair-app-1")
        await world.until_not_ready("pair", "[pair-log]")
        world.engine.start("pair-log-1")
        await world.until_ready("pair")
        names = [one.name for one in world.get(Pod, "pair").status.container_statuses]
        assert sorted(names) == ["app", "pair-log"]
        assert sorted(world.discovery.containers(Key("default", "pair"))) == ["app", "pair-log"]
        world.engine.kill("pair-1")
        await world.until_not_ready("pair", "which holds the pod's network, does not run")


async def test_mistakes_are_told_and_the_rest_goes_on(cluster: Start) -> None:
    async with cluster(*NODES, "wrong-1", "lost-1", "astray-1", "web-1") as world:
        await world.until_ready("web-1")
        await world.until(lambda: world.events("InvalidLabel"))
        await world.until(lambda: world.events("NoPodNetwork"))
        await world.until(lambda: world.events("WrongNode"))
        assert not world.has(Pod, "lost")
        assert len(world.discovery.mistakes()) == 3


async def test_containers_of_other_clusters_and_our_own_are_not_seen(cluster: Start) -> None:
    async with cluster(*NODES) as world:
        world.engine.add("other", like="web-1", labels={"pod": "other", "cluster": "elsewhere"})
        world.engine.add("made", like="web-1", labels={"pod": "made", "made-by": "h2c"})
        world.engine.add("web-1")
        await world.until_ready("web-1")
        assert not world.has(Pod, "other")
        assert not world.has(Pod, "made")


async def test_a_namespace_that_is_deleted_is_made_again_for_its_containers(cluster: Start) -> None:
    async with cluster(*NODES, "client-1") as world:
        await world.until_ready("client", "shop")
        old = world.get(Namespace, "shop").metadata.uid
        await world.client.delete(Namespace, Key("", "shop"))
        # What the namespace controller does.
        await world.client.delete(Pod, Key("shop", "client"))
        await world.until(lambda: not world.has(Pod, "client", "shop"))
        ending = await world.client.get(Namespace, Key("", "shop"))
        await world.client.replace(replace(ending, spec=NamespaceSpec()), subresource="finalize")
        await world.until_ready("client", "shop")
        assert world.get(Namespace, "shop").metadata.uid != old
