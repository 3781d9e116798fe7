"""What a test asks of kube-proxy's modes: which one serves, whom a pod sees, what is in the kernel."""

import re
from typing import Any

from tests.system.docker.project import Project

FILE = ("configmap", "kube-proxy", "-n", "kube-system")
NODES = ("node-a", "node-b")


def client_seen(answer: str) -> str:
    """Return whom the built-in web server saw."""
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
