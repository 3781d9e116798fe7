"""What must be there for one pod."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_interface, ip_network
from typing import Any

import pytest

from podwire.cni.netconf import NetConf
from podwire.cni.plan import (
    Plan,
    alias,
    host_changes,
    host_interface,
    mac_of,
    masquerade_rules,
    masquerade_table,
    plan,
    pod_changes,
    result,
    table_prefixes,
    tables,
    veth,
)
from podwire.cni.results import Dns, Result, ResultAddress, ResultRoute
from podwire.cni.spec import Attachment, Call
from podwire.netlink.changes import SetHairpin, SetIsolated, describe

OWNER = Attachment("c1", "eth0")
CALL = Call("ADD", OWNER, "/n")
CONF = NetConf(name="net", version="1.0.0", is_gateway=True, is_default_gateway=True, mtu=1450)


def ipam(*addresses: str, routes: tuple[ResultRoute, ...] = ()) -> Result:
    """Return an IPAM result from words like "10.1.0.5/24" or "10.1.0.5/24 via 10.1.0.1"."""
    given: list[ResultAddress] = []
    for each in addresses:
        address, _, gateway = each.partition(" via ")
        given.append(ResultAddress(ip_interface(address), ip_address(gateway) if gateway else None))
    return Result(addresses=tuple(given), routes=routes)


def route(destination: str, gateway: str = "", **members: Any) -> ResultRoute:
    return ResultRoute(ip_network(destination), ip_address(gateway) if gateway else None, **members)


def made(conf: NetConf = CONF, given: Result | None = None) -> Plan:
    return plan(conf, CALL, given or ipam("10.244.1.5/24 via 10.244.1.1"))


def routes_of(wanted: Plan) -> list[str]:
    return [f"{r.destination} via {r.gateway}" for r in wanted.routes]


def test_a_pod() -> None:
    wanted = made()
    assert wanted.bridge.name == "cni0"
    assert wanted.bridge.mac == "0a:58:0a:f4:01:01"
    assert [str(each) for each in wanted.bridge.addresses] == ["10.244.1.1/24"]
    assert wanted.pod_mac == "0a:58:0a:f4:01:05"
    assert wanted.host_mac == "fe:58:0a:f4:01:05"
    assert wanted.alias == "podwire net c1 eth0"
    assert describe(veth(wanted)) == f"add veth {wanted.host_interface} with peer eth0 in /n"
    assert [describe(change) for change in pod_changes(wanted)] == [
        "set link lo",
        "add address 10.244.1.5/24 to eth0",
        "set link eth0",
        "add route 0.0.0.0/0 via 10.244.1.1 dev eth0",
    ]


def test_names_follow_from_the_attachment() -> None:
    names = {
        host_interface("net", OWNER),
        host_interface("net", Attachment("c1", "eth1")),
        host_interface("net", Attachment("c2", "eth0")),
        host_interface("other", OWNER),
    }
    assert len(names) == 4
    assert all(len(name) == 15 and name.startswith("pw") for name in names)
    assert host_interface("net", OWNER) == host_interface("net", Attachment("c1", "eth0"))
    assert all(name.startswith(table_prefixes("net")) for name in tables("net", OWNER))
    assert not any(name.startswith(table_prefixes("other")) for name in tables("net", OWNER))


def test_a_label_too_long_for_the_kernel_is_shortened() -> None:
    assert alias("n" * 250, OWNER) == ""
    long = alias("net", Attachment("c" * 250, "eth0"))
    assert long.startswith("podwire net ")
    assert long != alias("net", Attachment("d" * 250, "eth0"))


@pytest.mark.parametrize(
    ("given", "routes"),
    [
        ((), ["0.0.0.0/0 via 10.1.0.1"]),
        ((route("0.0.0.0/0"),), ["0.0.0.0/0 via 10.1.0.1"]),
        ((route("0.0.0.0/0", "10.1.0.7"),), ["0.0.0.0/0 via 10.1.0.7"]),
        ((route("10.9.0.0/16"),), ["10.9.0.0/16 via 10.1.0.1", "0.0.0.0/0 via 10.1.0.1"]),
        (
            (route("10.9.0.0/16", scope=253),),
            ["10.9.0.0/16 via None", "0.0.0.0/0 via 10.1.0.1"],
        ),
    ],
)
def test_routes(given: tuple[ResultRoute, ...], routes: list[str]) -> None:
    assert routes_of(made(given=ipam("10.1.0.5/24 via 10.1.0.1", routes=given))) == routes


def test_a_gateway_that_ipam_left_out() -> None:
    wanted = made(given=ipam("10.1.0.5/24"))
    assert [str(each) for each in wanted.bridge.addresses] == ["10.1.0.1/24"]
    assert routes_of(wanted) == ["0.0.0.0/0 via 10.1.0.1"]


def test_without_gateway() -> None:
    wanted = made(CONF._replace(is_gateway=False, is_default_gateway=False))
    assert wanted.bridge.addresses == ()
    assert wanted.routes == ()


def test_without_addresses() -> None:
    wanted = made(CONF._replace(masquerade=True), Result())
    assert wanted.addresses == ()
    assert wanted.masquerade == ""
    other = plan(CONF, Call("ADD", Attachment("c2", "eth0"), "/n"), Result())
    assert wanted.pod_mac != other.pod_mac


def test_both_families() -> None:
    wanted = made(given=ipam("10.1.0.5/24 via 10.1.0.1", "fd00::5/64 via fd00::1"))
    assert routes_of(wanted) == ["0.0.0.0/0 via 10.1.0.1", "::/0 via fd00::1"]
    assert [str(each) for each in wanted.bridge.addresses] == ["10.1.0.1/24", "fd00::1/64"]


def test_mac() -> None:
    assert mac_of(IPv4Address("10.244.1.5"), "") == "0a:58:0a:f4:01:05"
    six = mac_of(IPv6Address("fd00::5"), "x")
    assert six.startswith("0a:5a:")
    assert six != mac_of(IPv6Address("fd00::6"), "x")
    assert made(CONF._replace(mac="02:00:00:00:00:01")).pod_mac == "02:00:00:00:00:01"


def test_hairpin() -> None:
    assert SetHairpin(made().host_interface, on=True) not in host_changes(made())
    wanted = made(CONF._replace(hairpin=True))
    assert SetHairpin(wanted.host_interface, on=True) in host_changes(wanted)


def test_isolation() -> None:
    assert SetIsolated(made().host_interface, on=True) not in host_changes(made())
    wanted = made(CONF._replace(isolated=True))
    assert SetIsolated(wanted.host_interface, on=True) in host_changes(wanted)


def test_masquerade_rules() -> None:
    conf = CONF._replace(masquerade=True)
    wanted = made(conf, ipam("10.1.0.5/24 via 10.1.0.1", "fd00::5/64 via fd00::1"))
    script = masquerade_rules(wanted)
    assert wanted.masquerade == masquerade_table("net", OWNER)
    assert f"delete table inet {wanted.masquerade}\n" in script
    assert "ip saddr 10.1.0.5 ip daddr != { 10.1.0.0/24, 224.0.0.0/4 } masquerade" in script
    assert "ip6 saddr fd00::5 ip6 daddr != { fd00::/64, ff00::/8 } masquerade" in script


@pytest.mark.parametrize(
    ("configured", "allotted", "answered"),
    [
        ("", "", ""),
        ("10.0.0.1", "", "10.0.0.1"),
        ("", "10.0.0.2", "10.0.0.2"),
        ("10.0.0.1", "10.0.0.2", "10.0.0.1"),
    ],
)
def test_dns_of_the_result(configured: str, allotted: str, answered: str) -> None:
    def dns(server: str) -> Dns:
        return Dns(nameservers=(server,) if server else ())

    conf = CONF._replace(dns=dns(configured))
    given = ipam("10.1.0.5/24")._replace(dns=dns(allotted))
    assert result(made(conf, given), conf, given).dns == dns(answered)


def test_result() -> None:
    given = ipam("10.244.1.5/24 via 10.244.1.1")
    answer = result(made(), CONF, given)
    assert [(i.name, i.sandbox) for i in answer.interfaces] == [
        ("cni0", ""),
        (host_interface("net", OWNER), ""),
        ("eth0", "/n"),
    ]
    assert [each.interface for each in answer.addresses] == [2]
