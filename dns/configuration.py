"""A Corefile -> servers: which block listens where, with which plugins.

Nothing of the machine is touched here but the files that the Corefile names.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from podwire.dns.chain import ORDER, Block, Plugin, in_order
from podwire.dns.corefile import CorefileError, Directive, Read, ServerBlock, parse
from podwire.dns.frontdoor import FrontDoor
from podwire.dns.message import Address
from podwire.dns.names import zones_of
from podwire.dns.registry import PLUGINS
from podwire.dns.site import Process, Site
from podwire.dns.stanza import Stanza

DEFAULT: Final = ".:53 {\n    whoami\n    log\n}\n"
"""What CoreDNS serves without a Corefile."""

Place = tuple[str, int]
"""An address and a port to listen on; the empty address is every one."""


MakeDoor = Callable[[str], FrontDoor]
"""Returns the way in of a server of that name."""


@dataclass(slots=True)
class Server:
    """What listens on one place: its way in, and its blocks."""

    place: Place
    name: str
    door: FrontDoor
    blocks: list[Block] = field(default_factory=list[Block])


@dataclass(frozen=True, slots=True)
class Configuration:
    """All servers of a Corefile, and all their plugins in the order in which they start."""

    servers: Mapping[Place, Server]
    plugins: Sequence[Plugin]

    @property
    def lameduck(self) -> float:
        """Return how many seconds to serve on after the end was asked for."""
        return max((plugin.lameduck for plugin in self.plugins), default=0.0)


def configure(
    text: str,
    process: Process,
    *,
    default_port: int,
    own_addresses: Sequence[Address],
    doors: Mapping[Place, FrontDoor],
    make_door: MakeDoor,
) -> Configuration:
    """Return the configuration that *text* describes. Raises CorefileError.

    *doors* are those that listen already and go on; *own_addresses* are the machine's.
    """
    file = str(process.corefile)
    blocks = parse(text, name=file, environ=os.environ, read=_reader(process.corefile.parent))
    servers: dict[Place, Server] = {}
    plugins: list[Plugin] = []
    taken: dict[tuple[Place, str], ServerBlock] = {}
    for block in blocks:
        for directive in block.directives:
            _check_known(directive)
        listens = _listens(block)
        for port, zones in _zones_by_port(block, default_port).items():
            for address in listens or ("",):
                for zone in zones:
                    other = taken.setdefault(((address, port), zone), block)
                    if other is not block:
                        raise CorefileError.at(
                            block.file,
                            block.number,
                            f"cannot serve dns://{zone}:{port} - it is already defined in line "
                            f"{other.number}",
                        )
            for address in listens or ("",):
                place = (address, port)
                server = servers.get(place)
                if server is None:
                    name = f"dns://{f'[{address}]' if ':' in address else address}:{port}"
                    door = doors.get(place) or make_door(name)
                    server = servers[place] = Server(place, name, door)
                site = Site(
                    process=process,
                    zones=zones,
                    server=server.name,
                    port=port,
                    listens=(address,) if address else (),
                    own_addresses=_reachable(address, own_addresses),
                    lookup=server.door.lookup,
                    everyone=plugins,
                )
                built = Block(zones, in_order(_plugins(block, zones, site)))
                site.siblings.extend(built.plugins)
                server.blocks.append(built)
                plugins.extend(built.plugins)
    # Plugins start in the order of the chain, whichever block they stand in.
    plugins[:] = in_order(plugins)
    return Configuration(servers, plugins)


def _plugins(block: ServerBlock, zones: tuple[str, ...], site: Site) -> list[Plugin]:
    made: list[Plugin] = []
    # In the order of the chain: what a stanza names (@kubernetes) may come later all the same.
    for directive in sorted(block.directives, key=lambda d: ORDER.index(d.name)):
        if directive.name == "bind":
            continue
        made.append(PLUGINS[directive.name](Stanza(directive, zones), site))
    return made


def _check_known(directive: Directive) -> None:
    if directive.name != "bind" and directive.name not in PLUGINS:
        known = ", ".join(sorted((*PLUGINS, "bind")))
        raise CorefileError.at(
            directive.file,
            directive.number,
            f"Unknown directive '{directive.name}'; known are: {known}",
        )


def _zones_by_port(block: ServerBlock, default_port: int) -> dict[int, tuple[str, ...]]:
    """Return the zones of a block's keys, by the port on which they are served."""
    found: dict[int, dict[str, None]] = {}
    for key in block.keys:
        scheme, separator, rest = key.rpartition("://")
        if separator and scheme != "dns":
            raise CorefileError.at(
                block.file, block.number, f"{key}: {scheme} is not served here, only dns (Do53)"
            )
        zone, colon, port_text = rest.rpartition(":")
        port = default_port
        if colon and not zone.count(":"):
            if not port_text.isdigit() or int(port_text) > 65535:
                raise CorefileError.at(
                    block.file, block.number, f"{key}: '{port_text}' is no port number"
                )
            rest, port = zone or ".", int(port_text)
        words = Stanza(Directive("zone", (), (), block.file, block.number)).zones((rest,))
        found.setdefault(port, {}).update(dict.fromkeys(words or zones_of(rest)))
    return {port: tuple(zones) for port, zones in found.items()}


def _listens(block: ServerBlock) -> tuple[str, ...]:
    """Return the addresses of the block's ``bind`` lines; none: all."""
    found: list[str] = []
    for directive in block.directives:
        if directive.name == "bind":
            stanza = Stanza(directive)
            stanza.no_lines()
            found.extend(stanza.arguments_of(least=1))
    return tuple(dict.fromkeys(found))


def _reachable(address: str, own: Sequence[Address]) -> tuple[Address, ...]:
    return tuple(one for one in own if not address or str(one) == address)


def _reader(folder: Path) -> Read:
    def read(pattern: str) -> list[tuple[str, str]]:
        path = folder / pattern
        if not glob.has_magic(pattern):
            return [(str(path), path.read_text())]
        return [(str(one), one.read_text()) for one in sorted(path.parent.glob(path.name))]

    return read
