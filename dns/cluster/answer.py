"""Pure: question + table -> answer (NXDOMAIN or NODATA, SRV extras, PTR).

What CoreDNS's kubernetes plugin says, quirks included: TXT at a name without TXT is NXDOMAIN where
RFC 2308 wants NODATA, and so are other types at a reverse name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import islice
from typing import Final

from podwire.dns.cluster.found import NOTHING, Found, find
from podwire.dns.cluster.nameservers import OWN_NAME, nameservers
from podwire.dns.cluster.options import Options, Zone
from podwire.dns.cluster.published import NO_PORT
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
    Text,
    address_kind,
)

SCHEMA_VERSION: Final = b"1.1.0"
SCHEMA_TTL: Final = 28800
LONGEST_SOA_TTL: Final = 300
MOST_ALIASES: Final = 11
"""How many ExternalName Services may follow each other inside the cluster."""

MOST_ADDRESSES: Final = 4096
MOST_PORTS: Final = 2048
"""More records of their kind than any message has room for: making all 10,000 would cost 20 ms."""

BY: Final = "kubernetes"

_ADDRESS_KINDS: Final = (int(Kind.A), int(Kind.AAAA))


def answer(question: Question, table: Table, options: Options) -> Reply | None:
    """Return the reply to *question*, or None: it is for the next plugin."""
    name = question.name.lower()
    labels = name.split(".")
    zone = options.served.find(labels)
    if zone is None:
        return None
    base = labels[: -1 - zone.depth] if name != "." else []
    spelled = question.name[len(name) - len(zone.suffix) :]
    lookup = _Lookup(name, base, zone, spelled, table, options)
    kind = question.kind
    if kind in _ADDRESS_KINDS:
        reply = lookup.addresses(question.name, kind)
    else:
        reply = _KINDS.get(kind, _Lookup.other)(lookup, question.name)
    if reply is not None:
        return reply
    # Falling through comes first: what is not ours is not ours to be unsure about.
    if options.falls_through.find(labels):
        return None
    return lookup.negative(Rcode.NXDOMAIN if table.is_synced else Rcode.SERVFAIL)


def joined(reply: Reply, target: Reply) -> Reply:
    """Return *reply*, which ends in an alias, with what was found at the alias's target.

    Whatever came back, refusal or nothing, the alias stands and the code is NOERROR.
    """
    return replace(
        reply,
        answer=reply.answer + target.answer,
        truncated=target.truncated,
        follow="",
    )


@lru_cache(maxsize=256)
def soa(spelled: str, serial: int, ttl: int) -> Record:
    """Return the SOA of a zone, whose name is *spelled* so; empty for the root."""
    data = Soa(f"ns.dns.{spelled}", f"hostmaster.{spelled}", serial, 7200, 1800, 86400, ttl)
    return Record(spelled or ".", Kind.SOA, min(ttl, LONGEST_SOA_TTL), data)


@lru_cache(maxsize=256)
def _negative(rcode: Rcode, spelled: str, serial: int, ttl: int) -> Reply:
    # Made once for all names of a zone: nothing in it depends on the name.
    return Reply(
        rcode=rcode,
        authoritative=True,
        authority=(soa(spelled, serial, ttl),),
        lasting=True,
        by=BY,
    )


class _Lookup:
    """One question in one zone; *spelled* is the zone's suffix as the client wrote it.

    Methods named for a record type return None for a name that does not exist.
    """

    __slots__ = ("base", "name", "options", "spelled", "table", "ttl", "zone")

    def __init__(
        self,
        name: str,
        base: Sequence[str],
        zone: Zone,
        spelled: str,
        table: Table,
        options: Options,
    ) -> None:
        self.name = name
        self.base = base
        self.zone = zone
        self.spelled = spelled
        self.table = table
        self.options = options
        self.ttl = options.ttl

    def negative(self, rcode: Rcode = Rcode.NOERROR) -> Reply:
        """Return an answer without data."""
        return _negative(rcode, self.spelled, self._serial(), self.ttl)

    def positive(
        self, answers: Sequence[Record], additional: Sequence[Record] = (), follow: str = ""
    ) -> Reply:
        """Return *answers*; NODATA if there are none."""
        if not answers:
            return self.negative()
        return Reply(
            authoritative=True,
            answer=tuple(answers),
            additional=tuple(additional),
            follow=follow,
            lasting=not follow,
            by=BY,
        )

    # Kinds of records

    def addresses(self, owner: str, kind: int) -> Reply | None:
        """Return addresses of one family, after the aliases that lead to them."""
        if self._is_server_name(self.name):
            return self.positive(self._addresses(owner, kind, self._own_addresses(kind)))
        found = self._find()
        if found is None:
            return None
        if found.alias:
            chain, follow = self._chain(self.name, owner, found.alias, kind, ())
            return self.positive(chain, follow=follow)
        return self.positive(self._addresses(owner, kind, found.places(kind)))

    def srv(self, owner: str) -> Reply | None:
        """Return a record for each port, and the addresses of their targets."""
        if self._is_server_name(self.name):
            return self.negative()
        found = self._find()
        if found is None:
            return None
        entries = found.ports_and_places()
        # Counted before duplicates go, so a dual-stack Service has weight 50 on its one record.
        weight = max(1, 100 // len(entries)) if entries else 0
        tail, ttl = f".{self.spelled}", self.ttl
        answers: dict[tuple[str, int], Record] = {}
        extra: dict[tuple[str, int, int], Record] = {}
        for left, place, port in entries[:MOST_PORTS]:
            if port == NO_PORT:
                continue
            target = left + tail
            if (target, port) not in answers:
                data = Srv(0, weight, port, target)
                answers[target, port] = Record(owner, Kind.SRV, ttl, data)
            key = (target, place.version, int(place))
            if key not in extra:
                extra[key] = Record(target, address_kind(place), ttl, place)
        return self.positive(tuple(answers.values()), tuple(extra.values()))

    def ptr(self, owner: str) -> Reply | None:
        """Return the names of an address."""
        place = names.reversed_address(self.name)
        if place is None:
            return None if self._find() is None else self.negative()
        targets = dict.fromkeys(self._names_of(place))
        if not targets:
            return None
        return self.positive([self._record(owner, Kind.PTR, target) for target in targets])

    def cname(self, owner: str) -> Reply | None:
        """Return the alias that an ExternalName is."""
        if self._is_server_name(self.name):
            return self.negative()
        found = self._find()
        if found is None:
            return None
        return self.positive([self._record(owner, Kind.CNAME, found.alias)] if found.alias else [])

    def txt(self, owner: str) -> Reply | None:
        """Return the version of the schema at the one name that has a text."""
        if len(self.base) == 1 and self.base[0] == "dns-version":
            return self.positive([Record(owner, Kind.TXT, SCHEMA_TTL, Text((SCHEMA_VERSION,)))])
        found = self._find()
        return None if found is None or found is NOTHING else self.negative()

    def soa(self, owner: str) -> Reply:
        """Return the zone's record; below the apex NODATA, even where no such name exists."""
        del owner
        if self.base:
            return self.negative()
        return self.positive([soa(self.spelled, self._serial(), self.ttl)])

    def ns(self, owner: str) -> Reply | None:
        """Return the zone's name servers."""
        # CoreDNS compares the lower-cased name with the zone as it was written.
        if self.base or self.spelled != self.zone.suffix:
            return self.other(owner)
        servers = nameservers(self.table, self.options, self.spelled)
        return self.positive(
            [self._record(owner, Kind.NS, name) for name in dict.fromkeys(n for n, _ in servers)],
            [self._record(name, address_kind(place), place) for name, place in servers],
        )

    def transfer(self, owner: str) -> Reply:
        """Refuse: zones are transferred by a plugin of their own."""
        del self, owner
        return _REFUSED

    def other(self, owner: str) -> Reply | None:
        """Return NODATA where the name exists: no other type has data anywhere."""
        del owner
        if self._is_server_name(self.name):
            return self.negative()
        return None if self._find() is None else self.negative()

    # What names lead to

    def _find(self) -> Found | None:
        return find(self.name, self.base, self.zone, self.table, self.options)

    def _chain(
        self, name: str, owner: str, alias: str, kind: int, before: tuple[str, ...]
    ) -> tuple[tuple[Record, ...], str]:
        """Return *alias* and all that it leads to, and the name outside at which it ends.

        A chain that does not end in data is NODATA: not even its first alias is shown.
        """
        if names.within(alias, name) or len(before) >= MOST_ALIASES or alias in before:
            return (), ""
        cname = self._record(owner, Kind.CNAME, alias)
        lowered = alias.lower()
        left = names.below(lowered, self.zone.name)
        if left is None:
            return (cname,), alias
        if self._is_server_name(lowered):
            inner: Iterable[Record] = self._addresses(alias, kind, self._own_addresses(kind))
            return ((cname, *inner), "") if inner else ((), "")
        base = left.split(".") if left else ()
        found = find(lowered, base, self.zone, self.table, self.options)
        if found is None:
            return (), ""
        if not found.alias:
            rest, follow = tuple(self._addresses(alias, kind, found.places(kind))), ""
        else:
            rest, follow = self._chain(lowered, alias, found.alias, kind, (*before, alias))
        return ((cname, *rest), follow) if rest else ((), "")

    def _names_of(self, place: Address) -> Iterable[str]:
        """Return the names that a PTR of *place* gives: the Service's, else all its endpoints'."""
        table, options = self.table, self.options
        zone = options.primary_zone.rstrip(".")
        tail = f"svc.{zone}." if zone else "svc."
        for service in table.services_at(place):
            if options.shows_reverse(service.namespace, table):
                yield f"{service.name}.{service.namespace}.{tail}"
                return
        if options.no_endpoints:
            return
        for slice_ in table.slices_at(place):
            if not options.shows_reverse(slice_.namespace, table):
                continue
            for endpoint in slice_.endpoints:
                if endpoint.address == place:
                    label = endpoint.label(pod_names=options.endpoint_pod_names)
                    yield f"{label}.{slice_.service}.{tail}"

    def _own_addresses(self, kind: int) -> Iterable[Address]:
        servers = nameservers(self.table, self.options, self.spelled)
        return dict.fromkeys(place for _, place in servers if address_kind(place) == kind)

    def _is_server_name(self, name: str) -> bool:
        # In CoreDNS the zone must be written in lower case for this name, and only for this one.
        return (
            name.startswith(OWN_NAME)
            and self.spelled == self.zone.suffix != ""
            and name == OWN_NAME + self.spelled
        )

    # Records

    def _serial(self) -> int:
        return self.table.import_serial if self.zone.is_multicluster else self.table.serial

    def _record(self, owner: str, kind: int, data: Data) -> Record:
        return Record(owner, kind, self.ttl, data)

    def _addresses(self, owner: str, kind: int, places: Iterable[Address]) -> list[Record]:
        ttl = self.ttl
        return [Record(owner, kind, ttl, place) for place in islice(places, MOST_ADDRESSES)]


_REFUSED: Final = Reply(rcode=Rcode.REFUSED, lasting=True, by=BY)

_KINDS: Final[dict[int, Callable[[_Lookup, str], Reply | None]]] = {
    Kind.SRV: _Lookup.srv,
    Kind.PTR: _Lookup.ptr,
    Kind.CNAME: _Lookup.cname,
    Kind.TXT: _Lookup.txt,
    Kind.SOA: _Lookup.soa,
    Kind.NS: _Lookup.ns,
    Kind.AXFR: _Lookup.transfer,
    Kind.IXFR: _Lookup.transfer,
}
