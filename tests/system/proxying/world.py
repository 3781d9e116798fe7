"""The cluster in which every situation stands at once, and what each client met there."""

import asyncio
import json
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from podwire.emulator.trace import pcapng
from podwire.emulator.trace.frames import Packet, packets
from podwire.kube import places
from podwire.testing.cluster import Cluster, Pod
from podwire.testing.target import recording
from tests.system.conftest import SHELL
from tests.system.proxying.programs import BACKEND, PROBER
from tests.system.proxying.situation import CLIENTS, End, Situation
from tests.system.proxying.situations import SITUATIONS

Json = dict[str, Any]

FIRST_PORT = 20000
"""Of endpoints: each situation has a port of its own, so its packets tell themselves apart."""

FIRST_NODE_PORT = 30000
"""In the band that is never given to who did not ask for a number (KEP-3668)."""

TRIES = 20
"""With two endpoints, the chance to see only one of them is 2 in a million."""

NODES = {"node-1": "192.168.1.10", "node-2": "192.168.1.11", "node-3": "192.168.1.12"}
WHERE = {"here": "node-1", "too": "node-1", "there": "node-2", "host": "node-2"}
ASKED = [places.parse(f"node/{node}").point for node in ("node-1", "node-2")]
PORT, WRONG_PORT = 80, 81
UNUSED = "10.96.200.200"
SECOND_ADDRESS = "10.244.1.1"

CONFIG = """\
kind: Cluster
apiVersion: podwire.dev/v1alpha1
nodes:
- {{role: worker, labels: {{topology.kubernetes.io/zone: zone-a}}}}
- {{role: worker, labels: {{topology.kubernetes.io/zone: zone-b}}}}
- {{role: worker, labels: {{topology.kubernetes.io/zone: zone-c}}}}
networking: {{kubeProxyMode: {mode}}}
"""


@dataclass
class Met:
    """What one client met: per situation its tries, and the packets that nodes 1 and 2 saw meanwhile."""

    tries: dict[str, list[list[Any]]] = field(default_factory=dict[str, list[list[Any]]])
    packets: tuple[Packet, ...] = ()


class World:
    """All situations in one cluster."""

    def __init__(self, cluster: Cluster, mode: str) -> None:
        self.cluster = cluster
        self.mode = mode
        self.pods: dict[str, str] = {}  # address by name
        self.cluster_ips: dict[str, str] = {}  # by situation
        self.own: dict[str, set[str]] = {}  # the addresses of each node
        self.met: dict[str, Met] = {}

    async def fill(self) -> None:
        """Make pods, Services, slices and routes; return when all is served."""
        cluster = self.cluster
        await asyncio.gather(
            *(cluster.apply(_backend(name)) for name in WHERE),
            *(cluster.apply(_client(*who)) for who in (("pod", "node-1"), ("far", "node-2"))),
        )
        await cluster.ready("here", "too", "there", "host", "pod", "far")
        for pod in await cluster.pods():
            self.pods[pod["metadata"]["name"]] = pod["status"]["podIP"]
        for number, situation in enumerate(SITUATIONS):
            await self._make(number, situation)
        await let_in(cluster, NODES["node-1"], "198.51.100.0/23", "10.96.0.0/12")
        for node in NODES:
            shown = await cluster.node(node).exec("ip", "-json", "-4", "address")
            self.own[node] = {
                entry["local"] for link in json.loads(shown.stdout) for entry in link["addr_info"]
            }
        await self._served()

    async def ask(self) -> None:
        """Have every client try every situation; packets of node-1 are recorded."""
        for client in CLIENTS:
            wanted = [s for s in SITUATIONS if s.answer(client, self.mode)]
            targets = [self._target(s, client) for s in wanted]
            # Not cluster.capture: it makes scapy objects, and there are ten thousand packets.
            async with recording(self.cluster.access, ASKED) as data:
                result = await self._place(client).exec(
                    "python3", "-c", PROBER, stdin=json.dumps(targets).encode()
                )
            self.met[client] = Met(
                {s.name: t for s, t in zip(wanted, json.loads(result.stdout), strict=True)},
                packets(pcapng.decode(bytes(data))),
            )

    def judge(self, situation: Situation, client: str) -> str:
        """Return what is wrong with what *client* met; "" if nothing is."""
        wanted = situation.answer(client, self.mode)
        tries = self.met[client].tries[situation.name]
        if wanted == "refused":
            allowed = (
                (["refused"], ["EPERM"]) if _told_at_once(situation, client) else (["refused"],)
            )
            return "" if all(t in allowed for t in tries) else f"met {tries}"
        if wanted == "dropped":
            return self._silent(situation, client, tries)
        backends, source = wanted.split()
        return self._answered(situation, client, set(backends.split("|")), source, tries)

    def _answered(
        self,
        situation: Situation,
        client: str,
        backends: set[str],
        source: str,
        tries: list[list[Any]],
    ) -> str:
        if not all(t[0] == "answered" for t in tries):
            return f"met {[t for t in tries if t[0] != 'answered']}"
        said = [str(t[1]).split() for t in tries]
        names = {name for name, _, _ in said}
        if situation.sticky:
            if len(names) != 1 or not names <= backends:
                return f"stuck to {names}"
        elif names != backends:
            return f"reached {names}"
        allowed = self._sources(situation, client, source)
        seen = {address for _, address, _ in said}
        return "" if seen <= allowed else f"backends saw {seen}, not one of {allowed}"

    def _silent(self, situation: Situation, client: str, tries: list[list[Any]]) -> str:
        at_once = _told_at_once(situation, client)
        if not all(t == ["timed out"] or (at_once and t == ["EPERM"]) for t in tries):
            return f"met {tries}"
        target = self._target(situation, client)
        end = FIRST_PORT + SITUATIONS.index(situation)
        asked = "node-2" if situation.to == "other NodePort" else "node-1"
        seen = [p for p in self.met[client].packets if p.where == asked]
        # What a node drops of its own is gone before any interface shows it.
        if client != "node" and not any(_is_to(p, target["host"], target["port"]) for p in seen):
            return f"its packets were not seen at {asked}"
        backends = {self.pods[name] for name in WHERE}
        onward = [
            p
            for p in seen
            # Not by the port alone: masqueraded connections have any.
            if p.core.protocol == situation.protocol
            and p.core.dport == end
            and str(p.core.dst) in backends
        ]
        return f"was sent on: {onward[0]}" if onward else ""

    def _sources(self, situation: Situation, client: str, source: str) -> set[str]:
        to = situation.to
        on_second = to == "other NodePort" or (client == "far" and not _asks_node_1(to))
        if source == "snat":
            return self.own["node-2" if on_second else "node-1"]
        if client == "external":
            return {"203.0.113.10"}
        if client == "far" and to == "NodePort":
            return {NODES["node-2"]}  # masqueraded by its own node on the way out
        return {self.pods[{"self": "here"}.get(client, client)]}

    def _target(self, situation: Situation, client: str) -> Json:
        number = SITUATIONS.index(situation)
        node_port = FIRST_NODE_PORT + number
        host, port = {
            "ClusterIP": (self.cluster_ips[situation.name], PORT),
            "wrong port": (self.cluster_ips[situation.name], WRONG_PORT),
            "unused ClusterIP": (UNUSED, PORT),
            "NodePort": (NODES["node-1"], node_port),
            "other NodePort": (NODES["node-2"], node_port),
            "localhost NodePort": ("127.0.0.1", node_port),
            "second NodePort": (SECOND_ADDRESS, node_port),
            "external IP": (f"198.51.100.{number + 1}", PORT),
            "LB VIP": (f"198.51.101.{number + 1}", PORT),
        }[situation.to]
        answered = " " in situation.answer(client, self.mode)
        return {
            "protocol": situation.protocol,
            "host": host,
            "port": port,
            "tries": TRIES if answered else 1,
        }

    def _place(self, client: str) -> Pod:
        if client == "external":
            return self.cluster.external
        if client == "node":
            return self.cluster.node("node-1")
        return self.cluster.pod({"self": "here"}.get(client, client))

    async def _make(self, number: int, situation: Situation) -> None:
        cluster, name = self.cluster, f"s-{number}"
        spec: Json = {
            "ports": [{"port": PORT, "protocol": situation.protocol}],
            **situation.spec,
        }
        if spec.get("type", "ClusterIP") != "ClusterIP":
            spec["ports"][0]["nodePort"] = FIRST_NODE_PORT + number
        if situation.to == "external IP":
            spec["externalIPs"] = [f"198.51.100.{number + 1}"]
        metadata = {"name": name, "labels": dict(situation.labels)}
        await cluster.apply(
            {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}
        )
        if situation.ends:
            await cluster.apply(self._slice(number, situation))
        path = f"/api/v1/namespaces/{cluster.namespace}/services/{name}"
        self.cluster_ips[situation.name] = (await cluster.get(path))["spec"]["clusterIP"]
        if spec.get("type") == "LoadBalancer":
            ingress = {"ip": f"198.51.101.{number + 1}", **(situation.lb or {"ipMode": "VIP"})}
            status = {"status": {"loadBalancer": {"ingress": [ingress]}}}
            await cluster.call(lambda c: c.patch(f"{path}/status", status))

    def _slice(self, number: int, situation: Situation) -> Json:
        labels = {"kubernetes.io/service-name": f"s-{number}", **situation.labels}
        return {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": f"s-{number}-by-hand", "labels": labels},
            "addressType": "IPv4",
            "ports": [{"name": "", "port": FIRST_PORT + number, "protocol": situation.protocol}],
            "endpoints": [self._endpoint(end) for end in situation.ends],
        }

    def _endpoint(self, end: End) -> Json:
        hints: Json = {}
        if end.zones:
            hints["forZones"] = [{"name": zone} for zone in end.zones]
        if end.nodes:
            hints["forNodes"] = [{"name": node} for node in end.nodes]
        made: Json = {
            "addresses": [self.pods[end.backend]],
            "nodeName": WHERE[end.backend],
            "conditions": {
                "ready": end.ready,
                "serving": end.serving,
                "terminating": end.terminating,
            },
        }
        return made | ({"hints": hints} if hints else {})

    async def _served(self) -> None:
        """Return when every proxy has heard of the last Service."""
        names = {
            f"{self.cluster.namespace}/s-{n}" for n, s in enumerate(SITUATIONS) if not s.labels
        }
        for _ in range(100):
            served = [
                {str(port["name"]) for port in state["services"]}
                for state in await self.cluster.proxies()
            ]
            if all(names <= one for one in served):
                await asyncio.sleep(0.3)  # the last slice, after its Service
                return
            await asyncio.sleep(0.1)
        raise AssertionError("the proxies do not serve all Services")


def config_file(folder: Path, mode: str) -> Path:
    """Write what the cluster of *mode* is made of; return the file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "cluster.yaml"
    path.write_text(CONFIG.format(mode=mode))
    return path


def _asks_node_1(to: str) -> bool:
    """Return whether a pod of node-2 leaves its node unserved: node-1's proxy is asked."""
    return to in {"NodePort", "second NodePort"}


def _told_at_once(situation: Situation, client: str) -> bool:
    """Return whether send() itself fails: a node's filter stops the node's own datagram."""
    return client == "node" and situation.protocol == "UDP"


def _is_to(packet: Packet, host: str, port: int) -> bool:
    return packet.core.dst == IPv4Address(host) and packet.core.dport == port


def _backend(name: str) -> Json:
    host = name == "host"
    address: Json = {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
    command = ["python3", "-c", BACKEND, name, str(FIRST_PORT), str(len(SITUATIONS)), "$(IP)"]
    container: Json = {
        "name": "backend",
        "image": SHELL,
        "command": command,
        "env": [address],
        "readinessProbe": {
            "tcpSocket": {"port": FIRST_PORT + len(SITUATIONS) - 1},
            "periodSeconds": 1,
        },
    }
    return _pod(name, WHERE[name], container, hostNetwork=host)


def _client(name: str, node: str) -> Json:
    container = {"name": "client", "image": SHELL, "command": ["sleep", "infinity"]}
    return _pod(name, node, container)


def _pod(name: str, node: str, container: Json, **more: Any) -> Json:
    spec: Json = {
        "nodeName": node,
        "terminationGracePeriodSeconds": 0,
        "containers": [container],
        **more,
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


async def let_in(cluster: Cluster, node: str, *subnets: str) -> None:
    """Lead what comes from outside for *subnets* to *node*; the router stops none of it any more."""
    router = cluster.node("router")
    await router.exec("sh", "-c", "nft delete table inet podwire || iptables -F FORWARD")
    for subnet in subnets:
        await router.exec("ip", "route", "add", subnet, "via", node)
