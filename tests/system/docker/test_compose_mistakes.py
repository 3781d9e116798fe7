"""What a user gets wrong is said with its next step, and the rest of the cluster goes on."""

import json
import socket
import socketserver
import threading
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.system.docker.conftest import Make
from tests.system.docker.engine import Engine
from tests.system.docker.project import Project

POD = """
services:
  wrong:
    image: ${{PODWIRE_IMAGE}}
    pull_policy: never
    init: true
    command: [sleep, infinity]
    stop_grace_period: 1s
    cap_drop: [ALL]
    networks: [pods-b]
    labels: {labels}
"""


TOO_OLD = {"Version": "23.0.1", "ApiVersion": "1.42", "MinAPIVersion": "1.12"}
NO_ENGINE = {"hello": "world"}


@contextmanager
def answering(path: Path, answer: Mapping[str, str] | None) -> Generator[None, None, None]:
    """Have a Unix socket inside the block, on which every request gets *answer*; None: nobody listens."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while self.rfile.readline().strip():
                pass
            body = json.dumps(answer).encode()
            head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            self.wfile.write(head.encode() + body)

    if answer is None:
        with socket.socket(socket.AF_UNIX) as unused:
            unused.bind(str(path))
            yield
        return
    with socketserver.ThreadingUnixStreamServer(str(path), Handler) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            yield
        finally:
            server.shutdown()
            serving.join()


@pytest.fixture
def adding(project: Project) -> Iterator[Project]:
    """Give the cluster, and take away the container that a test adds."""
    files = project.files
    yield project
    project.must("rm", "--stop", "--force", "wrong")
    project.files = files


def events(project: Project) -> str:
    """Return all events of the cluster, as kubectl shows them."""
    return project.kubectl_must("get", "events", "--all-namespaces")


@pytest.mark.parametrize(
    ("mistake", "labels", "said"),
    [
        ("a name of two pods", '{podwire.dev/pod: client}', "is older and keeps the name"),
        ("a name that is none", '{podwire.dev/pod: Not_A_Name}', "Not_A_Name"),
        ("a port that is none", '{podwire.dev/pod: ports, podwire.dev/ports: "http=99999"}', "99999"),
        ("a node that is none", '{podwire.dev/pod: lost, podwire.dev/node: node-z}', '"node-z" is no node'),
        ("a label of ours that is none", '{podwire.dev/pod: slip, podwire.dev/portz: "80"}', "podwire.dev/portz is unknown"),
    ],
)  # fmt: skip
def test_wrong_labels_are_said_and_the_rest_goes_on(
    adding: Project, tmp_path: Path, mistake: str, labels: str, said: str
) -> None:
    del mistake
    extra = tmp_path / "extra.yml"
    extra.write_text(POD.format(labels=labels), encoding="utf-8")
    adding.files = (*adding.files, extra)
    adding.must("up", "-d", "--no-deps", "--no-recreate", "wrong")
    adding.until(
        lambda: adding.must("logs", "--no-color", "api") + events(adding),
        lambda text: said in text,
        f"somebody says {said}",
    )
    assert adding.curl("http://web-svc")


def test_without_the_engines_socket_api_says_so(make: Make, tmp_path: Path) -> None:
    one = make(DOCKER_SOCK=str(tmp_path))
    done = one.compose("up", "--wait", "--wait-timeout", "30", "client")
    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert f"dependency failed to start: container {one.container('api')}" in said
    logs = one.must("logs", "--no-color", "api")
    assert "docker.sock is not a socket" in logs
    assert "DOCKER_SOCK=" in logs
    assert "Traceback" not in logs


@pytest.mark.parametrize(
    ("answer", "user", "said"),
    [
        (TOO_OLD, "0:0", "Docker Engine 23.0.1 at /var/run/docker.sock is too old"),
        (NO_ENGINE, "0:0", "what answers at /var/run/docker.sock is not Docker Engine"),
        (None, "0:0", "/var/run/docker.sock is not Docker Engine"),
        (NO_ENGINE, "65532:65532", "no permission to use /var/run/docker.sock"),
    ],
    ids=["too old", "no engine", "nobody listens", "no permission"],
)
def test_an_engine_that_does_not_do_is_said(
    engine: Engine,
    image: str,
    tmp_path: Path,
    answer: Mapping[str, str] | None,
    user: str,
    said: str,
) -> None:
    path = tmp_path / "docker.sock"
    with answering(path, answer):
        # As the compose file runs `api`.
        done = engine.run(
            "docker", "run", "--rm", "--user", user, "--cap-drop", "ALL",
            "--volume", f"{path}:/var/run/docker.sock", image, "python", "-m", "podwire.emulator.compose",
        )  # fmt: skip
    logs = done.stdout + done.stderr
    assert done.returncode == 69, logs
    assert said in logs
    assert "DOCKER_SOCK=" in logs or "install Docker Engine" in logs
    assert "Traceback" not in logs


def test_a_subnet_that_is_taken_is_said_by_the_engine(project: Project, make: Make) -> None:
    one = make(PODWIRE_PODS=project.pods)
    done = one.compose("up", "--wait", "--wait-timeout", "30", "client")
    assert done.returncode != 0
    assert "overlaps" in done.stdout + done.stderr
    assert project.curl("http://web-svc")


def test_a_port_in_use_is_said_by_the_engine(project: Project, make: Make) -> None:
    one = make(PODWIRE_NODE_PORT=str(project.node_port))
    done = one.compose("up", "--wait", "--wait-timeout", "30", "client")
    assert done.returncode != 0
    assert str(project.node_port) in done.stdout + done.stderr
    assert project.curl("http://web-svc")
