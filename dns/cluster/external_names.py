"""Pure: the k8s_external plugin: Services under names for clients outside of the cluster.

``web.shop.example.com.`` leads to what the Service has for the outside: external addresses and
those of its load balancer. CoreDNS, plugin/k8s_external and plugin/kubernetes/external.go, quirks
included: a label left of a Service that has such addresses is ignored.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from podwire.dns.cluster.answer import MOST_ADDRESSES, MOST_PORTS
from podwire.dns.cluster.nameservers import outside_nameservers
from podwire.dns.cluster.options import Options
from podwire.dns.cluster.published import NO_PORT, Entry
from podwire.dns.cluster.records import Table
from podwire.dns.messages import names
from podwire.dns.messages.message import (
    Address,
    Data,
    Kind,
    Question,
    Rcode,
    Record,
    Reply,
    Soa,
    Srv,
    address_kind,
)
from podwire.dns.messages.names import Suffixes

BY: Final = "k8s_external"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalOptions:
    """The k8s_external stanza. Zones are absolute and lower-cased; *ttl* in seconds.

    *apex* is the label under which the zone's own names stand, *headless* adds the endpoints of
    headless Services. *fallthrough*: as in the kubernetes stanza.
    """

    zones: tuple[str, ...]
    apex: str = "dns"
    ttl: int = 5
    headless: bool = False
    fallthrough: tuple[str, ...] | None = None
    served: Suffixes[str] = field(init=False, repr=False, compare=False)
    falls_through: Suffixes[bool] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "served", Suffixes((zone, zone) for zone in self.zones))
        falling = () if self.fallthrough is None else self.fallthrough or (".",)
        object.__setattr__(self, "falls_through", Suffixes((zone, True) for zone in falling))


def external_answer(
    question: Question, table: Table, options: ExternalOptions, cluster: Options
) -> Reply | None:
    """Return the reply to *question*, or None: it is for the next plugin.

    *cluster* are the options of the kubernetes plugin whose *table* it is. `Reply.follow` is the
    host name of a load balancer that somebody else must look up, and `outside_targets` those that
    SRV records lead to.
    """
    labels = question.name.lower().split(".")
    zone = options.served.find(labels)
    if zone is None:
        return None
    found = _External(question, zone, table, options, cluster)
    reply = found.reply()
    if reply.rcode == Rcode.NXDOMAIN and not found.is_apex and options.falls_through.find(labels):
        return None
    return reply


def outside_targets(reply: Reply, options: ExternalOptions) -> tuple[str, ...]:
    """Return the names outside our zones that SRV records of *reply* lead to.

    Their addresses belong into the additional section.
    """
    targets = (r.data.target for r in reply.answer if isinstance(r.data, Srv))
    outside = (t for t in targets if options.served.find(t.lower().split(".")) is None)
    return tuple(dict.fromkeys(outside))


@dataclass(frozen=True, slots=True)
class _Way:
    """An address or host name that can be reached, the name it stands under, and a port."""

    owner: str
    place: Address | str
    port: int


class _NoSuchNameError(Exception):
    """The name does not exist; raised and caught in here only."""


class _External:
    """One question in one zone."""

    def __init__(
        self,
        question: Question,
        zone: str,
        table: Table,
        options: ExternalOptions,
        cluster: Options,
    ) -> None:
        self.question = question
        self.name = question.name.lower()
        self.zone = zone
        self.suffix = "" if zone == "." else zone
        self.table = table
        self.options = options
        self.cluster = cluster
        under = f"{options.apex}."
        # Of all our zones: names under the apex of a wider one are never a Service's.
        self.is_apex = any(
            self.name == one or names.within(self.name, under + ("" if one == "." else one))
            for one in options.zones
        )

    def reply(self) -> Reply:
        try:
            if self.name == self.zone:
                return self._apex()
            if self.is_apex:
                return self._below_apex()
            return self._service()
        except _NoSuchNameError:
            return self._negative(Rcode.NXDOMAIN)

    def _apex(self) -> Reply:
        match self.question.kind:
            case Kind.SOA:
                return self._positive([self._soa()])
            case Kind.NS:
                own = self._own_name()
                servers = self._addresses(own, self._servers())
                return self._positive([self._record(self.zone, Kind.NS, own)], servers)
            case _:
                return self._negative()

    def _below_apex(self) -> Reply:
        """Return what stands under the apex: ``ns1`` and nothing else."""
        labels = (names.below(self.name, self.zone) or "").split(".")
        if len(labels) == 1:
            return self._negative()
        if len(labels) > 2 or labels[0] != "ns1":
            raise _NoSuchNameError
        servers = self._addresses(self.question.name, self._servers())
        return self._positive([one for one in servers if one.kind == self.question.kind])

    def _service(self) -> Reply:
        kind = self.question.kind
        if kind == Kind.PTR:
            place = names.reversed_address(self.name)
            if place is not None:
                return self._ptr(place)
        count, ways = self._ways()
        match kind:
            case Kind.A | Kind.AAAA:
                return self._places(kind, ways)
            case Kind.SRV:
                return self._srv(count, ways)
            case _:
                return self._negative()

    def _places(self, kind: int, ways: Sequence[_Way]) -> Reply:
        owner = self.question.name
        hosts = dict.fromkeys(way.place for way in ways if isinstance(way.place, str))
        places = dict.fromkeys(way.place for way in ways if not isinstance(way.place, str))
        aliases = [
            Record(owner, Kind.CNAME, self.cluster.ttl, names.absolute(host)) for host in hosts
        ]
        addresses = [one for one in self._addresses(owner, places) if one.kind == kind]
        follow = names.absolute(next(iter(hosts))) if hosts else ""
        return self._positive([*addresses, *aliases], follow=follow)

    def _srv(self, count: int, ways: Sequence[_Way]) -> Reply:
        # Counted before duplicates go; TTLs are those of the kubernetes plugin.
        weight = max(1, 100 // count) if count else 0
        answers: dict[tuple[str, int], Record] = {}
        extra: dict[tuple[str, Address], Record] = {}
        for way in ways:
            if way.port == NO_PORT:
                continue
            target = names.absolute(way.place) if isinstance(way.place, str) else way.owner
            data = Srv(0, weight, way.port, target)
            record = Record(self.question.name, Kind.SRV, self.cluster.ttl, data)
            answers.setdefault((target, way.port), record)
            if not isinstance(way.place, str):
                (address,) = self._addresses(target, (way.place,))
                extra.setdefault((target, way.place), address)
        return self._positive(tuple(answers.values()), tuple(extra.values()))

    def _ptr(self, place: Address) -> Reply:
        zone = "" if self.options.zones[0] == "." else self.options.zones[0]
        targets = dict.fromkeys(
            f"{service.name}.{service.namespace}.{zone}"
            for service in self.table.services_outside_at(place)
            if self.cluster.shows_reverse(service.namespace, self.table)
        )
        if not targets:
            raise _NoSuchNameError
        return self._positive(
            [self._record(self.question.name, Kind.PTR, target) for target in targets]
        )

    def _ways(self) -> tuple[int, list[_Way]]:
        """Return to how much the name leads, and that; nothing for a namespace, which exists.

        Of endpoints only those are in it that an answer has room for.
        """
        labels = (names.below(self.name, self.zone) or "").split(".")
        if not self.cluster.exposes(labels[-1], self.table):
            raise _NoSuchNameError
        if len(labels) == 1:
            return 0, []
        if len(labels) > 4:
            raise _NoSuchNameError
        left = [label.removeprefix("_") for label in labels[:-2]]
        endpoint = left[0] if len(left) == 1 else ""
        port, protocol = left if len(left) == 2 else ("", "")
        entry = self.table.entry(f"{labels[-2]}.{labels[-1]}")
        service = entry.service if entry else None
        if entry is None or service is None:
            raise _NoSuchNameError
        owner = f"{service.name}.{service.namespace}.{self.suffix}"
        if (
            self.options.headless
            and not service.outside
            and (service.is_headless or endpoint)
            and not self.cluster.no_endpoints
        ):
            count, found = self._endpoints(entry, endpoint, port, protocol, owner)
        else:
            found = [
                _Way(owner, place, fitting.number)
                for place in service.outside
                for fitting in service.ports
                if fitting.fits(port, protocol)
            ]
            count = len(found)
        if not count:
            raise _NoSuchNameError
        return count, found

    def _endpoints(
        self, entry: Entry, endpoint: str, port: str, protocol: str, owner: str
    ) -> tuple[int, list[_Way]]:
        pod_names, kind = self.cluster.endpoint_pod_names, self.question.kind
        count = 0
        found: list[_Way] = []
        for one in entry.slices:
            endpoints = one.labelled(endpoint, pod_names=pod_names) if endpoint else one.endpoints
            ports = one.ports_for(port, protocol)
            count += len(endpoints) * len(ports)
            if kind in (Kind.A, Kind.AAAA):
                # Addresses are the same whatever the port.
                endpoints = [e for e in endpoints if address_kind(e.address) == kind]
                ports, most = ports[:1], MOST_ADDRESSES
            else:
                most = MOST_PORTS
            ways = (
                _Way(f"{e.label(pod_names=pod_names)}.{owner}", e.address, fitting.number)
                for fitting in ports
                for e in endpoints
            )
            found += islice(ways, most - len(found))
        return count, found

    # Records

    def _servers(self) -> tuple[Address, ...]:
        return outside_nameservers(self.table, self.cluster, headless=self.options.headless)

    def _own_name(self) -> str:
        return f"ns1.{self.options.apex}.{self.suffix}"

    def _record(self, owner: str, kind: int, data: Data) -> Record:
        return Record(owner, kind, self.options.ttl, data)

    def _addresses(self, owner: str, places: Iterable[Address]) -> list[Record]:
        return [self._record(owner, address_kind(place), place) for place in places]

    def _soa(self) -> Record:
        ttl = self.options.ttl
        mbox = f"hostmaster.{self.options.apex}.{self.suffix}"
        serial = self.table.serial
        return self._record(
            self.zone, Kind.SOA, Soa(self._own_name(), mbox, serial, 7200, 1800, 86400, ttl)
        )

    def _negative(self, rcode: Rcode = Rcode.NOERROR) -> Reply:
        return Reply(rcode=rcode, authoritative=True, authority=(self._soa(),), lasting=True, by=BY)

    def _positive(
        self, answers: Sequence[Record], additional: Sequence[Record] = (), follow: str = ""
    ) -> Reply:
        if not answers:
            return self._negative()
        return Reply(
            authoritative=True,
            answer=tuple(answers),
            additional=tuple(additional),
            follow=follow,
            lasting=not follow and not any(isinstance(r.data, Srv) for r in answers),
            by=BY,
        )
