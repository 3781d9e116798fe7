"""A Service's rules, word for word as kube-proxy gives them to iptables-restore (golden/)."""

from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest

from podwire.proxy.iptables.ground import Ground, Kernel, ground
from podwire.proxy.iptables.service import NOTHING, Portion, portion
from tests.unit.proxy.written import node, ports

GOLDEN = Path(__file__).parent / "golden"
GROUND = ground(node(), Kernel())
BOTH = "10.244.1.2:8080@node-1 10.244.2.3:8080@node-2"
ELSEWHERE = "10.244.2.3:8080@node-2"
OUTSIDE = {"external_ips": ("198.51.100.7",), "load_balancer": ("203.0.113.10",)}

SERVICES: dict[str, dict[str, Any]] = {
    "cluster-ip": {"endpoints": f"10.244.1.9:8080@node-1 10.244.1.10:8080@node-1 {ELSEWHERE}"},
    "internal-local": {"endpoints": BOTH, "internal_traffic_policy": "Local"},
    "node-port": {"port": "80:30080"},
    "no-endpoints": {"endpoints": "", "port": "80:30080", **OUTSIDE},
    "outside": {"endpoints": BOTH, "port": "http=80:30080", **OUTSIDE},
    "external-local": {
        "endpoints": BOTH,
        "port": "80:30080",
        "external_traffic_policy": "Local",
        "load_balancer": ("203.0.113.10",),
        "load_balancer_source_ranges": ("192.168.1.0/24", "198.51.100.0/24"),
        "health_check_node_port": 32000,
    },
    "no-local-endpoints": {
        "endpoints": ELSEWHERE,
        "port": "http=80:30080",
        "external_traffic_policy": "Local",
        "internal_traffic_policy": "Local",
        "external_ips": ("198.51.100.7",),
    },
    "affinity": {
        "endpoints": "10.244.1.2:53@node-1 10.244.2.3:53@node-2",
        "port": "dns=53/UDP dns-tcp=53",
        "session_affinity": "ClientIP",
    },
}


def text(found: Portion) -> str:
    shared = (
        ("nat", found.services + found.node_ports),
        ("filter", found.refused + found.refused_outside + found.health_checks + found.firewall),
    )
    lines = [f"*{table}\n{rules}" for table, rules in shared]
    return "".join(lines) + "*nat, its own\n" + "".join(v for _, v in sorted(found.chains.items()))


@pytest.mark.parametrize("name", SERVICES)
def test_rules(name: str) -> None:
    found = portion(ports(**SERVICES[name]), GROUND, comments=True)
    assert text(found) == (GOLDEN / f"{name}.rules").read_text()


def test_every_golden_file_is_read() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == SERVICES.keys()


def test_no_ports_no_rules() -> None:
    assert portion((), GROUND, comments=True) is NOTHING


@pytest.mark.parametrize("name", SERVICES)
def test_without_comments_only_chains_of_services_and_endpoints_differ(name: str) -> None:
    described = portion(ports(**SERVICES[name]), GROUND, comments=True)
    bare = portion(ports(**SERVICES[name]), GROUND, comments=False)
    assert replace(described, chains={}) == replace(bare, chains={})
    for chain, rules in bare.chains.items():
        if chain.startswith("KUBE-SEP-"):
            assert "--comment" not in rules
        elif chain.startswith(("KUBE-SVC-", "KUBE-SVL-")):
            # The rule that masquerades keeps its own.
            assert all("cluster IP" in r for r in rules.splitlines() if "--comment" in r)
        else:
            assert rules == described.chains[chain]


@pytest.mark.parametrize(
    ("count", "chances"),
    [
        (1, ""),
        (2, "0.5000000000"),
        (3, "0.3333333333 0.5000000000"),
        (4, "0.2500000000 0.3333333333 0.5000000000"),
        (5, "0.2000000000 0.2500000000 0.3333333333 0.5000000000"),
    ],
)
def test_chances(count: int, chances: str) -> None:
    endpoints = " ".join(f"10.244.1.{n}:80@node-1" for n in range(1, count + 1))
    rules = portion(ports(endpoints), GROUND, comments=True).chains["KUBE-SVC-LOLE4ISW44XBNF3G"]
    assert rules.count("-j KUBE-SEP-") == count
    found = [
        line.split(" --probability ")[1].split(" ")[0]
        for line in rules.splitlines()
        if "--probability" in line
    ]
    assert " ".join(found) == chances


MASQUERADED = "-m tcp -p tcp -d 10.96.10.10 --dport 80 {}-j KUBE-MARK-MASQ"


@pytest.mark.parametrize(
    ("settings", "not_pods", "pods"),
    [
        ({}, "! -s 10.244.0.0/16 ", "-s 10.244.0.0/16"),
        ({"detect_local": "NodeCIDR"}, "! -s 10.244.1.0/24 ", "-s 10.244.1.0/24"),
        (
            {"detect_local": "BridgeInterface", "bridge_interface": "cni0"},
            "! -i cni0 ",
            "-i cni0",
        ),
        (
            {"detect_local": "InterfaceNamePrefix", "interface_prefix": "veth"},
            "! -i veth+ ",
            "-i veth+",
        ),
        ({"masquerade_all": True}, "", "-s 10.244.0.0/16"),
        ({"masquerade_all": True, "cluster_cidr": None}, "", None),
        ({"cluster_cidr": None}, None, None),
    ],
)
def test_detectors(settings: dict[str, Any], not_pods: str | None, pods: str | None) -> None:
    on = ground(node(**settings), Kernel())
    service = ports(port="80:30080", external_traffic_policy="Local")
    chains = portion(service, on, comments=True).chains
    balancing = chains["KUBE-SVC-LOLE4ISW44XBNF3G"]
    if not_pods is None:
        assert "KUBE-MARK-MASQ" not in balancing
    else:
        assert MASQUERADED.format(not_pods) in balancing
    external = chains["KUBE-EXT-LOLE4ISW44XBNF3G"]
    if pods is None:
        assert "pod traffic" not in external
    else:
        assert f'destinations" {pods} -j KUBE-SVC-' in external


@pytest.mark.parametrize(
    ("ranges", "address_of_balancer"),
    [
        ("192.168.1.0/24", True),
        # The address of cni0 is the node's as well.
        ("10.244.1.0/24", True),
        ("198.51.100.0/24", False),
    ],
)
def test_node_in_the_source_ranges(ranges: str, *, address_of_balancer: bool) -> None:
    service = ports(load_balancer=("203.0.113.10",), load_balancer_source_ranges=(ranges,))
    rules = portion(service, GROUND, comments=True).chains["KUBE-FW-LOLE4ISW44XBNF3G"]
    assert ("-s 203.0.113.10 -j KUBE-EXT-" in rules) == address_of_balancer


@pytest.mark.parametrize(
    ("network", "endpoint", "masqueraded"),
    [
        ("routed", "10.244.1.2", "10.244.1.2"),
        ("bridge-nf", "10.244.1.2", "10.244.1.2"),
        ("switched", "10.244.1.2", "10.244.1.0/24"),
        ("switched", "10.244.2.2", "10.244.2.2"),
    ],
)
def test_pods_that_answer_past_the_node(network: Any, endpoint: str, masqueraded: str) -> None:
    on: Ground = ground(replace(node(), same_pod_network=network), Kernel())
    chains = portion(ports(f"{endpoint}:80@node-1"), on, comments=True).chains
    (rules,) = (rules for chain, rules in chains.items() if chain.startswith("KUBE-SEP-"))
    assert f'"default/web" -s {masqueraded} -j KUBE-MARK-MASQ' in rules


def test_switched_networks() -> None:
    assert ground(replace(node(), same_pod_network="switched"), Kernel()).switched == (
        IPv4Network("10.244.1.0/24"),
    )
