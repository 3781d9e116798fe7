"""How the pods of a node are wired, by what the kernel says of its links."""

from ipaddress import IPv4Address, ip_interface

import pytest

from podwire.netlink.present import Link, LinkAddress
from podwire.proxy.surroundings import addresses, same_pod_network

BRIDGE = 3


def link(number: int, kind: str, *, master: int = 0, isolated: bool = False) -> Link:
    name = "cni0" if kind == "bridge" else f"pw{number}"
    return Link(
        *(number, name, kind, "02:00:00:00:00:01", 1500, True, 6, master, 0, ""),
        hairpin=False,
        isolated=isolated,
    )


@pytest.mark.parametrize(
    ("ports", "answers", "filtered", "expected"),
    [
        # At the proxy's start there may be no pod yet.
        ((), True, False, "routed"),
        ((True, True), True, False, "routed"),
        ((True, False), True, False, "switched"),
        ((True, True), False, False, "switched"),
        ((False,), False, True, "bridge-nf"),
    ],
)
def test_a_bridge(
    ports: tuple[bool, ...],
    answers: bool,  # noqa: FBT001
    filtered: bool,  # noqa: FBT001
    expected: str,
) -> None:
    links = [link(BRIDGE, "bridge")]
    links += [
        link(number, "veth", master=BRIDGE, isolated=isolated)
        for number, isolated in enumerate(ports, 10)
    ]
    assert same_pod_network(links, {"cni0": answers}, filtered=filtered) == expected


def test_a_node_without_a_bridge_routes_to_each_pod() -> None:
    assert same_pod_network([link(10, "veth")], {}, filtered=True) == "routed"


def test_addresses() -> None:
    found = [
        LinkAddress(number, ip_interface(text))
        for number, text in enumerate(
            ("127.0.0.1/8", "fe80::1/64", "10.244.1.1/24", "192.168.1.10/24", "10.244.1.0/32"), 1
        )
    ]
    assert [str(a) for a in addresses(found, IPv4Address("192.168.1.10"))] == [
        "192.168.1.10",
        "10.244.1.0",
        "10.244.1.1",
    ]
