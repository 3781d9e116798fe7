"""`trace` on a real cluster: what is right is confirmed, what is broken names its hop and reason."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

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
    assert "kube-dns" in trace.reason or "10.96.0.10" in trace.reason


@both_runtimes
async def test_an_unknown_name_is_refuted_as_nxdomain(cluster: Cluster) -> None:
    await web_and_client(cluster)
    trace = await cluster.trace("client", "http://web-scv")
    assert trace.verdict == "refuted", trace
    assert "there is no Service web-scv" in trace.reason


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
