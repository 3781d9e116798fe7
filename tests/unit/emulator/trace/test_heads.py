"""The kernel runs the program, on frames that are sent as datagrams of a Unix socket."""

import ctypes
import socket
import struct

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Ether
from scapy.layers.vxlan import VXLAN
from scapy.packet import Packet, Raw

from podwire.emulator.trace.heads import HEAD, LONGEST, PROGRAM

_SO_ATTACH_FILTER = 26

LONG = Raw(bytes(9000))
HTTP = TCP(sport=40000, dport=80)
DNS = TCP(sport=53, dport=40000)
TUNNEL = Ether() / IP() / UDP(sport=50000, dport=8472) / VXLAN(vni=1) / Ether()
WIDE = IP(options=[b"\x01" * 40])  # the longest header there is


def kept(frame: Packet) -> int:
    """Return how many bytes of *frame* the program keeps."""
    sender, receiver = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    packed = b"".join(struct.pack("=HBBI", *instruction) for instruction in PROGRAM)
    buffer = ctypes.create_string_buffer(packed, len(packed))
    head = struct.pack("@HP", len(PROGRAM), ctypes.addressof(buffer))
    with sender, receiver:
        receiver.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, head)
        sender.send(bytes(frame))
        return len(receiver.recv(1 << 18))


@pytest.mark.parametrize(
    "bulk",
    [
        Ether() / IP() / HTTP / LONG,
        Ether() / WIDE / HTTP / LONG,
        TUNNEL / IP() / HTTP / LONG,
        TUNNEL / WIDE / HTTP / LONG,
        Ether() / WIDE / UDP(dport=4789) / VXLAN(vni=1) / Ether() / IP() / HTTP / LONG,
    ],
)
def test_of_bulk_the_head_is_kept(bulk: Packet) -> None:
    assert kept(bulk) == HEAD


@pytest.mark.parametrize(
    "frame",
    [
        Ether() / IP() / HTTP,
        Ether() / IP() / HTTP / Raw(bytes(LONGEST - 54)),
        Ether() / IP() / DNS / LONG,
        Ether() / IP() / TCP(sport=40000, dport=53) / LONG,
        TUNNEL / IP() / DNS / LONG,
        TUNNEL / WIDE / DNS / LONG,
        TUNNEL / IP() / UDP(sport=53, dport=40000) / LONG,
        TUNNEL / ARP() / LONG,
        Ether() / IP() / UDP(sport=40000, dport=9999) / LONG,
        Ether() / IP() / UDP(sport=40000, dport=8472) / LONG,
        Ether() / IP() / UDP(sport=40000, dport=8472) / Raw(b"x"),
        Ether() / IPv6() / HTTP / LONG,
        Ether() / ARP(),
    ],
)
def test_all_else_is_kept_whole(frame: Packet) -> None:
    assert kept(frame) == len(frame)
