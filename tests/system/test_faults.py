"""kill -9 of every kind of process: the cluster is gone without a trace, or made whole again."""

import asyncio
import contextlib
import os
import signal
from pathlib import Path

import pytest

from podwire.errors import PodwireError
from podwire.testing.cluster import Cluster, Pod
from tests.system import processes
from tests.system.command_line import User
from tests.system.conftest import CLIENT, WEB
from tests.system.until import LIMIT, Json, containers, items, pod_path, until

# One backend, away from the nodes of the clients.
WEB_SERVICE = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      nodeName: node-3
      containers: [{name: web, image: podwire/web}]
---
apiVersion: v1
kind: Service
metadata: {name: web-svc}
spec:
  selector: {app: web}
  ports: [{port: 80}]
"""


# --- kill -9 of what holds the cluster -------------------------------------------------------------


@pytest.mark.parametrize(
    "victim",
    ["podwire-anchor", "podwire-keeper", "podwire-init", "podwire-zygote", "podwire-control"],
)
def test_kill_9_of_a_process_that_holds_the_cluster_leaves_no_trace(
    user: User, tmp_path: Path, victim: str
) -> None:
    (tmp_path / "web.yaml").write_text(WEB)
    before = processes.host_state()
    user.up("-f", str(tmp_path / "web.yaml"))
    there = processes.of_cluster(user.cluster)
    assert len(there) > 12, there
    os.kill(processes.named(there, victim).pid, signal.SIGKILL)
    processes.wait_for_end(there)
    assert not processes.leftovers(user.cluster)
    assert processes.host_state() == before
    processes.close(there)
    # A context may be left; the next command of any kind takes it out.
    assert user.files() <= {".kube/config"}
    assert user.cluster not in user.podwire("ls").stdout
    assert user.cluster not in user.contexts()


def test_kill_9_of_everything_at_once_leaves_no_trace(user: User) -> None:
    user.up()
    there = processes.of_cluster(user.cluster)
    for process in there:
        with contextlib.suppress(ProcessLookupError):  # its parent was first
            os.kill(process.pid, signal.SIGKILL)
    processes.wait_for_end(there)
    assert not processes.leftovers(user.cluster)
    processes.close(there)


def test_a_context_of_a_dead_cluster_is_pruned_and_those_of_others_are_kept(user: User) -> None:
    user.kubeconfig.parent.mkdir()
    user.kubeconfig.write_text(
        "apiVersion: v1\nkind: Config\ncurrent-context: work\n"
        "clusters: [{name: work, cluster: {server: 'https://work.example'}}]\n"
        "users: [{name: me, user: {token: t}}]\n"
        "contexts: [{name: work, context: {cluster: work, user: me}}]\n"
    )
    user.up()
    there = processes.of_cluster(user.cluster)
    os.kill(processes.named(there, "podwire-anchor").pid, signal.SIGKILL)
    processes.wait_for_end(there)
    processes.close(there)
    assert f"podwire-{user.cluster}" in user.contexts()
    # Not a word about the dead cluster: any command prunes.
    assert user.podwire("version").returncode == 0
    user.podwire("status")
    assert user.cluster not in user.contexts()
    assert "https://work.example" in user.contexts()
    assert "current-context: work" in user.contexts()


# --- kill -9 of what the kubelet brings back -------------------------------------------------------


def process_of(cluster: Cluster, network: str) -> processes.Process:
    """Return the first process of the container in a network namespace; the caller need not close it."""
    there = processes.of_cluster(cluster.name)
    found = processes.first_process(there, network)
    processes.close(process for process in there if process is not found)
    return found


async def network_of(place: Pod) -> str:
    return (await place.exec("readlink", "/proc/self/ns/net")).stdout.decode().strip()


async def kill_once(
    cluster: Cluster, name: str, network: str, namespace: str = "kube-system"
) -> Json:
    """Kill a pod's container and return the pod when it has taken note of that."""
    path = pod_path(cluster, name, namespace)
    before = containers(await cluster.get(path))[0]["restartCount"]
    end(process_of(cluster, network))
    pod = await until(
        cluster,
        path,
        lambda found: is_restarted(found, before) or is_waiting(found),
        f"{name} was restarted, or waits for it",
    )
    assert pod is not None
    return pod


def is_restarted(pod: Json | None, before: int) -> bool:
    return any(one["restartCount"] > before and one["ready"] for one in containers(pod))


def is_waiting(pod: Json | None) -> bool:
    return any(
        one["state"].get("waiting", {}).get("reason") == "CrashLoopBackOff"
        for one in containers(pod)
    )


async def outcome(cluster: Cluster, client: str, url: str) -> int:
    """Return curl's exit status: 0 answered, 6 no such name, 7 refused, 28 timed out."""
    curl = ("curl", "-s", "-o", "/dev/null", "--max-time", "1.5", url)
    return (await cluster.pod(client).exec(*curl, check=False)).exit_code


async def until_answered(cluster: Cluster, client: str, url: str) -> None:
    async with asyncio.timeout(LIMIT):
        while await outcome(cluster, client, url) != 0:
            pass


def client_on(node: str) -> str:
    """Return a client pod on *node*, with its name."""
    return CLIENT.replace("name: client}", f"name: client-{node}}}", 1).replace(
        "spec:", f"spec:\n  nodeName: {node}", 1
    )


async def test_a_killed_proxy_fails_services_of_its_node_only_until_it_is_back(
    podwire_cluster: Cluster,
) -> None:
    cluster = podwire_cluster
    await cluster.apply("---".join([WEB_SERVICE, client_on("node-1"), client_on("node-2")]))
    await cluster.ready()
    service = await cluster.get("/api/v1/namespaces/default/services/web-svc")
    url = f"http://{service['spec']['clusterIP']}/"
    proxy = await cluster.pods("k8s-app=kube-proxy", namespace="kube-system")
    name = next(p["metadata"]["name"] for p in proxy if p["spec"]["nodeName"] == "node-2")
    network = await network_of(cluster.node("node-2"))

    pod = await kill_once(cluster, name, network)
    assert containers(pod)[0]["lastState"]["terminated"]["exitCode"] == 137
    await until_answered(cluster, "client-node-2", url)

    # The second time the kubelet waits for ten seconds: time to look.
    pod = await kill_once(cluster, name, network)
    assert is_waiting(pod)
    assert await outcome(cluster, "client-node-2", url) == 7
    assert await outcome(cluster, "client-node-1", url) == 0
    backend = (await cluster.pods("app=web"))[0]["status"]["podIP"]
    assert await outcome(cluster, "client-node-2", f"http://{backend}/") == 0

    await cluster.delete(f"pod/kube-system/{name}", grace=0)
    await until_answered(cluster, "client-node-2", url)


async def replicas_of_dns(cluster: Cluster, number: int) -> list[Json]:
    """Return the pods of CoreDNS when there are so many."""
    found = await until(
        cluster,
        "/api/v1/namespaces/kube-system/pods?labelSelector=k8s-app%3Dkube-dns",
        lambda listing: len(items(listing)) == number,
        f"CoreDNS has {number} replicas",
    )
    return items(found)


async def test_with_the_only_coredns_killed_names_stop_resolving_until_it_is_back(
    podwire_cluster: Cluster,
) -> None:
    cluster = podwire_cluster
    await cluster.apply(WEB_SERVICE + "---" + CLIENT)
    await cluster.ready()
    await cluster.scale("kube-system/coredns", 1)
    service = await cluster.get("/api/v1/namespaces/default/services/web-svc")
    (dns,) = await replicas_of_dns(cluster, 1)
    name = dns["metadata"]["name"]
    await until_answered(cluster, "client", "http://web-svc/")
    network = await network_of(cluster.pod(f"kube-system/{name}"))

    pod = await kill_once(cluster, name, network)
    assert pod["status"]["podIP"] == dns["status"]["podIP"]
    await until_answered(cluster, "client", "http://web-svc/")

    pod = await kill_once(cluster, name, network)
    assert is_waiting(pod)
    assert await outcome(cluster, "client", "http://web-svc/") in (6, 28)
    assert await outcome(cluster, "client", f"http://{service['spec']['clusterIP']}/") == 0

    await cluster.delete(f"pod/kube-system/{name}", grace=0)
    await until_answered(cluster, "client", "http://web-svc/")


async def test_with_one_of_two_coredns_killed_names_are_resolved_by_the_other(
    podwire_cluster: Cluster,
) -> None:
    cluster = podwire_cluster
    await cluster.apply(WEB_SERVICE + "---" + CLIENT)
    await cluster.ready()
    dns, _ = await replicas_of_dns(cluster, 2)
    name = dns["metadata"]["name"]
    network = await network_of(cluster.pod(f"kube-system/{name}"))
    await kill_once(cluster, name, network)
    pod = await kill_once(cluster, name, network)
    assert is_waiting(pod)
    # Questions that were under way may be lost; then all go to the other.
    in_a_row = 0
    async with asyncio.timeout(LIMIT):
        while in_a_row < 20:
            answered = await outcome(cluster, "client", "http://web-svc/") == 0
            in_a_row = in_a_row + 1 if answered else 0


async def test_a_killed_container_is_restarted_with_the_pods_address(cluster: Cluster) -> None:
    await cluster.apply(WEB_SERVICE)
    await cluster.ready("web")
    before = (await cluster.pods("app=web"))[0]
    name = before["metadata"]["name"]
    network = await network_of(cluster.pod(name))
    pod = await kill_once(cluster, name, network, cluster.namespace)
    assert pod["metadata"]["uid"] == before["metadata"]["uid"]
    assert pod["status"]["podIP"] == before["status"]["podIP"]
    assert await network_of(cluster.pod(name)) == network
    ended = containers(pod)[0]["lastState"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (137, "Error")


async def test_a_killed_recorder_is_an_error_and_a_killed_agent_is_started_again(
    podwire_cluster: Cluster,
) -> None:
    cluster = podwire_cluster
    # The agent has forked a process for this capture.
    with pytest.raises(PodwireError, match="the capture broke off"):
        async with cluster.capture("external"):
            end(capture_process(cluster, forked_by="capture"))
    async with cluster.capture("external") as packets:
        # A capture that runs needs the agent no more.
        end(capture_process(cluster, forked_by="podwire-zygote"))
        await cluster.external.get("http://localhost/")
    assert packets
    async with cluster.capture("external") as packets:
        await cluster.external.get("http://localhost/")
    assert packets


async def test_what_fails_during_a_capture_is_raised_as_it_is(cluster: Cluster) -> None:
    with pytest.raises(LookupError):
        async with cluster.capture("external"):
            raise LookupError


def capture_process(cluster: Cluster, *, forked_by: str) -> processes.Process:
    there = processes.of_cluster(cluster.name)
    names = {process.pid: process.name for process in there}
    found = [p for p in there if p.name == "capture" and names.get(p.parent) == forked_by]
    processes.close(process for process in there if process not in found)
    assert len(found) == 1, found
    return found[0]


def end(process: processes.Process) -> None:
    """Kill a process, return when it has ended, and let go of it."""
    os.kill(process.pid, signal.SIGKILL)
    processes.wait_for_end([process])
    processes.close([process])
