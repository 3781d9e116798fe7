"""The stanza ``forward FROM TO... {...}`` -> whom to ask, in which order, and when not.

Pure but for the files that TO may name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final, Literal, cast, get_args

from podwire.dns.corefile.corefile import CorefileError, Line
from podwire.dns.corefile.stanza import Stanza
from podwire.dns.messages.message import Rcode
from podwire.dns.messages.names import within
from podwire.dns.parts.upstream import Connecting, Upstream, parse_upstream, resolv_conf_upstreams

MOST_UPSTREAMS: Final = 15
TRY_TIMEOUT: Final = 2.0
SHORTEST_INTERVAL: Final = 0.01
"""Of health checks: 0 would be without a pause."""

Policy = Literal["random", "round_robin", "sequential"]

_RCODES: Final = {**{code.name: int(code) for code in Rcode}, "NOTIMPL": int(Rcode.NOTIMP)}


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthCheck:
    """What an upstream that failed is asked each *interval* seconds until it replies."""

    interval: float = 0.5
    domain: str = "."
    wants_recursion: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwardOptions:
    """A forward stanza; times in seconds, names absolute and lower-cased.

    An upstream is down after more than *max_fails* failed health checks, 0: never. *max_attempts*
    is None for two per upstream, 0 for as many as there is time for. *max_concurrent* 0 is no
    limit. Replies with *next_codes* are the next forward's business, those with *failover_codes*
    the next upstream's.
    """

    zone: str = "."
    exceptions: tuple[str, ...] = ()
    upstreams: tuple[Upstream, ...] = ()
    policy: Policy = "random"
    max_fails: int = 2
    max_attempts: int | None = None
    max_concurrent: int = 0
    health: HealthCheck = field(default_factory=HealthCheck)
    connecting: Connecting = field(default_factory=Connecting)
    read_timeout: float = TRY_TIMEOUT
    force_tcp: bool = False
    prefer_udp: bool = False
    fails_fast: bool = False
    next_codes: frozenset[int] = frozenset()
    next_on_nodata: bool = False
    failover_codes: frozenset[int] = frozenset()

    def concerns(self, name: str) -> bool:
        """Return whether the absolute, lower-cased *name* is to be forwarded."""
        if not within(name, self.zone):
            return False
        return name == self.zone or not any(within(name, zone) for zone in self.exceptions)


def parse(stanza: Stanza, folder: Path) -> ForwardOptions:
    """Return what the stanza says; files are looked for in *folder*. Raises CorefileError."""
    zone, *targets = stanza.arguments_of(least=2)
    if len(targets) > MOST_UPSTREAMS:
        raise stanza.error(f"more than {MOST_UPSTREAMS} TOs configured: {len(targets)}")
    try:
        zones = stanza.zones((zone,))
    except CorefileError:
        raise stanza.error(f"unable to normalize '{zone}'") from None
    options = ForwardOptions(
        # A range of addresses may be several reverse zones: as in CoreDNS, the first counts.
        zone=zones[0],
        upstreams=_upstreams(stanza, targets, folder),
    )

    def change(**changes: Any) -> None:
        nonlocal options
        options = replace(options, **changes)

    def connect(**changes: Any) -> None:
        change(connecting=replace(options.connecting, **changes))

    def one(line: Line) -> str:
        (word,) = stanza.arguments_of(line, least=1, most=1)
        return word

    def flag(name: str) -> Callable[[Line], None]:
        def take(line: Line) -> None:
            stanza.arguments_of(line, most=0)
            change(**{name: True})

        return take

    def number(name: str) -> Callable[[Line], None]:
        def take(line: Line) -> None:
            change(**{name: stanza.number(one(line), line)})

        return take

    def max_concurrent(line: Line) -> None:
        most = stanza.number(one(line), line, lowest=-(2**31))
        if most < 0:
            raise stanza.error(f"max_concurrent can't be negative: {most}", line)
        change(max_concurrent=most)

    def except_(line: Line) -> None:
        words = stanza.arguments_of(line, least=1)
        change(exceptions=options.exceptions + stanza.zones(words, line))

    def policy(line: Line) -> None:
        word = one(line)
        if word not in get_args(Policy):
            raise stanza.error(
                f"unknown policy '{word}'; known are: {', '.join(get_args(Policy))}", line
            )
        change(policy=cast(Policy, word))

    def read_timeout(line: Line) -> None:
        timeout = stanza.duration(one(line), line)
        if timeout <= 0:
            raise stanza.error(f"read_timeout must be positive: {one(line)}", line)
        change(read_timeout=timeout)

    def source_address(line: Line) -> None:
        try:
            connect(source=str(ip_address(one(line))))
        except ValueError:
            raise stanza.error(f"invalid IP address: {one(line)}", line) from None

    def failover(line: Line) -> None:
        codes = _codes(stanza, line)
        if Rcode.NOERROR in codes:
            raise stanza.error("NoError cannot be used in failover", line)
        change(failover_codes=options.failover_codes | codes)

    def encrypted(line: Line) -> None:
        raise stanza.error(
            f"{line.words[0]} is not supported here: upstreams are asked over UDP and TCP only",
            line,
        )

    stanza.options(
        {
            "except": except_,
            "policy": policy,
            "max_fails": number("max_fails"),
            "max_connect_attempts": number("max_attempts"),
            "max_concurrent": max_concurrent,
            "health_check": lambda line: change(health=_health(stanza, line)),
            "expire": lambda line: connect(expire=stanza.duration(one(line), line)),
            "max_age": lambda line: connect(max_age=stanza.duration(one(line), line)),
            "max_idle_conns": lambda line: connect(most_idle=stanza.number(one(line), line)),
            "read_timeout": read_timeout,
            "force_tcp": flag("force_tcp"),
            "prefer_udp": flag("prefer_udp"),
            "failfast_all_unhealthy_upstreams": flag("fails_fast"),
            "next": lambda line: change(next_codes=options.next_codes | _codes(stanza, line)),
            "next_on_nodata": flag("next_on_nodata"),
            "failover": failover,
            "source_address": source_address,
            "tls": encrypted,
            "tls_servername": encrypted,
            "doh_method": encrypted,
        }
    )
    connecting = options.connecting
    if 0 < connecting.max_age < connecting.expire:
        raise stanza.error(
            f"max_age ({connecting.max_age:g}s) must not be less than expire "
            f"({connecting.expire:g}s)"
        )
    return options


def _upstreams(stanza: Stanza, targets: Sequence[str], folder: Path) -> tuple[Upstream, ...]:
    found: list[Upstream] = []
    for target in targets:
        scheme, separator, place = target.rpartition("://")
        if separator and scheme != "dns":
            raise stanza.error(
                f"'{scheme}' is not supported as a destination protocol in forward: {target}; "
                "upstreams are asked over UDP and TCP only (dns://)"
            )
        try:
            found.append(parse_upstream(place))
        except ValueError:
            found.extend(_listed(stanza, place, folder))
    if not found:
        raise stanza.error("no valid upstream addresses found")
    return tuple(dict.fromkeys(found))


def _listed(stanza: Stanza, name: str, folder: Path) -> tuple[Upstream, ...]:
    """Return the servers of a file in the form of resolv.conf."""
    try:
        return resolv_conf_upstreams((folder / name).read_text())
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise stanza.error(f"not an IP address or file: '{name}' ({why})") from None


def _health(stanza: Stanza, line: Line) -> HealthCheck:
    """Return what ``health_check DURATION [no_rec] [domain NAME]`` says."""
    interval, *words = stanza.arguments_of(line, least=1)
    health = HealthCheck(interval=max(stanza.duration(interval, line), SHORTEST_INTERVAL))
    while words:
        match words.pop(0):
            case "no_rec":
                health = replace(health, wants_recursion=False)
            case "domain":
                if not words:
                    raise stanza.wrong_count(line)
                word = words.pop(0)
                try:
                    (domain,) = stanza.zones((word,), line)
                except (CorefileError, ValueError):
                    raise stanza.error(f"health_check: invalid domain name {word}", line) from None
                health = replace(health, domain=domain)
            case other:
                raise stanza.error(
                    f"health_check: unknown option {other}; known are: no_rec, domain", line
                )
    return health


def _codes(stanza: Stanza, line: Line) -> frozenset[int]:
    words = stanza.arguments_of(line, least=1)
    for word in words:
        if word.upper() not in _RCODES:
            raise stanza.error(f"{word} is not a valid rcode", line)
    return frozenset(_RCODES[word.upper()] for word in words)
