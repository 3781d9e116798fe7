"""Pure: where a request to pods/NAME/proxy, services/NAME/proxy or nodes/NAME/proxy goes.

Names are `NAME`, `NAME:PORT` or `SCHEME:NAME:PORT`. Words and choices as in Kubernetes:
pkg/registry/core/pod/strategy.go, service/storage/storage.go and node/strategy.go
(ResourceLocation).
"""

from dataclasses import dataclass, replace
from ipaddress import AddressValueError, IPv4Address
from typing import Any

import msgspec

from podwire.emulator.apiserver import statuses
from podwire.emulator.apiserver.request import Api, Request
from podwire.emulator.apiserver.types.fields import many, struct, text
from podwire.kube.names import Key

Json = dict[str, Any]

KUBELET_PORT = 10250


@dataclass(frozen=True, slots=True)
class Upstream:
    """Who answers a request: a port of an address, best reached from *node*."""

    address: str
    port: int
    tls: bool = False
    node: str = ""


def upstream(api: Api, request: Request) -> Upstream | None:
    """Return who answers; None for a node's kubelet, which is here. Raises Refused."""
    scheme, name, port = _parts(request)
    request = replace(request, name=name)
    stored = api.store.get(request.resource.collection, request.key)
    if stored is None and request.resource.plural != "services":
        raise statuses.not_found(request.resource, name)
    match request.resource.plural:
        case "pods":
            assert stored is not None
            found = _of_pod(stored.object, port)
        case "services":
            service = None if stored is None else stored.object
            found = _of_service(api, request, service, port)
        case _:
            assert stored is not None
            node = _of_node(stored.object, port)
            if node is None:
                return None
            found = node
    try:
        if not _is_allowed(IPv4Address(found.address)):
            raise statuses.bad_request("address not allowed")
    except AddressValueError:
        raise statuses.bad_request("address not allowed") from None
    return replace(found, tls=scheme == "https")


def _parts(request: Request) -> tuple[str, str, str]:
    """Return scheme, name and port of a name (apimachinery, net.SplitSchemeNamePort)."""
    parts = request.name.split(":")
    scheme, name, port = "", "", ""
    match parts:
        case [name]:
            pass
        case [name, port]:
            pass
        case ["http" | "https" | "" as scheme, name, port]:
            pass
        case _:
            pass
    if not name:
        raise statuses.bad_request(f'invalid {request.resource.singular} request "{request.name}"')
    return scheme, name, port


def _of_pod(pod: Json, port: str) -> Upstream:
    if not port:
        ports = [p for c in many(struct(pod, "spec"), "containers") for p in many(c, "ports")]
        port = str(ports[0]["containerPort"]) if ports else "80"
    address = text(struct(pod, "status"), "podIP")
    return Upstream(address, _number(port), node=text(struct(pod, "spec"), "nodeName"))


def _of_service(api: Api, request: Request, service: Json | None, port: str) -> Upstream:
    name = request.name
    if port.isascii() and port.isdigit():
        if service is None:
            raise statuses.not_found(request.resource, name)
        ports = {p.get("port"): p for p in many(struct(service, "spec"), "ports")}
        if int(port) not in ports:
            raise _unavailable(f'no service port {port} found for service "{name}"')
        port = ports[int(port)].get("name", "")
    endpoints = api.store.get("endpoints", Key(request.namespace, name))
    if endpoints is None:
        kind = api.kinds.find("", "v1", "endpoints")
        assert kind is not None
        raise statuses.not_found(kind, name)
    found = [
        Upstream(address["ip"], candidate["port"], node=address.get("nodeName", ""))
        for subset in many(endpoints.object, "subsets")
        for candidate in many(subset, "ports")
        if candidate.get("name", "") == port
        for address in many(subset, "addresses")
    ]
    if not found:
        raise _unavailable(f'no endpoints available for service "{name}"')
    return found[api.dice.randrange(0, len(found))]


def _of_node(node: Json, port: str) -> Upstream | None:
    if not port or port == str(KUBELET_PORT):
        return None
    addresses = {a.get("type"): a.get("address") for a in many(struct(node, "status"), "addresses")}
    address = addresses.get("InternalIP") or addresses.get("ExternalIP") or ""
    return Upstream(address, _number(port), node=node["metadata"]["name"])


def _number(port: str) -> int:
    # A pod's or a node's port has no name here; for Go's dialer it would be one of /etc/services.
    if not (port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65536):
        raise _unavailable(
            f"error trying to reach service: dial tcp: lookup tcp/{port}: unknown port"
        )
    return int(port)


def _is_allowed(address: IPv4Address) -> bool:
    return not (
        address.is_loopback
        or address.is_unspecified
        or address.is_multicast
        or address.is_link_local
    )


def no_answer(words: str) -> statuses.Refused:
    """503: nobody answers there, or not in HTTP."""
    return _unavailable(f"error trying to reach service: {words}")


def _unavailable(message: str) -> statuses.Refused:
    return statuses.refused(503, "ServiceUnavailable", message)


def kubelet_page(api: Api, node: str, path: str) -> tuple[int, str, bytes]:
    """Return status, content type and body of what a node's kubelet says at *path*."""
    match path.strip("/"):
        case "healthz":
            return 200, "text/plain; charset=utf-8", b"ok"
        case "pods":
            found = (s.object for s in api.store.all("pods") if _is_on(s.object, node))
            pods: Json = {
                "kind": "PodList",
                "apiVersion": "v1",
                "metadata": {},
                "items": list(found),
            }
            return 200, "application/json", msgspec.json.encode(pods)
        case _:
            return 404, "text/plain; charset=utf-8", b"404 page not found\n"


def _is_on(pod: Json, node: str) -> bool:
    return text(struct(pod, "spec"), "nodeName") == node
