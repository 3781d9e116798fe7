"""What the mode ipvs does beside ip_vs, in a kernel; ip_vs itself is on no machine of ours."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.needs import SEARCH, lack

pytestmark = pytest.mark.system

ENTER = ["unshare", "-Urnm"]


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    """Give what the experiments found."""
    lacking = [p for p in ("unshare", "ip", "nft") if shutil.which(p, path=SEARCH) is None]
    probe = [*ENTER, "nft", "list", "tables"]
    if not lacking and subprocess.run(probe, capture_output=True).returncode != 0:
        lacking = ["a kernel for nft in a user namespace"]
    if lacking:
        lack(f"this machine lacks {lacking[0]}")
    program = [sys.executable, "-P", str(Path(__file__).parent / "ipvs_experiments.py")]
    environ = {**os.environ, "PATH": SEARCH, "PYTHONPATH": str(Path.cwd())}
    done = subprocess.run(
        [*ENTER, *program], capture_output=True, text=True, timeout=60, env=environ
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def test_a_family_is_found_by_its_name(found: dict[str, Any]) -> None:
    assert found["nlctrl"] == 16
    assert found["family"] is None or found["family"] > 16


def test_the_kernel_takes_the_rules_for_every_detector(found: dict[str, Any]) -> None:
    assert found["loaded"]
    sets = found["sets"]
    assert sets["KUBE-CLUSTER-IP"] == ["tcp . 10.96.10.10 . 80"]
    assert sets["KUBE-LOOP-BACK"] == ["tcp . 10.244.1.2 . 8080 . 10.244.1.2"]
    assert sorted(sets["KUBE-LOAD-BALANCER-SOURCE-CIDR"]) == [
        "tcp . 203.0.113.7 . 80 . 10.0.0.0/8",
        "tcp . 203.0.113.7 . 80 . 192.168.0.0/16",
    ]
    assert sets["KUBE-NODE-PORT"] == ["tcp . 30080"]
    assert sets["KUBE-HEALTH-CHECK-NODE-PORT"] == ["32000"]


def test_sets_change_without_the_rules(found: dict[str, Any]) -> None:
    assert sorted(found["more"]) == ["tcp . 10.96.10.10 . 80", "udp . 10.96.10.10 . 53"]
    assert all(not elements for elements in found["less"].values())
    assert found["unloaded"]


def test_addresses_of_services_are_the_nodes_own(found: dict[str, Any]) -> None:
    one, two, other = "10.96.0.1", "10.96.0.2", "198.51.100.1"
    assert found["addresses"] == [
        [one, other],
        [one, two],
        [one, other],
        False,  # who had bound the second one
        True,
        [],
        False,
    ]
