"""Whose address endpoints see: kube-proxy's table of what is masqueraded, on a real cluster."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest

from podwire.testing.cluster import Cluster
from tests.system.until import pod_path, until

# Says to whom it answers, by TCP and by UDP. Not on 0.0.0.0: on a node that is every ClusterIP.
SERVER = """
import socket, sys, threading
address, port = sys.argv[1], int(sys.argv[2])
tcp, udp = socket.socket(), socket.socket(type=socket.SOCK_DGRAM)
tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
for s in (tcp, udp): s.bind((address, port))
tcp.listen(100)
me = sys.argv[3].encode()
def datagrams():
    while True:
        _, client = udp.recvfrom(100)
        udp.sendto(me + b" " + client[0].encode() + b" %d" % client[1], client)
threading.Thread(target=datagrams, daemon=True).start()
print("ready", flush=True)
while True:
    sock, client = tcp.accept()
    sock.sendall(me + b" " + client[0].encode() + b" %d" % client[1])
    sock.close()
"""

# Prints as JSON what the server said, and the port from which it was asked.
ASK = """
import json, socket, sys
kind = {"TCP": socket.SOCK_STREAM, "UDP": socket.SOCK_DGRAM}[sys.argv[1]]
sock = socket.socket(type=kind)
sock.settimeout(3)
try:
    sock.connect((sys.argv[2], int(sys.argv[3])))
    if kind == socket.SOCK_DGRAM: sock.send(b"who")
    who, source, port = sock.recv(100).decode().split()
    print(json.dumps({"who": who, "source": source, "port": int(port), "own": sock.getsockname()[1]}))
except OSError as error:
    print(json.dumps({"error": type(error).__name__}))
"""

PORT = 8201
NODES = {"node-1": "192.168.1.10", "node-2": "192.168.1.11", "node-3": "192.168.1.12"}
EXTERNAL = "203.0.113.10"
EXTERNAL_IP = "198.51.100.7"


def pod(name: str, node: str, app: str, *, host: bool = False, port: int = PORT) -> dict[str, Any]:
    address = NODES[node] if host else "0.0.0.0"
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": app}},
        "spec": {
            "nodeName": node,
            "hostNetwork": host,
            "terminationGracePeriodSeconds": 0,
            "containers": [
                {
                    "name": "who",
                    "image": "podwire/shell:test",
                    "command": ["python3", "-c", SERVER, address, str(port), name],
                }
            ],
        },
    }


def service(name: str, app: str, **spec: Any) -> dict[str, Any]:
    ports = [
        {"name": protocol.lower(), "port": 80, "protocol": protocol, "targetPort": PORT}
        for protocol in ("TCP", "UDP")
    ]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"type": "NodePort", "selector": {"app": app}, "ports": ports, **spec},
    }


def manifest(*objects: dict[str, Any]) -> str:
    return "---\n".join(json.dumps(each) + "\n" for each in objects)


async def told(
    cluster: Cluster, client: str, protocol: str, address: str, port: int
) -> dict[str, Any]:
    beyond = {"external": cluster.external, "router": cluster.node("router")}
    place = beyond.get(client) or cluster.pod(client)
    shown = await place.exec("python3", "-c", ASK, protocol, address, str(port))
    answer: dict[str, Any] = json.loads(shown.stdout)
    return answer


@pytest.fixture
async def world(cluster: Cluster) -> Mapping[str, Any]:
    """Give the addresses of pods, ClusterIPs, and NodePorts.

    Services near and far have one endpoint, on node-1 and on node-2; host has a process of node-1.
    """
    await cluster.apply(
        manifest(
            pod("near-1", "node-1", "near"),
            pod("far-1", "node-2", "far"),
            pod("client", "node-1", "client"),
            pod("remote", "node-2", "client"),
            pod("process", "node-1", "host", host=True),
            *(service(name, name) for name in ("near", "far", "host")),
            *(
                service(f"{name}-local", name, externalTrafficPolicy="Local")
                for name in ("near", "host")
            ),
            service("shared", "near", externalIPs=[EXTERNAL_IP], externalTrafficPolicy="Local"),
        )
    )
    await cluster.ready("near-1", "far-1", "client", "remote", "process")
    found: dict[str, Any] = {}
    for name in ("near-1", "far-1", "client", "remote"):
        path = pod_path(cluster, name)
        status = await until(cluster, path, lambda p: bool(p and p["status"].get("podIP")), name)
        assert status is not None
        found[name] = status["status"]["podIP"]
    for name in ("near", "far", "host", "near-local", "host-local", "shared"):
        path = f"/api/v1/namespaces/{cluster.namespace}/services/{name}"
        spec = (await cluster.get(path))["spec"]
        found[f"ip {name}"] = spec["clusterIP"]
        found[f"port {name}"] = spec["ports"][0]["nodePort"]
        found[f"udp port {name}"] = spec["ports"][1]["nodePort"]
    return found


# "node-1 to pods" is the address that node-1 has on the bridge of its pods, "node-1 by VXLAN" that
# of its tunnel. Rows: client, target, and whom the endpoint sees.
KEPT = [
    ("client", "near", "client"),
    ("client", "far", "client"),
    ("client", "host", "client"),
    ("remote", "near", "remote"),
    ("near-1", "near", "node-1 to pods"),  # led to itself
    ("process", "near", "node-1 to pods"),
    ("process", "far", "node-1 by VXLAN"),
    ("process", "host", "node-1"),
    ("client", "node-1:near", "node-1 to pods"),
    ("client", "node-1:far", "node-1 by VXLAN"),
    ("client", "node-3:near", "node-3 by VXLAN"),
    ("remote", "node-1:near", "node-1 to pods"),
    ("external", "node-1:near", "node-1 to pods"),
    ("external", "node-2:near", "node-2 by VXLAN"),
    ("external", "node-1:host", "node-1"),
    ("process", "node-1:near", "node-1 to pods"),
    ("client", "node-1:near-local", "client"),
    ("client", "node-1:host-local", "client"),
    ("process", "node-1:near-local", "node-1 to pods"),
    ("external", "node-1:near-local", "external"),
    ("external", "node-1:host-local", "external"),
    ("remote", "node-1:near-local", "node-2"),  # its node has masqueraded it on the way
    ("client", "external IP", "client"),
    ("remote", "external IP", "remote"),
    ("process", "external IP", "node-1 to pods"),
]


async def test_whose_address_an_endpoint_sees(cluster: Cluster, world: Mapping[str, Any]) -> None:
    names = {
        **world,
        **NODES,
        "external": EXTERNAL,
        "node-1 to pods": "10.244.1.1",
        **{f"{node} by VXLAN": f"10.244.{node[-1]}.0" for node in NODES},
    }
    notes = (await cluster.get("/api/v1/nodes/node-1"))["metadata"]["annotations"]
    assert (notes["podwire.dev/pod-network"], notes["podwire.dev/source"]) == ("routed", "kept")
    wrong: list[str] = []
    for client, target, seen in KEPT:
        for protocol in ("TCP", "UDP"):
            node, _, name = target.rpartition(":")
            address, port = world.get(f"ip {name}"), 80
            if node:
                word = "port" if protocol == "TCP" else "udp port"
                address, port = NODES[node], world[f"{word} {name}"]
            elif target == "external IP":
                address = EXTERNAL_IP
            answer = await told(cluster, client, protocol, str(address), port)
            if answer.get("source") != names[seen]:
                wrong.append(f"{client} to {target} by {protocol}: {answer}, not {names[seen]}")
            elif names.get(client) == answer["source"] and answer["port"] != answer["own"]:
                wrong.append(f"{client} to {target} by {protocol}: another port: {answer}")
    assert not wrong, "\n".join(wrong)


async def test_local_without_an_endpoint_here_is_silent_to_others_only(
    cluster: Cluster, world: Mapping[str, Any]
) -> None:
    """externalTrafficPolicy Local binds neither pods nor processes of the node."""
    port = world["port near-local"]
    answer, silence = await asyncio.gather(
        told(cluster, "remote", "TCP", NODES["node-2"], port),
        told(cluster, "external", "TCP", NODES["node-2"], port),
    )
    assert answer["who"] == "near-1"
    assert silence == {"error": "TimeoutError"}


async def test_a_node_serves_strangers_that_have_a_route_to_the_services(
    cluster: Cluster, world: Mapping[str, Any]
) -> None:
    """Masqueraded, as by kube-proxy; and no ClusterIP answers a ping."""
    address = world["ip near"]
    router = cluster.node("router")
    await router.exec("ip", "route", "add", "10.96.0.0/12", "via", NODES["node-1"])
    try:
        answer = await told(cluster, "router", "TCP", address, 80)
        ping = ("busybox", "ping", "-c1", "-W1")
        silent = await router.exec(*ping, address, check=False)
        heard = await router.exec(*ping, NODES["node-1"], check=False)
    finally:
        await router.exec("ip", "route", "del", "10.96.0.0/12")
    assert answer["source"] == "10.244.1.1"
    assert (silent.exit_code, heard.exit_code) == (1, 0)


async def test_affinity_is_by_the_clients_address(
    cluster: Cluster, world: Mapping[str, Any]
) -> None:
    assert world
    await cluster.apply(
        manifest(
            pod("near-2", "node-2", "near"),
            pod("near-3", "node-3", "near"),
            service("sticky", "near", sessionAffinity="ClientIP"),
        )
    )
    await cluster.ready("near-2", "near-3")
    path = f"/api/v1/namespaces/{cluster.namespace}/services/sticky"
    address = (await cluster.get(path))["spec"]["clusterIP"]
    met = {
        client: {
            (await told(cluster, client, protocol, address, 80))["who"]
            for protocol in ("TCP", "TCP", "TCP", "TCP")
        }
        for client in ("client", "remote", "process")
    }
    assert all(len(endpoints) == 1 for endpoints in met.values()), met
