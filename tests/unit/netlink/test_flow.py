"""What the kernel says about connections, in its own bytes."""

from ipaddress import IPv4Address

from podwire.netlink.flow import Flow, FlowProtocol, parse

ALL: frozenset[FlowProtocol] = frozenset({"TCP", "UDP", "SCTP"})
HERE, SERVICE = IPv4Address("127.0.0.1"), IPv4Address("10.96.0.80")

# Linux 6.18; `dnat to 127.0.0.1:5353`.
UDP = bytes.fromhex(
    "020000003400018014000180080001007f000001080002000a6000501c000280050001001100000006000200"
    "0fa0000006000300003500003400028014000180080001007f000001080002007f0000011c00028005000100"
    "110000000600020014e90000060003000fa0000008000300000001a8080008000000000008000c00b336922c"
    "08000b0000000001080007000000001d"
)
TCP = bytes.fromhex(
    "020000003400018014000180080001007f000001080002000a6000501c000280050001000600000006000200"
    "0fa1000006000300003500003400028014000180080001007f000001080002007f0000011c00028005000100"
    "060000000600020014e90000060003000fa1000008000300000001ae080008000000000008000c0035502013"
    "08000b0000000001080007000006977f300004802c0001800500010003000000050002000a00000005000300"
    "0a00000006000400230000000600050023000000"
)
ESTABLISHED, TIME_WAIT, SYN_SENT = (
    bytes.fromhex("05000100" + state + "000000") for state in ("03", "07", "01")
)


def test_udp() -> None:
    found = parse(UDP, ALL)
    assert found is not None
    assert found == Flow("UDP", HERE, 4000, SERVICE, 53, HERE, 5353)
    # What the kernel wants to hear again when the flow is to be deleted.
    assert found.original == UDP[8:56]
    assert found.number == bytes.fromhex("b336922c")


def test_tcp() -> None:
    assert parse(TCP, ALL) == Flow("TCP", HERE, 4001, SERVICE, 53, HERE, 5353)


def test_the_order_of_attributes_means_nothing() -> None:
    head, original, reply, rest = UDP[:4], UDP[4:56], UDP[56:108], UDP[108:]
    found = parse(head + rest + reply + original, ALL)
    assert found == parse(UDP, ALL)
    assert found is not None
    assert (found.original, found.number) == (UDP[8:56], bytes.fromhex("b336922c"))


def test_a_tcp_connection_that_is_over_or_not_there_yet_is_not_open() -> None:
    for state in (TIME_WAIT, SYN_SENT):
        found = parse(TCP.replace(ESTABLISHED, state), ALL)
        assert found is not None
        assert not found.open


def test_only_what_is_asked_for() -> None:
    assert parse(TCP, frozenset({"UDP"})) is None


def test_other_protocols_have_no_ports() -> None:
    icmp = UDP.replace(bytes.fromhex("0500010011"), bytes.fromhex("0500010001"))
    assert parse(icmp, ALL) is None
