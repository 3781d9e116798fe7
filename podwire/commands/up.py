"""`podwire up`: start a cluster, merge its context, apply manifests, wait until all is ready."""

from __future__ import annotations

import argparse
import importlib
import os
import select
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from podwire.commands import cluster_options, interruptions, session
from podwire.commands.output import number, say, say_json
from podwire.emulator import anchor, doctor, kubeconfig, machine_facts
from podwire.emulator.config import ClusterConfig
from podwire.errors import InternalError, NotRunning, PodwireError, UsageError
from podwire.kube.manifests import from_paths

Json = dict[str, Any]

_GOODBYE = 1.0  # seconds that a cluster may take to say how it ended

EPILOG = """\
examples:
  podwire up                              three nodes, nothing in them but the system's pods
  podwire up -f examples/web.yaml         ... and the objects of a file, ready when this returns
  podwire up -f base/ -f - < more.yaml    folders and standard input, in this order
  podwire up --name blue --nodes 5        a second cluster, beside the first
  podwire up --proxy-mode nftables        kube-proxy programs the kernel; see docs/proxy.md
  podwire up --config cluster.yaml        kind's shape; see examples/cluster.yaml
  podwire up --image shop/cart='python3 /src/cart.py'    what runs under an image's name
  podwire up --resolv-conf nodes.conf     the nodes' resolver; without it names outside fail at once
  podwire up --kubeconfig ./kc            keep out of ~/.kube/config
  podwire up --attached                   ends with Ctrl-D, Ctrl-C, or the program that started it

Ctrl-C at any moment leaves nothing. When a manifest is refused or does not become ready in
time, the cluster is ended too (--keep leaves it for you to look at).
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument(
        "-f",
        "--filename",
        action="append",
        default=[],
        metavar="FILE",
        help="apply a manifest, a folder of them, or standard input (-); may be repeated",
    )
    cluster_options.configure(parser)
    parser.add_argument(
        "--wait",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="return when everything applied is ready",
    )
    parser.add_argument(
        "--timeout",
        default="60",
        metavar="SECONDS",
        help="how long the start and the wait may take (default: 60)",
    )
    parser.add_argument(
        "--keep", action="store_true", help="keep the cluster when a manifest fails"
    )
    parser.add_argument(
        "--attached",
        action="store_true",
        help="stay, and end the cluster when standard input ends or a signal comes",
    )
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text")


def run(args: argparse.Namespace) -> int:
    """Start the cluster; all that can be wrong in the arguments is found before."""
    limit = number(args.timeout, "--timeout")
    if args.context:
        raise UsageError("up makes a context, podwire-NAME\n  say the name: podwire up --name NAME")
    wanted = cluster_options.cluster_config(args)
    if args.attached and "-" in (*args.filename, args.config):
        raise UsageError("--attached needs standard input for itself\n  give files, not -")
    manifests = from_paths(args.filename)
    path = session.path_to_write(args)
    session.prune({path, *session.paths(args)})
    kubeconfig.check(path)
    mode = wanted.proxy_mode
    error = doctor.error_for(doctor.evaluate(machine_facts.gather_fast(mode), mode))
    if error is not None:
        raise error
    steps = Steps(sys.stderr, time.monotonic)
    running = anchor.start(wanted, path, steps.done, meanwhile=_load_filling, limit=limit)
    try:
        entry = kubeconfig.document(
            wanted.name,
            server=running.access["server"],
            authority=running.access["ca"].encode(),
            certificate=running.access["certificate"].encode(),
            key=running.access["key"].encode(),
        )
        kubeconfig.merge(path, wanted.name, entry, kubeconfig.Origin.here())
        steps.done(f"context {kubeconfig.context_name(wanted.name)} is current in {path}")
        left = round(max(0.0, limit - steps.elapsed()), 1)
        from podwire.commands.filling import fill  # noqa: PLC0415 - was loaded meanwhile

        nodes = len(wanted.nodes)
        counts = fill(entry, manifests, nodes=nodes, limit=left, wait=args.wait, done=steps.done)
        interruptions.check()
        if not args.attached:
            interruptions.ignore()  # it is done, and will be said
    except BaseException as error:
        gone = isinstance(error, NotRunning)
        if args.keep and isinstance(error, PodwireError) and not gone:
            running.keep()
            raise
        ended = _end(running, wanted.name, limit=_GOODBYE) if gone else None
        _undo(running, path, wanted.name)
        if ended is not None:
            raise ended from error
        raise
    if args.attached:
        try:
            _report(args, wanted, path, counts, steps.elapsed())
            _stay(running, wanted.name)
        finally:
            _undo(running, path, wanted.name)
    else:
        running.keep()
        _report(args, wanted, path, counts, steps.elapsed())
    return 0


class Steps:
    """Says each step when it is done, with the seconds since the start."""

    def __init__(self, out: TextIO, clock: Callable[[], float]) -> None:
        self._out = out
        self._clock = clock
        self._start = clock()
        plain = not out.isatty() or "NO_COLOR" in os.environ
        self._dim = ("", "") if plain else ("\x1b[2m", "\x1b[0m")

    def done(self, what: str) -> None:
        """Say that *what* is done; a lost Ctrl-C is found here."""
        interruptions.check()
        on, off = self._dim
        self._out.write(f"  {on}{self.elapsed():5.2f} s{off}  {what}\n")
        self._out.flush()

    def elapsed(self) -> float:
        """Return the seconds since the start."""
        return self._clock() - self._start


def _load_filling() -> None:
    importlib.import_module("podwire.commands.filling")


def _stay(running: anchor.Running, name: str) -> None:
    """Return when standard input ends; the cluster ends with this process, however it ends.

    Raises InternalError with the cluster's last words if it ends by itself.
    """
    sys.stdout.flush()
    stdin = sys.stdin.fileno()
    while True:
        ready, _, _ = select.select([stdin, running], [], [])
        if running in ready and (ended := _end(running, name, limit=0)):
            if isinstance(ended, InternalError):
                raise ended
            return
        if stdin in ready and not os.read(stdin, 4096):
            return


def _end(running: anchor.Running, name: str, *, limit: float) -> PodwireError | None:
    """Return how the cluster ended, or None if it goes on for *limit* seconds."""
    ready, _, _ = select.select([running], [], [], limit)
    words = running.last_words() if ready else None
    if words is None:
        return None
    if words.asked:
        return PodwireError(f"cluster {name!r} was ended while it started: podwire down")
    said = words.log.rstrip() or "nothing"
    return InternalError(f"cluster {name!r} ended by itself; its last words:\n{said}")


def _undo(running: anchor.Running, path: Path, name: str) -> None:
    """End the cluster and take its context away; a second Ctrl-C does not stop this."""
    interruptions.ignore()
    try:
        kubeconfig.remove(path, name)
    finally:
        running.abandon()


def _report(
    args: argparse.Namespace, wanted: ClusterConfig, path: Path, counts: Json, seconds: float
) -> None:
    if args.output == "json":
        say_json(
            {
                "name": wanted.name,
                "context": kubeconfig.context_name(wanted.name),
                "kubeconfig": str(path),
                "seconds": round(seconds, 3),
                **counts,
            }
        )
        return
    amounts = ", ".join(f"{count} {plural}" for plural, count in counts.items())
    say(f'cluster "{wanted.name}" is up in {seconds:.1f} s: {amounts}   kubeconfig: {path}')
