"""Ports of the node that lead to a pod: how runtimes write them, and the rules."""

from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import pytest

from podwire.cni.documents import anycase
from podwire.cni.ports import PortMapping, parse_port_mappings, port_rules


def parse(*items: dict[str, Any]) -> tuple[PortMapping, ...]:
    return parse_port_mappings(anycase({"portMappings": list(items)}))


@pytest.mark.parametrize(
    ("item", "mapping"),
    [
        (
            {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"},
            PortMapping("tcp", 8080, 80),
        ),
        (
            {"HostPort": 8080, "ContainerPort": 80, "Protocol": "UDP", "HostIP": ""},
            PortMapping("udp", 8080, 80),
        ),
        ({"hostPort": 1, "containerPort": 65535}, PortMapping("tcp", 1, 65535)),
        ({"hostPort": 1, "containerPort": 2, "hostIP": "0.0.0.0"}, PortMapping("tcp", 1, 2)),
        (
            {"hostPort": 1, "containerPort": 2, "hostIP": "192.0.2.1"},
            PortMapping("tcp", 1, 2, ip_address("192.0.2.1")),
        ),
    ],
)
def test_mapping(item: dict[str, Any], mapping: PortMapping) -> None:
    assert parse(item) == (mapping,)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hostPort": 0}, "Invalid host port number: 0"),
        ({"hostPort": 99999}, "Invalid host port number: 99999"),
        ({"hostPort": None}, "Invalid host port number: 0"),
        ({"hostPort": "80"}, "hostport"),
        ({"containerPort": -1}, "Invalid container port number: -1"),
        ({"protocol": "quic"}, "protocol must be tcp, udp or sctp, not 'quic'"),
        ({"hostIP": "x"}, "'hostip' must be an IP address, not 'x'"),
    ],
)
def test_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse({"hostPort": 8080, "containerPort": 80} | change)


@pytest.mark.parametrize(
    ("mapping", "addresses", "rules"),
    [
        (
            PortMapping("tcp", 8080, 80),
            "10.0.0.2/24",
            [
                "meta nfproto ipv4 tcp dport 8080 ct mark set ct mark or 0x800 dnat ip to 10.0.0.2:80"
            ],
        ),
        (
            PortMapping("udp", 53, 53),
            "10.0.0.2/24 fd00::2/64",
            [
                "meta nfproto ipv4 udp dport 53 ct mark set ct mark or 0x800 dnat ip to 10.0.0.2:53",
                "meta nfproto ipv6 udp dport 53 ct mark set ct mark or 0x800 dnat ip6 to [fd00::2]:53",
            ],
        ),
        (
            PortMapping("tcp", 8080, 80, ip_address("192.0.2.1")),
            "10.0.0.2/24 fd00::2/64",
            [
                "ip daddr 192.0.2.1 meta nfproto ipv4 tcp dport 8080 ct mark set ct mark or 0x800 dnat ip to 10.0.0.2:80",
            ],
        ),
        (
            PortMapping("tcp", 8080, 80),
            "10.0.0.2/24 10.1.0.2/24",
            [
                "meta nfproto ipv4 tcp dport 8080 ct mark set ct mark or 0x800 dnat ip to 10.0.0.2:80"
            ],
        ),
    ],
)
def test_rules(mapping: PortMapping, addresses: str, rules: list[str]) -> None:
    script = port_rules("t", [mapping], [ip_interface(each) for each in addresses.split()])
    assert [line.strip() for line in script.splitlines() if "dnat ip" in line] == sorted(rules)


@pytest.mark.parametrize(
    ("own", "lines"),
    [
        ("", ["fib daddr type local jump ports"]),
        (
            "127.0.0.0/8 192.0.2.1 2001:db8::1",
            [
                "ip daddr { 127.0.0.0/8, 192.0.2.1/32 } jump ports",
                "ip6 daddr { 2001:db8::1/128 } jump ports",
            ],
        ),
    ],
)
def test_whose_ports_they_are(own: str, lines: list[str]) -> None:
    addresses = [ip_network(each) for each in own.split()]
    script = port_rules("t", [PortMapping("tcp", 80, 80)], [ip_interface("10.0.0.2/24")], addresses)
    assert [line.strip() for line in script.splitlines() if "jump" in line] == lines * 2
