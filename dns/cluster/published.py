"""Pure: what DNS needs of a Service and of an EndpointSlice, and no more.

There may be 100,000 endpoints, so these are small, and what can be worked out of them (which
endpoint has which label) is worked out when it is first asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from podwire.dns.cluster.watched import (
    IMPORTED_SERVICE_LABEL,
    SOURCE_CLUSTER_LABEL,
    ServiceImport,
    WatchedEndpoint,
    WatchedPort,
    WatchedService,
    WatchedSlice,
)
from podwire.dns.messages.message import Address, Kind
from podwire.dns.messages.names import absolute, address, endpoint_name

SERVICE_NAME_LABEL: Final = "kubernetes.io/service-name"
LONGEST_LABEL: Final = 63

NO_PORT: Final = -1
"""The port of what declares none: it still has addresses, but no SRV record."""


@dataclass(frozen=True, slots=True)
class Port:
    """A port by which something can be asked for; *name* and *protocol* in lower case."""

    name: str
    protocol: str
    number: int

    def fits(self, name: str, protocol: str) -> bool:
        """Return whether it is what is asked for; empty text asks for any."""
        return name in ("", self.name) and protocol in ("", self.protocol)


_PORTLESS: Final = (Port("", "", NO_PORT),)


@dataclass(frozen=True, slots=True)
class PublishedService:
    """What DNS needs of a Service.

    *addresses* are ClusterIPs, *outside* what it has for clients outside the cluster: addresses,
    and host names of load balancers. *target* is the absolute name of an ExternalName.
    """

    name: str
    namespace: str
    addresses: tuple[Address, ...]
    ports: tuple[Port, ...]
    is_headless: bool = False
    is_external: bool = False
    target: str = ""
    outside: tuple[Address | str, ...] = ()


class PublishedEndpoint(msgspec.Struct, frozen=True, gc=False):
    """One ready address of an EndpointSlice.

    A struct, not a dataclass, because the garbage collector passes it by, 100,000 times.

    *name* is its host name or dashed address; *pod* is the name that may stand in its place, empty
    if a host name goes before it or it is no label.
    """

    address: Address
    name: str
    pod: str
    topology_zone: str

    def label(self, *, pod_names: bool) -> str:
        """Return the label under which it is published."""
        return self.pod if pod_names and self.pod else self.name


@dataclass(frozen=True, slots=True)
class PublishedSlice:
    """What DNS needs of an EndpointSlice; *service* is a name such as ``web.shop``.

    *cluster* is the source of a slice of a cluster set.
    """

    service: str
    endpoints: tuple[PublishedEndpoint, ...]
    ports: tuple[Port, ...]
    cluster: str = ""
    _labelled: dict[bool, Mapping[str, Sequence[PublishedEndpoint]]] = field(
        default_factory=dict[bool, Mapping[str, Sequence[PublishedEndpoint]]],
        init=False,
        compare=False,
        repr=False,
    )

    @property
    def namespace(self) -> str:
        """Return the namespace of the slice and of its Service."""
        return self.service.rpartition(".")[2]

    def labelled(self, label: str, *, pod_names: bool) -> Sequence[PublishedEndpoint]:
        """Return the endpoints that are published under *label*, which is in lower case."""
        index = self._labelled.get(pod_names)
        if index is None:
            made: dict[str, list[PublishedEndpoint]] = {}
            for endpoint in self.endpoints:
                made.setdefault(endpoint.label(pod_names=pod_names).lower(), []).append(endpoint)
            index = self._labelled[pod_names] = made
        return index.get(label, ())

    def ports_for(self, name: str, protocol: str) -> tuple[Port, ...]:
        """Return the ports that fit *name* and *protocol*; empty text fits all."""
        if not (name or protocol):
            return self.ports
        return tuple(port for port in self.ports if port.fits(name, protocol))


@dataclass(frozen=True, slots=True)
class PublishedPod:
    """What DNS needs of a Pod: its primary address, as text."""

    namespace: str
    address_text: str


class Entry:
    """What is known under one name: a Service, slices that name it, or both. Never changes."""

    __slots__ = ("_addresses", "service", "slices")

    def __init__(
        self, service: PublishedService | None, slices: tuple[PublishedSlice, ...]
    ) -> None:
        self.service = service
        self.slices = slices
        self._addresses: dict[int, tuple[Address, ...]] | None = None

    def endpoint_addresses(self, kind: int) -> tuple[Address, ...]:
        """Return each ready endpoint's address of one family (A or AAAA), once."""
        if self._addresses is None:
            every = dict.fromkeys(e.address for one in self.slices for e in one.endpoints)
            self._addresses = {
                Kind.A: tuple(place for place in every if place.version == 4),
                Kind.AAAA: tuple(place for place in every if place.version == 6),
            }
        return self._addresses[kind]


def publish_service(service: WatchedService) -> PublishedService:
    """Return what DNS needs of *service*."""
    spec = service.spec
    is_external = spec.type == "ExternalName"
    cluster_ips = spec.cluster_ips or ((spec.cluster_ip,) if spec.cluster_ip else ())
    target = spec.external_name.rstrip(".")
    given = [ingress.ip or ingress.hostname for ingress in service.status.load_balancer.ingress]
    return PublishedService(
        name=service.metadata.name,
        namespace=service.metadata.namespace,
        addresses=() if is_external else tuple(_addresses(cluster_ips)),
        ports=_ports(spec.ports) or _PORTLESS,
        is_headless=not is_external and cluster_ips[:1] == ("None",),
        is_external=is_external,
        target=absolute(target) if is_external and target and address(target) is None else "",
        outside=tuple(address(text) or text for text in (*spec.external_ips, *given) if text),
    )


def publish_slice(slice_: WatchedSlice) -> PublishedSlice | None:
    """Return what DNS needs of *slice_*: its ready endpoints. None when no Service claims it."""
    service = slice_.metadata.labels.get(SERVICE_NAME_LABEL)
    return _publish_slice(slice_, service) if service else None


def publish_import(service: ServiceImport) -> PublishedService:
    """Return what DNS needs of a Service of a cluster set; without ports it has no records."""
    spec = service.spec
    return PublishedService(
        name=service.metadata.name,
        namespace=service.metadata.namespace,
        addresses=tuple(_addresses(spec.ips)),
        ports=_ports(spec.ports),
        is_headless=spec.type == "Headless",
    )


def publish_imported_slice(slice_: WatchedSlice) -> PublishedSlice | None:
    """Return what DNS needs of a slice of a cluster set. None when it belongs to none."""
    labels = slice_.metadata.labels
    service = labels.get(IMPORTED_SERVICE_LABEL)
    if not service:
        return None
    return _publish_slice(slice_, service, labels.get(SOURCE_CLUSTER_LABEL, "").lower())


def _publish_slice(slice_: WatchedSlice, service: str, cluster: str = "") -> PublishedSlice:
    return PublishedSlice(
        service=f"{service}.{slice_.metadata.namespace}",
        endpoints=tuple(
            published
            for endpoint in slice_.endpoints or ()
            # Absent means "unknown", which counts as ready.
            if endpoint.conditions.ready is not False
            for published in _publish_endpoint(endpoint)
        ),
        ports=_ports(slice_.ports or ()) or _PORTLESS,
        cluster=cluster,
    )


def _publish_endpoint(endpoint: WatchedEndpoint) -> Iterable[PublishedEndpoint]:
    hostname = endpoint.hostname or ""
    pod = endpoint.target_ref.name if endpoint.target_ref and not hostname else ""
    zone = endpoint.zone.lower() if endpoint.zone else ""
    for place in _addresses(endpoint.addresses):
        name = endpoint_name(place, hostname, "", pod_names=False)
        yield PublishedEndpoint(place, name, pod if len(pod) <= LONGEST_LABEL else "", zone)


def _ports(ports: Iterable[WatchedPort]) -> tuple[Port, ...]:
    return tuple(
        Port((p.name or "").lower(), p.protocol.lower(), NO_PORT if p.port is None else p.port)
        for p in ports
    )


def _addresses(texts: Iterable[str]) -> Iterable[Address]:
    return (place for text in texts if (place := address(text)) is not None)
