"""How long 200 built-in pods take from `apply` to all Ready, and from `delete` to all gone.

    .venv/bin/python -P bench/pods.py [--pods N] [--rounds N] [--check] [-o json]

Each round starts a cluster of three nodes, applies a Deployment of the built-in web server with a
readiness probe, waits by watching until all its pods are Ready, deletes it, and waits until the
last pod is gone. CPU time per pod tells where it goes, by kind of process; it is less noisy than
the clock.
"""

import asyncio
import os
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from podwire.emulator import anchor
from podwire.errors import PodwireError
from podwire.kube.plain import Connection
from podwire.testing import processes
from podwire.testing.benchmark import Benchmark
from podwire.testing.cluster import Cluster
from podwire.testing.figures import Figure, number, table
from podwire.testing.launch import launch

Json = dict[str, Any]
LIMIT = 120.0
PODS = "/api/v1/namespaces/default/pods"
DEPLOYMENT = "/apis/apps/v1/namespaces/default/deployments/many"


@dataclass(frozen=True, slots=True)
class Round:
    """Seconds from apply to all Ready and from delete to all gone; CPU seconds by kind of each."""

    ready: float
    gone: float
    ready_cpu: Mapping[str, float]
    gone_cpu: Mapping[str, float]


def main(argv: Sequence[str]) -> int:
    """Measure and print."""
    bench = Benchmark(__doc__ or "", rounds=3)
    bench.parser.add_argument("--pods", type=int, default=200)
    options = bench.parse(argv)
    count: int = options.pods
    rounds = list[Round]()
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(options.rounds):
            name = f"bench-{os.getpid()}-{turn}"
            rounds.append(asyncio.run(one_round(name, Path(folder) / name, count)))
            last = rounds[-1]
            bench.say(f"round {turn + 1}  all Ready {last.ready:.2f} s  all gone {last.gone:.2f} s")
    bench.say(f"\nCPU time of the last round, ms per pod\n{by_kind(rounds[-1], count)}")
    return bench.finish(
        [
            Figure(f"{count} pods: all Ready", "s", tuple(r.ready for r in rounds), goal=5.0),
            Figure(
                f"{count} pods: CPU time", "s", tuple(sum(r.ready_cpu.values()) for r in rounds)
            ),
            Figure(f"{count} pods: all gone", "s", tuple(r.gone for r in rounds)),
        ],
        options,
    )


async def one_round(name: str, folder: Path, count: int) -> Round:
    """Start a cluster, fill it, empty it, end it."""
    launched = await asyncio.to_thread(launch, name, folder)
    try:
        root = int(anchor.request(name, {"op": "status"})["pid"])
        cluster = launched.cluster
        before = cpu(root)
        began = time.monotonic()
        await cluster.apply(deployment(count))
        await cluster.ready(timeout=LIMIT)
        ready = time.monotonic() - began
        filled = cpu(root)
        await cluster.call(lambda c: require_all_ready(c, count))
        gone = await empty(cluster)
        emptied = cpu(root)
        return Round(ready, gone, difference(before, filled), difference(filled, emptied))
    finally:
        await asyncio.to_thread(launched.end)


async def empty(cluster: Cluster) -> float:
    """Delete the Deployment and return the seconds until no pod of it is left."""

    def run(connection: Connection) -> float:
        listing = connection.get(PODS)
        left = {str(pod["metadata"]["name"]) for pod in listing["items"]}
        query = {"watch": "true", "resourceVersion": listing["metadata"]["resourceVersion"]}
        began = time.monotonic()
        connection.delete(DEPLOYMENT, {"propagationPolicy": "Background"})
        end = began + LIMIT
        for event in connection.lines(PODS, query, left=lambda: end - time.monotonic()):
            if event["type"] == "DELETED":
                left.discard(str(event["object"]["metadata"]["name"]))
            if not left:
                break
        return time.monotonic() - began

    return await cluster.call(run)


def require_all_ready(connection: Connection, count: int) -> None:
    """Raise PodwireError unless *count* pods are Ready: the Deployment's word is not enough."""
    pods = cast("list[Json]", connection.get(PODS)["items"])
    ready = sum(
        any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"]["conditions"])
        for pod in pods
    )
    if ready != count:
        raise PodwireError(f"{ready} pods of {count} are Ready, though their Deployment is")


def deployment(count: int) -> Json:
    """Return the Deployment of *count* built-in web servers."""
    probe = {"httpGet": {"path": "/", "port": 80}, "periodSeconds": 1}
    container = {"name": "web", "image": "podwire/web", "readinessProbe": probe}
    labels = {"app": "many"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "many", "namespace": "default"},
        "spec": {
            "replicas": count,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }


def cpu(root: int) -> dict[str, float]:
    """Return the CPU seconds of a cluster's processes by kind, those of ended ones included."""
    used = defaultdict[str, float](float)
    for process in processes.descendants(root):
        # A process that has ended counts for the one that forked it: so do those that run.
        own = process.kind.startswith("podwire-")
        used[process.kind if own else "podwire-zygote and pods"] += process.cpu
    used["podwire-zygote and pods"] += used.pop("podwire-zygote", 0.0)
    return dict(used)


def difference(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """Return what was used between the two."""
    return {kind: used - before.get(kind, 0.0) for kind, used in after.items()}


def by_kind(measured: Round, count: int) -> str:
    """Return the table of CPU time per pod."""
    rows = [("process", "to Ready", "to gone")]
    for kind, used in sorted(measured.ready_cpu.items(), key=lambda item: -item[1]):
        gone = measured.gone_cpu.get(kind, 0.0)
        if max(used, gone) >= 0.0001 * count:
            rows.append((kind, number(used / count * 1e3), number(gone / count * 1e3)))
    total = sum(measured.ready_cpu.values()), sum(measured.gone_cpu.values())
    rows.append(("all", number(total[0] / count * 1e3), number(total[1] / count * 1e3)))
    return table(rows)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
