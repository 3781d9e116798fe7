"""Lends sockets of the namespace in which this process lives (podwire.lending: borrow)."""

import asyncio
import errno
import fcntl
import json
import socket
import struct
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from podwire import unix
from podwire.lending import LentDevice, Loan, Wanted

_SIOCGIFHWADDR = 0x8927
_LONGEST = 4096  # bytes of a request
_PATIENCE = 5.0  # seconds for a borrower to say what it wants


def open_here(wanted: Wanted) -> Loan:
    """Open a socket in the namespace of this process; raises OSError as socket(2) does."""
    sock = socket.socket(wanted.family, wanted.kind, wanted.protocol)
    if wanted.family != socket.AF_PACKET:
        return Loan(sock)
    return Loan(sock, tuple(_devices(sock)))


def _devices(sock: socket.socket) -> list[LentDevice]:
    found: list[LentDevice] = []
    for index, name in socket.if_nameindex():
        hardware = hardware_of(sock, name)
        if hardware is not None:
            found.append(LentDevice(index, name, hardware))
    return found


def hardware_of(sock: socket.socket, name: str) -> int | None:
    """Return the ARPHRD type of an interface in *sock*'s namespace, or None if it is gone."""
    try:
        shown = fcntl.ioctl(sock, _SIOCGIFHWADDR, struct.pack("=16s24x", name.encode()))
    except OSError as error:
        if error.errno in {errno.ENODEV, errno.ENXIO}:
            return None
        raise
    (hardware,) = struct.unpack_from("=H", shown, 16)
    return int(hardware)


class Lender:
    """Lends sockets to whoever may connect to its Unix socket."""

    def __init__(self, open: Callable[[Wanted], Loan] = open_here) -> None:  # noqa: A002
        """Use *open*, in a thread, to make a socket; the OSError it raises reaches the borrower."""
        self._open = open

    async def serve(self, path: Path, *, mode: int = 0o660) -> None:
        """Lend at *path* until cancelled; what was there before is replaced."""
        with _listening(path, mode) as server:
            try:
                async with asyncio.TaskGroup() as borrowers:
                    while True:
                        connection = await _accepted(server)
                        borrowers.create_task(self._serve(connection))
            finally:
                _remove(path)

    async def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError, TimeoutError):  # the borrower has left
            connection.setblocking(False)
            async with asyncio.timeout(_PATIENCE):
                await self._answer(connection, await _line(connection))

    async def _answer(self, connection: socket.socket, line: bytes) -> None:
        try:
            # In a thread: to find a pod's interface may take a while.
            loan = await asyncio.to_thread(self._open, _wanted(line))
        except OSError as error:
            said = {"errno": error.errno or errno.EIO, "text": error.strerror or str(error)}
            await _sent(connection, said, [])
        except ValueError as error:
            await _sent(connection, {"errno": errno.EINVAL, "text": str(error)}, [])
        else:
            with loan.socket:
                devices = [(d.index, d.name, d.hardware) for d in loan.devices]
                fields = {"devices": devices, "mirrored": loan.mirrored}
                await _sent(connection, fields, [loan.socket.fileno()])


def _listening(path: Path, mode: int) -> socket.socket:
    server = unix.listening(path, backlog=64, mode=mode)
    server.setblocking(False)
    return server


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


async def _accepted(server: socket.socket) -> socket.socket:
    while True:
        try:
            connection, _ = await asyncio.get_running_loop().sock_accept(server)
        except OSError:
            await asyncio.sleep(0.05)  # out of descriptors: others are given back meanwhile
        else:
            return connection


async def _line(connection: socket.socket) -> bytes:
    received = b""
    while not received.endswith(b"\n") and len(received) < _LONGEST:
        chunk = await asyncio.get_running_loop().sock_recv(connection, _LONGEST)
        if not chunk:
            break
        received += chunk
    return received


def _wanted(line: bytes) -> Wanted:
    try:
        fields: dict[str, Any] = json.loads(line)
        return Wanted(
            int(fields["family"]),
            int(fields["kind"]),
            int(fields.get("protocol") or 0),
            str(fields.get("mac") or ""),
            str(fields.get("address") or ""),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"a request for a socket is one line of JSON: {error!r}") from error


async def _sent(connection: socket.socket, fields: Mapping[str, object], fds: list[int]) -> None:
    line = json.dumps(fields).encode() + b"\n"
    # An empty new connection takes at least one byte, and with it the descriptor.
    taken = socket.send_fds(connection, [line], fds)
    await asyncio.get_running_loop().sock_sendall(connection, line[taken:])
