"""An API server that knows only what DNS asks for, and makes it up: for bench/dns.py.

    .venv/bin/python -P bench/dns_api.py SOCKET SERVICES ENDPOINTS

Lists and watches Namespaces, Services and EndpointSlices on the Unix socket and, for a server that
speaks TCP only, on a port of 127.0.0.1, which it prints. Each line that it reads is the port of a
DNS server: a Service gets another ClusterIP, and the milliseconds are printed until the server says
so. Ends when its standard input does.
"""

import asyncio
import json
import socket
import sys
import time
from ipaddress import IPv4Address
from typing import Any

import uvloop
from aiohttp import web

from podwire.dns.messages.message import Kind, Question
from podwire.dns.messages.wire import question_packet

Json = dict[str, Any]

CLUSTER_IPS = IPv4Address("10.96.0.1")
PODS = IPv4Address("10.128.0.0")
OTHER_IPS = IPv4Address("10.112.0.1")
PORTS = [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": 8080}]
PATIENCE = 5.0


def main(argv: list[str]) -> None:
    """Serve until standard input ends."""
    path, services, endpoints = argv
    uvloop.run(serve(path, int(services), int(endpoints)))


def is_headless(nth: int) -> bool:
    """Return whether the Service of that number is headless: one in ten is."""
    return nth % 10 == 5


def pod_address(service: int, endpoint: int, endpoints: int) -> IPv4Address:
    """Return the address of an endpoint."""
    return PODS + service * endpoints + endpoint


def service(nth: int, *, cluster_ip: IPv4Address | None = None, revision: int = 1) -> Json:
    """Return a Service with all that a real one carries about."""
    place = "None" if is_headless(nth) else str(cluster_ip or CLUSTER_IPS + nth)
    return {
        "metadata": metadata(f"svc-{nth}", revision),
        "spec": {
            "type": "ClusterIP",
            "clusterIP": place,
            "clusterIPs": [place],
            "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack",
            "internalTrafficPolicy": "Cluster",
            "sessionAffinity": "None",
            "selector": {"app.kubernetes.io/name": f"svc-{nth}"},
            "ports": PORTS,
        },
        "status": {"loadBalancer": {}},
    }


def slice_(nth: int, endpoints: int) -> Json:
    """Return the one EndpointSlice of a Service."""
    made = metadata(f"svc-{nth}-x7k2p", 1)
    made["labels"]["kubernetes.io/service-name"] = f"svc-{nth}"
    made["labels"]["endpointslice.kubernetes.io/managed-by"] = "endpointslice-controller.k8s.io"
    return {
        "metadata": made,
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": [
            {
                "addresses": [str(pod_address(nth, k, endpoints))],
                "conditions": {"ready": True, "serving": True, "terminating": False},
                "nodeName": f"node-{k % 100}",
                "targetRef": {
                    "kind": "Pod",
                    "name": f"svc-{nth}-7d9f8b6c5-{nth:05d}{k}",
                    "namespace": "default",
                    "uid": f"7b1f3c52-0000-4000-8000-{nth:06d}{k:06d}",
                },
            }
            for k in range(endpoints)
        ],
    }


def metadata(name: str, revision: int) -> Json:
    """Return what every object has."""
    return {
        "name": name,
        "namespace": "default",
        "uid": f"5e6f1a70-0000-4000-8000-{hash(name) & 0xFFFFFFFFFFFF:012x}",
        "resourceVersion": str(revision),
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "labels": {"app.kubernetes.io/name": name, "app.kubernetes.io/managed-by": "Helm"},
        "annotations": {"meta.helm.sh/release-name": name},
    }


class Api:
    """What is listed, and who watches it."""

    def __init__(self, services: int, endpoints: int) -> None:
        self.revision = 1
        self.watchers: list[web.StreamResponse] = []
        namespace = {"metadata": {**metadata("default", 1), "namespace": ""}}
        self.lists = {
            "/api/v1/namespaces": listed("v1", "NamespaceList", [namespace]),
            "/api/v1/services": listed("v1", "ServiceList", [service(n) for n in range(services)]),
            "/apis/discovery.k8s.io/v1/endpointslices": listed(
                "discovery.k8s.io/v1",
                "EndpointSliceList",
                [slice_(n, endpoints) for n in range(services)],
            ),
        }

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer a list or a watch."""
        body = self.lists.get(request.path)
        if body is None:
            return web.Response(status=404)
        if "sendInitialEvents" in request.query:
            # Clients list, then, as they do with servers that do not know it.
            return web.json_response(
                {"kind": "Status", "status": "Failure", "code": 422}, status=422
            )
        if request.query.get("watch") not in ("1", "true"):
            return web.Response(body=body, content_type="application/json")
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        if request.path == "/api/v1/services":
            self.watchers.append(response)
        await asyncio.Event().wait()
        return response

    async def change(self, port: int) -> float:
        """Move Service 1; return how many seconds pass until the DNS server at *port* says so."""
        self.revision += 1
        place = OTHER_IPS + self.revision
        changed = service(1, cluster_ip=place, revision=self.revision)
        event = {"type": "MODIFIED", "object": {"apiVersion": "v1", "kind": "Service", **changed}}
        line = json.dumps(event).encode() + b"\n"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(PATIENCE)
            sock.connect(("127.0.0.1", port))
            packet = question_packet(7, Question("svc-1.default.svc.cluster.local.", Kind.A))
            for watcher in tuple(self.watchers):
                try:
                    await watcher.write(line)
                except ConnectionError:
                    # A server that has ended.
                    self.watchers.remove(watcher)
            began = time.perf_counter()
            while time.perf_counter() < began + PATIENCE:
                sock.send(packet)
                if sock.recv(512).endswith(place.packed):
                    return time.perf_counter() - began
        raise TimeoutError(f"no answer with {place} within {PATIENCE} s")


def listed(version: str, kind: str, items: list[Json]) -> bytes:
    """Return a list as JSON."""
    return json.dumps(
        {"apiVersion": version, "kind": kind, "metadata": {"resourceVersion": "1"}, "items": items}
    ).encode()


async def serve(path: str, services: int, endpoints: int) -> None:
    """Serve and make changes."""
    api = Api(services, endpoints)
    app = web.Application()
    app.router.add_get("/{path:.*}", api.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.UnixSite(runner, path).start()
    tcp = web.TCPSite(runner, "127.0.0.1", 0)
    await tcp.start()
    print(tcp.port, flush=True)
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        print(1000 * await api.change(int(line)), flush=True)
    await runner.cleanup()


if __name__ == "__main__":
    main(sys.argv[1:])
