"""One node of a cluster in namespaces, with pods, another node's pod and a stranger around it.

stranger 192.168.1.200 --+-- [bridge underlay] --- node eth0 192.168.1.10
far 10.244.2.6 ----------+   (.1.11, as if that    |-- to-client -- client 10.244.1.5
                              were its node)       |-- to-web ----- web 10.244.1.6

Pods of the node reach each other through its routing, as isolated bridge ports have it. Whoever
makes a `World` is in the namespace of the node from then on; it needs namespaces of its own
(`unshare -Urnm`).
"""

import asyncio
import errno
import os
import socket
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from msgspec import structs

from podwire import linux
from podwire.kube.names import Key
from podwire.kube.objects import (
    ClientIPConfig,
    Endpoint,
    EndpointConditions,
    EndpointPort,
    EndpointSlice,
    LoadBalancerIngress,
    LoadBalancerStatus,
    ObjectMeta,
    Service,
    ServicePort,
    ServiceSpec,
    ServiceStatus,
    SessionAffinityConfig,
)
from podwire.netlink.namespace import entered
from podwire.proxy.endpoints import Place
from podwire.proxy.mode import Order
from podwire.proxy.node import NodeView, Settings
from podwire.proxy.table import service_ports

NETNS = Path("/run/netns")
NODE, FAR_NODE, STRANGER = "192.168.1.10", "192.168.1.11", "192.168.1.200"
CLIENT, WEB, FAR = "10.244.1.5", "10.244.1.6", "10.244.2.6"
OTHER_IP = "10.96.0.81"
CLUSTER_IP, EXTERNAL_IP, LOAD_BALANCER = "10.96.0.80", "203.0.113.7", "203.0.113.10"
NODE_PORT = 30080
NAMES = {CLIENT: "client", WEB: "web", FAR: "far", NODE: "node", STRANGER: "stranger"}
SETTINGS = Settings(
    cluster_cidr=IPv4Network("10.244.0.0/16"), service_cidr=IPv4Network("10.96.0.0/12")
)
VIEW = NodeView(
    Place("node"),
    IPv4Address(NODE),
    addresses=(IPv4Address(NODE),),
    pods=(IPv4Network("10.244.1.0/24"),),
    settings=SETTINGS,
)


class World:
    """The namespaces, and servers in the pods that say who they are and whom they see."""

    def __init__(self) -> None:
        self._sockets = ExitStack()
        self._servers: list[asyncio.Task[None]] = []

    def __enter__(self) -> "World":
        build()
        node = os.open(NETNS / "node", os.O_RDONLY | os.O_CLOEXEC)
        linux.setns(node, linux.CLONE_NEWNET)
        os.close(node)
        return self

    def __exit__(self, *_: object) -> None:
        self._sockets.close()

    async def serve(self, tasks: asyncio.TaskGroup) -> None:
        """Serve TCP and UDP on port 8080 of every pod, by tasks of *tasks*."""
        for place, address in (("client", CLIENT), ("web", WEB), ("far", FAR)):
            tcp = self.socket(place, socket.SOCK_STREAM)
            tcp.bind((address, 8080))
            tcp.listen(100)
            udp = self.socket(place, socket.SOCK_DGRAM)
            udp.bind((address, 8080))
            self._servers += (
                tasks.create_task(_answer_tcp(tcp, place)),
                tasks.create_task(_answer_udp(udp, place)),
            )

    def stop(self) -> None:
        """Stop serving."""
        for server in self._servers:
            server.cancel()

    def socket(self, place: str, kind: int) -> socket.socket:
        """Return a socket in *place* that is closed with the world."""
        sock = linux.socket_in(NETNS / place, socket.AF_INET, kind)
        self._sockets.enter_context(sock)
        sock.setblocking(False)
        return sock


async def ask(place: str, address: str, port: int, *, within: float = 0.5) -> str:
    """Return what a TCP server says to a client in *place*, or why it says nothing."""
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


async def send(sock: socket.socket, address: str, port: int, *, within: float = 0.5) -> str:
    """Return what a UDP server answers to *sock*, or why it does not."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(within):
            await loop.sock_sendto(sock, b"?", (address, port))
            return (await loop.sock_recv(sock, 100)).decode()
    except TimeoutError:
        return "silence"
    except OSError as error:
        return errno.errorcode[error.errno or 0]


def build() -> None:
    """Make the namespaces; nothing of them outlives this process."""
    _run("mount", "-t", "tmpfs", "tmpfs", "/run")
    NETNS.mkdir()
    pods = {"client": CLIENT, "web": WEB}
    places = ("node", "stranger", "far", *pods)
    _batch([f"netns add {place}" for place in places])
    _batch(["link add underlay type bridge", "link set underlay up", "link set lo up"])
    for place in ("node", "stranger", "far"):
        _batch(
            [
                f"link add to-{place} type veth peer name eth0 netns {place}",
                f"link set to-{place} master underlay up",
            ]
        )
    for place, address in (("node", NODE), ("stranger", STRANGER), ("far", FAR_NODE)):
        up = ["link set lo up", "link set eth0 up", f"address add {address}/24 dev eth0"]
        _batch(up, place)
    _batch(["route add default via 192.168.1.1", f"route add {FAR} via {FAR_NODE}"], "node")
    _batch(["route add default via 192.168.1.1"], "stranger")
    outside = ("10.96.0.0/12", "203.0.113.0/24", "10.244.1.0/24")
    _batch([f"route add {network} via {NODE}" for network in outside], "stranger")
    _batch([f"address add {FAR}/32 dev lo", f"route add 10.244.1.0/24 via {NODE} src {FAR}"], "far")
    _batch([f"route add {network} via {NODE} src {FAR}" for network in outside[:2]], "far")
    for place, address in pods.items():
        _batch([f"link add to-{place} type veth peer name eth0 netns {place}"], "node")
        _batch(
            [
                "link set lo up",
                "link set eth0 up",
                f"address add {address}/32 dev eth0",
                "route add 10.244.1.1 dev eth0",
                "route add default via 10.244.1.1",
            ],
            place,
        )
        _batch([f"link set to-{place} up", f"route add {address} dev to-{place}"], "node")
        _batch([f"address add 10.244.1.1/32 dev to-{place}"], "node")
    for place in places:
        _sysctl(place, "net.ipv4.ip_forward", "1")
        # Many refusals in a row must not become silence.
        _sysctl(place, "net.ipv4.icmp_ratelimit", "0")


def service(
    name: str = "web",
    *,
    protocol: str = "TCP",
    cluster_ip: str = CLUSTER_IP,
    port: int = 80,
    node_port: int = 0,
    load_balancer: str = "",
    affinity: int = 0,
    **spec: object,
) -> Service:
    """Return a Service; *spec* are more fields of its spec."""
    ports = (ServicePort(name="p", port=port, protocol=protocol, node_port=node_port),)
    if affinity:
        config = SessionAffinityConfig(client_ip=ClientIPConfig(timeout_seconds=affinity))
        spec |= {"session_affinity": "ClientIP", "session_affinity_config": config}
    ingress = (LoadBalancerIngress(ip=load_balancer),) if load_balancer else ()
    return Service(
        metadata=ObjectMeta(name=name, namespace="default"),
        spec=ServiceSpec(cluster_ip=cluster_ip, ports=ports, **spec),  # type: ignore[arg-type]
        status=ServiceStatus(load_balancer=LoadBalancerStatus(ingress=ingress)),
    )


def slice_of(*addresses: str, name: str = "web", protocol: str = "TCP") -> EndpointSlice:
    """Return the EndpointSlice of the Service *name*: pods of this world by address."""
    return EndpointSlice(
        metadata=ObjectMeta(
            name=f"{name}-1",
            namespace="default",
            labels={"kubernetes.io/service-name": name},
        ),
        address_type="IPv4",
        ports=(EndpointPort(name="p", port=8080, protocol=protocol),),
        endpoints=tuple(
            Endpoint(
                addresses=(address,),
                node_name="far-node" if address == FAR else "node",
                conditions=EndpointConditions(ready=True, serving=True),
            )
            for address in addresses
        ),
    )


def on_port(slice_: EndpointSlice, number: int) -> EndpointSlice:
    """Return *slice_* with its endpoints on another port."""
    assert slice_.ports is not None
    ports = tuple(structs.replace(port, port=number) for port in slice_.ports)
    return structs.replace(slice_, ports=ports)


def order(
    *pairs: tuple[Service, EndpointSlice], view: NodeView = VIEW, whole: bool = True
) -> Order:
    """Return the order to serve Services, each with its slice."""
    return Order(
        view,
        {
            Key("default", svc.metadata.name): service_ports(svc, [slice_], view.place)
            for svc, slice_ in pairs
        },
        whole=whole,
    )


async def _answer_tcp(listener: socket.socket, place: str) -> None:
    loop = asyncio.get_running_loop()
    while True:
        connection, source = await loop.sock_accept(listener)
        with connection:
            await loop.sock_sendall(connection, _said(place, source))


async def _answer_udp(sock: socket.socket, place: str) -> None:
    loop = asyncio.get_running_loop()
    while True:
        _, source = await loop.sock_recvfrom(sock, 100)
        await loop.sock_sendto(sock, _said(place, source), source)


def _said(place: str, source: tuple[str, int]) -> bytes:
    return f"{place} sees {NAMES.get(source[0], source[0])}".encode()


def _sysctl(place: str, name: str, value: str) -> None:
    namespace = os.open(NETNS / place, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with entered(namespace):
            Path("/proc/sys", name.replace(".", "/")).write_text(value)
    finally:
        os.close(namespace)


def _run(*words: str) -> None:
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)


def _batch(lines: Sequence[str], namespace: str = "") -> None:
    inside = ["-n", namespace] if namespace else []
    subprocess.run(["ip", *inside, "-batch", "-"], input="\n".join(lines).encode(), check=True)
