"""CoreDNS as a Deployment: two replicas, rolled, scaled and killed while pods ask; its Corefile edited."""

import asyncio
import itertools
import json
import os
import re
import sys
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from podwire.testing.cluster import Cluster
from podwire.testing.launch import launch
from tests.needs import need
from tests.system.until import Json, items, until

pytestmark = pytest.mark.system

CONFIG = """\
kind: Cluster
apiVersion: podwire.dev/v1alpha1
nodes: [{{role: worker}}, {{role: worker}}, {{role: worker}}]
networking: {{kubeProxyMode: {mode}}}
"""
CLIENTS = {"beside": "node-1", "alone": "node-3"}
CLIENT = """
apiVersion: v1
kind: Pod
metadata: {name: %s}
spec:
  nodeName: %s
  terminationGracePeriodSeconds: 0
  containers: [{name: main, image: podwire/shell:test, command: [sleep, infinity]}]
"""
SYSTEM = "/api/v1/namespaces/kube-system"
DEPLOYMENT = "/apis/apps/v1/namespaces/kube-system/deployments/coredns"
CONFIG_MAP = f"{SYSTEM}/configmaps/coredns"
SLICES = "/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices"
DNS = "10.96.0.10"
NAME = "kubernetes.default.svc.cluster.local"
PROGRAM = Path(__file__).with_name("dns_load_program.py").read_text(encoding="utf-8")
_numbers = itertools.count()


@pytest.fixture(scope="module", params=["userspace", "nftables"])
def cluster(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """Give a cluster with a client on a node with a replica, and one on a node without."""
    mode = str(request.param)
    need("dig", "getent", *(("nft",) if mode == "nftables" else ()))
    folder = tmp_path_factory.mktemp("dns-life")
    config = folder / "cluster.yaml"
    config.write_text(CONFIG.format(mode=mode))
    made = launch(f"dns-life-{mode}-{os.getpid()}", folder, config=config)
    try:
        asyncio.run(fill(made.cluster))
        yield made.cluster
    finally:
        made.end()


async def fill(cluster: Cluster) -> None:
    await cluster.apply("---".join(CLIENT % client for client in CLIENTS.items()))
    await cluster.ready(*CLIENTS)


@dataclass(slots=True)
class Asked:
    """There when its block has ended: how often each way asked, and what was not answered."""

    counts: dict[str, int] = field(default_factory=dict[str, int])
    failures: list[str] = field(default_factory=list[str])


@asynccontextmanager
async def asking(cluster: Cluster) -> AsyncGenerator[Asked]:
    """Have both clients ask without pause inside the block."""
    result = Asked()
    folder = f"/tmp/dns-load-{next(_numbers)}"
    pods = [cluster.pod(name) for name in CLIENTS]
    argv = (sys.executable, "-I", "-c", PROGRAM, DNS, NAME, folder)
    begun = " && ".join(f"[ -e {folder}/{way} ]" for way in ("udp", "port", "tcp", "dig", "getent"))
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(pod.exec(*argv)) for pod in pods]
        try:
            for pod in pods:
                await pod.exec("timeout", "10", "sh", "-c", f"until {begun}; do sleep 0.05; done")
            yield result
        finally:
            for pod in pods:
                await pod.exec("touch", f"{folder}/stop")
    for name, done in zip(CLIENTS, running, strict=True):
        for way, said in json.loads((await done).stdout).items():
            result.counts[way] = result.counts.get(way, 0) + said["asked"]
            result.failures += [f"{name}: {one}" for one in said["failures"]]


async def replicas(cluster: Cluster) -> list[Json]:
    return await cluster.pods("k8s-app=kube-dns", namespace="kube-system")


def ready(pods: list[Json]) -> set[str]:
    return {
        str(pod["metadata"]["name"])
        for pod in pods
        if not pod["metadata"].get("deletionTimestamp")
        and any(
            one["type"] == "Ready" and one["status"] == "True"
            for one in pod["status"].get("conditions") or ()
        )
    }


async def become(cluster: Cluster, number: int, *, other_than: set[str] | None = None) -> set[str]:
    """Return the names of the replicas when there are so many, all ready and in the Service."""
    found = set[str]()

    def whole(listing: Json | None) -> bool:
        nonlocal found
        found = ready(items(listing))
        return len(items(listing)) == len(found) == number and not found & (other_than or set())

    def published(listing: Json | None) -> bool:
        ends = [
            end["targetRef"]["name"]
            for one in items(listing)
            if one["metadata"]["labels"].get("kubernetes.io/service-name") == "kube-dns"
            for end in one.get("endpoints") or ()
        ]
        return set(ends) == found

    await until(
        cluster,
        f"{SYSTEM}/pods?labelSelector=k8s-app%3Dkube-dns",
        whole,
        f"there are {number} replicas, all ready",
        limit=40,
    )
    await until(cluster, SLICES, published, "the Service has all of them")
    return found


async def restart(cluster: Cluster) -> None:
    """Do what `kubectl rollout restart` does."""
    notes = {"kubectl.kubernetes.io/restartedAt": f"{time.time():f}"}
    change = {"spec": {"template": {"metadata": {"annotations": notes}}}}
    await cluster.call(lambda c: c.patch(DEPLOYMENT, change))


async def edit(cluster: Cluster, old: str, new: str) -> str:
    """Edit the Corefile as `kubectl edit` does; returns what it was."""
    text: str = (await cluster.get(CONFIG_MAP))["data"]["Corefile"]
    assert old in text
    await write(cluster, text.replace(old, new))
    return text


async def write(cluster: Cluster, text: str) -> None:
    """Write the Corefile, and wait until each replica has it in its folder."""
    await cluster.call(lambda c: c.patch(CONFIG_MAP, {"data": {"Corefile": text}}))
    script = 'until [ "$(cat /etc/coredns/Corefile; echo .)" = "$0" ]; do sleep 0.05; done'
    for pod in await replicas(cluster):
        there = cluster.pod(f"kube-system/{pod['metadata']['name']}")
        await there.exec("timeout", "20", "sh", "-c", script, f"{text}.")


async def reload(cluster: Cluster, outcome: str) -> None:
    """Ask each replica to read its Corefile, and wait until its log says *outcome*."""
    for pod in await replicas(cluster):
        there = cluster.pod(f"kube-system/{pod['metadata']['name']}")
        before = len(await there.logs())
        await there.exec("kill", "-USR1", "1")
        async with asyncio.timeout(20):
            while not re.search(outcome, (await there.logs())[before:]):
                pass


async def rcode(cluster: Cluster, name: str) -> str:
    said = await cluster.pod("alone").exec("dig", "+tries=1", "+time=3", name, check=False)
    found = re.search(r"status: (\w+)", said.stdout.decode())
    return found[1] if found else "none"


async def test_the_two_replicas_are_on_two_nodes(cluster: Cluster) -> None:
    await become(cluster, 2)
    nodes = {pod["spec"]["nodeName"] for pod in await replicas(cluster)}
    assert len(nodes) == 2
    said = await cluster.get(DEPLOYMENT)
    assert said["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 1


async def test_a_rolling_restart_loses_no_answer(cluster: Cluster) -> None:
    before = await become(cluster, 2)
    async with asking(cluster) as asked:
        await restart(cluster)
        after = await become(cluster, 2, other_than=before)
    assert len(after) == 2
    assert not asked.failures
    assert min(asked.counts.values()) > 0, asked.counts


async def test_scaling_loses_no_answer_as_long_as_one_is_left(cluster: Cluster) -> None:
    await become(cluster, 2)
    async with asking(cluster) as asked:
        await cluster.scale("kube-system/coredns", 3)
        await become(cluster, 3)
        await cluster.scale("kube-system/coredns", 1)
        await become(cluster, 1)
        await cluster.scale("kube-system/coredns", 2)
        await become(cluster, 2)
    assert not asked.failures


async def test_an_edited_corefile_is_served_and_a_broken_one_is_not(cluster: Cluster) -> None:
    await become(cluster, 2)
    pod = "10-1-2-3.default.pod.cluster.local"
    assert await rcode(cluster, pod) == "NOERROR"
    kept = await edit(cluster, "pods insecure", "pods disabled")
    try:
        async with asking(cluster) as asked:
            await reload(cluster, "Reloading complete")
            assert await rcode(cluster, pod) == "NXDOMAIN"
            await edit(cluster, "pods disabled", "pods insecure\n       nonsense")
            await reload(cluster, r"Restart failed: .*Corefile:\d+ - .*nonsense")
            assert await rcode(cluster, pod) == "NXDOMAIN"
        assert not asked.failures
    finally:
        await write(cluster, kept)
    await reload(cluster, "Reloading complete")
    assert await rcode(cluster, pod) == "NOERROR"


async def test_the_reload_plugin_sees_an_edit_by_itself(cluster: Cluster) -> None:
    await become(cluster, 2)
    kept = await edit(cluster, "    reload\n", "    reload 2s 1s\n")
    pod = "10-1-2-3.default.pod.cluster.local"
    await reload(cluster, "Reloading complete")
    await edit(cluster, "pods insecure", "pods disabled")
    async with asyncio.timeout(20):
        while {await rcode(cluster, pod) for _ in range(8)} != {"NXDOMAIN"}:
            pass
    await write(cluster, kept)
    await reload(cluster, "Reloading complete")
    assert await rcode(cluster, pod) == "NOERROR"


# Last: the kernel's UDP flows to replicas that were there before are forgotten a moment later.
async def test_without_a_replica_nobody_answers_and_the_trace_says_why(cluster: Cluster) -> None:
    await become(cluster, 2)
    await cluster.scale("kube-system/coredns", 0)
    await become(cluster, 0)
    try:
        assert await rcode(cluster, NAME) == "none"
        trace = await cluster.trace("alone", "http://kubernetes", timeout=3)
        if "and yet" in trace.reason:  # a proxy had not yet heard of it
            trace = await cluster.trace("alone", "http://kubernetes", timeout=3)
        assert trace.verdict == "refuted", trace
        assert "cluster DNS: Service kube-system/kube-dns has no ready endpoints" in trace.reason
        assert "next: kubectl -n kube-system get pods -l k8s-app=kube-dns" in trace.reason
    finally:
        await cluster.scale("kube-system/coredns", 2)
        await become(cluster, 2)
    assert await rcode(cluster, NAME) == "NOERROR"
