"""Names as kube-proxy gives them: from its own tests and from a dump of v1.36."""

from ipaddress import IPv4Address

import pytest

from podwire.proxy.endpoints import Backend
from podwire.proxy.nftables.names import endpoint_base, is_of_service, port_base
from podwire.proxy.table import PortName, Protocol


@pytest.mark.parametrize(
    ("name", "protocol", "base"),
    [
        (PortName("ns1", "svc1", "p80"), "TCP", "ULMVA6XW-ns1/svc1/tcp/p80"),
        (
            PortName("default", "kubernetes", "https"),
            "TCP",
            "2QRHZV4L-default/kubernetes/tcp/https",
        ),
        (
            PortName("kube-system", "kube-dns", "dns"),
            "UDP",
            "FY5PMXPG-kube-system/kube-dns/udp/dns",
        ),
        (
            PortName("kproxy-lab", "backend-api", "http"),
            "TCP",
            "YVSKLJHA-kproxy-lab/backend-api/tcp/http",
        ),
        (PortName("default", "web"), "TCP", "PFISGYVC-default/web/tcp/"),
    ],
)
def test_a_service_port_is_named_after_itself(
    name: PortName, protocol: Protocol, base: str
) -> None:
    assert port_base(name, protocol) == base


def test_an_endpoint_is_named_after_its_service_port_and_address() -> None:
    backend = Backend(IPv4Address("10.180.0.1"), 80)
    base = endpoint_base(PortName("ns1", "svc1", "p80"), "TCP", backend)
    assert base == "5OJB2KTY-ns1/svc1/tcp/p80__10.180.0.1/80"


def test_a_name_that_is_too_long_ends_in_dots() -> None:
    base = port_base(PortName("n" * 63, "s" * 200, "p"), "TCP")
    assert len(base) == 240
    assert base.endswith("...")


def test_service_chains_are_told_by_their_slash() -> None:
    assert is_of_service("service-ULMVA6XW-ns1/svc1/tcp/p80")
    assert not is_of_service("service-endpoints-check")
