"""Which UDP flows are forgotten, and how many connections each endpoint has."""

from ipaddress import IPv4Address

import pytest

from podwire.netlink.flow import Flow
from podwire.proxy import conntrack
from tests.unit.proxy.written import ports

DNS = ports(
    "10.244.1.2:53@node-1 10.244.2.3:53@node-2,terminating",
    name="dns",
    port="dns=53:30053/UDP tcp=53",
    external_ips=("198.51.100.7",),
    load_balancer=("203.0.113.10",),
)
GONE = ports("", name="gone", port="dns=53/UDP", cluster_ip="10.96.10.11")


def flow(words: str, *, protocol: str = "UDP", is_open: bool = True) -> Flow:
    """Read "10.244.1.9:4000 > 10.96.10.10:53 < 10.244.1.2:53"."""
    client, _, rest = words.partition(" > ")
    server, _, answering = rest.partition(" < ")
    ends = [part.split(":") for part in (client, server, answering)]
    (source, sport), (destination, dport), (reply, rport) = ends
    return Flow(
        protocol,  # type: ignore[arg-type]
        IPv4Address(source),
        int(sport),
        IPv4Address(destination),
        int(dport),
        IPv4Address(reply),
        int(rport),
        is_open,
    )


STAYING = (
    "10.244.1.9:4000 > 10.96.10.10:53 < 10.244.1.2:53",
    # It still serves, so open flows stay, though new ones go elsewhere.
    "10.244.1.9:4000 > 10.96.10.10:53 < 10.244.2.3:53",
    "192.168.1.200:4000 > 192.168.1.10:30053 < 10.244.1.2:53",
    # Another port of the address, another address, a Service without endpoints.
    "10.244.1.9:4000 > 10.96.10.10:54 < 10.96.10.10:54",
    "10.244.1.9:4000 > 9.9.9.9:53 < 9.9.9.9:53",
    "10.244.1.9:4000 > 10.96.10.11:53 < 10.244.1.8:53",
)
STALE = (
    "10.244.1.9:4000 > 10.96.10.10:53 < 10.244.1.8:53",
    # There was no endpoint when it began.
    "10.244.1.9:4000 > 10.96.10.10:53 < 10.96.10.10:53",
    "10.244.1.9:4000 > 198.51.100.7:53 < 10.244.1.8:53",
    "10.244.1.9:4000 > 203.0.113.10:53 < 10.244.1.8:53",
    "192.168.1.200:4000 > 192.168.1.10:30053 < 10.244.1.8:53",
)


@pytest.mark.parametrize("words", STAYING)
def test_flows_that_an_endpoint_answers_stay(words: str) -> None:
    assert conntrack.stale([flow(words)], (*DNS, *GONE)) == []


@pytest.mark.parametrize("words", STALE)
def test_flows_that_no_endpoint_answers_are_stale(words: str) -> None:
    assert conntrack.stale([flow(words)], (*DNS, *GONE)) == [flow(words)]


def test_tcp_drains_by_itself() -> None:
    lost = flow("10.244.1.9:4000 > 10.96.10.10:53 < 10.244.1.8:53", protocol="TCP")
    assert conntrack.stale([lost], DNS) == []


def test_without_udp_ports_nothing_is_stale() -> None:
    lost = flow("10.244.1.9:4000 > 10.96.10.11:53 < 10.244.1.8:53")
    assert conntrack.stale([lost], GONE) == []


def test_connections_are_counted_by_endpoint() -> None:
    flows = [
        flow("10.244.1.9:4000 > 10.96.10.10:53 < 10.244.1.2:53"),
        flow("10.244.1.9:4001 > 203.0.113.10:53 < 10.244.1.2:53"),
        flow("192.168.1.200:4000 > 192.168.1.10:30053 < 10.244.2.3:53"),
        flow("10.244.1.9:4002 > 10.96.10.10:53 < 10.244.1.2:53", protocol="TCP"),
        # Over, led nowhere, to no Service.
        flow("10.244.1.9:4003 > 10.96.10.10:53 < 10.244.1.2:53", protocol="TCP", is_open=False),
        flow("10.244.1.9:4004 > 10.96.10.10:53 < 10.96.10.10:53"),
        flow("10.244.1.9:4005 > 10.244.1.2:53 < 10.244.1.2:53"),
    ]
    found = conntrack.connections(flows, DNS)
    assert {f"{name} {protocol} {to}": n for (name, protocol, to), n in found.items()} == {
        "default/dns:dns UDP 10.244.1.2:53": 2,
        "default/dns:dns UDP 10.244.2.3:53": 1,
        "default/dns:tcp TCP 10.244.1.2:53": 1,
    }
