"""Which cluster a verb speaks to, and how to reach it."""

from __future__ import annotations

import argparse
import os
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from podwire.emulator import anchor, kubeconfig
from podwire.errors import ConfigError, NotFound, NotRunning, PodwireError, UsageError
from podwire.kube import places

if TYPE_CHECKING:
    from podwire.kube.config import Access
    from podwire.kube.meant import Workload
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


def folder() -> str:
    """Return the current folder; one that is gone holds nothing, and is called /."""
    try:
        return str(Path.cwd())
    except FileNotFoundError:
        return "/"


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


def place(args: argparse.Namespace, access: Access, text: str) -> places.Place:
    """Return the place that *text* names; of deploy/NAME and its like the pod that kubectl takes.

    Raises UsageError, NotFound.
    """
    namespace = args.namespace or access.namespace
    if "/" not in text:
        return places.parse(text, namespace)
    from podwire.kube import meant  # noqa: PLC0415 - most places are pods

    wanted = meant.workload(text, namespace)
    return places.parse(text, namespace) if wanted is None else _pod_of(access, wanted)


@contextmanager
def naming(access: Access, *wanted: places.Place) -> Generator[None]:
    """Name the pods that may be meant if what the block asks for is a pod that is not there."""
    try:
        yield
    except NotFound as error:
        pods = _names(access)
        for one in wanted:
            if one.kind == "pod" and pods and (one.namespace, one.name) not in pods:
                raise _nobody(one, pods) from error
        raise


def _nobody(wanted: places.Place, pods: set[tuple[str, str]]) -> NotFound:
    from podwire.kube import meant  # noqa: PLC0415 - for a mistake only

    near = meant.suggestion(wanted.name, wanted.namespace, pods)
    return NotFound(404, "NotFound", f'pods "{wanted.name}" not found{near}')


def _names(access: Access) -> set[tuple[str, str]]:
    """Return namespace and name of all pods; empty where they may not be listed."""
    from podwire.kube.plain import Connection  # noqa: PLC0415

    try:
        with Connection(access) as connection:
            items = cast("list[Any]", connection.get("/api/v1/pods").get("items") or [])
    except PodwireError:
        return set()
    return {(pod["metadata"]["namespace"], pod["metadata"]["name"]) for pod in items}


def _pod_of(access: Access, wanted: Workload) -> places.Place:
    from podwire.kube import meant  # noqa: PLC0415
    from podwire.kube.plain import Connection  # noqa: PLC0415

    with Connection(access) as connection:
        labels = meant.selector(connection.get(wanted.path))
        path = f"/api/v1/namespaces/{wanted.namespace}/pods"
        query = {"labelSelector": labels}
        pods = cast("list[Any]", connection.get(path, query).get("items") or []) if labels else []
    name = meant.first(pods)
    if not name:
        raise NotFound(404, "NotFound", f"{wanted.text} has no pods")
    return places.Place("pod", name, wanted.namespace)


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
