"""Pure: the tables of services, endpoints, slices, ingresses and network policies."""

from collections.abc import Iterator

from podwire.emulator.apiserver.columns.cells import (
    Json,
    Printer,
    Row,
    age,
    labels,
    name,
    selector,
    some,
)
from podwire.emulator.apiserver.types.fields import below, many

_MOST = 3


def _service(obj: Json, now: float) -> Row:
    spec = below(obj, "spec")
    return Row(
        [
            name(obj),
            spec.get("type", ""),
            spec.get("clusterIP") or "<none>",
            _external(obj),
            ",".join(map(_port, many(spec, "ports"))) or "<none>",
            age(obj, now),
            labels(spec.get("selector")),
        ]
    )


def _port(port: Json) -> str:
    node = f":{port['nodePort']}" if port.get("nodePort") else ""
    return f"{port['port']}{node}/{port.get('protocol', 'TCP')}"


def _external(obj: Json) -> str:
    spec = below(obj, "spec")
    addresses: list[str] = list(many(spec, "externalIPs"))
    match spec.get("type"):
        case "ClusterIP" | "NodePort":
            return ",".join(addresses) or "<none>"
        case "LoadBalancer":
            given = _load_balancer(obj)
            return ",".join([*([given] if given else []), *addresses]) or "<pending>"
        case "ExternalName":
            return str(spec.get("externalName", ""))
        case _:
            return "<unknown>"


def _load_balancer(obj: Json) -> str:
    ingress = many(below(obj, "status", "loadBalancer"), "ingress")
    return ",".join(sorted({i.get("ip") or i.get("hostname") or "" for i in ingress} - {""}))


def _endpoints(obj: Json, now: float) -> Row:
    # As Kubernetes: nothing at all where there are endpoints and none is ready.
    empty = "" if obj.get("subsets") else "<none>"
    found = some(_addresses(many(obj, "subsets")), _MOST, empty=empty)
    return Row([name(obj), found, age(obj, now)])


def _addresses(subsets: list[Json]) -> Iterator[str]:
    for subset in subsets:
        addresses = [address.get("ip", "") for address in many(subset, "addresses")]
        if not subset.get("ports"):
            yield from addresses
        for port in many(subset, "ports"):
            for address in addresses:
                host = f"[{address}]" if ":" in address else address
                yield f"{host}:{port['port']}"


def _slice(obj: Json, now: float) -> Row:
    ports = [
        str(port["port"] if port.get("port") is not None else port.get("name", "*"))
        for port in many(obj, "ports")
    ]
    addresses = [address for end in many(obj, "endpoints") for address in many(end, "addresses")]
    return Row(
        [
            name(obj),
            obj.get("addressType", ""),
            some(ports, _MOST, empty="<unset>"),
            some(addresses, _MOST, empty="<unset>"),
            age(obj, now),
        ]
    )


def _ingress(obj: Json, now: float) -> Row:
    spec = below(obj, "spec")
    rules = many(spec, "rules")
    hosts = [rule["host"] for rule in rules if rule.get("host")]
    shown = ",".join(hosts[:_MOST]) or "*"
    # Kubernetes counts rules, not hosts, in "more".
    more = f" + {len(rules) - _MOST} more..." if len(hosts) >= _MOST < len(rules) else ""
    return Row(
        [
            name(obj),
            spec.get("ingressClassName") or "<none>",
            shown + more,
            _load_balancer(obj),
            "80, 443" if spec.get("tls") else "80",
            age(obj, now),
        ]
    )


def _ingress_class(obj: Json, now: float) -> Row:
    spec = below(obj, "spec")
    parameters = spec.get("parameters")
    shown = "<none>"
    if parameters:
        group = f".{parameters['apiGroup']}" if parameters.get("apiGroup") else ""
        shown = f"{parameters['kind']}{group}/{parameters['name']}"
    return Row([name(obj), spec.get("controller", ""), shown, age(obj, now)])


def _network_policy(obj: Json, now: float) -> Row:
    return Row([name(obj), selector(below(obj, "spec").get("podSelector")), age(obj, now)])


_NETWORKING = "networking.k8s.io/v1"

PRINTERS = {
    ("v1", "Service"): Printer("Name|Type|Cluster-IP|External-IP|Port(s)|Age|Selector*", _service),
    ("v1", "Endpoints"): Printer("Name|Endpoints|Age", _endpoints),
    ("discovery.k8s.io/v1", "EndpointSlice"): Printer(
        "Name|AddressType|Ports|Endpoints|Age", _slice
    ),
    (_NETWORKING, "Ingress"): Printer("Name|Class|Hosts|Address|Ports|Age", _ingress),
    (_NETWORKING, "IngressClass"): Printer("Name|Controller|Parameters|Age", _ingress_class),
    (_NETWORKING, "NetworkPolicy"): Printer("Name|Pod-Selector|Age", _network_policy),
}
