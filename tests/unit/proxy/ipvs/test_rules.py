"""What is in the sets beside ip_vs, in the situations that need each of them."""

from ipaddress import IPv4Network
from typing import Any

import pytest

from podwire.kube.names import Key
from podwire.proxy.ipvs import rules
from tests.unit.proxy.written import node, ports

BALANCER: dict[str, Any] = {"load_balancer": ("203.0.113.7",), "port": "web=80:30080"}


def members(**spec: Any) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for port in ports(**spec):
        for name, element in rules.elements(port, node()):
            found.setdefault(name.removeprefix("KUBE-"), set()).add(element)
    return found


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (
            {"endpoints": "10.244.1.2:8080@node-1 10.244.2.2:8080@node-2"},
            {
                "CLUSTER-IP": {"tcp . 10.96.10.10 . 80"},
                "IPVS-IPS": {"10.96.10.10"},
                # Hairpin: local endpoints only, as others never come back to their own node.
                "LOOP-BACK": {"tcp . 10.244.1.2 . 8080 . 10.244.1.2"},
            },
        ),
        (
            {"endpoints": "", "port": "dns=53:30053/UDP", "external_ips": ("198.51.100.1",)},
            {
                "CLUSTER-IP": {"udp . 10.96.10.10 . 53"},
                "EXTERNAL-IP": {"udp . 198.51.100.1 . 53"},
                "NODE-PORT": {"udp . 30053"},
                "IPVS-IPS": {"10.96.10.10", "198.51.100.1"},
            },
        ),
        (
            {
                "endpoints": "",
                "external_ips": ("198.51.100.1",),
                "external_traffic_policy": "Local",
                "health_check_node_port": 32000,
                **BALANCER,
            },
            {
                "CLUSTER-IP": {"tcp . 10.96.10.10 . 80"},
                "EXTERNAL-IP-LOCAL": {"tcp . 198.51.100.1 . 80"},
                "LOAD-BALANCER": {"tcp . 203.0.113.7 . 80"},
                "LOAD-BALANCER-LOCAL": {"tcp . 203.0.113.7 . 80"},
                "NODE-PORT-LOCAL": {"tcp . 30080"},
                "HEALTH-CHECK-NODE-PORT": {"32000"},
                "IPVS-IPS": {"10.96.10.10", "198.51.100.1", "203.0.113.7"},
            },
        ),
        (
            {
                "endpoints": "",
                "load_balancer_source_ranges": ("192.168.0.0/16", "8.8.0.0/16"),
                **BALANCER,
            },
            {
                "CLUSTER-IP": {"tcp . 10.96.10.10 . 80"},
                "LOAD-BALANCER": {"tcp . 203.0.113.7 . 80"},
                "LOAD-BALANCER-FW": {"tcp . 203.0.113.7 . 80"},
                "LOAD-BALANCER-SOURCE-CIDR": {
                    "tcp . 203.0.113.7 . 80 . 192.168.0.0/16",
                    "tcp . 203.0.113.7 . 80 . 8.8.0.0/16",
                },
                # A range has the node's own address.
                "LOAD-BALANCER-SOURCE-IP": {"tcp . 203.0.113.7 . 80 . 203.0.113.7"},
                "NODE-PORT": {"tcp . 30080"},
                "IPVS-IPS": {"10.96.10.10", "203.0.113.7"},
            },
        ),
    ],
)
def test_elements(spec: dict[str, Any], expected: dict[str, set[str]]) -> None:
    assert members(**spec) == expected


@pytest.mark.parametrize(
    ("settings", "who"),
    [
        ({}, ["ip saddr != { 10.244.0.0/16 }"]),
        ({"detect_local": "NodeCIDR"}, ["ip saddr != { 10.244.1.0/24 }"]),
        ({"masquerade_all": True}, [""]),
        ({"cluster_cidr": None}, ["ip saddr @KUBE-IPVS-IPS"]),
    ],
)
def test_who_is_masqueraded_at_a_cluster_ip(settings: dict[str, Any], who: list[str]) -> None:
    written = rules.script((), node(**settings))
    found = [
        line.split("meta l4proto")[0].strip()
        for line in written.splitlines()
        if "@KUBE-CLUSTER-IP meta mark" in line
    ]
    assert found == who


def test_an_address_of_two_ports_goes_with_the_last() -> None:
    kept = rules.Members()
    key = Key("default", "web")
    kept.update({key: ports(port="a=80 b=81")}, node())
    fewer = kept.update({key: ports(port="a=80")}, node())
    assert fewer.deleted == {("KUBE-CLUSTER-IP", "tcp . 10.96.10.10 . 81")}
    assert rules.update(fewer) == (
        f"delete element ip {rules.TABLE} KUBE-CLUSTER-IP {{ tcp . 10.96.10.10 . 81 }}\n"
    )
    none = kept.update({key: ()}, node())
    assert ("KUBE-IPVS-IPS", "10.96.10.10") in none.deleted
    assert kept.all() == frozenset()


def test_source_ranges_that_overlap_become_one() -> None:
    found = members(
        endpoints="", load_balancer_source_ranges=("10.0.0.0/8", "10.1.0.0/16"), **BALANCER
    )
    assert found["LOAD-BALANCER-SOURCE-CIDR"] == {
        f"tcp . 203.0.113.7 . 80 . {IPv4Network('10.0.0.0/8')}"
    }
