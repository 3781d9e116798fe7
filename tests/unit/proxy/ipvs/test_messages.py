"""Messages of ip_vs byte by byte, laid out by hand after linux/ip_vs.h.

All numbers but ports and addresses are of the machine's byte order: these are for little-endian.
"""

import sys

import pytest

from podwire.netlink import genetlink
from podwire.proxy.ipvs import messages
from podwire.proxy.ipvs.changes import (
    AddDestination,
    AddServer,
    Change,
    DeleteDestination,
    DeleteServer,
    Drain,
    ListedDestination,
    SetServer,
)
from podwire.proxy.ipvs.plan import VirtualServer
from tests.unit.proxy.ipvs.written import backend, frontend

pytestmark = pytest.mark.skipif(sys.byteorder != "little", reason="bytes of little-endian machines")

FAMILY = 36
PLACE, END = frontend("10.96.0.10:80"), backend("10.244.1.2:8080")
ZEROES = "00" * 12
KEY = f"""
0600 0100 0200 0000           AF: AF_INET
0600 0200 0600 0000           PROTOCOL: TCP
1400 0300 0a60000a {ZEROES}   ADDR
0600 0400 0050 0000           PORT, in the order of the network
"""
NAMED = "3000 0180" + KEY
RR = """
0700 0600 727200 00           SCHED_NAME "rr"
0c00 0700 00000000 ffffffff   FLAGS: none, all are meant
0800 0800 00000000            TIMEOUT
0800 0900 ffffffff            NETMASK
"""
STICKY_MH = """
0700 0600 6d6800 00           SCHED_NAME "mh"
0c00 0700 11000000 ffffffff   FLAGS: PERSISTENT, SCHED2
0800 0800 302a0000            TIMEOUT: 10800
0800 0900 ffffffff            NETMASK
"""
DEST = f"""
1400 0100 0af40102 {ZEROES}   ADDR
0600 0200 1f90 0000           PORT
0600 0b00 0200 0000           ADDR_FAMILY
"""
FULL = """
0800 0300 00000000            FWD_METHOD: masquerading
0800 0400 {weight}            WEIGHT
0800 0500 00000000            U_THRESH
0800 0600 00000000            L_THRESH
"""


def octets(written: str) -> bytes:
    """Return the bytes in *written*; what follows two spaces on a line explains."""
    return b"".join(bytes.fromhex(line.partition("   ")[0]) for line in written.splitlines())


@pytest.mark.parametrize(
    ("change", "command", "body"),
    [
        (AddServer(PLACE, VirtualServer("rr")), 1, "5400 0180" + KEY + RR),
        (
            SetServer(PLACE, VirtualServer("mh", 10800, frozenset({"mh-port"}))),
            2,
            "5400 0180" + KEY + STICKY_MH,
        ),
        (DeleteServer(PLACE), 3, NAMED),
        (
            AddDestination(PLACE, END),
            5,
            NAMED + "4800 0280" + DEST + FULL.format(weight="01000000"),
        ),
        (Drain(PLACE, END), 6, NAMED + "4800 0280" + DEST + FULL.format(weight="00000000")),
        (DeleteDestination(PLACE, END), 7, NAMED + "2800 0280" + DEST),
    ],
)
def test_changes(change: Change, command: int, body: str) -> None:
    message = messages.encode(change, FAMILY)
    assert (message.kind, message.flags) == (FAMILY, 0x4)  # ask for an acknowledgement
    assert message.body[:4] == bytes([command, 1, 0, 0])
    assert message.body[4:].hex(" ", 4) == octets(body).hex(" ", 4)


@pytest.mark.parametrize(
    ("written", "protocol"), [("10.0.0.1:1", 6), ("10.0.0.1:1/UDP", 17), ("10.0.0.1:1/SCTP", 132)]
)
def test_protocols(written: str, protocol: int) -> None:
    body = messages.encode(DeleteServer(frontend(written)), FAMILY).body
    assert body[8 + 8 : 8 + 16] == bytes([6, 0, 2, 0, protocol, 0, 0, 0])


def test_questions() -> None:
    everything = messages.servers_question(FAMILY)
    assert (everything.flags, everything.body) == (0x300, bytes([4, 1, 0, 0]))
    one = messages.server_question(FAMILY, PLACE)
    assert (one.flags, one.body) == (0, bytes([4, 1, 0, 0]) + octets(NAMED))
    ends = messages.destinations_question(FAMILY, PLACE)
    assert (ends.flags, ends.body) == (0x300, bytes([8, 1, 0, 0]) + octets(NAMED))
    assert messages.info_question(FAMILY).body == bytes([15, 1, 0, 0])


def test_timeouts_leave_alone_what_is_not_set() -> None:
    order = messages.timeouts(FAMILY, tcp=900, tcp_fin=0, udp=300.5)
    assert order.body == octets("0c010000\n0800 0400 84030000\n0800 0600 2c010000")


# As the kernel answers: statistics after what we read (attribute 10, and 12 of 64 bits).
ANSWERED_SERVICE = (
    "0401 0000\n5c00 0180" + KEY + STICKY_MH.replace("11000000", "13000000") + "0800 0a80 00000000"
)
ANSWERED_DEST = (
    "0801 0000\n5c00 0280"
    + f"""
1400 0100 0af40102 {ZEROES}   ADDR
0600 0200 1f90 0000           PORT
0800 0300 00000000            FWD_METHOD
0800 0400 01000000            WEIGHT
0800 0500 00000000            U_THRESH
0800 0600 00000000            L_THRESH
0800 0700 03000000            ACTIVE_CONNS
0800 0800 09000000            INACT_CONNS
0800 0900 00000000            PERSIST_CONNS
0600 0b00 0200 0000           ADDR_FAMILY
"""
)


def test_answers() -> None:
    # The kernel adds the flag HASHED (0x2), which nobody asked for.
    sticky = VirtualServer("mh", 10800, frozenset({"mh-port"}))
    assert messages.server(octets(ANSWERED_SERVICE)) == (PLACE, sticky)
    assert messages.destination(octets(ANSWERED_DEST)) == (END, ListedDestination(1, 3, 9))
    assert messages.info(octets("0f01 0000\n0800 0100 01020100\n0800 0200 00100000")) == (
        (1, 2, 1),
        4096,
    )


def test_a_virtual_server_by_firewall_mark_is_not_ours() -> None:
    by_mark = "0401 0000\n1400 0180\n0600 0100 0200 0000\n0800 0500 07000000"
    assert messages.server(octets(by_mark)) is None


def test_what_is_written_reads_back() -> None:
    for server in (VirtualServer("wlc"), VirtualServer("mh", 1, frozenset({"mh-port"}))):
        message = messages.encode(AddServer(PLACE, server), FAMILY)
        assert messages.server(message.body) == (PLACE, server)


def test_families() -> None:
    question = genetlink.families_question()
    assert (question.kind, question.flags, question.body) == (16, 0x300, bytes([3, 1, 0, 0]))
    answer = octets("0102 0000\n0900 0200 4950565300 000000\n0600 0100 2400 0000")
    assert genetlink.family(answer) == ("IPVS", 36)
