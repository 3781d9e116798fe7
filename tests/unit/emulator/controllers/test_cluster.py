"""Deployments and ReplicaSets on the real API server, with a pretended kubelet."""

from collections import Counter

import pytest

from podwire.emulator.controllers.podstate import is_active, is_ready
from podwire.kube.names import Key
from podwire.kube.objects import (
    Deployment,
    Pod,
    ReplicaSet,
    Service,
)
from tests.unit.emulator.controllers.world import (
    LABELS,
    SELECTOR,
    Cluster,
    always,
    image_of,
    never,
)


def unbroken(pod: Pod) -> bool:
    return image_of(pod) != "broken"


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
        for pod, _, new in world.changes(Pod, start):
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
        await world.ready_with(*["nginx:2"] * 3)
        for pod, _, new in world.changes(Pod, start):
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
            await world.ready_with(image)
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
        pod = {"containers": [{"name": "main", "image": "nginx"}]}
        await world.create(Pod, "stray", metadata={"labels": LABELS}, spec=pod)
        spec = {
            "replicas": 2,
            "selector": SELECTOR,
            "template": {"metadata": {"labels": LABELS}, "spec": pod},
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
        await world.client.delete(Deployment, Key("default", "web"), propagation=policy)
        await world.until(lambda: not world.all(Pod) and not world.all(ReplicaSet))
        await world.until(lambda: not world.all(Deployment))
        order = [
            old.RESOURCE.kind
            for old, new in world.history
            if old is not None
            and new is None
            and old.RESOURCE.kind in ("Pod", "ReplicaSet", "Deployment")
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
