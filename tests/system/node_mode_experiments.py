"""Run inside unshare by test_node_modes.py: kube-proxy's modes of two node programs (node_world.py).

Prints one JSON object with what each experiment found.
"""

import asyncio
import json
import sys
from contextlib import AsyncExitStack
from typing import Any

from podwire import linux
from podwire.emulator.network import build
from podwire.errors import PodwireError
from podwire.kube.client import Client
from podwire.kube.names import Key
from podwire.kube.objects import ConfigMap, EndpointSlice, Node, Pod, Service
from tests.system.node_world import (
    API,
    ENDPOINTS,
    NETNS,
    NODE_PORT,
    SERVICE,
    Program,
    api_server,
    ask,
    engine,
    inside,
    page,
    pings,
    proxy_file,
    server,
    slice_of,
    until,
)

FILE = Key("kube-system", "kube-proxy")
LOCAL, LOCAL_PORT = "10.96.0.81", 30081
EMPTY = "10.96.0.83"
OUTSIDE, STRANGER = "10.96.0.82", "10.201.0.200"

NO_PROGRAMS = """
import os
os.environ["PATH"] = "/nowhere"
"""


async def several(place: str, address: str, port: int) -> list[str]:
    return sorted({await ask(place, address, port) for _ in range(30)})


async def serve_more(client: Client) -> None:
    """Make Services: one that keeps the source of clients, one of no pods, one of nothing."""
    spec: dict[str, Any] = {"clusterIP": EMPTY, "ports": [{"port": 80}]}
    await client.create_raw(Service, "default", {"metadata": {"name": "empty"}, "spec": spec})
    for name, address, spec, endpoint in (
        (
            "local",
            LOCAL,
            {"type": "NodePort", "externalTrafficPolicy": "Local"},
            (ENDPOINTS["web-a"], "node-a"),
        ),
        ("outside", OUTSIDE, {}, (STRANGER, "")),
    ):
        port: dict[str, Any] = {"port": 80, "targetPort": 8080}
        if name == "local":
            port["nodePort"] = LOCAL_PORT
        service = {"clusterIP": address, "ports": [port], **spec}
        meta = {"metadata": {"name": name}}
        await client.create_raw(Service, "default", {**meta, "spec": service})
        one: dict[str, Any] = {"addresses": [endpoint[0]], "conditions": {"ready": True}}
        if endpoint[1]:
            one["nodeName"] = endpoint[1]
        labels = {"kubernetes.io/service-name": name}
        await client.create_raw(
            EndpointSlice,
            "default",
            {
                "metadata": {"name": f"{name}-1", "labels": labels},
                "addressType": "IPv4",
                "ports": [{"port": 8080}],
                "endpoints": [one],
            },
        )


async def traffic() -> dict[str, object]:
    found: dict[str, object] = {
        "pod to a ClusterIP": await several("client-a", SERVICE, 80),
        "pod of the other node to a ClusterIP": await several("client-b", SERVICE, 80),
        "pod to itself": await several("web-a", LOCAL, 80),
        "node to a ClusterIP": await several("node-a", SERVICE, 80),
        "*a port that the ClusterIP has not": await ask("client-a", SERVICE, 81, within=1.5),
        "pod to a Service without endpoints": await ask("client-a", EMPTY, 80, within=1.5),
        "*an unused ClusterIP": await ask("client-a", "10.96.77.7", 80),
        "pod pings a ClusterIP": pings("client-a", SERVICE),
        "pod to elsewhere": await ask("client-a", "198.51.100.1", 80),
        "NodePort from the host": await several("host", "10.201.0.11", NODE_PORT),
        "NodePort of the other node": await several("client-a", "10.201.0.12", NODE_PORT),
        "*NodePort on 127.0.0.1": await several("node-a", "127.0.0.1", NODE_PORT),
        "policy Local from the host": await several("host", "10.201.0.11", LOCAL_PORT),
        "policy Local, no endpoint": await ask("host", "10.201.0.12", LOCAL_PORT),
        "an endpoint outside": await several("client-a", OUTSIDE, 80),
        "*past the fence": await ask("client-a", STRANGER, 8080),
    }
    inside("host", "ip", "route", "add", "10.96.0.0/12", "via", "10.201.0.11")
    found["the host to a ClusterIP"] = await several("host", SERVICE, 80)
    inside("host", "ip", "route", "del", "10.96.0.0/12")
    return found


def left(node: str) -> list[str]:
    """Return what modes have programmed on *node*, by what only they have."""
    tables = inside(node, "nft", "list", "tables")
    saved = inside(node, "iptables-save")
    anyip = inside(node, "ip", "route", "show", "table", "local", "10.96.0.0/12")
    signs = (
        ("nftables", "kube-proxy" in tables),
        ("iptables", "KUBE-SERVICES" in saved),
        ("userspace", "podwire-userspace" in tables or bool(anyip)),
    )
    return [name for name, there in signs if there]


async def notes(client: Client) -> dict[str, str]:
    node = await client.get(Node, Key("", "node-a"))
    found = {n.removeprefix("podwire.dev/"): v for n, v in node.metadata.annotations.items()}
    return {name: value for name, value in found.items() if name != "backend"}


async def write(client: Client, text: str) -> None:
    await client.patch(ConfigMap, FILE, {"data": {"config.conf": text}})


def config(mode: str) -> str:
    return str(proxy_file(mode)["data"]["config.conf"])


async def each_mode(report: dict[str, Any]) -> None:
    async with api_server("userspace") as client:
        await serve_more(client)
        for mode in ("userspace", "nftables", "iptables"):
            await write(client, config(mode))
            programs = [Program(node) for node in ("node-a", "node-b")]
            healthy = [await program.healthy() for program in programs]
            # What the mode before has left is removed once this one serves.
            cleaned = await until(lambda: left("node-a"), [mode])
            report[mode] = {
                "healthy": healthy,
                "cleaned": cleaned,
                "traffic": await traffic(),
                "noted": await until(
                    lambda: notes(client),
                    {"proxy-mode": mode, "pod-network": "switched", "source": "kept"},
                ),
                "ended": [program.stop() for program in programs],
            }
            report[mode]["said"] = programs[0].said()


async def switching(report: dict[str, Any]) -> None:
    """Switch a node that serves, without ending it: by the file and the deletion of the pod."""
    async with api_server("userspace") as client:
        await client.patch(EndpointSlice, Key("default", "web-svc-1"), slice_of(ENDPOINTS["web-a"]))
        program = Program("node-a")
        await program.healthy()
        found: dict[str, Any] = {}
        report["switching"] = found
        told = f"To use it: kubectl -n {FILE.namespace} delete pod kube-proxy-node-a"
        for number, mode in enumerate(("nftables", "iptables", "userspace"), 1):
            await make_pod(client)
            await write(client, config(mode))
            await until(lambda: program.said().count(told), number)
            await client.delete(Pod, Key(FILE.namespace, "kube-proxy-node-a"), grace=0)
            found[mode] = [
                await until(lambda: left("node-a"), [mode]),
                await page("host", "10.201.0.11", 10249, "/proxyMode"),
                await several("client-a", SERVICE, 80),
            ]
        await make_pod(client)
        await write(client, "mode: nonsense\n")
        await client.delete(Pod, Key(FILE.namespace, "kube-proxy-node-a"), grace=0)
        found["broken"] = await until(lambda: "the mode stays userspace" in program.said(), True)
        by_node = ["web-a sees 10.244.1.1"]
        found["served on"] = await until(lambda: several("client-a", SERVICE, 80), by_node)
        program.kill()
        # Started again, as a container is: the file is still broken.
        program = Program("node-a", PODWIRE_PROXY_MODE="iptables")
        found["after a restart"] = [await program.healthy(), left("node-a")]
        program.stop()
        found["said"] = program.said()

    # Another cluster takes the place of that one.
    program = Program("node-a")
    await until(lambda: "waiting for ConfigMap kube-system/kube-proxy" in program.said(), True)
    async with api_server("nftables"):
        await program.healthy()
        first = await until(lambda: left("node-a"), ["nftables"])
    # Long enough for the node to miss the first one.
    await asyncio.sleep(0.5)
    async with api_server("iptables"):
        found["another cluster"] = [first, await until(lambda: left("node-a"), ["iptables"])]
    program.stop()


async def make_pod(client: Client) -> None:
    spec = {"nodeName": "node-a", "containers": [{"name": "kube-proxy", "image": "x"}]}
    pod = {"metadata": {"name": "kube-proxy-node-a"}, "spec": spec}
    await client.create_raw(Pod, FILE.namespace, pod)
    # Not before the node has seen it: a deletion is a change of what is there.
    await asyncio.sleep(0.3)


async def lacking(report: dict[str, Any]) -> None:
    """A mode whose program is not there ends the node with the reason."""
    async with api_server("nftables"):
        program = Program("node-a", prelude=NO_PROGRAMS)
        await until(lambda: program.process.poll() is not None, True)
        report["lacking"] = [program.stop(), program.said()]


async def main() -> None:
    linux.mount("tmpfs", "/run", "tmpfs")
    API.parent.mkdir(parents=True)
    report: dict[str, Any] = {}
    build(engine(), NETNS)
    inside("node-a", "sysctl", "-w", "net.ipv4.conf.all.route_localnet=1")
    async with AsyncExitStack() as stack:
        for place, address in (*ENDPOINTS.items(), ("stranger", STRANGER)):
            await stack.enter_async_context(server(place, address, 8080))
        await each_mode(report)
        await switching(report)
        await lacking(report)
    sys.stdout.write(json.dumps(report))


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except PodwireError as error:
        sys.exit(str(error))
