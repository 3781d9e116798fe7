"""metrics.k8s.io: what pods and nodes use, in the words of metrics-server.

Source: kubernetes-sigs/metrics-server, pkg/api. The figures come from the agent.
"""

from dataclasses import replace
from typing import Any

from podwire.emulator.apiserver import selection, statuses
from podwire.emulator.apiserver.agent import NodeAgent, Usages
from podwire.emulator.apiserver.request import Answer, Api, Many, One, Request
from podwire.emulator.apiserver.resources import Resource
from podwire.emulator.apiserver.store import Stored
from podwire.emulator.apiserver.types.fields import struct
from podwire.kube.names import Key
from podwire.kube.times import rfc3339

Json = dict[str, Any]

GROUP = "metrics.k8s.io"


async def answer(api: Api, agent: NodeAgent, request: Request) -> Answer:
    """Return what pods or nodes use: one of them, or those that the selectors choose.

    Raises Refused (404) for one that is not there, or has just begun.
    """
    # First: what it asks for may be refused, and measuring costs time.
    chosen = _chosen(api, request)
    found = _all(request.resource, await agent.usage())
    metrics = [
        Stored(stored.key, found[stored.key] | _labelled(found[stored.key], stored), 0)
        for stored in chosen
        if stored.key in found
    ]
    if request.verb == "list":
        return Many(request.resource, metrics, api.store.revision)
    if not metrics:
        raise _not_found(request)
    return One(request.resource, metrics[0])


def _chosen(api: Api, request: Request) -> list[Stored]:
    """Return the pods or nodes that are asked for."""
    if request.verb not in ("get", "list") or request.subresource:
        raise statuses.wrong_method()
    kind = api.kinds.find("", "v1", request.resource.plural)
    assert kind is not None
    if request.verb == "get":
        stored = api.store.get(kind.collection, request.key)
        return [] if stored is None else [stored]
    selected = selection.parse(
        kind,
        namespace=request.namespace,
        name="",
        labels=request.option("labelSelector"),
        fields=request.option("fieldSelector"),
    )
    found = api.store.at(kind.collection, api.store.revision, selected.namespace)
    return [stored for stored in found if selected.includes(stored)]


def _all(resource: Resource, usages: Usages) -> dict[Key, Json]:
    if resource.namespaced:
        return {
            Key(pod.namespace, pod.name): _metrics(resource, pod.time, pod.window)
            | {
                "containers": [
                    {"name": one.name, "usage": _usage(one.cpu, one.memory)}
                    for one in pod.containers
                ]
            }
            for pod in usages.pods
        }
    return {
        Key("", node.name): _metrics(resource, node.time, node.window)
        | {"usage": _usage(node.cpu, node.memory)}
        for node in usages.nodes
    }


def _metrics(resource: Resource, time: float, window: float) -> Json:
    return {
        "kind": resource.kind,
        "apiVersion": resource.api_version,
        "metadata": {"creationTimestamp": rfc3339(time)},
        "timestamp": rfc3339(time),
        "window": f"{window:.3f}".rstrip("0").rstrip(".") + "s",
    }


def _labelled(metrics: Json, stored: Stored) -> Json:
    """Return the metadata: the labels are the pod's or the node's own."""
    labels = struct(stored.object["metadata"], "labels")
    meta: Json = {"name": stored.key.name}
    meta |= {"namespace": stored.key.namespace} if stored.key.namespace else {}
    meta |= metrics["metadata"]
    return {"metadata": meta | ({"labels": labels} if labels else {})}


def _usage(cpu: int, memory: int) -> Json:
    return {"cpu": f"{cpu}n", "memory": f"{memory // 1024}Ki"}


def _not_found(request: Request) -> statuses.Refused:
    resource = request.resource
    name = f"{request.namespace}/{request.name}" if request.namespace else request.name
    # Its own word for the kind, which is nowhere else in the API.
    return statuses.not_found(replace(resource, plural=resource.kind.lower()), name)
