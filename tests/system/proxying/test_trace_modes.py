"""Every kind of target, traced in every mode that this machine runs: the judge agrees with the wire.

That a request is answered is not enough: it is confirmed only if all its hops, its translation and
the source that the backend sees are those that the objects and the mode demand.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from podwire.emulator.trace.request import parse
from podwire.emulator.trace.trace import Trace
from podwire.kube import proxy_modes
from podwire.kube.plain import Connection
from podwire.testing.cluster import Cluster
from podwire.testing.launch import launch
from podwire.testing.modes import compared
from tests.needs import need
from tests.system.conftest import SHELL
from tests.system.proxying.world import let_in

MODES = ("userspace", "nftables", "iptables", "ipvs")
TRANSLATING = ("nftables", "iptables")

Json = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """What is asked, from where, and what becomes of it: "confirmed", or a part of the reason."""

    name: str
    source: str
    target: str
    said: str
    but: dict[str, str]

    def said_in(self, mode: str) -> str:
        """Return what becomes of it in *mode*."""
        return self.but.get(mode, self.said)


def case(name: str, source: str, target: str, said: str = "confirmed", **but: str) -> Case:
    """Return a case; *but* is by mode."""
    return Case(name, source, target, said, but)


# {NAME} is the ClusterIP of the Service NAME, {pod.NAME} a pod's address.
CASES = (
    case("a pod to a ClusterIP with an endpoint here", "client", "http://{here}"),
    case("a pod to a ClusterIP with an endpoint there", "client", "http://{there}"),
    case("by name", "client", "http://there"),
    case("a hairpin", "web-here", "http://{here}"),
    case("a pod to a pod of its node", "client", "http://{pod.web-here}"),
    case("a process of the node", "node/node-1", "http://{here}"),
    case("a process of the node, with an endpoint there", "node/node-1", "http://{there}"),
    case("a process of the node, TCP", "node/node-1", "{there}:80"),
    case("UDP", "client", "{udp}:53/udp"),
    case("UDP from the node", "node/node-1", "{udp}:53/udp"),
    case("a NodePort from outside", "external", "http://192.168.1.10:30101"),
    case("a NodePort from outside, endpoint elsewhere", "external", "http://192.168.1.10:30102"),
    case("a NodePort of the own node", "client", "http://192.168.1.10:30102"),
    case("a NodePort of another node", "client", "http://192.168.1.11:30101"),
    case("a NodePort with policy Local", "external", "http://192.168.1.10:30103"),
    case(
        "a NodePort with policy Local, none here",
        "external",
        "http://192.168.1.11:30103",
        "has no ready endpoint on node-2 (externalTrafficPolicy: Local)",
        ipvs="confirmed",
    ),
    case("a process to its own node's NodePort", "node/node-1", "http://192.168.1.10:30101"),
    case(
        "a NodePort on loopback",
        "node/node-1",
        "http://127.0.0.1:30101",
        "serves NodePorts on 192.168.1.10 only",
        iptables="confirmed",
    ),
    case(
        "a NodePort on the node's bridge",
        "client",
        "http://10.244.1.1:30101",
        "serves NodePorts on 192.168.1.10 only",
        iptables="confirmed",
        ipvs="confirmed",
    ),
    case("an external IP from a pod", "client", "http://198.51.100.9"),
    case("an external IP from a process", "node/node-1", "http://198.51.100.9"),
    case("an external IP from outside", "external", "http://198.51.100.9"),
    case("a load balancer's address that lets it in", "external", "http://198.51.100.10"),
    case(
        "a load balancer's address that does not",
        "client",
        "http://198.51.100.10",
        "lets 203.0.113.0/24 in (loadBalancerSourceRanges)",
    ),
    case("a ClusterIP from outside", "external", "http://{here}"),
    case("the API server", "client", "https://10.96.0.1"),
    case("an endpoint in the node's own network", "client", "{host}:80"),
    case("that from a process of the node", "node/node-1", "{host}:80"),
    case("that from a pod of another node", "web-there", "{host}:80"),
    case("that by a NodePort from outside", "external", "192.168.1.10:30104"),
    case("that by the NodePort of another node", "external", "192.168.1.11:30104"),
    case("no endpoints", "client", "http://{none}", "Service default/none has no ready endpoints"),
    case(
        "no endpoints, a process", "node/node-1", "{none}:80", "Service default/none has no ready"
    ),
    case(
        "policy Local inside, none here",
        "client",
        "http://{inside}",
        "has no ready endpoint on node-1 (internalTrafficPolicy: Local)",
        ipvs="confirmed",
    ),
    case("a wrong port", "client", "http://{here}:81", "has no port 81/TCP; it has 80/TCP"),
    case("a wrong port, a process", "node/node-1", "{here}:81", "has no port 81/TCP"),
    case("an unused ClusterIP", "client", "http://10.96.250.250", "no Service has the ClusterIP"),
    case("nothing listens", "client", "http://{closed}", "nothing listens on port 4444"),
)


def _pod(name: str, node: str) -> Json:
    spec: Json = {
        "nodeName": node,
        "terminationGracePeriodSeconds": 0,
        "containers": [{"name": "shell", "image": SHELL, "command": ["sleep", "infinity"]}],
    }
    if name == "web-host":
        spec["hostNetwork"] = True
    if name.startswith("web"):
        echo = (
            "import os,socket,threading,http.server as h\n"
            "IP=os.environ['IP']\n"
            "u=socket.socket(socket.AF_INET,socket.SOCK_DGRAM);u.bind((IP,53))\n"
            "def f():\n"
            "  while True:\n"
            "    d,a=u.recvfrom(999);u.sendto(d,a)\n"
            "threading.Thread(target=f,daemon=True).start()\n"
            "h.ThreadingHTTPServer((IP,80),h.SimpleHTTPRequestHandler).serve_forever()\n"
        )
        spec["containers"][0] |= {
            "command": ["python3", "-c", echo],
            "workingDir": "/tmp",
            "env": [{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
            "readinessProbe": {"httpGet": {"path": "/", "port": 80}, "periodSeconds": 1},
        }
    metadata = {"name": name, "labels": {"app": name}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def _service(name: str, app: str, port: Json | None = None, **spec: Any) -> Json:
    ports = [{"port": 80, **(port or {})}]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": {"app": app}, "ports": ports, **spec},
    }


OBJECTS: tuple[Json, ...] = (
    _pod("client", "node-1"),
    _pod("web-here", "node-1"),
    _pod("web-there", "node-2"),
    _pod("web-host", "node-1"),
    _service("here", "web-here", {"nodePort": 30101}, type="NodePort"),
    _service("there", "web-there", {"nodePort": 30102}, type="NodePort"),
    _service(
        "local",
        "web-here",
        {"nodePort": 30103},
        type="NodePort",
        externalTrafficPolicy="Local",
    ),
    _service("inside", "web-there", internalTrafficPolicy="Local"),
    _service("udp", "web-there", {"port": 53, "protocol": "UDP"}),
    _service("external-ip", "web-there", externalIPs=["198.51.100.9"]),
    _service("lb", "web-here", type="LoadBalancer", loadBalancerSourceRanges=["203.0.113.0/24"]),
    _service("host", "web-host", {"nodePort": 30104}, type="NodePort"),
    _service("none", "nobody"),
    _service("closed", "web-here", {"targetPort": 4444}),
)


@dataclass
class World:
    """The cluster, the words of its targets, and its mode."""

    cluster: Cluster
    words: dict[str, str]
    mode: str = ""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Give a cluster with all Services."""
    need("python3", "nft", "iptables-restore")
    folder: Path = tmp_path_factory.mktemp("trace-modes")
    launched = launch(f"modes-{folder.parent.name[-20:]}".lower().strip("-"), folder)
    try:
        yield World(launched.cluster, asyncio.run(_filled(launched.cluster)))
    finally:
        launched.end()


async def _filled(cluster: Cluster) -> dict[str, str]:
    for obj in OBJECTS:
        await cluster.apply(obj)
    ingress = [{"ip": "198.51.100.10", "ipMode": "VIP"}]
    status = {"status": {"loadBalancer": {"ingress": ingress}}}
    path = "/api/v1/namespaces/default/services/lb/status"
    await cluster.call(lambda c: c.patch(path, status))
    await cluster.ready("client", "web-here", "web-there", "web-host")
    await let_in(cluster, "192.168.1.10", "198.51.100.0/24", "10.96.0.0/12")
    services = await cluster.get("/api/v1/namespaces/default/services")
    words = {s["metadata"]["name"]: s["spec"]["clusterIP"] for s in services["items"]}
    for pod in await cluster.pods():
        words[f"pod.{pod['metadata']['name']}"] = pod["status"]["podIP"]
    return words


@pytest.fixture(scope="module", params=MODES)
def switched(world: World, request: pytest.FixtureRequest) -> World:
    """Give the world in one mode after the other."""
    mode = str(request.param)
    asyncio.run(world.cluster.call(_switcher(mode)))
    world.mode = mode
    return world


def traced(world: World, wanted: Case) -> Trace:
    """Return the trace of *wanted*."""
    target = wanted.target
    for word, value in world.words.items():
        target = target.replace("{" + word + "}", value)
    return asyncio.run(world.cluster.trace(wanted.source, target, timeout=3))


@pytest.mark.parametrize("wanted", CASES, ids=lambda c: c.name)
def test_the_judge_agrees_with_the_wire(switched: World, wanted: Case) -> None:
    trace = traced(switched, wanted)
    said = wanted.said_in(switched.mode)
    if said == "confirmed":
        assert trace.confirmed, trace
        _check_passed(trace, switched.mode)
    else:
        assert trace.verdict == "refuted", trace
        assert said in trace.reason, trace


def _check_passed(trace: Trace, mode: str) -> None:
    for hop in trace.hops:
        if hop.kind == "inferred":
            assert hop.mode.startswith(mode)
            assert (hop.translation is not None) == (mode in TRANSLATING)


def test_modes_are_compared_and_the_clusters_own_comes_back(world: World) -> None:
    cluster = world.cluster
    asyncio.run(cluster.call(_switcher("nftables")))
    found = asyncio.run(cluster.compare_modes("client", "http://none", modes=MODES))
    assert found.before == "nftables"
    assert [one.mode for one in found.traced] == list(MODES)
    assert found.facts()["outcome"] == {
        "userspace": "refused (RST)",
        "nftables": "refused (ICMP)",
        "iptables": "refused (ICMP)",
        "ipvs": "refused (RST)",
    }
    assert "outcome" in found.differences
    for width in (60, 220):
        text = found.render(width)
        assert "* outcome" in text
        assert "--- iptables ---" in text
    assert set(asyncio.run(cluster.call(proxy_modes.modes)).values()) == {"nftables"}


def test_a_comparison_that_is_cancelled_puts_the_mode_back(world: World) -> None:
    cluster = world.cluster
    asyncio.run(cluster.call(_switcher("iptables")))

    async def begin_and_cancel() -> None:
        switching = asyncio.Event()
        wanted = parse("http://here")
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(
                compared(
                    cluster.access,
                    "default/client",
                    wanted,
                    modes=["nftables", "userspace"],
                    told=lambda _: switching.set(),
                )
            )
            await switching.wait()
            running.cancel()

    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(begin_and_cancel())
    assert set(asyncio.run(cluster.call(proxy_modes.modes)).values()) == {"iptables"}


def test_a_mode_that_does_not_start_is_left_in_its_own_words(world: World) -> None:
    cluster = world.cluster
    before = asyncio.run(cluster.call(proxy_modes.configuration))

    def broken(connection: Connection) -> None:
        text = proxy_modes.with_mode(before, "telepathy")
        proxy_modes.configure(connection, text, "telepathy")

    with pytest.raises(proxy_modes.CannotRun, match="telepathy"):
        asyncio.run(cluster.call(broken))
    asyncio.run(cluster.call(_switcher("userspace")))


def _switcher(mode: str) -> Callable[[Connection], None]:
    def switch(connection: Connection) -> None:
        text = proxy_modes.with_mode(proxy_modes.configuration(connection), mode)
        proxy_modes.configure(connection, text, mode)

    return switch
