"""The nftables mode in a kernel: packets, settings, histories, what others do to the rules."""

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
KEPT, GATEWAY, NODE = "web sees client", "web sees 10.244.1.1", "far sees node"


def _run(name: str) -> str:
    """Return what the program *name* prints in namespaces of its own."""
    lacking = [p for p in ("unshare", "mount", "ip", "nft") if shutil.which(p, path=SEARCH) is None]
    probe = [*ENTER, "nft", "list", "ruleset"]
    environ = {**os.environ, "PATH": SEARCH, "PYTHONPATH": str(Path.cwd())}
    if not lacking and subprocess.run(probe, capture_output=True, env=environ).returncode != 0:
        lacking = ["nft in a user namespace"]
    if lacking:
        lack(f"this machine lacks {lacking[0]}")
    program = [sys.executable, "-P", str(Path(__file__).parent / name)]
    done = subprocess.run(
        [*ENTER, *program], capture_output=True, text=True, timeout=300, env=environ
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    """Give what the experiments have found."""
    result: dict[str, Any] = json.loads(_run("nftables_experiments.py"))
    return result


def test_a_table_that_grew_is_the_table_written_at_once() -> None:
    assert _run("nftables_histories.py") == "same\n"


# Per place: ClusterIP, NodePort, external address, load balancer; far has no ClusterIP of its own.
REFUSED = dict.fromkeys(("client", "web", "node", "stranger"), ["ECONNREFUSED"] * 4) | {
    "far": ["ECONNREFUSED"] * 3
}
CLUSTER_HERE = {
    "client": [KEPT, GATEWAY, GATEWAY, GATEWAY],
    # A pod that reaches itself.
    "web": [GATEWAY] * 4,
    "node": [GATEWAY] * 4,
    "stranger": [GATEWAY] * 4,
    "far": [GATEWAY] * 3,
}
CLUSTER_ELSEWHERE = {
    "client": ["far sees client", NODE, NODE, NODE],
    "web": ["far sees web", NODE, NODE, NODE],
    "node": [NODE] * 4,
    "stranger": [NODE] * 4,
    "far": [NODE] * 3,
}
PACKETS: dict[str, dict[str, list[str]]] = {
    "Cluster, endpoint here": CLUSTER_HERE,
    "Cluster, endpoint elsewhere": CLUSTER_ELSEWHERE,
    "external Local, endpoint here": {
        "client": [KEPT] * 4,
        "web": [GATEWAY] * 4,
        "node": [GATEWAY] * 4,
        "stranger": [GATEWAY, *["web sees stranger"] * 3],
        # To the node's own address it comes with that of its node.
        "far": ["web sees 192.168.1.11", "web sees far", "web sees far"],
    },
    "external Local, endpoint elsewhere": {
        "client": ["far sees client"] * 4,
        "web": ["far sees web"] * 4,
        "node": [NODE] * 4,
        "stranger": [NODE, *["silence"] * 3],
        # Its source is in the cluster's range, so it counts as a pod and is sent back to itself.
        "far": ["silence"] * 3,
    },
    "internal Local, endpoint here": CLUSTER_HERE,
    "internal Local, endpoint elsewhere": {
        place: ["silence", *answers[1:]] if place != "far" else answers
        for place, answers in CLUSTER_ELSEWHERE.items()
    },
    "no endpoint": REFUSED,
    "only for the client": {
        place: answers if place == "client" else [*answers[:-1], "silence"]
        for place, answers in CLUSTER_HERE.items()
    },
    "only for the node": {
        place: answers if place == "node" else [*answers[:-1], "silence"]
        for place, answers in CLUSTER_HERE.items()
    },
}


@pytest.mark.parametrize("case", PACKETS)
def test_packets(case: str, found: dict[str, Any]) -> None:
    assert found["policies"][case] == PACKETS[case]


def test_every_case_has_an_expectation(found: dict[str, Any]) -> None:
    assert found["policies"].keys() == PACKETS.keys()


USUAL = {
    "client to ClusterIP": KEPT,
    "far to ClusterIP": "web sees far",
    "far to NodePort": "web sees 192.168.1.11",
    "stranger to NodePort": "web sees stranger",
    "client to NodePort at its gateway": "ECONNREFUSED",
}


@pytest.mark.parametrize(
    ("setting", "differs"),
    [
        ("masqueradeAll", {"client to ClusterIP": GATEWAY, "far to ClusterIP": GATEWAY}),
        ("NodePorts on all addresses", {"client to NodePort at its gateway": KEPT}),
        (
            "NodePorts on no address of ours",
            {"far to NodePort": "ECONNREFUSED", "stranger to NodePort": "ECONNREFUSED"},
        ),
        ("InterfaceNamePrefix", {"far to ClusterIP": GATEWAY}),
        ("no detector", {}),
        ("switched pod network", {"client to ClusterIP": GATEWAY}),
    ],
)
def test_settings(setting: str, differs: dict[str, str], found: dict[str, Any]) -> None:
    assert found["settings"][setting] == USUAL | differs


def test_what_no_service_has(found: dict[str, Any]) -> None:
    assert found["wrong"] == {
        "port": ["ECONNREFUSED"] * 3,
        "address": ["silence"] * 2,
        "loopback": "ECONNREFUSED",
        "gone": "silence",
    }


def test_balance_and_affinity(found: dict[str, Any]) -> None:
    assert found["balance"] == {
        "random": ["far sees client", KEPT],
        "endpoints under affinity": 1,
        "the same after a change": True,
        "the same after a restart": True,
        "another when it is gone": True,
        "timeout": ["timeout 50s"],
    }


def test_udp_flows_follow_the_endpoints(found: dict[str, Any]) -> None:
    assert found["datagrams"] == {
        "before": ["far sees client", NODE],
        "open": ["default/web:p 10.244.2.6:8080 2"],
        "endpoint replaced": [KEPT, GATEWAY],
        "endpoint added": True,
        "no endpoint": "silence",
        "no proxy": "silence",
        "endpoint appears": "far sees client",
        "deleted": True,
    }


@pytest.mark.parametrize(
    "harm",
    [
        "flush ruleset",
        "delete table ip kube-proxy",
        "flush chain ip kube-proxy services",
        "flush table ip kube-proxy",
    ],
)
def test_harm_is_noticed_and_repaired(harm: str, found: dict[str, Any]) -> None:
    noticed, error, intact, answers = found["harm"][harm]
    assert (noticed, error, intact) == (True, "", True)
    assert answers["client"] == CLUSTER_HERE["client"]


def test_what_other_tables_do_is_no_harm(found: dict[str, Any]) -> None:
    assert found["harm"]["intact"] == [True] * 3


def test_what_is_in_the_way_is_named_and_then_removed(found: dict[str, Any]) -> None:
    assert found["harm"]["in the way"] == [True, True, "", KEPT]


def test_what_a_failed_change_was_to_program_is_programmed_with_the_whole(
    found: dict[str, Any],
) -> None:
    assert found["harm"]["element gone"] == [True, False, "", "far sees client"]


def test_cleanup_leaves_nothing(found: dict[str, Any]) -> None:
    assert found["harm"]["left"] == ""


def test_without_nft_the_error_says_what_to_install(found: dict[str, Any]) -> None:
    first, second = found["harm"]["no nft"].splitlines()
    assert first.startswith("MachineError: proxy mode nftables needs the program nft")
    assert second == "  run: sudo apt install nftables"


def test_a_restart_takes_over_what_the_earlier_proxy_left(found: dict[str, Any]) -> None:
    assert found["restart"] == {
        "while it is away": KEPT,
        "after": ["far sees client", "silence"],
        "chain of the Service that is gone": [True, True],
        "intact": True,
        "later": False,
    }
