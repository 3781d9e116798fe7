"""kube-proxy's modes on containers, as `podwire` compares and shows them."""

import re
import sys

from tests.system.docker.modes import becomes
from tests.system.docker.project import Project


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
