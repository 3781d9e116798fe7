"""The controllers together, on the real API server, with a kubelet that pretends."""

from collections import Counter
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from podwire.emulator.controllers.podstate import is_active, is_ready
from podwire.kube.names import Key
from podwire.kube.objects import Deployment, Pod, ReplicaSet

Cluster = Callable[[], AbstractAsyncContextManager[Any]]


def web(replicas: int = 3, image: str = "nginx:1", **spec: Any) -> dict[str, Any]:
    return {
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
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
            lambda: [c.reason for c in world.get(Deployment, "web").status.conditions]
            == ["MinimumReplicasAvailable", "NewReplicaSetAvailable"]
        )
        name = replica_set.metadata.name
        await world.until(lambda: len(world.messages("Scheduled")) == 6)
        assert world.messages("ScalingReplicaSet") == [
            f"Scaled up replica set {name} from 0 to 6"
        ]
        assert len(world.messages("SuccessfulCreate")) == 6
        assert world.seen["Pod", "ADDED"] == 6
