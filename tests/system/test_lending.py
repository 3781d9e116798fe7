"""Sockets lent from one namespace to another, and captures through them: what a container may do."""

import asyncio
import fcntl
import os
import socket
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from ipaddress import IPv4Interface
from pathlib import Path

import pytest

from podwire import lending, linux
from podwire.emulator.apiserver.agent import CapturePoint
from podwire.emulator.kubelet.recorder import CaptureAgent, as_child
from podwire.emulator.trace import pcapng
from podwire.emulator.trace.frames import Packet, packets
from podwire.netlink.changes import AddAddress, AddBridge, AddVeth, SetLink
from podwire.netlink.client import Netlink
from podwire.testing import inside
from tests.needs import lack

pytestmark = pytest.mark.system

LEND = """
import asyncio, sys
from pathlib import Path
from podwire import linux
from podwire.lender import Lender
with linux.network_namespace(sys.argv[1]):
    asyncio.run(Lender().serve(Path(sys.argv[2])))
"""
LEND_PODS = """
import sys
from podwire import linux
from podwire.emulator.node import pod_captures
with linux.network_namespace(sys.argv[1]):
    sys.exit(pod_captures.main(sys.argv[2:]))
"""
_SIOCGSKNS = 0x894C
LENDER = Path("/run/lender.sock")


@pytest.fixture(autouse=True, scope="module")
def namespaces() -> None:
    lacking = inside.lacking()
    if lacking:
        lack(f"lending needs namespaces: {lacking}")


@asynccontextmanager
async def lender(program: str, namespace: Path) -> AsyncGenerator[None]:
    words = [sys.executable, "-c", program, str(namespace), str(LENDER)]
    process = await asyncio.create_subprocess_exec(*words)
    try:
        while not LENDER.is_socket():  # noqa: ASYNC240 - another process makes it
            assert process.returncode is None
            await asyncio.sleep(0.01)
        yield
    finally:
        process.kill()
        await process.wait()


@asynccontextmanager
async def captured(points: Sequence[CapturePoint]) -> AsyncGenerator[list[pcapng.Capture]]:
    """Capture while the block runs; then the list holds the capture."""
    agent = CaptureAgent(as_child, Path("/run/capture.sock"))
    reader, writer = await agent.capture(points, 65535, ())
    found: list[pcapng.Capture] = []
    yield found
    writer.write(b"stop\n")
    found.append(pcapng.decode(await reader.read()))
    writer.close()


def namespace_of(sock: socket.socket) -> int:
    """Return the inode of the network namespace that a socket belongs to."""
    file = fcntl.ioctl(sock, _SIOCGSKNS)
    try:
        return os.fstat(file).st_ino
    finally:
        os.close(file)


def shown(packet: Packet) -> str:
    return f"{packet.where} {packet.interface} {packet.direction} {packet.core.flow}"


async def sockets_and_captures_of_a_node(world: inside.World) -> None:
    async with lender(LEND, world.node_netns):
        with await asyncio.to_thread(
            linux.socket_in, LENDER, socket.AF_INET, socket.SOCK_STREAM
        ) as sock:
            assert namespace_of(sock) == world.node_netns.stat().st_ino
        with socket.socket() as own:
            assert namespace_of(own) != world.node_netns.stat().st_ino, "the twin"
        loan = await asyncio.to_thread(lending.borrow, LENDER, socket.AF_PACKET, socket.SOCK_RAW)
        with loan.socket:
            assert {device.name for device in loan.devices} >= {"lo", "eth0"}
            assert not loan.mirrored
        async with captured([CapturePoint("node/node-1", "node", str(LENDER), ())]) as found:
            late_interface(world.node_netns)
    names = {interface.name for interface in found[0].interfaces}
    assert names >= {"node-1 lo", "node-1 eth0", "node-1 late-a"}, names
    assert "node-1 late-b in 10.9.9.1:7 > 10.9.9.2:7" in {shown(p) for p in packets(found[0])}


def late_interface(namespace: Path) -> None:
    """Make an interface that was not there when the capture began, and send by it."""
    file = os.open(namespace, os.O_RDONLY)
    with Netlink.inside(file) as netlink:
        macs = ("02:00:00:00:00:0a", "02:00:00:00:00:0b")
        netlink.apply(
            [
                AddVeth("late-a", macs[0], "late-b", macs[1], "here"),
                SetLink("late-a", up=True),
                SetLink("late-b", up=True),
            ],
            namespaces={"here": file},
        )
    os.close(file)
    with linux.socket_in(LENDER, socket.AF_PACKET, socket.SOCK_RAW) as sock:
        sock.bind(("late-a", 0))
        sock.send(datagram())


def datagram() -> bytes:
    """Return a frame from 10.9.9.1:7 to 10.9.9.2:7; nobody looks at its checksums."""
    ends = socket.inet_aton("10.9.9.1") + socket.inet_aton("10.9.9.2")
    ip = bytes.fromhex("4500001c00000000401100 00".replace(" ", "")) + ends
    udp = bytes.fromhex("0007000700080000")
    return bytes.fromhex("02000000000b02000000000a0800") + ip + udp


MACS = {"idle": "02:00:00:00:01:02", "talker": "02:00:00:00:01:03"}


async def interfaces_of_pods(world: inside.World) -> None:
    host = switch_with_pods(world.node_netns)
    async with lender(LEND_PODS, world.node_netns):
        points = [
            CapturePoint(
                f"pod/default/{name}",
                "pod",
                str(lending.Place(str(LENDER), mac, address)),
                ("eth0",),
            )
            for name, mac, address in (
                ("idle", MACS["idle"], "10.9.1.2"),
                ("talker", MACS["talker"], "10.9.1.3"),
                ("gone", "02:00:00:00:01:09", "10.9.1.9"),
            )
        ]
        async with captured(points) as found:
            with linux.socket_in(namespace("talker"), socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.connect(("10.9.1.2", 7))
                sock.send(b"hello")
        with pytest.raises(OSError, match="only packet sockets are lent here"):
            await asyncio.to_thread(
                lending.borrow, LENDER, socket.AF_INET, socket.SOCK_STREAM, mac=MACS["idle"]
            )
    os.close(host)
    names = [interface.name for interface in found[0].interfaces]
    assert names == ["default/idle eth0", "default/talker eth0"]
    (comment,) = found[0].comments
    assert comment.startswith(
        "not captured: default/gone: no interface here leads to 02:00:00:00:01:09"
    )
    seen = [(p.where, p.direction) for p in packets(found[0]) if p.core.protocol == "UDP"]
    assert seen == [("default/talker", "out"), ("default/idle", "in")]


def namespace(name: str) -> Path:
    return Path("/run/netns") / name


def switch_with_pods(host: Path) -> int:
    """Make a bridge in *host* with a pod, which has sent nothing yet, at each of two ports."""
    linux_host = os.open(host, os.O_RDONLY)
    with Netlink.inside(linux_host) as netlink:
        netlink.apply([AddBridge("br-pods", "02:00:00:00:01:01")])
        for number, (name, mac) in enumerate(MACS.items(), 2):
            inside_pod = new_namespace(name)
            port = f"veth{number}"
            netlink.apply(
                [
                    AddVeth(port, f"02:00:00:00:02:0{number}", "eth0", mac, "pod"),
                    SetLink(port, master="br-pods"),
                    SetLink(port, up=True),
                ],
                namespaces={"pod": inside_pod},
            )
            with Netlink.inside(inside_pod) as pod:
                address = IPv4Interface(f"10.9.1.{number}/24")
                pod.apply([AddAddress("eth0", address), SetLink("eth0", up=True)])
            os.close(inside_pod)
    return linux_host


def new_namespace(name: str) -> int:
    path = namespace(name)
    path.touch()
    pid = os.fork()
    if pid == 0:
        linux.unshare(linux.CLONE_NEWNET)
        # No IPv6: an interface that comes up would speak by itself.
        Path("/proc/sys/net/ipv6/conf/default/disable_ipv6").write_text("1")
        linux.mount("/proc/self/ns/net", path, flags=linux.MS_BIND)
        os._exit(0)
    os.waitpid(pid, 0)
    return os.open(path, os.O_RDONLY)


def test_sockets_and_captures_of_a_node() -> None:
    inside.play(sockets_and_captures_of_a_node)


def test_interfaces_of_pods() -> None:
    inside.play(interfaces_of_pods)
