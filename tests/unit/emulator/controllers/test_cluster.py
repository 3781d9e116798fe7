"""Workloads: the controllers together on the real API server, with a pretended kubelet."""

from collections import Counter
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from podwire.emulator.controllers.podstate import is_active, is_ready
from podwire.kube.names import Key
from podwire.kube.objects import (
    DaemonSet,
    Deployment,
    Node,
    Pod,
    ReplicaSet,
    Service,
)

Cluster = Callable[..., AbstractAsyncContextManager[Any]]

LABELS = {"app": "web"}
SELECTOR = {"matchLabels": LABELS}


def always(pod: Pod) -> bool:
    return True


def never(pod: Pod) -> bool:
    return False


def unbroken(pod: Pod) -> bool:
    return image_of(pod) != "broken"


def image_of(pod: Pod) -> str:
    return pod.spec.containers[0].image


async def test_a_deployment_becomes_ready_pods_on_all_nodes(cluster: Cluster) -> None:
    async with cluster() as world:
        await world.nodes("node-1", "node-2", "node-3")
        await world.create(Deployment, "web", **world.web(6))
        await world.until(lambda: world.get(Deployment, "web").status.available_replicas == 6)
        pods = world.all(Pod)
        assert len(pods) == 6
        assert all(is_ready(pod) and is_active(pod) for pod in pods)
        assert Counter(pod.spec.node_name for pod in pods) == {
            "node-1": 2,
            "node-2": 2,
            "node-3": 2,
        }
        [replica_set] = world.all(ReplicaSet)
        assert replica_set.status.ready_replicas == 6
        await world.until(
            lambda: (
                [c.reason for c in world.get(Deployment, "web").status.conditions]
                == ["MinimumReplicasAvailable", "NewReplicaSetAvailable"]
            )
        )
        name = replica_set.metadata.name
        await world.until(lambda: len(world.messages("Scheduled")) == 6)
        assert world.messages("ScalingReplicaSet") == [f"Scaled up replica set {name} from 0 to 6"]
        assert len(world.messages("SuccessfulCreate")) == 6
        assert world.seen["Pod", "ADDED"] == 6


async def test_a_rolling_update_keeps_enough_pods_available(cluster: Cluster) -> None:
    limits = {"maxSurge": 1, "maxUnavailable": 1}
    strategy = {"type": "RollingUpdate", "rollingUpdate": limits}
    async with cluster() as world:
        await world.nodes("node-1", "node-2")
        await world.create(Deployment, "web", **world.web(5, strategy=strategy))
        await world.rolled_out(5)
        start = len(world.history)
        up = {pod.metadata.name for pod in world.all(Pod)}
        await world.set_image("nginx:2")
        await world.rolled_out(5)
        assert {image_of(pod) for pod in world.all(Pod) if is_active(pod)} == {"nginx:2"}
        fewest, most = 5, set(up)
        largest = 0
        for old, new in world.history[start:]:
            pod = new or old
            if not isinstance(pod, Pod):
                continue
            (most.add if new and is_active(new) else most.discard)(pod.metadata.name)
            (up.add if new and is_ready(new) and is_active(new) else up.discard)(pod.metadata.name)
            fewest, largest = min(fewest, len(up)), max(largest, len(most))
        assert fewest >= 4
        assert largest <= 6
        assert len(world.all(ReplicaSet)) == 2


async def test_rolling_back_reuses_the_old_replica_set(cluster: Cluster) -> None:
    async with cluster() as world:
        await world.nodes("node-1")
        await world.create(Deployment, "web", **world.web(2))
        await world.rolled_out(2)
        [first] = world.all(ReplicaSet)
        await world.set_image("nginx:2")
        await world.rolled_out(2)
        await world.set_image("nginx:1")
        await world.rolled_out(2)
        await world.until(
            lambda: world.get(ReplicaSet, first.metadata.name).status.available_replicas == 2
        )
        revision = "deployment.kubernetes.io/revision"
        again = world.get(ReplicaSet, first.metadata.name)
        assert again.metadata.annotations[revision] == "3"
        assert again.metadata.annotations[revision + "-history"] == "1"
        await world.until(
            lambda: world.get(Deployment, "web").metadata.annotations[revision] == "3"
        )


async def test_recreate_never_mixes_versions(cluster: Cluster) -> None:
    async with cluster() as world:
        await world.nodes("node-1")
        await world.create(Deployment, "web", **world.web(3, strategy={"type": "Recreate"}))
        await world.rolled_out(3)
        present: dict[str, str] = {p.metadata.name: image_of(p) for p in world.all(Pod)}
        start = len(world.history)
        await world.set_image("nginx:2")
        await world.until(
            lambda: [image_of(p) for p in world.all(Pod) if is_ready(p)] == ["nginx:2"] * 3
        )
        for old, new in world.history[start:]:
            pod = new or old
            if isinstance(pod, Pod):
                if new is None:
                    present.pop(pod.metadata.name)
                else:
                    present[pod.metadata.name] = image_of(new)
                assert len(set(present.values())) <= 1


async def test_a_broken_image_stops_the_update_and_the_old_pods_stay(cluster: Cluster) -> None:
    async with cluster() as world:
        world.kubelet.starts = unbroken
        await world.nodes("node-1")
        await world.create(Deployment, "web", **world.web(4))
        await world.rolled_out(4)
        await world.set_image("broken")
        await world.until(lambda: len([p for p in world.all(Pod) if is_active(p)]) == 5)
        await world.until(lambda: len([p for p in world.all(Pod) if image_of(p) == "broken"]) == 2)
        await world.until(lambda: world.get(Deployment, "web").status.updated_replicas == 2)
        available = [p for p in world.all(Pod) if is_active(p) and is_ready(p)]
        assert [image_of(p) for p in available] == ["nginx:1"] * 3
        status = world.get(Deployment, "web").status
        assert (status.replicas, status.available_replicas, status.unavailable_replicas) == (
            5,
            3,
            2,
        )


async def test_a_paused_deployment_scales_and_does_not_roll(cluster: Cluster) -> None:
    async with cluster() as world:
        await world.nodes("node-1")
        await world.create(Deployment, "web", **world.web(2))
        await world.rolled_out(2)
        await world.change({"paused": True})
        await world.set_image("nginx:2")
        await world.change({"replicas": 4})
        await world.until(lambda: len([p for p in world.all(Pod) if is_ready(p)]) == 4)
        assert {image_of(p) for p in world.all(Pod)} == {"nginx:1"}
        assert len(world.all(ReplicaSet)) == 1
        await world.change({"paused": False})
        await world.rolled_out(4)


async def test_old_replica_sets_beyond_the_limit_are_deleted(cluster: Cluster) -> None:
    async with cluster() as world:
        await world.nodes("node-1")
        await world.create(Deployment, "web", **world.web(1, revisionHistoryLimit=1))
        await world.rolled_out(1)
        for image in ("nginx:2", "nginx:3", "nginx:4"):
            await world.set_image(image)
            await world.until(
                lambda image=image: [image_of(p) for p in world.all(Pod) if is_ready(p)] == [image]
            )
            await world.rolled_out(1)
        await world.until(lambda: len(world.all(ReplicaSet)) == 2)


async def test_scaling_down_gives_up_the_pods_that_are_not_ready(cluster: Cluster) -> None:
    async with cluster() as world:
        await world.nodes("node-1")
        await world.create(Deployment, "web", **world.web(3))
        await world.rolled_out(3)
        ready = {p.metadata.name for p in world.all(Pod)}
        world.kubelet.starts = never
        await world.change({"replicas": 6})
        await world.until(lambda: len(world.all(Pod)) == 6)
        await world.change({"replicas": 3})
        await world.until(lambda: len(world.all(Pod)) == 3)
        assert {p.metadata.name for p in world.all(Pod)} == ready


async def test_a_replica_set_adopts_what_it_selects_and_lets_go_of_the_rest(
    cluster: Cluster,
) -> None:
    async with cluster() as world:
        await world.nodes("node-1")
        pod = {"spec": {"containers": [{"name": "main", "image": "nginx"}]}}
        await world.create(Pod, "stray", metadata={"labels": LABELS}, **pod)
        spec = {
            "replicas": 2,
            "selector": SELECTOR,
            "template": {"metadata": {"labels": LABELS}, **pod},
        }
        owner = await world.create(ReplicaSet, "web", spec=spec)
        await world.until(lambda: world.get(ReplicaSet, "web").status.ready_replicas == 2)
        assert len(world.all(Pod)) == 2
        stray = world.get(Pod, "stray")
        assert [r.uid for r in stray.metadata.owner_references] == [owner.metadata.uid]
        await world.client.patch(
            Pod, Key("default", "stray"), {"metadata": {"labels": {"app": "debug"}}}
        )
        await world.until(lambda: len(world.all(Pod)) == 3)
        await world.until(lambda: not world.get(Pod, "stray").metadata.owner_references)


async def test_a_pod_that_is_deleted_comes_back_once(cluster: Cluster) -> None:
    async with cluster() as world:
        await world.nodes("node-1")
        await world.create(Deployment, "web", **world.web(3))
        await world.rolled_out(3)
        victim = world.all(Pod)[0]
        await world.client.delete(Pod, Key("default", victim.metadata.name))
        await world.until(lambda: world.seen["Pod", "ADDED"] == 4)
        await world.rolled_out(3)
        assert world.seen["Pod", "ADDED"] == 4


@pytest.mark.parametrize("policy", ["Background", "Foreground"])
async def test_deleting_a_deployment_takes_its_pods_along(cluster: Cluster, policy: str) -> None:
    async with cluster() as world:
        await world.nodes("node-1")
        await world.create(Deployment, "web", **world.web(3))
        await world.rolled_out(3)
        order: list[str] = []
        await world.client.delete(Deployment, Key("default", "web"), propagation=policy)
        await world.until(lambda: not world.all(Pod) and not world.all(ReplicaSet))
        await world.until(lambda: not world.all(Deployment))
        order = [
            old.RESOURCE.kind
            for old, new in world.history
            if new is None and old.RESOURCE.kind in ("Pod", "ReplicaSet", "Deployment")
        ]
        if policy == "Foreground":
            assert order == ["Pod", "Pod", "Pod", "ReplicaSet", "Deployment"]
        else:
            assert order[0] == "Deployment"


async def test_a_rollout_whose_pods_are_refused_is_late(cluster: Cluster) -> None:
    async with cluster() as world:
        await world.nodes("node-1")
        await world.create(Deployment, "web", **world.web(2, progressDeadlineSeconds=1))
        await world.rolled_out(2)
        await world.change({"template": {"spec": {"serviceAccountName": "nobody"}}})

        def reasons() -> set[str]:
            return {c.reason for c in world.get(Deployment, "web").status.conditions}

        await world.until(lambda: {"ProgressDeadlineExceeded", "FailedCreate"} <= reasons())


async def test_a_deployment_that_waits_for_its_pods_still_counts(cluster: Cluster) -> None:
    async with cluster() as world:
        await world.nodes("node-1")
        await world.create(Deployment, "web", **world.web(3))
        await world.rolled_out(3)
        world.kubelet.ends = never
        await world.client.delete(Deployment, Key("default", "web"), propagation="Foreground")
        await world.until(lambda: world.get(Deployment, "web").status.available_replicas == 0)
        world.kubelet.ends = always
        world.kubelet.look_again()
        await world.until(lambda: not world.all(Deployment))


async def test_orphaned_pods_stay_and_belong_to_nobody(cluster: Cluster) -> None:
    async with cluster() as world:
        await world.nodes("node-1")
        await world.create(Deployment, "web", **world.web(2))
        await world.rolled_out(2)
        [replica_set] = world.all(ReplicaSet)
        await world.client.delete(Deployment, Key("default", "web"), propagation="Orphan")
        await world.until(lambda: not world.all(Deployment))
        await world.client.delete(
            ReplicaSet, Key("default", replica_set.metadata.name), propagation="Orphan"
        )
        await world.until(lambda: not world.all(ReplicaSet))
        await world.until(lambda: not any(p.metadata.owner_references for p in world.all(Pod)))
        assert len(world.all(Pod)) == 2


async def test_a_deployment_takes_over_what_another_left(cluster: Cluster) -> None:
    async with cluster() as world:
        await world.nodes("node-1")
        await world.create(Deployment, "web", **world.web(2))
        await world.rolled_out(2)
        [replica_set] = world.all(ReplicaSet)
        await world.client.delete(Deployment, Key("default", "web"), propagation="Orphan")
        await world.until(lambda: not world.all(Deployment))
        heir = await world.create(Deployment, "web", **world.web(2))
        await world.rolled_out(2)
        await world.until(
            lambda: (
                [[r.uid for r in rs.metadata.owner_references] for rs in world.all(ReplicaSet)]
                == [[heir.metadata.uid]]
            )
        )
        assert world.all(ReplicaSet)[0].metadata.uid == replica_set.metadata.uid
        assert world.seen["Pod", "ADDED"] == 2


async def test_a_pod_that_fits_nowhere_says_why_and_starts_when_it_can(cluster: Cluster) -> None:
    async with cluster() as world:
        await world.nodes("node-1", "node-2", "node-3")
        spec = {
            "nodeSelector": {"disk": "ssd"},
            "containers": [{"name": "main", "image": "nginx"}],
        }
        await world.create(Pod, "picky", spec=spec)
        await world.until(lambda: world.messages("FailedScheduling"))
        message = (
            "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector. "
            "preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."
        )
        assert world.messages("FailedScheduling") == [message]
        await world.until(
            lambda: [c.message for c in world.get(Pod, "picky").status.conditions] == [message]
        )
        patch = {"metadata": {"labels": {"disk": "ssd"}}}
        await world.client.patch(Node, Key("", "node-2"), patch)
        await world.until(lambda: is_ready(world.get(Pod, "picky")))
        assert world.get(Pod, "picky").spec.node_name == "node-2"
        await world.until(
            lambda: world.messages("Scheduled") == ["Successfully assigned default/picky to node-2"]
        )


async def test_a_daemon_runs_on_every_node_that_comes(cluster: Cluster) -> None:
    template = {
        "metadata": {"labels": LABELS},
        "spec": {"hostNetwork": True, "containers": [{"name": "main", "image": "proxy:1"}]},
    }
    async with cluster() as world:
        await world.nodes("node-1", "node-2")
        await world.create(DaemonSet, "proxy", spec={"selector": SELECTOR, "template": template})
        await world.until(lambda: world.get(DaemonSet, "proxy").status.number_available == 2)
        await world.nodes("node-3")
        await world.until(lambda: world.get(DaemonSet, "proxy").status.number_available == 3)
        assert sorted(p.spec.node_name for p in world.all(Pod)) == ["node-1", "node-2", "node-3"]
        image = {"spec": {"containers": [{"name": "main", "image": "proxy:2"}]}}
        await world.client.patch(DaemonSet, Key("default", "proxy"), {"spec": {"template": image}})
        fewest = 3
        start = len(world.history)
        await world.until(
            lambda: [image_of(p) for p in world.all(Pod) if is_ready(p)] == ["proxy:2"] * 3
        )
        up = {p.metadata.name for p in world.all(Pod)}
        assert len(up) == 3
        running = 3
        for old, new in world.history[start:]:
            if isinstance(new or old, Pod):
                was = old is not None and is_ready(old) and is_active(old)
                now = new is not None and is_ready(new) and is_active(new)
                running += now - was
                fewest = min(fewest, running)
        assert fewest == 2
        await world.until(
            lambda: world.get(DaemonSet, "proxy").status.updated_number_scheduled == 3
        )


async def test_one_object_that_fails_does_not_hold_up_the_others(cluster: Cluster) -> None:
    async with cluster() as world:
        await world.nodes("node-1")
        broken = world.web(1)
        broken["spec"]["template"] = {
            "metadata": {
                "labels": LABELS,
                "annotations": {"x": "y"},
                "finalizers": ["not qualified"],
            },
            "spec": {"containers": [{"name": "main", "image": "nginx"}]},
        }
        await world.create(Deployment, "broken", **broken)
        await world.create(Deployment, "web", **world.web(2))
        await world.rolled_out(2)


async def test_controllers_that_lag_do_nothing_twice(cluster: Cluster) -> None:
    async with cluster(lag=0.005) as world:
        await world.nodes("node-1", "node-2")
        await world.create(Service, "web", spec={"selector": LABELS, "ports": [{"port": 80}]})
        await world.create(Deployment, "web", **world.web(6))
        await world.rolled_out(6)
        await world.change({"replicas": 2})
        await world.rolled_out(2)
        await world.until(lambda: len(world.all(Pod)) == 2)
        assert world.seen["Pod", "ADDED"] == 6
        assert world.seen["ReplicaSet", "ADDED"] == 1
        # The slice of the Service, and the one of `kubernetes`.
        assert world.seen["EndpointSlice", "ADDED"] == 2


async def test_a_cordoned_node_says_so_in_its_taints(cluster: Cluster) -> None:
    async with cluster() as world:
        await world.nodes("node-1")
        node = Key("", "node-1")
        cordon = "node.kubernetes.io/unschedulable"

        def keys() -> list[str]:
            return [taint.key for taint in world.get(Node, "node-1", "").spec.taints]

        own = {"key": "team", "value": "db", "effect": "NoSchedule"}
        spec: dict[str, Any] = {"unschedulable": True, "taints": [own]}
        await world.client.patch(Node, node, {"spec": spec})
        await world.until(lambda: keys() == ["team", cordon])
        await world.client.patch(Node, node, {"spec": {"unschedulable": None}})
        await world.until(lambda: keys() == ["team"])


async def test_no_execute_sends_pods_away_that_do_not_bear_it(cluster: Cluster) -> None:
    async with cluster() as world:
        await world.nodes("node-1", "node-2")
        container = {"name": "main", "image": "nginx"}
        bears = [{"key": "team", "operator": "Exists"}]
        spec = {"nodeName": "node-1", "containers": [container]}
        await world.create(Pod, "goes", spec=spec)
        await world.create(Pod, "stays", spec={**spec, "tolerations": bears})
        await world.create(Pod, "elsewhere", spec={**spec, "nodeName": "node-2"})
        await world.until(lambda: sum(map(is_ready, world.all(Pod))) == 3)
        taint = {"key": "team", "value": "db", "effect": "NoExecute"}
        await world.client.patch(Node, Key("", "node-1"), {"spec": {"taints": [taint]}})
        await world.until(lambda: not world.has(Pod, "goes"))
        await world.until(
            lambda: (
                world.messages("TaintManagerEviction") == ["Marking for deletion Pod default/goes"]
            )
        )
        assert [p.metadata.name for p in world.all(Pod)] == ["elsewhere", "stays"]
