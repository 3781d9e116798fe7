"""Pure: the frame of netfilter's netlink messages, and batches of nf_tables changes.

The numbers are the kernel's (linux/netfilter/nfnetlink.h).
"""

import struct
from collections.abc import Iterable, Iterator

from podwire.netlink.rtnetlink import Message

NETLINK_NETFILTER = 12
CONNTRACK, NFTABLES = 1, 10
IPV4 = 2
_ACK = 0x4
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_HEAD = struct.Struct("!BBH")
HEAD = _HEAD.size
"""Bytes before the attributes of a message (struct nfgenmsg)."""


def message(subsystem: int, kind: int, flags: int, attributes: bytes) -> Message:
    """Return a message about IPv4 to a subsystem of netfilter."""
    return Message(subsystem << 8 | kind, flags, _HEAD.pack(IPV4, 0, 0) + attributes)


def batch(messages: Iterable[Message]) -> Iterator[Message]:
    """Yield *messages* as one batch of nf_tables; the kernel takes it whole or not at all.

    The last message of the batch is acknowledged when all is done.
    """
    yield Message(_BATCH_BEGIN, 0, _HEAD.pack(0, 0, NFTABLES))
    waiting: Message | None = None
    for each in messages:
        if waiting is not None:
            yield waiting
        waiting = each
    if waiting is not None:
        yield Message(waiting.kind, waiting.flags | _ACK, waiting.body)
    yield Message(_BATCH_END, 0, _HEAD.pack(0, 0, NFTABLES))
