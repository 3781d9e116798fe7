"""The rules that do not depend on Services: marks, NodePort addresses, guards, jumps."""

from ipaddress import IPv4Network
from typing import Any

import pytest

from podwire.proxy.iptables.ground import JUMPS, Kernel, fixed_rules, ground, last_rules
from tests.unit.proxy.written import node

LAST = (
    '-A KUBE-SERVICES -m comment --comment "kubernetes service nodeports; NOTE: this must be the '
    'last rule in this chain" {} -j KUBE-NODEPORTS\n'
)
GUARD = (
    '-A KUBE-FIREWALL -m comment --comment "block incoming localnet connections" '
    "-d 127.0.0.0/8 ! -s 127.0.0.0/8 -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP\n"
)


def test_fixed_rules() -> None:
    assert fixed_rules(ground(node(), Kernel())) == {
        ("nat", "KUBE-POSTROUTING"): (
            "-A KUBE-POSTROUTING -m mark ! --mark 0x00004000/0x00004000 -j RETURN\n"
            "-A KUBE-POSTROUTING -j MARK --xor-mark 0x00004000\n"
            '-A KUBE-POSTROUTING -m comment --comment "kubernetes service traffic requiring SNAT" '
            "-j MASQUERADE --random-fully\n"
        ),
        ("nat", "KUBE-MARK-MASQ"): "-A KUBE-MARK-MASQ -j MARK --or-mark 0x00004000\n",
        ("filter", "KUBE-FORWARD"): (
            "-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP\n"
            '-A KUBE-FORWARD -m comment --comment "kubernetes forwarding rules" '
            "-m mark --mark 0x00004000/0x00004000 -j ACCEPT\n"
            '-A KUBE-FORWARD -m comment --comment "kubernetes forwarding conntrack rule" '
            "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n"
        ),
        ("filter", "KUBE-FIREWALL"): GUARD,
    }


def test_what_the_kernel_lacks_is_left_out() -> None:
    rules = fixed_rules(ground(node(), Kernel(random_fully=False, be_liberal=True)))
    assert "--random-fully" not in rules["nat", "KUBE-POSTROUTING"]
    assert "INVALID" not in rules["filter", "KUBE-FORWARD"]


def test_another_bit() -> None:
    rules = fixed_rules(ground(node(masquerade_bit=0), Kernel()))
    assert rules["nat", "KUBE-MARK-MASQ"] == "-A KUBE-MARK-MASQ -j MARK --or-mark 0x00000001\n"


@pytest.mark.parametrize(
    ("settings", "matches", "localnet"),
    [
        ({}, ["-m addrtype --dst-type LOCAL"], True),
        (
            {"localhost_node_ports": False},
            ["-m addrtype --dst-type LOCAL ! -d 127.0.0.0/8"],
            False,
        ),
        ({"node_port_addresses": "0.0.0.0/0"}, ["-m addrtype --dst-type LOCAL"], True),
        ({"node_port_addresses": "primary"}, ["-d 192.168.1.10"], False),
        ({"node_port_addresses": "10.244.0.0/16"}, ["-d 10.244.1.1"], False),
        (
            {"node_port_addresses": "192.168.0.0/16 127.0.0.0/8"},
            ["-d 192.168.1.10", "-d 127.0.0.1"],
            True,
        ),
        (
            {"node_port_addresses": "192.168.0.0/16 127.0.0.0/8", "localhost_node_ports": False},
            ["-d 192.168.1.10"],
            False,
        ),
        ({"node_port_addresses": "203.0.113.0/24"}, [], False),
    ],
)
def test_addresses_of_node_ports(
    settings: dict[str, Any], matches: list[str], *, localnet: bool
) -> None:
    words = settings.get("node_port_addresses")
    if words and words != "primary":
        networks = tuple(map(IPv4Network, words.split()))
        settings = {**settings, "node_port_addresses": networks}
    on = ground(node(**settings), Kernel())
    assert last_rules(on) == "".join(map(LAST.format, matches))
    assert on.localnet == localnet
    assert fixed_rules(on)["filter", "KUBE-FIREWALL"] == (GUARD if localnet else "")


def test_jumps_stand_as_on_a_clean_host() -> None:
    hooks: dict[str, list[str]] = {}
    for jump in JUMPS:
        hooks.setdefault(f"{jump.table} {jump.hook}", []).insert(0, jump.chain)
    assert hooks == {
        "filter INPUT": [
            "KUBE-FIREWALL",
            "KUBE-PROXY-FIREWALL",
            "KUBE-NODEPORTS",
            "KUBE-EXTERNAL-SERVICES",
        ],
        "filter FORWARD": [
            "KUBE-PROXY-FIREWALL",
            "KUBE-FORWARD",
            "KUBE-SERVICES",
            "KUBE-EXTERNAL-SERVICES",
        ],
        "filter OUTPUT": ["KUBE-FIREWALL", "KUBE-PROXY-FIREWALL", "KUBE-SERVICES"],
        "nat PREROUTING": ["KUBE-SERVICES"],
        "nat OUTPUT": ["KUBE-SERVICES"],
        "nat POSTROUTING": ["KUBE-POSTROUTING"],
    }
