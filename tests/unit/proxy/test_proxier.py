"""Objects in, listeners out: what happens when, and what a failure leaves behind."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web

from podwire.kube.client import Client
from podwire.kube.clock import rfc3339
from podwire.kube.names import Key
from podwire.kube.objects import (
    Endpoint,
    EndpointPort,
    EndpointSlice,
    Node,
    NodeSpec,
    ObjectMeta,
    Service,
    ServicePort,
    ServiceSpec,
    Taint,
)
from podwire.proxy.endpoints import Backend, Place
from podwire.proxy.node import NodeView
from podwire.proxy.pages import Health, healthz, livez
from podwire.proxy.proxier import Proxier
from podwire.proxy.serving import Serving
from podwire.proxy.userspace.mode import Userspace
from podwire.proxy.userspace.routes import Frontend
from podwire.testing.clock import FakeClock
from tests.unit.proxy.conftest import World, free_port, naming, new_address

NODE = "127.9.0.1"
PERIOD = 5.0


class Scene:
    """A proxier on node-1 over a world of real sockets, and one Service in front of it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.clock = FakeClock()
        self.proxier = Proxier(
            Userspace(world.listeners, world.relay),
            NodeView(Place("node-1"), IPv4Address(NODE)),
            clock=self.clock,
            loop=asyncio.get_running_loop(),
            period=PERIOD,
            report=lambda service, reason, message: self.warnings.append(
                (service.metadata.name, reason, message)
            ),
        )
        self.warnings: list[tuple[str, str, str]] = []
        self.frontend = Frontend(IPv4Address(new_address()), free_port("TCP"), "TCP")
        self.service: Service | None = None
        self.slice: EndpointSlice | None = None
        self._serving: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Have all lists be here."""
        self._serving = asyncio.get_running_loop().create_task(self.proxier.serve())

    async def stop(self) -> None:
        """End what `start` began."""
        if self._serving is not None:
            self._serving.cancel()
            with suppress(asyncio.CancelledError):
                await self._serving

    def set_service(self, *, gone: bool = False, **more: Any) -> None:
        port = ServicePort(port=self.frontend.port, node_port=more.pop("node_port", 0))
        more = {"ports": (port,)} | more
        new = Service(
            metadata=ObjectMeta(name="web", namespace="default"),
            spec=ServiceSpec(cluster_ip=str(self.frontend.address), **more),
        )
        old, self.service = self.service, None if gone else new
        self.proxier.sources.service(old, self.service)

    def set_endpoints(self, *backends: Backend, changed: str = "") -> None:
        old, self.slice = self.slice, slice_of(*backends, changed=changed)
        self.proxier.sources.slice(old, self.slice)

    async def met(self) -> str:
        """Say what a client of the ClusterIP gets: the backend's name, or "refused"."""
        try:
            reader, writer = await self.world.connect(self.frontend)
        except ConnectionRefusedError:
            return "refused"
        name = (await reader.readexactly(1)).decode()
        writer.close()
        return name

    async def turn(self) -> None:
        """Let the loop go round."""
        for _ in range(3):
            await asyncio.sleep(0)


def slice_of(*backends: Backend, changed: str = "") -> EndpointSlice:
    note = {"endpoints.kubernetes.io/last-change-trigger-time": changed} if changed else {}
    return EndpointSlice(
        metadata=ObjectMeta(
            name="web-x2k4z",
            namespace="default",
            labels={"kubernetes.io/service-name": "web"},
            annotations=note,
        ),
        endpoints=tuple(
            Endpoint(addresses=(str(b.address),), node_name="node-1") for b in backends
        ),
        ports=(EndpointPort(name="", port=backends[0].port if backends else 80),),
    )


@pytest.fixture
async def scene(world: World) -> AsyncGenerator[Scene]:
    scene = Scene(world)
    yield scene
    await scene.stop()


async def test_a_change_is_served_in_the_same_turn_of_the_loop(scene: Scene) -> None:
    scene.set_service()
    scene.set_endpoints(await scene.world.backend(naming("a")))
    scene.start()
    await scene.turn()
    assert await scene.met() == "a"
    scene.set_endpoints(await scene.world.backend(naming("b")))
    await scene.turn()
    assert await scene.met() == "b"
    scene.set_endpoints()
    await scene.turn()
    assert await scene.met() == "refused"
    scene.set_endpoints(await scene.world.backend(naming("c")))
    scene.set_service(gone=True)
    await scene.turn()
    assert await scene.met() == "refused"
    assert len(scene.world.listeners) == 0


async def test_nothing_is_served_before_all_lists_are_here(scene: Scene) -> None:
    scene.set_service()
    scene.set_endpoints(await scene.world.backend(naming("a")))
    await scene.turn()
    assert await scene.met() == "refused"
    assert not scene.proxier.overdue()


async def test_a_burst_is_one_sync(scene: Scene) -> None:
    backend = await scene.world.backend(naming("a"))
    scene.start()
    await scene.turn()
    before = scene.proxier.syncs.count
    scene.set_service()
    for _ in range(1000):
        scene.set_endpoints(backend)
    await scene.turn()
    assert scene.proxier.syncs.count == before + 1
    assert await scene.met() == "a"


async def test_order_of_events_does_not_matter(scene: Scene) -> None:
    scene.start()
    scene.set_endpoints(await scene.world.backend(naming("a")))
    await scene.turn()
    assert await scene.met() == "refused"
    scene.set_service()
    await scene.turn()
    assert await scene.met() == "a"


async def test_a_frontend_that_failed_is_tried_again(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    taken = scene.world.socket(address=str(scene.frontend.address))
    taken.listen()
    scene.frontend = Frontend(scene.frontend.address, taken.getsockname()[1], "TCP")
    scene.set_service()
    scene.set_endpoints(await scene.world.backend(naming("a")))
    scene.start()
    await scene.turn()
    assert list(scene.proxier.failed) == [Key("default", "web")]
    assert "Address already in use; trying again every second" in caplog.text
    taken.close()
    await scene.world.until(lambda: not scene.proxier.failed)
    assert await scene.met() == "a"


async def test_sctp_is_not_relayed_and_the_other_ports_are(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    backend = await scene.world.backend(naming("a"))
    ports = (
        ServicePort(name="web", port=scene.frontend.port),
        ServicePort(name="sig", port=scene.frontend.port, protocol="SCTP"),
    )
    scene.set_service(ports=ports)
    slice_ = slice_of(backend)
    ends = tuple(
        EndpointPort(name=port.name, port=backend.port, protocol=port.protocol) for port in ports
    )
    scene.proxier.sources.slice(None, msgspec.structs.replace(slice_, ports=ends))
    scene.start()
    await scene.turn()
    assert await scene.met() == "a"
    said = "SCTP is not relayed in userspace mode: choose nftables or iptables"
    assert scene.proxier.failed == {Key("default", "web"): said}
    assert scene.warnings == [("web", "FailedToServe", said)]
    assert type(scene.warnings[0][2]) is str  # for it goes into an Event
    # To try again would not help.
    assert caplog.messages == [f"default/web: {said}"]


async def test_an_address_that_moves_to_another_service_stays_served(scene: Scene) -> None:
    """Whatever the order in which the two Services are heard of."""
    scene.set_service()
    scene.set_endpoints(await scene.world.backend(naming("a")))
    scene.start()
    await scene.turn()
    other = Service(
        metadata=ObjectMeta(name="web2", namespace="default"),
        spec=ServiceSpec(
            cluster_ip=str(scene.frontend.address), ports=(ServicePort(port=scene.frontend.port),)
        ),
    )
    slice_ = slice_of(await scene.world.backend(naming("b")))
    slice_ = EndpointSlice(
        metadata=ObjectMeta(
            name="web2-abcde",
            namespace="default",
            labels={"kubernetes.io/service-name": "web2"},
        ),
        endpoints=slice_.endpoints,
        ports=slice_.ports,
    )
    scene.proxier.sources.slice(None, slice_)
    scene.proxier.sources.service(None, other)
    await scene.turn()
    scene.set_service(gone=True)
    await scene.turn()
    assert await scene.met() == "b"


async def test_the_node_decides_who_is_inside_and_where_we_are(scene: Scene) -> None:
    node = Node(
        metadata=ObjectMeta(name="node-1", labels={"topology.kubernetes.io/zone": "a"}),
        spec=NodeSpec(pod_cidr="10.244.1.0/24", pod_cidrs=("10.244.1.0/24", "fd00::/64")),
    )
    scene.proxier.sources.node(None, node)
    assert scene.proxier.sources.view.place == Place("node-1", "a")
    assert scene.proxier.sources.view.pods == (IPv4Network("10.244.1.0/24"),)
    assert scene.proxier.sources.eligible


@pytest.mark.parametrize(
    "node",
    [
        None,
        Node(metadata=ObjectMeta(name="node-1", deletion_timestamp=rfc3339(0))),
        Node(
            metadata=ObjectMeta(name="node-1"),
            spec=NodeSpec(
                taints=(Taint(key="ToBeDeletedByClusterAutoscaler", effect="NoSchedule"),)
            ),
        ),
    ],
    ids=["gone", "being deleted", "tainted"],
)
async def test_a_node_that_is_about_to_go_is_not_healthy_for_load_balancers(
    scene: Scene, node: Node | None
) -> None:
    scene.proxier.sources.node(None, node)
    pages = Serving(scene.proxier).health()
    assert pages["/healthz"]().status == 503
    assert pages["/livez"]().status == 200


async def test_a_change_that_waits_too_long_is_unhealthy(scene: Scene) -> None:
    scene.start()
    await scene.turn()
    scene.set_service()
    scene.clock.advance(2 * PERIOD)
    assert not scene.proxier.overdue()
    scene.clock.advance(0.1)
    assert scene.proxier.overdue()
    await scene.turn()
    assert not scene.proxier.overdue()


async def test_a_frozen_proxy_serves_what_it_served(scene: Scene) -> None:
    scene.set_service()
    scene.set_endpoints(await scene.world.backend(naming("a")))
    scene.start()
    await scene.turn()
    scene.proxier.freeze(True)
    scene.set_endpoints(await scene.world.backend(naming("b")))
    await scene.turn()
    assert await scene.met() == "a"
    scene.clock.advance(2 * PERIOD + 1)
    assert scene.proxier.overdue()
    scene.proxier.freeze(False)
    await scene.turn()
    assert await scene.met() == "b"
    assert not scene.proxier.overdue()


async def test_metrics_count_what_happened(scene: Scene) -> None:
    scene.clock.advance(0.25)
    scene.set_service()
    scene.set_endpoints(await scene.world.backend(naming("a")), changed=rfc3339(scene.clock.now()))
    scene.start()
    await scene.turn()
    await scene.met()
    pages = Serving(scene.proxier).metrics()
    lines: list[str] = pages["/metrics"]().body.splitlines()
    assert 'kubeproxy_sync_proxy_rules_duration_seconds_count{ip_family="IPv4"} 1' in lines
    assert 'kubeproxy_network_programming_duration_seconds_sum{ip_family="IPv4"} 0.25' in lines
    assert "podwire_proxy_listeners 1" in lines
    assert "podwire_proxy_connections_total 1" in lines
    assert pages["/proxyMode"]().body == "userspace"
    series = [line.rpartition(" ")[0] for line in lines if not line.startswith("#")]
    assert sorted(series) == sorted(set(series))


@pytest.mark.parametrize(
    ("overdue", "eligible", "statuses", "updated"),
    [
        (False, True, (200, 200), "2023-11-14 22:13:30 +0000 UTC"),
        (False, False, (503, 200), "2023-11-14 22:13:30 +0000 UTC"),
        (True, True, (503, 503), "2023-11-14 22:13:20.5 +0000 UTC"),
    ],
)
def test_health(*, overdue: bool, eligible: bool, statuses: tuple[int, int], updated: str) -> None:
    health = Health(1_700_000_000.5, 1_700_000_010.0, overdue, eligible)
    assert (healthz(health)[0], livez(health)[0]) == statuses
    assert json.loads(healthz(health)[1]) == {
        "lastUpdated": updated,
        "currentTime": "2023-11-14 22:13:30 +0000 UTC",
        "nodeEligible": eligible,
    }
    assert json.loads(livez(health)[1]).keys() == {"lastUpdated", "currentTime"}


async def test_events_of_the_api_server_reach_the_listeners(scene: Scene, tmp_path: Path) -> None:
    a, b = await scene.world.backend(naming("a")), await scene.world.backend(naming("b"))
    meta = {"name": "web", "namespace": "default", "uid": "1", "resourceVersion": "1"}
    spec = {
        "clusterIP": str(scene.frontend.address),
        "ports": [{"port": scene.frontend.port, "protocol": "TCP"}],
    }
    changes: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    lists = {
        "/api/v1/services": [{"metadata": meta, "spec": spec}],
        "/apis/discovery.k8s.io/v1/endpointslices": [wire_slice(a, "1")],
        "/api/v1/nodes": [{"metadata": {"name": "node-1", "resourceVersion": "1"}}],
    }
    async with (
        api(lists, changes, tmp_path / "api.sock"),
        Client.unix(tmp_path / "api.sock", user="system:kube-proxy") as client,
        asyncio.TaskGroup() as tasks,
    ):
        running = tasks.create_task(scene.proxier.run(client))
        await scene.proxier.synced.wait()
        assert await scene.met() == "a"
        before = scene.proxier.syncs.count
        changes.put_nowait({"type": "MODIFIED", "object": wire_slice(b, "2")})
        await scene.world.until(lambda: scene.proxier.syncs.count > before)
        assert await scene.met() == "b"
        running.cancel()


def wire_slice(backend: Backend, version: str) -> dict[str, Any]:
    return {
        "metadata": {
            "name": "web-x2k4z",
            "namespace": "default",
            "resourceVersion": version,
            "labels": {"kubernetes.io/service-name": "web"},
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": [str(backend.address)], "conditions": {"ready": True}}],
        "ports": [{"name": "", "port": backend.port, "protocol": "TCP"}],
    }


@asynccontextmanager
async def api(
    lists: dict[str, list[dict[str, Any]]], changes: asyncio.Queue[dict[str, Any]], path: Path
) -> AsyncGenerator[None, None]:
    """Be the little of an API server that an informer asks for; *changes* are of EndpointSlices."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if "watch" not in request.query:
            found = lists[request.path]
            return web.json_response({"metadata": {"resourceVersion": "1"}, "items": found})
        response = web.StreamResponse()
        await response.prepare(request)
        while request.path.endswith("endpointslices"):
            await response.write(json.dumps(await changes.get()).encode() + b"\n")
        await asyncio.Event().wait()
        return response

    app = web.Application()
    app.router.add_get("/{tail:.*}", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.01)
    await runner.setup()
    try:
        await web.UnixSite(runner, str(path)).start()
        yield
    finally:
        await runner.cleanup()
