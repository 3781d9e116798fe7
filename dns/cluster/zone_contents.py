"""Pure: table -> all records of a zone, as a transfer (AXFR, IXFR) sends them.

CoreDNS, plugin/kubernetes/xfr.go. Quirks kept: a name below a zone is transferred as if it were the
zone; the addresses of name servers have TTL 0; endpoints of a cluster set lack their cluster;
nothing that only a question brings about (PTR, TXT, pods, topology zones) is in it.
"""

from __future__ import annotations

from collections.abc import Iterator

from podwire.dns.cluster.answer import soa
from podwire.dns.cluster.nameservers import nameservers
from podwire.dns.cluster.options import Options, Zone
from podwire.dns.cluster.published import NO_PORT, Entry, Port, PublishedService, PublishedSlice
from podwire.dns.cluster.records import Table
from podwire.dns.messages.message import Data, Kind, Record, Srv, address_kind


def zone_records(
    name: str, have_serial: int, table: Table, options: Options
) -> Iterator[Record] | None:
    """Return the records of the zone *name* in the order of sending; None: it is not ours.

    *have_serial* is what an IXFR says that the client has, 0 for AXFR: with the current one it gets
    the SOA alone.
    """
    name = name.lower()
    if options.served.find(name.split(".")) is None:
        return None
    return _Contents(options.zone(name), table, options).records(have_serial)


class _Contents:
    """The records of one zone."""

    def __init__(self, zone: Zone, table: Table, options: Options) -> None:
        self.zone = zone
        self.table = table
        self.options = options

    def records(self, have_serial: int) -> Iterator[Record]:
        table, suffix = self.table, self.zone.suffix
        serial = table.import_serial if self.zone.is_multicluster else table.serial
        apex = soa(suffix, serial, self.options.ttl)
        yield apex
        if have_serial and have_serial == serial:
            return
        servers = nameservers(table, self.options, suffix)
        for name in dict.fromkeys(name for name, _ in servers):
            yield self._record(self.zone.name, Kind.NS, name)
        for name, place in servers:
            yield Record(name, address_kind(place), 0, place)
        every = table.imported_services() if self.zone.is_multicluster else table.services()
        for service in sorted(every, key=lambda one: (one.name, one.namespace)):
            if self.options.exposes(service.namespace, table):
                yield from self._service(service)
        yield apex

    def _service(self, service: PublishedService) -> Iterator[Record]:
        key = f"{service.name}.{service.namespace}"
        owner = f"{key}.svc.{self.zone.suffix}"
        if service.is_external:
            if service.target:
                yield self._record(owner, Kind.CNAME, service.target)
        elif service.addresses and not service.is_headless:
            for place in service.addresses:
                yield self._record(owner, address_kind(place), place)
            for port in service.ports:
                if port.number != NO_PORT:
                    # At the bare name too, for programs that look for their peers there.
                    yield self._srv(owner, 100, port, owner)
                if port.name:
                    yield self._srv(_port_name(port, owner), 100, port, owner)
        else:
            for one in self._slices(key):
                yield from self._endpoints(one, owner)

    def _slices(self, key: str) -> tuple[PublishedSlice, ...]:
        entry: Entry | None
        if self.zone.is_multicluster:
            entry = self.table.imported_entry(key)
        else:
            entry = None if self.options.no_endpoints else self.table.entry(key)
        return entry.slices if entry else ()

    def _endpoints(self, slice_: PublishedSlice, owner: str) -> Iterator[Record]:
        # Of this slice alone, where an answer counts those of all slices.
        weight = max(1, 100 // len(slice_.endpoints)) if slice_.endpoints else 0
        for endpoint in slice_.endpoints:
            place = endpoint.address
            own = f"{endpoint.label(pod_names=self.options.endpoint_pod_names)}.{owner}"
            yield self._record(owner, address_kind(place), place)
            yield self._record(own, address_kind(place), place)
            for port in slice_.ports:
                if port.name:
                    yield self._srv(_port_name(port, owner), weight, port, own)

    def _srv(self, owner: str, weight: int, port: Port, target: str) -> Record:
        # A port without a number is told as the highest, as CoreDNS does.
        return self._record(owner, Kind.SRV, Srv(0, weight, port.number & 0xFFFF, target))

    def _record(self, owner: str, kind: int, data: Data) -> Record:
        return Record(owner, kind, self.options.ttl, data)


def _port_name(port: Port, owner: str) -> str:
    return f"_{port.name}._{port.protocol}.{owner}"
