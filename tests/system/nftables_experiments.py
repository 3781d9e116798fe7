"""What the nftables mode does to packets; prints one JSON object. Run in namespaces of its own."""

import asyncio
import json
import logging
import socket
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from ipaddress import IPv4Network
from typing import Any

from podwire.errors import PodwireError
from podwire.kube.objects import EndpointSlice, Service
from podwire.proxy.mode import SyncFailed
from podwire.proxy.nftables.mode import Nftables
from podwire.proxy.node import NodeView
from podwire.proxy.sources import Sources
from podwire.testing.clock import FakeClock
from tests.system.service_world import (
    CLIENT,
    CLUSTER_IP,
    EXTERNAL_IP,
    FAR,
    LOAD_BALANCER,
    NODE,
    NODE_PORT,
    VIEW,
    WEB,
    World,
    ask,
    send,
    service,
    slice_of,
)

FRONTENDS = {
    "ClusterIP": (CLUSTER_IP, 80),
    "NodePort": (NODE, NODE_PORT),
    "external": (EXTERNAL_IP, 80),
    "balancer": (LOAD_BALANCER, 80),
}


class Proxy:
    """The mode with the objects that it is to serve."""

    def __init__(self, view: NodeView = VIEW, *, program: str = "nft") -> None:
        self.clock = FakeClock()
        self.mode = Nftables(self.clock, program=program)
        self.sources = Sources(view, lambda: None)
        self._slices: dict[str, EndpointSlice] = {}

    async def serve(self, wish: Service, *endpoints: str) -> None:
        self.sources.service(None, wish)
        name = wish.metadata.name
        slice_ = slice_of(*endpoints, name=name, protocol=wish.spec.ports[0].protocol)
        self.sources.slice(self._slices.get(name), slice_)
        self._slices[name] = slice_
        await self.sync()

    async def drop(self, wish: Service) -> None:
        self.sources.service(wish, None)
        await self.sync()

    async def sync(self) -> None:
        await self.mode.sync(self.sources.take_order())

    async def wholly(self) -> str:
        """Sync everything; return the error, if any."""
        self.sources.mark_all()
        try:
            await self.sync()
        except PodwireError as error:
            return f"{type(error).__name__}: {error}"
        return ""


def everywhere(**spec: Any) -> Service:
    """Return a Service that is reached by all four kinds of frontends."""
    return service(
        type="LoadBalancer",
        node_port=NODE_PORT,
        external_ips=(EXTERNAL_IP,),
        load_balancer=LOAD_BALANCER,
        **spec,
    )


async def table(
    places: Iterable[str] = ("client", "web", "node", "stranger", "far"),
) -> dict[str, list[str]]:
    """Return what a client in each place meets at each frontend."""
    found: dict[str, list[str]] = {}
    for place in places:
        # A pod of another node meets ClusterIPs on its own node.
        frontends = [at for name, at in FRONTENDS.items() if (place, name) != ("far", "ClusterIP")]
        found[place] = [await ask(place, *where) for where in frontends]
    return found


async def policies() -> dict[str, Any]:
    found: dict[str, Any] = {}
    cases: tuple[tuple[str, dict[str, Any], tuple[str, ...]], ...] = (
        ("Cluster, endpoint here", {}, (WEB,)),
        ("Cluster, endpoint elsewhere", {}, (FAR,)),
        ("external Local, endpoint here", {"external_traffic_policy": "Local"}, (WEB,)),
        ("external Local, endpoint elsewhere", {"external_traffic_policy": "Local"}, (FAR,)),
        ("internal Local, endpoint here", {"internal_traffic_policy": "Local"}, (WEB,)),
        ("internal Local, endpoint elsewhere", {"internal_traffic_policy": "Local"}, (FAR,)),
        ("no endpoint", {}, ()),
        ("only for the client", {"load_balancer_source_ranges": (f"{CLIENT}/32",)}, (WEB,)),
        ("only for the node", {"load_balancer_source_ranges": ("192.168.1.0/28",)}, (WEB,)),
    )
    proxy = Proxy()
    for words, spec, endpoints in cases:
        await proxy.serve(everywhere(**spec), *endpoints)
        found[words] = await table()
    await proxy.mode.close(cleanup=True)
    return found


async def settings() -> dict[str, Any]:
    found: dict[str, Any] = {}
    spec = VIEW.settings
    everything = (IPv4Network("0.0.0.0/0"),)
    cases = {
        "masqueradeAll": replace(VIEW, settings=replace(spec, masquerade_all=True)),
        "NodePorts on all addresses": replace(
            VIEW, settings=replace(spec, node_port_addresses=everything)
        ),
        "NodePorts on no address of ours": replace(
            VIEW, settings=replace(spec, node_port_addresses=(IPv4Network("10.9.0.0/16"),))
        ),
        "InterfaceNamePrefix": replace(
            VIEW,
            settings=replace(spec, detect_local="InterfaceNamePrefix", interface_prefix="to-"),
        ),
        "no detector": replace(VIEW, settings=replace(spec, cluster_cidr=None)),
        "switched pod network": replace(VIEW, same_pod_network="switched"),
    }
    proxy = Proxy()
    wish = everywhere(external_traffic_policy="Local")
    await proxy.serve(wish, WEB)
    for words, view in cases.items():
        proxy.sources.see(view)
        await proxy.sync()
        found[words] = {
            "client to ClusterIP": await ask("client", CLUSTER_IP, 80),
            "far to ClusterIP": await ask("far", CLUSTER_IP, 80),
            "far to NodePort": await ask("far", NODE, NODE_PORT),
            "stranger to NodePort": await ask("stranger", NODE, NODE_PORT),
            "client to NodePort at its gateway": await ask("client", "10.244.1.1", NODE_PORT),
        }
    await proxy.mode.close(cleanup=True)
    return found


async def wrong() -> dict[str, Any]:
    """ClusterIPs that no Service has, and ports that it lacks."""
    proxy = Proxy()
    await proxy.serve(service(), WEB)
    found: dict[str, Any] = {
        "port": [await ask(place, CLUSTER_IP, 81) for place in ("client", "node", "stranger")],
        "address": [await ask(place, "10.96.7.7", 80) for place in ("client", "node")],
        "loopback": await ask("node", "127.0.0.1", NODE_PORT),
    }
    await proxy.drop(service())
    found["gone"] = await ask("client", CLUSTER_IP, 80)
    await proxy.mode.close(cleanup=True)
    return found


async def balance() -> dict[str, Any]:
    proxy = Proxy()
    found: dict[str, Any] = {}
    await proxy.serve(service(), WEB, FAR)
    found["random"] = sorted({await ask("client", CLUSTER_IP, 80) for _ in range(40)})
    wish = service(affinity=100)
    await proxy.serve(wish, WEB, FAR)
    sticky = [await ask("client", CLUSTER_IP, 80) for _ in range(20)]
    found["endpoints under affinity"] = len(set(sticky))
    await proxy.serve(wish, WEB, FAR, CLIENT)
    found["the same after a change"] = await ask("client", CLUSTER_IP, 80) == sticky[0]
    again = Proxy()
    await again.serve(wish, WEB, FAR, CLIENT)
    found["the same after a restart"] = await ask("client", CLUSTER_IP, 80) == sticky[0]
    other = {"web sees client": FAR, "far sees client": WEB}[sticky[0]]
    await again.serve(wish, other)
    found["another when it is gone"] = await ask("client", CLUSTER_IP, 80) != sticky[0]
    await again.serve(service(affinity=50), other)
    found["timeout"] = [
        line.strip() for line in _nft("list", "ruleset").splitlines() if "timeout " in line
    ]
    await proxy.mode.close(cleanup=True)
    await again.mode.close(cleanup=True)
    return found


async def datagrams(world: World) -> dict[str, Any]:
    """UDP clients that keep their port."""
    found: dict[str, Any] = {}
    proxy = Proxy()
    wish = service(protocol="UDP", port=53, type="NodePort", node_port=NODE_PORT)
    await proxy.serve(wish, FAR)
    client = world.socket("client", socket.SOCK_DGRAM)
    outside = world.socket("stranger", socket.SOCK_DGRAM)
    found["before"] = [
        await send(client, CLUSTER_IP, 53),
        await send(outside, NODE, NODE_PORT),
    ]
    open_now = proxy.mode.connections()
    found["open"] = sorted(f"{name} {to} {n}" for (name, _, to), n in open_now.items())
    await proxy.serve(wish, WEB)
    found["endpoint replaced"] = [
        await send(client, CLUSTER_IP, 53),
        await send(outside, NODE, NODE_PORT),
    ]
    await proxy.serve(wish, WEB, FAR)
    found["endpoint added"] = {await send(client, CLUSTER_IP, 53) for _ in range(10)} == {
        "web sees client"
    }
    await proxy.serve(wish)
    late = world.socket("client", socket.SOCK_DGRAM)
    found["no endpoint"] = await send(late, CLUSTER_IP, 53)
    await proxy.mode.close(cleanup=True)
    # Without rules the kernel notes that the flow leads nowhere else.
    found["no proxy"] = await send(late, CLUSTER_IP, 53)
    again = Proxy()
    await again.serve(wish, FAR)
    found["endpoint appears"] = await send(late, CLUSTER_IP, 53)
    found["deleted"] = again.mode._flows.deleted > 0  # pyright: ignore[reportPrivateUsage]
    await again.mode.close(cleanup=True)
    return found


async def harm() -> dict[str, Any]:
    """Others who change the rules, and starts where something is in the way."""
    found: dict[str, Any] = {}
    proxy = Proxy()
    await proxy.serve(everywhere(), WEB)
    found["intact"] = [await proxy.mode.intact()]
    _nft("add", "table", "ip", "stranger")
    found["intact"] += [await proxy.mode.intact(), await proxy.mode.intact()]
    for command in (
        "flush ruleset",
        "delete table ip kube-proxy",
        "flush chain ip kube-proxy services",
        "flush table ip kube-proxy",
    ):
        _nft(*command.split())
        noticed = not await proxy.mode.intact()
        error = await proxy.wholly()
        found[command] = [noticed, error, await proxy.mode.intact(), (await table(("client",)))]
    await proxy.mode.close(cleanup=True)
    await proxy.mode.close(cleanup=True)
    found["left"] = _nft("list", "ruleset")
    surprised = Proxy()
    await surprised.serve(service(), WEB)
    hairpin = f"{{ {WEB} . {WEB} . tcp . 8080 }}"
    _nft("delete", "element", "ip", "kube-proxy", "hairpin-connections", hairpin)
    try:
        await surprised.serve(service(), FAR)
    except SyncFailed as error:
        found["element gone"] = [str(error).startswith("nft: "), await surprised.mode.intact()]
    found["element gone"] += [await surprised.wholly(), await ask("client", CLUSTER_IP, 80)]
    await surprised.mode.close(cleanup=True)
    _nft("add", "table", "ip", "kube-proxy")
    _nft("add", "map", "ip", "kube-proxy", "service-ips", "{ type ipv4_addr : verdict ; }")
    blocked = Proxy()
    blocked.sources.service(None, everywhere())
    blocked.sources.slice(None, slice_of(WEB))
    first = await blocked.wholly()
    found["in the way"] = [
        first.startswith("SyncFailed: nft: "),
        "service-ips" in first,
        await blocked.wholly(),
        await ask("client", CLUSTER_IP, 80),
    ]
    found["no nft"] = await Proxy(program="no-such-nft").wholly()
    await blocked.mode.close(cleanup=True)
    return found


async def restart() -> dict[str, Any]:
    """A proxy that finds the table of an earlier one."""
    proxy = Proxy()
    wish = everywhere()
    await proxy.serve(wish, WEB)
    other = service("other", cluster_ip="10.96.0.81")
    await proxy.serve(other, WEB)
    await proxy.mode.close(cleanup=False)
    found: dict[str, Any] = {"while it is away": await ask("client", CLUSTER_IP, 80)}
    again = Proxy()
    await again.serve(wish, FAR)
    found["after"] = [await ask("client", CLUSTER_IP, 80), await ask("client", "10.96.0.81", 80)]
    chains = _nft("list", "ruleset")
    found["chain of the Service that is gone"] = ["chain service-" in chains, "/other/" in chains]
    again.clock.advance(2)
    found["intact"] = await again.mode.intact()
    found["later"] = "/other/" in _nft("list", "ruleset")
    await again.mode.close(cleanup=True)
    return found


def _nft(*words: str) -> str:
    done = subprocess.run(["nft", *words], capture_output=True, text=True, check=True)
    return done.stdout


async def main() -> None:
    logging.basicConfig(stream=sys.stderr)
    with World() as world:
        async with asyncio.TaskGroup() as tasks:
            await world.serve(tasks)
            found = {
                "policies": await policies(),
                "settings": await settings(),
                "wrong": await wrong(),
                "balance": await balance(),
                "datagrams": await datagrams(world),
                "harm": await harm(),
                "restart": await restart(),
            }
            sys.stdout.write(json.dumps(found))
            world.stop()


asyncio.run(main())
