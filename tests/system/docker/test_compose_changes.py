"""Containers come, go, hang and crash; nodes and api restart: endpoints and proxies follow."""

import json
import re
import subprocess
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.system.docker.project import Project

URL = "http://web-svc"
# Ill as long as there is a file.
FRAIL = """
services:
  frail:
    image: ${PODWIRE_IMAGE}
    pull_policy: never
    init: true
    command: [sleep, infinity]
    cap_drop: [ALL]
    networks: [pods-b]
    labels: {podwire.dev/pod: frail, podwire.dev/labels: app=frail}
    healthcheck:
      test: [CMD-SHELL, "! test -e /tmp/ill || { echo it hurts; false; }"]
      interval: 200ms
      retries: 1
"""

CLIENTS = 4
# Each of them makes one connection after the other and tries nothing twice, until its input ends.
LOAD = f"""
import json, socket, sys, threading, time
counts = {{"answered": 0, "not connected": 0, "cut off": 0}}
over, lock = threading.Event(), threading.Lock()
def request():
    try:
        server = socket.create_connection((sys.argv[1], 80), 10)
    except OSError:
        return "not connected"
    with server:
        try:
            server.sendall(b"GET / HTTP/1.1\\r\\nHost: web-svc\\r\\nConnection: close\\r\\n\\r\\n")
            answer = b"".join(iter(lambda: server.recv(65536), b""))
        except OSError:
            return "cut off"
    return "answered" if b"Hostname:" in answer else "cut off"
def client():
    while not over.is_set():
        outcome = request()
        with lock:
            counts[outcome] += 1
        time.sleep(0.01)
clients = [threading.Thread(target=client) for _ in range({CLIENTS})]
for one in clients: one.start()
print("started", flush=True)
sys.stdin.read()
over.set()
for one in clients: one.join()
print(json.dumps(counts))
"""


@contextmanager
def load(project: Project, address: str) -> Generator[dict[str, int], None, None]:
    """Have clients in the pod `client` ask *address* inside the block.

    What is given says after the block how many requests ended how.
    """
    argv = ["docker", "exec", "-i", project.container("client"), "python", "-c", LOAD, address]
    counts: dict[str, int] = {}
    with subprocess.Popen(
        argv, env=project.engine.environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "started\n"
        yield counts
        said, _ = process.communicate(timeout=60)
        counts.update(json.loads(said))


def failed_connections(project: Project) -> int:
    """Return how many clients of node-b found no backend at all, ever since."""
    node: dict[str, Any] = project.inspect(project.container("node-b"))["NetworkSettings"]
    addresses = [str(one["IPAddress"]) for one in node["Networks"].values()]
    (address,) = [one for one in addresses if one.startswith(f"{project.nodes}.")]
    shown = project.exec("node-b", "curl", "-sS", f"http://{address}:10249/metrics")
    found = re.search(r"^podwire_proxy_connections_failed_total (\d+)", shown, re.MULTILINE)
    assert found, shown
    return int(found[1])


def crash(project: Project, service: str, number: int) -> None:
    """Kill what runs in a container from within: the engine is not asked, and its init stays."""
    # The shell is killed as well.
    project.compose("exec", "-T", "--index", str(number), service, "sh", "-c", "kill -KILL -1")


def readiness(project: Project, kind: str, name: str) -> str:
    """Return the status of the condition Ready."""
    conditions: list[dict[str, str]] = project.get(kind, name)["status"]["conditions"]
    return next(one["status"] for one in conditions if one["type"] == "Ready")


@pytest.mark.parametrize(
    ("gone_by", "words"),
    [
        ("docker kill", ("kill",)),
        ("docker stop", ("stop", "--time", "5")),
        ("docker pause", ("pause",)),
    ],
)
def test_a_backend_that_goes_is_no_endpoint_and_no_client_notices(
    mended: Project, gone_by: str, words: tuple[str, ...]
) -> None:
    del gone_by
    stays = mended.address("web", 2)
    mended.engine.docker(*words, mended.container("web", 1))
    answers = mended.curl(URL, tries=20)
    assert all(f"Address: {stays}" in answer for answer in answers)
    assert mended.endpoints_become("web-svc", 1) == {stays}


def test_a_crash_is_noticed_though_nobody_asked_the_engine(mended: Project) -> None:
    stays = mended.address("web", 2)
    crash(mended, "web", 1)
    answers = mended.curl(URL, tries=20)
    assert all(f"Address: {stays}" in answer for answer in answers)
    assert mended.endpoints_become("web-svc", 1) == {stays}


def test_a_paused_backend_is_an_endpoint_again_when_it_goes_on(mended: Project) -> None:
    mended.engine.docker("pause", mended.container("web", 1))
    mended.endpoints_become("web-svc", 1)
    mended.engine.docker("unpause", mended.container("web", 1))
    mended.endpoints_become("web-svc", 2)


def test_a_stopped_container_that_starts_again_is_an_endpoint_with_its_new_address(
    mended: Project,
) -> None:
    mended.engine.docker("stop", mended.container("web", 1))
    mended.endpoints_become("web-svc", 1)
    mended.engine.docker("start", mended.container("web", 1))
    assert mended.address("web", 1) in mended.endpoints_become("web-svc", 2)


@pytest.mark.parametrize("gone_by", ["docker kill", "crash"])
def test_no_connect_fails_while_backends_are_killed_and_come_back(
    mended: Project, gone_by: str
) -> None:
    failed = failed_connections(mended)
    victims = (1, 2, 1)
    with load(mended, mended.cluster_ip("web-svc")) as counts:
        for number in victims:
            if gone_by == "crash":
                crash(mended, "web", number)
            else:
                mended.engine.docker("kill", mended.container("web", number))
            mended.endpoints_become("web-svc", 1)
            mended.engine.docker("start", mended.container("web", number))
            mended.endpoints_become("web-svc", 2)
    assert counts["answered"] > 300
    assert counts["not connected"] == 0, counts
    # The proxy has accepted a client before it asks a backend: so it must have found one each time.
    assert failed_connections(mended) == failed, counts
    # What the victims were about to answer is lost with them, as with every proxy.
    assert counts["cut off"] <= len(victims) * CLIENTS, counts


@pytest.fixture
def frail(project: Project, tmp_path: Path) -> Iterator[Project]:
    """Give the cluster with a pod whose health can be chosen, and a Service of it."""
    files, extra = project.files, tmp_path / "frail.yml"
    extra.write_text(FRAIL, encoding="utf-8")
    project.files = (*files, extra)
    project.must("up", "-d", "--no-deps", "--no-recreate", "frail")
    project.kubectl_must("create", "service", "clusterip", "frail", "--tcp=80:80")
    yield project
    project.kubectl_must("delete", "service", "frail")
    project.must("rm", "--stop", "--force", "frail")
    project.files = files


def test_the_endpoints_follow_the_health_of_a_container(frail: Project) -> None:
    frail.endpoints_become("frail", 1)
    frail.exec("frail", "touch", "/tmp/ill")
    frail.endpoints_become("frail", 0)
    conditions: list[dict[str, str]] = frail.get("pod", "frail")["status"]["conditions"]
    (said,) = [one["message"] for one in conditions if one["type"] == "Ready"]
    assert "health check of frail failed: it hurts" in said
    frail.exec("frail", "rm", "/tmp/ill")
    frail.endpoints_become("frail", 1)


def test_a_container_that_is_removed_is_no_pod_any_more(mended: Project) -> None:
    mended.engine.docker("rm", "--force", mended.container("web", 1))
    assert len(mended.curl(URL, tries=10)) == 10
    mended.endpoints_become("web-svc", 1)
    mended.until(
        lambda: mended.kubectl("get", "pod", "web-1").returncode,
        lambda status: status == 1,
        "web-1 is no pod",
    )
    # Compose would go on counting at 3.
    mended.must("up", "-d", "--no-deps", "--scale", "web=0", "web")


@pytest.mark.parametrize("node", ["node-a", "node-b"])
def test_a_node_restarts_and_serves_again(mended: Project, node: str) -> None:
    mended.must("restart", "--timeout", "5", node)
    mended.settle()
    mended.endpoints_become("web-svc", 2)
    assert mended.curl(URL)
    mended.until(
        lambda: (
            mended.engine.on_host(
                "curl", "-sf", "--max-time", "2", f"http://127.0.0.1:{mended.node_port}/"
            ).returncode
        ),
        lambda status: status == 0,
        "the NodePort answers",
    )


def test_nodes_serve_the_last_state_while_api_is_dead_and_follow_it_when_it_is_back(
    mended: Project,
) -> None:
    mended.kubectl_must("create", "configmap", "kept", "--from-literal=a=b")
    mended.engine.docker("kill", mended.container("api"))
    assert len(mended.curl(URL, tries=10)) == 10
    mended.engine.docker("kill", mended.container("web", 1))
    # Nobody tells the proxies now: they find out by connecting.
    assert len(mended.curl(URL, tries=10)) == 10
    mended.engine.docker("start", mended.container("api"))
    mended.until(
        lambda: mended.kubectl("get", "nodes").returncode, lambda it: it == 0, "api serves"
    )
    stays = mended.address("web", 2)
    assert mended.endpoints_become("web-svc", 1) == {stays}
    assert mended.get("configmap", "kept")["data"] == {"a": "b"}
    mended.kubectl_must("delete", "configmap", "kept")


def test_api_restarts_and_remembers_and_not_a_request_is_lost_meanwhile(mended: Project) -> None:
    mended.kubectl_must("create", "service", "clusterip", "remembered", "--tcp=80:80")
    before = mended.get("service", "remembered")
    with load(mended, mended.cluster_ip("web-svc")) as counts:
        mended.engine.docker("kill", mended.container("api"))
        # The nodes notice, and try again and again: that must not cost a connection.
        time.sleep(2)
        mended.engine.docker("start", mended.container("api"))
        mended.settle()
    assert counts.pop("answered") > 200
    assert counts == {"not connected": 0, "cut off": 0}
    after = mended.get("service", "remembered")
    assert after["spec"]["clusterIP"] == before["spec"]["clusterIP"]
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert mended.curl(URL)
    mended.kubectl_must("delete", "service", "remembered")


def test_the_pods_of_a_paused_node_are_not_ready_and_others_go_on(mended: Project) -> None:
    duo = mended.cluster_ip("duo")
    mended.engine.docker("pause", mended.container("node-a"))
    mended.until(lambda: readiness(mended, "node", "node-a"), lambda it: it != "True", "not ready")
    mended.endpoints_become("web-svc", 0)
    assert readiness(mended, "pod", "web-1") == "False"
    assert readiness(mended, "node", "node-b") == readiness(mended, "pod", "duo") == "True"
    # By address: the cluster's DNS is on node-a.
    assert mended.curl(f"http://{duo}")
    mended.engine.docker("unpause", mended.container("node-a"))
    mended.until(lambda: readiness(mended, "node", "node-a"), lambda it: it == "True", "ready")
    mended.endpoints_become("web-svc", 2)
    assert mended.curl(URL)


def test_a_pod_described_by_labels_comes_back_when_the_api_deletes_it(mended: Project) -> None:
    before = mended.get("pod", "web-1")["metadata"]
    mended.kubectl_must("delete", "pod", "web-1", "--wait=false")
    mended.endpoints_become("web-svc", 2)
    after = mended.get("pod", "web-1")["metadata"]
    mirror = "kubernetes.io/config.mirror"
    assert after["annotations"][mirror] == before["annotations"][mirror]
    assert mended.inspect(mended.container("web", 1))["State"]["Running"]
