from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest

from podwire.emulator.apiserver.request import Network
from podwire.testing.apiserver import SilentServer

Json = dict[str, Any]
SERVICES = "/api/v1/namespaces/default/services"


def service(name: str = "s", *ports: Json, **spec: Any) -> Json:
    return {"metadata": {"name": name}, "spec": {"ports": list(ports) or [{"port": 80}], **spec}}


def made(server: SilentServer, body: Json) -> Json:
    spec: Json = server.must(f"POST {SERVICES}", body)["spec"]
    return spec


def node_ports(spec: Json) -> list[int | None]:
    return [port.get("nodePort") for port in spec["ports"]]


def test_every_service_gets_an_address_of_its_own(server: SilentServer) -> None:
    addresses = {made(server, service(f"s{n}"))["clusterIP"] for n in range(50)}
    assert len(addresses) == 50
    # Not from the band that is left to people, and all of a kind.
    assert all(
        IPv4Address("10.96.1.0") < IPv4Address(a) < IPv4Address("10.97.0.0") for a in addresses
    )


def test_what_is_given_is_written_in_all_fields(server: SilentServer) -> None:
    spec = made(server, service())
    assert spec["clusterIPs"] == [spec["clusterIP"]]
    assert (spec["ipFamilies"], spec["ipFamilyPolicy"]) == (["IPv4"], "SingleStack")


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"clusterIP": "10.96.0.10"}, "10.96.0.10"),
        ({"clusterIPs": ["10.96.0.10"]}, "10.96.0.10"),
        ({"clusterIP": "None"}, "None"),
        ({"type": "ExternalName", "externalName": "example.org"}, None),
    ],
)
def test_an_address_may_be_asked_for(
    server: SilentServer, spec: Json, expected: str | None
) -> None:
    assert made(server, service(**spec)).get("clusterIP") == expected


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (
            {"clusterIP": "10.96.0.1"},
            'spec.clusterIPs: Invalid value: []string{"10.96.0.1"}: failed to allocate IP 10.96.0.1: provided IP is already allocated',
        ),
        (
            {"clusterIP": "192.168.7.7"},
            'spec.clusterIPs: Invalid value: []string{"192.168.7.7"}: failed to allocate IP 192.168.7.7: the provided IP (192.168.7.7) is not in the valid range. The range of valid IPs is 10.96.0.0/12',
        ),
        (
            {"type": "NodePort", "ports": [{"port": 80, "nodePort": 30080}]},
            "spec.ports[0].nodePort: Invalid value: 30080: provided port is already allocated",
        ),
        (
            {"type": "NodePort", "ports": [{"port": 80, "nodePort": 80}]},
            "spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid range. The range of valid ports is 30000-32767",
        ),
    ],
)
def test_what_cannot_be_given(server: SilentServer, spec: Json, words: str) -> None:
    made(server, service("holder", {"port": 80, "nodePort": 30080}, type="NodePort"))
    assert (
        server.says(f"POST {SERVICES}", service(**spec))
        == f'422 Invalid: Service "s" is invalid: {words}'
    )


def test_a_deleted_service_gives_back_what_it_had(server: SilentServer) -> None:
    wanted = service("s", {"port": 80, "nodePort": 30080}, type="NodePort", clusterIP="10.96.0.10")
    for _ in "12":
        made(server, wanted)
        server.must(f"DELETE {SERVICES}/s")


def test_node_ports_differ_and_avoid_the_band_for_people(server: SilentServer) -> None:
    given = [
        port
        for n in range(40)
        for port in node_ports(
            made(
                server,
                service(
                    f"s{n}", {"port": 80, "name": "a"}, {"port": 81, "name": "b"}, type="NodePort"
                ),
            )
        )
    ]
    assert len(set(given)) == 80
    assert all(port is not None and 30086 <= port <= 32767 for port in given)


def test_one_number_serves_both_protocols_of_a_port(server: SilentServer) -> None:
    ports = [
        {"port": 53, "name": "udp", "protocol": "UDP"},
        {"port": 53, "name": "tcp", "protocol": "TCP"},
    ]
    one, other = node_ports(made(server, service("dns", *ports, type="NodePort")))
    assert one == other


def test_an_update_keeps_what_it_does_not_name(server: SilentServer) -> None:
    before = made(server, service(type="NodePort"))
    after = server.must(
        f"PUT {SERVICES}/s", service("s", {"port": 80, "targetPort": 8080}, type="NodePort")
    )
    assert (after["spec"]["clusterIP"], node_ports(after["spec"])) == (
        before["clusterIP"],
        node_ports(before),
    )


@pytest.mark.parametrize(
    ("first", "then", "kept"),
    [
        ("NodePort", "ClusterIP", "address"),
        ("NodePort", "LoadBalancer", "address, node port"),
        ("LoadBalancer", "NodePort", "address, node port"),
        ("ClusterIP", "ExternalName", ""),
    ],
)
def test_a_change_of_type_keeps_what_the_new_type_needs(
    server: SilentServer, first: str, then: str, kept: str
) -> None:
    before = made(server, service(type=first))
    patch = {
        "spec": {"type": then, "externalName": "example.org" if then == "ExternalName" else None}
    }
    after = server.must(f"PATCH {SERVICES}/s", patch, patch="merge")["spec"]
    same: list[str] = []
    if after.get("clusterIP") == before["clusterIP"]:
        same.append("address")
    if node_ports(after)[0] and node_ports(after) == node_ports(before):
        same.append("node port")
    assert ", ".join(same) == kept


def test_a_type_that_needs_more_gets_it_on_update(server: SilentServer) -> None:
    made(server, service())
    after = server.must(f"PATCH {SERVICES}/s", {"spec": {"type": "NodePort"}}, patch="merge")[
        "spec"
    ]
    assert node_ports(after)[0]


def test_a_status_write_changes_no_allocation(server: SilentServer) -> None:
    before = made(server, service(type="NodePort"))
    status = {"status": {"loadBalancer": {"ingress": [{"ip": "192.168.1.200"}]}}}
    assert server.must(f"PATCH {SERVICES}/s/status", status, patch="merge")["spec"] == before


def test_small_ranges_run_out_in_kubernetes_words(server: SilentServer) -> None:
    small = Network(IPv4Network("10.96.0.0/29"), range(30000, 30002))
    object.__setattr__(server.api, "network", small)
    for n in range(5):  # 8 addresses, less network, broadcast and kubernetes
        made(server, service(f"s{n}"))
    assert "failed to allocate a serviceIP: range is full" in server.says(
        f"POST {SERVICES}", service("more")
    )
    server.must(f"DELETE {SERVICES}/s0")
    ports = [{"port": n, "name": f"p{n}"} for n in range(80, 83)]
    said = server.says(f"POST {SERVICES}", service("more", *ports, type="NodePort"))
    assert (
        "spec.ports[2].nodePort: Invalid value: 0: failed to allocate a nodePort: range is full"
        in said
    )


def test_a_health_check_port_where_it_is_needed(server: SilentServer) -> None:
    spec = made(server, service(type="LoadBalancer", externalTrafficPolicy="Local"))
    assert 30000 <= spec["healthCheckNodePort"] <= 32767
    after = server.must(
        f"PATCH {SERVICES}/s",
        {"spec": {"externalTrafficPolicy": "Cluster", "healthCheckNodePort": None}},
        patch="merge",
    )
    assert "healthCheckNodePort" not in after["spec"]
