"""Changes as bytes, against what the ip command of iproute2 sends, and what the kernel answers."""

from ipaddress import IPv4Network, ip_address, ip_interface, ip_network

import pytest

from podwire.netlink import present
from podwire.netlink.changes import (
    AddAddress,
    AddBridge,
    AddDummy,
    AddForwarding,
    AddNeighbour,
    AddRoute,
    AddRule,
    AddVeth,
    Change,
    DeleteForwarding,
    DeleteLink,
    DeleteNeighbour,
    DeleteRule,
    Rule,
    SetIsolated,
    SetLink,
    describe,
)
from podwire.netlink.rtnetlink import attribute, encode

INDEX = {"eth0": 7, "cni0": 9, "flannel.1": 5, "lo": 1}


def body(change: Change) -> bytes:
    return encode(change, INDEX.__getitem__, {"pod": 33}.__getitem__).body


def kind_and_flags(change: Change) -> tuple[int, int]:
    message = encode(change, INDEX.__getitem__, {"pod": 33}.__getitem__)
    return message.kind, message.flags


@pytest.mark.parametrize(
    ("change", "kind", "flags"),
    [
        (AddBridge("cni0", "02:00:00:00:00:01"), 16, 0x600),
        (AddDummy("kube-ipvs0"), 16, 0x600),
        (SetLink("eth0", up=True), 16, 0),
        (SetIsolated("eth0", on=True), 16, 0),
        (DeleteLink("eth0"), 17, 0),
        (AddAddress("eth0", ip_interface("10.0.0.1/24")), 20, 0x500),
        (AddRoute(ip_network("10.0.0.0/8"), "eth0"), 24, 0x500),
        (AddNeighbour("eth0", ip_address("10.0.0.1"), "02:00:00:00:00:01"), 28, 0x500),
        (AddForwarding("flannel.1", "02:00:00:00:00:01", ip_address("10.0.0.1")), 28, 0x500),  # type: ignore[arg-type]
        (AddForwarding("flannel.1", "00:00:00:00:00:00", ip_address("10.0.0.1")), 28, 0xC00),  # type: ignore[arg-type]
        (DeleteNeighbour("eth0", ip_address("10.0.0.1")), 29, 0),
        (DeleteForwarding("flannel.1", "02:00:00:00:00:01", ip_address("10.0.0.1")), 29, 0),  # type: ignore[arg-type]
        # Without EXCLUSIVE (0x200) the kernel takes the same rule twice.
        (AddRule(Rule(10, table=255)), 32, 0x600),
        (DeleteRule(Rule(10, table=255)), 33, 0),
    ],
)
def test_kinds(change: Change, kind: int, flags: int) -> None:
    assert kind_and_flags(change) == (kind, flags)


def test_attributes_are_padded() -> None:
    assert attribute(3, b"lo\0") == bytes.fromhex("0700 0300 6c6f 0000")


def test_address() -> None:
    # ip addr add 10.244.1.5/24 dev eth0 (of number 7), family, prefix, flags, scope, number.
    sent = body(AddAddress("eth0", ip_interface("10.244.1.5/24")))
    assert sent[:8] == bytes.fromhex("02 18 00 00 07000000")
    assert present.link_address(sent) == present.LinkAddress(7, ip_interface("10.244.1.5/24"))
    six = present.link_address(body(AddAddress("eth0", ip_interface("fd00::5/64"))))
    assert six.address == ip_interface("fd00::5/64")


@pytest.mark.parametrize(
    ("change", "head"),
    [
        # family, destination's length, source's, tos, table, protocol, scope, type, flags
        (
            AddRoute(ip_network("0.0.0.0/0"), "eth0", ip_address("10.0.0.1")),
            "02000000fe0400 01 00000000",
        ),
        (AddRoute(ip_network("10.0.0.0/8"), "eth0"), "02080000fe04fd 01 00000000"),
        (AddRoute(ip_network("10.96.0.0/12"), "lo", local=True), "020c0000ff04fe 02 00000000"),
        (
            AddRoute(
                ip_network("10.244.2.0/24"), "flannel.1", ip_address("10.244.2.0"), onlink=True
            ),
            "02180000fe0400 01 04000000",
        ),
        (AddRoute(ip_network("fd00::/64"), "eth0", table=1000), "0a4000000004fd 01 00000000"),
    ],
)
def test_route(change: AddRoute, head: str) -> None:
    sent = body(change)
    assert sent[:12] == bytes.fromhex(head)
    route = present.route(sent)
    assert route.destination == change.destination
    assert route.gateway == change.gateway
    assert route.link == INDEX[change.link]
    assert route.onlink == change.onlink
    if change.table:
        assert route.table == change.table


def test_preferred_source() -> None:
    source = ip_address("10.244.1.1")
    sent = body(AddRoute(ip_network("10.244.1.0/24"), "eth0", source=source))
    assert dict(present.attributes(sent, 12))[7] == source.packed


@pytest.mark.parametrize(
    ("rule", "head", "words"),
    [
        # family, destination's length, source's, tos, table, action, flags
        (Rule(10, table=255), "02000000ff000001 00000000", "pref 10 lookup 255"),
        (Rule(0, table=255), "02000000ff000001 00000000", "pref 0 lookup 255"),
        (
            Rule(5, "blackhole", arriving="eth0", to=IPv4Network("10.96.0.0/12")),
            "020c000000000006 00000000",
            "pref 5 to 10.96.0.0/12 iif eth0 blackhole",
        ),
        (
            Rule(6, "blackhole", to=IPv4Network("10.96.0.0/12"), protocol=1),
            "020c000000000006 00000000",
            "pref 6 to 10.96.0.0/12 ipproto 1 blackhole",
        ),
        (
            Rule(100, table=254, arriving="eth1", suppress_prefix_length=0),
            "02000000fe000001 00000000",
            "pref 100 iif eth1 lookup 254 suppress_prefixlength 0",
        ),
        (
            Rule(101, "unreachable", arriving="eth1"),
            "0200000000000007 00000000",
            "pref 101 iif eth1 unreachable",
        ),
        (Rule(7, table=1000), "0200000000000001 00000000", "pref 7 lookup 1000"),
    ],
)
def test_rule(rule: Rule, head: str, words: str) -> None:
    sent = body(AddRule(rule))
    assert sent[:12] == bytes.fromhex(head)
    assert body(DeleteRule(rule)) == sent
    assert present.rule(sent) == rule
    assert describe(AddRule(rule)) == f"add rule {words}"
    assert describe(DeleteRule(rule)) == f"delete rule {words}"


def test_what_the_kernel_says_of_a_rule_that_suppresses_nothing() -> None:
    sent = body(AddRule(Rule(10, table=255))) + attribute(14, b"\xff\xff\xff\xff")
    assert present.rule(sent) == Rule(10, table=255)


def test_a_rule_with_an_action_that_is_not_ours() -> None:
    sent = bytearray(body(AddRule(Rule(10, table=255))))
    sent[7] = 2  # goto
    assert present.rule(bytes(sent)) is None


def test_neighbours() -> None:
    sent = body(AddNeighbour("flannel.1", ip_address("10.244.2.0"), "0e:58:0a:f4:02:00"))
    assert present.neighbour(sent) == present.Neighbour(
        5, ip_address("10.244.2.0"), "0e:58:0a:f4:02:00", permanent=True, forwarding=False
    )
    to = ip_address("192.168.1.11")
    sent = body(AddForwarding("flannel.1", "0e:58:0a:f4:02:00", to))  # type: ignore[arg-type]
    assert present.neighbour(sent) == present.Neighbour(
        5, to, "0e:58:0a:f4:02:00", permanent=True, forwarding=True
    )
    removed = body(DeleteForwarding("flannel.1", "0e:58:0a:f4:02:00", to))  # type: ignore[arg-type]
    assert removed == sent
    removed = body(DeleteNeighbour("flannel.1", to))
    assert present.neighbour(removed) == present.Neighbour(
        5, to, "", permanent=False, forwarding=False
    )


def test_link() -> None:
    link = present.link(body(AddBridge("cni0", "0a:58:0a:f4:01:01", 1450)))
    assert (link.name, link.kind, link.mac, link.mtu, link.up) == (
        "cni0",
        "bridge",
        "0a:58:0a:f4:01:01",
        1450,
        True,
    )
    change = SetLink("eth0", up=True, master="cni0", alias="whose")
    port = present.link(body(change))
    assert (port.number, port.up, port.master, port.alias) == (7, True, 9, "whose")
    assert present.link(body(SetLink("eth0", master=""))).master == 0


def test_veth_names_the_namespace() -> None:
    change = AddVeth("pw1", "02:00:00:00:00:01", "eth0", "02:00:00:00:00:02", "pod", 1450)
    info = dict(present.attributes(dict(present.attributes(body(change), 16))[18]))
    peer = dict(present.attributes(info[2]))[1]
    members = dict(present.attributes(peer, 16))
    assert present.link(peer).name == "eth0"
    assert int.from_bytes(members[28], "little") == 33


def test_cut_off_answers_do_not_loop() -> None:
    assert list(present.attributes(b"\x00\x00\x01\x00rest")) == []
    assert list(present.attributes(b"\x08")) == []


def test_describe() -> None:
    assert describe(AddRoute(ip_network("10.0.0.0/8"), "eth0", ip_address("10.0.0.1"))) == (
        "add route 10.0.0.0/8 via 10.0.0.1 dev eth0"
    )
