"""What the ConfigMaps podwire-network and kube-proxy say of the network and of the proxies."""

from ipaddress import IPv4Address, IPv4Network

import pytest

from podwire.emulator.trace.wiring import ProxySettings, Wiring
from podwire.testing.target import configured, rules_of, wired

NETWORK = {
    "domain": "cluster.local",
    "backend": "host-gw",
    "pods": "10.99.0.0/16",
    "services": "10.96.0.0/12",
    "dns": "10.96.0.10",
}


def test_without_it_the_network_is_the_usual_one() -> None:
    assert wired({}) == Wiring()


def test_namespaces_as_pods() -> None:
    found = wired({**NETWORK, "external": "203.0.113.10"})
    assert found == Wiring(backend="host-gw", pods=IPv4Network("10.99.0.0/16"))
    assert found.external == IPv4Address("203.0.113.10")


def test_containers_as_pods() -> None:
    more = {
        "bridge": "eth1",
        "captures": "nodes",
        "hint": "docker compose --profile capture up -d",
        "host-ports": "reserved",
    }
    assert wired({**NETWORK, **more}) == Wiring(
        backend="host-gw",
        pods=IPv4Network("10.99.0.0/16"),
        external=None,
        bridge="eth1",
        captures="nodes",
        hint="docker compose --profile capture up -d",
        host_ports=False,
    )


def test_the_nodes_own_search_domains() -> None:
    found = wired({**NETWORK, "resolv.conf": "search corp.example\noptions ndots:2\n"})
    assert (found.searches, found.node_ndots) == (("corp.example",), 2)


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("", ProxySettings()),
        ("mode: nftables\nnodePortAddresses: null\n", ProxySettings()),
        ("nodePortAddresses: [primary]", ProxySettings(node_ports="primary")),
        (
            'nodePortAddresses: [192.168.1.0/24, "fd00::/8"]',
            ProxySettings(node_ports=(IPv4Network("192.168.1.0/24"),)),
        ),
        (
            "mode: iptables\niptables: {masqueradeAll: true, localhostNodePorts: false}",
            ProxySettings(masquerade_all=True, localhost_node_ports=False),
        ),
        ("mode: nftables\niptables: {masqueradeAll: true}", ProxySettings()),
        ("mode: [", ProxySettings()),
        ("nodePortAddresses: [nonsense]", ProxySettings()),
    ],
)
def test_what_is_configured_for_the_proxies(text: str, settings: ProxySettings) -> None:
    assert configured(text) == settings


@pytest.mark.parametrize(
    ("corefile", "rules"),
    [
        ("", ()),
        (".:53 {\n    errors\n    kubernetes cluster.local {\n        pods insecure\n    }\n}\n", ()),
        (".:53 {\n    rewrite name a b\n    hosts {\n    }\n    rewrite name c d\n}\n",
         ("rewrite", "hosts")),
        (".:53 {\n    # rewrite name a b\n}\n", ()),
    ],
)  # fmt: skip
def test_what_a_corefile_changes(corefile: str, rules: tuple[str, ...]) -> None:
    assert rules_of(corefile) == rules
