"""The userspace mode in a kernel of its own network namespaces: sources, ground, failures."""

import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.needs import SEARCH, lack

pytestmark = pytest.mark.system

ENTER = ["unshare", "-Urnm"]


def run(what: str, *programs: str) -> dict[str, Any]:
    """Return what the experiments found."""
    needed = ("unshare", "nsenter", "mount", "ip", "busybox", *programs)
    lacking = [program for program in needed if shutil.which(program, path=SEARCH) is None]
    if not lacking and subprocess.run([*ENTER, "true"], capture_output=True).returncode != 0:
        lacking = ["permission to make user namespaces"]
    if lacking:
        lack(f"this machine lacks {lacking[0]}")
    done = subprocess.run(
        [
            *ENTER,
            sys.executable,
            "-P",
            str(Path(__file__).parent / "userspace_experiments.py"),
            what,
        ],
        capture_output=True,
        text=True,
        timeout=120,
        env={
            **os.environ,
            "PATH": SEARCH,
            "PYTHONPATH": str(Path.cwd()),
            "XTABLES_LOCKFILE": "/run/xtables.lock",
        },
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@pytest.fixture(scope="module")
def by_nft() -> dict[str, Any]:
    return run("nft", "nft")


@pytest.fixture(scope="module")
def by_iptables() -> dict[str, Any]:
    return run("iptables", "iptables", "iptables-save", "iptables-restore")


@pytest.fixture(params=["by_nft", "by_iptables"])
def found(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Give what was found with one packet filter or the other."""
    result: dict[str, Any] = request.getfixturevalue(request.param)
    return result


SOURCES = {
    "failed": "{}",
    "pod to ClusterIP": "web sees client",
    "datagram to ClusterIP": "web sees client",
    "pod to itself": "web sees 10.244.1.1",
    "pod to NodePort": "web sees 10.244.1.1",
    "pod to NodePort, Local": "web sees client",
    "process to ClusterIP": "web sees 10.244.1.1",
    "process to external IP": "web sees 10.244.1.1",
    "outside to ClusterIP": "web sees 10.244.1.1",
    "outside to NodePort": "web sees 10.244.1.1",
    "outside to NodePort, Local": "web sees stranger",
    "outside to external IP": "web sees 10.244.1.1",
    "ping a ClusterIP": "silence",
    "ping the node": "answered",
}


def test_whose_address_an_endpoint_sees(found: dict[str, Any]) -> None:
    assert found["kept"]
    assert found["sources"] == SOURCES


def test_who_is_served_where(found: dict[str, Any]) -> None:
    web, silence, refused = "web sees ", "silence", "ECONNREFUSED"
    assert found["reached"] == {
        "stranger to load balancer": f"{web}10.244.1.1",
        "far to load balancer": f"{web}10.244.1.1",
        "client to load balancer": silence,
        "node to load balancer": silence,
        "client to NodePort": f"{web}10.244.1.1",
        "NodePort on another address": f"{web}10.244.1.1",
        "NodePort not on the primary one": refused,
        "an external IP that another has": f"{web}10.244.1.1",
        "the other, by that address": "far sees client",
        "an external IP that another has, no endpoint": refused,
        "the other, then": "far sees client",
        "only one that is ending": f"{web}client",
        "only one that is published": f"{web}client",
        "one that is ending beside a ready one": "far sees client",
        "no endpoint, client": refused,
        "no endpoint, stranger": refused,
        "no endpoint, node": refused,
    }


def test_a_process_on_all_addresses_of_the_node_has_none_of_services(found: dict[str, Any]) -> None:
    refused = "ECONNREFUSED"
    assert found["a process everywhere"] == {
        "client to ClusterIP": refused,
        "node to ClusterIP": refused,
        "client to the node, an external IP": refused,
        "stranger to the node, an external IP": refused,
        "node to the node, an external IP": refused,
        "client to another ClusterIP": refused,
        "client to the node": "silence",
    }


def test_what_the_owner_of_an_external_address_has_open_stays_his(found: dict[str, Any]) -> None:
    """And what a Service had there stays the relay's: connections end where they began."""
    assert found["owned"] == {
        "client, connected before": "on",
        "node, connected before": "on",
        "client, connected to a Service that has gone": "on",
        "node, connected to a Service that has gone": "on",
        "the owner, by a datagram from there": "client sees far",
        "a datagram to there": "web sees 10.244.1.1",
    }


def test_a_proxy_that_comes_after_another_serves_the_same(found: dict[str, Any]) -> None:
    assert found["successor"] == SOURCES


def test_the_end_leaves_nothing_and_the_mode_leaves_all_else(found: dict[str, Any]) -> None:
    assert found["laid"]["filter"]
    assert found["after"] == found["before"]


def test_what_somebody_has_taken_away_is_laid_again(found: dict[str, Any]) -> None:
    served = [True, "web sees client", "web sees 10.244.1.1"]
    taken = ("rule", "route", "rules", "all rules", "ports", "table")
    expected = dict.fromkeys(taken, False) | {f"{what}, then": served for what in taken}
    assert found["flushed"] == {"before": True, **expected}


def test_a_port_in_use_is_replaced_by_another(found: dict[str, Any]) -> None:
    both = {"first": "web sees client", "second": "web sees client", "on another port": "1"}
    assert found["one port for two"] == both


def test_a_flow_moves_when_its_endpoint_goes(found: dict[str, Any]) -> None:
    """And not when another one comes."""
    seen = ["web sees client", "web sees client", "far sees client", "silence"]
    assert found["moved"] == seen


def test_a_port_that_another_process_has(by_nft: dict[str, Any]) -> None:
    assert by_nft["port taken"] == {
        "failed": {
            "default/web": "cannot serve 192.168.1.10:30080/TCP: [Errno 98] Address already in use"
        },
        "others": ["web sees client", "web sees client"],
        "again": {},
        "then": "web sees 10.244.1.1",
    }


def test_an_endpoint_that_swallows_everything(by_nft: dict[str, Any]) -> None:
    assert by_nft["black hole"] == {
        "stuck": ["silence"],
        "others": ["web sees client"],
        "with another endpoint": ["web sees client"],
    }


def test_without_descriptors_what_is_served_goes_on(by_nft: dict[str, Any]) -> None:
    assert by_nft["without files"] == {
        "failed": True,
        "reasons": ["Too many open files"],
        "served": "web sees client",
        "again": {},
        "then": "web sees client",
    }


def test_eight_thousand_connections() -> None:
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 18000:
        lack("18,000 descriptors (ulimit -Hn)")
    found = run("many", "nft")["many"]
    assert (found["held"], found["seen"]) == (8000, ["10.244.1.5"])
    assert found["bytes each"] <= 10 * 1024
    assert found["pipes"] == 0, "pipes are for bulk data"
