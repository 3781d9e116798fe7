"""Which of the host's interfaces leads to a pod."""

import socket
from ipaddress import IPv4Address

import pytest

from podwire.emulator.node.pod_captures import arp_question, bridges, open_pod, port_of
from podwire.emulator.trace.frames import packets
from podwire.emulator.trace.pcapng import Capture, Frame, Interface
from podwire.lending import Wanted
from podwire.netlink.present import Link, Neighbour

POD, OTHER = "02:42:0a:f4:01:80", "02:42:0a:f4:01:81"


def link(number: int, name: str, kind: str, master: int = 0) -> Link:
    mac = f"02:00:00:00:00:{number:02x}"
    return Link(number, name, kind, mac, 1500, True, 6, master, 0, "", False, False)


def heard(at: int, mac: str, *, own: bool = False) -> Neighbour:
    return Neighbour(at, None, mac, own, True)


LINKS = (
    link(1, "lo", ""),
    link(2, "eth0", ""),
    link(3, "br-pods", "bridge"),
    link(4, "veth1", "veth", master=3),
    link(5, "veth2", "veth", master=3),
    link(6, "virbr0", "bridge"),
    link(7, "tap0", "tun", master=6),
    link(8, "vxlan0", "vxlan"),
)


@pytest.mark.parametrize(
    ("entries", "port"),
    [
        ([], None),
        ([heard(5, OTHER)], None),
        ([heard(5, OTHER), heard(4, POD)], 4),
        ([heard(4, POD, own=True)], None),
        ([heard(7, POD)], None),  # a virtual machine of the host
        ([heard(8, POD), heard(5, POD)], 5),  # the VXLAN of somebody else
        ([heard(99, POD)], None),  # gone in between
    ],
)
def test_the_port_behind_which_a_pod_was_heard(entries: list[Neighbour], port: int | None) -> None:
    assert port_of(POD, entries, LINKS) == port


def test_only_bridges_of_pods_are_asked() -> None:
    assert [bridge.name for bridge in bridges(LINKS)] == ["br-pods"]


def test_the_question_that_makes_a_pod_speak() -> None:
    frame = arp_question("02:00:00:00:00:03", POD, IPv4Address("10.244.1.128"))
    (seen,) = packets(Capture((Interface("host br-pods"),), (Frame(0, 1, frame),), ()))
    assert (seen.protocol, seen.flags) == ("ARP", "request")
    assert (str(seen.src), str(seen.dst)) == ("0.0.0.0", "10.244.1.128")
    assert frame[:6].hex(":") == POD


@pytest.mark.parametrize(
    "wanted",
    [
        Wanted(socket.AF_INET, socket.SOCK_STREAM, 0, POD),
        Wanted(socket.AF_PACKET, socket.SOCK_RAW),
    ],
)
def test_nothing_else_is_lent(wanted: Wanted) -> None:
    with pytest.raises(ValueError, match="only packet sockets are lent here"):
        open_pod(wanted)
