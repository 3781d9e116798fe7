"""examples/labs and docs/kubectl.md as their reader types them."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from podwire.testing.cluster import Cluster
from tests.needs import need
from tests.system.kubectl import SEARCH

ROOT = Path(__file__).parents[2]
LABS = ROOT / "examples" / "labs"
PAGE = ROOT / "docs" / "kubectl.md"
NEEDS = {
    "08-kube-proxy": ("ip", "ss", "nft"),
    "09-prometheus": ("prometheus", "promtool"),
}


@pytest.mark.parametrize("lab", sorted(lab.stem for lab in LABS.glob("[0-9][0-9]-*.md")))
def test_a_lab_shows_what_its_text_says(podwire_session_cluster: Cluster, lab: str) -> None:
    need("bash", "kubectl", "curl", "dig", "nslookup", "wget", *NEEDS.get(lab, ()))
    replay(podwire_session_cluster, lab)


def test_the_page_on_kubectl_is_true(podwire_session_cluster: Cluster) -> None:
    need("bash", "kubectl", "curl", "nslookup", "nginx")
    replay(podwire_session_cluster, PAGE)


def test_the_python_on_the_page_on_kubectl_runs(podwire_session_cluster: Cluster) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    done = run(podwire_session_cluster, "-c", program)
    assert done.returncode == 0, done.stdout
    assert re.fullmatch(r"ADDED kube-dns-\w{5} \['[\d.]+', '[\d.]+'\]\n", done.stdout), done.stdout


def replay(cluster: Cluster, lab: str | Path) -> None:
    done = run(cluster, LABS / "run.py", lab)
    assert done.returncode == 0, done.stdout


def run(cluster: Cluster, *words: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, *words],
        env={
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{SEARCH}",
            "KUBECONFIG": str(cluster.kubeconfig),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
