"""Run inside unshare by test_proxy_iptables.py: the iptables mode, its rules in a kernel, packets.

Prints one JSON object with what each experiment found. The argument is the program's name.

                 node 10.244.1.1, 192.168.1.10, 10.244.2.1
    web 10.244.1.2 == routed veths == client 10.244.1.3, far 10.244.2.3, stranger 192.168.1.99
"""

import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, suppress
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path
from socket import AF_INET, SOCK_DGRAM
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from podwire.errors import MachineError
from podwire.kube.names import Key
from podwire.linux import socket_in
from podwire.proxy.iptables.mode import Iptables
from podwire.proxy.iptables.programs import Programs, in_use, run
from podwire.proxy.mode import Order, SyncFailed
from podwire.proxy.node import NodeView
from podwire.proxy.pages import Metric
from podwire.proxy.table import ServicePort
from podwire.testing.clock import FakeClock
from tests.system.node_world import NETNS, ask, server
from tests.unit.proxy.written import node, order, ports

PLACES = {
    "web": "10.244.1.2",
    "client": "10.244.1.3",
    "far": "10.244.2.3",
    "stranger": "192.168.1.99",
}
NODE = "192.168.1.10"
CLUSTER_IP, BALANCER, EXTERNAL = "10.96.10.10", "203.0.113.10", "198.51.100.7"
HERE, AWAY = "10.244.1.2:8080@node-1", "10.244.2.3:8080@node-2"


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def build() -> None:
    """Make the node (this namespace) and the others, each behind a veth of its own."""
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)
    NETNS.mkdir(parents=True)
    ip("link", "set", "lo", "up")
    for number, (place, address) in enumerate(PLACES.items()):
        gateway = NODE if place == "stranger" else address.rpartition(".")[0] + ".1"
        ip("netns", "add", place)
        ip("link", "add", f"v{number}", "type", "veth", "peer", "name", "eth0", "netns", place)
        ip("link", "set", f"v{number}", "up")
        ip("address", "add", f"{gateway}/32", "dev", f"v{number}")
        ip("route", "add", address, "dev", f"v{number}", "src", gateway)
        inner = ("-n", place)
        ip(*inner, "link", "set", "lo", "up")
        ip(*inner, "link", "set", "eth0", "up")
        ip(*inner, "address", "add", f"{address}/32", "dev", "eth0")
        ip(*inner, "route", "add", gateway, "dev", "eth0")
        ip(*inner, "route", "add", "default", "via", gateway)
    # So that a node's process, too, has a way to addresses that are on no machine.
    ip("route", "add", "default", "via", PLACES["stranger"], "dev", "v3", "src", NODE)
    (NETNS / "node").touch()
    subprocess.run(["mount", "--bind", "/proc/self/ns/net", NETNS / "node"], check=True)
    for name, value in {
        "ip_forward": 1,
        "icmp_ratelimit": 0,
        "conf/all/rp_filter": 0,
        "conf/default/rp_filter": 0,
    }.items():
        Path(f"/proc/sys/net/ipv4/{name}").write_text(str(value))


async def saved() -> list[str]:
    """Return all rules but those of other programs, in an order that does not depend on the past."""
    lines = (await _all_tables()).splitlines()
    return sorted(re.sub(r"\[\d+:\d+\]", "", line) for line in lines if "KUBE-" in line)


async def _all_tables() -> str:
    return await Programs(PROGRAM, await run([PROGRAM, "--version"])).save()


def mode(**more: Any) -> Iptables:
    return Iptables(FakeClock(), programs=(PROGRAM,), **more)


def whole(*services: tuple[ServicePort, ...], view: NodeView | None = None) -> Order:
    return Order(view or node(), order(*services), whole=True)


async def listing() -> dict[str, object]:
    """Return what a user sees, the column of protocols in words and runs of spaces as one."""
    programmed = mode()
    services = (
        ports("10.244.0.5:6443", name="kubernetes", port="https=443", cluster_ip="10.96.0.1"),
        ports(
            "10.244.1.2:8080@node-1 10.244.1.3:8080@node-1 10.244.2.3:8080@node-2",
            port="80:30080",
        ),
        ports(
            name="lb",
            port="http=80",
            cluster_ip="10.96.5.5",
            load_balancer=(BALANCER,),
            load_balancer_source_ranges=("192.168.0.0/16",),
        ),
    )
    await programmed.sync(whole(*services))
    found: dict[str, object] = {}
    for chain in ("KUBE-SERVICES", "KUBE-SVC-LOLE4ISW44XBNF3G", "KUBE-NODEPORTS"):
        text = await run([PROGRAM, "-t", "nat", "-L", chain, "-n"])
        words = (" ".join(line.split()) for line in text.splitlines()[2:])
        names = {"6": "tcp", "17": "udp", "0": "all"}
        found[chain] = [
            " ".join([target, names.get(protocol, protocol), *rest])
            for target, protocol, *rest in (line.split(" ") for line in words)
        ]
    for hook in ("INPUT", "FORWARD", "OUTPUT"):
        text = await run([PROGRAM, "-t", "filter", "-L", hook, "-n"])
        found[hook] = [line.split()[0] for line in text.splitlines()[2:]]
    forward = await run([PROGRAM, "-t", "filter", "-L", "FORWARD", "-n"])
    found["portals"] = " ".join(forward.splitlines()[4].split()[5:])
    return found


async def seen(client: str, address: str, port: int, *, times: int = 12) -> list[str]:
    found: set[str] = set()
    for _ in range(times):
        answer = await ask(client, address, port, within=0.4 if found == {"silence"} else 1.6)
        found.add(answer)
        if answer == "silence":
            break
    return sorted(found)


async def traffic() -> dict[str, object]:
    """Return what each kind of client meets on each kind of address."""
    outside: dict[str, Any] = {"load_balancer": (BALANCER,), "external_ips": (EXTERNAL,)}
    cases: Mapping[str, tuple[tuple[ServicePort, ...], NodeView]] = {
        "cluster": (ports(f"{HERE} {AWAY}", port="80:30080", **outside), node()),
        "local": (
            ports(f"{HERE} {AWAY}", port="80:30080", external_traffic_policy="Local", **outside),
            node(),
        ),
        "nothing here": (
            ports(
                AWAY,
                port="80:30080",
                external_traffic_policy="Local",
                internal_traffic_policy="Local",
                **outside,
            ),
            node(),
        ),
        "nothing": (ports("", port="80:30080", **outside), node()),
        "ranges": (
            ports(
                HERE,
                port="80:30080",
                load_balancer_source_ranges=("10.244.1.3/32",),
                **outside,
            ),
            node(),
        ),
        "masquerade all": (ports(HERE), node(masquerade_all=True)),
        "no localhost": (ports(HERE, port="80:30080"), node(localhost_node_ports=False)),
        "another address": (ports(HERE, port="80:30080"), node_ports_at("10.244.0.0/16")),
    }
    found: dict[str, object] = {}
    programmed = mode()
    for case, (service, view) in cases.items():
        await programmed.sync(whole(service, view=view))
        tried: dict[str, list[str]] = {}
        for client in ("client", "node", "stranger"):
            targets = {
                "ClusterIP": (CLUSTER_IP, 80),
                "NodePort": (NODE, 30080),
                "balancer": (BALANCER, 80),
                "external": (EXTERNAL, 80),
            }
            if case in ("masquerade all", "no localhost", "another address"):
                targets = {k: v for k, v in targets.items() if k in WORTH[case]}
            if client == "node":
                targets["localhost"] = ("127.0.0.1", 30080)
            for target, (address, port) in targets.items():
                tried[f"{client} to {target}"] = await seen(client, address, port)
        if case == "cluster":
            tried["hairpin"] = await seen("web", CLUSTER_IP, 80)
        found[case] = tried
    return found


WORTH = {
    "masquerade all": ("ClusterIP",),
    "no localhost": ("NodePort",),
    "another address": ("NodePort",),
}


def node_ports_at(*ranges: str) -> NodeView:
    return node(node_port_addresses=tuple(map(IPv4Network, ranges)))


async def affinity() -> dict[str, object]:
    """Return how many endpoints one client meets with and without affinity, over a restore."""
    programmed = mode()
    sticky: dict[str, Any] = {"session_affinity": "ClientIP"}
    await programmed.sync(whole(ports(f"{HERE} {AWAY}", **sticky)))
    first = await seen("client", CLUSTER_IP, 80, times=20)
    await programmed.sync(whole(ports(f"{HERE} {AWAY} 10.244.1.9:8080@node-1", **sticky)))
    again = await seen("client", CLUSTER_IP, 80, times=20)
    return {"endpoints": len(first), "same after a sync": first == again}


async def datagrams() -> dict[str, object]:
    """Return where the datagrams of one socket go as the endpoint is replaced."""
    programmed = mode()
    to = (CLUSTER_IP, 53)
    found: list[str] = []
    with ExitStack() as stack:
        sockets = {
            place: stack.enter_context(socket_in(NETNS / place, AF_INET, SOCK_DGRAM))
            for place in ("client", "web", "far")
        }
        for place in ("web", "far"):
            sockets[place].bind((PLACES[place], 5353))
            sockets[place].setblocking(False)
        for endpoints in ("10.244.1.2:5353@node-1", "10.244.2.3:5353@node-2"):
            await programmed.sync(whole(ports(endpoints, port="53/UDP")))
            sockets["client"].sendto(endpoints.encode(), to)
            for place in ("web", "far"):
                with suppress(BlockingIOError):
                    found.append(f"{place} hears {sockets[place].recv(100).decode()}")
        await programmed.sync(whole(ports("10.244.1.2:5353@node-1", port="53/UDP")))
        sockets["client"].sendto(b"first", to)
        counted = programmed.connections()
    await programmed.close(cleanup=True)
    return {
        "heard": found,
        "flows": [f"{name} {backend} {count}" for (name, _, backend), count in counted.items()],
    }


async def syncs() -> dict[str, object]:
    """Return what syncs write, delete and put back."""
    programmed = mode()
    await programmed.close(cleanup=True)
    found: dict[str, object] = {"clean": await saved()}
    services = [ports(HERE, name=f"s{n}", cluster_ip=f"10.96.0.{n}") for n in range(1, 4)]
    await programmed.sync(whole(*services))
    scratch = await saved()
    await programmed.sync(whole(*services))
    found["twice is once"] = await saved() == scratch
    moved = ports(AWAY, name="s2", cluster_ip="10.96.0.2")
    await programmed.sync(Order(node(), order(moved)))
    of_s2 = [rule for rule in await saved() if "default/s2" in rule]
    found["of the old endpoint"] = [rule for rule in of_s2 if "10.244.1.2:8080" in rule]
    found["of the new endpoint"] = sum("10.244.2.3:8080" in rule for rule in of_s2)
    await programmed.sync(Order(node(), {Key("default", "s2"): ()}))
    found["of a deleted Service"] = [rule for rule in await saved() if "default/s2" in rule]
    await programmed.sync(whole(*services))
    await programmed.sync(whole(*services[:2], view=node(masquerade_all=True)))
    found["gone as the node changed"] = [rule for rule in await saved() if "default/s3" in rule]
    await programmed.sync(whole(*services))
    found["node as before"] = await saved() == scratch
    found["intact"] = await programmed.intact()
    await run([PROGRAM, "-t", "nat", "-F"])
    found["intact after -F"] = await programmed.intact()
    await programmed.sync(whole(*services))
    found["after -F, synced"] = await saved() == scratch
    await run([PROGRAM, "-t", "mangle", "-X"])
    found["intact without a canary"] = await programmed.intact()
    await programmed.sync(whole(*services))
    # A proxy that comes back finds chains of a Service that went meanwhile, and rules of others.
    await run([PROGRAM, "-A", "FORWARD", "-s", "192.0.2.1", "-j", "DROP"])
    await mode().sync(whole(*services[1:]))
    found["after a restart"] = [rule for rule in await saved() if "default/s1" in rule]
    found["jumps, after all that"] = len([r for r in await saved() if re.match("-A [A-Z]+ ", r)])
    before = route_localnet()
    await mode().close(cleanup=True)
    found["route_localnet"] = [before, route_localnet()]
    found["cleaned up"] = await saved()
    found["rules of others"] = "192.0.2.1" in await _all_tables()
    await run([PROGRAM, "-D", "FORWARD", "-s", "192.0.2.1", "-j", "DROP"])
    return found


def route_localnet() -> str:
    return Path("/proc/sys/net/ipv4/conf/all/route_localnet").read_text().strip()


async def large() -> dict[str, object]:
    """Return what is different above so many endpoints."""
    clock = FakeClock()
    programmed = Iptables(clock, large=2, programs=(PROGRAM,))
    clock.advance(100)
    services = [ports(f"{HERE} {AWAY}", name=f"s{n}", cluster_ip=f"10.96.0.{n}") for n in (1, 2)]
    await programmed.sync(whole(*services))
    found: dict[str, object] = {
        "comments": [r for r in await saved() if "->" in r],
    }
    before = await chains("KUBE-SEP-")
    await programmed.sync(Order(node(), order(ports(HERE, name="s1", cluster_ip="10.96.0.1"))))
    found["deleted at once"] = before - await chains("KUBE-SEP-")
    clock.advance(31)
    await programmed.sync(Order(node(), order(ports(AWAY, name="s1", cluster_ip="10.96.0.1"))))
    found["deleted later"] = before - await chains("KUBE-SEP-")
    await programmed.close(cleanup=True)
    return found


async def chains(start: str) -> int:
    return sum(line.startswith(f":{start}") for line in await saved())


async def failures() -> dict[str, object]:
    """Return what is said, and whether the next whole order repairs it."""
    programmed = mode()
    service = ports(HERE)
    await programmed.sync(whole(service))
    good = await saved()
    found: dict[str, object] = {}
    bad = replace(service[0], port=70000)
    try:
        await programmed.sync(Order(node(), order((bad,))))
    except SyncFailed as error:
        found["refused"] = str(error)
    found["left alone"] = await saved() == good
    await programmed.sync(whole(service))
    found["repaired"] = await saved() == good
    found["failures"] = [
        m.value
        for m in programmed.metrics()
        if isinstance(m, Metric) and m.name.endswith("restore_failures_total")
    ]
    try:
        await Iptables(FakeClock(), programs=("iptables-of-nobody",)).sync(whole())
    except MachineError as error:
        found["missing"] = str(error)
    await programmed.close(cleanup=True)
    return found


async def many() -> dict[str, object]:
    """Return which variant serves more Services than a message of nf_tables holds without root."""
    programmed = Iptables(FakeClock(), programs=(PROGRAM, "iptables-legacy"))
    services = [
        ports(HERE, name=f"s{n}", cluster_ip=f"10.96.{n // 200}.{n % 200 + 1}") for n in range(300)
    ]
    with suppress(SyncFailed):
        await programmed.sync(whole(*services))
    await programmed.sync(whole(*services))
    found = {used.variant: (await used.save()).count(":KUBE-SVC-") for used in await in_use()}
    intact = await programmed.intact()
    await programmed.close(cleanup=True)
    left = sum([(await used.save()).count("KUBE-") for used in await in_use()])
    return {"chains": {v: n for v, n in found.items() if n}, "intact": intact, "left": left}


PASSED_ON = """#!/bin/sh
exec {} "$@"
"""

# Stands for iptables-restore on a kernel whose xt_sctp is missing.
WITHOUT_SCTP = """#!/bin/sh
script=$(cat)
case $script in
*sctp*) echo "Extension sctp revision 0 not supported, missing kernel module?" >&2; exit 2 ;;
esac
printf '%s\\n' "$script" | exec {} "$@"
"""


async def without_sctp() -> dict[str, object]:
    """Return what is served where rules for SCTP cannot be written, and where they can."""
    with tempfile.TemporaryDirectory() as folder:
        _write_old_programs(Path(folder))
        os.environ["PATH"] += f":{folder}"
        return {
            "without": await _with_sctp_by("iptables-old"),
            "with": await _with_sctp_by(PROGRAM),
        }


def _write_old_programs(folder: Path) -> None:
    for name, text in (("", PASSED_ON), ("-save", PASSED_ON), ("-restore", WITHOUT_SCTP)):
        script = folder / f"iptables-old{name}"
        script.write_text(text.format(f"{PROGRAM}{name}"))
        script.chmod(0o755)


async def _with_sctp_by(program: str) -> dict[str, object]:
    both = ports(HERE, name="both", port="a=80 b=9899/SCTP", cluster_ip="10.96.0.2")
    programmed = Iptables(FakeClock(), programs=(program,))
    failed = await programmed.sync(whole(ports(HERE)))
    failed = {**failed, **await programmed.sync(Order(node(), order(both)))}
    again = await programmed.sync(whole(ports(HERE), both))
    rules = await saved()
    served = ("default/web cluster IP", "default/both:a cluster IP", "default/both:b cluster IP")
    await programmed.close(cleanup=True)
    return {
        "failed": {str(key): reason for key, reason in failed.items()},
        "the same again": again == failed,
        "served": [any(each in rule for rule in rules) for each in served],
        "in the canary": sum("-A KUBE-PROXY-CANARY" in rule for rule in rules),
    }


NAMES = st.sampled_from(["a", "b", "c"])
ENDPOINTS = st.lists(
    st.sampled_from([HERE, AWAY, "10.244.1.3:8080@node-1", "10.244.2.9:8080@node-2,terminating"]),
    unique=True,
    max_size=3,
).map(" ".join)
POLICY = st.sampled_from(["Cluster", "Local"])


@st.composite
def service(draw: st.DrawFn) -> tuple[Key, tuple[ServicePort, ...]]:
    name = draw(NAMES)
    if draw(st.integers(0, 4)) == 0:
        return Key("default", name), ()
    found = ports(
        draw(ENDPOINTS),
        name=name,
        port=draw(st.sampled_from(["80", f"x=80:3008{ord(name) % 10} y=53/UDP"])),
        cluster_ip=f"10.96.0.{ord(name)}",
        internal_traffic_policy=draw(POLICY),
        external_traffic_policy=draw(POLICY),
        load_balancer=draw(st.sampled_from([(), (BALANCER,)])),
        load_balancer_source_ranges=draw(st.sampled_from([(), ("192.168.1.0/24",)])),
        session_affinity=draw(st.sampled_from(["None", "ClientIP"])),
    )
    return Key("default", name), found


# Shrinking would take a minute, and the failure shows the order anyway.
@settings(
    max_examples=15,
    deadline=None,
    database=None,
    suppress_health_check=(HealthCheck.too_slow,),
    phases=[Phase.explicit, Phase.generate],
)
@given(st.lists(st.lists(service(), max_size=2), min_size=1, max_size=5))
def in_any_order(steps: Sequence[Sequence[tuple[Key, tuple[ServicePort, ...]]]]) -> None:
    async def scenario() -> None:
        step_by_step = mode()
        await step_by_step.sync(whole())
        known: dict[Key, tuple[ServicePort, ...]] = {}
        for step in steps:
            known |= dict(step)
            await step_by_step.sync(Order(node(), dict(step)))
        found = await saved()
        await step_by_step.close(cleanup=True)
        await mode().sync(whole(*(found for found in known.values() if found)))
        assert found == await saved(), steps

    asyncio.run(scenario())


async def with_servers() -> dict[str, object]:
    async with AsyncExitStack() as stack:
        for place in ("web", "far"):
            await stack.enter_async_context(server(place, PLACES[place], 8080))
        return {"traffic": await traffic(), "affinity": await affinity(), "udp": await datagrams()}


async def main() -> dict[str, object]:
    found = {"listing": await listing(), **await with_servers()}
    found |= {"syncs": await syncs(), "large": await large(), "many": await many()}
    found["without sctp"] = await without_sctp()
    return found | {"failures": await failures()}


if __name__ == "__main__":
    PROGRAM = sys.argv[1]
    build()
    everything = asyncio.run(main())
    in_any_order()
    json.dump(everything, sys.stdout)
