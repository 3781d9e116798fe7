"""How long nodes go on sending new connections to a backend that is being deleted.

    .venv/bin/python -P bench/endpoints.py [--rounds N] [--check] [-o json]

A Deployment of three backends behind one ClusterIP; a client pod on every node opens connections to
it all the time, at a constant rate. Again and again the oldest backend is deleted (N rounds), while
all interfaces of all nodes are captured. Per deletion: from the moment its deletionTimestamp is
stored to the last SYN that any node sends to its address.

A deletionTimestamp has whole seconds, so that moment cannot be read from it. What is taken is the
clock just before the DELETE request is sent: earlier than the truth, so every delay is an upper
bound. (The arrival of the answer, later than the truth, gives a lower one: also printed.) The
packets' times are the kernel's, of the same clock. A backend that gets no SYN after the request
counts as 0. The backends have no probes, so every SYN is a client's connection.
"""

import asyncio
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from os import getpid
from pathlib import Path
from typing import Any, NamedTuple, cast

from podwire.emulator.trace import bpf, frames, pcapng
from podwire.errors import PodwireError
from podwire.kube import waiting
from podwire.kube.plain import Connection
from podwire.testing.benchmark import Benchmark
from podwire.testing.cluster import Cluster
from podwire.testing.figures import Figure, number, percentile
from podwire.testing.launch import launch
from podwire.testing.target import recording

Json = dict[str, Any]
NODES = ("node-1", "node-2", "node-3")
BACKENDS = 3
PODS = "/api/v1/namespaces/default/pods"
SLICES = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
SYN = "tcp[tcpflags] & (tcp-syn|tcp-ack) == tcp-syn and dst net 10.244.0.0/16"
LIMIT = 60.0
# A backend that gets fewer connections in the second before its deletion proves nothing: such a
# deletion is not counted. It happens where the machine is busy with something else.
LEAST_LOAD = 50

_CLIENT = """
import os, socket, sys, time
rate, address = float(sys.argv[1]), (socket.gethostbyname("backends"), 80)
question = b"GET / HTTP/1.1\\r\\nHost: backends\\r\\nConnection: close\\r\\n\\r\\n"
done = failed = slow = 0
began = time.monotonic()
while not os.path.exists("/tmp/stop"):
    start = time.monotonic()
    try:
        with socket.create_connection(address, 5) as sock:
            sock.sendall(question)
            failed += not sock.recv(65536).startswith(b"HTTP/1.1 200")
    except OSError:
        failed += 1
    done += 1
    slow += time.monotonic() - start > 0.5
    time.sleep(max(0.0, began + done / rate - time.monotonic()))
print(done, failed, slow)
"""


@dataclass(frozen=True, slots=True)
class Deletion:
    """One backend's end: seconds since 1970 of request, answer, new EndpointSlice, and its end."""

    address: str
    sent: float
    answered: float
    seen: float
    gone: float


class Syn(NamedTuple):
    """One SYN at one interface; it crosses several."""

    at: float
    flow: frames.Flow


@dataclass(frozen=True, slots=True)
class Delay:
    """Seconds from a deletion to the last SYN, at most and at least; *load* is SYNs/s before."""

    at_most: float
    at_least: float
    load: int


def main(argv: Sequence[str]) -> int:
    """Measure and print."""
    bench = Benchmark(__doc__ or "", rounds=60)
    bench.parser.add_argument("--rate", type=int, default=250, help="connections/s of each node")
    options = bench.parse(argv)
    with tempfile.TemporaryDirectory() as folder:
        measured = asyncio.run(measure(Path(folder), options.rounds, options.rate))
    delays = delays_of(measured.deletions, measured.syns)
    if measured.dropped:
        bench.say(f"the capture lost {measured.dropped} packets: a delay may be too short")
    if len(delays) < options.rounds:
        bench.say(f"{options.rounds - len(delays)} deletions not counted: too little load before")
    bench.say(
        f"{measured.connections} connections, {measured.failed} failed,"
        f" {measured.slow} took more than 0.5 s"
    )
    load = number(percentile([delay.load for delay in delays], 50))
    bench.say(f"each backend got about {load} new connections/s before its deletion")
    lower = tuple(delay.at_least * 1e3 for delay in delays)
    bench.say(
        "from the DELETE's answer (lower bound):"
        f" p50 {number(percentile(lower, 50))} ms, p99 {number(percentile(lower, 99))} ms"
    )
    slices = tuple((deletion.seen - deletion.sent) * 1e3 for deletion in measured.deletions)
    upper = tuple(delay.at_most * 1e3 for delay in delays)
    return bench.finish(
        [
            Figure("deletion to EndpointSlice seen", "ms", slices),
            Figure("deletion to last SYN", "ms", upper),
            Figure("deletion to last SYN", "ms", upper, goal=50.0, judged_by=99.0),
            Figure("connections that failed", "", (float(measured.failed),), goal=0.0),
        ],
        options,
    )


def delays_of(
    deletions: Iterable[Deletion], syns: Mapping[str, Sequence[Syn]]
) -> tuple[Delay, ...]:
    """Return the delay of each deletion that was under load; raises PodwireError if none was."""
    delays = list[Delay]()
    for deletion in deletions:
        # The address may be another pod's later on.
        sent = [syn for syn in syns.get(deletion.address, ()) if syn.at <= deletion.gone]
        load = len({s.flow for s in sent if deletion.sent - 1.0 <= s.at < deletion.sent})
        if load < LEAST_LOAD:
            continue
        last = max(syn.at for syn in sent)
        delays.append(
            Delay(max(0.0, last - deletion.sent), max(0.0, last - deletion.answered), load)
        )
    if not delays:
        raise PodwireError(f"no backend had {LEAST_LOAD} connections/s")
    return tuple(delays)


@dataclass(slots=True)
class Measured:
    """What was seen; *syns* by the address they went to."""

    deletions: list[Deletion]
    syns: dict[str, list[Syn]]
    dropped: int = 0
    connections: int = 0
    failed: int = 0
    slow: int = 0


async def measure(folder: Path, rounds: int, rate: int) -> Measured:
    """Delete *rounds* backends of a new cluster under load."""
    launched = await asyncio.to_thread(launch, f"bench-{getpid()}", folder)
    try:
        cluster = launched.cluster
        for obj in objects():
            await cluster.apply(obj)
        await cluster.ready()
        measured = Measured([], {})
        points = [f"node/{node}" for node in NODES]
        program = bpf.compile_filter(SYN)
        async with (
            recording(cluster.access, points, program=program) as data,
            load(cluster, rate, measured),
        ):
            await asyncio.sleep(1.5)  # the load that LEAST_LOAD asks for
            for _ in range(rounds):
                measured.deletions.append(await cluster.call(delete_oldest))
        capture = pcapng.decode(bytes(data))
        measured.dropped = capture.dropped
        measured.syns = by_address(frames.packets(capture))
        return measured
    finally:
        await asyncio.to_thread(launched.end)


@asynccontextmanager
async def load(cluster: Cluster, rate: int, measured: Measured) -> AsyncGenerator[None, None]:
    """Keep a client on every node connecting while the block runs; then count."""
    clients = [cluster.pod(f"client-{node}") for node in NODES]
    async with asyncio.TaskGroup() as tasks:
        running = [
            tasks.create_task(client.exec(sys.executable, "-IS", "-c", _CLIENT, str(rate)))
            for client in clients
        ]
        try:
            yield
        finally:
            for client in clients:
                await client.exec("touch", "/tmp/stop")  # in the pod
    for task in running:
        done, failed, slow = task.result().stdout.split()
        measured.connections += int(done)
        measured.failed += int(failed)
        measured.slow += int(slow)


def delete_oldest(connection: Connection) -> Deletion:
    """Delete the backend that has served longest; return when it is gone and replaced."""
    query = {"labelSelector": "app=backends"}
    listing = connection.get(PODS, query)
    pods = cast("list[Json]", listing["items"])
    oldest = min(
        (pod for pod in pods if not pod["metadata"].get("deletionTimestamp")),
        key=lambda pod: (pod["metadata"]["creationTimestamp"], pod["metadata"]["name"]),
    )
    name, address = str(oldest["metadata"]["name"]), str(oldest["status"]["podIP"])
    end = time.monotonic() + LIMIT
    slices = connection.lines(SLICES, {"watch": "true"}, left=lambda: end - time.monotonic())
    next(slices)  # what there is: now the watch is open
    sent = time.time()
    connection.delete(f"{PODS}/{name}")
    answered = time.time()
    for event in slices:
        if is_terminating(address, event["object"]):
            break
    seen = time.time()
    watch = {
        "watch": "true",
        "fieldSelector": f"metadata.name={name}",
        "resourceVersion": listing["metadata"]["resourceVersion"],
    }
    for event in connection.lines(PODS, watch, left=lambda: end - time.monotonic()):
        if event["type"] == "DELETED":
            break
    gone = time.time()
    backends = waiting.Target("Deployment", DEPLOYMENTS, "backends")
    waiting.until_ready(connection, [backends], limit=LIMIT)
    return Deletion(address, sent, answered, seen, gone)


def is_terminating(address: str, endpoint_slice: Json) -> bool:
    """Return whether an EndpointSlice says that the endpoint ends."""
    return any(
        address in endpoint["addresses"] and endpoint["conditions"].get("terminating")
        for endpoint in cast("list[Json]", endpoint_slice.get("endpoints") or [])
    )


def by_address(packets: Iterable[frames.Packet]) -> dict[str, list[Syn]]:
    """Return the SYNs, with their times in seconds since 1970, by the address they go to."""
    syns = defaultdict[str, list[Syn]](list)
    for packet in packets:
        if packet.opens:
            syns[str(packet.dst)].append(Syn(packet.time_ns / 1e9, packet.flow))
    return dict(syns)


def objects() -> tuple[Json, ...]:
    """Return the backends, their Service, and a client for each node."""
    labels = {"app": "backends"}
    backends: Json = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "backends"},
        "spec": {
            "replicas": BACKENDS,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "web", "image": "podwire/web"}]},
            },
        },
    }
    service: Json = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "backends"},
        "spec": {"selector": labels, "ports": [{"port": 80}]},
    }
    waits: Json = {"name": "shell", "image": "busybox", "command": ["sleep", "infinity"]}
    clients = tuple(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": f"client-{node}"},
            "spec": {
                "nodeName": node,
                "terminationGracePeriodSeconds": 0,
                "containers": [waits],
            },
        }
        for node in NODES
    )
    return (backends, service, *clients)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
