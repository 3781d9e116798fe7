"""A Service's part of the table, and the table around it, word for word (golden/)."""

from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest

from podwire.proxy.nftables import layout, script
from podwire.proxy.nftables.objects import Transaction
from podwire.proxy.nftables.render import contents
from tests.unit.proxy.written import node, ports

GOLDEN = Path(__file__).parent / "golden"
SERVICES_RANGE = IPv4Network("10.96.0.0/12")
BOTH = "10.244.1.2:8080@node-1 10.244.2.3:8080@node-2"
HERE = "10.244.1.2:8080@node-1"
ELSEWHERE = "10.244.2.3:8080@node-2"
OUTSIDE = {
    "port": "http=80:30080",
    "external_ips": ("198.51.100.7",),
    "load_balancer": ("203.0.113.10",),
}
LOCAL = {"external_traffic_policy": "Local"}

SERVICES: dict[str, dict[str, Any]] = {
    "cluster-ip": {"endpoints": BOTH},
    "three-protocols": {
        "endpoints": BOTH,
        "port": "dns=53/UDP dns-tcp=53 sip=5060/SCTP",
    },
    "internal-local": {"endpoints": BOTH, "internal_traffic_policy": "Local"},
    "internal-local-elsewhere": {"endpoints": ELSEWHERE, "internal_traffic_policy": "Local"},
    "outside": {"endpoints": BOTH, **OUTSIDE},
    "external-local": {"endpoints": BOTH, **OUTSIDE, **LOCAL},
    "external-local-elsewhere": {"endpoints": ELSEWHERE, **OUTSIDE, **LOCAL},
    "no-endpoints": {"endpoints": "", **OUTSIDE},
    "terminating": {"endpoints": f"{HERE},terminating", **OUTSIDE},
    "affinity": {"endpoints": BOTH, "session_affinity": "ClientIP"},
    "source-ranges": {
        "endpoints": HERE,
        **OUTSIDE,
        "load_balancer_source_ranges": ("192.168.0.0/16", "192.168.1.0/24", "198.51.100.9/32"),
    },
    "source-ranges-without-the-node": {
        "endpoints": HERE,
        **OUTSIDE,
        "load_balancer_source_ranges": ("198.51.100.0/24",),
    },
    "source-range-of-all": {
        "endpoints": HERE,
        **OUTSIDE,
        "load_balancer_source_ranges": ("198.51.100.0/24", "0.0.0.0/0"),
    },
}
EVERYWHERE = (IPv4Network("0.0.0.0/0"),)
NODES: dict[str, dict[str, Any]] = {
    "usual": {},
    "masquerade-all": {"masquerade_all": True, "masquerade_bit": 5},
    "node-ports-everywhere": {"node_port_addresses": EVERYWHERE},
    "node-ports-in-a-range": {"node_port_addresses": (IPv4Network("10.244.0.0/16"),)},
    "node-cidr": {"detect_local": "NodeCIDR"},
    "bridge": {"detect_local": "BridgeInterface", "bridge_interface": "cni0"},
    "interfaces": {"detect_local": "InterfaceNamePrefix", "interface_prefix": "veth"},
    "no-detector": {"cluster_cidr": None, "service_cidr": None},
}


@pytest.mark.parametrize("name", SERVICES)
def test_service(name: str) -> None:
    found = contents(ports(**SERVICES[name]), node())
    text = script.changes(Transaction(found.chains, [], found.affinity, [], found.elements))
    _compare(f"service-{name}", text)


@pytest.mark.parametrize("name", NODES)
def test_table(name: str) -> None:
    settings: dict[str, Any] = {"service_cidr": SERVICES_RANGE} | NODES[name]
    view = node(**settings)
    found = script.foundation(view) + script.completion(view, layout.elements(view))
    _compare(f"table-{name}", found)


def test_pods_that_reach_each_other_past_the_node_are_masqueraded() -> None:
    usual = layout.chains(node())["masquerading"]
    switched = layout.chains(replace(node(), same_pod_network="switched"))["masquerading"]
    assert switched[: len(usual)] == usual
    (own,) = switched[len(usual) :]
    assert own.startswith(
        "ct status dnat ip saddr 10.244.1.0/24 ip daddr 10.244.1.0/24 masquerade fully-random"
    )


@pytest.mark.parametrize("name", SERVICES)
def test_external_chains_know_pods_by_the_detector(name: str) -> None:
    bridge = node(detect_local="BridgeInterface", bridge_interface="cni0")
    usual = contents(ports(**SERVICES[name]), node()).chains
    other = contents(ports(**SERVICES[name]), bridge).chains
    assert other == {
        chain: tuple(
            rule.replace("ip saddr 10.244.0.0/16", 'iifname "cni0"')
            if isinstance(rule, str)
            else rule
            for rule in rules
        )
        for chain, rules in usual.items()
    }


def test_every_golden_file_is_read() -> None:
    named = {f"service-{name}" for name in SERVICES} | {f"table-{name}" for name in NODES}
    assert {path.stem for path in GOLDEN.iterdir()} == named


def _compare(name: str, text: str) -> None:
    assert text == (GOLDEN / f"{name}.nft").read_text()
