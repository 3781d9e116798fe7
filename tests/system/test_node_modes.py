"""Containers as nodes: kube-proxy's modes, and how a node changes from one to another."""

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

ENTER = ["unshare", "-Urnmp", "--fork", "--kill-child", "--mount-proc"]
MODES = ("userspace", "nftables", "iptables")

BY_NODE_A = ["web-a sees 10.244.1.1", "web-b sees 10.244.1.0"]
BY_PODS_OF_A = ["web-a sees 10.244.1.1", "web-b sees 10.244.1.11"]


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    programs = ("unshare", "nsenter", "ip", "bridge", "busybox", "sysctl", "nft", "iptables-nft")
    lacking = [program for program in programs if shutil.which(program, path=SEARCH) is None]
    if not lacking and subprocess.run([*ENTER, "true"], capture_output=True).returncode != 0:
        lacking = ["permission to make user namespaces"]
    if lacking:
        lack(f"this machine lacks {lacking[0]}")
    program = [sys.executable, "-P", str(Path(__file__).parent / "node_mode_experiments.py")]
    environ = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    done = subprocess.run(
        [*ENTER, *program], capture_output=True, text=True, timeout=240, env=environ
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@pytest.mark.parametrize("mode", MODES)
def test_who_is_seen_is_the_same_in_every_mode(found: dict[str, Any], mode: str) -> None:
    seen = found[mode]["traffic"]
    assert {name: seen[name] for name in seen if not name.startswith("*")} == {
        # A pod's own address, but not where the answer would go past the node.
        "pod to a ClusterIP": BY_PODS_OF_A,
        "pod of the other node to a ClusterIP": ["web-a sees 10.244.2.11", "web-b sees 10.244.2.1"],
        "pod to itself": ["web-a sees 10.244.1.1"],
        "node to a ClusterIP": BY_NODE_A,
        "pod to a Service without endpoints": "ECONNREFUSED",
        "pod pings a ClusterIP": False,
        "pod to elsewhere": "ENETUNREACH",
        "NodePort from the host": BY_NODE_A,
        "NodePort of the other node": ["web-a sees 10.244.2.0", "web-b sees 10.244.2.1"],
        "policy Local from the host": ["web-a sees 10.201.0.1"],
        "policy Local, no endpoint": "silence",
        "an endpoint outside": ["stranger sees 10.201.0.11"],
        "the host to a ClusterIP": BY_NODE_A,
    }


@pytest.mark.parametrize(
    ("mode", "no_listener", "unused", "localhost"),
    [
        ("userspace", "ECONNREFUSED", "ECONNREFUSED", ["ECONNREFUSED"]),
        ("nftables", "ECONNREFUSED", "silence", ["ECONNREFUSED"]),
        ("iptables", "silence", "silence", BY_NODE_A),
    ],
)
def test_where_modes_differ(
    found: dict[str, Any], mode: str, no_listener: str, unused: str, localhost: list[str]
) -> None:
    seen = found[mode]["traffic"]
    assert seen["*a port that the ClusterIP has not"] == no_listener
    assert seen["*an unused ClusterIP"] == unused
    assert seen["*NodePort on 127.0.0.1"] == localhost
    # Silence, when the kernel has said so often enough.
    assert seen["*past the fence"] in {"ENETUNREACH", "silence"}


@pytest.mark.parametrize("mode", MODES)
def test_a_mode_starts_where_another_was(found: dict[str, Any], mode: str) -> None:
    ran = found[mode]
    assert ran["healthy"] == [True, True]
    assert ran["cleaned"], "of the mode before it something is left"
    assert ran["noted"], "the Node's annotations"
    assert ran["ended"] == [0, 0]
    assert f"node-a is ready, proxy mode {mode}" in ran["said"]


@pytest.mark.parametrize("mode", MODES)
def test_to_delete_the_pod_switches_a_node_that_serves(found: dict[str, Any], mode: str) -> None:
    assert found["switching"][mode] == [True, "200", ["web-a sees 10.244.1.1"]]


def test_a_broken_file_is_said_and_what_served_serves_on(found: dict[str, Any]) -> None:
    switching = found["switching"]
    assert switching["broken"]
    assert switching["served on"]
    assert switching["after a restart"] == [True, ["userspace"]]
    assert "ConfigMap kube-system/kube-proxy, config.conf:1:1: mode:" in switching["said"]


def test_the_file_of_another_cluster_is_used_at_once(found: dict[str, Any]) -> None:
    assert found["switching"]["another cluster"] == [True, True]


def test_a_mode_without_its_program_ends_the_node(found: dict[str, Any]) -> None:
    status, said = found["lacking"]
    assert status == 69
    assert "proxy mode nftables needs the program nft" in said
    assert "Traceback" not in said
