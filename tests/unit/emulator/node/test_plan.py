"""A node's interfaces and peers -> the changes that make a container a node."""

from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import pytest

from podwire.emulator.config import ClusterConfig, numbered_nodes
from podwire.emulator.node import plan
from podwire.emulator.node.plan import Interfaces, Survey
from podwire.emulator.node.roster import Peer
from podwire.emulator.node.settings import NodeSettings
from podwire.emulator.topology import topology
from podwire.errors import MachineError
from podwire.netlink.changes import AddRule, AddVxlan, Change, DeleteRule, Rule, describe
from podwire.netlink.present import Link, LinkAddress, Neighbour, Route

SETTINGS = NodeSettings(
    "node-a",
    IPv4Address("10.201.0.11"),
    pods=IPv4Network("10.244.1.0/24"),
    cluster=IPv4Network("10.244.0.0/16"),
    services=IPv4Network("10.96.0.0/12"),
)
ADDRESS = IPv4Interface("10.201.0.11/24")
FOUND = Interfaces("eth0", ADDRESS, IPv4Address("10.201.0.1"), 1500, "eth1")
NODE_B = Peer("node-b", IPv4Address("10.201.0.12"), IPv4Network("10.244.2.0/24"))
NODE_C = Peer("node-c", IPv4Address("10.201.0.13"), IPv4Network("10.244.3.0/24"))
DEFAULT_RULES = (Rule(0, table=255), Rule(32766, table=254), Rule(32767, table=253))
VXLAN_MAC = "0e:58:0a:f4:01:00"
ALIAS = "podwire 10.201.0.11 dev eth0 id 1 port 8472"


def words(changes: Sequence[Change]) -> list[str]:
    return [describe(change) for change in changes]


def link(number: int, name: str, *, kind: str = "veth", mtu: int = 1500) -> Link:
    mac = VXLAN_MAC if kind == "vxlan" else f"02:42:00:00:00:{number:02x}"
    alias = ALIAS if kind == "vxlan" else ""
    return Link(number, name, kind, mac, mtu, True, 6, 0, 0, alias, False, False)


def attached(*addresses: str, default: str = "") -> Survey:
    """Return a survey from `NAME ADDRESS/LENGTH`, numbered from 2; *default* is `NAME GATEWAY`."""
    names = list(dict.fromkeys(each.split()[0] for each in addresses))
    links = tuple(link(number, name) for number, name in enumerate(names, 2))
    number_of = {each.name: each.number for each in links}
    routes: tuple[Route, ...] = ()
    if default:
        name, gateway = default.split()
        anywhere = IPv4Network("0.0.0.0/0")
        routes = (Route(anywhere, IPv4Address(gateway), number_of[name], 254, 1, False),)
    return Survey(
        links=(link(1, "lo"), *links),
        addresses=(
            LinkAddress(1, IPv4Interface("127.0.0.1/8")),
            *(
                LinkAddress(number_of[name], IPv4Interface(address))
                for name, address in (each.split() for each in addresses)
            ),
        ),
        routes=routes,
    )


@pytest.mark.parametrize(
    ("survey", "underlay", "pods", "router"),
    [
        (attached("eth0 10.201.0.11/24", "eth1 10.244.1.2/24"), "eth0", "eth1", "10.201.0.1"),
        # The engine numbers interfaces as it likes, and may give the pods' network the default.
        (
            attached("eth0 10.244.1.2/24", "eth1 10.201.0.11/24", default="eth0 10.244.1.1"),
            "eth1",
            "eth0",
            "10.201.0.1",
        ),
        (
            attached("eth0 10.201.0.11/24", "eth1 10.244.1.2/24", default="eth0 10.201.0.254"),
            "eth0",
            "eth1",
            "10.201.0.254",
        ),
        # Started again in the same namespace.
        (
            attached(
                "flannel.1 10.244.1.0/32",
                "eth0 10.201.0.11/24",
                "eth1 10.244.1.2/24",
                "eth1 10.244.1.1/24",
            ),
            "eth0",
            "eth1",
            "10.201.0.1",
        ),
    ],
)
def test_interfaces_are_found_by_subnet(
    survey: Survey, underlay: str, pods: str, router: str
) -> None:
    found = plan.interfaces(SETTINGS, survey)
    assert (found.underlay, found.pods, str(found.router)) == (underlay, pods, router)


@pytest.mark.parametrize(
    ("survey", "said"),
    [
        (
            attached("eth0 10.201.0.11/24"),
            "node-a has no interface in 10.244.1.0/24: attach it to the network pods-a",
        ),
        (
            attached("eth0 10.201.0.11/24", "flannel.1 10.244.1.0/32"),
            "node-a has no interface in 10.244.1.0/24",
        ),
        (
            attached("eth0 10.201.0.12/24", "eth1 10.244.1.2/24"),
            "networks: {nodes: {ipv4_address: 10.201.0.11}}",
        ),
        (attached("eth0 10.201.0.11/24", "eth0 10.244.1.2/24"), "on the same interface"),
    ],
)
def test_an_interface_that_is_not_there(survey: Survey, said: str) -> None:
    with pytest.raises(MachineError) as refused:
        plan.interfaces(SETTINGS, survey)
    assert said in str(refused.value)


ENGINES, OWN = "eth1 10.244.1.2/24", "eth1 10.244.1.1/24"
ADD_OWN, ADD_ENGINES = "add address 10.244.1.1/24 to eth1", "add address 10.244.1.2/24 to eth1"
DELETE_ENGINES = "delete address 10.244.1.2/24 of eth1"


@pytest.mark.parametrize(
    ("present", "changes"),
    [
        ([ENGINES], [DELETE_ENGINES, ADD_OWN, ADD_ENGINES]),
        # Of two addresses of a network, the later one goes with the first.
        (
            [ENGINES, OWN],
            [DELETE_ENGINES, "delete address 10.244.1.1/24 of eth1", ADD_OWN, ADD_ENGINES],
        ),
        ([OWN, ENGINES], [ADD_OWN, ADD_ENGINES]),
    ],
)
def test_the_gateway_is_the_nodes_first_address_among_its_pods(
    present: list[str], changes: list[str]
) -> None:
    survey = attached("eth0 10.201.0.11/24", *present)
    assert words(plan.node_changes(SETTINGS, FOUND, survey)) == [
        "set link lo",
        *changes,
        "add route 10.244.1.0/24 dev eth1 src 10.244.1.1",
        "add route 0.0.0.0/0 via 10.201.0.1 dev eth0",
    ]


def test_without_a_packet_filter_nothing_passes_the_fence() -> None:
    wanted = plan.rules(SETTINGS, FOUND, filtered=False)
    assert not [rule for rule in wanted if rule.priority in (96, 97)]


WANTED_RULES = [
    "pref 96 fwmark 0x800/0x800 lookup 254",
    "pref 97 to 10.96.0.0/12 lookup 254",
    "pref 99 to 10.201.0.0/24 iif eth1 unreachable",
    "pref 99 to 10.201.0.0/24 iif flannel.1 unreachable",
    "pref 100 iif eth1 lookup 254 suppress_prefixlength 0",
    "pref 100 iif flannel.1 lookup 254 suppress_prefixlength 0",
    "pref 101 iif eth1 unreachable",
    "pref 101 iif flannel.1 unreachable",
]


def test_rules_of_a_new_node() -> None:
    wanted = plan.rules(SETTINGS, FOUND, filtered=True)
    changes = plan.rule_changes(wanted, DEFAULT_RULES)
    assert words(changes) == [f"add rule {rule}" for rule in WANTED_RULES]


def test_rules_that_are_there_already() -> None:
    wanted = plan.rules(SETTINGS, FOUND, filtered=True)
    assert plan.rule_changes(wanted, (*wanted, *DEFAULT_RULES)) == ()


def test_rules_of_before_and_of_others() -> None:
    wanted = plan.rules(SETTINGS, FOUND, filtered=True)
    before = Rule(101, "unreachable", arriving="eth9")
    others = Rule(50, table=7)
    changes = plan.rule_changes(wanted, (*wanted, before, others, *DEFAULT_RULES))
    assert changes == (DeleteRule(before),)
    # The peers' are kept until the API server says who they are.
    peers = Rule(98, table=254, arriving="eth1", to=IPv4Network("10.201.0.12/32"))
    assert plan.rule_changes(wanted, (*wanted, peers, *DEFAULT_RULES)) == ()
    lacking = plan.rule_changes(wanted, (*wanted[1:], *DEFAULT_RULES))
    assert lacking == (AddRule(wanted[0]),)


def tunnel(**changed: object) -> Survey:
    there = link(9, "flannel.1", kind="vxlan", mtu=1450)._replace(**changed)  # type: ignore[arg-type]
    return Survey(links=(there,))


KEPT = ["set link flannel.1", "add address 10.244.1.0/32 to flannel.1"]
MADE = ["add vxlan flannel.1 (id 1) on eth0", "set link flannel.1", *KEPT]


@pytest.mark.parametrize(
    ("survey", "changes"),
    [
        (Survey(), MADE),
        (tunnel(), KEPT),
        (tunnel(mtu=1400), ["delete link flannel.1", *MADE]),
        (tunnel(mac="02:00:00:00:00:01"), ["delete link flannel.1", *MADE]),
        (tunnel(kind="dummy"), ["delete link flannel.1", *MADE]),
        (
            tunnel(alias="podwire 10.201.0.9 dev eth0 id 1 port 8472"),
            ["delete link flannel.1", *MADE],
        ),
    ],
)
def test_tunnel(survey: Survey, changes: list[str]) -> None:
    assert words(plan.tunnel_changes(SETTINGS, FOUND, survey)) == changes


def test_nodes_are_wired_as_in_the_other_runtime() -> None:
    config = ClusterConfig(nodes=numbered_nodes(2))
    node = topology(config).namespace("node-1")
    settings = replace(SETTINGS, address=IPv4Address("192.168.1.10"))
    other = Peer("node-2", IPv4Address("192.168.1.11"), IPv4Network("10.244.2.0/24"))
    (device,) = [
        change
        for change in plan.tunnel_changes(settings, FOUND, Survey())
        if isinstance(change, AddVxlan)
    ]
    assert device in node.links
    (_, neighbour, forwarding, route) = plan.peer_changes(
        [other], settings, FOUND, "vxlan", Survey()
    )
    assert neighbour in node.neighbours
    assert forwarding in node.forwarding
    assert route in node.routes


def peer_rule(peer: Peer) -> Rule:
    to = IPv4Network(peer.address)
    return Rule(98, table=254, arriving="eth1", to=to, suppress_prefix_length=0)


def connected() -> Survey:
    """Return what is there when node-b is a peer, beside things that are not ours."""
    eth0, eth1, vxlan = link(2, "eth0"), link(3, "eth1"), link(9, "flannel.1", kind="vxlan")
    vtep = NODE_B.vtep
    return Survey(
        links=(eth0, eth1, vxlan),
        routes=(
            Route(NODE_B.pods, vtep, 9, 254, 1, True),
            Route(IPv4Network("10.244.1.0/24"), None, 3, 254, 1, False),
            Route(IPv4Network("172.20.0.0/16"), IPv4Address("10.201.0.1"), 2, 254, 1, False),
            Route(IPv4Network("10.244.9.0/24"), IPv4Address("10.201.0.1"), 2, 100, 1, False),
        ),
        neighbours=(
            Neighbour(9, vtep, NODE_B.vtep_mac, True, False),
            Neighbour(2, IPv4Address("10.201.0.12"), "02:00:00:00:00:12", True, False),
        ),
        forwarding=(Neighbour(9, NODE_B.address, NODE_B.vtep_mac, True, True),),
        rules=(*plan.rules(SETTINGS, FOUND, filtered=True), peer_rule(NODE_B), *DEFAULT_RULES),
    )


ADD_B = [
    "add neighbour 10.244.2.0 at 0e:58:0a:f4:02:00 dev flannel.1",
    "add forwarding of 0e:58:0a:f4:02:00 to 10.201.0.12 dev flannel.1",
    "add route 10.244.2.0/24 via 10.244.2.0 dev flannel.1",
]
MEET_B = "add rule pref 98 to 10.201.0.12/32 iif eth1 lookup 254 suppress_prefixlength 0"
FORGET_B = [
    MEET_B.replace("add", "delete"),
    "delete route 10.244.2.0/24 dev flannel.1",
    "delete neighbour 10.244.2.0 dev flannel.1",
    "delete forwarding of 0e:58:0a:f4:02:00 to 10.201.0.12 dev flannel.1",
]
MEET_C = MEET_B.replace("0.12", "0.13")
ADD_C = [
    "add neighbour 10.244.3.0 at 0e:58:0a:f4:03:00 dev flannel.1",
    "add forwarding of 0e:58:0a:f4:03:00 to 10.201.0.13 dev flannel.1",
    "add route 10.244.3.0/24 via 10.244.3.0 dev flannel.1",
]


@pytest.mark.parametrize(
    ("peers", "survey", "changes"),
    [
        ([], Survey(), []),
        ([NODE_B], Survey(), [MEET_B, *ADD_B]),
        # The kernel replaces what is the same.
        ([NODE_B], connected(), ADD_B),
        ([], connected(), FORGET_B),
        ([NODE_C], connected(), [MEET_C, *FORGET_B, *ADD_C]),
        # Moved: the entry of the same MAC is replaced, not taken away first.
        (
            [replace(NODE_B, address=IPv4Address("10.201.0.99"))],
            connected(),
            [
                MEET_B.replace("0.12", "0.99"),
                FORGET_B[0],
                ADD_B[0],
                "add forwarding of 0e:58:0a:f4:02:00 to 10.201.0.99 dev flannel.1",
                ADD_B[2],
            ],
        ),
    ],
)
def test_peers_over_vxlan(peers: list[Peer], survey: Survey, changes: list[str]) -> None:
    assert words(plan.peer_changes(peers, SETTINGS, FOUND, "vxlan", survey)) == changes


def test_peers_over_plain_routes() -> None:
    changes = plan.peer_changes([NODE_B], SETTINGS, FOUND, "host-gw", Survey())
    assert words(changes) == [MEET_B, "add route 10.244.2.0/24 via 10.201.0.12 dev eth0"]
    there = Survey(
        links=(link(2, "eth0"),),
        routes=(Route(NODE_B.pods, NODE_B.address, 2, 254, 1, False),),
    )
    gone = plan.peer_changes([], SETTINGS, FOUND, "host-gw", there)
    assert words(gone) == ["delete route 10.244.2.0/24 dev eth0"]
