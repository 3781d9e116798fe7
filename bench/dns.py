"""How many questions the DNS server answers per second over loopback.

    .venv/bin/python -P bench/dns.py [--rounds N] [--seconds S] [--check] [-o json]

Starts the server in a process of its own, on the product's event loop (uvloop) and for comparison
on asyncio's, and asks it from this one with 64 questions under way. Also times how long the table
takes to take in Services. The only goal: each question gets an answer.
"""

import asyncio
import os
import random
import signal
import socket
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from ipaddress import ip_address

import uvloop

from podwire.dns.answer import Options
from podwire.dns.chain import Block
from podwire.dns.frontdoor import FrontDoor
from podwire.dns.message import Kind, Question
from podwire.dns.metrics import Metrics
from podwire.dns.plugins.cache import Cache, CacheOptions
from podwire.dns.plugins.kubernetes import Kubernetes
from podwire.dns.plugins.loadbalance import LoadBalance
from podwire.dns.records import Table
from podwire.dns.server import Listener, listen, serving
from podwire.dns.wire import question_packet
from podwire.kube.clock import SystemClock
from podwire.kube.codec import convert
from podwire.kube.objects import EndpointSlice, Namespace, Service
from podwire.testing.benchmark import Benchmark
from podwire.testing.figures import Figure

SERVICES = 1000
UNDER_WAY = 64
ZONES = ("cluster.local.", "in-addr.arpa.", "ip6.arpa.")


def main(argv: Sequence[str]) -> int:
    """Measure and print."""
    bench = Benchmark(__doc__ or "", rounds=3)
    bench.parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    options = bench.parse(argv)
    table, filling = filled()
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
    rates = defaultdict[tuple[str, str], list[float]](list)
    unanswered = 0
    for turn in range(options.rounds):
        for what, packets in questions.items():
            for loop in ("uvloop", "asyncio"):
                rate, lost = measure(loop, table, packets, options.seconds)
                rates[what, loop].append(rate)
                unanswered += lost
                bench.say(
                    f"round {turn + 1}  {loop:8} {what:26} {rate:9,.0f} answers/s, {lost} lost"
                )
    figures = [
        Figure(f"DNS, {loop}: {what}", "answers/s", tuple(values), more_is_better=True)
        for (what, loop), values in rates.items()
    ]
    figures.append(Figure("DNS: questions without an answer", "", (float(unanswered),), goal=0.0))
    figures.append(Figure(f"DNS: table takes in {SERVICES} Services", "ms", (filling * 1e3,)))
    return bench.finish(figures, options)


def packet(name: str, kind: int) -> bytes:
    """Return a question as bytes."""
    return question_packet(0, Question(name, kind))


def filled() -> tuple[Table, float]:
    """Return a table of 1000 Services, and how many seconds they took."""
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
    table.change_service(None, peers, now=1.0)
    table.change_slice(None, slice_, now=1.0)
    table.change_namespace(None, convert(Namespace, {"metadata": {"name": "default"}}))
    table.synced()
    return table, took


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
    sys.exit(main(sys.argv[1:]))
