"""nft tables of attachments, found and removed by netlink (`programs` loads them with nft).

Without a program to start, DEL can afford to remove what an ADD under another configuration may
have made; mostly there is nothing.
"""

import errno
import socket
import struct

from podwire.netlink.client import Netlink, NetlinkError
from podwire.netlink.present import attributes
from podwire.netlink.rtnetlink import Message, attribute

_NETLINK_NETFILTER = 12
_NFT_SUBSYSTEM = 10 << 8
_GET_TABLE, _DELETE_TABLE = _NFT_SUBSYSTEM | 1, _NFT_SUBSYSTEM | 2
_BATCH_BEGIN, _BATCH_END = 16, 17
_TABLE_NAME = 1
_NFPROTO_INET = 1
_ACK, _DUMP = 0x4, 0x300
# No such table; or a kernel without nft at all, which cannot have one either.
_ABSENT = (errno.ENOENT, errno.EOPNOTSUPP, errno.EINVAL, errno.EPROTONOSUPPORT)


def remove(table: str) -> None:
    """Remove the nft table of that name; that there is none is success. Raises NetlinkError."""
    with Netlink(family=_NETLINK_NETFILTER) as netlink:
        body = _header() + attribute(_TABLE_NAME, table.encode() + b"\0")
        # Asked first, as the kernel waits some 15 ms (an RCU grace period) to undo a failed change.
        try:
            netlink.ask(Message(_GET_TABLE, 0, body))
        except NetlinkError as error:
            if error.errno in _ABSENT:
                return
            raise
        begin = Message(_BATCH_BEGIN, 0, struct.pack("=BBH", 0, 0, socket.htons(10)))
        end = Message(_BATCH_END, 0, begin.body)
        try:
            netlink.transaction((begin, Message(_DELETE_TABLE, _ACK, body), end))
        except NetlinkError as error:
            if error.errno not in _ABSENT:
                raise


def tables(*prefixes: str) -> tuple[str, ...]:
    """Return the names of all nft tables that begin with one of *prefixes*. Raises NetlinkError."""
    with Netlink(family=_NETLINK_NETFILTER) as netlink:
        try:
            answers = netlink.ask(Message(_GET_TABLE, _DUMP, _header()))
        except NetlinkError as error:
            if error.errno in _ABSENT:
                return ()
            raise
    names = (dict(attributes(each, 4)).get(_TABLE_NAME, b"") for each in answers)
    found = (name.rstrip(b"\0").decode(errors="replace") for name in names)
    return tuple(name for name in found if name.startswith(prefixes))


def _header() -> bytes:
    return struct.pack("=BBH", _NFPROTO_INET, 0, 0)
