"""The iptables mode in a kernel of its own network namespace: listings, packets, syncs, failures."""

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


@pytest.fixture(scope="module", params=["iptables-nft", "iptables-legacy"])
def found(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Give what the experiments found with one variant of iptables."""
    programs = ("unshare", "mount", "ip", request.param)
    lacking = [program for program in programs if shutil.which(program, path=SEARCH) is None]
    probe = [*ENTER, request.param, "-t", "nat", "-L"]
    unlocked = {**os.environ, "PATH": SEARCH, "XTABLES_LOCKFILE": os.devnull}
    if not lacking and subprocess.run(probe, capture_output=True, env=unlocked).returncode != 0:
        lacking = [f"a kernel for {request.param} in a user namespace"]
    if lacking:
        lack(f"this machine lacks {lacking[0]}")
    program = [sys.executable, "-P", str(Path(__file__).parent / "iptables_experiments.py")]
    environ = {
        **os.environ,
        "PATH": SEARCH,
        "PYTHONPATH": str(Path.cwd()),
        "XTABLES_LOCKFILE": "/run/xtables.lock",
    }
    done = subprocess.run(
        [*ENTER, *program, request.param],
        capture_output=True,
        text=True,
        timeout=180,
        env=environ,
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def test_listing_reads_as_in_a_textbook(found: dict[str, Any]) -> None:
    listing = found["listing"]
    anywhere = "0.0.0.0/0"
    assert listing["KUBE-SERVICES"] == [
        f"KUBE-SVC-NPX46M4PTMTKRN6Y tcp -- {anywhere} 10.96.0.1 "
        "/* default/kubernetes:https cluster IP */ tcp dpt:443",
        f"KUBE-SVC-JSLCNGWSGB5JPS5Q tcp -- {anywhere} 10.96.5.5 "
        "/* default/lb:http cluster IP */ tcp dpt:80",
        f"KUBE-FW-JSLCNGWSGB5JPS5Q tcp -- {anywhere} 203.0.113.10 "
        "/* default/lb:http loadbalancer IP */ tcp dpt:80",
        f"KUBE-SVC-LOLE4ISW44XBNF3G tcp -- {anywhere} 10.96.10.10 "
        "/* default/web cluster IP */ tcp dpt:80",
        f"KUBE-NODEPORTS all -- {anywhere} {anywhere} /* kubernetes service nodeports; NOTE: this "
        "must be the last rule in this chain */ ADDRTYPE match dst-type LOCAL",
    ]
    assert listing["KUBE-SVC-LOLE4ISW44XBNF3G"] == [
        "KUBE-MARK-MASQ tcp -- !10.244.0.0/16 10.96.10.10 /* default/web cluster IP */ tcp dpt:80",
        f"KUBE-SEP-PXJ2U7QYT2QW5545 all -- {anywhere} {anywhere} "
        "/* default/web -> 10.244.1.2:8080 */ statistic mode random probability 0.33333333349",
        f"KUBE-SEP-23NJSXDYUSXY5E7Q all -- {anywhere} {anywhere} "
        "/* default/web -> 10.244.1.3:8080 */ statistic mode random probability 0.50000000000",
        f"KUBE-SEP-G2TK3RG32KUOAWKQ all -- {anywhere} {anywhere} "
        "/* default/web -> 10.244.2.3:8080 */",
    ]
    assert listing["KUBE-NODEPORTS"] == [
        f"KUBE-EXT-LOLE4ISW44XBNF3G tcp -- {anywhere} {anywhere} /* default/web */ tcp dpt:30080"
    ]


def test_jumps_stand_at_the_top_in_order(found: dict[str, Any]) -> None:
    listing = found["listing"]
    inbound = ["KUBE-FIREWALL", "KUBE-PROXY-FIREWALL", "KUBE-NODEPORTS", "KUBE-EXTERNAL-SERVICES"]
    assert listing["INPUT"] == inbound
    assert listing["FORWARD"] == [
        "KUBE-PROXY-FIREWALL",
        "KUBE-FORWARD",
        "KUBE-SERVICES",
        "KUBE-EXTERNAL-SERVICES",
    ]
    assert listing["OUTPUT"] == ["KUBE-FIREWALL", "KUBE-PROXY-FIREWALL", "KUBE-SERVICES"]
    assert listing["portals"] == "ctstate NEW /* kubernetes service portals */"


# Each cell: which endpoints answer and whom they see (kept: the client; node: the node's address on
# the endpoint's wire), or what the client meets. Rows and columns as in the documentation of
# kube-proxy's masquerading.
TRAFFIC = """
case            client    ClusterIP      NodePort       balancer       external       localhost
cluster         client    both,kept      both,node      both,node      both,node      -
cluster         node      both,node      both,node      both,node      both,node      both,node
cluster         stranger  both,node      both,node      both,node      both,node      -
local           client    both,kept      both,kept      both,kept      both,kept      -
local           node      both,node      both,node      both,node      both,node      both,node
local           stranger  both,node      web,kept       web,kept       web,kept       -
nothing_here    client    silence        far,kept       far,kept       far,kept       -
nothing_here    node      silence        far,node       far,node       far,node       far,node
nothing_here    stranger  silence        silence        silence        silence        -
nothing         client    ECONNREFUSED   ECONNREFUSED   ECONNREFUSED   ECONNREFUSED   -
nothing         node      ECONNREFUSED   ECONNREFUSED   silence        silence        ECONNREFUSED
nothing         stranger  ECONNREFUSED   ECONNREFUSED   ECONNREFUSED   ECONNREFUSED   -
ranges          client    web,kept       web,node       web,node       web,node       -
ranges          node      web,node       web,node       silence        web,node       web,node
ranges          stranger  web,node       web,node       silence        web,node       -
masquerade_all  client    web,node       -              -              -              -
masquerade_all  node      web,node       -              -              -              -
masquerade_all  stranger  web,node       -              -              -              -
no_localhost    client    -              web,node       -              -              -
no_localhost    node      -              web,node       -              -              ECONNREFUSED
no_localhost    stranger  -              web,node       -              -              -
another_address client    -              ECONNREFUSED   -              -              -
another_address node      -              ECONNREFUSED   -              -              ECONNREFUSED
another_address stranger  -              ECONNREFUSED   -              -              -
"""
ADDRESSES = {"client": "10.244.1.3", "stranger": "192.168.1.99"}
ON_THE_WIRE = {"web": "10.244.1.1", "far": "10.244.2.1"}


def cells() -> list[Any]:
    head, *rows = (line.split() for line in TRAFFIC.split("\n") if line)
    return [
        pytest.param(row[0], row[1], target, cell, id=f"{row[0]}-{row[1]}-{target}")
        for row in rows
        for target, cell in zip(head[2:], row[2:], strict=True)
        if cell != "-"
    ]


@pytest.mark.parametrize(("case", "client", "target", "cell"), cells())
def test_traffic(found: dict[str, Any], case: str, client: str, target: str, cell: str) -> None:
    met = found["traffic"][case.replace("_", " ")][f"{client} to {target}"]
    answering, _, source = cell.partition(",")
    if not source:
        assert met == [cell]
        return
    endpoints = ["far", "web"] if answering == "both" else [answering]
    assert met == [
        f"{endpoint} sees {ADDRESSES[client] if source == 'kept' else ON_THE_WIRE[endpoint]}"
        for endpoint in endpoints
    ]


def test_a_pod_that_is_sent_to_itself_sees_the_node(found: dict[str, Any]) -> None:
    assert found["traffic"]["cluster"]["hairpin"] == [
        "far sees 10.244.1.2",
        "web sees 10.244.1.1",
    ]


def test_affinity_outlives_a_sync(found: dict[str, Any]) -> None:
    assert found["affinity"] == {"endpoints": 1, "same after a sync": True}


def test_datagrams_of_one_socket_follow_the_endpoint(found: dict[str, Any]) -> None:
    assert found["udp"] == {
        "heard": ["web hears 10.244.1.2:5353@node-1", "far hears 10.244.2.3:5353@node-2"],
        "flows": ["default/web 10.244.1.2:5353 1"],
    }


def test_syncs(found: dict[str, Any]) -> None:
    assert found["syncs"] == {
        "clean": [],
        "twice is once": True,
        "of the old endpoint": [],
        # Its rule in the chain of the Service, and the one that translates.
        "of the new endpoint": 2,
        "of a deleted Service": [],
        "gone as the node changed": [],
        "node as before": True,
        "intact": True,
        "intact after -F": False,
        "after -F, synced": True,
        "intact without a canary": False,
        "after a restart": [],
        "jumps, after all that": 14,
        "route_localnet": ["1", "0"],
        "cleaned up": [],
        "rules of others": True,
    }


def test_many_endpoints(found: dict[str, Any]) -> None:
    assert found["large"] == {"comments": [], "deleted at once": 0, "deleted later": 1}


def test_more_services_than_fit_into_a_message(found: dict[str, Any]) -> None:
    """In a user namespace nf_tables takes 200 kB at a time, and the chain of all Services is one."""
    if shutil.which("iptables-legacy", path=SEARCH) is None:
        lack("this machine lacks iptables-legacy")
    assert found["many"] == {"chains": {"legacy": 300}, "intact": True, "left": 0}


def test_a_kernel_without_sctp_has_all_else_served(found: dict[str, Any]) -> None:
    why = (
        "SCTP cannot be served: the kernel lacks xt_sctp (modprobe xt_sctp, then restart the proxy,"
        " or choose nftables)"
    )
    expected: dict[str, Any] = {"the same again": True, "in the canary": 0}
    assert found["without sctp"] == {
        "without": expected | {"failed": {"default/both": why}, "served": [True, True, False]},
        "with": expected | {"failed": {}, "served": [True, True, True]},
    }


def test_failures(found: dict[str, Any]) -> None:
    failures = dict(found["failures"])
    refused = failures.pop("refused")
    assert "invalid port/service `70000' specified" in refused
    assert refused.endswith("--dport 70000 -j KUBE-SVC-LOLE4ISW44XBNF3G)")
    assert failures == {
        "left alone": True,
        "repaired": True,
        "failures": [1, 1],
        "missing": (
            "the iptables mode of the proxy needs the program iptables-restore\n"
            "install the package: apt-get install iptables (dnf install iptables-nft)"
        ),
    }
