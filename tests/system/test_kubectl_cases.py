"""What kubectl prints, word for word as with a real cluster: tests/data/kubectl/cases.json.

Each case runs in a namespace of its own, in a folder with the manifests. The expectations were
recorded with kube-apiserver 1.32 and kubectl 1.32; later.json names the cases of features that
Podwire does not have. PODWIRE_KUBECTL_CASES names another file of this shape to run instead.
"""

import difflib
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from podwire.emulator import own_images
from podwire.kube.plain import Connection
from podwire.testing.cluster import Cluster
from tests.needs import need
from tests.system import recorded
from tests.system.kubectl import Kubectl, matches, normalised, versions

Json = dict[str, Any]

RECORDING = recorded.read(recorded.chosen())
LATER: dict[str, str] = json.loads((recorded.OURS / "later.json").read_text(encoding="utf-8"))
OTHERS = recorded.chosen().resolve() != (recorded.OURS / "cases.json").resolve()
CASES = [case for case in RECORDING.cases if OTHERS or case["id"] not in LATER]
IMAGES = RECORDING.images()

CLUSTER_WIDE = ("CustomResourceDefinition", "ClusterRole", "ClusterRoleBinding", "PriorityClass")


async def add_images(cluster: Cluster) -> None:
    """Do what `podwire images add` does; other tests may have added images too."""
    path = f"/api/v1/namespaces/{own_images.NAMESPACE}/configmaps"
    wanted = own_images.config_map(IMAGES)

    def add(api: Connection) -> None:
        if api.find(f"{path}/{own_images.NAME}") is None:
            api.create(path, wanted)
        api.patch(f"{path}/{own_images.NAME}", {"data": wanted["data"]})

    await cluster.call(add)


async def clean_up(cluster: Cluster, kubectl: Kubectl, case: Json) -> None:
    """Give back what a namespace does not hold, or too long: CRDs and the like, node ports."""
    for name, text in RECORDING.manifests.items():
        if name in f"{case['setup']}{case['command']}" and name.endswith(".yaml"):
            kinds = {document.get("kind") for document in yaml.safe_load_all(text) if document}
            if kinds & set(CLUSTER_WIDE):
                kubectl.run("delete", "-f", name, "--ignore-not-found", "--wait=false")
    services = f"/api/v1/namespaces/{kubectl.namespace}/services"
    await cluster.call(lambda api: api.delete(services, {}))


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
async def test_a_command_prints_what_it_prints_on_a_real_cluster(
    cluster: Cluster, case: Json, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    need("kubectl", "bash")
    if "script -" in case["command"]:
        need("script")
    await add_images(cluster)
    RECORDING.write(tmp_path)
    cache = tmp_path_factory.getbasetemp() / "kubectl-cache"
    cache.mkdir(exist_ok=True)
    kubectl = Kubectl(versions()[0], cluster, tmp_path, cache)
    kubectl.environ |= {"ECHO_SETUP": recorded.ECHO_SETUP, "ECHO_PORT": recorded.ECHO_PORT}
    try:
        problems = differences(kubectl, case)
    finally:
        await clean_up(cluster, kubectl, case)
    assert not problems, "\n".join([case["command"], *problems])


def differences(kubectl: Kubectl, case: Json) -> list[str]:
    """Run a case; return what is not as it should be."""
    before: list[str] = []
    # Files that cases leave in /tmp would be in the way of another user's.
    here = f"{kubectl.folder}/kt-"
    for step in case["setup"]:
        step = recorded.ECHO_SETUP if step == "$ECHO_SETUP" else step
        done = kubectl.shell(step.replace("/tmp/kt-", here))
        if done.returncode != 0:
            before.append(f"setup: {step}: {done.stdout}{done.stderr}")
    beside = kubectl.started_shell(case["background"]) if case.get("background") else None
    try:
        done = kubectl.shell(case["command"].replace("/tmp/kt-", here))
    except subprocess.TimeoutExpired as error:
        return [*before, f"no end within {error.timeout} s: {error.output!r} {error.stderr!r}"]
    finally:
        if beside is not None:
            beside.wait(timeout=60)
    expect: Json = case["expect"]
    problems: list[str] = []
    for stream, said in (("stdout", done.stdout), ("stderr", done.stderr)):
        said = said.replace(here, "/tmp/kt-")
        text = normalised(said, kubectl.namespace)
        if not matches(expect["match"], expect[stream], text):
            problems.append(f"{stream}:\n{difference(expect[stream], text)}")
    if done.returncode != expect["rc"]:
        problems.append(f"exit status {done.returncode}, not {expect['rc']}: {done.stderr}")
    # A step that failed is no fault of its own: what it leaves out shows in what is printed.
    return [*before, *problems] if problems else []


def difference(wanted: str, found: str) -> str:
    lines = difflib.unified_diff(
        wanted.split("\n"), found.split("\n"), "wanted", "found", lineterm="", n=1
    )
    return "\n".join(lines)


def test_a_case_that_is_left_out_is_named_with_what_it_lacks() -> None:
    ours = {case["id"] for case in recorded.read(recorded.OURS / "cases.json").cases}
    assert set(LATER) <= ours
    assert all(LATER.values())
