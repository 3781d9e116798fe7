"""How many questions the DNS server answers per second over loopback; prints, asserts nothing.

`python bench/dns.py [SECONDS]` starts the server in a process of its own, once on each event loop,
and asks it from this one with 64 questions under way. It also times how long the table takes to
take in Services.
"""

import asyncio
import os
import random
import signal
import socket
import sys
import time
from collections.abc import Sequence
from ipaddress import ip_address

import uvloop

from podwire.dns.answer import Options
from podwire.dns.cache import Cache, CacheOptions
from podwire.dns.chain import Block
from podwire.dns.frontdoor import FrontDoor
from podwire.dns.handlers import Kubernetes, LoadBalance
from podwire.dns.message import Kind, Question
from podwire.dns.metrics import Metrics
from podwire.dns.records import Table
from podwire.dns.server import Listener, listen, serving
from podwire.dns.wire import question_packet
from podwire.kube.clock import SystemClock
from podwire.kube.codec import convert
from podwire.kube.objects import EndpointSlice, Namespace, Service

SERVICES = 1000
UNDER_WAY = 64
ZONES = ("cluster.local.", "in-addr.arpa.", "ip6.arpa.")


def main(argv: Sequence[str]) -> None:
    """Measure and print."""
    seconds = float(argv[0]) if argv else 3.0
    table = filled()
    questions = {
        "one name, A": [packet("svc-1.default.svc.cluster.local.", Kind.A)],
        "1000 names, A": [
            packet(f"svc-{n}.default.svc.cluster.local.", Kind.A) for n in range(SERVICES)
        ],
        "headless of 10, shuffled": [packet("peers.default.svc.cluster.local.", Kind.A)],
        "unknown names, never kept": [
            packet(f"x{n}.example{n}.default.svc.cluster.local.", Kind.A) for n in range(20_000)
        ],
    }
    for loop in ("asyncio", "uvloop"):
        for what, packets in questions.items():
            rate, lost = measure(loop, table, packets, seconds)
            say(f"{loop:8} {what:28} {rate:9,.0f} answers/s  {lost} lost")


def say(line: str) -> None:
    """Print a line at once: forks must not inherit it unprinted."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def packet(name: str, kind: int) -> bytes:
    """Return a question as bytes."""
    return question_packet(0, Question(name, kind))


def filled() -> Table:
    """Return a table of 1000 Services, and print how long they took."""
    services = [
        convert(
            Service,
            {
                "metadata": {"name": f"svc-{n}", "namespace": "default"},
                "spec": {
                    "clusterIPs": [str(ip_address("10.97.0.0") + n)],
                    "ports": [{"name": "http", "port": 80}],
                },
            },
        )
        for n in range(SERVICES)
    ]
    peers = convert(
        Service,
        {
            "metadata": {"name": "peers", "namespace": "default"},
            "spec": {"clusterIPs": ["None"], "ports": [{"port": 80}]},
        },
    )
    slice_ = convert(
        EndpointSlice,
        {
            "metadata": {
                "name": "peers-1",
                "namespace": "default",
                "labels": {"kubernetes.io/service-name": "peers"},
            },
            "endpoints": [{"addresses": [f"10.244.1.{n}"]} for n in range(2, 12)],
            "ports": [{"port": 80}],
        },
    )
    table = Table()
    began = time.perf_counter()
    for service in services:
        table.change_service(None, service, now=1.0)
    took = time.perf_counter() - began
    say(f"table: {SERVICES} Services in {took * 1e3:.1f} ms")
    table.change_service(None, peers, now=1.0)
    table.change_slice(None, slice_, now=1.0)
    table.change_namespace(None, convert(Namespace, {"metadata": {"name": "default"}}))
    table.synced()
    return table


def measure(loop: str, table: Table, packets: Sequence[bytes], seconds: float) -> tuple[float, int]:
    """Return answers per second and how many questions were lost."""
    listener = listen("127.0.0.1", 0)
    child = os.fork()
    if child == 0:
        run = uvloop.run if loop == "uvloop" else asyncio.run
        run(serve(listener, table))
        os._exit(0)
    try:
        return ask(listener.port, packets, seconds)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        listener.close()


async def serve(listener: Listener, table: Table) -> None:
    """Serve as kubeadm configures it, until killed."""
    clock = SystemClock()
    door = FrontDoor(
        revision=lambda: table.revision,
        clock=clock,
        dice=random.Random(1),
        metrics=Metrics("dns://:53"),
    )
    limits = CacheOptions(success_disabled=ZONES[:1], denial_disabled=ZONES[:1])
    options = Options(zones=ZONES, pods="insecure", ttl=30)
    handlers = (LoadBalance(), Cache(limits, clock), Kubernetes(table, options, door.lookup))
    door.open([Block((".",), handlers)])
    async with serving([listener], door):
        await asyncio.Event().wait()


def ask(port: int, packets: Sequence[bytes], seconds: float) -> tuple[float, int]:
    """Keep 64 questions under way for *seconds*."""
    lost = answered = asked = 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("127.0.0.1", port))
        sock.settimeout(1.0)
        for _ in range(UNDER_WAY):
            sock.send(packets[asked % len(packets)])
            asked += 1
        began = time.perf_counter()
        ends = began + seconds
        while time.perf_counter() < ends:
            try:
                sock.recv(2048)
            except TimeoutError:
                lost += UNDER_WAY
                for _ in range(UNDER_WAY):
                    sock.send(packets[asked % len(packets)])
                    asked += 1
                continue
            answered += 1
            sock.send(packets[asked % len(packets)])
            asked += 1
        took = time.perf_counter() - began
    return answered / took, lost


if __name__ == "__main__":
    main(sys.argv[1:])
