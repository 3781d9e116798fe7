"""Pure: a Service and its EndpointSlices -> its ports as seen from one node.

It says all that a mode of the proxy needs to know: the userspace mode listens where it says, a
rule-writing mode renders it, and neither decides again which endpoints may be used.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv4Network
from typing import Literal, cast

from podwire.kube.objects import EndpointSlice, Service
from podwire.proxy.endpoints import (
    PROXY_NAME_LABEL,
    Backend,
    Candidate,
    Place,
    Usable,
    candidates,
    usable,
)

Protocol = Literal["TCP", "UDP", "SCTP"]
Verdict = Literal["FORWARD", "REJECT", "DROP"]
Policy = Literal["Cluster", "Local"]

DEFAULT_AFFINITY_SECONDS = 10800
PROTOCOLS: frozenset[str] = frozenset({"TCP", "UDP", "SCTP"})


@dataclass(frozen=True, slots=True, order=True)
class PortName:
    """A Service port, as kube-proxy writes it: namespace/service:port, or namespace/service."""

    namespace: str
    service: str
    port: str = ""

    def __str__(self) -> str:
        name = f"{self.namespace}/{self.service}"
        return f"{name}:{self.port}" if self.port else name


@dataclass(frozen=True, slots=True)
class Target:
    """Where a connection leads: to one of *backends*, or else what the client meets instead."""

    verdict: Verdict
    backends: tuple[Backend, ...] = ()


@dataclass(frozen=True, slots=True)
class ServicePort:
    """One port of one Service as seen from one node: all that a mode of the proxy needs.

    *internal* is for the ClusterIP. *external* is for NodePort, external and load-balancer
    addresses when the client is not on this node; *short_circuit* is for the same addresses when it
    is a pod or a process of this node, which the policy Local does not bind.
    """

    name: PortName
    protocol: Protocol
    port: int
    cluster_ip: IPv4Address
    node_port: int
    external_ips: tuple[IPv4Address, ...]
    load_balancer_ips: tuple[IPv4Address, ...]
    source_ranges: tuple[IPv4Network, ...]
    affinity_seconds: int
    internal_policy: Policy
    external_policy: Policy
    health_check_port: int
    candidates: tuple[Candidate, ...]
    usable: Usable
    internal: Target
    external: Target
    short_circuit: Target

    @property
    def from_outside(self) -> bool:
        """Whether it has addresses that are meant for clients outside of the cluster."""
        return bool(self.node_port or self.external_ips or self.load_balancer_ips)


def service_ports(
    service: Service, slices: Iterable[EndpointSlice], place: Place
) -> tuple[ServicePort, ...]:
    """Return the ports of *service* that a proxy at *place* serves, with their targets.

    Empty for headless and ExternalName Services and for those another proxy cares for.
    """
    spec = service.spec
    cluster_ip = _address(spec.cluster_ip)
    if (
        spec.type == "ExternalName"
        or cluster_ip is None
        or PROXY_NAME_LABEL in service.metadata.labels
    ):
        return ()
    own = tuple(slices)
    external_policy: Policy = "Local" if spec.external_traffic_policy == "Local" else "Cluster"
    internal_policy: Policy = "Local" if spec.internal_traffic_policy == "Local" else "Cluster"
    ports: list[ServicePort] = []
    for port in spec.ports:
        protocol = port.protocol
        if protocol not in PROTOCOLS:
            continue
        found = candidates(own, port=port.name, protocol=protocol)
        endpoints = usable(found, place)
        ports.append(
            ServicePort(
                name=PortName(service.metadata.namespace, service.metadata.name, port.name),
                protocol=cast("Protocol", protocol),
                port=port.port,
                cluster_ip=cluster_ip,
                node_port=port.node_port or 0,
                external_ips=_addresses(spec.external_ips),
                load_balancer_ips=_load_balancer_ips(service),
                source_ranges=_networks(spec.load_balancer_source_ranges),
                affinity_seconds=_affinity_seconds(service),
                internal_policy=internal_policy,
                external_policy=external_policy,
                health_check_port=spec.health_check_node_port or 0,
                candidates=found,
                usable=endpoints,
                internal=target(endpoints, internal_policy),
                external=target(endpoints, external_policy),
                short_circuit=target(endpoints, "Cluster"),
            )
        )
    return tuple(ports)


def target(endpoints: Usable, policy: Policy) -> Target:
    """Return where *endpoints* lead under *policy*.

    No endpoint on any node: REJECT. Policy Local and endpoints on other nodes only: DROP.
    """
    chosen = endpoints.local if policy == "Local" else endpoints.cluster
    if chosen:
        return Target("FORWARD", chosen)
    return Target("DROP" if endpoints.anywhere else "REJECT")


def without_local_endpoint(ports: Iterable[ServicePort]) -> dict[str, int]:
    """Return how many of *ports* have endpoints on other nodes only, and the policy Local.

    By that policy: "internal" or "external".
    """
    found = {"internal": 0, "external": 0}
    for port in ports:
        found["internal"] += port.internal.verdict == "DROP"
        found["external"] += port.from_outside and port.external.verdict == "DROP"
    return found


def _load_balancer_ips(service: Service) -> tuple[IPv4Address, ...]:
    # ipMode Proxy means: leave the packets alone, the load balancer wants to see them (KEP-1860).
    ingress = service.status.load_balancer.ingress
    return _addresses(entry.ip for entry in ingress if (entry.ip_mode or "VIP") == "VIP")


def _affinity_seconds(service: Service) -> int:
    spec = service.spec
    if spec.session_affinity != "ClientIP":
        return 0
    config = spec.session_affinity_config
    client_ip = config.client_ip if config else None
    return client_ip.timeout_seconds if client_ip else DEFAULT_AFFINITY_SECONDS


def _addresses(texts: Iterable[str | None]) -> tuple[IPv4Address, ...]:
    return tuple(address for address in map(_address, texts) if address is not None)


def _address(text: str | None) -> IPv4Address | None:
    """Return *text* as an IPv4 address, None for "", "None", host names and the other family."""
    try:
        return IPv4Address(text or "")
    except AddressValueError:
        return None


def _networks(texts: Iterable[str]) -> tuple[IPv4Network, ...]:
    found: list[IPv4Network] = []
    for text in texts:
        try:
            found.append(IPv4Network(text.strip(), strict=False))
        except ValueError:
            continue
    return tuple(found)
