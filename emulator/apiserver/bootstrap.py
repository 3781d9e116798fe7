"""Pure: what every cluster has at first: namespaces, roles, priorities, the Service kubernetes."""

from typing import Any

import msgspec

from podwire.emulator.apiserver import handlers
from podwire.emulator.apiserver.access import rbac_defaults
from podwire.emulator.apiserver.admission import priorities
from podwire.emulator.apiserver.custom import definitions
from podwire.emulator.apiserver.request import Api, Body, Request, User
from podwire.kube.names import Key

Json = dict[str, Any]

KUBERNETES = Key("default", "kubernetes")
NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")

_SERVER = User("system:apiserver", ("system:masters",))


def fill(api: Api, *, now: float, port: int) -> None:
    """Create what is missing; *port* is where this server listens for pods.

    The Service takes its ClusterIP before anybody else can; its endpoints are a controller's job.
    """
    definitions.settle(api, now)
    for name in NAMESPACES:
        _create(api, "namespaces", Key("", name), {"metadata": {"name": name}}, now)
    rbac_defaults.fill(api, now=now)
    for priority in priorities.system_classes():
        key = Key("", priority["metadata"]["name"])
        _create(api, "priorityclasses", key, priority, now, "scheduling.k8s.io")
    service: Json = {
        "metadata": {
            "name": KUBERNETES.name,
            "labels": {"component": "apiserver", "provider": "kubernetes"},
        },
        "spec": {
            "clusterIP": str(api.network.services[1]),
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": port}],
        },
    }
    _create(api, "services", KUBERNETES, service, now)


def _create(api: Api, plural: str, key: Key, obj: Json, now: float, group: str = "") -> None:
    resource = api.kinds.find(group, "v1", plural)
    assert resource is not None
    if api.store.get(resource.collection, key) is None:
        body = Body("application/json", msgspec.json.encode(obj))
        handlers.answer(api, Request("create", resource, _SERVER, now, key.namespace, body=body))
