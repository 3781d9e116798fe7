"""A small cluster of real namespaces for test_capture.py: two nodes, VXLAN, a client, DNS, backends.

Run as `unshare -Urnmp ... python capture_world.py SCENARIO.json`. It knows nothing of podwire's own
runtime: the network is made with ip(8), the relay and the DNS server are forty lines each, so that
only the capture agent and the judge are under test. Prints one JSON object.
"""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Sequence
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from podwire.emulator.trace import heads
from podwire.emulator.trace import request as requests
from podwire.emulator.trace.agent import Order, Point
from podwire.emulator.trace.bpf import compile_filter
from podwire.emulator.trace.clients import FETCH, Execution
from podwire.emulator.trace.snapshot import Snapshot
from podwire.emulator.trace.trace import trace
from podwire.testing.record import Recording, record_at

HERE = Path(__file__).parent
RUN = Path("/run")
AGENT = RUN / "capture.sock"
NODES = {"node-1": 1, "node-2": 2}
PODS = {
    "default/client": ("node-1", "10.244.1.5"),
    "default/web-0": ("node-1", "10.244.1.6"),
    "default/web-1": ("node-2", "10.244.2.6"),
    "kube-system/coredns": ("node-2", "10.244.2.3"),
}
SERVICES = {
    "default/web-svc": "10.96.14.7",
    "kube-system/kube-dns": "10.96.0.10",
}


def netns(where: str) -> str:
    return "/run/netns/" + where.replace("/", "-")


def run(*words: str) -> None:
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)


def batch(lines: Sequence[str], namespace: str = "") -> None:
    inside = ["-n", namespace] if namespace else []
    subprocess.run(["ip", *inside, "-batch", "-"], input="\n".join(lines).encode(), check=True)


def build() -> None:
    run("mount", "-t", "tmpfs", "tmpfs", "/run")
    Path("/run/resolv.conf").write_text(
        "nameserver 10.96.0.10\n"
        "search default.svc.cluster.local svc.cluster.local cluster.local\n"
        "options ndots:5 timeout:1 attempts:2\n"
    )
    run("mount", "--bind", "/run/resolv.conf", "/etc/resolv.conf")
    Path("/run/netns").mkdir()
    names = [*NODES, *(pod.replace("/", "-") for pod in PODS)]
    batch([f"netns add {name}" for name in names])
    batch(["link add br0 type bridge", "link set br0 up", "link set lo up"])
    for node, number in NODES.items():
        batch(
            [
                f"link add un{number} type veth peer name eth0 netns {node}",
                f"link set un{number} master br0 up",
            ]
        )
        other = 3 - number
        batch(
            [
                "link set lo up",
                "link set eth0 up",
                f"address add 192.168.1.{9 + number}/24 dev eth0",
                "link add cni0 type bridge",
                "link set cni0 up",
                f"address add 10.244.{number}.1/24 dev cni0",
                f"link add flannel.1 address 02:00:00:00:00:0{number} type vxlan id 1"
                f" dev eth0 local 192.168.1.{9 + number} dstport 8472 nolearning",
                f"address add 10.244.{number}.0/32 dev flannel.1",
                "link set flannel.1 up",
                f"route add 10.244.{other}.0/24 via 10.244.{other}.0 dev flannel.1 onlink",
                f"neigh add 10.244.{other}.0 lladdr 02:00:00:00:00:0{other} dev flannel.1",
                "route add local 10.96.0.0/12 dev lo",
            ],
            node,
        )
        fdb = f"bridge -n {node} fdb append 02:00:00:00:00:0{other} dev flannel.1 dst"
        run(*fdb.split(), f"192.168.1.{9 + other}")
        inside = ["ip", "netns", "exec", node, "sh", "-c"]
        run(*inside, "echo 1 > /proc/sys/net/ipv4/ip_forward")
    for number, (pod, (node, address)) in enumerate(PODS.items()):
        name = pod.replace("/", "-")
        batch(
            [
                f"link add pod{number} type veth peer name eth0 netns {name}",
                f"link set pod{number} master cni0 up",
            ],
            node,
        )
        batch(
            [
                "link set lo up",
                "link set eth0 up",
                f"address add {address}/24 dev eth0",
                f"route add default via 10.244.{NODES[node]}.1",
            ],
            name,
        )


def objects(scenario: dict[str, Any]) -> Snapshot:
    ready = {"conditions": [{"type": "Ready", "status": "True"}], "phase": "Running"}
    found: list[dict[str, Any]] = []
    for node, number in NODES.items():
        found.append(
            {
                "kind": "Node",
                "metadata": {"name": node},
                "spec": {"podCIDR": f"10.244.{number}.0/24"},
                "status": {
                    "addresses": [{"type": "InternalIP", "address": f"192.168.1.{9 + number}"}]
                },
            }
        )
    for pod, (node, address) in PODS.items():
        namespace, name = pod.split("/")
        app = name.split("-")[0]
        found.append(
            {
                "kind": "Pod",
                "metadata": {"namespace": namespace, "name": name, "labels": {"app": app}},
                "spec": {
                    "nodeName": node,
                    "containers": [{"name": "c", "ports": [{"containerPort": 80}]}],
                },
                "status": {"podIP": address, **ready},
            }
        )
    backends: dict[str, list[str]] = scenario["backends"]
    for service, address in SERVICES.items():
        namespace, name = service.split("/")
        dns = name == "kube-dns"
        port: dict[str, Any] = {"port": 53 if dns else 80, "protocol": "UDP" if dns else "TCP"}
        target = port["port"] if dns else scenario.get("target_port", 80)
        found.append(
            {
                "kind": "Service",
                "metadata": {"namespace": namespace, "name": name},
                "spec": {
                    "clusterIP": address,
                    "selector": scenario.get("selector", {"app": "coredns" if dns else "web"}),
                    "ports": [{**port, "targetPort": target}],
                },
            }
        )
        found.append(
            {
                "kind": "EndpointSlice",
                "metadata": {
                    "namespace": namespace,
                    "name": f"{name}-1",
                    "labels": {"kubernetes.io/service-name": name},
                },
                "addressType": "IPv4",
                "ports": [{"port": target, "protocol": port["protocol"]}],
                "endpoints": [
                    {
                        "addresses": [PODS[pod][1]],
                        "nodeName": PODS[pod][0],
                        "targetRef": {
                            "kind": "Pod",
                            "namespace": pod.split("/")[0],
                            "name": pod.split("/")[1],
                        },
                    }
                    for pod in backends[service]
                ],
            }
        )
    return Snapshot.of(found)


class World:
    """The target of traces: commands run by `ip netns exec`, frames come from the real agent."""

    builtins = True

    def __init__(self, scenario: dict[str, Any]) -> None:
        self.scenario = scenario

    @contextlib.asynccontextmanager
    async def capture(self, points: Sequence[str]) -> AsyncGenerator[Recording]:
        left_out = self.scenario.get("not_captured", [])
        wanted = tuple(
            Point(where, netns(where), f"namespace of {where}")
            for where in points
            if (where in PODS or where in NODES) and where not in left_out
        )
        program = compile_filter(self.scenario.get("filter", "")) or heads.PROGRAM
        async with record_at(Order(wanted, filter=program), path=str(AGENT)) as recording:
            yield recording

    async def exec(self, where: str, argv: Sequence[str]) -> Execution:
        words = list(argv)
        if words[0] == "curl" and self.scenario.get("no_curl"):
            return Execution(127)
        if words[0] == FETCH:
            words[:1] = [sys.executable, "-m", "podwire.emulator.trace.fetch"]
        inside = ["ip", "netns", "exec", netns(where).rpartition("/")[2]]
        process = await asyncio.create_subprocess_exec(
            *inside, *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        try:
            out, err = await process.communicate()
        except asyncio.CancelledError:
            process.kill()
            await process.wait()
            raise
        return Execution(process.returncode or 0, out.decode(), err.decode())

    async def objects(self) -> Snapshot:
        return objects(self.scenario)


def start(where: str, program: str, *words: str) -> "subprocess.Popen[bytes]":
    inside = ["ip", "netns", "exec", netns(where).rpartition("/")[2], sys.executable]
    return subprocess.Popen([*inside, str(HERE / "capture_servers.py"), program, *words])


def serve(scenario: dict[str, Any]) -> None:
    """Start DNS, backends and relays as the scenario wants them, and wait until they listen."""
    relays: dict[str, list[str]] = {}
    actual: dict[str, list[str]] = scenario.get("relays", scenario["backends"])
    for service, pods in actual.items():
        if not pods:
            continue
        dns = service.endswith("kube-dns")
        port = 53 if dns else scenario.get("target_port", 80)
        frontend = f"{SERVICES[service]}:{53 if dns else 80}/{'udp' if dns else 'tcp'}"
        relays[frontend] = [f"{PODS[pod][1]}:{port}" for pod in pods]
    ready: list[Path] = []
    for where, program, argument in [
        ("kube-system/coredns", "dns", json.dumps(SERVICES | scenario.get("records", {}))),
        ("default/web-0", "web", scenario.get("web", "200")),
        ("default/web-1", "web", scenario.get("web", "200")),
        ("node-1", "relay", json.dumps(relays)),
    ]:
        if where in scenario.get("silent", []):
            continue
        mark = RUN / f"{where.replace('/', '-')}.ready"
        start(where, program, argument, str(mark))
        ready.append(mark)
    subprocess.Popen([sys.executable, "-m", "podwire.emulator.trace.agent", str(AGENT)])
    ready.append(AGENT)
    limit = time.monotonic() + 20
    while not all(mark.exists() for mark in ready):
        if time.monotonic() > limit:
            raise TimeoutError(f"not ready: {[str(m) for m in ready if not m.exists()]}")
        time.sleep(0.01)


def damage(scenario: dict[str, Any]) -> None:
    for command in scenario.get("damage", []):
        subprocess.run(command, shell=True, check=True)


def wanted(words: list[str]) -> requests.Request:
    """Return what a scenario's words ask for: one is a URL or HOST:PORT, more are a command."""
    return requests.Command(tuple(words)) if len(words) > 1 else requests.parse(words[0])


async def main(scenario: dict[str, Any]) -> None:
    traced = await trace(
        World(scenario),
        scenario.get("source", "default/client"),
        wanted(scenario["request"]),
        timeout=scenario.get("timeout", 3.0),
    )
    if "pcap" in scenario:
        traced = traced.write(scenario["pcap"])
    sys.stdout.write(
        json.dumps(
            {
                "trace": json.loads(traced.render("json")),
                "table": traced.render("table"),
                "mermaid": traced.render("mermaid"),
                "written": traced.written(),
                "execution": [traced.execution.exit_code, traced.execution.stderr],
            }
        )
    )


if __name__ == "__main__":
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    chosen = json.loads(sys.argv[1])
    assert IPv4Address("10.96.0.10")
    build()
    serve(chosen)
    damage(chosen)
    asyncio.run(main(chosen))
