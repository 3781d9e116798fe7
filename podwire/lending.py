"""Sockets of another network namespace, lent over a Unix socket by a program that lives there.

A socket belongs for ever to the namespace in which it was opened, and may be handed to any process
(SCM_RIGHTS): so whoever may connect to a lender needs no privilege to talk from its namespace.
A request is one JSON line, the answer is one JSON line with the socket attached. The side that
lends is podwire.lender; this one is loaded by the CNI plugin and must stay light.
"""

import errno
import json
import os
import socket
import struct
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

_SCHEME = "lender:"
_DESCRIPTOR = struct.Struct("=i")


@dataclass(frozen=True, slots=True)
class LentDevice:
    """An interface that the lender sees; *hardware* is its ARPHRD type (1: Ethernet)."""

    index: int
    name: str
    hardware: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for: the arguments of socket(2), and one pod where there are many (`Place`)."""

    family: int
    kind: int
    protocol: int = 0
    mac: str = ""
    address: str = ""


@dataclass(frozen=True, slots=True)
class Loan:
    """A borrowed socket; of a packet socket also the interfaces that it may hear.

    A *mirrored* one hears the far end of its only device: what that device sends comes in.
    """

    socket: socket.socket
    devices: tuple[LentDevice, ...] = ()
    mirrored: bool = False


class Place(NamedTuple):
    """Where to get a socket: a path, and at the lender of many pods' interfaces which pod.

    As text it stands in capture orders. *address* is the pod's IPv4 address, by which it can be
    made to show itself if nothing was heard of *mac* yet.
    """

    path: str
    mac: str = ""
    address: str = ""

    def __str__(self) -> str:
        if not self.mac:
            return self.path
        return f"{_SCHEME}{self.path}?mac={self.mac}&address={self.address}"

    @staticmethod
    def parse(text: str) -> "Place":
        """Read what `str` gave; any other text is a path."""
        if not text.startswith(_SCHEME):
            return Place(text)
        path, _, query = text.removeprefix(_SCHEME).partition("?mac=")
        mac, _, address = query.partition("&address=")
        return Place(path, mac, address)


def borrow(
    path: str | Path,
    family: int,
    kind: int,
    protocol: int = 0,
    *,
    mac: str = "",
    address: str = "",
    timeout: float = 1.0,
) -> Loan:
    """Return a socket from the lender at *path*; blocks for *timeout* seconds at most per step.

    Raises the OSError that the lender met, or one that says that there is no lender.
    """
    request = asdict(Wanted(int(family), int(kind), protocol, mac, address))
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout)
            connection.connect(str(path))
            connection.sendall(json.dumps(request).encode() + b"\n")
            answer, fds = _answer(connection)
    except TimeoutError as error:
        text = f"the lender of sockets at {path} did not answer within {timeout:g} s"
        raise OSError(errno.ETIMEDOUT, text) from error
    except (ConnectionError, FileNotFoundError) as error:
        text = f"nobody lends sockets at {path} ({error.strerror}): its program is not running"
        raise OSError(error.errno or errno.ECONNREFUSED, text) from error
    return _loan(answer, fds, path)


def _answer(connection: socket.socket) -> tuple[bytes, list[int]]:
    # Not socket.recv_fds: Python 3.11's forgets its flags, and the descriptor would be inherited.
    line, sent, flags, _ = connection.recvmsg(
        1 << 16, socket.CMSG_SPACE(_DESCRIPTOR.size), socket.MSG_CMSG_CLOEXEC
    )
    fds = [fd for _, _, data in sent for (fd,) in _DESCRIPTOR.iter_unpack(data)]
    try:
        while line and not line.endswith(b"\n"):
            more = connection.recv(1 << 16)
            if not more:
                break
            line += more
        if flags & socket.MSG_CTRUNC:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        if not line.endswith(b"\n"):
            raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
    except OSError:
        _close(fds)
        raise
    return line, fds


def _loan(line: bytes, fds: list[int], path: str | Path) -> Loan:
    try:
        said: dict[str, Any] = json.loads(line)
        refused = int(said.get("errno") or 0)
        text = str(said.get("text") or "")
        devices = tuple(
            LentDevice(int(index), str(name), int(hardware))
            for index, name, hardware in said.get("devices") or ()
        )
        mirrored = bool(said.get("mirrored"))
    except (ValueError, TypeError, AttributeError) as error:
        _close(fds)
        raise OSError(errno.EPROTO, f"{path} is no lender of sockets") from error
    if refused or not fds:
        _close(fds)
        refused = refused or errno.EPROTO
        raise OSError(refused, text or os.strerror(refused))
    return Loan(socket.socket(fileno=fds[0]), devices, mirrored)


def _close(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)
