"""The kernel's table of connections (conntrack), IPv4: read it, delete from it.

It does what the program `conntrack` would do; not every machine has that.
"""

import errno
from collections.abc import Iterable, Iterator
from typing import Self

from podwire.netlink.client import Netlink, NetlinkError
from podwire.netlink.flow import ID, ORIGINAL, PROTOCOLS, Flow, FlowProtocol, parse
from podwire.netlink.nfnetlink import CONNTRACK, NETLINK_NETFILTER, message
from podwire.netlink.rtnetlink import attribute

_GET, _DELETE = 1, 2
_ACK, _DUMP = 0x4, 0x300
_NESTED = 0x8000


class Conntrack:
    """The table of the network namespace in which this object was made."""

    def __init__(self) -> None:
        self._netlink = Netlink(family=NETLINK_NETFILTER)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket."""
        self._netlink.close()

    def flows(self, *protocols: FlowProtocol) -> Iterator[Flow]:
        """Yield the flows of *protocols*, or of all; raises NetlinkError.

        The kernel hands the table out in pieces: a flow that begins meanwhile may be missing.
        """
        wanted = frozenset(protocols or PROTOCOLS.values())
        for body in self._netlink.ask(message(CONNTRACK, _GET, _DUMP, b"")):
            found = parse(body, wanted)
            if found is not None:
                yield found

    def delete(self, flows: Iterable[Flow]) -> int:
        """Delete *flows*, return how many of them there still were; raises NetlinkError."""
        deleted = 0
        for flow in flows:
            tuple_ = attribute(_NESTED | ORIGINAL, flow.original)
            body = tuple_ + attribute(ID, flow.number)
            try:
                self._netlink.ask(message(CONNTRACK, _DELETE, _ACK, body))
            except NetlinkError as error:
                if error.errno != errno.ENOENT:
                    raise
            else:
                deleted += 1
        return deleted
