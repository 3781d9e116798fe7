"""StatefulSets, ControllerRevisions and budgets on the real API server."""

from typing import Any

from podwire.emulator.controllers.podstate import is_active, is_ready
from podwire.kube.names import Key
from podwire.kube.objects import (
    ControllerRevision,
    DaemonSet,
    Pod,
    PodDisruptionBudget,
    StatefulSet,
)
from tests.unit.emulator.controllers.world import Cluster, World, always, never

LABELS = {"app": "db"}


def parts(replicas: int = 3, image: str = "redis:1", **spec: Any) -> dict[str, Any]:
    template = {
        "metadata": {"labels": LABELS},
        "spec": {"containers": [{"name": "main", "image": image}]},
    }
    return {
        "spec": {
            "replicas": replicas,
            "serviceName": "db",
            "selector": {"matchLabels": LABELS},
            "template": template,
            **spec,
        }
    }


def names(world: World) -> list[str]:
    return [p.metadata.name for p in world.all(Pod) if is_active(p)]


async def runs(world: World, image: str) -> None:
    await world.until(lambda: images(world) == {"db-0": image})


def images(world: World) -> dict[str, str]:
    return {
        p.metadata.name: p.spec.containers[0].image
        for p in world.all(Pod)
        if is_active(p) and is_ready(p)
    }


def all_but_db_1(pod: Pod) -> bool:
    return pod.metadata.name != "db-1"


async def change(world: World, spec: dict[str, Any]) -> None:
    await world.client.patch(StatefulSet, Key("default", "db"), {"spec": spec})


async def set_image(world: World, image: str) -> None:
    template = {"spec": {"containers": [{"name": "main", "image": image}]}}
    await change(world, {"template": template})


async def complete(world: World, replicas: int) -> None:
    def holds() -> bool:
        stateful_set = world.get(StatefulSet, "db")
        status = stateful_set.status
        return bool(
            status.observed_generation == stateful_set.metadata.generation
            and status.replicas == status.updated_replicas == replicas
            and status.available_replicas == replicas
            and status.current_revision == status.update_revision
        )

    await world.until(holds)


async def test_pods_come_one_after_the_other_and_go_from_the_end(cluster: Cluster) -> None:
    async with cluster() as world:
        world.kubelet.starts = never
        await world.nodes("node-1")
        await world.create(StatefulSet, "db", **parts(3))
        await world.until(lambda: names(world) == ["db-0"])
        await world.until(lambda: world.get(StatefulSet, "db").status.replicas == 1)
        assert names(world) == ["db-0"]
        world.kubelet.starts = always
        world.kubelet.look_again()
        await complete(world, 3)
        assert names(world) == ["db-0", "db-1", "db-2"]
        pod = world.get(Pod, "db-1")
        revision = world.get(StatefulSet, "db").status.current_revision
        assert pod.metadata.labels == {
            "app": "db",
            "controller-revision-hash": revision,
            "statefulset.kubernetes.io/pod-name": "db-1",
            "apps.kubernetes.io/pod-index": "1",
        }
        assert (pod.spec.hostname, pod.spec.subdomain) == ("db-1", "db")
        assert world.messages("SuccessfulCreate") == [
            f"create Pod db-{n} in StatefulSet db successful" for n in range(3)
        ]
        added = [p.metadata.name for p, old, _ in world.changes(Pod) if old is None]
        assert added == ["db-0", "db-1", "db-2"]
        await change(world, {"replicas": 1})
        await complete(world, 1)
        gone = [p.metadata.name for p, _, new in world.changes(Pod) if new is None]
        assert gone == ["db-2", "db-1"]


async def test_parallel_pods_come_at_once(cluster: Cluster) -> None:
    async with cluster() as world:
        world.kubelet.starts = never
        await world.nodes("node-1")
        await world.create(StatefulSet, "db", **parts(3, podManagementPolicy="Parallel"))
        await world.until(lambda: names(world) == ["db-0", "db-1", "db-2"])


async def test_an_update_stops_at_the_partition(cluster: Cluster) -> None:
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}
    async with cluster() as world:
        await world.nodes("node-1")
        await world.create(StatefulSet, "db", **parts(3, updateStrategy=strategy))
        await complete(world, 3)
        await set_image(world, "redis:2")
        await world.until(
            lambda: images(world) == {"db-0": "redis:1", "db-1": "redis:1", "db-2": "redis:2"}
        )
        status = world.get(StatefulSet, "db").status
        assert status.current_revision != status.update_revision
        await world.client.delete(Pod, Key("default", "db-1"))
        await world.until(lambda: images(world).get("db-1") == "redis:1")
        await change(world, {"updateStrategy": {"rollingUpdate": {"partition": 0}}})
        await complete(world, 3)
        assert set(images(world).values()) == {"redis:2"}


async def test_going_back_gives_the_old_revision_a_new_number(cluster: Cluster) -> None:
    async with cluster() as world:
        await world.nodes("node-1")
        await world.create(StatefulSet, "db", **parts(1, revisionHistoryLimit=1))
        await complete(world, 1)
        first = world.get(StatefulSet, "db").status.current_revision
        for image in ("redis:2", "redis:1"):
            await set_image(world, image)
            await runs(world, image)
            await complete(world, 1)
        assert world.get(StatefulSet, "db").status.current_revision == first
        numbers = {r.metadata.name: r.revision for r in world.all(ControllerRevision)}
        assert sorted(numbers.values()) == [2, 3]
        assert numbers[first] == 3
        for image in ("redis:3", "redis:4"):
            await set_image(world, image)
            await runs(world, image)
        await complete(world, 1)
        await world.until(lambda: len(world.all(ControllerRevision)) == 2)


async def test_on_delete_waits_for_the_user(cluster: Cluster) -> None:
    async with cluster() as world:
        await world.nodes("node-1")
        await world.create(StatefulSet, "db", **parts(2, updateStrategy={"type": "OnDelete"}))
        await world.until(lambda: len(images(world)) == 2)
        await set_image(world, "redis:2")
        await world.until(lambda: world.get(StatefulSet, "db").status.observed_generation == 2)
        assert set(images(world).values()) == {"redis:1"}
        await world.client.delete(Pod, Key("default", "db-0"))
        await world.until(lambda: images(world) == {"db-0": "redis:2", "db-1": "redis:1"})


async def test_a_claim_becomes_an_empty_directory(cluster: Cluster) -> None:
    claim = {"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}
    async with cluster() as world:
        await world.nodes("node-1")
        await world.create(StatefulSet, "db", **parts(1, volumeClaimTemplates=[claim]))
        await world.until(lambda: world.has(Pod, "db-0"))
        [volume] = [v for v in world.get(Pod, "db-0").spec.volumes if v.name == "data"]
        assert volume.empty_dir == {}


async def test_a_daemon_set_keeps_its_history(cluster: Cluster) -> None:
    def template(image: str) -> dict[str, Any]:
        return {
            "metadata": {"labels": LABELS},
            "spec": {"containers": [{"name": "main", "image": image}]},
        }

    async with cluster() as world:
        await world.nodes("node-1")
        spec = {"selector": {"matchLabels": LABELS}, "template": template("redis:1")}
        await world.create(DaemonSet, "d", spec=spec)
        await world.until(lambda: images(world))
        patch = {"spec": {"template": template("redis:2")}}
        await world.client.patch(DaemonSet, Key("default", "d"), patch)
        await world.until(lambda: list(images(world).values()) == ["redis:2"])
        first, second = sorted(world.all(ControllerRevision), key=lambda r: r.revision)
        assert (first.revision, second.revision) == (1, 2)
        [pod] = [p for p in world.all(Pod) if is_active(p)]
        label = "controller-revision-hash"
        assert pod.metadata.labels[label] == second.metadata.labels[label]
        assert second.metadata.name == f"d-{pod.metadata.labels[label]}"
        assert second.data is not None
        assert second.data["spec"]["template"]["$patch"] == "replace"


async def test_a_budget_says_how_many_pods_may_go(cluster: Cluster) -> None:
    async with cluster() as world:
        await world.nodes("node-1")
        await world.create(StatefulSet, "db", **parts(3))
        await complete(world, 3)
        spec = {"maxUnavailable": 1, "selector": {"matchLabels": LABELS}}
        await world.create(PodDisruptionBudget, "b", spec=spec)
        await world.until(
            lambda: world.get(PodDisruptionBudget, "b").status.disruptions_allowed == 1
        )
        status = world.get(PodDisruptionBudget, "b").status
        assert (status.current_healthy, status.desired_healthy, status.expected_pods) == (3, 2, 3)
        assert [(c.type, c.status, c.reason) for c in status.conditions] == [
            ("DisruptionAllowed", "True", "SufficientPods")
        ]
        world.kubelet.ends = never
        await world.client.delete(Pod, Key("default", "db-2"))
        await world.until(
            lambda: world.get(PodDisruptionBudget, "b").status.disruptions_allowed == 0
        )


async def test_a_stateful_set_that_waits_for_its_pods_still_counts(cluster: Cluster) -> None:
    async with cluster() as world:
        await world.nodes("node-1")
        await world.create(StatefulSet, "db", **parts(3))
        await complete(world, 3)
        world.kubelet.ends = all_but_db_1
        await world.client.delete(StatefulSet, Key("default", "db"), propagation="Foreground")
        await world.until(lambda: world.get(StatefulSet, "db").status.replicas == 1)
        assert [p.metadata.name for p in world.all(Pod)] == ["db-1"]
        world.kubelet.ends = always
        world.kubelet.look_again()
        await world.until(lambda: not world.all(StatefulSet))
