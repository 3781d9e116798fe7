"""hosts: answers from a file like /etc/hosts, and from lines in the Corefile."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from podwire.dns.chain import Link, Plugin, Request
from podwire.dns.corefile.corefile import Line
from podwire.dns.corefile.stanza import Stanza
from podwire.dns.messages.message import Address, Kind, Rcode, Record, Reply
from podwire.dns.messages.names import address, longest_match, reversed_address
from podwire.dns.parts.host_table import HostTable, hosts
from podwire.dns.serving.metrics import Gauges, Metrics, Readings
from podwire.dns.site import Site

DEFAULT_FILE: Final = "/etc/hosts"
TTL: Final = 3600
LONGEST_TTL: Final = 65535
RELOAD: Final = 5.0

ENTRIES: Final = Gauges(
    "coredns_hosts_entries", "The combined number of entries in hosts and Corefile.", ("hostsfile",)
)
RELOADED_AT: Final = Gauges(
    "coredns_hosts_reload_timestamp_seconds", "The timestamp of the last reload of hosts file."
)

log = logging.getLogger("podwire.dns")


@dataclass(slots=True, kw_only=True)
class HostsOptions:
    """The stanza: *reload* in seconds, 0 for never; *fallthrough* empty for nothing."""

    file: Path
    zones: tuple[str, ...]
    inline: tuple[str, ...] = ()
    ttl: int = TTL
    has_reverse: bool = True
    reload: float = RELOAD
    fallthrough: tuple[str, ...] = ()
    is_unsupported_passed: bool = False


def setup(stanza: Stanza, site: Site) -> Plugin:
    """Return the plugin: ``hosts [FILE [ZONES...]] { [LINES]; ttl; no_reverse; reload; ... }``."""
    process = site.process
    return Hosts(parse(stanza, site.folder), process.metrics, process.sources.forget_answers)


def parse(stanza: Stanza, folder: Path) -> HostsOptions:
    """Return what the stanza says. Raises CorefileError."""
    file, *zones = stanza.arguments or (DEFAULT_FILE,)
    options = HostsOptions(file=folder / file, zones=stanza.zones_or_block(zones))

    def fallthrough(line: Line) -> None:
        options.fallthrough = stanza.fallthrough(line)

    def fallthrough_unsupported(line: Line) -> None:
        stanza.arguments_of(line, most=0)
        options.is_unsupported_passed = True

    def no_reverse(line: Line) -> None:
        stanza.arguments_of(line, most=0)
        options.has_reverse = False

    def ttl(line: Line) -> None:
        text, *_ = stanza.arguments_of(line, least=1)
        options.ttl = stanza.number(text, line, lowest=1, highest=LONGEST_TTL)

    def reload(line: Line) -> None:
        (text,) = stanza.arguments_of(line, least=1, most=1)
        options.reload = stanza.duration(text, line)

    known: Mapping[str, Callable[[Line], None]] = {
        "fallthrough": fallthrough,
        "fallthrough_unsupported": fallthrough_unsupported,
        "no_reverse": no_reverse,
        "ttl": ttl,
        "reload": reload,
    }
    for line in stanza.lines:
        take = known.get(line.words[0])
        if take is not None:
            take(line)
        elif address(line.words[0].partition("%")[0]) is None:
            raise stanza.error(
                f"unknown property '{line.words[0]}'; known are lines of a hosts file and: "
                f"{', '.join(known)}",
                line,
            )
        elif options.fallthrough:
            raise stanza.error("lines of hosts must stand in front of fallthrough", line)
        else:
            options.inline += (" ".join(line.words),)
    if options.is_unsupported_passed and not options.fallthrough:
        raise stanza.error("fallthrough_unsupported requires fallthrough")
    return options


class Hosts(Plugin):
    """Reads the file again when it has changed; *changed* is called then."""

    name = "hosts"

    def __init__(
        self, options: HostsOptions, metrics: Metrics, changed: Callable[[], None]
    ) -> None:
        self._options = options
        self._metrics = metrics
        self._changed = changed
        self._inline = self._table(options.inline)
        self._from_file = HostTable()
        self._seen: tuple[int, int] | None = None

    @asynccontextmanager
    async def run(self) -> AsyncGenerator[None]:
        """Read the file, and look at it from time to time."""
        options, metrics = self._options, self._metrics
        if not options.file.exists():
            log.warning("plugin/hosts: File does not exist: %s", options.file)
        elif options.file.is_dir():
            log.warning("plugin/hosts: Hosts file %s is a directory", options.file)
        self.look()
        with metrics.showing(ENTRIES, self._entries), metrics.showing(RELOADED_AT, self._read_at):
            async with asyncio.TaskGroup() as tasks:
                task = tasks.create_task(self._watch()) if options.reload else None
                try:
                    yield
                finally:
                    if task:
                        task.cancel()

    async def serve(self, request: Request, rest: Link) -> Reply:
        """Answer A, AAAA and PTR for what is listed; SERVFAIL for other names that are ours."""
        options = self._options
        question = request.query.question
        name, kind = question.name.lower(), question.kind
        # Reverse names need not be in our zones.
        if kind != Kind.PTR and longest_match(name, options.zones) is None:
            return await rest(request)
        falls_through = longest_match(name, options.fallthrough) is not None
        answer: tuple[Record, ...] = ()
        if kind == Kind.PTR:
            place = reversed_address(name)
            names = self._names(place) if place is not None else ()
            if not names:
                return await rest(request)
            answer = tuple(Record(name, kind, options.ttl, target) for target in names)
        elif kind in (Kind.A, Kind.AAAA):
            answer = tuple(
                Record(name, kind, options.ttl, place) for place in self._addresses(name, kind)
            )
        elif options.is_unsupported_passed and falls_through:
            return await rest(request)
        if answer or self._addresses(name, Kind.A) or self._addresses(name, Kind.AAAA):
            return Reply(authoritative=True, answer=answer, lasting=True, by=self.name)
        if falls_through:
            return await rest(request)
        # NXDOMAIN wants a SOA, and a hosts file has none.
        return Reply(rcode=Rcode.SERVFAIL, lasting=True)

    def _addresses(self, name: str, kind: int) -> tuple[Address, ...]:
        return self._from_file.addresses(name, kind) + self._inline.addresses(name, kind)

    def _names(self, place: Address) -> tuple[str, ...]:
        return self._from_file.names(place) + self._inline.names(place)

    def _table(self, lines: Iterable[str]) -> HostTable:
        return hosts(lines, self._options.zones, has_reverse=self._options.has_reverse)

    def _entries(self) -> Readings:
        return {(str(self._options.file),): float(len(self._from_file) + len(self._inline))}

    def _read_at(self) -> Readings:
        return {(): self._seen[0] / 1e9} if self._seen else {}

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._options.reload)
            if self.look():
                self._changed()

    def look(self) -> bool:
        """Read the file if it has changed; return whether it has."""
        try:
            with self._options.file.open(encoding="utf-8", errors="replace") as file:
                state = self._options.file.stat()
                seen = (state.st_mtime_ns, state.st_size)
                if seen == self._seen:
                    return False
                self._from_file = self._table(file)
        except OSError:
            # It is gone, or being replaced: what is known stays.
            return False
        self._seen = seen
        return True
