"""A pod with a shell, and what one waits for with it."""

import json
from typing import Any

from podwire.testing.cluster import Cluster
from tests.system.conftest import SHELL
from tests.system.until import Json, containers, items, pod_path, until

SETTINGS = """
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {color: blue, size: "7"}
---
apiVersion: v1
kind: Secret
metadata: {name: key}
stringData: {word: sesame}
"""


def pod(name: str, *, spec: str = "", **container: Any) -> str:
    """Return a Pod with one container c of a shell; *spec* is YAML for the pod's spec."""
    fields = {"name": "c", "image": SHELL, "command": ["sleep", "infinity"], **container}
    return f"""
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: {name}}}}}
spec:
  terminationGracePeriodSeconds: 0
  {spec}
  containers: [{json.dumps(fields)}]
"""


async def phase(cluster: Cluster, name: str, wanted: str) -> Json:
    """Return the pod when it has that phase."""
    found = await until(
        cluster,
        pod_path(cluster, name),
        lambda pod: (pod or {}).get("status", {}).get("phase") == wanted,
        f"{name} is {wanted}",
    )
    assert found is not None
    return found


async def waits(cluster: Cluster, name: str, reason: str) -> str:
    """Return the message with which the pod's first container waits for that reason."""

    def message(found: Json | None) -> str | None:
        for one in containers(found):
            waiting: Json = one["state"].get("waiting") or {}
            if waiting.get("reason") == reason:
                return str(waiting.get("message", " "))
        return None

    found = await until(cluster, pod_path(cluster, name), message, f"{name} waits: {reason}")
    return message(found) or ""


async def events(cluster: Cluster, name: str, wanted: str) -> list[Json]:
    """Return the events of an object that have the reason *wanted*, as soon as there is one."""
    path = (
        f"/api/v1/namespaces/{cluster.namespace}/events"
        f"?fieldSelector=involvedObject.name%3D{name},reason%3D{wanted}"
    )
    return items(await until(cluster, path, items, f"an event {wanted} of {name}"))
