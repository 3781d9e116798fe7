"""The frame of netfilter's messages."""

from podwire.netlink.nfnetlink import NFTABLES, batch, message

ACK = 4


def test_a_message_names_its_subsystem_and_ipv4() -> None:
    found = message(NFTABLES, 6, 0x400, b"rule")
    assert (found.kind, found.flags, found.body) == (10 << 8 | 6, 0x400, b"\2\0\0\0rule")


def test_only_the_last_message_of_a_batch_is_acknowledged() -> None:
    begin, first, last, end = batch([message(NFTABLES, 3, 0, b""), message(NFTABLES, 6, 8, b"")])
    assert (begin.kind, end.kind) == (16, 17)
    assert begin.body == end.body == b"\0\0\0\x0a"
    assert (first.flags, last.flags) == (0, 8 | ACK)
