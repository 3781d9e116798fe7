"""Backends come and go while requests are made: nothing is lost, and nobody is asked too late."""

import asyncio
import time
from contextlib import AsyncExitStack
from typing import Any

import pytest

from podwire.testing.cluster import Cluster
from tests.system.conftest import CLIENT, WEB
from tests.system.load import Kind, load
from tests.system.until import LIMIT, items, pod_path, until, until_gone

# The real web server where this machine has it. It does not drain: its listener closes at once.
NGINX = WEB.replace("image: podwire/web:test", "image: nginx")
assert NGINX != WEB
# What the documentation of Kubernetes tells owners of such servers to do.
NGINX_THAT_WAITS = NGINX.replace(
    "image: nginx", "image: nginx\n        lifecycle: {preStop: {sleep: {seconds: 1}}}"
)

CLIENTS = """
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: clients}
spec:
  selector: {matchLabels: {app: clients}}
  template:
    metadata: {labels: {app: clients}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{name: curl, image: curlimages/curl, command: [sleep, infinity]}]
"""

# No probe, whose SYNs would be mistaken for a client's; alive for a while after its deletion, so that
# a late SYN would be seen.
LINGERING = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 10
      containers:
      - name: web
        image: podwire/web
        ports: [{name: http, containerPort: 80}]
        lifecycle: {preStop: {sleep: {seconds: 2}}}
---
apiVersion: v1
kind: Service
metadata: {name: web-svc}
spec:
  selector: {app: web}
  ports: [{port: 80, targetPort: http}]
"""
# Seconds. Milliseconds are normal (bench measures them); this is for a machine with much else to do.
LAST_SYN = 1.0

WAYS: list[Kind] = ["new", "kept"]


async def pods_are(cluster: Cluster, labels: str, count: int) -> None:
    """Return when so many pods are left, those that are ending included."""
    path = f"{pod_path(cluster, '')}?labelSelector={labels}"
    await until(cluster, path, lambda found: len(items(found)) == count, f"{count} pods {labels}")


async def all_serve(cluster: Cluster, least: int) -> None:
    """Return when so many of the pods have answered a request of the load."""
    async with asyncio.timeout(LIMIT):
        while True:
            names = [pod["metadata"]["name"] for pod in await cluster.pods("app=web")]
            logs = [await cluster.pod(name).logs() for name in names]
            if sum("/?load" in text for text in logs) >= least:
                return


async def roll(cluster: Cluster, name: str) -> None:
    """Change a Deployment's template, and return when every pod is a new one and no old one is left."""
    before = {pod["metadata"]["uid"] for pod in await cluster.pods("app=web")}
    annotations = {"podwire.example/round": "2"}
    path = f"/apis/apps/v1/namespaces/{cluster.namespace}/deployments/{name}"
    patch = {"spec": {"template": {"metadata": {"annotations": annotations}}}}
    await cluster.call(lambda api: api.patch(path, patch))
    await cluster.ready(name)
    await pods_are(cluster, "app=web", 3)
    assert not before & {pod["metadata"]["uid"] for pod in await cluster.pods("app=web")}


@pytest.mark.parametrize("way", WAYS)
async def test_scaling_under_load_loses_no_request(cluster: Cluster, way: Kind) -> None:
    await cluster.apply(WEB + "---" + CLIENT)
    await cluster.ready("web", "client")
    async with load(cluster, "client", "web-svc", way) as result:
        for replicas in (6, 2):
            await cluster.scale("web", replicas)
            await cluster.ready("web")
            await pods_are(cluster, "app=web", replicas)
            # A connection that is kept stays where it is: nothing says who gets the next one.
            await all_serve(cluster, replicas if way == "new" else 1)
    assert not result.failures, result


@pytest.mark.parametrize("way", WAYS)
async def test_a_rolling_update_under_load_loses_no_request(cluster: Cluster, way: Kind) -> None:
    await cluster.apply(WEB + "---" + CLIENT)
    await cluster.ready("web", "client")
    async with load(cluster, "client", "web-svc", way) as result:
        await roll(cluster, "web")
        await all_serve(cluster, 3 if way == "new" else 1)
    assert not result.failures, result


async def test_a_rolling_update_of_a_server_that_does_not_drain_fails_no_connect(
    cluster: Cluster,
) -> None:
    await cluster.apply(NGINX + "---" + CLIENT)
    await cluster.ready("web", "client")
    async with load(cluster, "client", "web-svc", "new") as result:
        await roll(cluster, "web")
    assert not [one for one in result.failures if one["stage"] == "connect"], result
    assert result.answered, result


async def test_a_pre_stop_pause_spares_the_requests_of_a_server_that_does_not_drain(
    cluster: Cluster,
) -> None:
    await cluster.apply(NGINX_THAT_WAITS + "---" + CLIENT)
    await cluster.ready("web", "client")
    async with load(cluster, "client", "web-svc", "new") as result:
        await roll(cluster, "web")
    assert not result.failures, result


async def test_no_node_sends_a_connection_to_a_backend_that_was_deleted(cluster: Cluster) -> None:
    await cluster.apply(LINGERING + "---" + CLIENTS)
    await cluster.ready("web", "clients")
    victim = (await cluster.pods("app=web"))[0]
    name, address = victim["metadata"]["name"], victim["status"]["podIP"]
    clients = await cluster.pods("app=clients")
    assert len({pod["spec"]["nodeName"] for pod in clients}) == 3
    new_connection = f"tcp[tcpflags] & (tcp-syn|tcp-ack) = tcp-syn and dst host {address}"
    places = ["node/node-1", "node/node-2", "node/node-3", name]
    async with (
        cluster.capture(*places, packet_filter=new_connection) as packets,
        AsyncExitStack() as loads,
    ):
        for pod in clients:
            running = load(cluster, pod["metadata"]["name"], "web-svc", "new", workers=2)
            await loads.enter_async_context(running)
        await cluster.delete(f"pod/{name}")
        deleted = time.time()  # no later than this its end was known
        await until_gone(cluster, pod_path(cluster, name))
        gone = time.time()
    assert gone - deleted > LAST_SYN, "the pod was gone too early to see a late connection"
    seen = [float(packet.time) - deleted for packet in packets]
    assert [at for at in seen if at < 0], "the backend was never asked"
    late = [show(packet, deleted) for packet in packets if packet.time > deleted + LAST_SYN]
    assert not late, "\n".join(["asked after its deletion:", *late[:20]])


def show(packet: Any, since: float) -> str:
    return f"+{float(packet.time) - since:.3f} s at {packet.sniffed_on}: {packet.summary()}"
