"""Waiting for causes: the API says that something has become true, or the test fails and says what is."""

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

from podwire.kube.plain import Connection
from podwire.testing.cluster import Cluster

Json = dict[str, Any]

# Generous on purpose: two workers and a busy machine. A test that passes never waits so long.
LIMIT = 20.0


async def until(
    cluster: Cluster,
    path: str,
    true: Callable[[Json | None], object],
    what: str,
    *,
    limit: float = LIMIT,
) -> Json | None:
    """Return the object or list at *path* as soon as *true* of it (of None: there is none)."""

    def wait() -> Json | None:
        with Connection(cluster.access) as connection:
            deadline = time.monotonic() + limit
            while True:
                present = connection.find(path)
                if true(present):
                    return present
                if time.monotonic() > deadline:
                    shown = json.dumps(present and present.get("status", present), indent=1)
                    raise AssertionError(f"not within {limit:g} s: {what}\n{path} is {shown}")
                time.sleep(0.02)

    return await asyncio.to_thread(wait)


async def until_gone(cluster: Cluster, path: str, *, limit: float = LIMIT) -> None:
    """Return when there is no object at *path*."""
    await until(cluster, path, lambda found: found is None, f"{path} is gone", limit=limit)


def pod_path(cluster: Cluster, name: str, namespace: str = "") -> str:
    """Return the API's path of a pod; without *name*, of all of them."""
    path = f"/api/v1/namespaces/{namespace or cluster.namespace}/pods"
    return f"{path}/{name}" if name else path


def items(listing: Json | None) -> list[Json]:
    """Return what is in a list."""
    return list((listing or {}).get("items") or [])


def containers(pod: Json | None) -> list[Json]:
    """Return a pod's container statuses."""
    status: Json = (pod or {}).get("status") or {}
    return list(status.get("containerStatuses") or [])
