"""All benchmarks, one after the other, and one table of what they found.

    make bench
    .venv/bin/python -P bench/run.py [--only startup,pods] [--rounds N] [--check] [-o json]

Each is a program of its own, with a --help that says exactly what it measures. Use a machine that
does nothing else: the figures are medians, and the spread beside them tells how quiet it was.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from podwire.errors import MachineError
from podwire.testing.benchmark import add_shared, finish
from podwire.testing.figures import Figure, of_document

FOLDER = Path(__file__).resolve().parent
BENCHMARKS = {
    "startup": "from `podwire up` to the first answer, and the memory of a cluster",
    "pods": "200 pods, from apply to Ready and from delete to gone",
    "endpoints": "from the deletion of a backend to the last connection that it gets",
    "relay": "the proxy's relay against HAProxy, its mode nftables against one rule",
    "services": "10 to 10,000 Services in each mode: syncs, changes, first packets, memory",
    "dns": "the DNS server against Knot; its answers with 10,000 Services, changes, memory",
    "api": "kubectl get, large lists, a thousand watches, and memory under churn",
    "containers": "docker compose up, and from the engine's event to the nodes' proxies",
}


def main(argv: Sequence[str]) -> int:
    """Run them; return 1 if --check finds a miss, and 70 if a benchmark failed.

    What this machine lacks something for is skipped; with --check that is a failure, too.
    """
    listed = "\n".join(f"  {name:<10} {what}" for name, what in BENCHMARKS.items())
    parser = argparse.ArgumentParser(
        description=f"{__doc__}\nbenchmarks:\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", default=",".join(BENCHMARKS), help="some, comma-separated")
    parser.add_argument("--rounds", type=int, help="of each (default: each one's own)")
    add_shared(parser)
    options = parser.parse_args(argv)
    wanted: list[str] = options.only.split(",")
    unknown = sorted(set(wanted) - set(BENCHMARKS))
    if unknown:
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    figures = list[Figure]()
    failed, skipped = list[str](), list[str]()
    for name in wanted:
        sys.stderr.write(f"{name}: {BENCHMARKS[name]}\n")
        found = run(name, options.rounds)
        if isinstance(found, int):
            (skipped if found == MachineError.exit_status else failed).append(name)
        else:
            figures += found
    if options.output == "text":
        sys.stdout.write(f"\n{machine()}\n")
    status = finish(figures, options) if figures else 0
    for name in failed:
        sys.stderr.write(f"not measured: {name} (see what it said above)\n")
    for name in skipped:
        sys.stderr.write(f"skipped: {name} (it said above what this machine lacks)\n")
    return 70 if failed or (skipped and options.check) else status


def run(name: str, rounds: int | None) -> list[Figure] | int:
    """Run one benchmark, its progress shown; return its figures, or the status if it failed."""
    command = [sys.executable, "-P", str(FOLDER / f"{name}.py"), "-o", "json"]
    command += ["--rounds", str(rounds)] if rounds else []
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        return done.returncode
    return [of_document(document) for document in json.loads(done.stdout)]


def machine() -> str:
    """Return what this was measured on, in a line."""
    cpus = Path("/proc/cpuinfo").read_text(errors="replace")
    models = [
        line.partition(": ")[2] for line in cpus.splitlines() if line.startswith("model name")
    ]
    return (
        f"Linux {platform.release()}, Python {platform.python_version()}, "
        f"{os.cpu_count()} x {models[0] if models else platform.machine()}"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
