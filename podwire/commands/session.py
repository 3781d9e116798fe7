"""Which cluster a verb speaks to, and how to reach it."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from podwire.emulator import anchor, kubeconfig
from podwire.errors import ConfigError, NotRunning, PodwireError, UsageError

if TYPE_CHECKING:
    from podwire.kube.config import Access
    from podwire.kube.plain import Connection

DEFAULT_NAME = "podwire"


def paths(args: argparse.Namespace) -> list[Path]:
    """Return the kubeconfig files in question."""
    return [Path(args.kubeconfig)] if args.kubeconfig else kubeconfig.all_paths(os.environ)


def path_to_write(args: argparse.Namespace) -> Path:
    """Return the file that gets a new context."""
    path = Path(args.kubeconfig) if args.kubeconfig else kubeconfig.default_path(os.environ)
    try:
        return path.absolute()
    except FileNotFoundError:
        raise UsageError(f"the current folder is gone, and {path} is in it") from None


def prune(files: Iterable[Path]) -> None:
    """Take out the contexts of clusters that are gone; a file that resists is left alone."""
    for path in files:
        try:
            kubeconfig.prune(path, anchor.running(), kubeconfig.Origin.here())
        except (PodwireError, OSError):
            continue  # a broken or foreign file is no reason not to do what was asked


def access(args: argparse.Namespace) -> Access:
    """Return how to reach the cluster that --context, --name or the kubeconfig names.

    Without either option: the current context if it is one of Podwire's, else the only cluster
    that runs, else the one called `podwire`. --context X is also podwire-X if there is no X.
    Raises NotRunning or UsageError.
    """
    files = paths(args)
    prune(files)
    if args.context and not args.name:
        return _of_context(args.context, files)
    return _of_cluster(cluster_name(args, files), files)


def cluster_name(args: argparse.Namespace, files: list[Path]) -> str:
    """Return the name of the cluster in question; raises UsageError if there are two."""
    if args.name and args.context:
        raise UsageError("--name and --context exclude each other\n  --name X is podwire-X")
    if args.name:
        return str(args.name)
    if args.context:
        return str(args.context).removeprefix("podwire-")
    running = anchor.running()
    context = _current(files)
    current = context.removeprefix("podwire-")
    if current in running or (current != context and not _is_kept_here(context, files)):
        return current
    return running[0] if len(running) == 1 else DEFAULT_NAME


def connect(args: argparse.Namespace) -> Connection:
    """Return a connection to the cluster in question."""
    from podwire.kube.plain import Connection  # noqa: PLC0415 - ssl and http: not for `podwire ls`

    return Connection(access(args))


def _load(files: list[Path], context: str = "") -> Access:
    from podwire.kube.config import load  # noqa: PLC0415 - ssl and YAML: not for `podwire ls`

    return load(files, context)


def _current(files: list[Path]) -> str:
    try:
        return _load([path for path in files if _mentions_us(path)]).context
    except PodwireError:
        return ""


def _is_kept_here(context: str, files: list[Path]) -> bool:
    """Tell whether `podwire up` keeps *context*: the only kind whose cluster has an anchor.

    A cluster of `docker compose up` writes its own file, and whether it runs is not seen here.
    """
    return any(kubeconfig.is_kept(path, context) for path in files)


def _mentions_us(path: Path) -> bool:
    try:
        return b"podwire-" in path.read_bytes()
    except OSError:
        return False


def _of_context(name: str, files: list[Path]) -> Access:
    try:
        return _load(files, name)
    except UsageError as error:
        try:
            return _load(files, kubeconfig.context_name(name))
        except UsageError:
            raise error from None


def _of_cluster(name: str, files: list[Path]) -> Access:
    context = kubeconfig.context_name(name)
    try:
        return _load(files, context)
    except UsageError as error:
        # `up --kubeconfig ELSEWHERE`: the cluster itself knows where its context went.
        kept = anchor.request(name, {"op": "status"}).get("kubeconfig")
        if kept and Path(kept) not in files:
            return _load([Path(kept)], context)
        if isinstance(error, ConfigError):
            raise
        raise NotRunning(
            f"cluster {name!r} runs, but its context {context} is in no kubeconfig here\n"
            "  start it anew: podwire down, then podwire up"
        ) from None
