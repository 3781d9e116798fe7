"""Fills a new cluster: applies manifests, and waits until nodes or all workloads are ready.

`podwire up` loads this while the sandbox starts: with ssl and http it takes 20 ms.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any, cast

from podwire.commands.output import note
from podwire.errors import TimedOut
from podwire.kube import readiness, waiting
from podwire.kube.apply import apply
from podwire.kube.config import from_document
from podwire.kube.manifests import Manifest
from podwire.kube.plain import Connection

Json = dict[str, Any]


def fill(
    entry: Json,
    manifests: Sequence[Manifest],
    *,
    nodes: int,
    limit: float,
    wait: bool,
    done: Callable[[str], None],
) -> Json:
    """Apply, and wait until all is ready or until the *nodes* are there; return how much is now.

    *entry* is the cluster's kubeconfig, *limit* is in seconds; *done* is told each step.
    """
    with Connection(from_document(entry)) as connection:
        applied = apply(connection, manifests)
        if applied:
            kinds = ", ".join(f"{one.kind} {one.name}" for one in applied[:6])
            more = f" and {len(applied) - 6} more" if len(applied) > 6 else ""
            done(f"applied {kinds}{more}")
        for text in connection.warnings:
            note(f"warning: {text}")
        if not wait:
            _until_registered(connection, nodes, limit)
        else:
            targets = [
                *_system_targets(connection),
                *(
                    waiting.Target(one.kind, one.path.rpartition("/")[0], one.name)
                    for one in applied
                    if one.kind in readiness.WAITED_FOR
                ),
            ]
            waiting.until_ready(connection, targets, limit=limit)
            done("everything is ready")
        return {
            plural: len(connection.get(f"/api/v1/{plural}").get("items") or [])
            for plural in ("nodes", "pods", "services")
        }


def _until_registered(connection: Connection, number: int, limit: float) -> None:
    """Return when there are *number* nodes: the API server answers before kubelets are loaded."""
    end = time.monotonic() + limit
    known = set[str]()
    query = {"watch": "true"}
    try:
        for event in connection.lines("/api/v1/nodes", query, left=lambda: end - time.monotonic()):
            known.add(str(event["object"]["metadata"]["name"]))
            if len(known) >= number:
                return
    except TimeoutError:
        raise TimedOut(
            f"{len(known)} of {number} nodes registered in time\n  wait longer: --timeout SECONDS"
        ) from None


def _system_targets(connection: Connection) -> list[waiting.Target]:
    targets = list[waiting.Target]()
    for kind, plural in (("Deployment", "deployments"), ("DaemonSet", "daemonsets")):
        collection = f"/apis/apps/v1/namespaces/kube-system/{plural}"
        for item in cast("list[Json]", connection.get(collection).get("items") or []):
            targets.append(waiting.Target(kind, collection, str(item["metadata"]["name"])))
    return targets
