"""How long `docker compose up --wait` takes, and how soon nodes follow what the engine does.

    .venv/bin/python -P bench/containers.py [--rounds N] [--changes N] [--check] [-o json]

As root with dockerd an engine is started in a network namespace of its own; else the engine that
answers is used. The image is built first, which is not measured. Each round times, as a user does:

    up      `docker compose up --wait` of docker-compose.yml, until the command has ended
    curl    right after it `docker compose exec client curl http://web-svc`, the first one
    down    `docker compose down --volumes`
    floor   `up --wait` of as many containers of the same image, spread over as many networks, that
            only sleep and wait for nothing: what the engine and Compose cost anybody

Then, in the last cluster, a web container is paused, unpaused, killed and started, N times
(--changes). Per change: from the time that the engine gives its event (timeNano) to the moment at
which the proxies of both nodes have applied it, the later of the two. The event is `pause` and
`kill`; after `unpause` and `start` it is the `health_status: healthy` that makes the container
ready again. What the engine and the health check take until that event is not in it.

A proxy's moment is kubeproxy_sync_proxy_rules_last_timestamp_seconds: the clock of the same kernel,
read by the proxy itself after the sync, in 17 digits. Which sync is the one is told by
kubeproxy_sync_proxy_rules_endpoint_changes_total: the first after which the proxy has heard of as
many more changes than before the event as EndpointSlices hold the container. A program in the
container `api` reads both nodes' metrics every 2 ms, on the same CPUs. Where a later sync came
before the reader, that one's time is taken: then the delay is an upper bound. It would be too short
if another pod's endpoints changed between the event and its sync, which cannot be told apart; so
nothing may have changed for half a second before. No packets are looked at.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

import pytest

from podwire.errors import MachineError
from podwire.proxy.endpoints import HEADLESS_LABEL
from podwire.testing.benchmark import Benchmark
from podwire.testing.figures import Figure

# Behind all others: our folder `dns` must not stand in for somebody else's package.
sys.path.append(str(Path(__file__).resolve().parent.parent))

from tests.needs import need
from tests.system.docker.engine import Engine, engine
from tests.system.docker.image import build
from tests.system.docker.project import Project

Json = dict[str, Any]
NODES = ("node-a", "node-b")
WEB = ("web", 2)
# Keeps the subnets and ports apart from those of tests that run on the same engine.
NUMBER = 8
# Seconds in which nothing has happened before the next change is made.
QUIET = 0.5
# What is done to the container, and the event that counts.
CHANGES = {
    "pause": "pause",
    "unpause": "health_status: healthy",
    "kill": "kill",
    "start": "health_status: healthy",
}

# Runs in the container `api` until its standard input ends: a line for each new state of a proxy.
_READER = """
import http.client, json, select, sys, time
family = '{ip_family="IPv4"}'
names = {
    "kubeproxy_sync_proxy_rules_endpoint_changes_total": "changes",
    "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds" + family: "queued",
    "kubeproxy_sync_proxy_rules_last_timestamp_seconds" + family: "applied",
}
nodes = {name: http.client.HTTPConnection(name, 10249, timeout=5) for name in sys.argv[1:]}
known = {}
while not select.select([sys.stdin], [], [], 0.002)[0]:
    for name, node in nodes.items():
        node.request("GET", "/metrics")
        text = node.getresponse().read().decode()
        at = time.time()
        pairs = (line.rpartition(" ") for line in text.splitlines())
        found = {names[key]: float(value) for key, _, value in pairs if key in names}
        if found != known.get(name):
            known[name] = found
            print(json.dumps({"node": name, "at": at, **found}), flush=True)
"""


class State(NamedTuple):
    """What a proxy has said at some time; times are seconds since 1970.

    *changes* of EndpointSlices it had heard of; a sync was last *queued*, and last *applied*.
    """

    node: str
    at: float
    changes: int
    queued: float
    applied: float


class Round(NamedTuple):
    """Seconds that each step took."""

    up: float
    curl: float
    down: float
    floor: float


def main(argv: Sequence[str]) -> int:
    """Measure and print."""
    bench = Benchmark(__doc__ or "", rounds=5)
    bench.parser.add_argument(
        "--changes", type=int, default=10, help="of each kind, in the last cluster (default: 10)"
    )
    options = bench.parse(argv)
    try:
        need("docker", "kubectl")
        with engine() as one, tempfile.TemporaryDirectory() as folder:
            bench.say("building the image")
            measured = Clusters(one, build(one), Path(folder), bench.say)
            found = measured.run(options.rounds, options.changes)
    except (pytest.skip.Exception, pytest.fail.Exception) as reason:
        sys.stderr.write(f"bench/containers.py: {reason}\n")
        return MachineError.exit_status
    return bench.finish([*figures(found), *delay_figures(measured.delays)], options)


def figures(rounds: Sequence[Round]) -> list[Figure]:
    """Return what the rounds say."""
    return [
        Figure("docker compose up --wait", "s", tuple(one.up for one in rounds), goal=6.0),
        Figure("first curl after it", "s", tuple(one.curl for one in rounds), goal=0.5),
        Figure("docker compose down", "s", tuple(one.down for one in rounds)),
        Figure("up of as many that sleep", "s", tuple(one.floor for one in rounds)),
        Figure("up --wait to that", "x", tuple(one.up / one.floor for one in rounds)),
    ]


def delay_figures(delays: Mapping[str, Sequence[float]]) -> list[Figure]:
    """Return what the changes say, *delays* in seconds."""
    return [
        Figure(f"event to both proxies: {what}", "ms", tuple(one * 1e3 for one in some), goal=20.0)
        for what, some in delays.items()
    ]


class Clusters:
    """Clusters of containers, one after the other, and what was seen of the last one's changes."""

    def __init__(
        self, engine: Engine, image: str, folder: Path, say: Callable[[str], None]
    ) -> None:
        self.delays: dict[str, list[float]] = defaultdict(list)
        self._engine = engine
        self._folder = folder
        self._say = say
        self._project = Project(engine, f"pw-bench-{os.getpid()}", NUMBER, image, folder)
        self._floor = Project(engine, f"pw-floor-{os.getpid()}", NUMBER + 1, image, folder)
        self._floor.files = (folder / "floor.json",)

    def run(self, rounds: int, changes: int) -> list[Round]:
        """Bring up *rounds* clusters; change the last one *changes* times in each way."""
        found = list[Round]()
        for turn in range(rounds):
            try:
                up = seconds(self._project.up)
                curl = seconds(lambda: self._project.curl("http://web-svc"))
                plain = floor(self._project.containers())
                if turn == rounds - 1:
                    self._change(changes)
            finally:
                down = seconds(self._project.down)
            one = Round(up, curl, down, self._time_floor(plain))
            found.append(one)
            self._say(
                f"round {turn + 1}  "
                + "   ".join(f"{k} {v:.2f} s" for k, v in one._asdict().items())
            )
        return found

    def _time_floor(self, plain: Json) -> float:
        self._floor.files[0].write_text(json.dumps(plain), encoding="utf-8")
        try:
            return seconds(self._floor.up)
        finally:
            self._floor.down()

    def _change(self, changes: int) -> None:
        project = self._project
        container, address = project.container(*WEB), project.address(*WEB)
        wanted = slices_with(address, project.get("endpointslices", "-A")["items"])
        with self._watching(container) as seen:
            for what in list(CHANGES) * changes:
                delay = self._change_once(what, container, wanted, seen)
                self.delays[what].append(delay)
                self._say(f"{what:<8} {delay * 1e3:.1f} ms")

    def _change_once(self, what: str, container: str, wanted: int, seen: "Seen") -> float:
        until = self._project.until
        until(seen.quiet, lambda quiet: quiet > QUIET, "nothing happens")
        known = len(seen.events())
        self._engine.docker(what, container)
        return until(
            lambda: delay_of(CHANGES[what], wanted, seen.events()[known:], seen.states()),
            bool,
            f"both proxies have applied {what}",
        )

    @contextmanager
    def _watching(self, container: str) -> Generator["Seen", None, None]:
        """Have what happens to *container* and to the proxies written down inside the block."""
        seen = Seen(self._folder / "events", self._folder / "states")
        words = ("--filter", f"container={container}", "--format", "{{json .}}")
        reader = self._project.command("exec", "-T", "api", "python", "-c", _READER, *NODES)
        with (
            self._writing(seen.events_file, "docker", "events", *words),
            self._writing(seen.states_file, *reader),
        ):
            self._project.until(
                lambda: {state.node for state in seen.states()},
                lambda nodes: nodes == set(NODES),
                "both proxies tell their state",
            )
            yield seen

    @contextmanager
    def _writing(self, file: Path, *command: str) -> Generator[None, None, None]:
        with file.open("w", encoding="utf-8") as out:
            process = subprocess.Popen(
                command, env=self._engine.environ, stdin=subprocess.PIPE, stdout=out
            )
            try:
                yield
            finally:
                # The reader ends with its input; if `exec` were ended, it would go on.
                if process.stdin is not None:
                    process.stdin.close()
                with suppress(subprocess.TimeoutExpired):
                    process.wait(1)
                process.terminate()
                process.wait()


@dataclass(frozen=True, slots=True)
class Seen:
    """The files that events and states are written into."""

    events_file: Path
    states_file: Path

    def events(self) -> list[Json]:
        """Return the engine's events so far."""
        return _documents(self.events_file)

    def states(self) -> list[State]:
        """Return the proxies' states so far."""
        return [State(**one) for one in _documents(self.states_file)]

    def quiet(self) -> float:
        """Return for how long no proxy has had anything to do, in seconds."""
        return time.time() - self.states_file.stat().st_mtime


def delay_of(action: str, wanted: int, events: Iterable[Json], states: Sequence[State]) -> float:
    """Return the seconds from the first *action* to the last node that has applied it.

    It changes *wanted* EndpointSlices. 0 if it has not happened yet, or has not been applied.
    """
    at = next((event["timeNano"] / 1e9 for event in events if event["Action"] == action), 0.0)
    if not at:
        return 0.0
    applied = [_applied(at, wanted, [one for one in states if one.node == node]) for node in NODES]
    return max(applied) - at if all(applied) else 0.0


def _applied(at: float, wanted: int, states: Sequence[State]) -> float:
    """Return when a proxy had applied what happened *at* that time; 0 if it has not."""
    known = max(state.changes for state in states if state.at < at)
    for state in states:
        # While a sync is queued, what was applied is older.
        if state.changes >= known + wanted and at < state.applied >= state.queued:
            return state.applied
    return 0.0


def slices_with(address: str, slices: Iterable[Json]) -> int:
    """Return how many EndpointSlices that proxies follow hold a pod's address."""
    followed = (one for one in slices if HEADLESS_LABEL not in one["metadata"]["labels"])
    endpoints = [cast("list[Json]", one.get("endpoints") or []) for one in followed]
    return sum(any(address in it["addresses"] for it in some) for some in endpoints)


def floor(containers: Sequence[Json]) -> Json:
    """Return a compose file of as many containers and networks, in which nothing has to be done."""
    networks = [sorted(one["NetworkSettings"]["Networks"]) for one in containers]
    names = sorted({name for some in networks for name in some})
    # Who shares another's network has none of its own.
    services = {
        f"sleeper-{number}": {
            "image": one["Config"]["Image"],
            "init": True,
            "command": ["sleep", "infinity"],
            **({"networks": [f"net-{names.index(name)}" for name in some]} if some else
               {"network_mode": "none"}),
        }
        for number, (one, some) in enumerate(zip(containers, networks, strict=True))
    }  # fmt: skip
    return {"services": services, "networks": {f"net-{n}": {} for n in range(len(names))}}


def _documents(file: Path) -> list[Json]:
    # One per line; the last may be half written.
    whole, _, _ = file.read_text(encoding="utf-8").rpartition("\n")
    return [json.loads(line) for line in whole.splitlines()]


def seconds(do: Callable[[], object]) -> float:
    """Return how long *do* takes."""
    began = time.monotonic()
    do()
    return time.monotonic() - began


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
