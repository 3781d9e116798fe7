"""What a user gets wrong is said with its next step, and the rest of the cluster goes on."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.docker.conftest import Make
from tests.system.docker.project import Project

POD = """
services:
  wrong:
    image: ${{PODWIRE_IMAGE}}
    init: true
    command: [sleep, infinity]
    cap_drop: [ALL]
    networks: [pods-b]
    labels: {labels}
"""


@pytest.fixture
def mended(project: Project) -> Iterator[Project]:
    """Give the cluster, and take away what a test added."""
    files = project.files
    yield project
    project.files = files
    project.up("--remove-orphans")


def events(project: Project) -> str:
    """Return all events of the cluster, as kubectl shows them."""
    return project.kubectl_must("get", "events", "--all-namespaces")


@pytest.mark.parametrize(
    ("mistake", "labels", "said"),
    [
        ("a name of two pods", '{podwire.dev/pod: client}', "client"),
        ("a name that is none", '{podwire.dev/pod: Not_A_Name}', "Not_A_Name"),
        ("a port that is none", '{podwire.dev/pod: ports, podwire.dev/ports: "http=99999"}', "99999"),
        ("a node that is none", '{podwire.dev/pod: lost, podwire.dev/node: node-z}', "node-z"),
        ("a label of ours that is none", '{podwire.dev/pod: slip, podwire.dev/portz: "80"}', "portz"),
    ],
)  # fmt: skip
def test_wrong_labels_are_said_and_the_rest_goes_on(
    mended: Project, tmp_path: Path, mistake: str, labels: str, said: str
) -> None:
    del mistake
    extra = tmp_path / "extra.yml"
    extra.write_text(POD.format(labels=labels), encoding="utf-8")
    mended.files = (*mended.files, extra)
    mended.must("up", "-d", "--no-recreate", "wrong")
    mended.until(
        lambda: mended.must("logs", "--no-color", "api") + events(mended),
        lambda text: said in text,
        f"somebody speaks of {said}",
    )
    assert mended.curl("http://web-svc")


def test_a_wrong_manifest_is_said_with_its_place_and_the_others_are_applied(
    make: Make, tmp_path: Path
) -> None:
    (tmp_path / "1-good.yaml").write_text(
        "{apiVersion: v1, kind: Service, metadata: {name: web-svc},"
        " spec: {selector: {app: web}, ports: [{port: 80, targetPort: http}]}}\n"
    )
    (tmp_path / "2-syntax.yaml").write_text("apiVersion: v1\nkind: [Service\n")
    (tmp_path / "3-refused.yaml").write_text(
        "{apiVersion: v1, kind: Service, metadata: {name: refused}, spec: {ports: [{port: 99999}]}}\n"
    )
    one = make(PODWIRE_MANIFESTS=str(tmp_path))
    one.up("client")
    assert one.curl("http://web-svc")
    logs = one.must("logs", "--no-color", "api")
    assert "2-syntax.yaml:" in logs
    assert "3-refused.yaml" in logs
    assert "99999" in logs


def test_without_the_engines_socket_api_says_so(make: Make, tmp_path: Path) -> None:
    one = make(DOCKER_SOCK=str(tmp_path))
    done = one.compose("up", "--wait", "--wait-timeout", "30")
    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert f"dependency failed to start: container {one.container('api')}" in said
    logs = one.must("logs", "--no-color", "api")
    assert "docker.sock" in logs
    assert "DOCKER_SOCK" in logs
    assert "Traceback" not in logs


def test_a_subnet_that_is_taken_is_said_by_the_engine(project: Project, make: Make) -> None:
    one = make(PODWIRE_PODS=project.pods)
    done = one.compose("up", "--wait", "--wait-timeout", "30")
    assert done.returncode != 0
    assert "overlaps" in done.stdout + done.stderr
    assert project.curl("http://web-svc")


def test_a_port_in_use_is_said_by_the_engine(project: Project, make: Make) -> None:
    one = make(PODWIRE_NODE_PORT=str(project.node_port))
    done = one.compose("up", "--wait", "--wait-timeout", "30")
    assert done.returncode != 0
    assert str(project.node_port) in done.stdout + done.stderr
    assert project.curl("http://web-svc")


def test_two_projects_side_by_side_do_not_see_each_other(project: Project, make: Make) -> None:
    other = make()
    other.up()
    for one in (project, other):
        (answer,) = one.curl("http://web-svc")
        assert f"Address: {one.pods}.1." in answer
        done = one.engine.on_host("curl", "-sf", f"http://127.0.0.1:{one.node_port}/")
        assert done.returncode == 0
        pods = one.get("pods")["items"]
        assert all(pod["status"]["podIP"].startswith(f"{one.pods}.") for pod in pods)
    stranger = other.address("web")
    done = project.compose(
        "exec", "-T", "client", "curl", "-s", "--max-time", "3", f"http://{stranger}/"
    )
    assert done.returncode != 0
    other.down()
    assert project.curl("http://web-svc")


def test_the_pod_network_has_no_way_to_the_host(project: Project) -> None:
    """A listener of the host is not there for pods; its twin: the host itself reaches it."""
    if project.engine.is_own:
        pytest.skip("the engine's host has no network but its clusters'")
    with socket.create_server(("0.0.0.0", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port), 2):
            pass
        url = f"http://{project.nodes}.1:{port}/"
        done = project.compose("exec", "-T", "client", "curl", "-s", "--max-time", "3", url)
        assert done.returncode != 0
