"""A small rtnetlink client: sends changes in batches, reads what is there. It decides nothing.

One `Netlink` belongs to the network namespace in which it was opened, wherever its user goes later.
"""

import errno
import os
import socket
import struct
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Self, TypeVar

from podwire.netlink import present
from podwire.netlink.changes import Change, Rule, describe
from podwire.netlink.namespace import entered
from podwire.netlink.rtnetlink import (
    AF_BRIDGE,
    GET_ADDRESS,
    GET_LINK,
    GET_NEIGHBOUR,
    GET_ROUTE,
    GET_RULE,
    IFLA_IFNAME,
    Message,
    attribute,
    encode,
    link_body,
)

T = TypeVar("T")

_HEADER = struct.Struct("=IHHII")
_REQUEST, _ACK, _DUMP = 0x1, 0x4, 0x300
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_ACK_TLVS, _CAPPED = 0x200, 0x100
_SOL_NETLINK, _CAP_ACK, _EXT_ACK = 270, 10, 11
_IFLA_EXT_MASK, _SKIP_STATS = 29, 8
# Every message is answered by one acknowledgement, which waits in the socket's receive buffer
# (208 KiB by default, some 1 KiB of it for each) until the whole batch was sent.
_BATCH = 64
# What a datagram may have without asking for more room; the kernel's default is 208 KiB.
_SEND_BUFFER = 128 << 10
_SNDBUFFORCE = 32


class NetlinkError(OSError):
    """The kernel refused a change; the text names the change and the kernel's reason."""


class Netlink:
    """A netlink socket in the calling thread's network namespace. Not for several threads."""

    def __init__(self, *, family: int = socket.NETLINK_ROUTE) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, family
        )
        self._socket.setsockopt(_SOL_NETLINK, _CAP_ACK, 1)
        self._socket.setsockopt(_SOL_NETLINK, _EXT_ACK, 1)
        self._sequence = 0
        self._indexes: dict[str, int] = {}

    @classmethod
    def inside(cls, namespace: int) -> Self:
        """Return one for *namespace*, an open file, without staying there."""
        with entered(namespace):
            return cls()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def apply(
        self,
        changes: Iterable[Change],
        *,
        namespaces: Mapping[str, int] | None = None,
        tolerate: Collection[int] = (),
    ) -> None:
        """Make *changes* in their order, sending as many at once as their links allow.

        *namespaces* maps the labels in *changes* to open files; *tolerate* lists the error numbers
        that mean success (EEXIST: "there already"). All changes that can be made are made; then the
        first refusal is raised as NetlinkError.
        """
        refusals: list[NetlinkError] = []
        waiting: list[tuple[Message, str]] = []

        def send() -> None:
            refusals.extend(e for e in self._send(waiting) if e.errno not in tolerate)
            waiting.clear()

        def index_of(name: str) -> int:
            if name not in self._indexes:
                # The link may be one that waits to be made.
                send()
                self._indexes[name] = self._required(name).number
            return self._indexes[name]

        def namespace_of(label: str) -> int:
            return (namespaces or {})[label]

        for change in changes:
            try:
                message = encode(change, index_of, namespace_of)
            except NetlinkError as error:
                cause = f"cannot {describe(change)}: {error.strerror}"
                if error.errno not in tolerate:
                    refusals.append(NetlinkError(error.errno, cause))
                continue
            waiting.append((message, describe(change)))
            if len(waiting) == _BATCH:
                send()
        send()
        if refusals:
            raise refusals[0]

    def link(self, name: str) -> present.Link | None:
        """Return the link called *name*, or None."""
        body = link_body() + attribute(IFLA_IFNAME, name.encode() + b"\0")
        body += attribute(_IFLA_EXT_MASK, struct.pack("=I", _SKIP_STATS))
        try:
            found = [present.link(answer) for answer in self._ask(Message(GET_LINK, 0, body))]
        except NetlinkError as error:
            if error.errno == errno.ENODEV:
                self._indexes.pop(name, None)
                return None
            raise
        self._indexes[name] = found[0].number
        return found[0]

    def links(self) -> tuple[present.Link, ...]:
        """Return all links of the namespace."""
        body = link_body() + attribute(_IFLA_EXT_MASK, struct.pack("=I", _SKIP_STATS))
        return self._dump(GET_LINK, body, present.link)

    def addresses(self) -> tuple[present.LinkAddress, ...]:
        """Return all addresses of the namespace."""
        return self._dump(GET_ADDRESS, bytes(8), present.link_address)

    def routes(self) -> tuple[present.Route, ...]:
        """Return all routes of the namespace, of all tables."""
        return self._dump(GET_ROUTE, bytes(12), present.route)

    def neighbours(self) -> tuple[present.Neighbour, ...]:
        """Return all neighbours (ARP and NDP) of the namespace."""
        return self._dump(GET_NEIGHBOUR, bytes(12), present.neighbour)

    def forwarding(self) -> tuple[present.Neighbour, ...]:
        """Return the forwarding entries of all bridges and VXLAN devices of the namespace."""
        body = struct.pack("=BxxxiHBB", AF_BRIDGE, 0, 0, 0, 0)
        return self._dump(GET_NEIGHBOUR, body, present.neighbour)

    def rules(self) -> tuple[Rule, ...]:
        """Return the namespace's rules of policy routing (IPv4) that have an action of ours."""
        found = self._dump(GET_RULE, struct.pack("=B11x", socket.AF_INET), present.rule)
        return tuple(rule for rule in found if rule is not None)

    def transaction(self, messages: Iterable[Message]) -> None:
        """Send *messages* in one datagram; the one that asks for it (NLM_F_ACK) is waited for.

        For nf_tables, which takes its changes between a begin and an end. Raises NetlinkError.
        """
        frames: list[bytes] = []
        answered = 0
        for message in messages:
            frame, number = self._frame(message)
            frames.append(frame)
            if message.flags & _ACK:
                answered = number
        datagram = b"".join(frames)
        if len(datagram) > _SEND_BUFFER:
            # Where this is not allowed, sending fails with EMSGSIZE.
            with suppress(PermissionError):
                self._socket.setsockopt(socket.SOL_SOCKET, _SNDBUFFORCE, 2 * len(datagram))
        self._socket.send(datagram)
        for _ in self._answers(answered):
            pass

    def ask(self, message: Message) -> tuple[bytes, ...]:
        """Return the bodies of all answers to *message*."""
        return tuple(self._ask(message))

    def _required(self, name: str) -> present.Link:
        found = self.link(name)
        if found is None:
            raise NetlinkError(errno.ENODEV, f"there is no link {name}")
        return found

    def _frame(self, message: Message) -> tuple[bytes, int]:
        self._sequence += 1
        length = _HEADER.size + len(message.body)
        flags = message.flags | _REQUEST
        header = _HEADER.pack(length, message.kind, flags, self._sequence, 0)
        return header + message.body + bytes(-length % 4), self._sequence

    def _send(self, batch: list[tuple[Message, str]]) -> Iterator[NetlinkError]:
        if not batch:
            return
        frames: list[bytes] = []
        pending: dict[int, str] = {}
        for message, what in batch:
            frame, number = self._frame(Message(message.kind, message.flags | _ACK, message.body))
            frames.append(frame)
            pending[number] = what
        self._socket.send(b"".join(frames))
        while pending:
            for kind, flags, number, body in _messages(self._socket.recv(65536)):
                if kind != _NLMSG_ERROR or number not in pending:
                    continue
                error = _refusal(body, flags, pending.pop(number))
                if error is not None:
                    yield error

    def _ask(self, message: Message) -> Iterator[bytes]:
        frame, number = self._frame(message)
        self._socket.send(frame)
        return self._answers(number)

    def _answers(self, number: int) -> Iterator[bytes]:
        while True:
            for kind, flags, answered, body in _messages(self._socket.recv(65536)):
                if kind == _NLMSG_ERROR:
                    error = _refusal(body, flags, "read from the kernel")
                    if error is not None:
                        raise error
                    if answered == number:
                        return
                elif answered == number and kind == _NLMSG_DONE:
                    return
                elif answered == number:
                    yield body
                    if not flags & 2:  # NLM_F_MULTI: more parts follow
                        return

    def _dump(self, kind: int, body: bytes, read: Callable[[bytes], T]) -> tuple[T, ...]:
        return tuple(read(answer) for answer in self._ask(Message(kind, _DUMP, body)))


def _messages(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    start = 0
    while start + _HEADER.size <= len(data):
        length, kind, flags, number, _ = _HEADER.unpack_from(data, start)
        yield kind, flags, number, data[start + _HEADER.size : start + length]
        start += (length + 3) & ~3


def _refusal(body: bytes, flags: int, what: str) -> NetlinkError | None:
    number = -int(struct.unpack_from("=i", body)[0])
    if number == 0:
        return None
    reason = os.strerror(number)
    if flags & _ACK_TLVS:
        # With NLM_F_CAPPED only the header of the refused message is repeated before the text.
        repeated = 16 if flags & _CAPPED else struct.unpack_from("=I", body, 4)[0]
        detail = dict(present.attributes(body, 4 + ((repeated + 3) & ~3))).get(1)
        if detail:
            reason += f" ({detail.rstrip(bytes(1)).decode(errors='replace')})"
    return NetlinkError(number, f"cannot {what}: {reason}")
