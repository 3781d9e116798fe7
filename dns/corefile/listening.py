"""Pure: a server block's keys and ``bind`` lines -> its zones by port, and where it listens."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_address
from typing import Final

from podwire.dns.corefile.corefile import CorefileError, Line, ServerBlock
from podwire.dns.corefile.stanza import Stanza
from podwire.dns.messages.message import Address
from podwire.dns.messages.names import is_zone, zones_of

Place = tuple[str, int]
"""An address and a port to listen on; the empty address is every one."""

Interfaces = Mapping[str, Sequence[Address]]
"""The addresses of this machine, by the interface that has them."""

_OTHER_SCHEMES: Final = ("tls", "https", "https3", "quic", "grpc")
_LONGEST_ZONE: Final = 255


def zones_by_port(block: ServerBlock, default_port: int) -> dict[int, tuple[str, ...]]:
    """Return the zones of a block's keys, by the port on which they are served.

    Raises CorefileError.
    """
    found: dict[int, dict[str, None]] = {}
    for key in block.keys:
        zones, port = _served(key, block, default_port)
        for zone in zones:
            if zone in found.setdefault(port, {}):
                raise _error(block, f"cannot serve dns://{zone}:{port} - it is already defined")
            found[port][zone] = None
    return {port: tuple(zones) for port, zones in found.items()}


def bound(block: ServerBlock, interfaces: Interfaces) -> tuple[str, ...]:
    """Return the addresses of the block's ``bind`` lines; none: all. Raises CorefileError."""
    found: dict[str, None] = {}
    is_bound = False
    for directive in block.directives:
        if directive.name != "bind":
            continue
        is_bound = True
        stanza = Stanza(directive)
        if not stanza.arguments:
            raise stanza.error("at least one address or interface name is expected")
        hidden: list[str] = []

        def leave_out(line: Line, stanza: Stanza = stanza, hidden: list[str] = hidden) -> None:
            if len(line.words) < 2:
                raise stanza.error(
                    "at least one address or interface must be given to except subdirective", line
                )
            hidden.extend(_addresses(line.words[1:], interfaces, stanza, line))

        stanza.options({"except": leave_out})
        for address in _addresses(stanza.arguments, interfaces, stanza):
            if address not in hidden:
                found[address] = None
    if is_bound and not found:
        raise _error(block, "bind: no address is left to listen on")
    return tuple(found)


def reachable(listens: Sequence[str], interfaces: Interfaces) -> tuple[Address, ...]:
    """Return the addresses under which others find a server that is bound to *listens*."""
    if listens:
        return tuple(ip_address(text.partition("%")[0]) for text in listens)
    every = (address for own in interfaces.values() for address in own)
    return tuple(dict.fromkeys(a for a in every if not a.is_loopback and not a.is_link_local))


class Taken:
    """Who serves which zone where, to find two who serve the same."""

    def __init__(self) -> None:
        self._blocks: dict[tuple[int, str], dict[str, ServerBlock]] = {}

    def take(self, block: ServerBlock, zone: str, place: Place) -> None:
        """Note that *block* serves *zone* at *place*.

        Raises CorefileError when another one does, or listens there with a wider address.
        """
        address, port = place
        name = f"dns://{zone}:{port}{f' on {address}' if address else ''}"
        others = self._blocks.setdefault((port, zone), {})
        other = others.get(address)
        if other is not None:
            raise _error(
                block,
                f"cannot serve {name} - it is already defined in line {other.number}",
            )
        if others and (not address or "" in others):
            overlapped, other = next(iter(others.items()))
            shown = f"dns://{zone}:{port}{f' on {overlapped}' if overlapped else ''}"
            raise _error(
                block,
                f"cannot serve {name} - zone overlap listener capacity with {shown} of line "
                f"{other.number}",
            )
        others[address] = block


def _served(key: str, block: ServerBlock, default_port: int) -> tuple[tuple[str, ...], int]:
    """Return the zones that one key means, several for a CIDR, and their port."""
    scheme, separator, rest = key.rpartition("://")
    if separator and scheme != "dns":
        what = "known, but only dns is served here" if scheme in _OTHER_SCHEMES else "not known"
        raise _error(block, f"{key}: the scheme {scheme} is {what}")
    zone, colon, port_text = rest.rpartition(":")
    port = default_port
    if colon and not port_text:
        raise _error(block, f'expecting data after last colon: "{rest}"')
    if colon and port_text.isascii() and port_text.isdigit():
        if int(port_text) > 65535:
            raise _error(block, f"{key}: '{port_text}' is no port number")
        rest, port = zone, int(port_text)
    elif colon and "/" not in rest:
        raise _error(block, f"{key}: '{port_text}' is no port number")
    if len(rest) > _LONGEST_ZONE:
        raise _error(block, f"specified zone is too long: {len(rest)} > {_LONGEST_ZONE}")
    zones = zones_of(rest or ".")
    for name in zones:
        if not is_zone(name):
            raise _error(block, f"zone is not a valid domain name: {rest}")
    return zones, port


def _addresses(
    words: Iterable[str], interfaces: Interfaces, stanza: Stanza, line: Line | None = None
) -> list[str]:
    """Return the addresses that *words* are, or that the interfaces of those names have."""
    found: list[str] = []
    for word in words:
        if word in interfaces:
            # A link-local address means nothing without the link.
            found += [f"{a}%{word}" if _needs_link(a) else str(a) for a in interfaces[word]]
            continue
        try:
            found.append(str(ip_address(word)))
        except ValueError:
            raise stanza.error(
                f'not a valid IP address or interface name: "{word}"; interfaces are: '
                f"{', '.join(sorted(interfaces)) or 'unknown'}",
                line,
            ) from None
    return found


def _needs_link(address: Address) -> bool:
    return address.version == 6 and address.is_link_local


def _error(block: ServerBlock, message: str) -> CorefileError:
    return CorefileError.at(block.file, block.number, message)
