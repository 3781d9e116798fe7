"""What kubectl prints, word for word as with a real cluster: tests/data/kubectl/cases.json.

Each case runs in a namespace of its own, in a folder with the manifests. The expectations were
recorded with kube-apiserver 1.32 and kubectl 1.32; later.json names the cases of features that
Podwire does not have.
"""

import difflib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from podwire.kube.plain import Connection
from podwire.testing.cluster import Cluster
from tests.needs import need
from tests.system.kubectl import Kubectl, matches, normalised, versions

Json = dict[str, Any]

DATA = Path(__file__).parents[1] / "data" / "kubectl"
CASES: list[Json] = json.loads((DATA / "cases.json").read_text(encoding="utf-8"))["cases"]

# The images of the manifests, and what runs under their names here: a web server on the port that
# the manifests give.
IMAGES = {
    name: ["builtin:web", "--port", "8080"] for name in ("nginx:1.25", "nginx:1.26", "nginx:1.27")
}


async def add_images(cluster: Cluster) -> None:
    """Do what `podwire images add` does; other tests may have added images too."""
    path = "/api/v1/namespaces/kube-system/configmaps"
    data = {
        name.replace(":", "_"): json.dumps({"image": name, "command": command})
        for name, command in IMAGES.items()
    }

    def add(api: Connection) -> None:
        if api.find(f"{path}/podwire-images") is None:
            metadata = {"name": "podwire-images", "namespace": "kube-system"}
            api.create(path, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})
        api.patch(f"{path}/podwire-images", {"data": data})

    await cluster.call(add)


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
async def test_a_command_prints_what_it_prints_on_a_real_cluster(
    cluster: Cluster, case: Json, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    need("kubectl", "bash")
    await add_images(cluster)
    shutil.copytree(DATA / "manifests", tmp_path, dirs_exist_ok=True)
    cache = tmp_path_factory.getbasetemp() / "kubectl-cache"
    cache.mkdir(exist_ok=True)
    kubectl = Kubectl(versions()[0], cluster, tmp_path, cache)
    for step in case["setup"]:
        done = kubectl.shell(step)
        assert done.returncode == 0, f"{step}: {done.stdout}{done.stderr}"
    done = kubectl.shell(case["command"])
    found = {
        "stdout": normalised(done.stdout, kubectl.namespace),
        "stderr": normalised(done.stderr, kubectl.namespace),
    }
    problems = [
        f"{stream}:\n{difference(case[stream], text)}"
        for stream, text in found.items()
        if not matches(case["match"], case[stream], text)
    ]
    if done.returncode != case["rc"]:
        problems.append(f"exit status {done.returncode}, not {case['rc']}: {done.stderr}")
    assert not problems, "\n".join([case["command"], *problems])


def difference(wanted: str, found: str) -> str:
    lines = difflib.unified_diff(
        wanted.split("\n"), found.split("\n"), "wanted", "found", lineterm="", n=1
    )
    return "\n".join(lines)


def test_every_recorded_case_is_run_or_named_with_what_it_lacks() -> None:
    later: dict[str, str] = json.loads((DATA / "later.json").read_text(encoding="utf-8"))
    assert not set(later) & {case["id"] for case in CASES}
    assert all(later.values())
