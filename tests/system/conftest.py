"""Fixtures of the system tests: one cluster per worker, a namespace of its own per test."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from podwire.testing.cluster import Cluster
from podwire.testing.machine import Machine, lacking
from tests.needs import lack, need
from tests.system import processes
from tests.system.command_line import User
from tests.system.kubectl import Kubectl, versions

both_runtimes = pytest.mark.both_runtimes
"""Holds for pods that are containers as well: tests/system/docker runs it a second time, there."""

# With a tag: an engine pulls `latest` each time. tests/system/docker has images of these names.
SHELL = "podwire/shell:test"

WEB = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 10
      containers:
      - name: web
        image: podwire/web:test
        ports: [{name: http, containerPort: 80}]
        readinessProbe: {httpGet: {path: /, port: http}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: web-svc}
spec:
  selector: {app: web}
  ports: [{port: 80, targetPort: http}]
"""

CLIENT = """
apiVersion: v1
kind: Pod
metadata: {name: client}
spec:
  terminationGracePeriodSeconds: 0
  containers: [{name: curl, image: podwire/shell:test, command: [sleep, infinity]}]
"""


@pytest.fixture
def cluster(podwire_session_cluster: Cluster) -> Iterator[Cluster]:
    """Give the worker's cluster, with a fresh namespace as its default one."""
    with podwire_session_cluster.fresh_namespace():
        yield podwire_session_cluster


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """Give a machine for the CNI plugin alone: no cluster on it."""
    if reason := lacking():
        lack(reason)
    made = Machine(tmp_path)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def user(tmp_path: Path) -> Iterator[User]:
    """Give a user with a home, whose cluster is ended after the test, whatever happened."""
    somebody = User(tmp_path / "home", f"fault-{uuid.uuid4().hex[:8]}")
    yield somebody
    somebody.podwire("down")
    assert not processes.leftovers(somebody.cluster)


def ready_to_use(
    program: str, cluster: Cluster, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Kubectl:
    """Return a kubectl with a cache that it shares with the tests before."""
    cache = tmp_path_factory.getbasetemp() / f"cache-{Path(program).name}"
    cache.mkdir(exist_ok=True)
    return Kubectl(program, cluster, folder, cache)


@pytest.fixture
def kubectl(cluster: Cluster, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Kubectl:
    """Give the machine's kubectl."""
    need("kubectl")
    return ready_to_use(versions()[0], cluster, tmp_path, tmp_path_factory)


@pytest.fixture(params=versions() or ["kubectl"], ids=lambda path: Path(path).name)
def each_kubectl(
    request: pytest.FixtureRequest,
    cluster: Cluster,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Kubectl:
    """Give every version of kubectl: for what they say in different ways on the wire."""
    need("kubectl")
    return ready_to_use(str(request.param), cluster, tmp_path, tmp_path_factory)
