"""Run inside unshare by test_node_program.py: experiments with two node programs (node_world.py).

Prints one JSON object with what each experiment found.
"""

import asyncio
import json
import socket
import sys
from contextlib import AsyncExitStack
from typing import Any

from podwire import lending, linux
from podwire.emulator.network import build
from podwire.emulator.topology import VXLAN_PORT
from podwire.errors import PodwireError
from podwire.kube.names import Key
from podwire.kube.objects import EndpointSlice, Node
from tests.system.node_world import (
    API,
    DATAGRAMS,
    ENDPOINTS,
    NETNS,
    NODE_PORT,
    PATIENCE,
    SERVICE,
    Program,
    add_node,
    api_server,
    ask,
    engine,
    forged,
    heard,
    inside,
    mac,
    page,
    pings,
    server,
    slice_of,
    state,
    until,
)


async def traffic() -> dict[str, object]:
    answers: dict[str, object] = {
        "pod to pod on the same node": await ask("client-a", "10.244.1.10", 8080),
        "pod to pod on another node": await ask("client-a", "10.244.2.10", 8080),
        "pod to a ClusterIP": sorted({await ask("client-a", SERVICE, 80) for _ in range(40)}),
        "pod of the other node to a ClusterIP": sorted(
            {await ask("client-b", SERVICE, 80) for _ in range(40)}
        ),
        "pod to a ClusterIP without listener": await ask("client-a", SERVICE, 81),
        "pod to an unused ClusterIP": await ask("client-a", "10.96.77.7", 80),
        "pod pings a ClusterIP": pings("client-a", SERVICE),
        "pod pings its gateway": pings("client-a", "10.244.1.1"),
        "pod to elsewhere": await ask("client-a", "198.51.100.1", 80),
        "pod to its node's page": await page("client-a", "10.201.0.11", 10256, "/healthz"),
        "pod to the other node's page": await page("client-a", "10.201.0.12", 10256, "/healthz"),
        "node to a ClusterIP": sorted({await ask("node-a", SERVICE, 80) for _ in range(40)}),
        "node to its own pod": await ask("node-a", "10.244.1.10", 8080),
    }
    # The host puts ClusterIPs on the wire to node-a: nothing may come back.
    inside("host", "ip", "route", "add", "10.96.0.0/12", "via", "10.201.0.11")
    answers["underlay to a ClusterIP"] = sorted({await ask("host", SERVICE, 80) for _ in range(40)})
    answers["underlay to a ClusterIP without listener"] = await ask("host", SERVICE, 81, within=0.5)
    answers["underlay to the node"] = await page("host", "10.201.0.11", 10256, "/healthz")
    inside("host", "ip", "route", "del", "10.96.0.0/12")
    return answers


async def underlay() -> dict[str, object]:
    """Return what pods reach on the network of the nodes: the nodes, and nothing else of it."""
    answers: dict[str, object] = {
        "NodePort of its node": await several("client-a", "10.201.0.11", NODE_PORT),
        "NodePort of the other node": await several("client-a", "10.201.0.12", NODE_PORT),
        "pings the other node": pings("client-a", "10.201.0.12"),
    }
    others = (("host", "10.201.0.1"), ("stranger", "10.201.0.200"))
    # First, for all: a kernel refuses only so many packets of one sender.
    for place, address in others:
        async with server(place, address, 8080):
            answers[f"connects to {place}"] = await ask("client-b", address, 8080)
            answers[f"connects to {place}, from node-b"] = await ask("node-b", address, 8080)
    for place, address in others:
        answers[f"pings {place}"] = pings("client-b", address)
        answers[f"heard by {place}"] = await datagrams(place, address)
    return answers


async def datagrams(place: str, address: str) -> list[str]:
    return await heard(
        place,
        address,
        ("client-a", b"of a pod", (address, DATAGRAMS)),
        ("client-b", b"of another pod", (address, DATAGRAMS)),
        ("client-a", forged(address), ("10.201.0.11", VXLAN_PORT)),
        ("node-a", b"of the node", (address, DATAGRAMS)),
    )


async def without_rules() -> dict[str, object]:
    """Return what is to be had when the rules are away: that they are what keeps it."""
    inside("host", "ip", "route", "add", "10.96.0.0/12", "via", "10.201.0.11")
    for table in ("podwire", "podwire-userspace"):
        inside("node-a", "nft", "delete", "table", "inet", table)
    for number in ("96", "97", "98", "99", "99", "100", "100", "101", "101"):
        inside("node-a", "ip", "rule", "del", "pref", number)
    answers: dict[str, object] = {
        "underlay to a ClusterIP": await ask("host", SERVICE, 80),
        "pod pings a ClusterIP": pings("client-a", SERVICE),
        "pod to elsewhere": await ask("client-a", "198.51.100.1", 80, within=0.5),
        "heard by stranger": await datagrams("stranger", "10.201.0.200"),
    }
    inside("host", "ip", "route", "del", "10.96.0.0/12")
    return answers


async def alive(report: dict[str, Any]) -> None:
    async with api_server() as client:
        programs = {name: Program(name) for name in ("node-a", "node-b")}
        report["healthy"] = [await program.healthy() for program in programs.values()]
        report["traffic"] = await traffic()
        report["underlay"] = await underlay()
        report["state"] = {name: state(name) for name in programs}
        nodes = (await client.list(Node)).items
        report["annotations"] = [n.metadata.annotations.get("podwire.dev/backend") for n in nodes]
        report["lent"] = borrowed("node-a")

        # Killed and started again in the same namespace, where somebody has meddled: as before.
        programs["node-a"].kill()
        report["without rules"] = await without_rules()
        inside("node-a", "ip", "rule", "add", "pref", "101", "iif", "eth7", "unreachable")
        inside("node-a", "ip", "route", "del", "10.96.0.0/12", "table", "local")
        report["while gone"] = await ask("client-a", "10.244.2.10", 8080)
        # A pod remembers the MAC that the node had in another life.
        for stale in ("10.244.1.1", mac(99)), ("10.244.1.2", mac(99)):
            remember = ("neigh", "replace", stale[0], "lladdr", stale[1], "nud", "reachable")
            inside("client-a", "ip", *remember, "dev", "eth0")
        programs["node-a"] = Program("node-a")
        report["healthy again"] = await programs["node-a"].healthy()
        report["remembered"] = {
            address: inside("client-a", "ip", "neigh", "show", address).split()[4]
            for address in ("10.244.1.1", "10.244.1.2")
        }
        report["state after restart"] = state("node-a")
        report["same state"] = report["state after restart"] == report["state"]["node-a"]

        # A peer that comes, moves, and goes.
        await add_node(client, "node-c", "10.201.0.13", "10.244.3.0/24")
        report["peer came"] = await until(
            lambda: ways("node-a", "10.244.3"), (1, 1, ["10.201.0.13"])
        )
        status = {"addresses": [{"type": "InternalIP", "address": "10.201.0.33"}]}
        await client.patch(Node, Key("", "node-c"), {"status": status}, subresource="status")
        report["peer moved"] = await until(
            lambda: ways("node-a", "10.244.3"), (1, 1, ["10.201.0.33"])
        )
        # Gone while node-b looked away.
        programs["node-b"].kill()
        await client.delete(Node, Key("", "node-c"))
        report["peer gone"] = await until(lambda: ways("node-a", "10.244.3"), (0, 0, []))
        report["still there for node-b"] = ways("node-b", "10.244.3")
        programs["node-b"] = Program("node-b")
        await programs["node-b"].healthy()
        report["gone after restart"] = ways("node-b", "10.244.3")

    # The API server is away: everything goes on, and a node that starts serves what is there.
    report["without API"] = await ask("client-a", SERVICE, 80)
    programs["node-b"].kill()
    programs["node-b"] = Program("node-b")
    await until(lambda: "waiting for the API server" in programs["node-b"].said(), True)
    report["started without API"] = {
        "pods": await ask("client-a", "10.244.2.10", 8080),
        "health": await page("host", "10.201.0.12", 10256, "/healthz"),
    }
    async with api_server() as client:
        report["API is back"] = await programs["node-b"].healthy()
        await client.patch(EndpointSlice, Key("default", "web-svc-1"), slice_of(ENDPOINTS["web-b"]))
        report["new objects are followed"] = await until(
            lambda: several("client-a", SERVICE, 80), ["web-b sees 10.244.1.11"]
        )
        report["ended"] = [program.stop() for program in programs.values()]
    report["logs"] = {name: program.said() for name, program in programs.items()}
    report["socket removed"] = not (API.parent / "nodes" / "node-a.sock").exists()


async def several(place: str, address: str, port: int) -> list[str]:
    return sorted({await ask(place, address, port) for _ in range(20)})


def ways(node: str, prefix: str) -> tuple[int, int, list[str]]:
    now = state(node)
    mac = "0e:58:0a:f4:03:00"
    return (
        sum(line.startswith(prefix) for line in now["routes"]),
        sum(line.startswith(prefix) for line in now["neighbours"]),
        [line.split()[2] for line in now["forwarding"] if line.startswith(mac)],
    )


def borrowed(node: str) -> str:
    path = API.parent / "nodes" / f"{node}.sock"
    with lending.borrow(path, socket.AF_INET, socket.SOCK_DGRAM).socket as sock:
        sock.connect(("10.201.0.1", 9))
        return str(sock.getsockname()[0])


NO_VXLAN = """
from podwire.netlink import rtnetlink
kind = rtnetlink._kind
rtnetlink._kind = lambda name, data=b"": kind("nosuch" if name == "vxlan" else name, data)
"""


async def plain_routes(report: dict[str, Any]) -> None:
    """With the tunnel of before still there, and in a kernel that knows no tunnels."""
    report["plain routes"] = {}
    for name, prelude, environ in (
        ("asked for", "", {"PODWIRE_BACKEND": "host-gw"}),
        ("no vxlan", NO_VXLAN, {}),
    ):
        async with api_server() as client:
            programs = [Program(node, prelude=prelude, **environ) for node in ("node-a", "node-b")]
            report["plain routes"][name] = {
                "healthy": [await program.healthy() for program in programs],
                "pods": await ask("client-a", "10.244.2.10", 8080),
                "ClusterIP": sorted({await ask("client-a", SERVICE, 80) for _ in range(40)}),
                "tunnel": "flannel.1" in inside("node-a", "ip", "link"),
                "annotation": (await client.get(Node, Key("", "node-a"))).metadata.annotations,
            }
            for program in programs:
                program.stop()
            report["plain routes"][name]["said"] = programs[0].said()


WITHOUT_NET_ADMIN = """
from podwire.linux import keep_capabilities
keep_capabilities({10, 13})
"""
# In the mount namespace of this process alone, as a container has it.
READ_ONLY = """
from podwire import linux
linux.unshare(linux.CLONE_NEWNS)
linux.mount("/proc/sys", "/proc/sys", flags=linux.MS_BIND)
linux.make_read_only("/proc/sys")
"""


def refusals(report: dict[str, Any]) -> None:
    def outcome(prelude: str = "", **environ: str) -> tuple[int, str]:
        program = Program("node-a", prelude=prelude, **environ)
        return program.process.wait(PATIENCE), program.said()

    report["refusals"] = {
        "no pods": outcome(PODWIRE_NODE_PODS="10.244.9.0/24"),
        "no address": outcome(PODWIRE_NODE_ADDRESS="10.201.0.99"),
        "no variable": outcome(PODWIRE_NODE=""),
        "no NET_ADMIN": outcome(WITHOUT_NET_ADMIN),
    }
    for name, off, on in (
        ("net.ipv4.ip_forward", "0", "1"),
        ("net.ipv4.conf.all.arp_ignore", "0", "1"),
        ("net.ipv4.conf.all.arp_announce", "0", "2"),
    ):
        inside("node-a", "sysctl", "-w", f"{name}={off}")
        report["refusals"][name] = outcome(READ_ONLY)
        inside("node-a", "sysctl", "-w", f"{name}={on}")


async def unknown(report: dict[str, Any]) -> None:
    """The API server has no Node of that name: not healthy, and what is there is kept."""
    inside("node-a", "ip", "route", "replace", "10.244.2.0/24", "via", "10.201.0.12")
    async with api_server():
        program = Program("node-a", PODWIRE_NODE="node-x")
        said = await until(lambda: "waiting for the Node node-x" in program.said(), True)
        health = await page("host", "10.201.0.11", 10256, "/healthz")
        report["unknown"] = (said, health, ways("node-a", "10.244.2"))
        program.stop()


async def port_taken(report: dict[str, Any]) -> None:
    async with api_server(), server("node-a", "10.201.0.11", 10256):
        program = Program("node-a")
        status = await asyncio.to_thread(program.process.wait, PATIENCE)
        report["refusals"]["port taken"] = (status, program.said())


async def rival(report: dict[str, Any]) -> None:
    """The engine's bridge has the gateway's address too."""
    inside("host", "ip", "addr", "add", "10.244.1.1/24", "dev", "pods-a")
    async with api_server():
        program = Program("node-a")
        report["rival"] = await until(lambda: "inhibit_ipv4" in program.said(), True)
        program.stop()
    inside("host", "ip", "addr", "del", "10.244.1.1/24", "dev", "pods-a")


async def main() -> None:
    linux.mount("tmpfs", "/run", "tmpfs")
    API.parent.mkdir(parents=True)
    report: dict[str, Any] = {}
    build(engine(), NETNS)
    async with AsyncExitStack() as stack:
        for place, address in ENDPOINTS.items():
            await stack.enter_async_context(server(place, address, 8080))
        await alive(report)
        await plain_routes(report)
        refusals(report)
        await unknown(report)
        await port_taken(report)
        await rival(report)
    sys.stdout.write(json.dumps(report))


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except PodwireError as error:
        sys.exit(str(error))
