"""What a load balancer is told on a Service's health-check NodePort."""

import asyncio
import json
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from ipaddress import IPv4Address

import aiohttp
import pytest

from podwire.kube.httpd import serving
from podwire.kube.names import Key
from podwire.kube.objects import (
    Endpoint,
    EndpointConditions,
    EndpointPort,
    EndpointSlice,
    ObjectMeta,
    Service,
    ServicePort,
    ServiceSpec,
)
from podwire.proxy import table
from podwire.proxy.endpoints import Place
from podwire.proxy.health_checks import Check, HealthChecks, answer, checks_of
from podwire.proxy.mode import Order
from podwire.proxy.node import NodeView

HOST = "127.9.3.1"
VIEW = NodeView(Place("node-1"), IPv4Address(HOST))
WEB = Key("default", "web")


def ports(*endpoints: tuple[str, str, str], check: int = 31000) -> tuple[table.ServicePort, ...]:
    """Return two ports of a Service; an endpoint is (address, node, state)."""
    service = Service(
        metadata=ObjectMeta(name="web", namespace="default"),
        spec=ServiceSpec(
            type="LoadBalancer",
            cluster_ip="10.96.0.80",
            external_traffic_policy="Local",
            health_check_node_port=check,
            ports=(ServicePort(name="a", port=80), ServicePort(name="b", port=81)),
        ),
    )
    slice_ = EndpointSlice(
        metadata=ObjectMeta(name="web-1", namespace="default"),
        endpoints=tuple(
            Endpoint(
                addresses=(address,),
                node_name=node,
                conditions=EndpointConditions(
                    ready=state == "ready", serving=True, terminating=state == "terminating"
                ),
            )
            for address, node, state in endpoints
        ),
        ports=(EndpointPort(name="a", port=8080), EndpointPort(name="b", port=8081)),
    )
    return table.service_ports(service, [slice_], VIEW.place)


HERE, THERE = ("10.244.1.2", "node-1", "ready"), ("10.244.2.2", "node-2", "ready")
LEAVING = ("10.244.1.3", "node-1", "terminating")


@pytest.mark.parametrize(
    ("endpoints", "counted"),
    [
        ((HERE,), 1),  # two ports, one address
        ((HERE, THERE), 1),
        ((THERE,), 0),
        ((LEAVING,), 0),  # it still gets traffic
        ((HERE, LEAVING), 1),
        ((), 0),
    ],
)
def test_ready_endpoints_of_this_node_count(
    endpoints: tuple[tuple[str, str, str], ...], counted: int
) -> None:
    assert checks_of({WEB: ports(*endpoints)}) == {WEB: Check(31000, counted)}


def test_a_service_without_the_port_has_no_check() -> None:
    assert checks_of({WEB: ports(HERE, check=0), Key("default", "gone"): ()}) == {
        WEB: None,
        Key("default", "gone"): None,
    }


@pytest.mark.parametrize(
    ("endpoints", "healthy", "status"), [(2, True, 200), (0, True, 503), (2, False, 503)]
)
def test_the_answer(endpoints: int, *, healthy: bool, status: int) -> None:
    page = answer(WEB, endpoints, healthy=healthy)
    assert page.status == status
    assert json.loads(page.body) == {
        "service": {"namespace": "default", "name": "web"},
        "localEndpoints": endpoints,
        "serviceProxyHealthy": healthy,
    }
    assert page.headers == {
        "X-Content-Type-Options": "nosniff",
        "X-Load-Balancing-Endpoint-Weight": str(endpoints),
    }


class Scene:
    """A node's servers, and whoever asks them."""

    def __init__(self) -> None:
        self.failed: asyncio.Queue[tuple[Key, int, str]] = asyncio.Queue()

        def failed(key: Key, port: int, reason: str) -> None:
            self.failed.put_nowait((key, port, reason))

        self.checks = HealthChecks((IPv4Address(HOST),), lambda: True, failed)

    def obey(self, *endpoints: tuple[str, str, str], check: int) -> None:
        self.checks.obey(Order(VIEW, {WEB: ports(*endpoints, check=check)}))

    async def asked(self, port: int, method: str = "GET", path: str = "/") -> int:
        """Return the status, 0 when nobody answers."""
        async with aiohttp.ClientSession() as session:
            try:
                async with session.request(method, f"http://{HOST}:{port}{path}") as response:
                    return response.status
            except aiohttp.ClientConnectorError:
                return 0

    async def until(self, port: int, status: int) -> None:
        async with asyncio.timeout(5):
            while await self.asked(port) != status:  # noqa: ASYNC110 - a server is asked
                await asyncio.sleep(0.01)


@asynccontextmanager
async def running() -> AsyncGenerator[Scene]:
    scene = Scene()
    task = asyncio.get_running_loop().create_task(scene.checks.run())
    yield scene
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def free_port() -> int:
    with socket.create_server((HOST, 0)) as sock:
        return int(sock.getsockname()[1])


async def test_it_follows_endpoints_and_port() -> None:
    async with running() as scene:
        first, second = free_port(), free_port()
        scene.obey(HERE, check=first)
        await scene.until(first, 200)
        # Path and method are not looked at.
        assert await scene.asked(first, "POST", "/any/thing") == 200
        scene.obey(THERE, check=first)
        await scene.until(first, 503)
        scene.obey(HERE, check=second)
        await scene.until(second, 200)
        await scene.until(first, 0)
        scene.checks.obey(Order(VIEW, {WEB: ()}))
        await scene.until(second, 0)


async def test_a_port_that_is_taken_is_said_once_and_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("podwire.proxy.health_checks.RETRY", 0.02)
    async with running() as scene:
        async with serving({}, HOST, 0) as port:
            scene.obey(HERE, check=port)
            assert (await asyncio.wait_for(scene.failed.get(), 5))[:2] == (WEB, port)
            await asyncio.sleep(0.1)
        assert scene.failed.empty()
        await scene.until(port, 200)
