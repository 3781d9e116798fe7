"""The controllers together, on the real API server, with a kubelet that pretends."""

from collections import Counter
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from podwire.emulator.controllers import endpointslices
from podwire.emulator.controllers.podstate import is_active, is_ready
from podwire.errors import Forbidden, NotFound
from podwire.kube.names import Key
from podwire.kube.objects import (
    ConfigMap,
    DaemonSet,
    Deployment,
    Endpoints,
    EndpointSlice,
    Namespace,
    Node,
    Pod,
    ReplicaSet,
    Service,
    ServiceAccount,
)

Cluster = Callable[..., AbstractAsyncContextManager[Any]]

LABELS = {"app": "web"}
SELECTOR = {"matchLabels": LABELS}


def web(replicas: int = 3, image: str = "nginx:1", **spec: Any) -> dict[str, Any]:
    return {
        "spec": {
            "replicas": replicas,
            "selector": SELECTOR,
            "template": {
                "metadata": {"labels": LABELS},
                "spec": {"containers": [{"name": "main", "image": image}]},
            },
            **spec,
        }
    }


async def test_a_deployment_becomes_ready_pods_on_all_nodes(cluster: Cluster) -> None:
    async with cluster() as world:
        await world.nodes("node-1", "node-2", "node-3")
        await world.create(Deployment, "web", **web(6))
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


async def rolled_out(world: Any, replicas: int) -> None:
    def done() -> bool:
        deployment = world.get(Deployment, "web")
        status = deployment.status
        return bool(
            status.observed_generation >= deployment.metadata.generation
            and status.updated_replicas == status.replicas == replicas
            and status.available_replicas == replicas
        )

    await world.until(done)


async def set_image(world: Any, image: str) -> None:
    template = {"spec": {"containers": [{"name": "main", "image": image}]}}
    await change(world, {"template": template})


async def change(world: Any, spec: dict[str, Any]) -> None:
    """Patch the Deployment, and wait until the test's own copy shows it."""
    changed = await world.client.patch(Deployment, Key("default", "web"), {"spec": spec})
    generation = changed.metadata.generation
    await world.until(lambda: world.get(Deployment, "web").metadata.generation >= generation)


def never(pod: Pod) -> bool:
    return False


def always(pod: Pod) -> bool:
    return True


def unbroken(pod: Pod) -> bool:
    return image_of(pod) != "broken"


def image_of(pod: Pod) -> str:
    return pod.spec.containers[0].image


async def test_a_rolling_update_keeps_enough_pods_available(cluster: Cluster) -> None:
    limits = {"maxSurge": 1, "maxUnavailable": 1}
    strategy = {"type": "RollingUpdate", "rollingUpdate": limits}
    async with cluster() as world:
        await world.nodes("node-1", "node-2")
        await world.create(Deployment, "web", **web(5, strategy=strategy))
        await rolled_out(world, 5)
        start = len(world.history)
        up = {pod.metadata.name for pod in world.all(Pod)}
        await set_image(world, "nginx:2")
        await rolled_out(world, 5)
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
        await world.create(Deployment, "web", **web(2))
        await rolled_out(world, 2)
        [first] = world.all(ReplicaSet)
        await set_image(world, "nginx:2")
        await rolled_out(world, 2)
        await set_image(world, "nginx:1")
        await rolled_out(world, 2)
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
        await world.create(Deployment, "web", **web(3, strategy={"type": "Recreate"}))
        await rolled_out(world, 3)
        present: dict[str, str] = {p.metadata.name: image_of(p) for p in world.all(Pod)}
        start = len(world.history)
        await set_image(world, "nginx:2")
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
        await world.create(Deployment, "web", **web(4))
        await rolled_out(world, 4)
        await set_image(world, "broken")
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
        await world.create(Deployment, "web", **web(2))
        await rolled_out(world, 2)
        await change(world, {"paused": True})
        await set_image(world, "nginx:2")
        await change(world, {"replicas": 4})
        await world.until(lambda: len([p for p in world.all(Pod) if is_ready(p)]) == 4)
        assert {image_of(p) for p in world.all(Pod)} == {"nginx:1"}
        assert len(world.all(ReplicaSet)) == 1
        await change(world, {"paused": False})
        await rolled_out(world, 4)


async def test_old_replica_sets_beyond_the_limit_are_deleted(cluster: Cluster) -> None:
    async with cluster() as world:
        await world.nodes("node-1")
        await world.create(Deployment, "web", **web(1, revisionHistoryLimit=1))
        await rolled_out(world, 1)
        for image in ("nginx:2", "nginx:3", "nginx:4"):
            await set_image(world, image)
            await world.until(
                lambda image=image: [image_of(p) for p in world.all(Pod) if is_ready(p)] == [image]
            )
            await rolled_out(world, 1)
        await world.until(lambda: len(world.all(ReplicaSet)) == 2)


async def test_scaling_down_gives_up_the_pods_that_are_not_ready(cluster: Cluster) -> None:
    async with cluster() as world:
        await world.nodes("node-1")
        await world.create(Deployment, "web", **web(3))
        await rolled_out(world, 3)
        ready = {p.metadata.name for p in world.all(Pod)}
        world.kubelet.starts = never
        await change(world, {"replicas": 6})
        await world.until(lambda: len(world.all(Pod)) == 6)
        await change(world, {"replicas": 3})
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
        await world.create(Deployment, "web", **web(3))
        await rolled_out(world, 3)
        victim = world.all(Pod)[0]
        await world.client.delete(Pod, Key("default", victim.metadata.name))
        await world.until(lambda: world.seen["Pod", "ADDED"] == 4)
        await rolled_out(world, 3)
        assert world.seen["Pod", "ADDED"] == 4


@pytest.mark.parametrize("policy", ["Background", "Foreground"])
async def test_deleting_a_deployment_takes_its_pods_along(cluster: Cluster, policy: str) -> None:
    async with cluster() as world:
        await world.nodes("node-1")
        await world.create(Deployment, "web", **web(3))
        await rolled_out(world, 3)
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


async def test_orphaned_pods_stay_and_belong_to_nobody(cluster: Cluster) -> None:
    async with cluster() as world:
        await world.nodes("node-1")
        await world.create(Deployment, "web", **web(2))
        await rolled_out(world, 2)
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
        await world.create(Deployment, "web", **web(2))
        await rolled_out(world, 2)
        [replica_set] = world.all(ReplicaSet)
        await world.client.delete(Deployment, Key("default", "web"), propagation="Orphan")
        await world.until(lambda: not world.all(Deployment))
        heir = await world.create(Deployment, "web", **web(2))
        await rolled_out(world, 2)
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
        message = "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector."
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


async def test_slices_of_250_pods_stay_within_the_limit(cluster: Cluster) -> None:
    async with cluster() as world:
        await world.nodes("node-1", "node-2", "node-3")
        port = {"name": "http", "port": 80, "targetPort": 8080}
        await world.create(Service, "web", spec={"selector": LABELS, "ports": [port]})
        await world.create(Deployment, "web", **web(250))
        await rolled_out(world, 250)

        def slices() -> list[EndpointSlice]:
            return [s for s in world.all(EndpointSlice) if s.metadata.name != "kubernetes"]

        await world.until(lambda: sum(len(s.endpoints or ()) for s in slices()) == 250)
        assert len(slices()) == 3
        assert all(len(s.endpoints or ()) <= 100 for s in slices())
        assert all(e.conditions.ready for s in slices() for e in s.endpoints or ())
        for slice_ in slices():
            labels = slice_.metadata.labels
            assert labels["kubernetes.io/service-name"] == "web"
            assert [(p.name, p.port) for p in slice_.ports or ()] == [("http", 8080)]

        # One flip of readiness rewrites exactly one slice, once.
        world.kubelet.starts = never
        victim = world.all(Pod)[17]
        start = len(world.history)
        not_ready = {"type": "Ready", "status": "False"}
        await world.client.patch(
            Pod,
            Key("default", victim.metadata.name),
            {"status": {"conditions": [not_ready]}},
            subresource="status",
        )
        await world.until(
            lambda: (
                sum(bool(e.conditions.ready) for s in slices() for e in s.endpoints or ()) == 249
            )
        )
        await world.until(lambda: world.get(Deployment, "web").status.available_replicas == 249)
        written = [
            new for old, new in world.history[start:] if isinstance(new or old, EndpointSlice)
        ]
        assert len(written) == 1


async def test_a_leaving_pod_is_marked_in_its_slice_before_it_is_gone(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with cluster() as world:
        await world.nodes("node-1")
        await world.create(Service, "web", spec={"selector": LABELS, "ports": [{"port": 80}]})
        await world.create(Deployment, "web", **web(2))
        await rolled_out(world, 2)

        def endpoints() -> dict[str, tuple[Any, ...]]:
            found = [s for s in world.all(EndpointSlice) if s.metadata.name != "kubernetes"]
            return {
                e.target_ref.name: (
                    e.conditions.ready,
                    e.conditions.serving,
                    e.conditions.terminating,
                )
                for s in found
                for e in s.endpoints or ()
            }

        await world.until(lambda: len(endpoints()) == 2)
        # Whatever else is collected: who leaves is written at once.
        monkeypatch.setattr(endpointslices, "SPACING", 3600.0)
        world.kubelet.ends = never
        victim = world.all(Pod)[0].metadata.name
        await world.client.delete(Pod, Key("default", victim))
        await world.until(lambda: endpoints()[victim] == (False, True, True))
        monkeypatch.undo()
        world.kubelet.ends = always
        world.kubelet.look_again()
        await world.until(lambda: victim not in endpoints())


async def test_classic_endpoints_follow_readiness(cluster: Cluster) -> None:
    async with cluster() as world:
        await world.nodes("node-1")
        port = {"name": "http", "port": 80, "targetPort": 8080}
        await world.create(Service, "web", spec={"selector": LABELS, "ports": [port]})
        await world.until(lambda: world.get(Endpoints, "web").subsets == ())
        await world.create(Deployment, "web", **web(3))
        await rolled_out(world, 3)
        await world.until(
            lambda: [len(s.addresses) for s in world.get(Endpoints, "web").subsets] == [3]
        )
        await world.client.delete(Service, Key("default", "web"))
        await world.until(lambda: not world.has(Endpoints, "web"))
        await world.until(
            lambda: [s.metadata.name for s in world.all(EndpointSlice)] == ["kubernetes"]
        )


async def test_endpoints_by_hand_are_mirrored(cluster: Cluster) -> None:
    async with cluster() as world:
        await world.create(Service, "db", spec={"ports": [{"port": 5432}]})
        subset: dict[str, Any] = {"addresses": [{"ip": "203.0.113.10"}], "ports": [{"port": 5432}]}
        await world.create(Endpoints, "db", subsets=[subset])

        def mirrored() -> list[tuple[str, ...]]:
            slices = [s for s in world.all(EndpointSlice) if s.metadata.name != "kubernetes"]
            return [e.addresses for s in slices for e in s.endpoints or ()]

        await world.until(lambda: mirrored() == [("203.0.113.10",)])
        subset["addresses"].append({"ip": "203.0.113.11"})
        await world.client.patch(Endpoints, Key("default", "db"), {"subsets": [subset]})
        await world.until(lambda: len(mirrored()) == 2)
        await world.client.delete(Endpoints, Key("default", "db"))
        await world.until(lambda: not mirrored())


async def test_a_namespace_gets_its_defaults_and_goes_with_all_it_holds(cluster: Cluster) -> None:
    async with cluster() as world:
        await world.nodes("node-1")
        await world.client.create_raw(Namespace, "", {"metadata": {"name": "shop"}})
        await world.until(lambda: world.has(ServiceAccount, "default", "shop"))
        await world.until(
            lambda: world.get(ConfigMap, "kube-root-ca.crt", "shop").data == {"ca.crt": "CA"}
        )
        await world.create(Deployment, "web", namespace="shop", **web(3))
        spec = {"selector": LABELS, "ports": [{"port": 80}]}
        await world.create(Service, "web", namespace="shop", spec=spec)
        await world.until(
            lambda: world.get(Deployment, "web", "shop").status.available_replicas == 3
        )
        world.kubelet.ends = never
        await world.client.delete(Namespace, Key("", "shop"))
        await world.until(
            lambda: (
                [c.reason for c in world.get(Namespace, "shop", "").status.conditions]
                == ["SomeResourcesRemain"]
            )
        )
        assert world.get(Namespace, "shop", "").status.phase == "Terminating"
        with pytest.raises(Forbidden):
            await world.create(ConfigMap, "late", namespace="shop")
        world.kubelet.ends = always
        world.kubelet.look_again()
        await world.until(lambda: not world.has(Namespace, "shop", ""))
        with pytest.raises(NotFound):
            await world.client.get(Deployment, Key("shop", "web"))
        assert world.all(Pod, "shop") == []


async def test_the_service_kubernetes_comes_back(cluster: Cluster) -> None:
    async with cluster() as world:
        before = world.get(Service, "kubernetes")
        await world.client.delete(Service, Key("default", "kubernetes"))
        await world.until(
            lambda: world.get(Service, "kubernetes").metadata.uid != before.metadata.uid
        )
        assert world.get(Service, "kubernetes").spec.cluster_ip == "10.96.0.1"
        await world.until(lambda: world.has(EndpointSlice, "kubernetes"))
        patch = {"endpoints": [{"addresses": ["10.9.9.9"]}]}
        await world.client.patch(EndpointSlice, Key("default", "kubernetes"), patch)
        await world.until(
            lambda: (
                [e.addresses for e in world.get(EndpointSlice, "kubernetes").endpoints]
                == [("192.168.1.2",)]
            )
        )


async def test_one_object_that_fails_does_not_hold_up_the_others(cluster: Cluster) -> None:
    async with cluster() as world:
        await world.nodes("node-1")
        broken = web(1)
        broken["spec"]["template"] = {
            "metadata": {
                "labels": LABELS,
                "annotations": {"x": "y"},
                "finalizers": ["not qualified"],
            },
            "spec": {"containers": [{"name": "main", "image": "nginx"}]},
        }
        await world.create(Deployment, "broken", **broken)
        await world.create(Deployment, "web", **web(2))
        await rolled_out(world, 2)


async def test_a_quiet_cluster_writes_nothing(cluster: Cluster) -> None:
    async with cluster() as world:
        await world.nodes("node-1")
        await world.create(Service, "web", spec={"selector": LABELS, "ports": [{"port": 80}]})
        await world.create(Deployment, "web", **web(3))
        await rolled_out(world, 3)
        await world.until(lambda: len(world.messages("Scheduled")) == 3)
        await world.until(lambda: len(world.messages("SuccessfulCreate")) == 3)
        await world.until(
            lambda: [len(s.addresses) for s in world.get(Endpoints, "web").subsets] == [3]
        )
        await world.until(
            lambda: (
                [e.conditions.ready for s in world.all(EndpointSlice) for e in s.endpoints or ()]
                == [True] * 4
            )
        )
        await world.until(
            lambda: (
                world.get(Deployment, "web").status.conditions[-1].reason
                == "NewReplicaSetAvailable"
            )
        )
        before = len(world.history)
        # Changes nothing that any controller reads; whoever answers with a write shows here.
        for number in range(5):
            patch = {"metadata": {"annotations": {"n": str(number)}}}
            await world.client.patch(ConfigMap, Key("default", "kube-root-ca.crt"), patch)
        await world.until(lambda: world.seen["ConfigMap", "MODIFIED"] == 5)
        changed = [type(new or old).__name__ for old, new in world.history[before:]]
        assert set(changed) == {"ConfigMap"}


async def test_controllers_that_lag_do_nothing_twice(cluster: Cluster) -> None:
    async with cluster(lag=0.005) as world:
        await world.nodes("node-1", "node-2")
        await world.create(Service, "web", spec={"selector": LABELS, "ports": [{"port": 80}]})
        await world.create(Deployment, "web", **web(6))
        await rolled_out(world, 6)
        await change(world, {"replicas": 2})
        await rolled_out(world, 2)
        await world.until(lambda: len(world.all(Pod)) == 2)
        assert world.seen["Pod", "ADDED"] == 6
        assert world.seen["ReplicaSet", "ADDED"] == 1
        # The slice of the Service, and the one of `kubernetes`.
        assert world.seen["EndpointSlice", "ADDED"] == 2


async def test_work_in_a_namespace_that_was_only_just_made(cluster: Cluster) -> None:
    async with cluster(lag=0.05, late=Namespace) as world:
        await world.nodes("node-1")
        for number in range(5):
            name = f"shop-{number}"
            await world.client.create_raw(Namespace, "", {"metadata": {"name": name}})
            await world.create(Deployment, "web", namespace=name, **web(1))
        await world.until(
            lambda: all(
                world.get(Deployment, "web", f"shop-{n}").status.available_replicas == 1
                for n in range(5)
            )
        )
