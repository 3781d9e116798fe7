"""Services on the wire: what answers, what does not, and with which addresses."""

import asyncio
import json
import re
from typing import Any

import pytest

from podwire.testing.cluster import Cluster
from tests.system.conftest import CLIENT, WEB, both_runtimes
from tests.system.until import LIMIT, items, pod_path, until

HEALED = "/tmp/healed"

TWO_CONTAINERS = """
apiVersion: v1
kind: Pod
metadata: {name: pair, labels: {app: pair}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: web
    image: podwire/web:test
    readinessProbe: {httpGet: {path: /, port: 80}, periodSeconds: 1}
  - {name: shell, image: podwire/shell:test, command: [sleep, infinity]}
"""

ECHO = """
apiVersion: v1
kind: Pod
metadata: {name: echo, labels: {app: echo}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: echo
    image: podwire/echo:test
    readinessProbe: {tcpSocket: {port: 7}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: echo}
spec:
  selector: {app: echo}
  ports:
  - {name: tcp, port: 7, protocol: TCP}
  - {name: udp, port: 7, protocol: UDP}
"""


async def service(cluster: Cluster, name: str) -> dict[str, object]:
    found = await cluster.get(f"/api/v1/namespaces/{cluster.namespace}/services/{name}")
    spec: dict[str, object] = found["spec"]
    return spec


def fields(text: str) -> dict[str, str]:
    return dict(re.findall(r"^(\w+): (.*)$", text, re.MULTILINE))


@both_runtimes
async def test_a_service_answers_under_its_short_qualified_and_full_name(cluster: Cluster) -> None:
    await cluster.apply(WEB + "---" + CLIENT)
    await cluster.ready("web", "client")
    client = cluster.pod("client")
    for name in (
        "web-svc",
        f"web-svc.{cluster.namespace}",
        f"web-svc.{cluster.namespace}.svc",
        f"web-svc.{cluster.namespace}.svc.cluster.local",
    ):
        assert (await client.get(f"http://{name}")).status == 200, name


async def test_a_cluster_ip_is_on_no_interface_and_silent_to_arp(cluster: Cluster) -> None:
    await cluster.apply(WEB + "---" + CLIENT)
    await cluster.ready("web", "client")
    address = str((await service(cluster, "web-svc"))["clusterIP"])
    for host in ("node-1", "node-2", "node-3"):
        shown = await cluster.node(host).exec("ip", "-json", "address")
        assert address not in shown.stdout.decode()
    # The answer of a neighbour is what ARP gives: one that does not answer stays FAILED or INCOMPLETE.
    node = (await cluster.get("/api/v1/nodes/node-2"))["status"]["addresses"][0]["address"]
    script = (
        f"ip route add {address}/32 dev eth0; "
        f"(echo > /dev/udp/{address}/9) 2>/dev/null; (echo > /dev/udp/{node}/9) 2>/dev/null; "
        f"sleep 0.5; ip -json neigh show dev eth0; ip route del {address}/32 dev eth0"
    )
    shown = await cluster.node("node-1").exec("bash", "-c", script)
    neighbours = {n["dst"]: n["state"] for n in json.loads(shown.stdout)}
    assert not {"REACHABLE", "STALE", "DELAY"} & set(neighbours.get(address, []))
    assert {"REACHABLE", "STALE", "DELAY", "PROBE"} & set(neighbours[node]), neighbours


async def test_a_cluster_ip_is_not_for_external_whatever_its_routes(cluster: Cluster) -> None:
    await cluster.apply(WEB)
    await cluster.ready("web")
    address = str((await service(cluster, "web-svc"))["clusterIP"])
    curl = ("curl", "-sS", "--max-time", "1.5", f"http://{address}/")
    without = await cluster.external.exec(*curl, check=False)
    assert without.exit_code in (7, 28), without.stderr
    router = cluster.node("router")
    await router.exec("ip", "route", "add", "10.96.0.0/12", "via", "192.168.1.10")
    try:
        with_route = await cluster.external.exec(*curl, check=False)
        trace = await cluster.trace("external", f"http://{address}/", timeout=1.5)
        inside = await router.exec(*curl, check=False)
    finally:
        await router.exec("ip", "route", "del", "10.96.0.0/12")
    assert with_route.exit_code == 28, "timed out"
    assert trace.verdict == "refuted"
    assert "no way from outside leads to the ClusterIP of Service" in trace.reason
    assert inside.exit_code == 0, "the route leads there, and it is not the node that drops"


@pytest.mark.parametrize("node", ["node-1", "node-2", "node-3"])
async def test_a_node_port_answers_on_every_node_also_without_a_backend(
    cluster: Cluster, node: str
) -> None:
    await cluster.apply(
        WEB.replace("replicas: 3", "replicas: 1").replace(
            "spec:\n  selector: {app: web}", "spec:\n  type: NodePort\n  selector: {app: web}"
        )
    )
    await cluster.ready("web")
    ports = (await service(cluster, "web-svc"))["ports"]
    assert isinstance(ports, list)
    address = (await cluster.get(f"/api/v1/nodes/{node}"))["status"]["addresses"][0]["address"]
    answer = await cluster.external.get(f"http://{address}:{ports[0]['nodePort']}/")
    assert answer.status == 200


async def test_external_reaches_no_pod_and_pods_reach_external_as_their_node(
    cluster: Cluster,
) -> None:
    await cluster.apply(WEB + "---" + CLIENT)
    await cluster.ready("web", "client")
    pod = (await cluster.pods("app=web"))[0]
    inside = await cluster.pod("client").get(f"http://{pod['status']['podIP']}/")
    assert fields(inside.text)["Hostname"] == pod["metadata"]["name"]
    refused = await cluster.external.exec(
        "curl", "-sS", "--max-time", "1.5", f"http://{pod['status']['podIP']}/", check=False
    )
    assert refused.exit_code in (7, 28)
    client = (await cluster.get(f"/api/v1/namespaces/{cluster.namespace}/pods/client"))["status"]
    seen = fields((await cluster.pod("client").get("http://203.0.113.10/")).text)
    assert seen["Client"].partition(":")[0] == client["hostIP"]


@both_runtimes
async def test_the_containers_of_a_pod_share_localhost_and_address(cluster: Cluster) -> None:
    await cluster.apply(TWO_CONTAINERS)
    await cluster.ready("pair")
    shell = await cluster.pod("pair").exec("curl", "-sS", "http://localhost", container="shell")
    assert fields(shell.stdout.decode())["Hostname"] == "pair"
    addresses = await cluster.pod("pair").exec("ip", "-json", "-4", "address", container="shell")
    pod = await cluster.get(f"/api/v1/namespaces/{cluster.namespace}/pods/pair")
    assert pod["status"]["podIP"] in addresses.stdout.decode()


@both_runtimes
async def test_a_backend_sees_the_pods_own_address_between_nodes(cluster: Cluster) -> None:
    await cluster.apply(WEB + "---" + CLIENT)
    await cluster.ready("web", "client")
    client = await cluster.get(f"/api/v1/namespaces/{cluster.namespace}/pods/client")
    for pod in await cluster.pods("app=web"):
        answer = fields((await cluster.pod("client").get(f"http://{pod['status']['podIP']}/")).text)
        assert answer["Client"].partition(":")[0] == client["status"]["podIP"]
        assert answer["Hostname"] == pod["metadata"]["name"]


@both_runtimes
async def test_tcp_and_udp_share_a_port_of_a_service(cluster: Cluster) -> None:
    await cluster.apply(ECHO + "---" + CLIENT)
    await cluster.ready("echo", "client")
    for protocol in ("tcp", "udp"):
        script = f"exec 3<>/dev/{protocol}/echo/7; echo hello >&3; head -c 6 <&3"
        shown = await cluster.pod("client").exec("bash", "-c", script)
        assert shown.stdout == b"hello\n", protocol


@both_runtimes
async def test_a_service_whose_selector_matches_nothing_refuses(cluster: Cluster) -> None:
    await cluster.apply(
        WEB.replace("selector: {app: web}", "selector: {app: nobody}") + "---" + CLIENT
    )
    await cluster.ready("client")
    shown = await cluster.pod("client").exec(
        "curl", "-sS", "--max-time", "3", "http://web-svc/", check=False
    )
    assert shown.exit_code == 7, shown.stderr


async def web_that_is_not_ready(cluster: Cluster) -> list[dict[str, Any]]:
    """Make a client and a Service whose pods run and answer; each is ready once it is healed."""
    probe = "{httpGet: {path: /, port: http}, periodSeconds: 1}"
    assert probe in WEB
    await cluster.apply(
        WEB.replace(probe, f"{{exec: {{command: [test, -e, {HEALED}]}}, periodSeconds: 1}}")
        + "---"
        + CLIENT
    )
    await cluster.ready("client")
    path = f"{pod_path(cluster, '')}?labelSelector=app%3Dweb"

    def run(listing: dict[str, Any] | None) -> bool:
        pods = items(listing)
        return len(pods) == 3 and all(p["status"]["phase"] == "Running" for p in pods)

    pods = items(await until(cluster, path, run, "three pods run"))
    client = cluster.pod("client")
    for pod in pods:
        assert [c["ready"] for c in pod["status"]["containerStatuses"]] == [False]
        # The pod itself does answer: what a Service says then is about readiness.
        patient = ("curl", "-sS", "--retry", "10", "--retry-connrefused", "--max-time", "20")
        await client.exec(*patient, f"http://{pod['status']['podIP']}/")
    return pods


@both_runtimes
async def test_unready_pods_get_no_traffic(cluster: Cluster) -> None:
    await web_that_is_not_ready(cluster)
    shown = await cluster.pod("client").exec(
        "curl", "-sS", "--max-time", "3", "http://web-svc/", check=False
    )
    assert shown.exit_code == 7, shown.stderr


@both_runtimes
async def test_the_pod_that_becomes_ready_gets_all_the_traffic(cluster: Cluster) -> None:
    healed = (await web_that_is_not_ready(cluster))[1]["metadata"]["name"]
    await cluster.pod(healed).exec("touch", HEALED)
    await cluster.ready(healed)
    client = cluster.pod("client")
    async with asyncio.timeout(LIMIT):
        while (await client.exec("curl", "-sS", "http://web-svc/", check=False)).exit_code:
            pass
    answers = [fields((await client.get("http://web-svc/")).text) for _ in range(6)]
    assert {answer["Hostname"] for answer in answers} == {healed}
