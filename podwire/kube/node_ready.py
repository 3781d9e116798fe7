"""Pure: what a node that is down means for the readiness of its pods.

One rule for all who write statuses of pods, so that they agree: the node lifecycle controller (as
that of kube-controller-manager), the kubelet, and who shows containers as pods.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from podwire.kube.objects import Node, PodStatus
from podwire.kube.podstatus import condition

Json = dict[str, Any]

NODE_NOT_READY = "NodeNotReady"
# The words of Kubernetes (pkg/util/node).
NODE_NOT_READY_EVENT = "Node is not ready"
# Why a node is not ready that runs and only fails its own health check. Its pods stay ready: the
# check may ask for endpoints, and would wait for pods that wait for it.
STARTING, UNHEALTHY = "ContainerStarting", "ContainerUnhealthy"


def is_down(node: Node | None) -> bool:
    """Tell whether the node is known not to run."""
    conditions = node.status.conditions if node is not None else ()
    ready = next((one for one in conditions if one.type == "Ready"), None)
    return (
        ready is not None and ready.status != "True" and ready.reason not in (STARTING, UNHEALTHY)
    )


def held_back(
    conditions: Sequence[Mapping[str, Any]], node: str, present: PodStatus, now: str
) -> list[Json]:
    """Return *conditions* of a pod as they are while its node is down; *present* tells since when.

    A pod that is not ready for a reason of its own keeps that reason.
    """
    before = next((one for one in present.conditions if one.type == "Ready"), None)
    message = f"node {node} does not run"
    down = condition("Ready", "False", NODE_NOT_READY, message, before, now)
    return [
        down if one["type"] == "Ready" and one["status"] == "True" else dict(one)
        for one in conditions
    ]
