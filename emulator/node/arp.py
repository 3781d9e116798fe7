"""ARP by hand: who has an address, and telling the neighbours that we have it (RFC 5227)."""

import asyncio
import socket
import struct
from ipaddress import IPv4Address

_ETH_P_ARP = 0x0806
_REQUEST = 1
_BROADCAST = b"\xff" * 6
# Ethernet header, then hardware and protocol kind and length, operation, sender, target.
_FRAME = struct.Struct("!6s6sHHHBBH6s4s6s4s")
_NOBODY = IPv4Address("0.0.0.0")


def announce(device: str, address: IPv4Address) -> None:
    """Tell the neighbours on *device* that *address* is here; raises OSError.

    They may still know the MAC that a former container had.
    """
    with _opened(device) as sock:
        sock.send(_frame(_mac(sock), address, address))


async def other_owner(device: str, address: IPv4Address, *, within: float) -> str | None:
    """Return the MAC of somebody else on *device* who has *address*, or None after *within* s.

    Raises OSError; PermissionError without CAP_NET_RAW.
    """
    loop = asyncio.get_running_loop()
    with _opened(device) as sock:
        own = _mac(sock)
        await loop.sock_sendall(sock, _frame(own, _NOBODY, address))
        try:
            async with asyncio.timeout(within):
                while True:
                    sender, mac = _sender(await loop.sock_recv(sock, 256))
                    if sender == address and mac != own:
                        return mac.hex(":")
        except TimeoutError:
            return None


def _opened(device: str) -> socket.socket:
    sock = socket.socket(
        socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.htons(_ETH_P_ARP)
    )
    try:
        sock.bind((device, _ETH_P_ARP))
    except OSError:
        sock.close()
        raise
    return sock


def _mac(sock: socket.socket) -> bytes:
    mac: bytes = sock.getsockname()[4]
    return mac


def _frame(mac: bytes, sender: IPv4Address, target: IPv4Address) -> bytes:
    return _FRAME.pack(
        *(_BROADCAST, mac, _ETH_P_ARP),
        *(1, 0x0800, 6, 4, _REQUEST),
        *(mac, sender.packed, bytes(6), target.packed),
    )


def _sender(frame: bytes) -> tuple[IPv4Address | None, bytes]:
    if len(frame) < _FRAME.size:
        return None, b""
    fields = _FRAME.unpack_from(frame)
    return IPv4Address(fields[9]), fields[8]
