"""`trace` on a real cluster: what is right is confirmed, what is broken names its hop and reason."""

import asyncio
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from podwire.emulator.trace import heads
from podwire.testing.cluster import Cluster
from tests.needs import need
from tests.system.conftest import CLIENT, WEB, both_runtimes

HEADLESS = """
apiVersion: v1
kind: Service
metadata: {name: web-headless}
spec:
  clusterIP: None
  selector: {app: web}
  ports: [{port: 80}]
"""


async def web_and_client(cluster: Cluster, web: str = WEB) -> None:
    await cluster.apply(web + "---" + HEADLESS + "---" + CLIENT)
    await cluster.ready("web", "client")


@both_runtimes
@pytest.mark.parametrize("target", ["http://web-svc", "http://web-headless", "web-svc:80"])
async def test_a_request_that_arrives_is_confirmed(cluster: Cluster, target: str) -> None:
    await web_and_client(cluster)
    trace = await cluster.trace("client", target)
    assert trace.confirmed, trace
    wheres = [hop.where for hop in trace.hops]
    assert wheres[0] == f"{cluster.namespace}/client"
    assert any(where.startswith(f"{cluster.namespace}/web-") for where in wheres)


SIDECAR = """
apiVersion: v1
kind: Pod
metadata: {name: front}
spec:
  dnsConfig: {options: [{name: use-vc}]}
  containers:
  - {name: web, image: nginx}
  - {name: side, image: busybox, command: [sleep, infinity]}
"""


@pytest.mark.parametrize(
    "target", ["http://web-svc", "http://front", "kube-dns.kube-system:53/udp"]
)
async def test_a_pod_of_two_containers_asks_over_tcp_itself_and_dns(
    cluster: Cluster, target: str
) -> None:
    await cluster.apply(WEB + "---" + SIDECAR)
    await cluster.ready("web", "front")
    trace = await cluster.trace("front", target)
    assert trace.confirmed, trace
    if target == "http://front":  # its own name stands in its /etc/hosts
        assert {hop.interface for hop in trace.hops} == {"lo"}
    else:
        assert trace.naming is not None
        assert {step.transport for step in trace.naming.steps} == {"TCP"}


DOWNLOAD = """
apiVersion: v1
kind: Pod
metadata: {name: download, labels: {app: download}}
spec:
  terminationGracePeriodSeconds: 0
  nodeName: node-2
  containers:
  - name: files
    image: busybox
    workingDir: /tmp
    command: [sh, -c, "head -c 10000000 /dev/zero > big; exec python3 -m http.server 80"]
    readinessProbe: {httpGet: {path: /, port: 80}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: download}
spec:
  selector: {app: download}
  ports: [{port: 80}]
"""


async def test_a_download_is_judged_by_the_heads_of_its_packets(cluster: Cluster) -> None:
    need("python3")
    await cluster.apply(DOWNLOAD + "---" + CLIENT)
    await cluster.ready("download", "client")
    trace = await cluster.trace("client", "http://download/big")
    assert trace.confirmed, trace
    assert max(packet.length for packet in trace.packets) > heads.HEAD
    assert all(len(packet.payload) < heads.LONGEST for packet in trace.packets)


async def test_an_answer_that_is_lost_is_not_the_backends_fault(cluster: Cluster) -> None:
    await web_and_client(cluster)
    address = next(iter(await cluster.pods("app=web")))["status"]["podIP"]
    node = cluster.node(f"node-{address.split('.')[2]}")
    table = f"lost_{cluster.namespace.replace('-', '_')}"
    # Outside of the node's own rules: what the pod sends stays in its node.
    rules = f"""add table netdev {table} ; add chain netdev {table} i {{ type filter hook ingress
        device cni0 priority 0; }} ; add rule netdev {table} i ip saddr {address} tcp sport 80 drop"""
    await node.exec("nft", rules.replace("\n", " "))
    try:
        trace = await cluster.trace("client", f"http://{address}", timeout=1.5)
    finally:
        await node.exec("nft", f"delete table netdev {table}")
    assert trace.verdict == "refuted", trace
    assert "the SYN ACK " in trace.reason or "the answer " in trace.reason, trace
    assert trace.first_wrong_hop is not None
    assert not trace.first_wrong_hop.where.startswith(f"{cluster.namespace}/web-"), trace


async def test_a_node_port_is_confirmed_from_outside(cluster: Cluster) -> None:
    node_port = WEB.replace(
        "spec:\n  selector: {app: web}", "spec:\n  type: NodePort\n  selector: {app: web}"
    )
    await web_and_client(cluster, node_port)
    path = f"/api/v1/namespaces/{cluster.namespace}/services/web-svc"
    port = (await cluster.get(path))["spec"]["ports"][0]["nodePort"]
    trace = await cluster.trace("external", f"http://192.168.1.11:{port}/")
    assert trace.confirmed, trace
    assert {hop.where for hop in trace.hops} >= {"external", "router", "node-2"}


@both_runtimes
async def test_a_wrong_target_port_is_found_at_the_backend(cluster: Cluster) -> None:
    await web_and_client(cluster, WEB.replace("targetPort: http", "targetPort: 81"))
    trace = await cluster.trace("client", "http://web-svc")
    assert trace.verdict == "refuted", trace
    assert trace.first_wrong_hop is not None
    assert trace.first_wrong_hop.where.startswith(f"{cluster.namespace}/web-")
    assert "81" in trace.reason


@both_runtimes
async def test_a_selector_that_matches_nothing_is_found_at_the_node(cluster: Cluster) -> None:
    await web_and_client(
        cluster, WEB.replace("spec:\n  selector: {app: web}", "spec:\n  selector: {app: nobody}")
    )
    trace = await cluster.trace("client", "http://web-svc")
    assert trace.verdict == "refuted", trace
    assert trace.first_wrong_hop is not None
    assert trace.first_wrong_hop.where.startswith("node-")
    assert "endpoint" in trace.reason


async def test_an_unreachable_backend_is_found_where_its_packets_end(cluster: Cluster) -> None:
    may = "securityContext: {capabilities: {add: [NET_ADMIN]}}"
    web = WEB.replace("replicas: 3", "replicas: 1")
    await web_and_client(cluster, web.replace("- name: web\n", f"- name: web\n        {may}\n"))
    pod = (await cluster.pods("app=web"))[0]
    name = pod["metadata"]["name"]
    # The pod's own firewall: its interface hears the SYN and nothing answers.
    await cluster.pod(name).exec("nft", "add table inet t")
    rule = "add chain inet t i { type filter hook input priority 0; } ; add rule inet t i tcp dport 80 drop"
    await cluster.pod(name).exec("nft", rule)
    trace = await cluster.trace("client", "http://web-svc", timeout=1.5)
    assert trace.verdict == "refuted", trace
    assert trace.first_wrong_hop is not None
    assert name in trace.first_wrong_hop.where + trace.reason


async def test_core_dns_down_is_found_at_the_name(podwire_cluster: Cluster) -> None:
    cluster = podwire_cluster
    await cluster.apply(WEB + "---" + CLIENT)
    await cluster.ready("web", "client")
    before = await cluster.trace("client", "http://web-svc")
    assert before.confirmed, before
    await cluster.scale("kube-system/coredns", 0)
    while await cluster.pods("k8s-app=kube-dns", namespace="kube-system"):
        pass
    trace = await cluster.trace("client", "http://web-svc", timeout=3)
    assert trace.verdict == "refuted", trace
    assert trace.first_wrong_hop is not None
    assert trace.reason.startswith("cluster DNS: ")
    assert trace.reason.endswith("next: kubectl -n kube-system get pods -l k8s-app=kube-dns")


@both_runtimes
async def test_an_unknown_name_is_refuted_as_nxdomain(cluster: Cluster) -> None:
    await web_and_client(cluster)
    trace = await cluster.trace("client", "http://web-scv")
    assert trace.verdict == "refuted", trace
    said = f"there is no Service web-scv in namespace {cluster.namespace}; did you mean web-svc?"
    assert said in trace.reason
    assert f"podwire dns query web-scv --from {cluster.namespace}/client --walk" in trace.reason


@both_runtimes
async def test_each_step_of_the_search_for_a_name_is_explained(cluster: Cluster) -> None:
    await web_and_client(cluster)
    host = f"web-svc.{cluster.namespace}.svc.cluster.local"
    trace = await cluster.trace("client", f"http://{host}")
    assert trace.confirmed, trace
    search = trace.naming
    assert search is not None
    assert search.won is not None
    assert search.won.name == f"{host}."
    assert [step.answer for step in search.steps[:-1]] == ["NXDOMAIN"] * 3
    assert search.wasted == search.queries - 2 >= 6
    assert all(step.server.startswith("kube-system/coredns") for step in search.steps)
    shown = str(trace)
    assert "(1 of 4: the name has 4 dots, fewer than ndots:5" in shown
    assert "dns: the name has 4 dots" in shown
    assert search.line() in shown


async def test_a_name_that_is_only_a_namespace_has_no_data(cluster: Cluster) -> None:
    # Its namespace has nothing but its name: `NAMESPACE.svc` exists in DNS all the same.
    await web_and_client(cluster)
    name = f"empty-{cluster.namespace}"
    await cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    try:
        trace = await cluster.trace("client", f"http://{name}")
    finally:
        path = f"/api/v1/namespaces/{name}"
        await cluster.call(lambda c: c.delete(path, {}))
    assert f"no such name: {name}" in trace.reason, trace


@both_runtimes
async def test_an_alias_of_nothing_is_named(cluster: Cluster) -> None:
    alias = """
apiVersion: v1
kind: Service
metadata: {name: alias}
spec: {type: ExternalName, externalName: db.nowhere.test}
"""
    await cluster.apply(CLIENT + "---" + alias)
    await cluster.ready("client")
    trace = await cluster.trace("client", "http://alias")
    assert trace.verdict == "refuted", trace
    assert "is an alias of db.nowhere.test., which has no address" in trace.reason
    assert "CNAME db.nowhere.test." in str(trace)


@both_runtimes
async def test_the_command_writes_pcapng_for_tshark_and_says_the_verdict_as_status(
    cluster: Cluster, tmp_path: Path
) -> None:
    need("tshark")
    await web_and_client(cluster)
    podwire = shutil.which("podwire") or ".venv/bin/podwire"
    base = [podwire, "--kubeconfig", str(cluster.kubeconfig), "trace", "-n", cluster.namespace]

    def traced(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*base, *words], capture_output=True, text=True, check=False)

    good = traced("client", "http://web-svc", "-o", "json", "-w", str(tmp_path / "good.pcapng"))
    assert good.returncode == 0, good.stdout + good.stderr
    judged = json.loads(good.stdout)
    assert judged["verdict"] == "confirmed"
    assert judged["hops"][0]["where"] == f"{cluster.namespace}/client"
    bad = traced("client", "http://web-svc:81", "--no-pcap")
    assert bad.returncode == 1, bad.stdout + bad.stderr
    shown = dissected(tmp_path / "good.pcapng")
    assert f"{cluster.namespace}/client eth0" in shown
    assert "web-svc" in shown


def dissected(path: Path) -> str:
    """Return what tshark says of each packet: the interface's name and the comment."""
    fields = ["-T", "fields", "-e", "frame.interface_name", "-e", "frame.comment"]
    command = ["tshark", "-r", str(path), *fields]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


async def with_corefile(cluster: Cluster, old: str, new: str) -> None:
    """Start CoreDNS anew with *new* in its Corefile in place of *old*."""
    path = "/api/v1/namespaces/kube-system/configmaps/coredns"
    corefile: str = (await cluster.get(path))["data"]["Corefile"]
    assert old in corefile
    await cluster.scale("kube-system/coredns", 0)
    while await cluster.pods("k8s-app=kube-dns", namespace="kube-system"):
        pass
    wanted = {"data": {"Corefile": corefile.replace(old, new, 1)}}
    await cluster.call(lambda c: c.patch(path, wanted))
    await cluster.scale("kube-system/coredns", 1)


async def test_dns_that_cannot_see_the_objects_says_so(podwire_cluster: Cluster) -> None:
    cluster = podwire_cluster
    await web_and_client(cluster)
    # A server that is not ready gets no questions; this one shall.
    service = "/api/v1/namespaces/kube-system/services/kube-dns"
    even = {"spec": {"publishNotReadyAddresses": True}}
    await cluster.call(lambda c: c.patch(service, even))
    nowhere = "pods insecure\n           endpoint http://127.0.0.1:9"
    await with_corefile(cluster, "pods insecure", nowhere)
    name = f"web-svc.{cluster.namespace}.svc.cluster.local"
    async with asyncio.timeout(30):
        while (await cluster.pod("client").dns(name, timeout=0.5)).status != "SERVFAIL":
            pass
    walk = await cluster.pod("client").dns_walk("web-svc")
    assert walk.hint.startswith("the DNS server has not seen the cluster's objects yet")
    trace = await cluster.trace("client", "http://web-svc")
    assert trace.verdict == "refuted", trace
    assert "until it has seen the cluster's objects; next: kubectl " in trace.reason


async def test_a_name_that_only_the_corefile_knows_is_followed(podwire_cluster: Cluster) -> None:
    cluster = podwire_cluster
    await web_and_client(cluster)
    target = f"web-svc.{cluster.namespace}.svc.cluster.local"
    await with_corefile(cluster, "    ready\n", f"    ready\n    rewrite name shop.test {target}\n")
    await cluster.ready("kube-system/coredns")
    trace = await cluster.trace("client", "http://shop.test")
    assert trace.confirmed, trace
    assert trace.naming is not None
    assert trace.naming.won is not None
    assert trace.naming.won.name == "shop.test."
