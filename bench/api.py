"""How fast the API server answers kubectl, lists, and tells a thousand watchers; and what it keeps.

    .venv/bin/python -P bench/api.py [--rounds N] [--check] [-o json]

An API server alone (bench/api_server.py), over TLS with a client certificate, as kubectl comes:

    get pods    `kubectl get pods` of 100 pods, minus the same command against a peer that sends the
                same bytes from memory: what is left is the server's own time. The two take turns.
    list        GET of 5,000 pods of 3.7 kB, from the request to the last byte
    watches     1,000 watches of one kind, 20 changes a second: from just before a change is sent to
                the arrival of its event, for each watcher
    churn       pods made, changed and deleted without end: how much the server's memory (RSS) grows
                in twice as many changes as it remembers, once its memory of changes is full
"""

import asyncio
import http.client
import json
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, cast

import uvloop

from podwire.emulator.apiserver.store import HISTORY
from podwire.errors import MachineError, PodwireError
from podwire.testing.benchmark import Benchmark
from podwire.testing.figures import Figure, number

Json = dict[str, Any]

PODS = "/api/v1/namespaces/default/pods"
CONFIGMAPS = "/api/v1/namespaces/default/configmaps"
FEW, MANY = 100, 5_000
WATCHERS, CHANGES_A_SECOND, SECONDS = 1_000, 20, 10
STAMP = b'"stamp":"'


def main(argv: Sequence[str]) -> int:
    """Measure and print."""
    bench = Benchmark(__doc__ or "", rounds=20)
    options = bench.parse(argv)
    figures = list[Figure]()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with serving(folder) as server:
            bench.say(f"kubectl get pods, {options.rounds} times each")
            figures += kubectl_figures(server, folder, options.rounds)
        with serving(folder) as server:
            bench.say(f"GET of {MANY} pods, {options.rounds} times")
            figures.append(Figure(f"list of {MANY} pods", "ms", lists(server, options.rounds), 150))
        with serving(folder) as server:
            bench.say(f"{WATCHERS} watches, {CHANGES_A_SECOND} changes/s for {SECONDS} s")
            delays = uvloop.run(watches(server))
            what = f"change to {WATCHERS} watchers"
            figures.append(Figure(what, "ms", delays))
            figures.append(Figure(what, "ms", delays, goal=50, judged_by=99))
        with serving(folder) as server:
            bench.say(f"{4 * HISTORY} changes")
            before, after = churn(server)
            bench.say(f"memory {number(before)} MB, then {number(after)} MB")
            what = f"memory of {2 * HISTORY} changes more"
            figures.append(Figure(what, "MB", (after - before,), 5))
    return bench.finish(figures, options)


class Server:
    """A server in a process of its own."""

    def __init__(self, port: int, pid: int, folder: Path) -> None:
        self.port = port
        self.pid = pid
        self.folder = folder
        self.context = ssl.create_default_context(cafile=folder / "ca.crt")
        self.context.load_cert_chain(folder / "client.crt", folder / "client.key")

    def connect(self) -> http.client.HTTPSConnection:
        """Return a connection that is kept open."""
        found = http.client.HTTPSConnection("127.0.0.1", self.port, context=self.context)
        found.connect()
        found.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return found

    def memory(self) -> float:
        """Return its resident memory in MB."""
        text = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        line = next(line for line in text.splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) / 1024


@contextmanager
def serving(folder: Path) -> Generator[Server]:
    """Run a server while the block runs."""
    program = Path(__file__).with_name("api_server.py")
    process = subprocess.Popen(
        [sys.executable, "-P", str(program), str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdin is not None
        line = process.stdout.readline()
        if not line:
            raise PodwireError("the API server did not start: see what it said above")
        yield Server(int(line), process.pid, folder)
        process.stdin.close()
        process.wait(20)
    finally:
        process.kill()
        process.wait()


def ask(connection: http.client.HTTPSConnection, method: str, path: str, obj: Json | None) -> bytes:
    """Send one request and return the body of the answer; raises PodwireError."""
    body = None if obj is None else json.dumps(obj)
    kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
    connection.request(method, path, body, {"Content-Type": kind})
    answer = connection.getresponse()
    content = answer.read()
    if answer.status >= 300:
        raise PodwireError(f"{method} {path}: {answer.status} {content[:300]!r}")
    return content


def pod(name: str, padding: int = 0) -> Json:
    """Return a pod that nobody schedules; *padding* bytes make it as large as a running one."""
    container = {"name": "app", "image": "nginx", "ports": [{"containerPort": 80}]}
    return {
        "metadata": {"name": name, "annotations": {"padding": "x" * padding}},
        "spec": {"schedulerName": "nobody", "containers": [container]},
    }


def fill(server: Server, count: int, padding: int = 0) -> None:
    """Make pods."""
    connection = server.connect()
    for index in range(count):
        ask(connection, "POST", PODS, pod(f"pod-{index:05}", padding))
    connection.close()


def kubectl_figures(server: Server, folder: Path, rounds: int) -> list[Figure]:
    """Return how long `kubectl get pods` takes, and how much of it is the server's."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        raise MachineError("kubectl is not installed: 1.29 or newer is needed")
    fill(server, FEW)
    with serving_from_memory(server, folder) as peer:
        for port in (server.port, peer):
            get_pods(kubectl, folder, port)  # fills kubectl's cache, and the peer's memory
            get_pods(kubectl, folder, port)
        times = [
            (get_pods(kubectl, folder, server.port), get_pods(kubectl, folder, peer))
            for _ in range(rounds)
        ]
    return [
        Figure("kubectl get pods", "ms", tuple(ours for ours, _ in times)),
        Figure("of it the server's", "ms", tuple(ours - peer for ours, peer in times), 10),
    ]


def get_pods(kubectl: str, folder: Path, port: int) -> float:
    """Run `kubectl get pods`; return milliseconds."""
    command = [kubectl, "--kubeconfig", str(folder / "kubeconfig"), "get", "pods"]
    command += ["--server", f"https://127.0.0.1:{port}", "--cache-dir", str(folder / "cache")]
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    took = time.perf_counter() - began
    if done.returncode or len(done.stdout.splitlines()) != FEW + 1:
        raise PodwireError(f"kubectl get pods: {done.stderr or done.stdout[:300]}")
    return took * 1e3


@contextmanager
def serving_from_memory(server: Server, folder: Path) -> Generator[int]:
    """Run a peer that answers what the server once answered; gives its port."""
    program = Path(__file__).with_name("api_memory.py")
    process = subprocess.Popen(
        [sys.executable, "-P", str(program), str(folder), str(server.port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()


def lists(server: Server, rounds: int) -> tuple[float, ...]:
    """Return how long the list of all pods takes, in milliseconds."""
    fill(server, MANY, padding=2_400)
    connection = server.connect()
    times, content = list[float](), b""
    for _ in range(rounds + 1):
        began = time.perf_counter()
        content = ask(connection, "GET", "/api/v1/pods", None)
        times.append((time.perf_counter() - began) * 1e3)
    found = len(json.loads(content)["items"])
    if found != MANY:
        raise PodwireError(f"{found} pods listed, not {MANY}")
    return tuple(times[1:])


class Watcher(asyncio.Protocol):
    """One watch; notes how old each event is when it arrives."""

    def __init__(self, opened: asyncio.Semaphore, delays: list[float]) -> None:
        self._opened = opened
        self._delays = delays
        self._rest = b""
        self._answered = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask."""
        url = f"{CONFIGMAPS}?watch=1&timeoutSeconds=600&resourceVersion=0"
        # uvloop's transports have the methods, not the class.
        cast("asyncio.Transport", transport).write(
            f"GET {url} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        """Read the stamps of whole events."""
        now = time.time()
        if not self._answered:
            self._answered = True
            self._opened.release()
        pieces = (self._rest + data).split(b"\n")
        self._rest = pieces.pop()
        for piece in pieces:
            _, found, rest = piece.partition(STAMP)
            if found:
                self._delays.append((now - float(rest[: rest.index(b'"')])) * 1e3)


async def watches(server: Server) -> tuple[float, ...]:
    """Return the age of each event at its arrival, in milliseconds."""
    connection = server.connect()
    ask(connection, "POST", CONFIGMAPS, {"metadata": {"name": "changing"}, "data": {"a": "b"}})
    opened, delays = asyncio.Semaphore(0), list[float]()
    async with watching(server, opened, delays):
        for _ in range(WATCHERS):
            await opened.acquire()
        await asyncio.sleep(1)
        began = time.monotonic()
        loop = asyncio.get_running_loop()
        for number_ in range(CHANGES_A_SECOND * SECONDS):
            await asyncio.sleep(began + number_ / CHANGES_A_SECOND - time.monotonic())
            change = {"data": {"stamp": repr(time.time())}}
            path = f"{CONFIGMAPS}/changing"
            await loop.run_in_executor(None, ask, connection, "PATCH", path, change)
        await asyncio.sleep(1)
    wanted = WATCHERS * CHANGES_A_SECOND * SECONDS
    if len(delays) != wanted:
        raise PodwireError(f"{len(delays)} events arrived, not {wanted}")
    return tuple(delays)


@asynccontextmanager
async def watching(
    server: Server, opened: asyncio.Semaphore, delays: list[float]
) -> AsyncGenerator[None]:
    """Keep the watches open."""
    loop = asyncio.get_running_loop()
    transports = [
        (
            await loop.create_connection(
                lambda: Watcher(opened, delays), "127.0.0.1", server.port, ssl=server.context,
                server_hostname="localhost",
            )
        )[0]
        for _ in range(WATCHERS)
    ]  # fmt: skip
    try:
        yield
    finally:
        for transport in transports:
            transport.abort()


def churn(server: Server) -> tuple[float, float]:
    """Return the memory in MB when the server remembers all it can, and two memories later."""
    connection = server.connect()
    turn(connection, 2 * HISTORY, "a")
    before = server.memory()
    turn(connection, 2 * HISTORY, "b")
    return before, server.memory()


def turn(connection: http.client.HTTPSConnection, changes: int, prefix: str) -> None:
    """Make, change twice and delete pods, *changes* in all."""
    for index in range(changes // 4):
        name = f"{prefix}-{index}"
        ask(connection, "POST", PODS, pod(name))
        for word in ("one", "two"):
            ask(connection, "PATCH", f"{PODS}/{name}", {"metadata": {"labels": {"turn": word}}})
        ask(connection, "DELETE", f"{PODS}/{name}", None)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
