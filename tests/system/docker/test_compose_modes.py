"""kube-proxy's modes on containers: what serves, whom a pod sees, and how a live cluster changes."""

import re
import sys
from typing import Any

from tests.system.docker.conftest import Make
from tests.system.docker.project import Project

FILE = ("configmap", "kube-proxy", "-n", "kube-system")
NODES = ("node-a", "node-b")


def client_seen(answer: str) -> str:
    found = re.search(r"Client: ([\d.]+)", answer)
    assert found, answer
    return found[1]


def choose(project: Project, mode: str) -> None:
    """Write *mode* into kube-proxy's file, as `kubectl edit` does."""
    text = project.get(*FILE)["data"]["config.conf"]
    changed = re.sub(r"(?m)^mode: .*$", f"mode: {mode}", text)
    patch = '{"data": {"config.conf": "' + changed.replace('"', '\\"').replace("\n", "\\n") + '"}}'
    project.kubectl_must("patch", *FILE, "--type", "merge", "--patch", patch)


def noted(project: Project) -> list[str]:
    """Return what each Node says of its proxy."""
    nodes: list[dict[str, Any]] = project.get("nodes")["items"]
    words = ("proxy-mode", "pod-network", "source")
    return [
        " ".join(str(node["metadata"]["annotations"].get(f"podwire.dev/{w}")) for w in words)
        for node in nodes
    ]


def becomes(project: Project, mode: str) -> None:
    """Wait until all nodes serve in *mode*, and look at each kind of request once."""
    wanted = [f"{mode} switched kept"] * 2
    project.until(lambda: noted(project), lambda found: found == wanted, f"the mode is {mode}")
    # From one node to the other, found by DNS over UDP: the pod's own address.
    project.until(
        lambda: project.compose("exec", "-T", "client", "curl", "-sfm1", "http://web-svc"),
        lambda done: done.returncode == 0,
        "web-svc serves",
    )
    assert client_seen(project.curl("http://web-svc")[0]) == project.address("client")
    # On one node: the node's, or the answer would not come back by it.
    (answer,) = project.curl(f"http://{project.cluster_ip('web-svc')}", service="coredns")
    assert client_seen(answer) == f"{project.pods}.1.1"
    host = project.engine.on_host("curl", "-sfm5", f"http://127.0.0.1:{project.node_port}/")
    assert client_seen(host.stdout) == f"{project.pods}.1.1"
    # An endpoint that is no pod: the API server's container.
    version = ("curl", "-sfkm5", "https://kubernetes.default.svc/version")
    assert "gitVersion" in project.exec("client", *version)


def programmed(project: Project, node: str) -> set[str]:
    """Return the modes of which there is something in a node's kernel."""
    tables = project.exec(node, "nft", "list", "tables")
    chains = project.exec(node, "iptables-save")
    signs = {
        "nftables": "ip kube-proxy" in tables,
        "iptables": "KUBE-SERVICES" in chains,
        "userspace": "podwire-userspace" in tables,
    }
    return {mode for mode, there in signs.items() if there}


def test_the_mode_of_a_cluster_is_chosen_and_changed(make: Make) -> None:
    project = make(PODWIRE_PROXY_MODE="nftables")
    project.up()
    becomes(project, "nftables")
    assert [programmed(project, node) for node in NODES] == [{"nftables"}] * 2

    choose(project, "iptables")
    # The file is the user's, also after a restart of what has made it.
    project.must("restart", "api")
    project.must("restart", *NODES)
    becomes(project, "iptables")
    assert [programmed(project, node) for node in NODES] == [{"iptables"}] * 2
    localhost = project.exec("node-a", "curl", "-sfm5", "http://127.0.0.1:30080/")
    assert client_seen(localhost) == f"{project.pods}.1.1"

    choose(project, "wrong")
    project.must("restart", "node-b")
    project.settle()
    becomes(project, "iptables")
    said = project.must("logs", "node-b", "--no-log-prefix")
    assert "mode: 'wrong' is not one of" in said
    assert "the mode stays iptables" in said

    choose(project, "userspace")
    pods = ("pods", "-n", "kube-system", "-l", "k8s-app=kube-proxy")
    project.kubectl_must("delete", *pods, "--timeout=30s")
    becomes(project, "userspace")
    project.until(
        lambda: [programmed(project, node) for node in NODES],
        lambda found: found == [{"userspace"}] * 2,
        "nothing of the mode before is left",
    )


def podwire(project: Project, *words: str) -> str:
    """Return what `podwire WORDS` prints on the engine's host."""
    context = ("--context", f"podwire-{project.settings['PODWIRE_CLUSTER']}")
    kubeconfig = f"KUBECONFIG={project.out / 'kubeconfig'}"
    command = (sys.executable, "-P", "-m", "podwire", *words, *context)
    done = project.engine.on_host("env", kubeconfig, *command, limit=100.0)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_modes_are_compared_on_a_live_cluster(project: Project) -> None:
    modes = ("--modes", "nftables,iptables")
    shown = podwire(project, "compare-modes", "client", "http://web-svc", *modes)
    assert re.search(r"verdict +confirmed +confirmed", shown), shown
    becomes(project, "userspace")


def test_what_a_node_serves_is_shown_and_can_be_frozen(project: Project) -> None:
    shown = podwire(project, "proxy", "show", "web-svc")
    assert re.findall(r"(node-\w) +mode (\w+) +pods (\w+)", shown) == [
        ("node-a", "userspace", "switched"),
        ("node-b", "userspace", "switched"),
    ]
    assert project.address("web", 1) in shown
    podwire(project, "proxy", "freeze", "--node", "node-b")
    podwire(project, "proxy", "thaw", "--node", "node-b")
    said = project.must("logs", "node-b", "--no-log-prefix")
    assert said.index("frozen: ") < said.index("thawed: ")
