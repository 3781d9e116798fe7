"""Pure: who the name servers of a zone are: the Services in front of this server, or itself.

CoreDNS, plugin/kubernetes/ns.go: an EndpointSlice that lists one of our addresses tells which
Services lead to us. If none does, we stand for ourselves under ``ns.dns``.
"""

from __future__ import annotations

from collections.abc import Iterator

from podwire.dns.cluster.options import Options
from podwire.dns.cluster.published import PublishedService, PublishedSlice
from podwire.dns.cluster.records import Table
from podwire.dns.messages.message import Address

OWN_NAME = "ns.dns."


def nameservers(table: Table, options: Options, suffix: str) -> tuple[tuple[str, Address], ...]:
    """Return name and address of each name server; *suffix* is the zone's name, empty for root."""
    return tuple(_nameservers(table, options, suffix))


def outside_nameservers(table: Table, options: Options, *, headless: bool) -> tuple[Address, ...]:
    """Return the addresses under which clients outside of the cluster reach this server.

    With *headless*, endpoints of headless Services count.
    """
    return tuple(_outside(table, options, headless=headless))


def _nameservers(table: Table, options: Options, suffix: str) -> Iterator[tuple[str, Address]]:
    found = False
    for slice_, service in _leading_here(table, options):
        found = True
        if service is None:
            continue
        owner = f"{service.name}.{service.namespace}.svc.{suffix}"
        if service.is_headless:
            for endpoint in slice_.endpoints:
                label = endpoint.label(pod_names=options.endpoint_pod_names)
                yield f"{label}.{owner}", endpoint.address
        else:
            for place in service.addresses:
                yield owner, place
    if not found:
        for own in options.own_addresses:
            yield OWN_NAME + suffix, own


def _outside(table: Table, options: Options, *, headless: bool) -> Iterator[Address]:
    found = False
    for slice_, service in _leading_here(table, options):
        found = True
        if service is None:
            continue
        if headless and service.is_headless:
            yield from (endpoint.address for endpoint in slice_.endpoints)
        else:
            yield from (place for place in service.outside if not isinstance(place, str))
    if not found:
        yield from options.own_addresses


def _leading_here(
    table: Table, options: Options
) -> Iterator[tuple[PublishedSlice, PublishedService | None]]:
    """Return each slice with one of our addresses, and its Service if there is one."""
    if options.no_endpoints:
        return
    for own in options.own_addresses:
        for slice_ in table.slices_at(own):
            entry = table.entry(slice_.service)
            yield slice_, entry.service if entry else None
