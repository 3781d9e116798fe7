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
        ({"clusterIP": "10.96.0.10", "clusterIPs": ["10.96.0.10"]}, "10.96.0.10"),
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
        # Another Service has the number, though for TCP.
        (
            {"type": "NodePort", "ports": [{"port": 80, "nodePort": 30080, "protocol": "UDP"}]},
            "spec.ports[0].nodePort: Invalid value: 30080: provided port is already allocated",
        ),
        # One number for two ports of the Service: only if their own number is the same.
        (
            {
                "type": "NodePort",
                "ports": [
                    {"name": "a", "port": 53, "nodePort": 30053},
                    {"name": "b", "port": 54, "nodePort": 30053, "protocol": "UDP"},
                ],
            },
            "spec.ports[1].nodePort: Invalid value: 30053: provided port is already allocated",
        ),
        # What cannot be given is all that is said.
        (
            {
                "type": "NodePort",
                "ports": [{"port": 80, "nodePort": 80}],
                "sessionAffinity": "Cookie",
            },
            "spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid range. The range of valid ports is 30000-32767",
        ),
        (
            {
                "type": "LoadBalancer",
                "allocateLoadBalancerNodePorts": False,
                "ports": [{"port": 80, "nodePort": 30080}],
            },
            "spec.ports[0].nodePort: Invalid value: 30080: provided port is already allocated",
        ),
        (
            {"clusterIPs": ["10.96.0.10"]},
            'spec.clusterIPs: Invalid value: []string{"10.96.0.10"}: must be empty when `clusterIP` is not specified',
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
    before = made(server, service(type="LoadBalancer"))
    status = {"status": {"loadBalancer": {"ingress": [{"ip": "192.168.1.200"}]}}}
    assert server.must(f"PATCH {SERVICES}/s/status", status, patch="merge")["spec"] == before


def test_small_ranges_run_out_in_kubernetes_words(server: SilentServer) -> None:
    small = Network(IPv4Network("10.96.0.0/29"), range(30000, 30002))
    object.__setattr__(server.api, "network", small)
    for n in range(5):  # 8 addresses, less network, broadcast and kubernetes
        made(server, service(f"s{n}"))
    assert server.says(f"POST {SERVICES}", service("more")) == (
        "500 InternalError: Internal error occurred: failed to allocate a serviceIP: range is full"
    )
    server.must(f"DELETE {SERVICES}/s0")
    ports = [{"port": n, "name": f"p{n}"} for n in range(80, 83)]
    said = server.says(f"POST {SERVICES}", service("more", *ports, type="NodePort"))
    assert said == (
        "500 InternalError: Internal error occurred: failed to allocate a nodePort: range is full"
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


def test_a_health_check_port_may_be_asked_for_and_stays(server: SilentServer) -> None:
    made(server, service("holder", {"port": 80, "nodePort": 30080}, type="NodePort"))
    local = {"type": "LoadBalancer", "externalTrafficPolicy": "Local"}
    assert server.says(f"POST {SERVICES}", service(**local, healthCheckNodePort=30080)) == (
        "500 InternalError: Internal error occurred: failed to allocate requested HealthCheck "
        "NodePort 30080: provided port is already allocated"
    )
    assert made(server, service(**local, healthCheckNodePort=30500))["healthCheckNodePort"] == 30500
    changed = {"spec": {"healthCheckNodePort": 30501}}
    assert server.says(f"PATCH {SERVICES}/s", changed, patch="merge") == (
        '422 Invalid: Service "s" is invalid: spec.healthCheckNodePort: Forbidden: field is immutable'
    )
    # Not named in an update: kept. Not needed any more: given back, and free for others.
    same = server.must(f"PUT {SERVICES}/s", service(**local))["spec"]
    assert same["healthCheckNodePort"] == 30500
    cluster = {"spec": {"externalTrafficPolicy": "Cluster"}}
    after = server.must(f"PATCH {SERVICES}/s", cluster, patch="merge")["spec"]
    assert "healthCheckNodePort" not in after
    made(server, service("other", {"port": 80, "nodePort": 30500}, type="NodePort"))


def test_a_load_balancer_may_do_without_node_ports(server: SilentServer) -> None:
    without: Json = {"type": "LoadBalancer", "allocateLoadBalancerNodePorts": False}
    assert node_ports(made(server, service(**without))) == [None]
    # What is asked for is given; what was given before stays until somebody takes it away.
    asked = made(server, service("asked", {"port": 80, "nodePort": 30080}, **without))
    assert node_ports(asked) == [30080]
    before = node_ports(made(server, service("had", type="LoadBalancer")))
    assert before != [None]
    renamed = service("had", {"port": 80, "name": "a"}, **without)
    kept = server.must(f"PUT {SERVICES}/had", service("had", {"port": 80}, **without))["spec"]
    assert node_ports(kept) == before
    # A port is known by its name.
    assert node_ports(server.must(f"PUT {SERVICES}/had", renamed)["spec"]) == [None]


def test_node_ports_follow_the_name_of_their_port(server: SilentServer) -> None:
    made(
        server,
        service(
            "s",
            {"name": "a", "port": 80, "nodePort": 30080},
            {"name": "b", "port": 81, "nodePort": 30081},
            type="NodePort",
        ),
    )
    # Ports change place and number; c is new.
    update = service(
        "s",
        {"name": "c", "port": 79},
        {"name": "b", "port": 91},
        {"name": "a", "port": 90},
        type="NodePort",
    )
    fresh, b, a = node_ports(server.must(f"PUT {SERVICES}/s", update)["spec"])
    assert (a, b) == (30080, 30081)
    assert fresh not in (None, a, b)


def test_one_number_may_be_shared_on_update(server: SilentServer) -> None:
    made(server, service("s", {"name": "a", "port": 53, "nodePort": 30053}, type="NodePort"))
    update = service(
        "s",
        {"name": "a", "port": 53, "nodePort": 30053},
        {"name": "b", "port": 54, "nodePort": 30053, "protocol": "UDP"},
        type="NodePort",
    )
    assert node_ports(server.must(f"PUT {SERVICES}/s", update)["spec"]) == [30053, 30053]


@pytest.mark.parametrize(
    ("first", "then", "gone"),
    [
        (
            {"type": "LoadBalancer", "loadBalancerClass": "example.org/x"},
            {"type": "NodePort"},
            "allocateLoadBalancerNodePorts loadBalancerClass",
        ),
        (
            {"type": "LoadBalancer", "externalTrafficPolicy": "Local"},
            {"type": "ClusterIP"},
            "allocateLoadBalancerNodePorts externalTrafficPolicy healthCheckNodePort nodePort",
        ),
        # Addresses of others still need the policy.
        (
            {"type": "NodePort", "externalIPs": ["192.0.2.1"]},
            {"type": "ClusterIP"},
            "nodePort",
        ),
        (
            {"externalIPs": ["192.0.2.1"]},
            {"externalIPs": None},
            "externalIPs externalTrafficPolicy",
        ),
        # internalTrafficPolicy stays, though it means nothing now.
        (
            {"type": "NodePort"},
            {"type": "ExternalName", "externalName": "example.org"},
            "clusterIP clusterIPs externalTrafficPolicy ipFamilies ipFamilyPolicy nodePort",
        ),
    ],
)
def test_what_goes_with_a_type(server: SilentServer, first: Json, then: Json, gone: str) -> None:
    before = made(server, service(**first))
    after = server.must(f"PATCH {SERVICES}/s", {"spec": then}, patch="merge")["spec"]
    lost = before.keys() - after.keys() | before["ports"][0].keys() - after["ports"][0].keys()
    assert " ".join(sorted(lost)) == gone


def test_what_a_load_balancer_reported_goes_with_the_type(server: SilentServer) -> None:
    made(server, service(type="LoadBalancer"))
    ingress = [{"ip": "192.0.2.77"}, {"hostname": "lb.example.org"}]
    status = {"status": {"loadBalancer": {"ingress": ingress}}}
    stored = server.must(f"PATCH {SERVICES}/s/status", status, patch="merge")["status"]
    assert stored["loadBalancer"]["ingress"] == [{**ingress[0], "ipMode": "VIP"}, ingress[1]]
    kept = server.must(f"PATCH {SERVICES}/s", {"metadata": {"labels": {"a": "b"}}}, patch="merge")
    assert kept["status"] == stored
    after = server.must(f"PATCH {SERVICES}/s", {"spec": {"type": "NodePort"}}, patch="merge")
    assert after["status"] == {"loadBalancer": {}}
    assert server.says(f"PATCH {SERVICES}/s/status", status, patch="merge") == (
        '422 Invalid: Service "s" is invalid: status.loadBalancer.ingress: Forbidden: may only be '
        "used when `spec.type` is 'LoadBalancer'"
    )


POLICY = "spec.ipFamilyPolicy: Invalid value"


@pytest.mark.parametrize(
    ("spec", "policy", "families"),
    [
        ({}, "SingleStack", ["IPv4"]),
        ({"ipFamilyPolicy": "PreferDualStack"}, "PreferDualStack", ["IPv4"]),
        ({"clusterIP": "None", "selector": {"a": "b"}}, "SingleStack", ["IPv4"]),
        # Nobody knows yet which addresses somebody will write by hand.
        ({"clusterIP": "None"}, "RequireDualStack", ["IPv4", "IPv6"]),
        ({"clusterIP": "None", "ipFamilies": ["IPv6"]}, "RequireDualStack", ["IPv6", "IPv4"]),
        ({"clusterIP": "None", "ipFamilyPolicy": "SingleStack"}, "SingleStack", ["IPv4"]),
        ({"type": "ExternalName", "externalName": "example.org"}, None, None),
    ],
)
def test_families(
    server: SilentServer, spec: Json, policy: str | None, families: list[str] | None
) -> None:
    found = made(server, service(**spec))
    assert (found.get("ipFamilyPolicy"), found.get("ipFamilies")) == (policy, families)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"ipFamilyPolicy": "RequireDualStack"}, f'{POLICY}: "RequireDualStack": this cluster is not configured for dual-stack services'),
        ({"ipFamilies": ["IPv6"]}, 'spec.ipFamilies[0]: Invalid value: "IPv6": not configured on this cluster'),
        ({"ipFamilies": ["IPv4", "IPv6"]}, f"{POLICY}: \"SingleStack\": must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified"),
        ({"ipFamilies": ["IPv4", "IPv4"], "ipFamilyPolicy": "PreferDualStack"}, 'spec.ipFamilies[1]: Duplicate value: "IPv4"'),
        ({"ipFamilies": ["IPv5"]}, 'spec.ipFamilies[0]: Unsupported value: "IPv5": supported values: "IPv4", "IPv6"'),
        ({"ipFamilyPolicy": "Triple"}, 'spec.ipFamilyPolicy: Unsupported value: "Triple": supported values: "PreferDualStack", "RequireDualStack", "SingleStack"'),
        ({"clusterIP": "fd00::1"}, 'spec.clusterIPs[0]: Invalid value: []string{"fd00::1"}: IPv6 is not configured on this cluster'),
        ({"clusterIP": "fd00::1", "ipFamilies": ["IPv4"]}, 'spec.clusterIPs[0]: Invalid value: "fd00::1": expected an IPv4 value as indicated by `ipFamilies[0]`'),
        ({"clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.8"]}, 'spec.clusterIPs: Invalid value: []string{"10.96.0.8"}: first value must match `clusterIP`'),
        ({"clusterIP": "10.96.0.8", "clusterIPs": ["10.96.0.8", "10.96.0.9"]}, 'spec.clusterIPs: Invalid value: []string{"10.96.0.8", "10.96.0.9"}: may specify no more than one IP for each IP family'),
        ({"clusterIP": "None", "clusterIPs": ["None", "10.96.0.9"]}, "spec.clusterIPs: Invalid value: []string{\"None\", \"10.96.0.9\"}: 'None' must be the first and only value"),
        ({"clusterIP": "ten"}, 'spec.clusterIPs[0]: Invalid value: "ten": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)'),
    ],
)  # fmt: skip
def test_families_that_cannot_be_had(server: SilentServer, spec: Json, words: str) -> None:
    said = server.says(f"POST {SERVICES}", service(**spec))
    assert said == f'422 Invalid: Service "s" is invalid: {words}'


@pytest.mark.parametrize(
    ("first", "then", "words"),
    [
        ({"clusterIP": "10.96.0.8"}, {"clusterIP": "10.96.0.9"}, 'spec.clusterIPs[0]: Invalid value: []string{"10.96.0.9"}: may not change once set'),
        ({"clusterIP": "10.96.0.8"}, {"clusterIP": "None"}, 'spec.clusterIPs[0]: Invalid value: []string{"None"}: may not change once set'),
        ({"clusterIP": "None", "selector": {"a": "b"}}, {"clusterIP": "10.96.0.9"}, 'spec.clusterIPs[0]: Invalid value: []string{"10.96.0.9"}: may not change once set'),
        ({"type": "LoadBalancer", "loadBalancerClass": "a/b"}, {"loadBalancerClass": "a/c"}, 'spec.loadBalancerClass: Invalid value: "a/c": may not change once set'),
        ({"type": "LoadBalancer"}, {"loadBalancerClass": "a/c"}, 'spec.loadBalancerClass: Invalid value: "a/c": may not change once set'),
    ],
)  # fmt: skip
def test_what_may_not_change(server: SilentServer, first: Json, then: Json, words: str) -> None:
    made(server, service(**first))
    said = server.says(f"PATCH {SERVICES}/s", {"spec": then}, patch="merge")
    assert said == f'422 Invalid: Service "s" is invalid: {words}'
