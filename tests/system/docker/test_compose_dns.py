"""coredns in a container: its Corefile is a ConfigMap, which the user edits; and it can be scaled."""

import json
from collections.abc import Iterator

import pytest

from tests.system.docker.project import Project

CONFIG_MAP = ("configmap", "coredns", "-n", "kube-system")
# `pods insecure` makes it up; without that it does not exist.
POD = "10-1-2-3.default.pod.cluster.local"


def corefile(project: Project) -> str:
    text: str = project.get(*CONFIG_MAP)["data"]["Corefile"]
    return text


def write(project: Project, text: str) -> None:
    """Write the Corefile as `kubectl edit` does, and wait until the container has it."""
    patch = json.dumps({"data": {"Corefile": text}})
    project.kubectl_must("patch", *CONFIG_MAP, "--type", "merge", "--patch", patch)
    arrived(project, text)


def arrived(project: Project, text: str) -> None:
    project.until(
        lambda: project.exec("coredns", "cat", "/run/podwire-readers/Corefile"),
        lambda found: found == text,
        "the container has the Corefile",
    )


def resolves(project: Project, name: str) -> bool:
    return not project.compose("exec", "-T", "client", "getent", "ahostsv4", name).returncode


def become(project: Project, *, resolving: bool) -> None:
    project.until(
        lambda: resolves(project, POD), lambda found: found is resolving, f"{POD}: {resolving}"
    )


@pytest.fixture
def edited(project: Project) -> Iterator[str]:
    """Give the Corefile, and bring it back afterwards."""
    text = corefile(project)
    yield text
    write(project, text)
    project.must("kill", "-s", "SIGUSR1", "coredns")
    become(project, resolving=True)


def test_an_edited_corefile_is_served_and_a_broken_one_is_not(
    project: Project, edited: str
) -> None:
    become(project, resolving=True)
    write(project, edited.replace("pods insecure", "pods disabled"))
    project.must("kill", "-s", "SIGUSR1", "coredns")
    become(project, resolving=False)

    write(project, edited.replace("errors", "errors\n    nonsense"))
    project.must("kill", "-s", "SIGUSR1", "coredns")
    project.until(
        lambda: project.must("logs", "--no-log-prefix", "coredns"),
        lambda said: "Corefile:3 - Error during parsing: Unknown directive 'nonsense'" in said,
        "the log says what is wrong",
    )
    assert resolves(project, "kubernetes")
    assert not resolves(project, POD)


def test_the_corefile_is_the_users_also_after_a_restart_of_api(
    project: Project, edited: str
) -> None:
    changed = edited.replace("pods insecure", "pods disabled")
    write(project, changed)
    project.must("restart", "api", "coredns")
    project.settle()
    assert corefile(project) == changed
    become(project, resolving=False)
    assert project.curl("http://web-svc")


def test_coredns_can_be_scaled_and_one_of_two_may_stop(project: Project) -> None:
    project.must("up", "-d", "--no-deps", "--scale", "coredns=2", "coredns")
    project.endpoints_become("kube-dns", 2, "kube-system")
    project.engine.docker("stop", project.container("coredns", 2))
    project.endpoints_become("kube-dns", 1, "kube-system")
    assert len(project.curl("http://web-svc", tries=20)) == 20
    project.must("up", "-d", "--no-deps", "--scale", "coredns=1", "coredns")
    project.endpoints_become("kube-dns", 1, "kube-system")
