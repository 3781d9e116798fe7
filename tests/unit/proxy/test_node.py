"""What a node says of its addresses and its clients: who serves NodePorts, and who is a pod."""

from ipaddress import IPv4Address, IPv4Network
from typing import Literal

import pytest

from podwire.proxy.endpoints import Place
from podwire.proxy.node import NodeView, Settings, UsualNodePorts

ETH0, CNI0 = IPv4Address("192.168.1.10"), IPv4Address("10.244.1.1")


def node(wanted: str | None) -> NodeView:
    """Return a node whose nodePortAddresses are *wanted*, words with a space between."""
    ranges: tuple[IPv4Network, ...] | Literal["primary"] | None
    if wanted is None or wanted == "primary":
        ranges = "primary" if wanted else None
    else:
        ranges = tuple(map(IPv4Network, wanted.split()))
    # The kernel lists the bridge first.
    return NodeView(
        Place("node-1"), ETH0, (CNI0, ETH0), settings=Settings(node_port_addresses=ranges)
    )


@pytest.mark.parametrize(
    ("wanted", "usual", "served", "everywhere"),
    [
        (None, "primary", (ETH0,), False),
        (None, "all", (ETH0, CNI0), True),
        ("primary", "all", (ETH0,), False),
        ("", "primary", (ETH0, CNI0), True),  # no range of this family: all of it
        ("0.0.0.0/0", "primary", (ETH0, CNI0), True),
        ("10.0.0.0/8", "all", (CNI0,), False),
        ("192.168.0.0/16 10.0.0.0/8", "primary", (ETH0, CNI0), False),
        ("127.0.0.0/8", "all", (), False),
    ],
)
def test_where_node_ports_are_served(
    wanted: str | None,
    usual: UsualNodePorts,
    served: tuple[IPv4Address, ...],
    *,
    everywhere: bool,
) -> None:
    assert node(wanted).node_port_addresses(usual) == served
    assert node(wanted).node_ports_everywhere(usual) is everywhere


CLUSTER, HERE = IPv4Network("10.244.0.0/16"), IPv4Network("10.244.1.0/24")


@pytest.mark.parametrize(
    ("settings", "detected"),
    [
        (Settings(cluster_cidr=CLUSTER), CLUSTER),
        (Settings(), None),
        (Settings(detect_local="NodeCIDR"), HERE),
        (Settings(detect_local="BridgeInterface", bridge_interface="cni0"), HERE),
        (Settings(detect_local="BridgeInterface", bridge_interface="docker0"), None),
        (Settings(detect_local="BridgeInterface"), None),
        (Settings(detect_local="InterfaceNamePrefix", interface_prefix="cni"), HERE),
        # The pods' own links are ports of the bridge, and no packet enters by a port.
        (Settings(detect_local="InterfaceNamePrefix", interface_prefix="pw"), None),
    ],
)
def test_who_is_taken_for_a_pod(settings: Settings, detected: IPv4Network | None) -> None:
    view = NodeView(
        Place("node-1"), ETH0, (ETH0, CNI0), pods=(HERE,), bridges=("cni0",), settings=settings
    )
    assert view.detected == (() if detected is None else (detected,))
