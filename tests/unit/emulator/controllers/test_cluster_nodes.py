"""Pods and nodes: the scheduler, DaemonSets and taints on the real API server."""

from typing import Any

from podwire.emulator.controllers.podstate import is_active, is_ready
from podwire.kube.names import Key
from podwire.kube.objects import (
    DaemonSet,
    Node,
    Pod,
)
from tests.unit.emulator.controllers.world import LABELS, SELECTOR, Cluster


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


async def test_a_pod_that_wants_to_be_near_another_waits_for_it(cluster: Cluster) -> None:
    term = {"topologyKey": "kubernetes.io/hostname", "labelSelector": SELECTOR}
    near = {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    containers = [{"name": "main", "image": "nginx"}]
    async with cluster() as world:
        await world.nodes("node-1", "node-2", "node-3")
        await world.create(Pod, "friend", spec={"affinity": near, "containers": containers})
        await world.until(lambda: world.messages("FailedScheduling"))
        assert "3 node(s) didn't match pod affinity rules." in world.messages("FailedScheduling")[0]
        web = {"nodeName": "node-2", "containers": containers}
        await world.create(Pod, "web", spec=web)
        # Nothing but the labels of the other changes.
        await world.until(lambda: is_ready(world.get(Pod, "web")))
        labels = {"metadata": {"labels": LABELS}}
        await world.client.patch(Pod, Key("default", "web"), labels)
        await world.until(lambda: is_ready(world.get(Pod, "friend")))
        assert world.get(Pod, "friend").spec.node_name == "node-2"


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
        await world.ready_with(*["proxy:2"] * 3)
        up = {p.metadata.name for p in world.all(Pod)}
        assert len(up) == 3
        running = 3
        for _, old, new in world.changes(Pod, start):
            was = old is not None and is_ready(old) and is_active(old)
            now = new is not None and is_ready(new) and is_active(new)
            running += now - was
            fewest = min(fewest, running)
        assert fewest == 2
        await world.until(
            lambda: world.get(DaemonSet, "proxy").status.updated_number_scheduled == 3
        )


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
