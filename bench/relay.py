"""Compares the proxy's TCP relay with HAProxy, and its nftables mode with a rule by hand.

    .venv/bin/python -P bench/relay.py [--rounds N] [--seconds S]
        [--only bulk,keepalive,new,held,nftables] [--held N] [--check] [-o json]

Makes three network namespaces of its own, client -- node -- backend, joined by veth pairs. On the
node the two relays listen on a ClusterIP each (the proxy's is bench/relay_node.py); wrk and iperf3
run in the client's namespace, nginx and iperf3 in the backend's. Each round measures both relays,
one after the other, and prints their ratio; the goals are for the ratios' medians. "direct" is
without a relay.

"held" opens 8,000 connections through the proxy's relay, and a byte goes to and fro on each, when
it is new and when all are open. The relay's PSS grows by so much for each.

"nftables" has iperf3 send through the table of the mode nftables and, in turn, through a table with
nothing but one DNAT rule. Each is loaded only while it is measured.

Needs haproxy, wrk, iperf3, nginx, ip, unshare and mount; works as root and as an ordinary user
who may make user namespaces. Everything runs in a PID namespace that ends with this program, so
nothing is left behind however it ends. HAProxy has one thread and TCP mode, and else its defaults:
it copies. For bulk data it also runs with splice both ways and pipes as large as the proxy's.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from podwire.testing import spaces
from podwire.testing.benchmark import Benchmark
from podwire.testing.figures import Figure
from podwire.testing.processes import proportional_memory

CLUSTER_IPS = {"podwire": "10.96.0.80", "haproxy": "10.96.0.81", "haproxy-splice": "10.96.0.83"}
RULES_IP = "10.96.0.82"
NODE_IP = "10.0.2.1"
BACKEND_IP = "10.0.2.2"
WEB, BULK, ECHO = 80, 5201, 9000
RULES = ("nftables", "one-rule")
PROGRAMS = ("haproxy", "wrk", "iperf3", "nginx", "nft", "ip", "unshare", "mount")
PACKAGES = "haproxy wrk iperf3 nginx-light nftables iproute2 util-linux mount"
CONNECTIONS = 64

NGINX = """
daemon off; user root; master_process off; pid {folder}/nginx.pid; error_log stderr crit;
events {{ worker_connections 8192; }}
http {{
  access_log off; keepalive_requests 1000000000; tcp_nodelay on;
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{ listen {address}:{port} backlog=65535; return 200 "podwire\\n"; }}
}}
"""

HAPROXY = """
global
  nbthread 1
  maxconn 4000
{tuning}
defaults
  mode tcp
{splicing}
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  backlog 65535
listen web
  bind {cluster_ip}:{web}
  server one {backend}:{web}
listen bulk
  bind {cluster_ip}:{bulk}
  server one {backend}:{bulk}
"""

# Echoes on every connection, with one thread.
ECHOES = f"""
import resource, selectors, socket
_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
listener = socket.create_server(("{BACKEND_IP}", {ECHO}), backlog=65535)
ready = selectors.DefaultSelector()
ready.register(listener, selectors.EVENT_READ)
while True:
    for key, _ in ready.select():
        if key.fileobj is listener:
            ready.register(listener.accept()[0], selectors.EVENT_READ)
        elif byte := key.fileobj.recv(1):
            key.fileobj.send(byte)
        else:
            ready.unregister(key.fileobj)
            key.fileobj.close()
"""

# Opens connections; asks on each of them, then again whenever it reads a line.
HOLDS = """
import resource, socket, sys
address, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
held = []
def ask(sock):
    sock.send(b"?")
    return sock.recv(1) == b"?"
for _ in range(count):
    held.append(socket.create_connection((address, port), 20))
    ask(held[-1])
print(len(held), flush=True)
for _ in sys.stdin:
    print(sum(map(ask, held)), flush=True)
"""

SPLICING = {
    "haproxy": {"tuning": "", "splicing": ""},
    "haproxy-splice": {
        "tuning": "  tune.pipesize 524288",
        "splicing": "  option splice-auto\n  option splice-request\n  option splice-response",
    },
}

SYSCTLS = {
    "ipv4/ip_local_port_range": "1024 65535",
    "ipv4/tcp_tw_reuse": "1",
    "ipv4/ip_forward": "1",
    "core/somaxconn": "65535",
    "ipv4/tcp_max_syn_backlog": "65535",
}
PLACES = {
    "node": (
        "link set lo up",
        "link add to-client type veth peer name eth0 netns client",
        "link add to-backend type veth peer name eth0 netns backend",
        "address add 10.0.1.1/24 dev to-client",
        f"address add {NODE_IP}/24 dev to-backend",
        "link set to-client up",
        "link set to-backend up",
        "route add local 10.96.0.0/12 dev lo",
    ),
    "client": (
        "link set lo up",
        "address add 10.0.1.2/24 dev eth0",
        "link set eth0 up",
        "route add default via 10.0.1.1",
    ),
    "backend": (
        "link set lo up",
        f"address add {BACKEND_IP}/24 dev eth0",
        "link set eth0 up",
        f"route add default via {NODE_IP}",
    ),
}


@dataclass(frozen=True, slots=True)
class Load:
    """What is measured: how, in which unit, and the ratios to each HAProxy that we want."""

    name: str
    unit: str
    targets: Mapping[str, float]
    measure: Callable[["Bench", str], float]

    @property
    def relays(self) -> tuple[str, ...]:
        """Return the relays that are measured."""
        return ("podwire", *self.targets)


class Bench:
    """Three namespaces with a client, a node and a backend."""

    def __init__(self, folder: Path, seconds: int, say: Callable[[str], None]) -> None:
        self.folder = folder
        self.say = say
        self.seconds = seconds

    def build(self, stack: ExitStack) -> None:
        """Make the namespaces, and start what serves in the backend's."""
        spaces.own_run()
        stack.enter_context(spaces.made(PLACES))
        for place in PLACES:
            spaces.set_sysctls(place, SYSCTLS)
        config = self.folder / "nginx.conf"
        config.write_text(NGINX.format(folder=self.folder, address=BACKEND_IP, port=WEB))
        for command in (
            ("nginx", "-p", str(self.folder), "-c", str(config)),
            ("iperf3", "-s", "-p", str(BULK)),
            (sys.executable, "-c", ECHOES),
        ):
            stack.enter_context(spaces.running("backend", *command))
        self.answering(BACKEND_IP)

    def answering(self, address: str, port: int = WEB) -> None:
        """Wait until *port* of *address* answers the client; at most 10 seconds."""
        probe = f"import socket; socket.create_connection(('{address}', {port}), 1).close()"
        command = spaces.inside("client", sys.executable, "-c", probe)
        end = time.monotonic() + 10
        while time.monotonic() < end:
            if subprocess.run(command, check=False, stderr=subprocess.DEVNULL).returncode == 0:
                return
        raise SystemExit(f"{address}:{port} does not answer")

    def wrk(self, address: str, *options: str) -> float:
        """Return the requests per second that wrk reports."""
        text = self._output(
            "wrk", "-t", "1", "-c", str(CONNECTIONS), "-d", str(self.seconds), *options,
            f"http://{address}/",
        )  # fmt: skip
        bad = re.search(r"Socket errors: .*|Non-2xx.*", text)
        if bad:
            self.say(f"    ({address}: {bad.group(0)})")
        found = re.search(r"Requests/sec:\s+([\d.]+)", text)
        return float(found.group(1)) if found else 0.0

    def iperf(self, address: str) -> float:
        """Return Gbit/s that arrived."""
        text = self._output("iperf3", "-c", address, "-p", str(BULK), "-t", str(self.seconds), "-J")
        return float(json.loads(text)["end"]["sum_received"]["bits_per_second"]) / 1e9

    def _output(self, *command: str) -> str:
        """Run *command* at the client to its end and return what it printed."""
        inside = spaces.inside("client", *command)
        done = subprocess.run(inside, check=False, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)}: {done.stdout}{done.stderr}")
        return done.stdout


LOADS = (
    Load("bulk", "Gbit/s", {"haproxy": 1.3, "haproxy-splice": 1.0}, Bench.iperf),
    Load("keepalive", "requests/s", {"haproxy": 0.75}, Bench.wrk),
    Load(
        "new",
        "connections/s",
        {"haproxy": 0.7},
        lambda bench, address: bench.wrk(address, "-H", "Connection: close"),
    ),
)


def main() -> int:
    """Run the comparison; the inner call of itself is in namespaces of its own."""
    command = Benchmark(__doc__ or "", rounds=5)
    parser = command.parser
    parser.add_argument("--seconds", type=int, default=3, help="length of each measurement")
    parser.add_argument(
        "--only", default="bulk,keepalive,new,held,nftables", help="loads, comma-separated"
    )
    parser.add_argument("--held", type=int, default=8000, help="connections that are held")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = command.parse(sys.argv[1:])
    if not options.inside:
        return spaces.again(__file__, sys.argv[1:], programs=PROGRAMS, packages=PACKAGES)
    wanted = options.only.split(",")
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        bench = Bench(Path(folder), options.seconds, command.say)
        bench.build(stack)
        loads = [load for load in LOADS if load.name in wanted]
        figures = compare(bench, loads, options.rounds) if loads else []
        if "held" in wanted:
            figures.append(held(bench, options.held))
        if "nftables" in wanted:
            figures += compare_rules(bench, options.rounds)
        return command.finish(figures, options)


def compare(bench: Bench, loads: Sequence[Load], rounds: int) -> list[Figure]:
    """Return all relays' numbers and our ratios to the others; print them round by round."""
    commands = {"podwire": served("relay", CLUSTER_IPS["podwire"], WEB, BULK)}
    for name, settings in SPLICING.items():
        config = bench.folder / f"{name}.cfg"
        config.write_text(
            HAPROXY.format(
                cluster_ip=CLUSTER_IPS[name], backend=BACKEND_IP, web=WEB, bulk=BULK, **settings
            )
        )
        commands[name] = ("haproxy", "-db", "-q", "-f", str(config))
    figures = list[Figure]()
    for load in loads:
        direct = load.measure(bench, BACKEND_IP)
        bench.say(f"direct   {load.name:<10} {direct:>10,.1f} {load.unit}")
        figures.append(Figure(f"direct: {load.name}", load.unit, (direct,), more_is_better=True))
    ratios = defaultdict[tuple[str, str], list[float]](list)
    rates = defaultdict[tuple[str, str], list[float]](list)
    with ExitStack() as stack:
        for relay, command in commands.items():
            stack.enter_context(spaces.running("node", *command))
            bench.answering(CLUSTER_IPS[relay])
        for turn in range(rounds):
            for load in loads:
                # The measurements of a ratio follow each other at once, and who comes first changes
                # with the round: so what else the machine does falls on all of them.
                order = load.relays if turn % 2 == 0 else tuple(reversed(load.relays))
                seen = {relay: load.measure(bench, CLUSTER_IPS[relay]) for relay in order}
                for relay in load.relays:
                    rates[relay, load.name].append(seen[relay])
                for relay in load.targets:
                    ratio = seen["podwire"] / seen[relay] if seen[relay] else 0.0
                    ratios[relay, load.name].append(ratio)
                    bench.say(
                        f"round {turn + 1}  {load.name:<10} podwire {seen['podwire']:>10,.1f}  "
                        f"{relay} {seen[relay]:>10,.1f} {load.unit:<14} ratio {ratio:.2f}"
                    )
    for load in loads:
        figures += [
            Figure(
                f"{relay}: {load.name}",
                load.unit,
                tuple(rates[relay, load.name]),
                more_is_better=True,
            )
            for relay in load.relays
        ]
        figures += [
            Figure(
                f"podwire to {relay}: {load.name}",
                "x",
                tuple(ratios[relay, load.name]),
                goal=goal,
                more_is_better=True,
            )
            for relay, goal in load.targets.items()
        ]
    return figures


def held(bench: Bench, count: int) -> Figure:
    """Return by how many KiB the relay grows for each of *count* connections that are open."""
    address = CLUSTER_IPS["podwire"]
    client = (sys.executable, "-c", HOLDS, address, str(ECHO))
    with spaces.running("node", *served("relay", address, ECHO)) as relay:
        bench.answering(address, ECHO)
        # What it makes once, for the first connections, belongs to none of them.
        for number in (100, count):
            before = proportional_memory(relay.pid)
            with spaces.running("client", *client, str(number), talks=True) as holder:
                opened = _said(holder)
                grown = (proportional_memory(relay.pid) - before) / 1024 / number
                answered = _said(holder, b"again\n")
                bench.say(f"held     {answered:,} of {opened:,} connections, {grown:.2f} KiB each")
        if (opened, answered) != (count, count):
            raise SystemExit(f"{opened} of {count} connections were opened, {answered} are held")
    return Figure(f"podwire: each of {count:,} connections", "KiB", (grown,), goal=10.0)


def compare_rules(bench: Bench, rounds: int) -> list[Figure]:
    """Return the throughput of the mode nftables and of one DNAT rule, and their ratio."""
    rates = defaultdict[str, list[float]](list)
    ratios: list[float] = []
    for turn in range(rounds):
        for rules in RULES if turn % 2 == 0 else reversed(RULES):
            with spaces.running("node", *served(rules, RULES_IP, BULK), talks=True) as process:
                _said(process)
                rates[rules].append(bench.iperf(RULES_IP))
        ratios.append(rates["nftables"][-1] / rates["one-rule"][-1])
        seen = "  ".join(f"{rules} {found[-1]:.1f}" for rules, found in sorted(rates.items()))
        bench.say(f"round {turn + 1}  rules      {seen} Gbit/s  ratio {ratios[-1]:.2f}")
    return [
        *(
            Figure(f"{rules}: bulk", "Gbit/s", tuple(found), more_is_better=True)
            for rules, found in sorted(rates.items())
        ),
        Figure(
            "nftables to one DNAT rule: bulk", "x", tuple(ratios), goal=0.95, more_is_better=True
        ),
    ]


def served(how: str, address: str, *ports: int) -> tuple[str, ...]:
    """Return what leads *ports* of *address* to the backend, see bench/relay_node.py."""
    program = str(Path(__file__).with_name("relay_node.py"))
    return (sys.executable, "-P", program, how, address, BACKEND_IP, *map(str, ports))


def _said(process: subprocess.Popen[bytes], line: bytes = b"") -> int:
    """Return the number that *process* says, after it was told *line*."""
    if process.stdin is None or process.stdout is None:
        raise ValueError("it does not talk")
    process.stdin.write(line)
    process.stdin.flush()
    return int(process.stdout.readline() or 0)


if __name__ == "__main__":
    sys.exit(main())
