"""Starts a cluster for tests: in a process of its own, which ends with us however we end."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from podwire.emulator import kubeconfig as kubeconfigs
from podwire.errors import MachineError, PodwireError, TimedOut
from podwire.kube.config import load
from podwire.kube.plain import Connection
from podwire.testing.cluster import Cluster

# The child holds our pipe: when this process dies, even by kill -9, its standard input ends, and
# with it the cluster.
_COMMAND = (sys.executable, "-P", "-m", "podwire", "up", "--attached", "-o", "json")


class Launched:
    """A cluster that lives until `end`."""

    def __init__(self, process: "subprocess.Popen[str]", cluster: Cluster, log: Path) -> None:
        self._process = process
        self.cluster = cluster
        self.log = log

    def end(self, limit: float = 20.0) -> None:
        """End the cluster and return when it is gone; may be called twice."""
        if self._process.stdin is not None and not self._process.stdin.closed:
            self._process.stdin.close()
        try:
            self._process.wait(limit)
        except subprocess.TimeoutExpired:
            self._process.kill()  # the kernel ends the cluster with it
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


def launch(
    name: str, folder: Path, *, config: Path | None = None, nodes: int = 0, limit: float = 60.0
) -> Launched:
    """Start the cluster *name* and return when it is ready.

    *folder* gets its kubeconfig (the user's is never touched) and its log. *limit* is in seconds.
    Raises MachineError when this machine lacks something, PodwireError with what `podwire up` said.
    """
    folder.mkdir(parents=True, exist_ok=True)
    kubeconfig, log = folder / "kubeconfig", folder / "podwire-up.log"
    command = [*_COMMAND, "--name", name, "--kubeconfig", str(kubeconfig)]
    command += ["--timeout", f"{limit:g}"]
    command += ["--config", str(config)] if config else []
    command += ["--nodes", str(nodes)] if nodes else []
    with log.open("w", encoding="utf-8") as log_file:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log_file,
            text=True,
            env={**os.environ, "KUBECONFIG": str(kubeconfig)},
        )
    # `up` has limits of its own; this one is for an `up` that hangs.
    watchdog = threading.Timer(limit + 30, process.kill)
    watchdog.start()
    try:
        summary = _summary(process)
    finally:
        watchdog.cancel()
    if summary is None:
        status = process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        raise _error(status, log.read_text(encoding="utf-8"))
    access = load([kubeconfig], str(summary["context"]))
    return Launched(process, Cluster(name, access, kubeconfig), log)


def attach(context: str) -> Cluster:
    """Return the cluster of a context of $KUBECONFIG, which somebody else started and ends.

    Raises UsageError when there is no such context, UnreachableError when nothing answers there.
    """
    files = kubeconfigs.all_paths(os.environ)
    access = load(files, context)
    with Connection(access) as connection:
        connection.get("/version")
    return Cluster(context.removeprefix("podwire-"), access, files[0])


def _summary(process: "subprocess.Popen[str]") -> dict[str, Any] | None:
    """Return what `up -o json` says when the cluster is ready, or None if it ends before."""
    if process.stdout is None:
        return None
    text = ""
    for line in process.stdout:
        text += line
        if line == "}\n":
            summary: dict[str, Any] = json.loads(text)
            return summary
    return None


def _error(status: int, log: str) -> PodwireError:
    said = log[log.rfind("podwire: ") :].strip() or f"podwire up ended with status {status}"
    kinds: dict[int, type[PodwireError]] = {69: MachineError, 124: TimedOut}
    return kinds.get(status, PodwireError)(said)
