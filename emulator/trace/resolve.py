"""Pure: which names a pod's resolver asks, and what cluster DNS must answer, by the objects alone.

Independent of the DNS server's code on purpose. Source: the Kubernetes DNS specification 1.1.0;
resolv.conf(5) for the walk along the search path.
"""

from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address
from typing import Literal

from podwire.emulator.trace.snapshot import Snapshot, key
from podwire.emulator.trace.wiring import Wiring
from podwire.kube.objects import Pod, Service
from podwire.kube.resolving import search_walk


@dataclass(frozen=True, slots=True)
class Answer:
    """What must come for an A query; *code* "elsewhere" is a name that the cluster does not own.

    *alias* is the external name behind an ExternalName Service.
    """

    code: Literal["NOERROR", "NODATA", "NXDOMAIN", "elsewhere"]
    addresses: frozenset[IPv4Address] = frozenset()
    service: str = ""
    alias: str = ""

    def __str__(self) -> str:
        if self.addresses:
            return "A " + ", ".join(map(str, sorted(self.addresses)))
        return self.code


def uses_cluster_dns(pod: Pod) -> bool:
    """Return whether the pod's resolv.conf names the cluster's DNS and search path."""
    policy = pod.spec.dns_policy
    if policy == "ClusterFirst":
        return not pod.spec.host_network
    return policy == "ClusterFirstWithHostNet"


@dataclass(frozen=True, slots=True)
class Search:
    """What a resolv.conf says of names."""

    domains: tuple[str, ...] = ()
    ndots: int = 1


def search_of(pod: Pod, wiring: Wiring) -> Search:
    """Return the search list of a pod, that of its node included (pkg/kubelet/network/dns)."""
    namespace, domain = pod.metadata.namespace, wiring.domain
    domains: list[str] = []
    ndots = Search().ndots
    if uses_cluster_dns(pod):
        domains = [f"{namespace}.svc.{domain}", f"svc.{domain}", domain]
        ndots = wiring.ndots
    elif pod.spec.dns_policy != "None":
        ndots = wiring.node_ndots
    if pod.spec.dns_policy != "None":
        domains += wiring.searches
    if pod.spec.dns_config is not None:
        domains += pod.spec.dns_config.searches
        for option in pod.spec.dns_config.options:
            if option.name == "ndots" and (option.value or "").isdigit():
                ndots = int(option.value or 0)
    return Search(tuple(dict.fromkeys(domains)), ndots)


def search_of_node(wiring: Wiring) -> Search:
    """Return the search list of what runs on a node itself."""
    return Search(wiring.searches, wiring.node_ndots)


def candidates(name: str, search: Search) -> tuple[str, ...]:
    """Return the names to be asked in turn, each ending with a dot, until one has data."""
    return search_walk(name.lower(), search.domains, search.ndots)


def answer(snapshot: Snapshot, name: str, wiring: Wiring, *, hops: int = 10) -> Answer:
    """Return what cluster DNS must answer to an A query for *name*, which ends with a dot."""
    suffix = f".{wiring.domain}."
    lowered = name.lower()
    if not lowered.endswith(suffix):
        at_apex = lowered == suffix[1:]
        return Answer("NODATA" if at_apex else "elsewhere")
    labels = lowered.removesuffix(suffix).split(".")
    if labels == ["svc"] or labels == ["pod"]:
        return Answer("NODATA")
    if labels[-1] == "svc":
        return _of_service_name(snapshot, labels[:-1], wiring, hops)
    if labels[-1] == "pod":
        return _of_pod_name(snapshot, labels[:-1])
    return Answer("NXDOMAIN")


def _of_service_name(snapshot: Snapshot, labels: list[str], wiring: Wiring, hops: int) -> Answer:
    namespace = labels[-1]
    if len(labels) == 1:
        return Answer("NODATA" if namespace in snapshot.namespaces else "NXDOMAIN")
    service = snapshot.service(f"{namespace}/{labels[-2]}")
    if service is None or len(labels) > 3:
        return Answer("NXDOMAIN")
    if service.spec.type == "ExternalName":
        return _of_alias(snapshot, service, wiring, hops) if len(labels) == 2 else _missing(service)
    if len(labels) == 3:
        found = endpoints_of(snapshot, service, labels[0])
        return _data(service, found) if found else _missing(service)
    if service.spec.cluster_ip not in {"", "None"}:
        return _data(service, {IPv4Address(service.spec.cluster_ip)})
    found = endpoints_of(snapshot, service, None)
    return _data(service, found) if found else _missing(service)


def _data(service: Service, addresses: set[IPv4Address]) -> Answer:
    return Answer("NOERROR", frozenset(addresses), key(service))


def _missing(service: Service) -> Answer:
    return Answer("NXDOMAIN", service=key(service))


def _of_alias(snapshot: Snapshot, service: Service, wiring: Wiring, hops: int) -> Answer:
    target = service.spec.external_name.rstrip(".").lower() + "."
    if hops == 0:
        return Answer("NODATA", service=key(service), alias=target)
    behind = answer(snapshot, target, wiring, hops=hops - 1)
    if behind.code == "elsewhere":
        return Answer("elsewhere", service=key(service), alias=target)
    if not behind.addresses:
        return Answer("NODATA", service=key(service), alias=target)
    return Answer("NOERROR", behind.addresses, behind.service or key(service), target)


def _of_pod_name(snapshot: Snapshot, labels: list[str]) -> Answer:
    if len(labels) > 2 or labels[-1] not in snapshot.namespaces:
        return Answer("NXDOMAIN")
    if len(labels) == 1:
        return Answer("NODATA")
    try:
        return Answer("NOERROR", frozenset({IPv4Address(labels[0].replace("-", "."))}))
    except AddressValueError:
        return Answer("NXDOMAIN")


def endpoints_of(snapshot: Snapshot, service: Service, label: str | None) -> set[IPv4Address]:
    """Return the ready endpoints' addresses; with *label*, those of that endpoint name."""
    found: set[IPv4Address] = set()
    for slice_ in snapshot.slices_of(service):
        for endpoint in slice_.endpoints or ():
            if endpoint.conditions.ready is False:
                continue
            for address in endpoint.addresses:
                name = endpoint.hostname or address.replace(".", "-")
                if label is None or label == name.lower():
                    found.add(IPv4Address(address))
    return found
