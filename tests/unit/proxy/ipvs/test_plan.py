"""Virtual servers of a node, in the situations in which this mode differs from the others."""

from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest

from podwire.kube.objects import ClientIPConfig, SessionAffinityConfig
from podwire.proxy.ipvs.plan import (
    VirtualServer,
    bound_addresses,
    for_all_clients,
    on_all_addresses,
    virtual_servers,
)
from podwire.proxy.userspace import routes
from tests.unit.proxy.ipvs.written import frontend
from tests.unit.proxy.written import node, ports

HERE, THERE = "10.244.1.2:80@node-1", "10.244.2.3:80@node-2"
LOCAL = {"external_traffic_policy": "Local", "type": "LoadBalancer"}


def destinations(where: str, endpoints: str, **spec: Any) -> str:
    found = virtual_servers(ports(endpoints, port="web=80:30080", **spec), node(), "rr")
    return " ".join(map(str, sorted(found[frontend(where)].destinations)))


@pytest.mark.parametrize(
    ("where", "endpoints", "spec", "answer"),
    [
        ("10.96.10.10:80", f"{HERE} {THERE}", {}, "10.244.1.2:80 10.244.2.3:80"),
        ("10.96.10.10:80", "", {}, ""),
        ("10.96.10.10:80", f"{HERE},unready {THERE}", {}, "10.244.2.3:80"),
        # Policy Local: the endpoints here, or if there is none those of the cluster.
        ("10.96.10.10:80", f"{HERE} {THERE}", {"internal_traffic_policy": "Local"}, "10.244.1.2:80"),
        ("10.96.10.10:80", THERE, {"internal_traffic_policy": "Local"}, "10.244.2.3:80"),
        ("192.168.1.10:30080", f"{HERE} {THERE}", LOCAL, "10.244.1.2:80"),
        ("192.168.1.10:30080", THERE, LOCAL, "10.244.2.3:80"),
        ("203.0.113.7:80", f"{HERE} {THERE}", LOCAL, "10.244.1.2:80"),
        ("198.51.100.1:80", THERE, LOCAL, "10.244.2.3:80"),
        # The external policy says nothing of the ClusterIP, nor the internal one of the others.
        ("10.96.10.10:80", f"{HERE} {THERE}", LOCAL, "10.244.1.2:80 10.244.2.3:80"),
        ("192.168.1.10:30080", f"{HERE} {THERE}", {"internal_traffic_policy": "Local"}, "10.244.1.2:80 10.244.2.3:80"),
        ("10.244.1.1:30080", HERE, {}, "10.244.1.2:80"),
    ],
)  # fmt: skip
def test_destinations(where: str, endpoints: str, spec: dict[str, Any], answer: str) -> None:
    more = {"load_balancer": ("203.0.113.7",), "external_ips": ("198.51.100.1",)}
    assert destinations(where, endpoints, **more, **spec) == answer


def test_the_scheduler_its_flag_and_affinity() -> None:
    sticky = ports(
        session_affinity="ClientIP",
        session_affinity_config=SessionAffinityConfig(client_ip=ClientIPConfig(timeout_seconds=60)),
    )
    for scheduler, flags in (("rr", ()), ("sh", ()), ("mh", ("mh-port",))):
        (found,) = virtual_servers(sticky, node(), scheduler).values()
        assert found.server == VirtualServer(scheduler, 60, frozenset(flags))  # type: ignore[arg-type]


def test_kube_ipvs0_has_all_addresses_but_the_nodes() -> None:
    found = ports(
        port="web=80:30080", load_balancer=("203.0.113.7",), external_ips=("198.51.100.1",)
    )
    assert {str(address) for address in bound_addresses(found)} == {
        "10.96.10.10",
        "203.0.113.7",
        "198.51.100.1",
    }


@pytest.mark.parametrize(
    ("wanted", "served"),
    [
        (None, "192.168.1.10 10.244.1.1"),
        ((), "192.168.1.10 10.244.1.1"),
        ("primary", "192.168.1.10"),
        (("0.0.0.0/0",), "192.168.1.10 10.244.1.1"),
        (("10.0.0.0/8",), "10.244.1.1"),
        (("127.0.0.0/8",), ""),
        (("127.0.0.0/8", "192.168.0.0/16"), "192.168.1.10"),
        (("172.16.0.0/12",), ""),
    ],
)
def test_node_ports_never_on_loopback(wanted: tuple[str, ...] | str | None, served: str) -> None:
    named = tuple(map(IPv4Network, wanted)) if isinstance(wanted, tuple) else wanted
    view = node(node_port_addresses=named)
    expected = tuple(map(IPv4Address, served.split()))
    assert view.node_port_addresses("all") == expected
    # The userspace mode, which relays for the emulation, comes to the same.
    assert routes.node_port_addresses(on_all_addresses(view)) == expected


def test_an_open_udp_flow_lasts_as_long_as_its_destination() -> None:
    (port,) = ports(f"{HERE},terminating {THERE}", port="53/UDP")
    assert {str(each) for each in for_all_clients(port).usable.lasting} == {"10.244.2.3:80"}


def test_the_relay_serves_what_the_virtual_servers_say() -> None:
    for endpoints in ("", HERE, THERE, f"{HERE} {THERE}", f"{HERE},unready {THERE}"):
        for spec in ({}, LOCAL, {"internal_traffic_policy": "Local"}):
            served = ports(endpoints, port="web=80:30080", load_balancer=("203.0.113.7",), **spec)
            planned = virtual_servers(served, node(), "rr")
            view = on_all_addresses(node())
            relayed = routes.frontends(
                map(for_all_clients, served), routes.node_port_addresses(view)
            )
            assert relayed.keys() == planned.keys()
            for place, route in relayed.items():
                assert route.inside == route.outside
                assert frozenset(route.inside.backends) == planned[place].destinations
                verdict = "FORWARD" if planned[place].destinations else "REJECT"
                assert route.inside.verdict == verdict
