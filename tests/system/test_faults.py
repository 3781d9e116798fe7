"""What breaks, is killed, or was wrong from the start: a clear message, and nothing left behind."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from podwire.errors import PodwireError
from podwire.testing.cluster import Cluster, Pod
from tests.system import processes
from tests.system.command_line import User
from tests.system.conftest import CLIENT
from tests.system.until import LIMIT, Json, containers, pod_path, until

WEB = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: web, image: podwire/web}, {name: shell, image: busybox, command: [sleep, infinity]}]
"""


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


@pytest.fixture
def user(tmp_path: Path) -> Iterator[User]:
    """Give a user whose cluster is ended after the test, whatever happened."""
    somebody = User(tmp_path / "home", f"fault-{uuid.uuid4().hex[:8]}")
    yield somebody
    somebody.podwire("down")
    assert not processes.leftovers(somebody.cluster)


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


async def test_with_coredns_killed_names_stop_resolving_until_it_is_back(
    podwire_cluster: Cluster,
) -> None:
    cluster = podwire_cluster
    await cluster.apply(WEB_SERVICE + "---" + CLIENT)
    await cluster.ready()
    service = await cluster.get("/api/v1/namespaces/default/services/web-svc")
    dns = (await cluster.pods("k8s-app=kube-dns", namespace="kube-system"))[0]
    name = dns["metadata"]["name"]
    assert await outcome(cluster, "client", "http://web-svc/") == 0
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


# --- an `up` that is interrupted -------------------------------------------------------------------

# What `up` has just said when it happens; "name" is the moment at which the name is taken.
MOMENTS = ["name", "network of", "libraries loaded", "API server answers", "context", "applied"]


@contextlib.contextmanager
def at(user: User, moment: str, *words: str) -> Generator["subprocess.Popen[str]", None, None]:
    """Give an `up` that has come as far as *moment*."""
    with user.starting(*words) as up:
        assert up.stderr is not None
        if moment == "name":
            wanted = f"@podwire/{os.getuid()}/{user.cluster}"
            while wanted not in Path("/proc/net/unix").read_text(encoding="utf-8"):
                assert up.poll() is None, up.stderr.read()
        else:
            said = ""
            while moment not in said:
                line = up.stderr.readline()
                assert line, f"up ended before {moment!r}: {said}"
                said += line
        yield up


@pytest.mark.parametrize("moment", MOMENTS)
def test_ctrl_c_during_up_leaves_nothing(user: User, tmp_path: Path, moment: str) -> None:
    (tmp_path / "web.yaml").write_text(WEB)
    with at(user, moment, "-f", str(tmp_path / "web.yaml")) as up:
        os.killpg(up.pid, signal.SIGINT)  # a terminal sends it to the whole group
        _out, said = up.communicate(timeout=20)
    assert up.returncode == 130, said
    assert "interrupted" in said
    assert "Traceback" not in said
    assert not processes.leftovers(user.cluster)
    assert user.cluster not in user.contexts()
    assert user.files() <= {".kube/config"}


@pytest.mark.parametrize("moment", MOMENTS)
def test_kill_9_of_up_in_the_middle_leaves_nothing(user: User, tmp_path: Path, moment: str) -> None:
    (tmp_path / "web.yaml").write_text(WEB)
    with at(user, moment, "-f", str(tmp_path / "web.yaml")) as up:
        there = processes.of_cluster(user.cluster)
        up.kill()
        up.communicate(timeout=20)
    processes.wait_for_end(there)
    # What was being forked at that moment was not in our list; it goes with its parent.
    wait_for_nothing_left(user.cluster)
    processes.close(there)
    user.podwire("ls")
    assert user.cluster not in user.contexts()


def wait_for_nothing_left(cluster: str, limit: float = 10.0) -> None:
    deadline = time.monotonic() + limit
    while left := processes.leftovers(cluster):
        assert time.monotonic() < deadline, left


def test_a_manifest_that_the_server_refuses_ends_the_cluster_and_names_the_place(
    user: User, tmp_path: Path
) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(WEB + "---\n" + WEB.replace("name: web}", "name: Web_1}", 1))
    done = user.podwire("up", "-f", str(file))
    assert done.returncode == 1, done.stderr
    line = WEB.count("\n") + 2
    assert f"{file}:{line}:1: Deployment 'Web_1' refused:" in done.stderr
    assert not processes.leftovers(user.cluster)
    assert user.cluster not in user.contexts()


# --- what is there already -------------------------------------------------------------------------


def test_a_second_up_of_the_same_name_is_refused_and_harms_nothing(user: User) -> None:
    user.up()
    there = {process.pid for process in processes.of_cluster(user.cluster)}
    again = user.podwire("up")
    assert again.returncode == 1
    assert f"a cluster named '{user.cluster}' runs already" in again.stderr
    assert "podwire down" in again.stderr
    assert user.podwire("status").returncode == 0
    assert there == {process.pid for process in processes.of_cluster(user.cluster)}


def test_two_ups_of_the_same_name_at_once_make_one_cluster(user: User) -> None:
    with user.starting() as one, user.starting() as two:
        said = [up.communicate(timeout=60)[1] for up in (one, two)]
    assert sorted([one.returncode, two.returncode]) == [0, 1], said
    assert user.podwire("status").returncode == 0


def test_an_api_port_in_use_is_named(user: User, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        config = tmp_path / "cluster.yaml"
        config.write_text(
            "kind: Cluster\napiVersion: podwire.dev/v1alpha1\n"
            f"networking: {{apiServerPort: {port}}}\n"
        )
        done = user.podwire("up", "--config", str(config))
    assert done.returncode == 1
    assert f"127.0.0.1:{port}" in done.stderr
    assert "apiServerPort" in done.stderr
    assert not processes.leftovers(user.cluster)
    assert user.files() == set()


def test_clusters_by_name_do_not_see_each_other(user: User, tmp_path: Path) -> None:
    other = User(tmp_path / "other", f"{user.cluster}-b")
    (tmp_path / "web.yaml").write_text(WEB)
    try:
        user.up("-f", str(tmp_path / "web.yaml"))
        other.up()
        assert "web-" in podwire_get(user, "pods")
        assert podwire_get(other, "pods") == ""
        assert {user.cluster, other.cluster} <= set(user.podwire("ls", "-o", "name").stdout.split())
        # The same addresses in both worlds, and no way from one to the other.
        address = podwire_get(user, "pods", "{.items[0].status.podIP}")
        curl = ("curl", "-s", "-o", "/dev/null", "--max-time", "1.5", f"http://{address}/")
        assert user.podwire("exec", "node/node-1", "--", *curl).returncode == 0
        assert other.podwire("exec", "node/node-1", "--", *curl).returncode in (7, 28)
        assert other.podwire("down").returncode == 0
        assert user.podwire("status").returncode == 0
    finally:
        other.podwire("down")


def podwire_get(user: User, what: str, path: str = "{.items[*].metadata.name}") -> str:
    done = subprocess.run(
        ["kubectl", "get", what, "-o", f"jsonpath={path}", "--cache-dir", str(user.temporary)],
        env=user.environ,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_nothing_of_the_host_changes(user: User, tmp_path: Path) -> None:
    (tmp_path / "web.yaml").write_text(WEB)
    before = processes.host_state()
    user.up("-f", str(tmp_path / "web.yaml"))
    assert processes.host_state() == before
    there = processes.of_cluster(user.cluster)
    assert user.podwire("down").returncode == 0
    processes.wait_for_end(there)
    assert processes.host_state() == before
    assert not processes.leftovers(user.cluster)
    processes.close(there)
    assert user.files() <= {".kube/config"}
    assert user.cluster not in user.contexts()


# --- files that make no sense ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("kind: Pod\n  name: a\n", "2:7", "mapping values are not allowed"),
        ("kind: Pod\nmetadata: {name: a\nspec: 1\n", "3:5", ""),
        ("apiVersion: v1\nkind: Pod\nkind: Pod\nmetadata: {name: a}\n", "3:1", "twice"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {labels: {a: b}}\n", "3:1", "name is missing"),
        ("- 1\n", "1:1", "a Kubernetes object is expected"),
    ],
    ids=["indentation", "bracket", "twice", "nameless", "no object"],
)
def test_a_broken_manifest_is_named_with_line_and_column(
    user: User, tmp_path: Path, text: str, place: str, words: str
) -> None:
    file = tmp_path / "broken.yaml"
    file.write_text(text)
    done = user.podwire("up", "-f", str(file))
    assert done.returncode == 64, done.stderr
    assert f"podwire: {file}:{place}: " in done.stderr
    assert words in done.stderr
    assert user.files() == set()


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("networks: {}\n", "3:1", "networks"),
        ("networking:\n  podSubnet: 10.244.0.0/33\n", "4:3", "podSubnet"),
        ("nodes:\n- role: worker\n  image: kindest/node\n", "5:3", "image"),
        ("networking: {kubeProxyMode: ebpf}\n", "3:14", "kubeProxyMode"),
        ("\tname: a\n", "3:1", ""),
    ],
    ids=["unknown", "subnet", "kind's own", "mode", "tab"],
)
def test_a_broken_configuration_is_named_with_line_and_column(
    user: User, tmp_path: Path, text: str, place: str, words: str
) -> None:
    file = tmp_path / "cluster.yaml"
    file.write_text("kind: Cluster\napiVersion: podwire.dev/v1alpha1\n" + text)
    done = user.podwire("up", "--config", str(file))
    assert done.returncode == 64, done.stderr
    assert f"podwire: {file}:{place}: " in done.stderr
    assert words in done.stderr
    assert user.files() == set()


# --- a machine that lacks something ----------------------------------------------------------------

# A mount namespace in which what follows is true, for this user and without being root.
IN_OWN_MOUNTS = ("unshare", "--user", "--map-current-user", "--keep-caps", "--mount", "sh", "-c")


def test_without_a_packet_filter_up_ends_with_69_and_the_command_that_helps(
    user: User, tmp_path: Path
) -> None:
    links = tmp_path / "bin"
    links.mkdir()
    for folder in reversed(os.environ["PATH"].split(":")):
        for program in Path(folder).iterdir() if Path(folder).is_dir() else ():
            if not program.name.startswith(("nft", "iptables", "xtables")):
                (links / program.name).unlink(missing_ok=True)
                (links / program.name).symlink_to(program.resolve())
    hide = "mount -t tmpfs none /usr/sbin && { [ -L /sbin ] || mount -t tmpfs none /sbin; }"
    script = f'{hide} && PATH={links} && exec "$@"'
    done = user.podwire("up", wrapper=(*IN_OWN_MOUNTS, script, "sh"))
    assert done.returncode == 69, done.stderr
    assert "neither nft nor iptables" in done.stderr
    assert "nftables" in done.stderr
    assert user.files() == set()


def test_a_full_disk_ends_a_capture_with_a_message_and_without_the_file(
    user: User, tmp_path: Path
) -> None:
    user.up()
    disk = tmp_path / "disk"
    disk.mkdir()
    traffic = user.starting_exec("external", "sh", "-c", "while echo; do curl -s localhost; done")
    script = (
        f'mount -t tmpfs -o size=64k none {disk} && "$@"; status=$?; ls -A {disk}; exit $status'
    )
    with traffic:
        done = user.podwire(
            "capture",
            "external",
            "-w",
            f"{disk}/all.pcapng",
            wrapper=(*IN_OWN_MOUNTS, script, "sh"),
        )
        traffic.kill()
    assert done.returncode == 1, done.stderr
    assert f"cannot write {disk}/all.pcapng: No space left on device" in done.stderr
    assert "all.pcapng" not in done.stdout
    assert user.podwire("status").returncode == 0


def test_a_device_as_a_captures_file_is_not_removed(user: User, tmp_path: Path) -> None:
    user.up()
    link = tmp_path / "full"
    link.symlink_to("/dev/full")
    done = user.podwire("capture", "external", "-w", str(link), "--duration", "5")
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert link.is_symlink()
