"""Names of chains, against those that upstream's tests and published dumps have."""

import pytest

from podwire.proxy.iptables.names import endpoint_chain, port_hash


@pytest.mark.parametrize(
    ("port", "protocol", "suffix"),
    [
        ("ns1/svc1:p80", "tcp", "XPGD46QRK7WJZT7O"),
        ("default/kubernetes:https", "tcp", "NPX46M4PTMTKRN6Y"),
        ("kube-system/kube-dns:dns", "udp", "TCOU7JCQXEZGVUNU"),
        ("kube-system/kube-dns:dns-tcp", "tcp", "ERIFXISQEP7F7OF4"),
        ("kube-system/kube-dns:metrics", "tcp", "JD5MR3NA4I4DYORP"),
        ("default/web", "tcp", "LOLE4ISW44XBNF3G"),
    ],
)
def test_of_a_service_port(port: str, protocol: str, suffix: str) -> None:
    assert port_hash(port, protocol) == suffix


@pytest.mark.parametrize(
    ("port", "endpoint", "suffix"),
    [
        ("ns1/svc1:p80", "10.180.0.1:80", "SXIVWICOYRO3J4NJ"),
        ("default/web", "10.244.1.2:8080", "PXJ2U7QYT2QW5545"),
        ("default/web", "[fd00::1]:8080", "U4IJK7MTCAE2W3I2"),
    ],
)
def test_of_an_endpoint(port: str, endpoint: str, suffix: str) -> None:
    assert endpoint_chain(port, "tcp", endpoint) == f"KUBE-SEP-{suffix}"
