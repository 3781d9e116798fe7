"""On which addresses of a node NodePorts are served."""

from ipaddress import IPv4Address, IPv4Network
from typing import Literal

import pytest

from podwire.proxy.endpoints import Place
from podwire.proxy.node import NodeView, Settings
from podwire.proxy.userspace.routes import node_port_addresses

PRIMARY = "192.168.1.10"


@pytest.mark.parametrize(
    ("wanted", "served"),
    [
        (None, PRIMARY),
        ("primary", PRIMARY),
        # A list without a range of this family stands for all of it.
        ("", f"{PRIMARY} 10.244.1.0 10.244.1.1"),
        ("0.0.0.0/0", f"{PRIMARY} 10.244.1.0 10.244.1.1"),
        ("10.244.0.0/16", "10.244.1.0 10.244.1.1"),
        ("192.168.0.0/16 10.244.1.1/32", f"{PRIMARY} 10.244.1.1"),
        ("172.16.0.0/12", ""),
        ("127.0.0.0/8", "127.0.0.1"),
        ("127.0.0.2/32", ""),
        ("192.168.0.0/16 127.0.0.1/32", f"{PRIMARY} 127.0.0.1"),
    ],
)
def test_node_port_addresses(wanted: str | None, served: str) -> None:
    ranges: tuple[IPv4Network, ...] | Literal["primary"] | None
    if wanted is None or wanted == "primary":
        ranges = None if wanted is None else "primary"
    else:
        ranges = tuple(map(IPv4Network, wanted.split()))
    view = NodeView(
        Place("node-1"),
        IPv4Address(PRIMARY),
        addresses=tuple(map(IPv4Address, (PRIMARY, "10.244.1.0", "10.244.1.1"))),
        settings=Settings(node_port_addresses=ranges),
    )
    assert " ".join(map(str, node_port_addresses(view))) == served
