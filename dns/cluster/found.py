"""Pure: what a name in a cluster zone leads to: a Service, endpoints, a pod, an alias."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from podwire.dns.cluster.options import Options, Zone
from podwire.dns.cluster.published import (
    Entry,
    Port,
    PublishedEndpoint,
    PublishedService,
    PublishedSlice,
)
from podwire.dns.cluster.records import Table
from podwire.dns.messages import names
from podwire.dns.messages.message import Address, Kind

_REVERSE = (".in-addr.arpa.", ".ip6.arpa.")
_POD_PORTS = (Port("", "", 0),)

Group = tuple[PublishedSlice, Sequence[PublishedEndpoint], Sequence[Port]]


class Found:
    """What a name leads to; what stands in it is without the zone.

    Either *alias*, or addresses under one name (*owner*), or endpoints under names of their own.
    """

    __slots__ = ("_entry", "_groups", "_places", "_pod_names", "_ports", "alias", "owner")

    def __init__(
        self,
        owner: str = "",
        places: Sequence[Address] = (),
        ports: Sequence[Port] = (),
        *,
        alias: str = "",
        groups: Sequence[Group] = (),
        entry: Entry | None = None,
        pod_names: bool = False,
    ) -> None:
        self.owner = owner
        self.alias = alias
        self._places = places
        self._ports = ports
        self._groups = groups
        self._entry = entry
        self._pod_names = pod_names

    def places(self, kind: int) -> Iterable[Address]:
        """Return the addresses of one family (A or AAAA), each once."""
        if self._entry is not None:
            return self._entry.endpoint_addresses(kind)
        version = 4 if kind == Kind.A else 6
        if self._groups:
            return dict.fromkeys(
                endpoint.address
                for _, endpoints, _ in self._groups
                for endpoint in endpoints
                if endpoint.address.version == version
            )
        return [place for place in self._places if place.version == version]

    def ports_and_places(self) -> list[tuple[str, Address, int]]:
        """Return name, address and port number of all that can be connected to."""
        owner = self.owner
        found = [(owner, place, port.number) for port in self._ports for place in self._places]
        for slice_, endpoints, ports in self._groups:
            tail = f".{slice_.cluster}.{owner}" if slice_.cluster else f".{owner}"
            for endpoint in endpoints:
                label = endpoint.label(pod_names=self._pod_names) + tail
                found += [(label, endpoint.address, port.number) for port in ports]
        return found


NOTHING = Found()
"""A name that exists and holds nothing."""


def find(
    name: str, base: Sequence[str], zone: Zone, table: Table, options: Options
) -> Found | None:
    """Return what the lower-cased *name* leads to; None: it does not exist.

    *base* are its labels left of *zone*.
    """
    asked = names.read(base, multicluster=zone.is_multicluster, zonal=options.zonal)
    if asked is None:
        return None
    if not asked.branch:
        return NOTHING
    if name.endswith(_REVERSE) or not options.exposes(asked.namespace, table):
        return None
    if asked.branch == "pod":
        return _pod(asked, table, options)
    if not asked.service:
        return NOTHING
    key = f"{asked.service}.{asked.namespace}"
    entry = table.imported_entry(key) if zone.is_multicluster else table.entry(key)
    service = entry.service if entry else None
    if entry is None or service is None:
        return None
    # Endpoints of a cluster set are published all the same.
    if options.no_endpoints and not zone.is_multicluster:
        entry = Entry(service, ())
    return _service(asked, entry, service, options)


def _pod(asked: names.Asked, table: Table, options: Options) -> Found | None:
    if options.pods == "disabled":
        return None
    if not asked.service:
        return NOTHING
    text = names.pod_address_text(asked.service)
    place = names.address(text)
    if place is None:
        return None
    if options.pods == "verified" and not table.has_pod(text, asked.namespace):
        return None
    return Found(f"{asked.service}.{asked.namespace}.pod", (place,), _POD_PORTS)


def _service(
    asked: names.Asked, entry: Entry, service: PublishedService, options: Options
) -> Found | None:
    owner = f"{asked.service}.{asked.namespace}.svc"
    if service.is_external:
        is_bare = not (asked.endpoint or asked.port or asked.protocol or asked.topology_zone)
        return Found(owner, alias=service.target) if service.target and is_bare else None
    is_empty = options.ignore_empty_service and not any(one.endpoints for one in entry.slices)
    if is_empty and not service.is_headless:
        return None
    if service.is_headless or asked.endpoint:
        return _endpoints(asked, owner, entry, service, options)
    if asked.topology_zone:
        return None
    ports = service.ports
    if asked.port or asked.protocol:
        ports = tuple(port for port in ports if port.fits(asked.port, asked.protocol))
    return Found(owner, service.addresses, ports) if ports else None


def _endpoints(
    asked: names.Asked, owner: str, entry: Entry, service: PublishedService, options: Options
) -> Found | None:
    pod_names = options.endpoint_pod_names
    if asked.topology_zone and not service.is_headless:
        return None
    groups: list[Group] = []
    for one in entry.slices:
        ports = one.ports_for(asked.port, asked.protocol)
        if not ports:
            continue
        endpoints: Sequence[PublishedEndpoint] = one.endpoints
        if asked.endpoint:
            same_cluster = asked.cluster == one.cluster
            endpoints = one.labelled(asked.endpoint, pod_names=pod_names) if same_cluster else ()
        elif asked.topology_zone:
            zone = asked.topology_zone
            endpoints = [one for one in endpoints if one.topology_zone == zone]
        if endpoints:
            groups.append((one, endpoints, ports))
    if asked.prefer and not groups:
        groups = [(one, one.endpoints, one.ports) for one in entry.slices if one.endpoints]
    if not groups:
        # A zone without endpoints is no different from a zone that is misspelled: both exist.
        return Found(owner) if asked.topology_zone else None
    is_whole = not (asked.endpoint or asked.port or asked.protocol or asked.topology_zone)
    return Found(owner, groups=groups, entry=entry if is_whole else None, pod_names=pod_names)
