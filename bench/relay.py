"""Compares the proxy's TCP relay with HAProxy: same namespaces, same load, in turn.

    .venv/bin/python -P bench/relay.py [--rounds N] [--seconds S] [--only bulk,keepalive,new]
                                       [--check] [-o json]

Makes three network namespaces of its own, client -- node -- backend, joined by veth pairs. On the
node the two relays listen on a ClusterIP each; wrk and iperf3 run in the client's namespace, nginx
and iperf3 in the backend's. Each round measures both relays, one after the other, and prints their
ratio; the goals are for the ratios' medians. "direct" is without a relay.

Needs haproxy, wrk, iperf3, nginx, ip, nsenter and unshare; works as root and as an ordinary user
who may make user namespaces. Everything runs in a PID namespace that ends with this program, so
nothing is left behind however it ends. HAProxy has one thread, TCP mode, splice both ways, and
pipes as large as the proxy's.
"""

import argparse
import asyncio
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

import uvloop

from podwire.proxy.endpoints import Backend
from podwire.proxy.table import PortName, Target
from podwire.proxy.userspace.changes import between
from podwire.proxy.userspace.limits import raise_file_limit
from podwire.proxy.userspace.listeners import Listeners
from podwire.proxy.userspace.routes import Frontend, Route
from podwire.proxy.userspace.tcp import Relay
from podwire.testing.benchmark import Benchmark
from podwire.testing.figures import Figure

CLUSTER_IPS = {"podwire": "10.96.0.80", "haproxy": "10.96.0.81"}
NODE_IP = "10.0.2.1"
BACKEND_IP = "10.0.2.2"
WEB, BULK = 80, 5201
PROGRAMS = ("haproxy", "wrk", "iperf3", "nginx", "ip", "nsenter", "unshare")
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
  tune.pipesize 524288
defaults
  mode tcp
  option splice-auto
  option splice-request
  option splice-response
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

SYSCTLS = {
    "net/ipv4/ip_local_port_range": "1024 65535",
    "net/ipv4/tcp_tw_reuse": "1",
    "net/ipv4/ip_forward": "1",
    "net/core/somaxconn": "65535",
    "net/ipv4/tcp_max_syn_backlog": "65535",
}


@dataclass(frozen=True, slots=True)
class Load:
    """What is measured: how, in which unit, and the ratio to HAProxy that we want."""

    name: str
    unit: str
    target: float
    measure: Callable[["Bench", str], float]


class Bench:
    """Three namespaces with a client, a node and a backend."""

    def __init__(self, folder: Path, seconds: int, say: Callable[[str], None]) -> None:
        self.folder = folder
        self.say = say
        self.seconds = seconds
        self._spaces: dict[str, int] = {}

    @contextmanager
    def running(self, space: str, *command: str) -> Generator[subprocess.Popen[bytes], None, None]:
        """Run *command* in *space* until the block is left."""
        process = subprocess.Popen(self._in(space, command), stdout=subprocess.DEVNULL)
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def output(self, space: str, *command: str) -> str:
        """Run *command* in *space* to its end and return what it printed."""
        done = subprocess.run(self._in(space, command), check=False, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)}: {done.stdout}{done.stderr}")
        return done.stdout

    def build(self, stack: ExitStack) -> None:
        """Make the namespaces, and start what serves in the backend's."""
        for space in ("client", "node", "backend"):
            holder = stack.enter_context(self._holder())
            self._spaces[space] = holder.pid
        self._wire("client", "10.0.1.2/24", "node", "10.0.1.1/24")
        self._wire("backend", f"{BACKEND_IP}/24", "node", f"{NODE_IP}/24")
        self.output("client", "ip", "route", "add", "default", "via", "10.0.1.1")
        self.output("backend", "ip", "route", "add", "default", "via", NODE_IP)
        self.output("node", "ip", "route", "add", "local", "10.96.0.0/12", "dev", "lo")
        config = self.folder / "nginx.conf"
        config.write_text(NGINX.format(folder=self.folder, address=BACKEND_IP, port=WEB))
        stack.enter_context(
            self.running("backend", "nginx", "-p", str(self.folder), "-c", str(config))
        )
        stack.enter_context(self.running("backend", "iperf3", "-s", "-p", str(BULK)))
        self.answering("client", BACKEND_IP)

    def answering(self, space: str, address: str) -> None:
        """Wait until *address* serves the web page and the bulk sink; at most 10 seconds."""
        probe = f"import socket; socket.create_connection(('{address}', {WEB}), 1).close()"
        end = time.monotonic() + 10
        while time.monotonic() < end:
            command = self._in(space, (sys.executable, "-c", probe))
            if subprocess.run(command, check=False, stderr=subprocess.DEVNULL).returncode == 0:
                return
        raise SystemExit(f"{address}:{WEB} does not answer")

    def wrk(self, address: str, *options: str) -> float:
        """Return the requests per second that wrk reports."""
        text = self.output(
            "client", "wrk", "-t", "1", "-c", str(CONNECTIONS), "-d", str(self.seconds), *options,
            f"http://{address}/",
        )  # fmt: skip
        bad = re.search(r"Socket errors: .*|Non-2xx.*", text)
        if bad:
            self.say(f"    ({address}: {bad.group(0)})")
        found = re.search(r"Requests/sec:\s+([\d.]+)", text)
        return float(found.group(1)) if found else 0.0

    def iperf(self, address: str) -> float:
        """Return Gbit/s that arrived."""
        text = self.output(
            "client", "iperf3", "-c", address, "-p", str(BULK), "-t", str(self.seconds), "-J"
        )
        return float(json.loads(text)["end"]["sum_received"]["bits_per_second"]) / 1e9

    def _in(self, space: str, command: Sequence[str]) -> list[str]:
        return ["nsenter", "-t", str(self._spaces[space]), "-n", "--", *command]

    @contextmanager
    def _holder(self) -> Generator[subprocess.Popen[bytes], None, None]:
        settings = " && ".join(f"echo '{v}' > /proc/sys/{name}" for name, v in SYSCTLS.items())
        script = f"ip link set lo up && {settings} && echo ready && exec sleep infinity"
        process = subprocess.Popen(["unshare", "-n", "sh", "-c", script], stdout=subprocess.PIPE)
        try:
            if not process.stdout or not process.stdout.readline():
                raise SystemExit("cannot make a network namespace")
            yield process
        finally:
            process.kill()
            process.wait()
            if process.stdout:
                process.stdout.close()

    def _wire(self, one: str, one_address: str, other: str, other_address: str) -> None:
        self.output(
            one, "ip", "link", "add", "eth0", "type", "veth", "peer", "name", f"to-{one}",
            "netns", str(self._spaces[other]),
        )  # fmt: skip
        for space, device, address in (
            (one, "eth0", one_address),
            (other, f"to-{one}", other_address),
        ):
            self.output(space, "ip", "address", "add", address, "dev", device)
            self.output(space, "ip", "link", "set", device, "up")


LOADS = (
    Load("bulk", "Gbit/s", 1.0, Bench.iperf),
    Load("keepalive", "requests/s", 0.6, Bench.wrk),
    Load("new", "connections/s", 0.5, lambda b, a: b.wrk(a, "-H", "Connection: close")),
)


def main() -> int:
    """Run the comparison; the inner call of itself is in namespaces of its own."""
    command = Benchmark(__doc__ or "", rounds=5)
    parser = command.parser
    parser.add_argument("--seconds", type=int, default=3, help="length of each measurement")
    parser.add_argument("--only", default="bulk,keepalive,new", help="loads, comma-separated")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = command.parse(sys.argv[1:])
    if options.serve:
        uvloop.run(serve())
        return 0
    if not options.inside:
        missing = [program for program in PROGRAMS if shutil.which(program) is None]
        if missing:
            sys.stderr.write(f"bench/relay.py needs {', '.join(missing)}; run: apt-get install "
                             "haproxy wrk iperf3 nginx-light iproute2 util-linux\n")  # fmt: skip
            return 69
        user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
        spaces = ["--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
        inner = [sys.executable, "-P", __file__, *sys.argv[1:], "--inside"]
        return subprocess.run(["unshare", *user, *spaces, *inner], check=False).returncode
    wanted = options.only.split(",")
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        bench = Bench(Path(folder), options.seconds, command.say)
        bench.build(stack)
        loads = [load for load in LOADS if load.name in wanted]
        return command.finish(compare(bench, loads, options.rounds), options)


def compare(bench: Bench, loads: Sequence[Load], rounds: int) -> list[Figure]:
    """Return both relays' numbers and ratios; print them round by round."""
    config = bench.folder / "haproxy.cfg"
    config.write_text(
        HAPROXY.format(cluster_ip=CLUSTER_IPS["haproxy"], backend=BACKEND_IP, web=WEB, bulk=BULK)
    )
    commands = {
        "podwire": (sys.executable, "-P", __file__, "--serve"),
        "haproxy": ("haproxy", "-db", "-q", "-f", str(config)),
    }
    figures = list[Figure]()
    for load in loads:
        direct = load.measure(bench, BACKEND_IP)
        bench.say(f"direct   {load.name:<10} {direct:>10,.1f} {load.unit}")
        figures.append(Figure(f"direct: {load.name}", load.unit, (direct,), more_is_better=True))
    ratios: dict[str, list[float]] = {load.name: [] for load in loads}
    rates = defaultdict[tuple[str, str], list[float]](list)
    with ExitStack() as stack:
        for relay, command in commands.items():
            stack.enter_context(bench.running("node", *command))
            bench.answering("client", CLUSTER_IPS[relay])
        for turn in range(rounds):
            # The two measurements of a ratio follow each other at once, and who comes first changes
            # with the round: so what else the machine does falls on both.
            order = list(commands) if turn % 2 == 0 else list(reversed(commands))
            for load in loads:
                seen = {relay: load.measure(bench, CLUSTER_IPS[relay]) for relay in order}
                ratio = seen["podwire"] / seen["haproxy"] if seen["haproxy"] else 0.0
                ratios[load.name].append(ratio)
                for relay, rate in seen.items():
                    rates[relay, load.name].append(rate)
                bench.say(
                    f"round {turn + 1}  {load.name:<10} podwire {seen['podwire']:>10,.1f}  "
                    f"haproxy {seen['haproxy']:>10,.1f} {load.unit:<14} ratio {ratio:.2f}"
                )
    for load in loads:
        figures += [
            Figure(
                f"{relay}: {load.name}",
                load.unit,
                tuple(rates[relay, load.name]),
                more_is_better=True,
            )
            for relay in commands
        ]
        figures.append(
            Figure(
                f"podwire to HAProxy: {load.name}",
                "x",
                tuple(ratios[load.name]),
                goal=load.target,
                more_is_better=True,
            )
        )
    return figures


async def serve() -> None:
    """Be the proxy: relay the two ports of the ClusterIP to the backend."""
    loop = asyncio.get_running_loop()
    relay = Relay(loop, limit=raise_file_limit() // 2)
    listeners = Listeners(relay, chance=random.random)
    table: dict[Frontend, Route] = {}
    for port in (WEB, BULK):
        target = Target("FORWARD", (Backend(IPv4Address(BACKEND_IP), port),))
        frontend = Frontend(IPv4Address(CLUSTER_IPS["podwire"]), port, "TCP")
        table[frontend] = Route(PortName("bench", "web"), "ClusterIP", target, target)
    failed = listeners.apply(between({}, table))
    if failed:
        raise SystemExit(f"cannot listen: {failed}")
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    listeners.close()
    relay.close()


if __name__ == "__main__":
    sys.exit(main())
