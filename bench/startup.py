"""How long `podwire up -f examples/web.yaml` takes to a first answer, and what the cluster weighs.

    .venv/bin/python -P bench/startup.py [--rounds N] [--check] [-o json]

Each round starts a cluster with a new kubeconfig, and times from the start of the process:

    command       the command has read its arguments and taken the cluster's name
    API           the API server has answered a request of ours over TLS
    DNS           the client pod has resolved web-svc.default.svc.cluster.local
    app           `curl http://web-svc` has succeeded in the client pod
    up returned   the command has ended: all that was applied is ready

Who looks on was there before: it reads /proc/net/unix and the kubeconfig's folder once a
millisecond, then watches the pod over the API, and starts one script in it. The script asks the DNS
server until there is an answer and calls curl until it succeeds: so what it says includes the start
of Python and of curl, as a user's own would.

The CPU time is that of all processes of the cluster and of the command until the first answer of
the app; it is less noisy than the clock.

Memory is the sum of the processes' PSS in a cluster with ten pods: the system's, the client and web
servers. These are the built-in ones, which weigh more than nginx, so it does not depend on whether
the machine has nginx. End other clusters first: they share the libraries' pages, and PSS divides.
"""

import asyncio
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from podwire.emulator import anchor
from podwire.errors import ApiError, PodwireError
from podwire.kube import stream
from podwire.kube.config import Access, load
from podwire.kube.plain import Connection, WebSocket
from podwire.testing import processes
from podwire.testing.benchmark import Benchmark
from podwire.testing.figures import Figure, number, table
from podwire.testing.launch import launch

MANIFEST = Path(__file__).resolve().parent.parent / "examples" / "web.yaml"
PODWIRE = (sys.executable, "-P", "-m", "podwire")
LIMIT = 30.0
PODS = 10
PHASES = ("command", "API", "DNS", "app", "up returned")

# Not getent: it waits seconds when a question meets no server and the kernel sends no refusal.
_QUESTION = """
import socket, struct
parts = b"web-svc.default.svc.cluster.local".split(b".")
name = b"".join(bytes([len(part)]) + part for part in parts)
asked = struct.pack(">6H", 7, 256, 1, 0, 0, 0) + name + struct.pack(">x2H", 1, 1)
server = next(l.split()[1] for l in open("/etc/resolv.conf") if l.startswith("nameserver"))
while True:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(0.01)
        try:
            sock.connect((server, 53))
            sock.send(asked)
            answer = sock.recv(512)
        except OSError:
            continue
        if answer[3] & 15 == 0 and answer[7]:
            break
"""
_SCRIPT = f"""
{sys.executable} -IS -c '{_QUESTION}' && echo DNS
until curl -sf -o /dev/null http://web-svc; do sleep 0.005; done; echo app
"""


@dataclass
class Round:
    """What one start took: seconds since the command's start by phase, and CPU seconds."""

    began: float
    reached: dict[str, float] = field(default_factory=dict[str, float])
    cpu: float = 0.0
    down: float = 0.0

    def mark(self, phase: str) -> None:
        """Note that *phase* is reached now."""
        self.reached[phase] = time.monotonic() - self.began


def main(argv: Sequence[str]) -> int:
    """Measure and print."""
    bench = Benchmark(__doc__ or "", rounds=7)
    options = bench.parse(argv)
    rounds = list[Round]()
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(options.rounds):
            rounds.append(one_round(f"bench-{os.getpid()}-{turn}", Path(folder) / str(turn)))
            bench.say(f"round {turn + 1:2}  {shown(rounds[-1])}")
        weights, pods = weigh(f"bench-{os.getpid()}-memory", Path(folder) / "memory")
    others = anchor.running()
    if others:
        bench.say(f"\nalso running: {', '.join(others)}: the memory below is too low")
    bench.say(f"\nmemory of a cluster with {pods} pods\n{by_kind(weights)}")
    figures = [
        Figure(f"start-up: {phase}", "s", tuple(r.reached[phase] for r in rounds))
        for phase in PHASES
        if phase != "app"
    ]
    first_answers = tuple(r.reached["app"] for r in rounds)
    figures += [
        Figure("start-up: first answer of the app", "s", first_answers, goal=1.0, limit=2.5),
        Figure("start-up: CPU time until then", "s", tuple(r.cpu for r in rounds)),
        Figure("podwire down", "s", tuple(r.down for r in rounds)),
        Figure("memory of 10 pods", "MB", (sum(p for _, p in weights) / 1e6,), goal=200.0),
    ]
    return bench.finish(figures, options)


def one_round(name: str, folder: Path) -> Round:
    """Start a cluster, watch it come up, end it."""
    folder.mkdir()
    kubeconfig = folder / "kubeconfig"
    command = [*PODWIRE, "up", "-f", str(MANIFEST), "--name", name, "--kubeconfig", str(kubeconfig)]
    environ = {**os.environ, "KUBECONFIG": str(kubeconfig)}
    with (folder / "log").open("w+") as log:
        before = children_cpu()
        measured = Round(time.monotonic())
        up = subprocess.Popen(command, stdout=log, stderr=log, env=environ)

        def wait() -> None:
            up.wait()
            measured.mark("up returned")

        waiter = threading.Thread(target=wait)
        waiter.start()
        try:
            look_on(measured, up, name, kubeconfig)
            waiter.join(LIMIT)
            measured.cpu += children_cpu() - before
        except (PodwireError, TimeoutError, OSError):
            up.terminate()
            log.seek(0)
            sys.stderr.write(log.read())
            raise
        finally:
            waiter.join(LIMIT)
            began = time.monotonic()
            subprocess.run([*PODWIRE, "down", "--name", name], env=environ, check=False,
                           capture_output=True)  # fmt: skip
            measured.down = time.monotonic() - began
    return measured


def look_on(measured: Round, up: "subprocess.Popen[bytes]", name: str, kubeconfig: Path) -> None:
    """Mark each phase when it is reached."""
    socket_name = f"@podwire/{os.getuid()}/{name}\n"
    until(up, lambda: socket_name in Path("/proc/net/unix").read_text())
    measured.mark("command")
    until(up, kubeconfig.exists)
    access = load([kubeconfig])
    with Connection(access) as connection:
        connection.get("/api/v1/nodes")
        measured.mark("API")
        wait_running(connection, "client")
        socket = exec_when_possible(access, ["sh", "-c", _SCRIPT])

        def heard(data: bytes) -> None:
            for word in data.decode().split():
                measured.mark(word)

        result = stream.collected(socket, stdout=heard)
        socket.close()
    if "app" not in measured.reached:
        raise PodwireError(f"the script in the client pod failed: {result.stderr.decode()}")
    root = anchor.request(name, {"op": "status"})["pid"]
    measured.cpu = sum(process.cpu for process in processes.descendants(root))


def children_cpu() -> float:
    """Return the CPU seconds of all processes that were started here and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def until(up: "subprocess.Popen[bytes]", holds: Callable[[], bool]) -> None:
    """Return when *holds* does; raises PodwireError when the command has failed."""
    end = time.monotonic() + LIMIT
    while not holds():
        if up.returncode:
            raise PodwireError(f"podwire up ended with {up.returncode}")
        if time.monotonic() > end:
            raise TimeoutError("the cluster did not come up")
        time.sleep(0.001)


def wait_running(connection: Connection, name: str) -> None:
    """Return when the pod's container has started."""
    query = {"watch": "true", "fieldSelector": f"metadata.name={name}"}
    end = time.monotonic() + LIMIT
    pods = "/api/v1/namespaces/default/pods"
    for event in connection.lines(pods, query, left=lambda: end - time.monotonic()):
        if event["object"].get("status", {}).get("phase") == "Running":
            return


def exec_when_possible(access: Access, command: Sequence[str]) -> WebSocket:
    """Start a command in the client pod, which may be a moment away from taking it."""
    end = time.monotonic() + LIMIT
    while True:
        try:
            with Connection(access) as connection:
                return stream.opened(connection, stream.pod_path("default", "client"), command)
        except ApiError:
            if time.monotonic() > end:
                raise
            time.sleep(0.005)


def weigh(name: str, folder: Path) -> tuple[list[tuple[str, int]], int]:
    """Return kind and PSS in bytes of each process of a cluster, and how many pods that has."""
    return asyncio.run(_weigh(name, folder))


async def _weigh(name: str, folder: Path) -> tuple[list[tuple[str, int]], int]:
    launched = await asyncio.to_thread(launch, name, folder)
    try:
        cluster = launched.cluster
        text = await asyncio.to_thread(MANIFEST.read_text, "utf-8")
        await cluster.apply(text.replace("image: nginx", "image: podwire/web"))
        await cluster.ready()
        listing = await cluster.get("/api/v1/pods")
        others = [pod for pod in listing["items"] if pod["metadata"]["labels"].get("app") != "web"]
        await cluster.scale("web", PODS - len(others))
        await cluster.ready()
        listing = await cluster.get("/api/v1/pods")
        tree = processes.descendants(anchor.request(name, {"op": "status"})["pid"])
        weights = [(p.kind, processes.proportional_memory(p.pid)) for p in tree]
        return weights, len(listing["items"])
    finally:
        await asyncio.to_thread(launched.end)


def by_kind(weights: Sequence[tuple[str, int]]) -> str:
    """Return the table of memory by kind of process."""
    rows = [("process", "number", "PSS MB", "each MB")]
    for kind in sorted({kind for kind, _ in weights}):
        sizes = [size / 1e6 for other, size in weights if other == kind]
        each = number(sum(sizes) / len(sizes))
        rows.append((kind, str(len(sizes)), number(sum(sizes)), each))
    total = sum(size for _, size in weights) / 1e6
    return table([*rows, ("all", str(len(weights)), number(total), "")])


def shown(measured: Round) -> str:
    """Return one round as a line."""
    times = "   ".join(f"{phase} {measured.reached[phase]:.2f} s" for phase in PHASES)
    return f"{times}   (CPU {measured.cpu:.2f} s, down {measured.down:.2f} s)"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
