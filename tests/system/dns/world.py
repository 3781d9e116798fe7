"""Places with a network of their own, the real program in them, and bare clients.

For scenarios that `inside.play` runs. One event loop serves in all places: sockets are made in a
place and stay there.
"""

import asyncio
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple, Self

from podwire import linux

HERE = "127.0.0.1"
PATIENCE = 20.0
REPLY = 8.0
"""Seconds in which a reply has come, if one comes: forward gives up after five."""

# An opcode that no server knows: answered before anything is parsed, so it disturbs no plugin.
_PROBE = struct.pack("!6H", 0x7157, 2 << 11, 1, 0, 0, 0) + b"\0\0\1\0\1"


class Place:
    """A network namespace with *addresses* on its loopback; it is gone with this process.

    *strangers* are addresses of clients: they can be sent from, but no interface has them, so the
    server does not take them for its own.
    """

    def __init__(self, addresses: Iterable[str] = (), *, strangers: Iterable[str] = ()) -> None:
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            linux.unshare(linux.CLONE_NEWNET)
            self._fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            linux.setns(home, linux.CLONE_NEWNET)
        finally:
            os.close(home)
        self.path = f"/proc/self/fd/{self._fd}"
        lines = ["link set lo up"]
        lines += [f"addr add {a}/{ip_address(a).max_prefixlen} dev lo" for a in addresses]
        lines += [f"route add local {a} dev lo" for a in strangers if a != HERE]
        with linux.network_namespace(self.path):
            subprocess.run(
                ["ip", "-batch", "-"],
                input="\n".join(lines) + "\n",
                text=True,
                check=True,
                env={**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"},
            )

    def socket(
        self, kind: socket.SocketKind, *, family: int = socket.AF_INET, bound: str = ""
    ) -> socket.socket:
        """Return a non-blocking socket of this place; *bound* is the address it sends from."""
        made = linux.socket_in(self.path, family, kind)
        made.setblocking(False)
        if bound:
            made.bind((bound, 0))
        return made

    def start(
        self, *command: str, folder: Path, log: Path, environ: Mapping[str, str] | None = None
    ) -> "subprocess.Popen[bytes]":
        """Run a command here; it writes to *log*."""
        with log.open("wb") as output, linux.network_namespace(self.path):
            return subprocess.Popen(
                command,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environ or {})},
            )

    def close(self) -> None:
        """Let go of it; what runs there keeps it."""
        os.close(self._fd)


class Server:
    """The program with a Corefile, in a place."""

    def __init__(
        self,
        place: Place,
        corefile: str,
        folder: Path,
        *,
        api: str = "",
        options: tuple[str, ...] = (),
    ) -> None:
        """Start it; *api* is a socket's path or a URL, *folder* gets its Corefile and its log."""
        folder.mkdir(parents=True, exist_ok=True)
        self.place = place
        self.corefile = folder / "Corefile"
        self.corefile.write_text(corefile)
        self.log = folder / "log"
        command = [sys.executable, "-P", "-m", "podwire.dns", "-conf", str(self.corefile)]
        command += ["--api", api] if api else []
        self.process = place.start(*command, *options, folder=folder, log=self.log)

    @property
    def pid(self) -> int:
        """Return its process id, in this process namespace."""
        return self.process.pid

    def said(self) -> str:
        """Return its log so far."""
        return self.log.read_text(errors="replace")

    async def serves(
        self, address: str = HERE, port: int = 53, *, within: float = PATIENCE
    ) -> None:
        """Return when it answers; raises AssertionError with its log if it ends before."""
        end = time.monotonic() + within
        while True:
            if self.process.poll() is not None:
                raise AssertionError(f"the server ended, {self.process.returncode}: {self.said()}")
            if await ask_udp(self.place, _PROBE, address=address, port=port, within=0.1):
                return
            if time.monotonic() > end:
                raise AssertionError(f"no answer within {within:g} s: {self.said()}")
            await asyncio.sleep(0.01)

    def memory(self) -> int:
        """Return its resident memory in bytes."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGESIZE")

    def cpu(self) -> float:
        """Return the seconds of CPU that it has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    async def stop(self, *, within: float = PATIENCE) -> int:
        """Ask it to end; return its exit status when it has."""
        self.process.send_signal(signal.SIGTERM)
        end = time.monotonic() + within
        while self.process.poll() is None:
            if time.monotonic() > end:
                self.kill()
                raise AssertionError(f"still there {within:g} s after SIGTERM: {self.said()}")
            await asyncio.sleep(0.01)
        return self.process.returncode

    def kill(self) -> None:
        """End it without a lame duck."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


async def ask_udp(
    place: Place,
    packet: bytes,
    *,
    address: str = HERE,
    port: int = 53,
    client: str = "",
    within: float = REPLY,
) -> bytes | None:
    """Return the datagram that answers *packet*, or None for silence or a closed port."""
    loop = asyncio.get_running_loop()
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with place.socket(socket.SOCK_DGRAM, family=family, bound=client) as sock:
        try:
            await loop.sock_connect(sock, (address, port))
            async with asyncio.timeout(within):
                await loop.sock_sendall(sock, packet)
                return await loop.sock_recv(sock, 65535)
        except (TimeoutError, ConnectionError):
            return None


class Stream(NamedTuple):
    """A TCP connection to a server."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def send(self, packet: bytes) -> None:
        """Send a whole message."""
        self.writer.write(struct.pack("!H", len(packet)) + packet)

    async def receive(self, *, within: float = PATIENCE) -> bytes | None:
        """Return the next message, or None when the server closes or is silent."""
        try:
            async with asyncio.timeout(within):
                (size,) = struct.unpack("!H", await self.reader.readexactly(2))
                return await self.reader.readexactly(size)
        except (TimeoutError, ConnectionError, asyncio.IncompleteReadError):
            return None

    async def closed(self, *, within: float = PATIENCE) -> bytes:
        """Return what comes until the server closes; raises TimeoutError."""
        try:
            async with asyncio.timeout(within):
                return await self.reader.read(-1)
        except ConnectionError:
            return b""


@asynccontextmanager
async def connected(
    place: Place, *, address: str = HERE, port: int = 53, client: str = ""
) -> AsyncGenerator[Stream]:
    """Give a TCP connection to a server in *place*; raises OSError."""
    loop = asyncio.get_running_loop()
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = place.socket(socket.SOCK_STREAM, family=family, bound=client)
    try:
        await loop.sock_connect(sock, (address, port))
    except OSError:
        sock.close()
        raise
    reader, writer = await asyncio.open_connection(sock=sock)
    try:
        yield Stream(reader, writer)
    finally:
        writer.transport.abort()


async def ask_tcp(
    place: Place,
    packet: bytes,
    *,
    address: str = HERE,
    port: int = 53,
    client: str = "",
    within: float = REPLY,
) -> bytes | None:
    """Return the message that answers *packet*, or None for silence or a closed connection."""
    async with connected(place, address=address, port=port, client=client) as stream:
        stream.send(packet)
        return await stream.receive(within=within)


async def get(place: Place, port: int, path: str, *, address: str = HERE) -> tuple[int, str]:
    """Return status and body of a page."""
    async with connected(place, address=address, port=port) as stream:
        stream.writer.write(f"GET {path} HTTP/1.0\r\nHost: {address}:{port}\r\n\r\n".encode())
        answer = (await stream.closed()).decode()
    head, _, body = answer.partition("\r\n\r\n")
    return int(head.split()[1]), body
