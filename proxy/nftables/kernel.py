"""The table kube-proxy in the kernel: changed by nft or by netlink, whichever can; read by netlink.

It belongs to the network namespace in which it was made.
"""

import asyncio
import errno
import struct

from podwire.errors import MachineError
from podwire.netlink.client import Netlink, NetlinkError
from podwire.netlink.nfnetlink import HEAD, NETLINK_NETFILTER, NFTABLES, batch, message
from podwire.netlink.present import attributes
from podwire.netlink.rtnetlink import Message, attribute
from podwire.proxy.mode import SyncFailed
from podwire.proxy.nftables.messages import ANONYMOUS, encode
from podwire.proxy.nftables.names import TABLE
from podwire.proxy.nftables.objects import Transaction
from podwire.proxy.scripts import held

_GET_TABLE, _DELETE_TABLE, _GET_CHAIN, _GET_SET, _GET_GENERATION = 1, 2, 4, 10, 16
_DUMP = 0x300
_ANONYMOUS = 0x1
# No such table; or a kernel without nf_tables, which cannot have one either.
_ABSENT = (errno.ENOENT, errno.EOPNOTSUPP, errno.EINVAL, errno.EPROTONOSUPPORT)
_FIRST_MAP = 1_000_000
"""Anonymous maps that the kernel numbers for nft begin at 0, and ours far from them."""


class Kernel:
    """Reads and changes the table kube-proxy. *program* is nft."""

    def __init__(self, program: str = "nft") -> None:
        self._program = program
        self._netlink: Netlink | None = None
        self._next_map = 0

    def close(self) -> None:
        """Close the socket to the kernel."""
        if self._netlink is not None:
            self._netlink.close()
            self._netlink = None

    async def run(self, script: str) -> None:
        """Have nft run *script*: all of it or nothing.

        Raises MachineError if there is no nft, SyncFailed if it refuses (with its words) or cannot
        be started. Cancelled, it ends the program: the kernel has all of the script or nothing.
        """
        try:
            with held(script) as stdin:
                process = await asyncio.create_subprocess_exec(
                    self._program,
                    "-f",
                    "-",
                    stdin=stdin,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=asyncio.subprocess.STDOUT,
                )
        except (FileNotFoundError, PermissionError) as error:
            raise MachineError(
                f"proxy mode nftables needs the program nft: {error.strerror}\n"
                "  run: sudo apt install nftables"
            ) from error
        except OSError as error:
            # Out of files or processes, for a while.
            raise SyncFailed(f"cannot start nft: {error.strerror}") from error
        try:
            said, _ = await process.communicate()
        except asyncio.CancelledError:
            if process.returncode is None:
                process.kill()
            await process.wait()
            raise
        if process.returncode != 0:
            raise SyncFailed(f"nft: {_first_lines(said)}")

    def commit(self, change: Transaction) -> bool:
        """Have the kernel take *change* without nft; return False if only nft can say it.

        Raises OSError (NetlinkError for what the kernel refuses); nothing was changed then.
        """
        if not self._next_map:
            self.sets()
        messages = encode(change, self._next_map)
        if messages is None:
            return False
        self._next_map += len(change.chains) + len(change.affinity)
        # An empty batch would never be answered.
        if messages:
            self._send(messages)
        return True

    def generation(self) -> int:
        """Return the number of the last change to any table; raises NetlinkError."""
        (answer,) = self._socket().ask(message(NFTABLES, _GET_GENERATION, 0, b""))
        return _u32(dict(attributes(answer, HEAD)).get(1))

    def table(self) -> int | None:
        """Return the table's handle, which another table of that name has not; None: no table.

        Raises NetlinkError.
        """
        try:
            (answer,) = self._socket().ask(message(NFTABLES, _GET_TABLE, 0, _TABLE))
        except NetlinkError as error:
            if error.errno in _ABSENT:
                return None
            raise
        return int.from_bytes(dict(attributes(answer, HEAD)).get(4, b""), "big")

    def chains(self) -> dict[str, int]:
        """Return the table's chains, each with how many rules and jumps use it."""
        found: dict[str, int] = {}
        for body in self._socket().ask(message(NFTABLES, _GET_CHAIN, _DUMP, b"")):
            chain = dict(attributes(body, HEAD))
            if _text(chain.get(1)) == TABLE:
                found[_text(chain.get(3))] = _u32(chain.get(6))
        return found

    def sets(self) -> dict[str, int]:
        """Return the table's sets and maps that have a name, each with its timeout in seconds."""
        found: dict[str, int] = {}
        last = _FIRST_MAP
        for body in self._socket().ask(message(NFTABLES, _GET_SET, _DUMP, _TABLE)):
            each = dict(attributes(body, HEAD))
            name = _text(each.get(2))
            if not _u32(each.get(3)) & _ANONYMOUS:
                found[name] = int.from_bytes(each.get(11, b""), "big") // 1000
            elif name.startswith(ANONYMOUS):
                last = max(last, int(name.removeprefix(ANONYMOUS)))
        self._next_map = max(self._next_map, last + 1)
        return found

    def remove(self) -> None:
        """Delete the table; that there is none is success. It needs no nft. Raises OSError."""
        try:
            self._socket().ask(message(NFTABLES, _GET_TABLE, 0, _TABLE))
            self._send((message(NFTABLES, _DELETE_TABLE, 0, _TABLE),))
        except OSError as error:
            if error.errno not in _ABSENT:
                raise

    def _send(self, messages: tuple[Message, ...]) -> None:
        try:
            self._socket().transaction(batch(messages))
        except OSError:
            # What the kernel says about the other messages must not be taken for later answers.
            self.close()
            raise

    def _socket(self) -> Netlink:
        if self._netlink is None:
            self._netlink = Netlink(family=NETLINK_NETFILTER)
        return self._netlink


_TABLE = attribute(1, TABLE.encode() + b"\0")


def _first_lines(said: bytes) -> str:
    # nft repeats the whole line that it dislikes, which may have thousands of elements.
    lines = [line[:300] for line in said.decode(errors="replace").strip().splitlines()]
    return "; ".join(lines[:3]) or "it failed without a word"


def _u32(payload: bytes | None) -> int:
    return int(struct.unpack("!I", payload)[0]) if payload else 0


def _text(payload: bytes | None) -> str:
    return (payload or b"").rstrip(b"\0").decode(errors="replace")
