"""Services and namespaces: the controllers on the real API server, with a pretended kubelet."""

from typing import Any

import pytest

from podwire.emulator.controllers.services import endpointslices
from podwire.errors import Forbidden, NotFound
from podwire.kube.names import Key
from podwire.kube.objects import (
    ConfigMap,
    Deployment,
    Endpoints,
    EndpointSlice,
    Namespace,
    Node,
    Pod,
    Service,
    ServiceAccount,
)
from tests.unit.emulator.controllers.world import (
    LABELS,
    Cluster,
    always,
    never,
)


async def test_slices_of_250_pods_stay_within_the_limit(cluster: Cluster) -> None:
    async with cluster() as world:
        await world.nodes("node-1", "node-2", "node-3")
        port = {"name": "http", "port": 80, "targetPort": 8080}
        await world.create(Service, "web", spec={"selector": LABELS, "ports": [port]})
        await world.create(Deployment, "web", **world.web(250))
        await world.rolled_out(250)

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
        assert len(list(world.changes(EndpointSlice, start))) == 1


async def test_a_leaving_pod_is_marked_in_its_slice_before_it_is_gone(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with cluster() as world:
        await world.nodes("node-1")
        await world.create(Service, "web", spec={"selector": LABELS, "ports": [{"port": 80}]})
        await world.create(Deployment, "web", **world.web(2))
        await world.rolled_out(2)

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
                if e.target_ref is not None
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
        await world.create(Deployment, "web", **world.web(3))
        await world.rolled_out(3)
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
        # What is written on the Endpoints is on the mirror, until it is taken away.
        for annotations in ({"a": "b"}, {"a": None}):
            patch = {"metadata": {"annotations": annotations}}
            await world.client.patch(Endpoints, Key("default", "db"), patch)
            expected = {name: value for name, value in annotations.items() if value}
            await world.until(
                lambda: (
                    [
                        s.metadata.annotations
                        for s in world.all(EndpointSlice)
                        if s.metadata.name != "kubernetes"
                    ]
                    == [expected]  # noqa: B023 - looked at before the next turn
                )
            )
        await world.client.delete(Endpoints, Key("default", "db"))
        await world.until(lambda: not mirrored())


async def test_endpoints_that_are_too_many_to_mirror_are_told(cluster: Cluster) -> None:
    async with cluster() as world:
        await world.create(Service, "db", spec={"ports": [{"port": 5432}]})
        addresses = [{"ip": f"203.0.{n // 250}.{n % 250 + 1}"} for n in range(1005)]
        subset = {"addresses": addresses, "ports": [{"port": 5432}]}
        await world.create(Endpoints, "db", subsets=[subset])
        await world.until(lambda: world.messages("TooManyAddressesToMirror"))
        assert world.messages("TooManyAddressesToMirror") == [
            "A max of 1000 addresses can be mirrored to EndpointSlices per Endpoints subset. "
            "5 addresses were skipped"
        ]
        [mirror] = [s for s in world.all(EndpointSlice) if s.metadata.name != "kubernetes"]
        assert len(mirror.endpoints or ()) == 1000


@pytest.mark.parametrize(
    "metadata",
    [
        {"labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
        {"annotations": {"control-plane.alpha.kubernetes.io/leader": "{}"}},
    ],
)
async def test_endpoints_that_are_not_mirrored(cluster: Cluster, metadata: dict[str, Any]) -> None:
    async with cluster() as world:
        subset = {"addresses": [{"ip": "203.0.113.10"}], "ports": [{"port": 5432}]}
        for name, meta in (("quiet", metadata), ("told", {})):
            await world.create(Service, name, spec={"ports": [{"port": 5432}]})
            await world.create(Endpoints, name, metadata=meta, subsets=[subset])

        def mirrored() -> set[str]:
            return {
                s.metadata.labels.get("kubernetes.io/service-name", "")
                for s in world.all(EndpointSlice)
            }

        await world.until(lambda: "told" in mirrored())
        assert "quiet" not in mirrored()


async def test_topology_aware_routing_comes_and_goes(cluster: Cluster) -> None:
    async with cluster() as world:
        await world.nodes("node-1", "node-2")
        auto = {"annotations": {"service.kubernetes.io/topology-mode": "Auto"}}
        spec = {"selector": LABELS, "ports": [{"port": 80}]}
        await world.create(Service, "web", metadata=auto, spec=spec)
        await world.create(Deployment, "web", **world.web(4))
        await world.rolled_out(4)

        def hints() -> set[tuple[str | None, tuple[str, ...]]]:
            slices = [s for s in world.all(EndpointSlice) if s.metadata.name != "kubernetes"]
            return {
                (e.zone, tuple(z.name for z in e.hints.for_zones) if e.hints else ())
                for s in slices
                for e in s.endpoints or ()
            }

        near = {(f"zone-node-{n}", (f"zone-node-{n}",)) for n in (1, 2)}
        bare = {(zone, ()) for zone, _ in near}
        await world.until(lambda: hints() == bare)
        # Only now it is known how many CPUs each zone has.
        ready = {"type": "Ready", "status": "True"}
        status = {"allocatable": {"cpu": "4"}, "conditions": [ready]}
        for name in ("node-1", "node-2"):
            await world.client.patch(Node, Key("", name), {"status": status}, subresource="status")
        await world.until(lambda: hints() == near)
        enabled = "Topology Aware Hints has been enabled, addressType: IPv4"
        await world.until(lambda: world.messages("TopologyAwareHintsEnabled") == [enabled])
        # Not asked for any more.
        off = {"metadata": {"annotations": {"service.kubernetes.io/topology-mode": None}}}
        await world.client.patch(Service, Key("default", "web"), off)
        await world.until(lambda: hints() == bare)
        disabled = "Topology Aware Hints has been disabled, addressType: IPv4"
        await world.until(lambda: disabled in world.messages("TopologyAwareHintsDisabled"))
        # The field does without the CPUs.
        close = {"spec": {"trafficDistribution": "PreferClose"}}
        await world.client.patch(Service, Key("default", "web"), close)
        await world.until(lambda: hints() == near)


async def test_a_namespace_gets_its_defaults_and_goes_with_all_it_holds(cluster: Cluster) -> None:
    async with cluster() as world:
        await world.nodes("node-1")
        await world.client.create_raw(Namespace, "", {"metadata": {"name": "shop"}})
        await world.until(lambda: world.has(ServiceAccount, "default", "shop"))
        await world.until(
            lambda: world.get(ConfigMap, "kube-root-ca.crt", "shop").data == {"ca.crt": "CA"}
        )
        await world.create(Deployment, "web", namespace="shop", **world.web(3))
        spec = {"selector": LABELS, "ports": [{"port": 80}]}
        await world.create(Service, "web", namespace="shop", spec=spec)
        await world.until(
            lambda: world.get(Deployment, "web", "shop").status.available_replicas == 3
        )
        world.kubelet.ends = never
        await world.client.delete(Namespace, Key("", "shop"))
        await world.until(
            lambda: (
                "SomeResourcesRemain"
                in [c.reason for c in world.get(Namespace, "shop", "").status.conditions]
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
                [e.addresses for e in world.get(EndpointSlice, "kubernetes").endpoints or ()]
                == [("192.168.1.2",)]
            )
        )


async def test_a_quiet_cluster_writes_nothing(cluster: Cluster) -> None:
    async with cluster() as world:
        await world.nodes("node-1")
        await world.create(Service, "web", spec={"selector": LABELS, "ports": [{"port": 80}]})
        await world.create(Deployment, "web", **world.web(3))
        await world.rolled_out(3)
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


async def test_work_in_a_namespace_that_was_only_just_made(cluster: Cluster) -> None:
    async with cluster(lag=0.05, late=Namespace) as world:
        await world.nodes("node-1")
        for number in range(5):
            name = f"shop-{number}"
            await world.client.create_raw(Namespace, "", {"metadata": {"name": name}})
            await world.create(Deployment, "web", namespace=name, **world.web(1))
        await world.until(
            lambda: all(
                world.get(Deployment, "web", f"shop-{n}").status.available_replicas == 1
                for n in range(5)
            )
        )
