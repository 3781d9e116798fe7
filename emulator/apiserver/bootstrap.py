"""Pure: what every cluster has at first: four namespaces and the Service kubernetes."""

from ipaddress import IPv4Address
from typing import Any

import msgspec

from podwire.emulator.apiserver import handlers, resources
from podwire.emulator.apiserver.request import Api, Body, Request, User
from podwire.emulator.apiserver.resources import Resource
from podwire.kube.names import Key

Json = dict[str, Any]

NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")

_SERVER = User("system:apiserver", ("system:masters",))


def fill(api: Api, *, now: float, address: IPv4Address, port: int) -> None:
    """Create what is missing; *address* and *port* are where pods reach this server."""
    for name in NAMESPACES:
        _create(api, resources.find("", "v1", "namespaces"), {"metadata": {"name": name}}, now)
    labels = {"component": "apiserver", "provider": "kubernetes"}
    service: Json = {
        "metadata": {"name": "kubernetes", "labels": labels},
        "spec": {
            "clusterIP": str(api.network.services[1]),
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": port}],
        },
    }
    _create(api, resources.find("", "v1", "services"), service, now)
    ports: list[Json] = [{"name": "https", "port": port, "protocol": "TCP"}]
    # The real server keeps its own endpoints, and asks that nobody mirrors them.
    skip = {"endpointslice.kubernetes.io/skip-mirror": "true"}
    endpoints: Json = {
        "metadata": {"name": "kubernetes", "labels": skip},
        "subsets": [{"addresses": [{"ip": str(address)}], "ports": ports}],
    }
    _create(api, resources.find("", "v1", "endpoints"), endpoints, now)
    slice_: Json = {
        "metadata": {"name": "kubernetes", "labels": {"kubernetes.io/service-name": "kubernetes"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [str(address)], "conditions": {"ready": True}}],
        "ports": ports,
    }
    _create(api, resources.find("discovery.k8s.io", "v1", "endpointslices"), slice_, now)


def _create(api: Api, resource: Resource | None, obj: Json, now: float) -> None:
    assert resource is not None
    namespace = "default" if resource.namespaced else ""
    if api.store.get(resource.collection, Key(namespace, obj["metadata"]["name"])) is not None:
        return
    body = Body("application/json", msgspec.json.encode(obj))
    handlers.answer(api, Request("create", resource, _SERVER, now, namespace, body=body))
