"""A second cluster beside the first: what is chosen at its start, what changes, and how it ends.

In this order: each test finds what those before it left.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.docker.conftest import Make
from tests.system.docker.image import ROOT
from tests.system.docker.modes import NODES, becomes, choose, client_seen, programmed
from tests.system.docker.project import Project

COREFILE = """\
.:53 {
    ready
    kubernetes cluster.local {
       pods insecure
    }
}
stub.test:53 {
    kubernetes cluster.local stub.test
}
"""
HOLDS_FILES = """
apiVersion: v1
kind: Pod
metadata: {{name: left}}
spec:
  volumes: [{{name: scratch, emptyDir: {{}}}}]
  containers:
  - name: left
    image: {image}
    command: [sh, -c, "touch /scratch/held; sleep infinity"]
    volumeMounts: [{{name: scratch, mountPath: /scratch}}]
"""
# Somebody's own project, as in docs/docker.md.
OWN = """
include: [{compose}]
services:
  orders:
    image: {image}
    pull_policy: never
    init: true
    command: [python, -m, podwire.emulator.images, web, --port, "8080"]
    cap_drop: [ALL]
    networks: [pods-a]
    volumes: ["{resolv}:/etc/resolv.conf:ro"]
    labels:
      podwire.dev/pod: orders-*
      podwire.dev/labels: app=orders
      podwire.dev/ports: http=8080
"""
# With what they need: api, nodes, coredns.
CORE = ("client", "web", "orders")
OURS, MADE = "com.docker.compose.project", "podwire.dev/made-by"


def manifests(folder: Path) -> None:
    """Write the project's own manifests, two that are wrong, and one with another Corefile."""
    (folder / "2-syntax.yaml").write_text("apiVersion: v1\nkind: [Service\n")
    (folder / "3-refused.yaml").write_text(
        "{apiVersion: v1, kind: Service, metadata: {name: refused}, spec: {ports: [{port: 99999}]}}\n"
    )
    config_map = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "coredns", "namespace": "kube-system"},
        "data": {"Corefile": COREFILE},
    }
    (folder / "coredns.json").write_text(json.dumps(config_map))


@pytest.fixture(scope="module")
def second(
    project: Project, make_for_the_module: Make, tmp_path_factory: pytest.TempPathFactory
) -> Project:
    """Give another cluster on the engine of the first, with other manifests and another mode."""
    del project  # it is there first
    folder = tmp_path_factory.mktemp("manifests")
    manifests(folder)
    one = make_for_the_module(PODWIRE_MANIFESTS=str(folder), PODWIRE_PROXY_MODE="nftables")
    own = one.out / "compose.yaml"
    places = {
        "compose": ROOT / "docker-compose.yml",
        "resolv": ROOT / "compose" / "resolv" / "default.conf",
    }
    own.write_text(OWN.format(image=one.settings["PODWIRE_IMAGE"], **places), encoding="utf-8")
    one.folder, one.files = one.out, (own,)
    one.up(*CORE)
    return one


def test_two_projects_side_by_side_do_not_see_each_other(project: Project, second: Project) -> None:
    for one in (project, second):
        (answer,) = one.curl("http://web-svc")
        assert f"Address: {one.pods}.1." in answer
        done = one.engine.on_host("curl", "-sf", f"http://127.0.0.1:{one.node_port}/")
        assert done.returncode == 0
        pods = one.get("pods")["items"]
        assert all(pod["status"]["podIP"].startswith(f"{one.pods}.") for pod in pods)
    stranger = second.address("web")
    done = project.compose(
        "exec", "-T", "client", "curl", "-s", "--max-time", "3", f"http://{stranger}/"
    )
    assert done.returncode != 0


def test_a_service_of_an_including_project_is_a_pod(second: Project) -> None:
    second.kubectl_must(
        "expose", "pod", "orders-1", "--name=orders", "--port=80", "--target-port=http"
    )
    second.endpoints_become("orders", 1)
    script = "until curl -sf --max-time 1 http://orders; do sleep 0.2; done"
    said = second.exec("client", "timeout", "20", "sh", "-c", script)
    assert f"Address: {second.address('orders')}" in said


def test_a_wrong_manifest_is_said_with_its_place_and_the_others_are_applied(
    second: Project,
) -> None:
    logs = second.must("logs", "--no-color", "api")
    assert "2-syntax.yaml:" in logs
    assert "3-refused.yaml" in logs
    assert "99999" in logs
    assert second.curl("http://web-svc")


def test_a_corefile_among_the_manifests_is_served_from_the_start(second: Project) -> None:
    assert second.exec("coredns", "cat", "/run/podwire-readers/Corefile") == COREFILE
    second.must("kill", "-s", "SIGUSR1", "coredns")
    other = ("getent", "ahostsv4", "web-svc.default.svc.stub.test")
    second.until(
        lambda: second.compose("exec", "-T", "client", *other).returncode,
        lambda status: status == 0,
        "both zones are served",
    )


def test_the_mode_of_a_cluster_is_chosen_and_changed(second: Project) -> None:
    becomes(second, "nftables")
    assert [programmed(second, node) for node in NODES] == [{"nftables"}] * 2

    choose(second, "iptables")
    # The file is the user's, also after a restart of what has made it.
    second.must("restart", "api")
    second.must("restart", *NODES)
    becomes(second, "iptables")
    assert [programmed(second, node) for node in NODES] == [{"iptables"}] * 2
    localhost = second.exec("node-a", "curl", "-sfm5", "http://127.0.0.1:30080/")
    assert client_seen(localhost) == f"{second.pods}.1.1"

    choose(second, "wrong")
    second.must("restart", "node-b")
    second.settle()
    becomes(second, "iptables")
    said = second.must("logs", "node-b", "--no-log-prefix")
    assert "mode: 'wrong' is not one of" in said
    assert "the mode stays iptables" in said

    choose(second, "userspace")
    pods = ("pods", "-n", "kube-system", "-l", "k8s-app=kube-proxy")
    second.kubectl_must("delete", *pods, "--timeout=30s")
    becomes(second, "userspace")
    second.until(
        lambda: [programmed(second, node) for node in NODES],
        lambda found: found == [{"userspace"}] * 2,
        "nothing of the mode before is left",
    )


def files(project: Project) -> str:
    """Return what the volume of the pods' files holds."""
    volume = f"{project.name}_pods:/pods:ro"
    image = str(project.settings["PODWIRE_IMAGE"])
    return project.engine.docker(
        "run", "--rm", "--user", "0", "--network", "none", "--volume", volume, image,
        "python", "-c", "import os; print(*(d + '/' + n for d, *ns in os.walk('/pods') for n in sum(ns, [])))",
    ).strip()  # fmt: skip


def left(project: Project, *what: str, label: str = OURS) -> list[str]:
    """Return what the engine has of the project: of `docker WHAT`."""
    return project.engine.docker(*what, "--filter", f"label={label}={project.name}").split()


@pytest.fixture
def holding(second: Project) -> Project:
    """Give the cluster, with a pod that kubectl made and that has written a file."""
    manifest = second.out / "left.yaml"
    image = second.settings["PODWIRE_IMAGE"]
    manifest.write_text(HOLDS_FILES.format(image=image), encoding="utf-8")
    second.kubectl_must("apply", "-f", str(manifest))
    second.kubectl_must("wait", "pod/left", "--for=condition=Ready", "--timeout=60s")
    second.until(lambda: files(second), lambda found: "held" in found, "the pod has written")
    return second


def test_what_stays_because_api_was_killed_goes_when_the_cluster_is_up_again(
    holding: Project,
) -> None:
    holding.must("kill", "api")
    # Compose knows only its own containers; a network of the others' it cannot remove.
    holding.compose("--profile", "*", "down", "--timeout", "5")
    assert left(holding, "ps", "-aq") == []
    assert left(holding, "ps", "-aq", label=MADE)
    holding.up(*CORE)
    assert left(holding, "ps", "-aq", label=MADE) == []
    assert files(holding) == ""
    assert holding.kubectl("get", "pod", "left").returncode == 1
    assert holding.curl("http://web-svc")


@pytest.fixture
def strange(second: Project) -> Iterator[str]:
    """Give a container that is not the cluster's."""
    name, image = f"{second.name}-somebody-elses", str(second.settings["PODWIRE_IMAGE"])
    second.engine.docker(
        "run", "--detach", "--init", "--name", name, "--network", "none", image, "sleep", "300"
    )
    yield name
    second.engine.docker("rm", "--force", name)


def test_down_leaves_empty_volumes_and_what_is_not_ours(
    project: Project, holding: Project, strange: str
) -> None:
    assert left(holding, "ps", "-aq", label=MADE)
    holding.down("--remove-orphans")
    assert left(holding, "ps", "-aq") == []
    assert left(holding, "ps", "-aq", label=MADE) == []
    assert left(holding, "network", "ls", "-q") == []
    names = {f"{holding.name}_{name}" for name in holding.must("config", "--volumes").split()}
    assert set(left(holding, "volume", "ls", "-q")) == names
    assert files(holding) == ""
    assert holding.inspect(strange)["State"]["Running"]
    assert project.curl("http://web-svc")
    holding.down("--volumes")
    for what in (("ps", "-aq"), ("network", "ls", "-q"), ("volume", "ls", "-q")):
        assert left(holding, *what) == []
