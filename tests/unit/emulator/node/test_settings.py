"""What a node is told by its environment."""

from ipaddress import IPv4Address, IPv4Network

import pytest

from podwire.emulator.node.settings import NodeSettings, parse
from podwire.errors import ConfigError

GOOD = {
    "PODWIRE_NODE": "node-a",
    "PODWIRE_NODE_ADDRESS": "10.201.0.11",
    "PODWIRE_NODE_PODS": "10.244.1.0/24",
    "PODWIRE_PODS_SUBNET": "10.244.0.0/16",
    "PODWIRE_SERVICE_SUBNET": "10.96.0.0/12",
}


def test_settings() -> None:
    settings = parse(GOOD)
    assert settings == NodeSettings(
        name="node-a",
        address=IPv4Address("10.201.0.11"),
        pods=IPv4Network("10.244.1.0/24"),
        cluster=IPv4Network("10.244.0.0/16"),
        services=IPv4Network("10.96.0.0/12"),
        api="/run/podwire/api.sock",
        backend="vxlan",
    )
    assert (str(settings.gateway), str(settings.vtep)) == ("10.244.1.1", "10.244.1.0")


def test_what_may_be_chosen() -> None:
    settings = parse(
        {
            **GOOD,
            "PODWIRE_API": "/elsewhere.sock",
            "PODWIRE_BACKEND": "host-gw",
            "PODWIRE_PROXY_MODE": "nftables",
        }
    )
    chosen = (settings.api, settings.backend, settings.mode)
    assert chosen == ("/elsewhere.sock", "host-gw", "nftables")


def test_the_service_subnet_is_that_of_every_cluster() -> None:
    assert parse({**GOOD, "PODWIRE_SERVICE_SUBNET": ""}).services == IPv4Network("10.96.0.0/12")


@pytest.mark.parametrize("variable", [name for name in GOOD if name != "PODWIRE_SERVICE_SUBNET"])
def test_a_missing_one_is_named_with_an_example(variable: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse({**GOOD, variable: ""})
    assert str(refused.value).startswith(
        f"{variable} is missing\n  set it, for example: {variable}="
    )


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("PODWIRE_NODE", "Node A", "PODWIRE_NODE=Node A: a lowercase RFC 1123 label must"),
        ("PODWIRE_NODE", "a.b", "PODWIRE_NODE=a.b: must not contain dots"),
        ("PODWIRE_NODE", "a" * 64, "must be no more than 63"),
        ("PODWIRE_NODE_ADDRESS", "10.201.0.11/24", "PODWIRE_NODE_ADDRESS=10.201.0.11/24: "),
        ("PODWIRE_NODE_ADDRESS", "10.244.1.9", "overlaps PODWIRE_PODS_SUBNET"),
        ("PODWIRE_NODE_ADDRESS", "10.96.0.9", "is in PODWIRE_SERVICE_SUBNET=10.96.0.0/12"),
        ("PODWIRE_NODE_PODS", "10.244.1.1/24", "has host bits set"),
        ("PODWIRE_NODE_PODS", "10.245.1.0/24", "is not in PODWIRE_PODS_SUBNET=10.244.0.0/16"),
        ("PODWIRE_NODE_PODS", "10.244.1.0/31", "has no room for a gateway"),
        ("PODWIRE_SERVICE_SUBNET", "10.244.0.0/20", "need ranges of their own"),
        ("PODWIRE_BACKEND", "hostgw", "use vxlan or host-gw"),
        ("PODWIRE_PROXY_MODE", "kernelspace", "use one of userspace, nftables, iptables, ipvs"),
    ],
)
def test_one_that_makes_no_sense(variable: str, value: str, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse({**GOOD, variable: value})
    assert said in str(refused.value)
    assert "\n  " in str(refused.value), "no next step"
