"""Compares the DNS server with Knot DNS, and looks at it with many Services and endpoints.

    .venv/bin/python -P bench/dns.py [--rounds N] [--seconds S] [--only rates,latency,size]
        [--services N] [--endpoints N] [--check] [-o json]

Runs the DNS server as its pod does, with kubeadm's Corefile (and nobody upstream), against an API
server that is made up (bench/dns_api.py): 10,000 Services with 10 endpoints each. Knot has the
Services as a zone. Every server has the first core to itself, dnsperf the last; servers take turns
in each round, so only their ratios in one round say something. A CoreDNS on the PATH takes part.

"rates" asks for one name, for 1,000 names, for names that are asked for once each and exist
(endpoints, A and AAAA), and for such that do not (what a pod's search list makes of names out in
the world). "latency" asks at half the rate that the server has for 1,000 names. "size" is how long
the server takes from its start to its first answer, its memory then, and how soon a change of a
Service shows in answers.

Needs dnsperf, knotd and taskset.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from podwire.dns.messages.message import Kind, Question
from podwire.dns.messages.wire import question_packet
from podwire.errors import MachineError
from podwire.testing.benchmark import Benchmark
from podwire.testing.figures import Figure, percentile

PARTS = ("rates", "latency", "size")
PROGRAMS = ("dnsperf", "knotd", "taskset")
ONE, MANY = "one name", "1,000 names"
FRESH, UNKNOWN = "endpoints, each asked once", "unknown names, each asked once"
UNKNOWN_NAMES = 200_000
CHANGES = 50
PATIENCE = 60.0
CORES = sorted(os.sched_getaffinity(0))

COREFILE = """
.:{port} {{
    bind 127.0.0.1
    errors
    kubernetes cluster.local in-addr.arpa ip6.arpa {{
        {api}
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
        ttl 30
    }}
    prometheus 127.0.0.1:{metrics}
    forward . 127.0.0.1:9
    cache 30 {{
        disable success cluster.local
        disable denial cluster.local
    }}
    loadbalance
}}
"""
KNOT = """
server:
    rundir: {folder}
    listen: 127.0.0.1@{port}
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
database:
    storage: {folder}/db
zone:
  - domain: cluster.local
    storage: {folder}
    file: cluster.local.zone
    semantic-checks: off
    zonefile-sync: -1
    journal-content: none
"""
ZONE = """$ORIGIN cluster.local.
$TTL 30
@ SOA ns.dns hostmaster 1 7200 1800 86400 30
@ NS ns.dns
ns.dns A 10.96.0.10
"""


@dataclass(frozen=True, slots=True)
class Size:
    """How much there is to know."""

    services: int
    endpoints: int


@dataclass(frozen=True, slots=True)
class Server:
    """A DNS server that runs."""

    name: str
    pid: int
    port: int
    start: float
    """Seconds from its start to its first answer."""


@dataclass(frozen=True, slots=True)
class Run:
    """What one run of dnsperf says; times in seconds."""

    rate: float
    lost: int
    latencies: tuple[float, ...] = ()


Start = Callable[[], AbstractContextManager[Server]]
"""Runs a server while the context is open."""


class World:
    """Files, the API server and the DNS servers of one run."""

    def __init__(self, folder: Path, size: Size, stack: ExitStack) -> None:
        self.folder = folder
        self.size = size
        script = Path(__file__).with_name("dns_api.py")
        self.api = stack.enter_context(
            running(
                [sys.executable, "-P", str(script), str(folder / "api.sock"),
                 str(size.services), str(size.endpoints)],
                CORES[-1],
                is_heard=True,
            )
        )  # fmt: skip
        self.api_port = int(self._line())
        self.names = self._names()

    def change(self, port: int) -> float:
        """Return the milliseconds until a change shows at the DNS server on *port*."""
        assert self.api.stdin is not None
        self.api.stdin.write(f"{port}\n")
        self.api.stdin.flush()
        return float(self._line())

    def servers(self) -> dict[str, Start]:
        """Return what starts each server."""
        found: dict[str, Start] = {
            "podwire": self._podwire,
            "knot": self._knot,
        }
        if shutil.which("coredns"):
            found["coredns"] = self._coredns
        return found

    def _line(self) -> str:
        assert self.api.stdout is not None
        line = self.api.stdout.readline()
        if not line:
            raise SystemExit("the API server has ended")
        return line

    def _names(self) -> dict[str, Path]:
        """Write dnsperf's files; return them by what they ask for."""
        suffix = "default.svc.cluster.local"
        services = [
            one["metadata"]["name"]
            for one in self._list("/api/v1/services")
            if one["spec"]["clusterIP"] != "None"
        ]
        endpoints = [
            f"{endpoint['addresses'][0].replace('.', '-')}.{service}.{suffix}"
            for one in self._list("/apis/discovery.k8s.io/v1/endpointslices")
            for service in (one["metadata"]["labels"]["kubernetes.io/service-name"],)
            for endpoint in one["endpoints"]
        ]
        lines = {
            ONE: [f"svc-1.{suffix} A"],
            MANY: [f"{name}.{suffix} A" for name in services[:1000]],
            FRESH: [f"{name} {kind}" for name in endpoints for kind in ("A", "AAAA")],
            UNKNOWN: [f"www{n}.example{n % 977}.com.{suffix} A" for n in range(UNKNOWN_NAMES)],
        }
        found: dict[str, Path] = {}
        for nth, (what, asked) in enumerate(lines.items()):
            found[what] = self.folder / f"names-{nth}"
            found[what].write_text("\n".join(asked) + "\n")
        return found

    def _list(self, path: str) -> list[Any]:
        with urlopen(f"http://127.0.0.1:{self.api_port}{path}") as response:
            items: list[Any] = json.load(response)["items"]
        return items

    def _podwire(self) -> AbstractContextManager[Server]:
        port = free_port()
        file = self.folder / "Corefile"
        file.write_text(COREFILE.format(port=port, metrics=free_port(), api=""))
        api = str(self.folder / "api.sock")
        argv = [sys.executable, "-P", "-m", "podwire.dns", "-conf", str(file), "--api", api]
        return started("podwire", argv, port)

    def _coredns(self) -> AbstractContextManager[Server]:
        port = free_port()
        file = self.folder / "Corefile.coredns"
        api = f"endpoint http://127.0.0.1:{self.api_port}"
        file.write_text(COREFILE.format(port=port, metrics=free_port(), api=api))
        return started("coredns", ["coredns", "-conf", str(file)], port, {"GOMAXPROCS": "1"})

    def _knot(self) -> AbstractContextManager[Server]:
        port = free_port()
        folder = self.folder / "knot"
        folder.mkdir(exist_ok=True)
        lines = (
            f"svc-{n}.default.svc A 10.97.{n // 250}.{n % 250 + 1}\n"
            for n in range(self.size.services)
        )
        (folder / "cluster.local.zone").write_text(ZONE + "".join(lines))
        file = folder / "knot.conf"
        file.write_text(KNOT.format(folder=folder, port=port))
        return started("knot", ["knotd", "-c", str(file)], port)


def main(argv: Sequence[str]) -> int:
    """Measure and print."""
    bench = Benchmark(__doc__ or "", rounds=3)
    add = bench.parser.add_argument
    add("--seconds", type=float, default=2.0, help="of each run of dnsperf")
    add("--only", default=",".join(PARTS), help="parts, with commas between")
    add("--services", type=int, default=10_000)
    add("--endpoints", type=int, default=10, help="of each Service")
    options = bench.parse(argv)
    missing = [program for program in PROGRAMS if not shutil.which(program, path=search_path())]
    if missing:
        print(
            f"not found: {', '.join(missing)}; see scripts/system-packages --bench", file=sys.stderr
        )
        return MachineError.exit_status
    os.environ["PATH"] = search_path()
    parts = options.only.split(",")
    figures: list[Figure] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="podwire-dns-")))
        world = World(folder, Size(options.services, options.endpoints), stack)
        if "rates" in parts:
            figures += rates(world, bench, options.rounds, options.seconds)
        if "latency" in parts:
            figures += latencies(world, bench, options.rounds, options.seconds)
        if "size" in parts:
            figures += size(world, bench, options.rounds)
    return bench.finish(figures, options)


# What is measured


def rates(world: World, bench: Benchmark, rounds: int, seconds: float) -> list[Figure]:
    """Compare how many questions the servers answer per second."""
    found = defaultdict[tuple[str, str], list[float]](list)
    lost = 0
    for turn in range(rounds):
        for name, start in world.servers().items():
            with start() as server:
                for what, file in world.names.items():
                    run = dnsperf(server.port, file, seconds)
                    found[name, what].append(run.rate)
                    lost += run.lost if name == "podwire" else 0
                    bench.say(
                        f"round {turn + 1}  {name:8} {what:30} {run.rate:9,.0f}/s  {run.lost} lost"
                    )
    figures: list[Figure] = []
    floors = {FRESH: 15_000.0, UNKNOWN: 15_000.0}
    for (name, what), values in found.items():
        goal = floors.get(what) if name == "podwire" else None
        figures.append(
            Figure(
                f"DNS, {name}: {what}", "answers/s", tuple(values), goal=goal, more_is_better=True
            )
        )
    for peer, floor in (("knot", 0.8), ("coredns", 1.5)):
        for what in (ONE, MANY):
            ratios = [
                ours / theirs
                for ours, theirs in zip(found["podwire", what], found[peer, what], strict=False)
            ]
            if ratios:
                title = f"DNS, podwire to {peer}: {what}"
                figures.append(
                    Figure(title, "times", tuple(ratios), goal=floor, more_is_better=True)
                )
    figures.append(Figure("DNS: questions without an answer", "", (float(lost),), goal=0.0))
    return figures


def latencies(world: World, bench: Benchmark, rounds: int, seconds: float) -> list[Figure]:
    """Measure how long answers take at half the load that the server can bear."""
    found = defaultdict[str, list[float]](list)
    with world.servers()["podwire"]() as server:
        for turn in range(rounds):
            for what in (MANY, UNKNOWN):
                most = dnsperf(server.port, world.names[what], seconds / 2).rate
                run = dnsperf(server.port, world.names[what], seconds, most=most / 2)
                p50, p99 = (1000 * percentile(run.latencies, p) for p in (50.0, 99.0))
                found[f"{what}, median"].append(p50)
                found[f"{what}, p99"].append(p99)
                bench.say(
                    f"round {turn + 1}  podwire  {what:30} {run.rate:9,.0f}/s  "
                    f"p50 {p50:.2f} ms  p99 {p99:.2f} ms"
                )
    return [
        Figure(
            f"DNS at half load: {what}",
            "ms",
            tuple(values),
            goal=2.0 if what.endswith("p99") else None,
        )
        for what, values in found.items()
    ]


def size(world: World, bench: Benchmark, rounds: int) -> list[Figure]:
    """Measure the server's start, its memory and the way of a change, with all there is to know."""
    starts, memory, peaks, changes = list[float](), list[float](), list[float](), list[float]()
    for turn in range(rounds):
        with world.servers()["podwire"]() as server:
            starts.append(server.start)
            memory.append(resident(server.pid, "VmRSS"))
            peaks.append(resident(server.pid, "VmHWM"))
            moved = [world.change(server.port) for _ in range(CHANGES)]
            changes += moved
            bench.say(
                f"round {turn + 1}  podwire  first answer {server.start:.2f} s, "
                f"{memory[-1]:.0f} MB (peak {peaks[-1]:.0f}), changes show in "
                f"{percentile(moved, 50.0):.2f} ms, the slowest in {max(moved):.2f} ms"
            )
    everything = f"{world.size.services} Services, {world.size.services * world.size.endpoints}"
    return [
        Figure(f"DNS, {everything} endpoints: start to first answer", "s", tuple(starts)),
        Figure(f"DNS, {everything} endpoints: memory", "MB", tuple(memory), goal=300.0),
        Figure(f"DNS, {everything} endpoints: memory at most", "MB", tuple(peaks)),
        Figure("DNS: from a change to an answer", "ms", tuple(changes), goal=10.0, judged_by=99.0),
    ]


# The means


@contextmanager
def started(
    name: str, argv: Sequence[str], port: int, environ: dict[str, str] | None = None
) -> Generator[Server]:
    """Run a server on the first core inside the block, from its first answer on."""
    began = time.perf_counter()
    with running(argv, CORES[0], environ) as process:
        wait_for_answer(process, port)
        yield Server(name, process.pid, port, time.perf_counter() - began)


@contextmanager
def running(
    argv: Sequence[str],
    core: int,
    environ: dict[str, str] | None = None,
    *,
    is_heard: bool = False,
) -> Generator[subprocess.Popen[str]]:
    """Run a program on one core inside the block; what it prints is dropped unless *is_heard*."""
    with subprocess.Popen(
        ["taskset", "-c", str(core), *argv],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE if is_heard else subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **(environ or {})},
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGKILL)


def wait_for_answer(process: subprocess.Popen[str], port: int) -> None:
    """Return once a Service's address comes back."""
    packet = question_packet(7, Question("svc-1.default.svc.cluster.local.", Kind.A))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("127.0.0.1", port))
        sock.settimeout(0.02)
        for _ in range(int(PATIENCE / 0.02)):
            try:
                sock.send(packet)
                reply = sock.recv(512)
            except TimeoutError:
                continue
            except ConnectionRefusedError:
                time.sleep(0.02)
                continue
            finally:
                if process.poll() is not None:
                    raise SystemExit(f"{process.args!r} has ended: see what it says by itself")
            if reply[3] & 0xF == 0 and reply[7]:
                return
    raise SystemExit(f"{process.args!r}: no answer within {PATIENCE:g} s")


def dnsperf(port: int, file: Path, seconds: float, *, most: float = 0.0) -> Run:
    """Ask a server the questions of *file*; with *most* per second each answer is timed."""
    limits = ["-Q", str(int(most)), "-v"] if most else []
    command = ["dnsperf", "-s", "127.0.0.1", "-p", str(port), "-d", str(file), "-c", "4"]
    # Not a pipe: it would hold up dnsperf, which prints a line for each answer then.
    with tempfile.TemporaryFile("w+") as output:
        subprocess.run(
            ["taskset", "-c", str(CORES[-1]), *command, "-l", f"{seconds:g}", *limits],
            stdout=output,
            stderr=subprocess.DEVNULL,
            check=True,
        )
        output.seek(0)
        said = output.read()
    rate = re.search(r"Queries per second:\s+([\d.]+)", said)
    lost = re.search(r"Queries lost:\s+(\d+)", said)
    if rate is None or lost is None:
        raise SystemExit(f"dnsperf: {said}")
    latencies = re.findall(r"^> \w+ \S+ \S+ ([\d.]+)$", said, re.MULTILINE)
    return Run(float(rate[1]), int(lost[1]), tuple(map(float, latencies)))


def resident(pid: int, field: str) -> float:
    """Return a process's memory in MB: VmRSS now, VmHWM at most."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    return 0.0


def free_port() -> int:
    """Return a port that nobody has now."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def search_path() -> str:
    """Return the PATH, with the places where Debian has servers."""
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
