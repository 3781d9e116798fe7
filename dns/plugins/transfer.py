"""transfer: whole zones for those who may have them (AXFR, and IXFR as AXFR)."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Protocol, runtime_checkable

from podwire.dns.chain import Link, Plugin, Request
from podwire.dns.corefile.corefile import Line
from podwire.dns.corefile.stanza import Stanza
from podwire.dns.messages.message import Kind, Rcode, Record, Reply, Soa
from podwire.dns.messages.names import longest_match
from podwire.dns.parts.transfers import known_serial
from podwire.dns.site import Site

EVERYBODY = "*"

log = logging.getLogger("podwire.dns")


@runtime_checkable
class HasZones(Protocol):
    """A plugin that knows all records of its zones."""

    def zone_records(self, name: str, have_serial: int) -> Iterable[Record] | None:
        """Return the records of a zone, the SOA first and last; None: it is not this plugin's.

        With the serial that the client has they are the SOA alone; 0: it has none.
        """
        ...


@dataclass(slots=True)
class Permission:
    """Which zones go to whom: addresses, or everybody."""

    zones: tuple[str, ...]
    to: set[str] = field(default_factory=set[str])

    def allows(self, client: str) -> bool:
        """Return whether *client* may have the zones."""
        return EVERYBODY in self.to or client in self.to


def setup(stanzas: Sequence[Stanza], site: Site) -> Plugin:
    """Return the plugin: ``transfer [ZONES...] { to *|ADDRESS... }``."""
    return Transfer([parse(stanza) for stanza in stanzas], site.siblings)


def parse(stanza: Stanza) -> Permission:
    """Return what one stanza says. Raises CorefileError."""
    made = Permission(stanza.zones_or_block(stanza.arguments))
    sources: list[str] = []

    def to(line: Line) -> None:
        for word in stanza.arguments_of(line, least=1):
            made.to.add(word if word == EVERYBODY else _host(word, stanza, line))

    def source(line: Line) -> None:
        # Where NOTIFY messages come from. None are sent, here as for CoreDNS's kubernetes zones.
        (word,) = stanza.arguments_of(line, least=1, most=1)
        if sources:
            raise stanza.error("source already specified", line)
        sources.append(_host(word, stanza, line))

    stanza.options({"to": to, "source": source})
    if not made.to:
        raise stanza.error("'to' is required")
    return made


class Transfer(Plugin):
    """Answers AXFR and IXFR over TCP from the first plugin that has the zone."""

    name = "transfer"

    def __init__(self, permissions: Sequence[Permission], siblings: Sequence[Plugin]) -> None:
        self._permissions = tuple(permissions)
        self._siblings = siblings

    async def serve(self, request: Request, rest: Link) -> Reply:
        """Return a zone; REFUSED over UDP and for strangers."""
        question = request.query.question
        if question.kind not in (Kind.AXFR, Kind.IXFR):
            return await rest(request)
        if request.transport != "tcp":
            return Reply(rcode=Rcode.REFUSED)
        permission = self._permission(question.name)
        if permission is None:
            return await rest(request)
        if not permission.allows(request.client[0]):
            return Reply(rcode=Rcode.REFUSED, by=self.name)
        serial: int | None = 0
        if question.kind == Kind.IXFR:
            serial = known_serial(request.query)
            if serial is None:
                return Reply(rcode=Rcode.SERVFAIL)
        records = self._records(question.name, serial or 0)
        if records is None:
            return await rest(request)
        client = request.client[0]
        soa = records[0].data
        current = soa.serial if isinstance(soa, Soa) else 0
        if len(records) == 1:
            log.info(
                "plugin/transfer: Outgoing noop, incremental transfer for up to date zone "
                '"%s" to %s for %d SOA serial',
                question.name,
                client,
                current,
            )
            return Reply(answer=records, by=self.name)
        log.info(
            'plugin/transfer: Outgoing transfer of %d records of zone "%s" to %s for %d SOA serial',
            len(records),
            question.name,
            client,
            current,
        )
        return Reply(authoritative=True, answer=records, is_transfer=True, by=self.name)

    def _permission(self, name: str) -> Permission | None:
        """Return the permission with the longest zone that *name* is in."""
        found = [
            (len(zone), permission)
            for permission in self._permissions
            if (zone := longest_match(name, permission.zones)) is not None
        ]
        return max(found, key=lambda pair: pair[0])[1] if found else None

    def _records(self, name: str, have_serial: int) -> tuple[Record, ...] | None:
        for plugin in self._siblings:
            if isinstance(plugin, HasZones):
                records = plugin.zone_records(name, have_serial)
                if records is not None:
                    return tuple(records)
        return None


def _host(word: str, stanza: Stanza, line: Line) -> str:
    """Return the address of ``ADDRESS`` or ``ADDRESS:PORT``."""
    text = word
    if word.startswith("["):
        text = word[1:].partition("]")[0]
    elif word.count(":") == 1:
        text = word.partition(":")[0]
    try:
        return str(ip_address(text))
    except ValueError:
        raise stanza.error(f'not an IP address: "{word}"', line) from None
