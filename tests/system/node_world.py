"""Two node programs in namespaces, wired as a container engine would, and an API server for them.

host ==[bridge nodes 10.201.0.1/24]== node-a eth0, node-b eth1, stranger
     ==[bridge pods-a, no address]== node-a eth1, web-a, client-a
     ==[bridge pods-b, no address]== node-b eth0, web-b, client-b
"""

import asyncio
import errno
import json
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from ipaddress import IPv4Address, ip_interface
from pathlib import Path
from typing import Any

from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.layers.vxlan import VXLAN

from podwire import linux
from podwire.emulator.addons import descriptions
from podwire.emulator.apiserver.request import Network
from podwire.emulator.apiserver.server import ApiServer
from podwire.emulator.apiserver.store import Store
from podwire.emulator.topology import (
    ANYWHERE,
    HOST_SYSCTLS,
    NODE_SYSCTLS,
    Namespace,
    Topology,
)
from podwire.kube.client import Client
from podwire.kube.clock import SystemClock
from podwire.kube.names import Key
from podwire.kube.objects import ConfigMap, EndpointSlice, Node, Service
from podwire.netlink.changes import AddAddress, AddBridge, AddRoute, AddVeth, SetLink
from podwire.testing.agent import FakeAgent

NETNS = Path("/run/netns")
API = Path("/run/podwire/api.sock")
SERVICE = "10.96.0.80"
NODE_PORT = 30080
ENDPOINTS = {"web-a": "10.244.1.10", "web-b": "10.244.2.10"}
DATAGRAMS = 5353
PATIENCE = 10.0


def engine() -> Topology:
    """Return what an engine makes of the compose file."""
    wires = (
        ("nodes", "node-a", "eth0", "10.201.0.11/24"),
        ("pods-a", "node-a", "eth1", "10.244.1.2/24"),
        ("pods-b", "node-b", "eth0", "10.244.2.2/24"),
        ("nodes", "node-b", "eth1", "10.201.0.12/24"),
        ("pods-a", "web-a", "eth0", "10.244.1.10/24"),
        ("pods-a", "client-a", "eth0", "10.244.1.11/24"),
        ("pods-b", "web-b", "eth0", "10.244.2.10/24"),
        ("pods-b", "client-b", "eth0", "10.244.2.11/24"),
        # Another container on the network of the nodes, as the API server's is one.
        ("nodes", "stranger", "eth0", "10.201.0.200/24"),
    )
    bridges = ("nodes", "pods-a", "pods-b")
    host = Namespace(
        "host",
        (("net/ipv4/ip_forward", "0"), *HOST_SYSCTLS[1:]),
        links=(
            *(AddBridge(name, f"02:42:00:00:00:{n:02x}") for n, name in enumerate(bridges, 1)),
            *(
                AddVeth(f"veth{n}", mac(40 + n), eth, mac(n), place)
                for n, (_, place, eth, _) in enumerate(wires)
            ),
        ),
        ports=(
            *(SetLink(name, up=True) for name in bridges),
            *(SetLink(f"veth{n}", up=True, master=wire[0]) for n, wire in enumerate(wires)),
        ),
        addresses=(AddAddress("nodes", ip_interface("10.201.0.1/24")),),
    )
    gateways = {
        "web-a": "10.244.1.1",
        "client-a": "10.244.1.1",
        "web-b": "10.244.2.1",
        "client-b": "10.244.2.1",
        # The engine may choose the pods' network for the default route of a node.
        "node-b": "10.244.2.1",
        "node-a": "10.201.0.1",
        "stranger": "10.201.0.1",
    }
    places = [
        Namespace(
            place,
            NODE_SYSCTLS if place.startswith("node") else HOST_SYSCTLS,
            ports=tuple(SetLink(eth, up=True) for _, p, eth, _ in wires if p == place),
            addresses=tuple(
                AddAddress(eth, ip_interface(address)) for _, p, eth, address in wires if p == place
            ),
            routes=(AddRoute(ANYWHERE, "eth0", IPv4Address(gateway)),),
        )
        for place, gateway in gateways.items()
    ]
    return Topology((host, *places))


def mac(number: int) -> str:
    return f"02:00:00:00:01:{number:02x}"


def inside(place: str, *command: str) -> str:
    enter = ["nsenter", f"--net={NETNS / place}", *command]
    return subprocess.run(enter, capture_output=True, text=True, check=False).stdout


def pings(place: str, address: str) -> bool:
    enter = ["nsenter", f"--net={NETNS / place}", "busybox", "ping", "-c1", "-W1", address]
    return subprocess.run(enter, capture_output=True, check=False).returncode == 0


async def ask(place: str, address: str, port: int, *, within: float = 1.0) -> str:
    """Return what a server says (the client's address as it sees it), or why it says nothing."""
    loop = asyncio.get_running_loop()
    with linux.socket_in(NETNS / place, socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.setblocking(False)
        try:
            async with asyncio.timeout(within):
                await loop.sock_connect(sock, (address, port))
                return (await loop.sock_recv(sock, 100)).decode() or "closed"
        except TimeoutError:
            return "silence"
        except OSError as error:
            return errno.errorcode[error.errno or 0]


async def heard(
    place: str, address: str, *senders: tuple[str, bytes, tuple[str, int]]
) -> list[str]:
    """Return what arrives in *place* at a UDP port of *address*, until the last has been heard.

    Each of *senders* is a place, its datagram and where to. The last one must arrive.
    """
    loop = asyncio.get_running_loop()
    found: list[str] = []
    with linux.socket_in(NETNS / place, socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.setblocking(False)
        listener.bind((address, DATAGRAMS))
        for sender, datagram, to in senders:
            with linux.socket_in(NETNS / sender, socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.sendto(datagram, to)
        async with asyncio.timeout(PATIENCE):
            while senders[-1][1].decode() not in found:
                found.append((await loop.sock_recv(listener, 100)).decode())
    return found


def forged(address: str) -> bytes:
    """Return a datagram in a frame in VXLAN, as node-b would send it to node-a, for *address*."""
    frame = Ether(dst="0e:58:0a:f4:01:00", src="0e:58:0a:f4:02:00")
    inside = IP(src="10.244.2.11", dst=address) / UDP(sport=1, dport=DATAGRAMS) / b"forged"
    # Said, or scapy adds an extension that the kernel refuses.
    return bytes(VXLAN(flags="Instance", vni=1) / frame / inside)


@asynccontextmanager
async def server(place: str, address: str, port: int) -> AsyncGenerator[None]:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("peername")
        writer.write(f"{place} sees {peer[0]}".encode())
        writer.close()

    sock = linux.socket_in(NETNS / place, socket.AF_INET, socket.SOCK_STREAM)
    sock.bind((address, port))
    async with await asyncio.start_server(answer, sock=sock):
        yield


@asynccontextmanager
async def api_server(mode: str = "userspace") -> AsyncGenerator[Client]:
    """Run a new API server with two Nodes and one Service; *mode* is the proxies'."""
    served = ApiServer(Store(), FakeAgent(), SystemClock(), random.Random(mode), network=Network())
    served.fill(6443)
    async with served.serve(unix_path=API), Client.unix(API, user="system:podwire") as client:
        await client.create_raw(ConfigMap, "kube-system", proxy_file(mode))
        await add_node(client, "node-a", "10.201.0.11", "10.244.1.0/24")
        await add_node(client, "node-b", "10.201.0.12", "10.244.2.0/24")
        port = {"port": 80, "targetPort": 8080, "nodePort": NODE_PORT}
        spec: dict[str, Any] = {"clusterIP": SERVICE, "type": "NodePort", "ports": [port]}
        await client.create_raw(Service, "default", {"metadata": {"name": "web-svc"}, "spec": spec})
        await client.create_raw(EndpointSlice, "default", slice_of(*ENDPOINTS.values()))
        yield client


def proxy_file(mode: str) -> dict[str, Any]:
    """Return kube-proxy's ConfigMap."""
    network = {"domain": "cluster.local", "dns": "10.96.0.10", "pods": "10.244.0.0/16"}
    return next(o for o in descriptions(network, mode) if o["metadata"]["name"] == "kube-proxy")


def slice_of(*addresses: str) -> dict[str, Any]:
    return {
        "metadata": {"name": "web-svc-1", "labels": {"kubernetes.io/service-name": "web-svc"}},
        "addressType": "IPv4",
        "ports": [{"port": 8080}],
        "endpoints": [{"addresses": [a], "conditions": {"ready": True}} for a in addresses],
    }


async def add_node(client: Client, name: str, address: str, pods: str) -> None:
    await client.create_raw(Node, "", {"metadata": {"name": name}, "spec": {"podCIDR": pods}})
    status = {"addresses": [{"type": "InternalIP", "address": address}]}
    await client.patch(Node, Key("", name), {"status": status}, subresource="status")


RUN = "import runpy; runpy.run_module('podwire.emulator.node', run_name='__main__')"


class Program:
    """A node program in its namespace; *prelude* is Python that runs before it."""

    def __init__(self, node: str, *, prelude: str = "", **environ: str) -> None:
        number = {"node-a": 1, "node-b": 2}[node]
        self.address = f"10.201.0.{10 + number}"
        self.log = Path(f"/run/{node}.log")
        environ = {
            **os.environ,
            "PODWIRE_NODE": node,
            "PODWIRE_NODE_ADDRESS": self.address,
            "PODWIRE_NODE_PODS": f"10.244.{number}.0/24",
            "PODWIRE_PODS_SUBNET": "10.244.0.0/16",
            "PODWIRE_SERVICE_SUBNET": "10.96.0.0/12",
            "PODWIRE_API": str(API),
            "PODWIRE_STATE": f"/run/state-{node}",
            **environ,
        }
        python = [sys.executable, "-P", "-c", f"{prelude}\n{RUN}"]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                ["nsenter", f"--net={NETNS / node}", *python],
                env=environ,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    async def healthy(self) -> bool:
        return await until(lambda: page("host", self.address, 10256, "/healthz"), "200")

    def said(self) -> str:
        return self.log.read_text()

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(PATIENCE)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


async def page(place: str, address: str, port: int, path: str) -> str:
    """Return the status of a GET, or why there is none."""
    loop = asyncio.get_running_loop()
    with linux.socket_in(NETNS / place, socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.setblocking(False)
        try:
            async with asyncio.timeout(1):
                await loop.sock_connect(sock, (address, port))
                await loop.sock_sendall(sock, f"GET {path} HTTP/1.0\r\n\r\n".encode())
                return (await loop.sock_recv(sock, 100)).decode().split()[1]
        except (TimeoutError, OSError) as error:
            return type(error).__name__


async def until(asked: Callable[[], Any], wanted: Any) -> bool:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        found = asked()
        if asyncio.iscoroutine(found):
            found = await found
        if found == wanted:
            return True
        await asyncio.sleep(0.02)
    return False


def state(node: str) -> dict[str, list[str]]:
    """Return what the ip command shows, without what varies by itself."""
    return {
        "rules": inside(node, "ip", "rule").splitlines(),
        "routes": sorted(inside(node, "ip", "route").splitlines()),
        "any": inside(node, "ip", "route", "show", "table", "local", "10.96.0.0/12").splitlines(),
        "neighbours": sorted(inside(node, "ip", "neigh", "show", "nud", "permanent").splitlines()),
        "forwarding": sorted(
            inside(node, "bridge", "fdb", "show", "dev", "flannel.1").splitlines()
        ),
        "addresses": [
            f"{link['ifname']} {a['local']}/{a['prefixlen']}"
            for link in json.loads(inside(node, "ip", "-j", "-4", "addr"))
            for a in link["addr_info"]
        ],
    }
