"""Pure: a node's container -> the Node object that shows it."""

from collections.abc import Iterable
from typing import Any

from podwire.emulator.discovery.world import NodeView
from podwire.kube.node_object import node_object
from podwire.kube.node_ready import STARTING, UNHEALTHY
from podwire.kube.objects import Condition, Node, Taint
from podwire.kube.podstatus import condition

Json = dict[str, Any]

NOT_READY = Taint(key="node.kubernetes.io/not-ready", effect="NoSchedule")


def manifest(view: NodeView, runtime: str, now: str) -> Json:
    """Return the Node as it is created; *runtime* is such as docker://26.1.5."""
    address = str(view.address or "")
    node: Json = node_object(
        view.name, address, str(view.pod_cidr), view.labels, lambda: now, runtime=runtime
    )
    node["status"]["addresses"] = addresses(view)
    node["status"]["conditions"] = [_condition(view, None, now)]
    return node


def replaced(view: NodeView, present: Node) -> bool:
    """Tell whether *present* must go: the range of a node's pods cannot be changed."""
    return present.spec.pod_cidr != str(view.pod_cidr)


def correction(view: NodeView, present: Node) -> Json | None:
    """Return the merge patch for labels and taints, None if they are right.

    Labels and taints that others gave the node stay.
    """
    patch: Json = {}
    if not view.labels.items() <= present.metadata.labels.items():
        patch["metadata"] = {"labels": dict(view.labels)}
    others = [taint for taint in present.spec.taints if taint.key != NOT_READY.key]
    # The scheduler looks at taints only, as that of Kubernetes.
    wanted = others if ready(view)[0] == "True" else [*others, NOT_READY]
    if wanted != list(present.spec.taints):
        patch["spec"] = {"taints": list(_written(wanted)) or None}
    return patch or None


def status(view: NodeView, present: Node, now: str) -> Json | None:
    """Return the merge patch for the status, None if it is right."""
    value, reason, message = ready(view)
    before = next((one for one in present.status.conditions if one.type == "Ready"), None)
    shown = [(one.type, one.address) for one in present.status.addresses]
    if _says(before, value, reason, message) and (
        view.address is None or shown == [(a["type"], a["address"]) for a in addresses(view)]
    ):
        return None
    patch: Json = {"conditions": [_condition(view, before, now)]}
    if view.address is not None:
        patch["addresses"] = addresses(view)
    return patch


def ready(view: NodeView) -> tuple[str, str, str]:
    """Return status, reason and message of the condition Ready."""
    container = view.container
    if container.ready:
        return "True", "KubeletReady", f"container {container.name} runs"
    if container.leaving:
        return "False", "ContainerEnds", f"container {container.name} was told to end"
    if container.status == "running":
        message = f"container {container.name} is {container.health}"
        if container.health == "starting":
            return "False", STARTING, message
        return "False", UNHEALTHY, f"{message}: {(container.health_output or '')[:200]}"
    return "False", "ContainerNotRunning", f"container {container.name} is {container.status}"


def addresses(view: NodeView) -> list[Json]:
    """Return the addresses of the node."""
    internal = [{"type": "InternalIP", "address": str(view.address)}] if view.address else []
    return [*internal, {"type": "Hostname", "address": view.name}]


def _condition(view: NodeView, before: Condition | None, now: str) -> Json:
    written = condition("Ready", *ready(view), before, now)
    del written["lastProbeTime"]  # conditions of nodes have another word for it
    return written | {"lastHeartbeatTime": now}


def _says(known: Condition | None, status: str, reason: str, message: str) -> bool:
    return known is not None and (known.status, known.reason, known.message) == (
        status,
        reason,
        message,
    )


def _written(taints: Iterable[Taint]) -> Iterable[Json]:
    for taint in taints:
        value = {"value": taint.value} if taint.value else {}
        yield {"key": taint.key, "effect": taint.effect, **value}
