"""Containers as nodes: two node programs on wires as an engine makes them, in namespaces of our own."""

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


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    programs = ("unshare", "nsenter", "ip", "bridge", "busybox", "sysctl", "nft")
    lacking = [program for program in programs if shutil.which(program, path=SEARCH) is None]
    if not lacking and subprocess.run([*ENTER, "true"], capture_output=True).returncode != 0:
        lacking = ["permission to make user namespaces"]
    if lacking:
        lack(f"this machine lacks {lacking[0]}")
    program = [sys.executable, "-P", str(Path(__file__).parent / "node_experiments.py")]
    environ = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    done = subprocess.run(
        [*ENTER, *program], capture_output=True, text=True, timeout=120, env=environ
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def test_traffic(found: dict[str, Any]) -> None:
    assert found["healthy"] == [True, True]
    # The node's address: .1 towards its own pods, .0 by the tunnel.
    by_node_a = ["web-a sees 10.244.1.1", "web-b sees 10.244.1.0"]
    assert found["traffic"] == {
        "pod to pod on the same node": "web-a sees 10.244.1.11",
        "pod to pod on another node": "web-b sees 10.244.1.11",
        # A pod's own address, but not where the answer would go past the node.
        "pod to a ClusterIP": ["web-a sees 10.244.1.1", "web-b sees 10.244.1.11"],
        "pod of the other node to a ClusterIP": ["web-a sees 10.244.2.11", "web-b sees 10.244.2.1"],
        "pod to a ClusterIP without listener": "ECONNREFUSED",
        "pod to an unused ClusterIP": "ECONNREFUSED",
        "pod pings a ClusterIP": False,
        "pod pings its gateway": True,
        "pod to elsewhere": "ENETUNREACH",
        "pod to its node's page": "200",
        "pod to the other node's page": "200",
        "node to a ClusterIP": by_node_a,
        "node to its own pod": "web-a sees 10.244.1.1",
        # Who has a route to them is served, as by kube-proxy.
        "underlay to a ClusterIP": by_node_a,
        "underlay to a ClusterIP without listener": "ECONNREFUSED",
        "underlay to the node": "200",
    }


def test_of_the_nodes_network_pods_reach_nodes_and_nothing_else(found: dict[str, Any]) -> None:
    assert found["underlay"] == {
        "NodePort of its node": ["web-a sees 10.244.1.1", "web-b sees 10.244.1.0"],
        "NodePort of the other node": ["web-a sees 10.244.2.0", "web-b sees 10.244.2.1"],
        "pings the other node": True,
        "connects to host": "ENETUNREACH",
        "connects to host, from node-b": "host sees 10.201.0.12",
        "pings host": False,
        "heard by host": ["of the node"],
        "connects to stranger": "ENETUNREACH",
        "connects to stranger, from node-b": "stranger sees 10.201.0.12",
        "pings stranger": False,
        "heard by stranger": ["of the node"],
    }


def test_the_rules_are_what_keeps_it(found: dict[str, Any]) -> None:
    assert found["without rules"] == {
        "underlay to a ClusterIP": "ECONNREFUSED",  # the proxy is not there, but the address is
        "pod pings a ClusterIP": True,
        "pod to elsewhere": "silence",  # it has left by the underlay
        "heard by stranger": ["of a pod", "forged", "of the node"],  # node-b has its rules
    }


def test_backend_is_on_the_nodes(found: dict[str, Any]) -> None:
    assert found["annotations"] == ["vxlan", "vxlan"]


def test_default_route_leaves_by_the_underlay(found: dict[str, Any]) -> None:
    # The engine had put it on the pods' network.
    assert "default via 10.201.0.1 dev eth1 proto static " in found["state"]["node-b"]["routes"]


def test_sockets_are_lent(found: dict[str, Any]) -> None:
    assert found["lent"] == "10.201.0.11"
    assert found["socket removed"]


def test_a_restart_changes_nothing(found: dict[str, Any]) -> None:
    assert found["while gone"] == "web-b sees 10.244.1.11"
    assert found["healthy again"]
    assert found["same state"], found["state after restart"]


def test_pods_learn_where_their_gateway_is_now(found: dict[str, Any]) -> None:
    # The second address is not announced: it shows that nothing else has told the pod.
    assert found["remembered"] == {
        "10.244.1.1": "02:00:00:00:01:01",
        "10.244.1.2": "02:00:00:00:01:63",
    }


def test_a_peer_comes_moves_and_goes(found: dict[str, Any]) -> None:
    assert found["peer came"]
    assert found["peer moved"]
    assert found["peer gone"]


def test_a_peer_that_went_while_nobody_looked(found: dict[str, Any]) -> None:
    assert found["still there for node-b"] == [1, 1, ["10.201.0.33"]]
    assert found["gone after restart"] == [0, 0, []]


def test_api_server_away(found: dict[str, Any]) -> None:
    assert found["without API"].startswith("web-")
    assert found["started without API"] == {
        "pods": "web-b sees 10.244.1.11",
        "health": "ConnectionRefusedError",
    }
    # The next API server has another socket at the same path.
    assert found["API is back"]
    assert found["new objects are followed"]


def test_a_node_that_the_cluster_does_not_know_is_not_healthy(found: dict[str, Any]) -> None:
    assert found["unknown"] == [True, "ConnectionRefusedError", [1, 0, []]]


def test_the_end(found: dict[str, Any]) -> None:
    assert found["ended"] == [0, 0]
    assert "Traceback" not in "".join(found["logs"].values())


@pytest.mark.parametrize("why", ["asked for", "no vxlan"])
def test_plain_routes(found: dict[str, Any], why: str) -> None:
    seen = dict(found["plain routes"][why])
    said = seen.pop("said")
    seen["annotation"] = {
        name: value for name, value in seen["annotation"].items() if name.endswith("/backend")
    }
    assert seen == {
        "healthy": [True, True],
        "pods": "web-b sees 10.244.1.11",
        "ClusterIP": ["web-a sees 10.244.1.1", "web-b sees 10.244.1.11"],
        "tunnel": False,
        "annotation": {"podwire.dev/backend": "host-gw"},
    }
    assert "host-gw to other nodes" in said
    assert ("no VXLAN in this kernel" in said) == (why == "no vxlan")


@pytest.mark.parametrize(
    ("what", "status", "next_step"),
    [
        ("no pods", 69, "networks: {pods-a: {ipv4_address: 10.244.9.2}}"),
        ("no address", 69, "networks: {nodes: {ipv4_address: 10.201.0.99}}"),
        ("no variable", 64, "PODWIRE_NODE=node-a"),
        ("port taken", 69, "cannot serve on 10.201.0.11:10256"),
        ("no NET_ADMIN", 69, "cap_add: [NET_ADMIN, NET_BIND_SERVICE, NET_RAW]"),
        ("net.ipv4.ip_forward", 69, 'sysctls: {net.ipv4.ip_forward: "1"}'),
        ("net.ipv4.conf.all.arp_ignore", 69, 'sysctls: {net.ipv4.conf.all.arp_ignore: "1"}'),
        ("net.ipv4.conf.all.arp_announce", 69, 'sysctls: {net.ipv4.conf.all.arp_announce: "2"}'),
    ],
)
def test_refusals(found: dict[str, Any], what: str, status: int, next_step: str) -> None:
    ended, said = found["refusals"][what]
    assert ended == status, said
    assert next_step in said
    assert "Traceback" not in said


def test_somebody_else_has_the_gateways_address(found: dict[str, Any]) -> None:
    assert found["rival"]
