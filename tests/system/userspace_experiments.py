"""The userspace mode on a node of namespaces: sources, ground, failures, many connections.

Runs in namespaces of its own and prints one JSON object. The argument is the packet filter to use,
or "many" for the connections.
"""

import asyncio
import json
import os
import random
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import uvloop
from msgspec import structs

from podwire import linux
from podwire.kube.objects import EndpointConditions, EndpointSlice
from podwire.proxy import scripts
from podwire.proxy.userspace import ground_rules
from podwire.proxy.userspace.mode import Userspace
from tests.system import userspace_owners
from tests.system.service_world import (
    CLUSTER_IP,
    EXTERNAL_IP,
    FAR,
    LOAD_BALANCER,
    NETNS,
    NODE,
    NODE_PORT,
    OTHER_IP,
    VIEW,
    WEB,
    World,
    ask,
    on_port,
    order,
    send,
    service,
    slice_of,
)

MANY = 8000
BLACK_HOLE = "10.244.1.99"  # an address whose packets are dropped on their way
NODE_OF_NOBODY = "192.168.1.77"

FLUSHES = {
    "nft": {
        "rules": f"nft flush chain inet {ground_rules.TABLE} answers",
        "all rules": f"nft flush table inet {ground_rules.TABLE}",
        "ports": f"nft flush set inet {ground_rules.TABLE} led",
        "table": "nft flush ruleset",
    },
    "iptables": {
        "rules": f"iptables -t mangle -F {ground_rules.CHAINS['PREROUTING']}",
        "all rules": "iptables -t mangle -F",
        "ports": f"iptables -t mangle -F {ground_rules.LED_CHAIN}",
        "table": "iptables -F",
    },
}

# Holds connections open: as many as asked for, from one address.
HOLDER = """
import resource, socket, sys
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
held = []
if sys.argv[1] == "serve":
    with socket.create_server((sys.argv[2], 9000), backlog=4096) as listener:
        print("ready", flush=True)
        while True:
            sock, peer = listener.accept()
            sock.sendall(peer[0].encode())
            held.append(sock)
else:
    seen = set()
    for _ in range(int(sys.argv[3])):
        sock = socket.create_connection((sys.argv[2], 9000), timeout=20)
        seen.add(sock.recv(20))
        held.append(sock)
    print(len(held), *sorted(s.decode() for s in seen), flush=True)
    sys.stdin.read()
"""


def shown(*command: str) -> list[str]:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return [line.strip() for line in done.stdout.splitlines() if line.strip()]


def ground() -> dict[str, list[str]]:
    """Return what the mode may have left in the kernel."""
    rules = shown("nft", "list", "tables") if shutil.which("nft") else []
    if shutil.which("iptables-save"):
        rules += [line for line in shown("iptables-save") if "PODWIRE" in line]
    routes = [line for line in shown("ip", "route", "show", "table", "all") if "proto 80" in line]
    return {"filter": rules, "rules": shown("ip", "rule"), "routes": routes}


def pss() -> int:
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise ValueError("no Pss")


async def sources(mode: Userspace, world: World) -> dict[str, str]:
    """Return whom the endpoint web sees."""
    web = service(node_port=NODE_PORT, external_ips=(EXTERNAL_IP,))
    local = service(
        "local",
        cluster_ip=OTHER_IP,
        node_port=NODE_PORT + 1,
        external_traffic_policy="Local",
    )
    datagrams = service("udp", protocol="UDP")
    failed = await mode.sync(
        order(
            (web, slice_of(WEB)),
            (local, slice_of(WEB, name="local")),
            (datagrams, slice_of(WEB, name="udp", protocol="UDP")),
        )
    )
    found = {
        "failed": str(dict(failed)),
        "pod to ClusterIP": await ask("client", CLUSTER_IP, 80),
        "pod to itself": await ask("web", CLUSTER_IP, 80),
        "pod to NodePort": await ask("client", NODE, NODE_PORT),
        "pod to NodePort, Local": await ask("client", NODE, NODE_PORT + 1),
        "process to ClusterIP": await ask("node", CLUSTER_IP, 80),
        "outside to ClusterIP": await ask("stranger", CLUSTER_IP, 80),
        "outside to NodePort": await ask("stranger", NODE, NODE_PORT),
        "outside to NodePort, Local": await ask("stranger", NODE, NODE_PORT + 1),
        "outside to external IP": await ask("stranger", EXTERNAL_IP, 80),
        "process to external IP": await ask("node", EXTERNAL_IP, 80),
    }
    asker = world.socket("client", socket.SOCK_DGRAM)
    found["datagram to ClusterIP"] = await send(asker, CLUSTER_IP, 80)
    ping = ("nsenter", f"--net={NETNS / 'client'}", "busybox", "ping", "-c1", "-W1")
    for what, address in (("a ClusterIP", CLUSTER_IP), ("the node", NODE)):
        answered = any(" 1 packets received" in line for line in shown(*ping, address))
        found[f"ping {what}"] = "answered" if answered else "silence"
    return found


async def reached(mode: Userspace) -> dict[str, str]:
    """Return who is served where, by source ranges, NodePort addresses and endpoints' conditions."""
    found: dict[str, str] = {}
    ranges = ("192.168.1.128/25", f"{FAR}/32")
    balanced = service(
        load_balancer=LOAD_BALANCER, node_port=NODE_PORT, load_balancer_source_ranges=ranges
    )
    await mode.sync(order((balanced, slice_of(WEB))))
    for place in ("stranger", "far", "client", "node"):
        found[f"{place} to load balancer"] = await ask(place, LOAD_BALANCER, 80)
    found["client to NodePort"] = await ask("client", NODE, NODE_PORT)

    bridge = IPv4Address("10.244.1.1")
    ranged = replace(VIEW.settings, node_port_addresses=(IPv4Network("10.244.0.0/16"),))
    view = replace(VIEW, addresses=(*VIEW.addresses, bridge), settings=ranged)
    plain = service(node_port=NODE_PORT, external_ips=(EXTERNAL_IP,))
    await mode.sync(order((plain, slice_of(WEB)), view=view))
    found["NodePort on another address"] = await ask("client", str(bridge), NODE_PORT)
    found["NodePort not on the primary one"] = await ask("client", NODE, NODE_PORT)

    # What is somebody's own, as a node's or here a pod's, is taken from it by one port only.
    borrowed = service(external_ips=(FAR,))
    await mode.sync(order((borrowed, slice_of(WEB))))
    found["an external IP that another has"] = await ask("client", FAR, 80)
    found["the other, by that address"] = await ask("client", FAR, 8080)
    await mode.sync(order((borrowed, slice_of())))
    found["an external IP that another has, no endpoint"] = await ask("client", FAR, 80)
    found["the other, then"] = await ask("client", FAR, 8080)

    ending = EndpointConditions(ready=False, serving=True, terminating=True)
    published = EndpointConditions(ready=True, serving=False, terminating=True)
    for what, conditions in (("ending", ending), ("published", published)):
        only = _with(slice_of(WEB), conditions)
        await mode.sync(order((plain, only)))
        found[f"only one that is {what}"] = await ask("client", CLUSTER_IP, 80)
    both = _with(slice_of(WEB, FAR), ending)
    await mode.sync(order((plain, both)))
    found["one that is ending beside a ready one"] = await ask("client", CLUSTER_IP, 80)
    await mode.sync(order((plain, slice_of())))
    for place, address in (("client", CLUSTER_IP), ("stranger", EXTERNAL_IP), ("node", NODE)):
        port = NODE_PORT if address == NODE else 80
        found[f"no endpoint, {place}"] = await ask(place, address, port)
    return found


async def one_port_for_two(world: World, mode: Userspace) -> dict[str, str]:
    """Ask two Services from one port of a pod at once: both see the pod, one on another port."""
    both = [
        (service(name, protocol="UDP", cluster_ip=ip), slice_of(WEB, name=name, protocol="UDP"))
        for name, ip in (("a", CLUSTER_IP), ("b", OTHER_IP))
    ]
    await mode.sync(order(*both))
    asker = world.socket("client", socket.SOCK_DGRAM)
    found = {
        "first": await send(asker, CLUSTER_IP, 80),
        "second": await send(asker, OTHER_IP, 80),
    }
    changed = [m.value for m in mode.metrics() if "source_ports_changed" in m.name]
    return found | {"on another port": str(changed[0])}


async def moved(world: World, mode: Userspace) -> list[str]:
    """Return who answers one socket while the endpoint of its flow goes, and when none is left."""
    svc = service(protocol="UDP")
    asker = world.socket("client", socket.SOCK_DGRAM)
    answers: list[str] = []
    for endpoints in ((WEB,), (WEB, FAR), (FAR,), ()):
        await mode.sync(order((svc, slice_of(*endpoints, protocol="UDP"))))
        answers.append(await send(asker, CLUSTER_IP, 80))
    return answers


async def port_taken(mode: Userspace) -> dict[str, Any]:
    """Have a process of the node hold a NodePort, and let it go."""
    wanted = order(
        (service(node_port=NODE_PORT), slice_of(WEB)),
        (service("other", cluster_ip=OTHER_IP), slice_of(WEB, name="other")),
    )
    with socket.create_server((NODE, NODE_PORT)):
        failed = await mode.sync(wanted)
        others = await ask("client", OTHER_IP, 80), await ask("client", CLUSTER_IP, 80)
    again = await mode.sync(wanted)
    return {
        "failed": {str(key): reason for key, reason in failed.items()},
        "others": others,
        "again": dict(again),
        "then": await ask("client", NODE, NODE_PORT),
    }


async def black_hole(mode: Userspace) -> dict[str, Any]:
    """Return what Services meet while one has an endpoint that swallows everything."""
    shown("ip", "route", "add", BLACK_HOLE, "via", NODE_OF_NOBODY)
    await mode.sync(
        order(
            (service(), slice_of(BLACK_HOLE)),
            (service("other", cluster_ip=OTHER_IP), slice_of(WEB, name="other")),
        )
    )
    async with asyncio.TaskGroup() as tasks:
        stuck = [tasks.create_task(ask("client", CLUSTER_IP, 80, within=1.0)) for _ in range(50)]
        others = {await ask("client", OTHER_IP, 80) for _ in range(50)}
    await mode.sync(order((service(), slice_of(BLACK_HOLE, WEB))))
    both = {await ask("client", CLUSTER_IP, 80, within=3.0) for _ in range(6)}
    return {
        "stuck": sorted({task.result() for task in stuck}),
        "others": sorted(others),
        "with another endpoint": sorted(both),
    }


async def many(mode: Userspace) -> dict[str, Any]:
    """Hold very many connections open at once."""
    svc = service(port=9000)
    await mode.sync(order((svc, on_port(slice_of(WEB), 9000))))

    async def start(place: str, *words: str) -> asyncio.subprocess.Process:
        enter = (f"--net={NETNS / place}", sys.executable, "-c", HOLDER, *words)
        pipe = asyncio.subprocess.PIPE
        return await asyncio.create_subprocess_exec("nsenter", *enter, stdin=pipe, stdout=pipe)

    server = await start("web", "serve", WEB)
    assert server.stdout is not None
    await server.stdout.readline()
    few = await start("client", "ask", CLUSTER_IP, "100")
    assert few.stdout is not None
    await few.stdout.readline()
    before = pss()
    holder = await start("client", "ask", CLUSTER_IP, str(MANY - 100))
    assert holder.stdout is not None
    said = (await holder.stdout.readline()).decode().split()
    grown = pss() - before
    found = {
        "held": sum(mode.connections().values()),
        "seen": said[1:],
        "bytes each": grown / (MANY - 100),
        "pipes": mode.pipes,
    }
    for process in (holder, few):
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()
    server.kill()
    await server.wait()
    return found


async def without_files(mode: Userspace) -> dict[str, Any]:
    """Have no descriptor left for new listeners: what is served goes on, the new one is named."""
    await mode.sync(order((service(), slice_of(WEB))))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (_limit_with_free(40), hard))
    try:
        more = [
            (service(f"s{n}", cluster_ip=f"10.96.9.{n}"), slice_of(WEB, name=f"s{n}"))
            for n in range(1, 100)
        ]
        failed = await mode.sync(order(*more, whole=False))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    # The clients are of this process too, so only now can one ask.
    served = await ask("client", CLUSTER_IP, 80)
    again = await mode.sync(order(*more, whole=False))
    return {
        "failed": bool(failed) and len(failed) < len(more),
        "reasons": sorted({r.partition("] ")[2].partition(":")[0] for r in failed.values()}),
        "served": served,
        "again": dict(again),
        "then": await ask("client", "10.96.9.99", 80),
    }


async def flushed(mode: Userspace, tool: str) -> dict[str, Any]:
    """Have somebody take the ground away; the next look finds it, the next order lays it again."""
    wanted = order((service(external_ips=(EXTERNAL_IP,)), slice_of(WEB)))
    await mode.sync(wanted)
    found: dict[str, Any] = {"before": await mode.intact()}
    for what, command in (
        ("rule", "ip rule del pref 80"),
        ("route", "ip route del local 10.96.0.0/12 table local"),
        *FLUSHES[tool].items(),
    ):
        shown(*command.split())
        found[what] = await mode.intact()
        await mode.sync(wanted)
        found[f"{what}, then"] = [
            await mode.intact(),
            await ask("client", CLUSTER_IP, 80),
            await ask("stranger", EXTERNAL_IP, 80),
        ]
    return found


def _limit_with_free(wanted: int) -> int:
    """Return the limit of open files under which *wanted* more can be opened."""
    present = {int(each.name) for each in Path("/proc/self/fd").iterdir()}
    limit = 0
    while wanted:
        wanted -= limit not in present
        limit += 1
    return limit


def _with(slice_: EndpointSlice, conditions: EndpointConditions) -> EndpointSlice:
    """Return *slice_* with other conditions of its first endpoint."""
    assert slice_.endpoints
    first, *others = slice_.endpoints
    return structs.replace(
        slice_, endpoints=(structs.replace(first, conditions=conditions), *others)
    )


async def main(tool: str) -> None:
    loop = asyncio.get_running_loop()
    report: dict[str, Any] = {}
    with World() as world:
        async with asyncio.TaskGroup() as tasks:
            await world.serve(tasks)
            mode = Userspace.with_relay(loop, chance=random.random)
            report["before"] = ground()
            report["sources"] = await sources(mode, world)
            report["laid"] = ground()
            report["kept"] = mode.keeps_source
            report["reached"] = await reached(mode)
            report["flushed"] = await flushed(mode, tool)
            report["a process everywhere"] = await userspace_owners.a_process_everywhere(mode)
            report["owned"] = await userspace_owners.owned(world, mode)
            report["one port for two"] = await one_port_for_two(world, mode)
            report["moved"] = await moved(world, mode)
            if tool == "nft":
                report["port taken"] = await port_taken(mode)
                report["black hole"] = await black_hole(mode)
                report["without files"] = await without_files(mode)
            await mode.close(cleanup=False)
            successor = Userspace.with_relay(loop, chance=random.random)
            report["successor"] = await sources(successor, world)
            await successor.close(cleanup=True)
            report["after"] = ground()
            await successor.close(cleanup=True)
            world.stop()
    sys.stdout.write(json.dumps(report))


async def hold_many() -> None:
    """Hold very many connections, on the loop that the product has."""
    with World():
        mode = Userspace.with_relay(asyncio.get_running_loop(), chance=random.random)
        sys.stdout.write(json.dumps({"many": await many(mode)}))
        await mode.close(cleanup=True)


@contextmanager
def only(programs: Iterable[str]) -> Generator[str]:
    """Give a search path on which there are only *programs*."""
    with tempfile.TemporaryDirectory() as folder:
        for name in programs:
            found = shutil.which(name)
            if found:
                Path(folder, name).symlink_to(found)
        yield folder


def run(what: str) -> None:
    """Make the experiments *what*, where no other packet filter is."""
    linux.allow_many_descriptors()
    wanted = ["ip", "mount", "nsenter", "busybox"]
    if what != "iptables":
        wanted.append("nft")
    else:
        wanted += ["iptables", "iptables-save", "iptables-restore"]
    with only(wanted) as path:
        os.environ["PATH"] = path
        scripts.SBIN = ""
        if what == "many":
            uvloop.run(hold_many())
        else:
            asyncio.run(main(what))


if __name__ == "__main__":
    run(sys.argv[1])
