"""Pure: question + table -> answer (NXDOMAIN or NODATA, SRV extras, PTR).

What CoreDNS's kubernetes plugin says, quirks included: TXT at a name without TXT is NXDOMAIN where
RFC 2308 wants NODATA, and so are other types at a reverse name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

from podwire.dns import names
from podwire.dns.message import Address, Data, Kind, Question, Rcode, Record, Reply, Soa, Srv, Text
from podwire.dns.records import NO_PORT, Port, PublishedEndpoint, PublishedSlice, Table
from podwire.kube.names import Key

SCHEMA_VERSION: Final = b"1.1.0"
SCHEMA_TTL: Final = 28800
LONGEST_SOA_TTL: Final = 300
MOST_ALIASES: Final = 8
"""How many ExternalName Services may follow each other inside the cluster."""


PodMode: TypeAlias = Literal["disabled", "insecure", "verified"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The kubernetes stanza of a Corefile. Zones are absolute and lower-cased; *ttl* in seconds.

    *fallthrough* lists the zones whose unknown names go to the next handler: empty means all,
    None means none. *own_addresses* are those this server answers on, for NS. Empty *namespaces*
    exposes all.
    """

    zones: tuple[str, ...] = ("cluster.local.",)
    pods: PodMode = "disabled"
    ttl: int = 5
    namespaces: frozenset[str] = frozenset()
    fallthrough: tuple[str, ...] | None = None
    own_addresses: tuple[Address, ...] = ()
    endpoint_pod_names: bool = False
    no_endpoints: bool = False
    ignore_empty_service: bool = False


def answer(question: Question, table: Table, options: Options) -> Reply | None:
    """Return the reply to *question*, or None: it is for the next handler."""
    name = question.name.lower()
    zone = names.longest_match(name, options.zones)
    if zone is None:
        return None
    return _Lookup(name, names.spelled_like(question.name, zone), zone, table, options).reply(
        question
    )


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


@dataclass(frozen=True, slots=True)
class _Found:
    """Something that a name leads to: an address under its published name, or an alias.

    *owner* stands left of the zone.
    """

    owner: str
    place: Address | None = None
    port: int = 0
    alias: str = ""


class _NoSuchNameError(Exception):
    """The name does not exist; raised and caught in here only."""


@dataclass(frozen=True, slots=True)
class _Lookup:
    """One question in one zone; *spelled* is the zone as the client wrote it."""

    name: str
    spelled: str
    zone: str
    table: Table
    options: Options

    def reply(self, question: Question) -> Reply | None:
        try:
            made = self._data(question)
        except _NoSuchNameError:
            # Falling through comes first: what is not ours is not ours to be unsure about.
            if self._falls_through():
                return None
            known = self.table.is_synced
            return self._negative(Rcode.NXDOMAIN if known else Rcode.SERVFAIL)
        if made.rcode == Rcode.NOERROR and not made.answer:
            return self._negative(Rcode.NOERROR)
        return made

    def _falls_through(self) -> bool:
        zones = self.options.fallthrough
        return zones is not None and (
            not zones or names.longest_match(self.name, zones) is not None
        )

    def _negative(self, rcode: Rcode) -> Reply:
        return _authoritative(rcode=rcode, authority=(self._soa(),))

    def _data(self, question: Question) -> Reply:
        owner = question.name
        match question.kind:
            case Kind.A | Kind.AAAA:
                return self._addresses(owner, question.kind, ())
            case _ if self._is_server_name() and question.kind != Kind.TXT:
                return _authoritative()
            case Kind.SRV:
                return self._srv(owner)
            case Kind.PTR:
                return self._ptr(owner)
            case Kind.CNAME:
                found = tuple(self._found())[:1]
                aliases = tuple(self._record(owner, Kind.CNAME, f.alias) for f in found if f.alias)
                return _authoritative(answer=aliases)
            case Kind.TXT:
                return self._txt(owner)
            case Kind.SOA:
                # Below the apex this is NODATA even where the name does not exist.
                return _authoritative(answer=(self._soa(),) if self._is_apex() else ())
            case Kind.AXFR | Kind.IXFR:
                return Reply(rcode=Rcode.REFUSED, lasting=True)
            case Kind.NS if self._is_apex():
                return self._ns(owner)
            case Kind.MX:
                self._found()
                return _authoritative()
            case _:
                # Any other type exists nowhere; a pretended A decides if the name does.
                self._addresses(owner, Kind.A, ())
                return _authoritative()

    # Kinds of records

    def _addresses(self, owner: str, kind: int, before: tuple[Record, ...]) -> Reply:
        """Return addresses of one family, after the aliases that lead to them."""
        if self._is_server_name():
            return _authoritative(answer=self._address_records(owner, kind, self._servers()))
        found = tuple(self._found())
        for one in found:
            if one.alias:
                return self._follow(owner, kind, one.alias, before)
        return _authoritative(
            answer=self._address_records(owner, kind, ((owner, f.place) for f in found))
        )

    def _follow(self, owner: str, kind: int, alias: str, before: tuple[Record, ...]) -> Reply:
        cname = self._record(owner, Kind.CNAME, alias)
        if names.within(alias, self.name) or len(before) >= MOST_ALIASES or cname in before:
            return _authoritative()
        if not names.within(alias, self.zone):
            return _authoritative(answer=(cname,), follow=alias)
        inner = replace(self, name=alias.lower())
        try:
            rest = inner._addresses(alias, kind, (*before, cname))
        except _NoSuchNameError:
            return _authoritative()
        # A chain that does not end in data is NODATA: not even its first alias is shown.
        return replace(rest, answer=(cname, *rest.answer)) if rest.answer else rest

    def _srv(self, owner: str) -> Reply:
        found = tuple(f for f in self._found() if f.place is not None)
        # Counted before duplicates go, so a dual-stack Service has weight 50 on its one record.
        weight = max(1, 100 // len(found)) if found else 0
        answers: dict[Record, None] = {}
        extra: dict[Record, None] = {}
        for one in found:
            if one.port == NO_PORT or one.place is None:
                continue
            target = f"{one.owner}.{self.spelled}"
            answers[self._record(owner, Kind.SRV, Srv(0, weight, one.port, target))] = None
            extra[self._record(target, _kind_of(one.place), one.place)] = None
        return _authoritative(answer=tuple(answers), additional=tuple(extra))

    def _ptr(self, owner: str) -> Reply:
        place = names.reversed_address(self.name)
        if place is None:
            self._found()
            return _authoritative()
        targets = dict.fromkeys(self._names_of(place))
        if not targets:
            raise _NoSuchNameError
        return _authoritative(answer=tuple(self._record(owner, Kind.PTR, t) for t in targets))

    def _txt(self, owner: str) -> Reply:
        if self.name == f"dns-version.{self.zone}":
            record = Record(owner, Kind.TXT, SCHEMA_TTL, Text((SCHEMA_VERSION,)))
            return _authoritative(answer=(record,))
        if not self._found():
            raise _NoSuchNameError
        return _authoritative()

    def _ns(self, owner: str) -> Reply:
        servers = tuple(self._servers())
        return _authoritative(
            answer=tuple(
                self._record(owner, Kind.NS, name) for name in dict.fromkeys(n for n, _ in servers)
            ),
            additional=tuple(self._record(name, _kind_of(place), place) for name, place in servers),
        )

    # What names lead to

    def _found(self) -> tuple[_Found, ...]:
        """Return what the name leads to: empty when it exists without data."""
        asked = names.ask(self.name, self.zone)
        if asked is None:
            raise _NoSuchNameError
        if not asked.branch:
            return ()
        if names.reverse_family(self.name) or not self._is_exposed(asked.namespace):
            raise _NoSuchNameError
        found = tuple(self._pod(asked) if asked.branch == "pod" else self._service(asked))
        if not found and asked.service and not self._exists_empty(asked):
            raise _NoSuchNameError
        return found

    def _exists_empty(self, asked: names.Asked) -> bool:
        """Return whether a ClusterIP Service that has no address yet is what was asked for."""
        service = self.table.service(Key(asked.namespace, asked.service))
        return (
            asked.branch == "svc"
            and service is not None
            and not (service.addresses or service.is_headless or service.is_external)
            and not asked.endpoint
            and any(_fits(port, asked) for port in service.ports)
        )

    def _is_exposed(self, namespace: str) -> bool:
        allowed = self.options.namespaces
        return (not allowed or namespace in allowed) and self.table.has_namespace(namespace)

    def _pod(self, asked: names.Asked) -> Iterator[_Found]:
        if self.options.pods == "disabled":
            raise _NoSuchNameError
        if not asked.service:
            return
        text = names.pod_address_text(asked.service)
        place = names.address(text)
        if place is None:
            return
        if self.options.pods == "insecure" or self.table.has_pod(text, asked.namespace):
            yield _Found(f"{asked.service}.{asked.namespace}.pod", place)

    def _service(self, asked: names.Asked) -> Iterator[_Found]:
        key = Key(asked.namespace, asked.service)
        service = self.table.service(key)
        if service is None:
            return
        owner = f"{key.name}.{key.namespace}.svc"
        slices = () if self.options.no_endpoints else tuple(self.table.slices_of(key))
        if service.is_external:
            if service.target and not (asked.endpoint or asked.port or asked.protocol):
                yield _Found(owner, alias=service.target)
            return
        if (
            self.options.ignore_empty_service
            and not service.is_headless
            and not any(s.endpoints for s in slices)
        ):
            return
        if service.is_headless or asked.endpoint:
            for slice_, endpoint in _each(slices):
                label = self._label(endpoint)
                if asked.endpoint and asked.endpoint != label.lower():
                    continue
                for port in slice_.ports:
                    if _fits(port, asked):
                        yield _Found(f"{label}.{owner}", endpoint.address, port.number)
            return
        for port in service.ports:
            if _fits(port, asked):
                for place in service.addresses:
                    yield _Found(owner, place, port.number)

    def _names_of(self, place: Address) -> Iterator[str]:
        """Return the names that a PTR of *place* gives: the Service's, else all its endpoints'."""
        zone = next((z for z in self.options.zones if not _is_reverse(z)), self.zone)
        for service in self.table.services_at(place):
            if self._shows_reverse(service.key.namespace):
                yield f"{service.key.name}.{service.key.namespace}.svc.{zone}"
                return
        if self.options.no_endpoints:
            return
        for slice_, endpoint in _each(self.table.slices_at(place)):
            key = slice_.service
            if endpoint.address == place and self._shows_reverse(key.namespace):
                yield f"{self._label(endpoint)}.{key.name}.{key.namespace}.svc.{zone}"

    def _shows_reverse(self, namespace: str) -> bool:
        return not self.options.namespaces or self._is_exposed(namespace)

    def _servers(self) -> Iterator[tuple[str, Address]]:
        """Return names and addresses of the DNS servers: Services in front of us, else us."""
        found_endpoint = False
        for own in self.options.own_addresses:
            if self.options.no_endpoints:
                break
            for slice_ in self.table.slices_at(own):
                found_endpoint = True
                service = self.table.service(slice_.service)
                if service is None:
                    continue
                owner = f"{service.key.name}.{service.key.namespace}.svc.{self.spelled}"
                if service.is_headless:
                    for endpoint in slice_.endpoints:
                        yield f"{self._label(endpoint)}.{owner}", endpoint.address
                else:
                    for place in service.addresses:
                        yield owner, place
        if not found_endpoint:
            for own in self.options.own_addresses:
                yield f"ns.dns.{self.spelled}", own

    def _label(self, endpoint: PublishedEndpoint) -> str:
        return names.endpoint_name(
            endpoint.address,
            endpoint.hostname,
            endpoint.pod,
            pod_names=self.options.endpoint_pod_names,
        )

    # Records

    def _is_server_name(self) -> bool:
        return self.name == f"ns.dns.{self.zone}"

    def _is_apex(self) -> bool:
        return self.name == self.zone

    def _record(self, owner: str, kind: int, data: Data) -> Record:
        return Record(owner, kind, self.options.ttl, data)

    def _address_records(
        self, owner: str, kind: int, places: Iterable[tuple[str, Address | None]]
    ) -> tuple[Record, ...]:
        wanted = dict.fromkeys(
            place for _, place in places if place is not None and _kind_of(place) == kind
        )
        return tuple(self._record(owner, kind, place) for place in wanted)

    def _soa(self) -> Record:
        ttl = self.options.ttl
        zone = self.spelled
        data = Soa(
            f"ns.dns.{zone}", f"hostmaster.{zone}", self.table.serial, 7200, 1800, 86400, ttl
        )
        return Record(zone, Kind.SOA, min(ttl, LONGEST_SOA_TTL), data)


def _authoritative(
    *,
    rcode: Rcode = Rcode.NOERROR,
    answer: tuple[Record, ...] = (),
    authority: tuple[Record, ...] = (),
    additional: tuple[Record, ...] = (),
    follow: str = "",
) -> Reply:
    return Reply(
        rcode=rcode,
        authoritative=True,
        answer=answer,
        authority=authority,
        additional=additional,
        follow=follow,
        lasting=not follow,
    )


def _each(slices: Iterable[PublishedSlice]) -> Iterator[tuple[PublishedSlice, PublishedEndpoint]]:
    return ((slice_, endpoint) for slice_ in slices for endpoint in slice_.endpoints)


def _fits(port: Port, asked: names.Asked) -> bool:
    return asked.port in ("", port.name) and asked.protocol in ("", port.protocol)


def _kind_of(place: Address) -> int:
    return Kind.A if place.version == 4 else Kind.AAAA


def _is_reverse(zone: str) -> bool:
    return names.within(zone, "in-addr.arpa.") or names.within(zone, "ip6.arpa.")
