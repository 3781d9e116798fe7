"""What CHECK finds, from values alone."""

from ipaddress import ip_address, ip_interface, ip_network

import pytest

from podwire.cni.check import Survey, faults
from podwire.cni.results import Result, ResultAddress, ResultInterface, ResultRoute
from podwire.cni.spec import Attachment, Call
from podwire.netlink.present import Link, LinkAddress, Route

CALL = Call("CHECK", Attachment("c1", "eth0"), "/n")
MAC = "0a:58:0a:01:00:05"
GATEWAY = ip_address("10.1.0.1")
PREVIOUS = Result(
    interfaces=(
        ResultInterface("cni0"),
        ResultInterface("pw1"),
        ResultInterface("eth0", MAC.upper(), 0, "/n"),
    ),
    addresses=(ResultAddress(ip_interface("10.1.0.5/24"), GATEWAY, 2),),
    routes=(
        ResultRoute(ip_network("0.0.0.0/0"), GATEWAY),
        ResultRoute(ip_network("10.9.0.0/16"), GATEWAY),
    ),
)


def link(
    number: int, name: str, kind: str, *, master: int = 0, peer: int = 0, mac: str = MAC
) -> Link:
    return Link(number, name, kind, mac, 1500, True, 6, master, peer, "", False, False)


def route(destination: str, gateway: str) -> Route:
    return Route(ip_network(destination), ip_address(gateway), 2, 254, 1, onlink=False)


WHOLE = Survey(
    bridge=link(3, "cni0", "bridge"),
    host=link(4, "pw1", "veth", master=3, peer=2),
    pod=link(2, "eth0", "veth", peer=4),
    addresses=(
        LinkAddress(2, ip_interface("10.1.0.5/24")),
        LinkAddress(2, ip_interface("10.2.0.5/24")),
    ),
    routes=(
        route("0.0.0.0/0", "10.1.0.1"),
        route("10.9.0.0/16", "10.1.0.1"),
        route("10.8.0.0/16", "10.1.0.9"),
    ),
)


def found(survey: Survey, previous: Result = PREVIOUS) -> str:
    return "; ".join(faults(survey, previous, CALL, bridge="cni0", host="pw1"))


def test_whole_with_extras() -> None:
    assert found(WHOLE) == ""
    assert (
        found(
            WHOLE,
            PREVIOUS._replace(
                addresses=(*PREVIOUS.addresses, ResultAddress(ip_interface("10.7.0.1/24"), None, 1))
            ),
        )
        == ""
    )


def test_an_isolated_port() -> None:
    def told(survey: Survey) -> list[str]:
        return [*faults(survey, PREVIOUS, CALL, bridge="cni0", host="pw1", isolated=True)]

    assert told(WHOLE) == ["host interface pw1 is not an isolated port of cni0"]
    port = link(4, "pw1", "veth", master=3, peer=2)
    assert told(WHOLE._replace(host=port._replace(isolated=True))) == []


def test_a_default_route_may_move() -> None:
    moved = WHOLE._replace(routes=(route("0.0.0.0/0", "10.1.0.99"), *WHOLE.routes[1:]))
    assert found(moved) == ""


@pytest.mark.parametrize(
    ("survey", "words"),
    [
        (WHOLE._replace(bridge=None), "bridge cni0 not found"),
        (WHOLE._replace(bridge=link(3, "cni0", "veth")), "cni0 is not a bridge"),
        (WHOLE._replace(host=None), "host interface pw1 not found"),
        (WHOLE._replace(host=link(4, "pw1", "veth", peer=2)), "not a port of cni0"),
        (WHOLE._replace(host=link(4, "pw1", "veth", master=3, peer=8)), "not the other end of pw1"),
        (WHOLE._replace(pod=None), "Interface name eth0 not found"),
        (WHOLE._replace(pod=link(2, "eth0", "vlan", peer=4)), "eth0 is not a veth"),
        (
            WHOLE._replace(pod=link(2, "eth0", "veth", peer=4, mac="02:00:00:00:00:01")),
            "eth0 has MAC",
        ),
        (
            WHOLE._replace(addresses=(LinkAddress(3, ip_interface("10.1.0.5/24")),)),
            "match addr 10.1.0.5/24",
        ),
        (WHOLE._replace(routes=WHOLE.routes[1:]), "Expected Route 0.0.0.0/0"),
        (
            WHOLE._replace(routes=(WHOLE.routes[0], route("10.9.0.0/16", "10.1.0.7"))),
            "Expected Route 10.9.0.0/16",
        ),
    ],
)
def test_faults(survey: Survey, words: str) -> None:
    assert words in found(survey)


def test_previous_result_of_another_pod() -> None:
    other = PREVIOUS._replace(interfaces=(ResultInterface("eth0", MAC, 0, "/other"),))
    assert "doesn't match configured netns" in found(WHOLE, other)
    assert "no interface eth0" in found(WHOLE, PREVIOUS._replace(interfaces=()))
    addresses = (ResultAddress(ip_interface("10.1.0.5/24"), GATEWAY, 99),)
    assert "no interface number 99" in found(WHOLE, PREVIOUS._replace(addresses=addresses))


@pytest.mark.parametrize("number", [0, 1])
def test_a_mac_of_the_node_that_changed(number: int) -> None:
    interfaces = list(PREVIOUS.interfaces)
    interfaces[number] = interfaces[number]._replace(mac="02:00:00:00:00:01")
    words = found(WHOLE, PREVIOUS._replace(interfaces=tuple(interfaces)))
    assert words == f"{interfaces[number].name} has MAC {MAC}, not 02:00:00:00:00:01"
