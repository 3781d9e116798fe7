"""Frames built by scapy, read by the judge's own parser."""

from ipaddress import IPv4Address

import pytest
from scapy.layers.dns import DNS, DNSQR
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.layers.vxlan import VXLAN
from scapy.packet import Packet, Raw

from podwire.emulator.trace import pcapng
from podwire.emulator.trace.frames import packets, parse
from podwire.emulator.trace.hops import summary_of
from podwire.emulator.trace.packets import all_to_scapy, to_scapy

CLIENT, WEB = "10.244.1.5", "10.244.2.6"
SYN = IP(src=CLIENT, dst=WEB) / TCP(sport=40000, dport=80, flags="S", seq=7)
QUERY = IP(src=CLIENT, dst="10.96.0.10") / UDP(sport=5, dport=53) / DNS(qd=DNSQR(qname="a.b."))


@pytest.mark.parametrize(
    ("frame", "flow", "summary"),
    [
        (Ether() / SYN, "TCP 10.244.1.5:40000 > 10.244.2.6:80", "SYN"),
        (
            Ether()
            / IP(src=CLIENT, dst=WEB)
            / TCP(sport=1, dport=2, flags="PA")
            / Raw(b"GET /\r\n"),
            "TCP 10.244.1.5:1 > 10.244.2.6:2",
            "GET /",
        ),
        (
            Ether()
            / IP(src=CLIENT, dst=WEB)
            / TCP(sport=1, dport=2, flags="PA")
            / Raw(b"\x16\x03"),
            "TCP 10.244.1.5:1 > 10.244.2.6:2",
            "2 bytes",
        ),
        (Ether() / QUERY, "UDP 10.244.1.5:5 > 10.96.0.10:53", "A? a.b."),
        (
            Ether()
            / IP(src="192.168.1.10", dst="192.168.1.11")
            / UDP(sport=9, dport=8472)
            / VXLAN(vni=1)
            / Ether()
            / SYN,
            "TCP 10.244.1.5:40000 > 10.244.2.6:80",
            "SYN",
        ),
        (
            Ether() / IP(src=WEB, dst=CLIENT) / ICMP(type=3, code=3) / Raw(bytes(SYN)[:28]),
            "ICMP 10.244.2.6:0 > 10.244.1.5:0",
            "port unreachable for 10.244.1.5:40000 > 10.244.2.6:80",
        ),
        (
            Ether() / ARP(op=1, psrc=CLIENT, pdst=WEB),
            "ARP 10.244.1.5:0 > 10.244.2.6:0",
            "who has 10.244.2.6",
        ),
        (
            Ether() / ARP(op=2, psrc=CLIENT, pdst=WEB),
            "ARP 10.244.1.5:0 > 10.244.2.6:0",
            "I am 10.244.1.5",
        ),
        (Ether() / IPv6() / UDP(), "other 0.0.0.0:0 > 0.0.0.0:0", "0 bytes"),
        (Ether() / Dot1Q() / SYN, "other 0.0.0.0:0 > 0.0.0.0:0", "0 bytes"),
        (
            Ether() / IP(src=CLIENT, dst=WEB, frag=100) / Raw(b"later"),
            "other 10.244.1.5:0 > 10.244.2.6:0",
            "0 bytes",
        ),
    ],
)
def test_packets(frame: Packet, flow: str, summary: str) -> None:
    packet = parse(bytes(frame)).core
    assert f"{packet.protocol} {packet.flow}" == flow
    assert summary_of(packet) == summary


@pytest.mark.parametrize(("head", "summary"), [(TCP(), "TLS application data"), (UDP(), "6 bytes")])
def test_tls_is_told_by_the_first_bytes_of_a_segment(head: Packet, summary: str) -> None:
    record = Raw(bytes.fromhex("17 0303 0001 aa"))
    head.dport = 443
    assert summary_of(parse(bytes(Ether() / IP() / head / record)).core) == summary


def test_padding_is_no_payload() -> None:
    frame = bytes(Ether() / SYN) + bytes(20)
    assert parse(frame).payload == b""


@pytest.mark.parametrize("frame", [Ether() / SYN, Ether() / QUERY, Ether() / ARP()])
def test_a_frame_cut_off_anywhere_is_read_as_far_as_it_goes(frame: Packet) -> None:
    data = bytes(frame)
    for length in range(len(data)):
        parse(data[:length])


def test_of_a_long_segment_only_the_head_may_be_there() -> None:
    frame = bytes(Ether() / IP(src=CLIENT, dst=WEB) / TCP(sport=1, dport=2) / Raw(bytes(9000)))
    packet = parse(frame[:200])
    assert len(packet.payload) == 146
    assert summary_of(packet) == "9000 bytes"


def test_place_time_and_unfinished_checksums_come_along() -> None:
    frame = pcapng.Frame(1, 42, bytes(Ether() / SYN), direction="out", checksum_ready=False)
    interfaces = (pcapng.Interface("a lo"), pcapng.Interface("default/client eth0"))
    (packet,) = packets(pcapng.Capture(interfaces, (frame,)))
    assert (packet.where, packet.interface, packet.direction) == ("default/client", "eth0", "out")
    assert (packet.number, packet.time_ns, packet.checksum_ready) == (1, 42, False)
    assert packet.src == IPv4Address(CLIENT)


def test_links_without_ethernet() -> None:
    interface = pcapng.Interface("node-1 tun0", linktype=pcapng.LINKTYPE_RAW)
    capture = pcapng.Capture((interface,), (pcapng.Frame(0, 1, bytes(SYN)),))
    assert packets(capture)[0].opens
    assert all_to_scapy(capture)[0][TCP].dport == 80


def test_scapy_packets_for_people() -> None:
    frame = pcapng.Frame(0, 1_500_000_000, bytes(Ether() / QUERY), comments=("hop 1",))
    capture = pcapng.Capture((pcapng.Interface("default/client eth0"),), (frame,))
    (packet,) = all_to_scapy(capture)
    assert packet[DNS].qd[0].qname == b"a.b."
    assert (float(packet.time), packet.sniffed_on) == (1.5, "default/client eth0")
    assert to_scapy(bytes(Ether() / SYN))[TCP].flags == "S"
