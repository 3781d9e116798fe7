"""The proxy's modes with many Services: full sync, a change, the first packet, memory.

    .venv/bin/python -P bench/services.py [--rounds N] [--modes userspace,nftables,iptables,ipvs]
        [--services 10,1000,10000] [--endpoints 1,3,10] [--changes 1000x3] [--picture FILE.svg]
        [--check] [-o json]

Three network namespaces of its own, joined by veth pairs: client -- node -- endpoints. The last has
every endpoint's address and one server for all of them, which answers each connection with a byte.
On the node is a proxy, in a process of its own for every mode and size. It is given Services and
EndpointSlices as objects (bench/services_node.py): there is no API server in between. All are pods:
the client one of this node, the endpoints on another, and clients ask ClusterIPs.

full sync     from the first order of an empty node to the end of the sync.
first packet  from connect() to the endpoint's byte, and to the end of connect(), with the first,
              the middle and the last Service of the chain KUBE-SERVICES; N rounds, which ask one
              after the other. With userspace it is the proxy that connect() reaches.
change        at 1,000 Services with three endpoints: all endpoints of the middle one are exchanged.
              From the moment the proxier hears the new EndpointSlice to the first SYN on its way to
              a new endpoint, by the kernel's time of a capture at the endpoints. The client opens a
              connection every millisecond, so a delay is up to one millisecond too long. N rounds.
memory        PSS of the proxy after the full sync, without the iptables and nft that it starts; the
              objects that it was given are in it, as an informer would have them.

Needs nft, iptables, ip, unshare and mount; works as root and as an ordinary user who may make user
namespaces. Everything runs in a PID namespace that ends with this program.
"""

import argparse
import contextlib
import json
import random
import select
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any, NamedTuple

from podwire import linux
from podwire.testing import spaces
from podwire.testing.benchmark import Benchmark
from podwire.testing.chart import chart
from podwire.testing.figures import Figure, percentile, table

FOLDER = Path(__file__).resolve().parent
MODES = ("userspace", "nftables", "iptables", "ipvs")
PROGRAMS = ("ip", "unshare", "mount", "nft", "iptables")
PACKAGES = "nftables iptables iproute2 util-linux mount"
CLIENT, NODE, FAR = "10.244.1.5", "192.168.1.10", "192.168.1.11"
SERVICES = IPv4Address("10.96.1.0")
"""Where bench/services_node.py has the first Service."""
GOAL = 20.0
PATIENCE = 600.0
"""Seconds that a full sync may take."""
PLACES = {
    "node": (
        "link set lo up",
        "link add to-client type veth peer name eth0 netns client",
        "link add eth0 type veth peer name eth0 netns endpoints",
        "link set to-client up",
        "link set eth0 up",
        "address add 10.244.1.1/32 dev to-client",
        f"address add {NODE}/24 dev eth0",
        f"route add {CLIENT} dev to-client",
        f"route add 10.240.0.0/12 via {FAR}",
    ),
    "client": (
        "link set lo up",
        "link set eth0 up",
        f"address add {CLIENT}/32 dev eth0",
        "route add 10.244.1.1 dev eth0",
        "route add default via 10.244.1.1",
    ),
    "endpoints": (
        "link set lo up",
        "link set eth0 up",
        f"address add {FAR}/24 dev eth0",
        "route add local 10.245.0.0/16 dev lo",
        "route add local 10.246.0.0/15 dev lo",
        "route add local 10.250.0.0/16 dev lo",
        "route add local 10.251.0.0/16 dev lo",
        f"route add default via {NODE}",
    ),
}
_SO_TIMESTAMPNS = 35  # asm-generic/socket.h
_LATEST = 5.0  # seconds after which a change counts as never seen

_SERVER = """
import socket
listener = socket.create_server(("0.0.0.0", 8080), backlog=4096)
while True:
    connection, _ = listener.accept()
    try:
        connection.send(b".")
    except OSError:
        pass
    connection.close()
"""


class Syn(NamedTuple):
    """A SYN on its way to an endpoint; *at* is in seconds since 1970."""

    at: float
    to: IPv4Address


@dataclass(frozen=True, slots=True)
class Case:
    """One mode with so many Services and endpoints of each, and what was measured.

    *sync* is in seconds, *memory* in bytes; *answers* and *connects* are in seconds by the rule's
    position, *changes* in seconds.
    """

    mode: str
    services: int
    endpoints: int
    sync: float
    memory: int
    answers: Mapping[int, tuple[float, ...]]
    connects: Mapping[int, tuple[float, ...]]
    changes: tuple[float, ...] = ()

    @property
    def size(self) -> str:
        """Return Services x endpoints."""
        return f"{self.services:,} x {self.endpoints}"


def main(argv: Sequence[str]) -> int:
    """Measure; the inner call of itself is in namespaces of its own."""
    command = Benchmark(__doc__ or "", rounds=200)
    parser = command.parser
    parser.add_argument("--modes", default=",".join(MODES), help="some, comma-separated")
    parser.add_argument("--services", default="10,1000,10000", help="how many, comma-separated")
    parser.add_argument("--endpoints", default="1,3,10", help="of each, comma-separated")
    parser.add_argument("--changes", default="1000x3", help="size at which changes are measured")
    parser.add_argument("--picture", type=Path, help="draw the first packet there (SVG)")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = command.parse(argv)
    if not options.inside:
        return spaces.again(__file__, argv, programs=PROGRAMS, packages=PACKAGES)
    spaces.own_run()
    sizes = [(n, e) for n in _numbers(options.services) for e in _numbers(options.endpoints)]
    cases: list[Case] = []
    for mode in options.modes.split(","):
        for services, endpoints in sizes:
            changes = options.rounds if f"{services}x{endpoints}" == options.changes else 0
            case = measure(mode, services, endpoints, options.rounds, changes)
            cases.append(case)
            command.say(line(case))
    if options.picture:
        options.picture.parent.mkdir(parents=True, exist_ok=True)
        options.picture.write_text(picture(cases))
    command.say("\n" + overview(cases))
    return command.finish(figures(cases), options)


def measure(mode: str, services: int, endpoints: int, rounds: int, changes: int) -> Case:
    """Return what one proxy does with that many Services, in namespaces made for it."""
    with world(), _running("endpoints", "-c", _SERVER), proxy(mode, services, endpoints) as node:
        said = node.read()
        if said["failed"]:
            raise SystemExit(f"{mode}: {said['failed']} of {services} Services are not served")
        middle = str(SERVICES + services // 2)
        answered(middle)
        places = sorted({1, services // 2 + 1, services})
        answers, connects = first_packets(places, rounds)
        delays = tuple(change_delays(node, middle, changes)) if changes else ()
    return Case(
        said["mode"], services, endpoints, said["sync"], said["memory"], answers, connects, delays
    )


def first_packets(
    places: Sequence[int], rounds: int
) -> tuple[dict[int, tuple[float, ...]], dict[int, tuple[float, ...]]]:
    """Return the seconds to an answer, and to the end of connect(), by the rule's position."""
    answers = defaultdict[int, list[float]](list)
    connects = defaultdict[int, list[float]](list)
    for _ in range(rounds):
        for place in places:
            with client() as sock:
                began = time.perf_counter()
                sock.connect((str(SERVICES + (place - 1)), 80))
                connects[place].append(time.perf_counter() - began)
                sock.recv(1)
                answers[place].append(time.perf_counter() - began)
    return {p: tuple(a) for p, a in answers.items()}, {p: tuple(c) for p, c in connects.items()}


def change_delays(node: "Proxy", address: str, rounds: int) -> Iterator[float]:
    """Exchange the endpoints of the Service at *address*; yield the delays in seconds."""
    with capture() as sock, load(address):
        for _ in range(rounds):
            time.sleep(random.uniform(0.03, 0.06))
            for _ in syns(sock, 0.0):
                pass
            node.ask()
            said = node.read()
            yield delay(said["at"], IPv4Network(said["network"], strict=False), syns(sock, _LATEST))


def delay(at: float, network: IPv4Network, seen: Iterable[Syn]) -> float:
    """Return the seconds from *at* to the first of *seen* that goes to *network*.

    A SYN from before belongs to the last time that these were the endpoints. Raises SystemExit when
    there is none.
    """
    for syn in seen:
        if syn.to in network and syn.at >= at:
            return syn.at - at
    raise SystemExit(f"no connection to {network} within {_LATEST:g} s of the change")


@contextmanager
def load(address: str) -> Generator[None]:
    """Open a connection to *address* every millisecond while the block runs."""
    stop = threading.Event()

    def run() -> None:
        opened: list[socket.socket] = []
        due = time.monotonic()
        while not stop.is_set():
            sock = client()
            sock.setblocking(False)
            # Closed by a reset: nothing of it waits anywhere.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.connect_ex((address, 80))
            opened.append(sock)
            if len(opened) > 20:
                opened.pop(0).close()
            due = max(due + 0.001, time.monotonic())
            time.sleep(max(0.0, due - time.monotonic()))
        for sock in opened:
            sock.close()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@contextmanager
def capture() -> Generator[socket.socket]:
    """Give a socket that hears each frame that reaches the endpoints, with the kernel's time."""
    ip = 0x0800
    with linux.socket_in(
        spaces.NETNS / "endpoints", socket.AF_PACKET, socket.SOCK_DGRAM, 0
    ) as sock:
        sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        sock.bind(("eth0", ip))
        sock.setblocking(False)
        yield sock


def syns(sock: socket.socket, patience: float) -> Iterator[Syn]:
    """Yield the SYNs that *sock* hears, until none comes for *patience* seconds."""
    while True:
        try:
            packet, notes, _, source = sock.recvmsg(64, 64)
        except BlockingIOError:
            if not patience or not select.select([sock], [], [], patience)[0]:
                return
            continue
        found = syn(packet, {kind: data for _, kind, data in notes}[_SO_TIMESTAMPNS])
        if source[2] != socket.PACKET_OUTGOING and found is not None:
            yield found


def syn(packet: bytes, stamp: bytes) -> Syn | None:
    """Return the SYN that *packet* of IPv4 is, None for any other; *stamp* is a timespec."""
    if len(packet) < 40 or packet[9] != socket.IPPROTO_TCP:
        return None
    flags = packet[(packet[0] & 15) * 4 + 13]
    if flags & 0x12 != 0x02:
        return None
    seconds, nanoseconds = struct.unpack("qq", stamp)
    return Syn(seconds + nanoseconds / 1e9, IPv4Address(packet[16:20]))


def client() -> socket.socket:
    """Return a socket of the client's."""
    return linux.socket_in(spaces.NETNS / "client", socket.AF_INET, socket.SOCK_STREAM)


def answered(address: str) -> None:
    """Wait until the Service at *address* answers; at most ten seconds."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        with contextlib.suppress(OSError), client() as sock:
            sock.settimeout(1)
            sock.connect((address, 80))
            if sock.recv(1):
                return
        time.sleep(0.05)
    raise SystemExit(f"the Service at {address} does not answer")


class Proxy:
    """The proxy on the node: what it says, and what it is asked."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def ask(self) -> None:
        """Ask for a change."""
        if self._process.stdin is not None:
            self._process.stdin.write(b"change\n")
            self._process.stdin.flush()

    def read(self) -> dict[str, Any]:
        """Return the next that it says; raises SystemExit if it has ended or takes too long."""
        said = self._process.stdout
        if said is None or not select.select([said], [], [], PATIENCE)[0]:
            raise SystemExit(f"no answer of the proxy within {PATIENCE:g} s")
        text = said.readline()
        if not text:
            raise SystemExit("the proxy has ended; it says above why")
        document: dict[str, Any] = json.loads(text)
        return document


@contextmanager
def proxy(mode: str, services: int, endpoints: int) -> Generator[Proxy]:
    """Have a proxy serve on the node while the block runs."""
    words = (str(FOLDER / "services_node.py"), mode, str(services), str(endpoints))
    with _running("node", "-P", *words) as process:
        yield Proxy(process)


@contextmanager
def _running(place: str, *words: str) -> Generator[subprocess.Popen[bytes]]:
    """Run Python with *words* in *place*; at the end of the block its standard input ends."""
    command = spaces.inside(place, sys.executable, *words)
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        yield process
    finally:
        # Nobody cleans up: the namespace goes with its rules.
        process.kill()
        process.communicate()


@contextmanager
def world() -> Generator[None]:
    """Make the three namespaces; they are gone after the block."""
    with spaces.made(PLACES):
        spaces.set_sysctls("node", {"ipv4/ip_forward": "1", "ipv4/icmp_ratelimit": "0"})
        yield


def line(case: Case) -> str:
    """Return what one case has shown, in a line."""
    answers = ", ".join(
        f"{place:,}: {percentile(seen, 50) * 1e6:,.0f}" for place, seen in case.answers.items()
    )
    text = (
        f"{case.mode:<18} {case.size:>11}  sync {case.sync:6.2f} s  {case.memory / 1e6:5.0f} MB"
        f"  first packet in us, by position: {answers}"
    )
    if case.changes:
        delays = " and ".join(f"{percentile(case.changes, p) * 1e3:.1f}" for p in (50, 99))
        text += f"  change: p50 and p99 {delays} ms"
    return text


def overview(cases: Iterable[Case]) -> str:
    """Return the table of all cases."""
    rows = [("", "Services", "full sync", "PSS", "first", "middle", "last", "(connect)", "change")]
    for case in cases:
        places = sorted(case.answers)
        answers = [f"{percentile(case.answers[p], 50) * 1e6:,.0f} us" for p in places]
        connects = f"{percentile(case.connects[places[-1]], 50) * 1e6:,.0f} us"
        middle = answers[1] if len(answers) > 2 else ""
        changes = [f"{percentile(case.changes, p) * 1e3:.1f}" for p in (50, 99) if case.changes]
        rows.append(
            (
                case.mode,
                case.size,
                f"{case.sync:.2f} s",
                f"{case.memory / 1e6:.0f} MB",
                *(answers[0], middle, answers[-1], connects),
                f"{' / '.join(changes)} ms" if changes else "",
            )
        )
    return table(rows)


def figures(cases: Iterable[Case]) -> list[Figure]:
    """Return what has a goal, and the syncs."""
    found: list[Figure] = []
    for case in cases:
        name = f"{case.mode}, {case.size}"
        found.append(Figure(f"{name}: full sync", "s", (case.sync,)))
        found.append(Figure(f"{name}: memory", "MB", (case.memory / 1e6,)))
        for place, seen in sorted(case.answers.items()):
            micros = tuple(each * 1e6 for each in seen)
            found.append(Figure(f"{name}: first packet at {place:,}", "us", micros))
        if case.changes:
            delays = tuple(each * 1e3 for each in case.changes)
            found.append(Figure(f"{name}: change", "ms", delays))
            found.append(Figure(f"{name}: change", "ms", delays, goal=GOAL, judged_by=99.0))
    return found


def picture(cases: Iterable[Case]) -> str:
    """Return a drawing of the first packet's time by the rule's position, for every mode.

    Of each number of Services the case with the fewest endpoints is drawn.
    """
    lines = defaultdict[str, dict[int, dict[int, float]]](dict)
    for case in sorted(cases, key=lambda case: -case.endpoints):
        lines[case.mode][case.services] = {
            place: percentile(seen, 50) * 1e6 for place, seen in case.answers.items()
        }
    return chart(
        "The first packet of a connection, by the Service's position",
        "position in KUBE-SERVICES",
        "microseconds from connect() to the endpoint's first byte (median)",
        {
            mode: [(place, time) for seen in by_size.values() for place, time in seen.items()]
            for mode, by_size in sorted(lines.items())
        },
    )


def _numbers(text: str) -> list[int]:
    return [int(word) for word in text.split(",")]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
