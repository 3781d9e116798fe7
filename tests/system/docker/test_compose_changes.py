"""Containers come, go, hang and crash; nodes and api restart: endpoints and proxies follow."""

import subprocess
from collections.abc import Iterator

import pytest

from tests.system.docker.project import Project

URL = "http://web-svc"


@pytest.fixture
def mended(project: Project) -> Iterator[Project]:
    """Give the cluster, and bring it back to what the file says."""
    yield project
    project.mend()
    project.endpoints_become("web-svc", 2)


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
    first = mended.inspect(mended.container("web", 1))["State"]["Pid"]
    mended.engine.run("kill", "-KILL", str(first))
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


def test_nobody_fails_while_backends_are_killed_and_come_back(mended: Project) -> None:
    script = (
        f"for i in $(seq 300); do curl -sS --fail --max-time 5 -o /dev/null {URL} || exit 1; done"
    )
    with subprocess.Popen(
        ["docker", "exec", mended.container("client"), "sh", "-c", script],
        env=mended.engine.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as client:
        for number in (1, 2, 1):
            mended.engine.docker("kill", mended.container("web", number))
            mended.endpoints_become("web-svc", 1)
            mended.engine.docker("start", mended.container("web", number))
            mended.endpoints_become("web-svc", 2)
        said, _ = client.communicate(timeout=120)
    assert client.returncode == 0, said


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
    mended.must("up", "-d", "--scale", "web=0", "web")


@pytest.mark.parametrize("node", ["node-a", "node-b"])
def test_a_node_restarts_and_serves_again(mended: Project, node: str) -> None:
    mended.must("restart", "--timeout", "5", node)
    mended.up()
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
    mended.up("--no-recreate", "--no-deps", "api")
    stays = mended.address("web", 2)
    assert mended.endpoints_become("web-svc", 1) == {stays}
    assert mended.get("configmap", "kept")["data"] == {"a": "b"}


def test_api_restarts_and_remembers(mended: Project) -> None:
    mended.kubectl_must("create", "service", "clusterip", "remembered", "--tcp=80:80")
    before = mended.get("service", "remembered")
    mended.must("restart", "api")
    mended.up()
    after = mended.get("service", "remembered")
    assert after["spec"]["clusterIP"] == before["spec"]["clusterIP"]
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert mended.curl(URL)


def test_a_pod_described_by_labels_comes_back_when_the_api_deletes_it(mended: Project) -> None:
    before = mended.get("pod", "web-1")["metadata"]
    mended.kubectl_must("delete", "pod", "web-1", "--wait=false")
    mended.endpoints_become("web-svc", 2)
    after = mended.get("pod", "web-1")["metadata"]
    mirror = "kubernetes.io/config.mirror"
    assert after["annotations"][mirror] == before["annotations"][mirror]
    assert mended.inspect(mended.container("web", 1))["State"]["Running"]
