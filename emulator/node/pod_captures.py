"""The profile `capture`: lends packet sockets that hear the interfaces of pods.

    python -m podwire.emulator.node.pod_captures [SOCKET]

It runs in the host's network namespace, where the other end of every pod's veth is, with
CAP_NET_RAW and nothing else: nobody has to enter a pod. A borrower names a pod by its MAC address.
What it borrows is a socket of the host, and can do more than hear that pod: it may be bound to any
other interface there, and send. No lock of the kernel's prevents that (SO_LOCK_FILTER keeps the
filter, not the binding), so the wall is who reaches the Unix socket: it lies on a volume that only
`api` mounts, which holds the engine's socket and could do all of that anyway.
"""

import asyncio
import errno
import logging
import signal
import socket
import struct
import sys
import time
from collections.abc import Iterable, Sequence
from ipaddress import AddressValueError, IPv4Address
from pathlib import Path

from podwire.errors import MachineError, PodwireError
from podwire.lender import Lender
from podwire.lending import LentDevice, Loan, Wanted
from podwire.netlink.client import Netlink
from podwire.netlink.present import Link, Neighbour

SOCKET_PATH = "/run/podwire-captures/captures.sock"

log = logging.getLogger(__name__)

_POD_DEVICE = "eth0"
_ETHERNET = 1
_ETH_P_ARP = 0x0806
_PATIENCE = 0.3  # seconds for a pod to answer ARP; a borrower waits longer
_LOOK_AGAIN = 0.005


def main(argv: Sequence[str]) -> int:
    """Lend at argv[0] (default SOCKET_PATH) until terminated."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        asyncio.run(_serve(Path(argv[0] if argv else SOCKET_PATH)))
    except PodwireError as error:
        log.error("%s", error)
        return error.exit_status
    return 0


async def _serve(path: Path) -> None:
    _try_to_capture()
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.TaskGroup() as tasks:
            lending = tasks.create_task(Lender(open_pod).serve(path))
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, lending.cancel)
            log.info("lending the interfaces of pods at %s", path)
    except* OSError as group:
        raise MachineError(
            f"cannot lend at {path}: {group.exceptions[0]}\n  mount the volume `captures` there"
        ) from group


def _try_to_capture() -> None:
    try:
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0).close()
    except PermissionError as error:
        raise MachineError(
            "this container may not capture\n"
            "  write into the compose file: cap_add: [NET_RAW], network_mode: host"
        ) from error


def open_pod(wanted: Wanted) -> Loan:
    """Return a packet socket for the veth that leads to a pod; raises OSError or ValueError.

    The socket hears nothing until its borrower binds it to the one device of the loan.
    """
    if wanted.family != socket.AF_PACKET or not wanted.mac:
        raise ValueError("only packet sockets are lent here, for the MAC address of a pod")
    index = _found(wanted.mac.lower(), wanted.address)
    if index is None:
        raise OSError(
            errno.ENODEV,
            f"no interface here leads to {wanted.mac}: the pod does not answer, or the lender of"
            " captures is not in the host's network (network_mode: host)",
        )
    sock = socket.socket(socket.AF_PACKET, wanted.kind, 0)
    return Loan(sock, (LentDevice(index, _POD_DEVICE, _ETHERNET),), mirrored=True)


def _found(mac: str, address: str) -> int | None:
    """Return the index of the veth behind which *mac* is, having its owner speak if need be."""
    with Netlink() as netlink:
        links = netlink.links()
        index = port_of(mac, netlink.forwarding(), links)
        if index is not None or not address:
            return index
        try:
            _ask_all(bridges(links), mac, IPv4Address(address))
        except AddressValueError as error:
            raise ValueError(f"no IPv4 address: {address}") from error
        deadline = time.monotonic() + _PATIENCE
        while index is None and time.monotonic() < deadline:
            time.sleep(_LOOK_AGAIN)
            index = port_of(mac, netlink.forwarding(), links)
        return index


def port_of(mac: str, forwarding: Iterable[Neighbour], links: Iterable[Link]) -> int | None:
    """Return the number of the bridge port, a veth, behind which a bridge has heard *mac*.

    Nothing but a veth: a neighbour of the host's own network may have the same address.
    """
    known = {link.number: link for link in links}
    for entry in forwarding:
        port = known.get(entry.link)
        # A permanent entry is the port's own address, not somebody's behind it.
        if entry.mac == mac and not entry.permanent and port is not None and port.kind == "veth":
            return port.number
    return None


def bridges(links: Iterable[Link]) -> list[Link]:
    """Return the bridges that have ports which are veths."""
    found = list(links)
    used = {link.master for link in found if link.kind == "veth"}
    return [link for link in found if link.kind == "bridge" and link.number in used]


def _ask_all(asked: Iterable[Link], mac: str, address: IPv4Address) -> None:
    """Ask *mac* for *address* on every bridge: its answer tells the bridge where it is.

    A pod that has sent nothing yet, or for minutes, is unknown to the bridge.
    """
    for bridge in asked:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
            sock.bind((bridge.name, 0))
            sock.send(arp_question(bridge.mac, mac, address))


def arp_question(sender: str, mac: str, address: IPv4Address) -> bytes:
    """Return a frame that asks only *mac* whether it has *address*.

    The sender has no address, as in a probe (RFC 5227, 2.1.1), so nobody remembers it.
    """
    own, target = (bytes.fromhex(text.replace(":", "")) for text in (sender, mac))
    head = struct.pack("!6s6sHHHBBH", target, own, _ETH_P_ARP, _ETHERNET, 0x0800, 6, 4, 1)
    return head + own + bytes(4) + bytes(6) + address.packed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
