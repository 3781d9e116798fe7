"""`podwire dns query`, and the same for tests: what pods get from cluster DNS, and what it costs."""

import json
import shutil
import subprocess

import pytest

from podwire.errors import ApiError, UsageError
from podwire.testing.cluster import Cluster
from podwire.testing.lookups import NoData
from tests.system.conftest import CLIENT, WEB, both_runtimes

# More addresses than fit into 512 bytes, which is what glibc offers to take.
MANY = """
apiVersion: v1
kind: Service
metadata: {name: many}
spec: {clusterIP: None, ports: [{port: 80, name: http}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: many-1, labels: {kubernetes.io/service-name: many}}
addressType: IPv4
ports: [{port: 80, name: http, protocol: TCP}]
endpoints:
""" + "".join(f"- {{addresses: [10.244.1.{number}]}}\n" for number in range(100, 160))

EXTERNAL_NAME = """
apiVersion: v1
kind: Service
metadata: {name: alias}
spec: {type: ExternalName, externalName: %s}
"""

TUNED = CLIENT.replace("name: client", "name: tuned").replace(
    "spec:", "spec:\n  dnsConfig: {options: [{name: ndots, value: '1'}], searches: [corp.test]}"
)


async def web_and_client(cluster: Cluster, *more: str) -> str:
    """Start both; return what their names in DNS end with."""
    await cluster.apply("---".join([WEB, CLIENT, *more]))
    await cluster.ready("web", "client")
    return f"{cluster.namespace}.svc.cluster.local."


@both_runtimes
async def test_one_question(cluster: Cluster) -> None:
    suffix = await web_and_client(cluster)
    path = f"/api/v1/namespaces/{cluster.namespace}/services/web-svc"
    address = (await cluster.get(path))["spec"]["clusterIP"]
    reply = (await cluster.pod("client").dns(f"web-svc.{suffix}")).check()
    assert reply.addresses == (address,)
    assert (reply.status, reply.transport, reply.server) == ("NOERROR", "UDP", "10.96.0.10")
    assert reply.message is not None
    assert "aa" in reply.message.flags
    over_tcp = await cluster.pod("client").dns(f"web-svc.{suffix}", tcp=True)
    assert (over_tcp.addresses, over_tcp.transport) == ((address,), "TCP")
    name = await cluster.pod("client").dns(address, "PTR")
    assert name.values == (f"web-svc.{suffix}",)
    none = await cluster.pod("client").dns(f"web-svc.{suffix}", "AAAA")
    assert none.status == "NODATA"
    assert none.message is not None
    assert [record.kind for record in none.message.authority] == ["SOA"]
    with pytest.raises(NoData, match="NODATA"):
        none.check()


async def test_a_name_that_does_not_exist_has_a_hint(cluster: Cluster) -> None:
    suffix = await web_and_client(cluster)
    reply = await cluster.pod("client").dns(f"web-scv.{suffix}")
    assert reply.status == "NXDOMAIN"
    assert "did you mean web-svc?" in reply.hint


async def test_the_walk_of_a_name_with_four_dots(cluster: Cluster) -> None:
    suffix = await web_and_client(cluster)
    name = f"web-svc.{suffix}".removesuffix(".")
    walk = (await cluster.pod("client").dns_walk(name)).check()
    assert walk.won == f"{name}."
    assert [step.name for step in walk.steps] == [
        f"{name}.{suffix}", f"{name}.svc.cluster.local.", f"{name}.cluster.local.", f"{name}.",
    ]  # fmt: skip
    statuses = [[reply.status for reply in step.replies] for step in walk.steps]
    assert statuses == [["NXDOMAIN", "NXDOMAIN"]] * 3 + [["NOERROR", "NODATA"]]
    assert (walk.queries, walk.wasted) == (8, 6)
    assert "fewer than ndots:5" in walk.why
    assert f'"{name}." with its dot takes 2' in walk.hint
    assert len((await cluster.pod("client").dns_walk(f"{name}.")).steps) == 1


@both_runtimes
async def test_the_walk_is_the_one_of_the_pods_own_resolv_conf(cluster: Cluster) -> None:
    suffix = await web_and_client(cluster, TUNED)
    await cluster.ready("tuned")
    walk = await cluster.pod("tuned").dns_walk(f"web-svc.{cluster.namespace}", "A")
    assert walk.resolv.ndots == 1
    assert walk.candidates[0] == f"web-svc.{cluster.namespace}."
    assert f"web-svc.{cluster.namespace}.corp.test." in walk.candidates
    assert walk.won == f"web-svc.{suffix}"
    assert "not fewer than ndots:1" in walk.why


@both_runtimes
async def test_what_does_not_fit_comes_over_tcp(cluster: Cluster) -> None:
    suffix = await web_and_client(cluster, MANY)
    walk = await cluster.pod("client").dns_walk("many", "A")
    (reply,) = walk.replies
    assert (reply.transport, len(reply.addresses)) == ("TCP", 60)
    assert 0 < reply.cut <= 512
    # With EDNS, as dig asks, it fits.
    asked = await cluster.pod("client").dns(f"many.{suffix}")
    assert (asked.transport, len(asked.addresses), asked.cut) == ("UDP", 60, 0)
    services = await cluster.pod("client").dns(f"_http._tcp.many.{suffix}", "SRV")
    assert (services.transport, len(services.records)) == ("TCP", 60)


async def test_the_chain_behind_an_alias(cluster: Cluster) -> None:
    namespace = cluster.namespace
    target = f"web-svc.{namespace}.svc.cluster.local"
    await web_and_client(cluster, EXTERNAL_NAME % target)
    walk = await cluster.pod("client").dns_walk("alias", "A")
    assert [record.kind for record in walk.replies[0].records] == ["CNAME", "A"]
    assert f"CNAME {target}., {walk.addresses[0]}" in str(walk)


async def test_a_node_asks_too(cluster: Cluster) -> None:
    suffix = await web_and_client(cluster)
    reply = await cluster.node("node-2").dns(f"web-svc.{suffix}")
    assert (reply.status, reply.where) == ("NOERROR", "node-2")
    outside = await cluster.external.dns(f"web-svc.{suffix}", timeout=0.2)
    assert outside.status == "no reply"
    assert outside.sent == 2


async def test_who_cannot_ask(cluster: Cluster) -> None:
    pending = CLIENT.replace("podwire/shell:test", "podwire/no-such-image:test")
    await cluster.apply(pending)
    with pytest.raises(UsageError, match="does not run"):
        await cluster.pod("client").dns("web")
    with pytest.raises(ApiError, match="not found"):
        await cluster.pod("nobody").dns("web")
    with pytest.raises(UsageError, match="no type of record"):
        await cluster.pod("client").dns("web", "ADDRESS")


@both_runtimes
async def test_the_command(cluster: Cluster) -> None:
    suffix = await web_and_client(cluster)
    podwire = shutil.which("podwire") or ".venv/bin/podwire"
    base = [podwire, "--kubeconfig", str(cluster.kubeconfig), "dns", "query"]

    def asked(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*base, *words], capture_output=True, text=True, check=False)

    # Without --from it needs no pod.
    answered = asked(f"web-svc.{suffix}")
    assert answered.returncode == 0, answered.stdout + answered.stderr
    assert "status: NOERROR" in answered.stdout
    assert ";; SERVER: 10.96.0.10#53 (UDP)   kube-system/kube-dns" in answered.stdout
    client = ["--from", f"{cluster.namespace}/client"]
    walked = asked("web-svc", *client, "--walk", "-o", "json")
    assert walked.returncode == 0, walked.stdout + walked.stderr
    found = json.loads(walked.stdout)
    assert (found["won"], found["queries"]) == (f"web-svc.{suffix}", 2)
    short = asked(f"web-svc.{suffix}", "@10.96.0.10", *client, "--short")
    assert short.stdout.split() == found["addresses"]
    assert asked(f"web-scv.{suffix}", *client).returncode == 1
    assert asked(f"web-svc.{suffix}", "AAAA", *client).returncode == 1
    assert asked("a..b", *client).returncode == 64
    assert asked("web-svc", "--from", "nobody").returncode == 64
