"""A Corefile -> servers: which block listens where, with which plugins.

Nothing of the machine is touched here but the files that the Corefile names.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Final

from podwire.dns.chain import ORDER, Block, Plugin, in_order
from podwire.dns.corefile.corefile import CorefileError, Directive, ServerBlock, parse
from podwire.dns.corefile.imports import read_import
from podwire.dns.corefile.listening import Interfaces, Place, Taken, bound, reachable, zones_by_port
from podwire.dns.corefile.stanza import Stanza
from podwire.dns.registry import GATHERED, PLUGINS, REPEATABLE
from podwire.dns.serving.frontdoor import FrontDoor
from podwire.dns.site import Process, Site

DEFAULT: Final = ". {\n    whoami\n    log\n}\n"
"""What CoreDNS serves without a Corefile."""

OF_BLOCKS: Final = ("bind", "root")
"""Directives that say something of their block and have no plugin."""

ONCE: Final = "this plugin can only be used once per Server Block"

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
    interfaces: Interfaces,
    doors: Mapping[Place, FrontDoor],
    make_door: MakeDoor,
) -> Configuration:
    """Return the configuration that *text* describes. Raises CorefileError.

    *doors* are those that listen already and go on; *interfaces* are the machine's.
    """
    file = str(process.corefile)
    blocks = parse(text, name=file, environ=os.environ, read=read_import)
    if not blocks:
        raise CorefileError.at(file, 1, "there is no server block: nothing would be served")
    servers: dict[Place, Server] = {}
    plugins: list[Plugin] = []
    taken = Taken()
    for block in blocks:
        _check_names(block)
        folder = _root(block, process.corefile.parent)
        listens = bound(block, interfaces)
        for port, zones in zones_by_port(block, default_port).items():
            for address in listens or ("",):
                place = (address, port)
                for zone in zones:
                    taken.take(block, zone, place)
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
                    own_addresses=reachable(listens, interfaces),
                    lookup=server.door.lookup,
                    folder=folder,
                    corefile=text,
                    everyone=plugins,
                )
                built = Block(zones, in_order(_plugins(block, site)))
                site.siblings.extend(built.plugins)
                server.blocks.append(built)
                plugins.extend(built.plugins)
    # Plugins start in the order of the chain, whichever block they stand in.
    plugins[:] = in_order(plugins)
    return Configuration(servers, plugins)


def _plugins(block: ServerBlock, site: Site) -> list[Plugin]:
    made: list[Plugin] = []
    stanzas: dict[str, list[Stanza]] = {}
    for directive in block.directives:
        if directive.name not in OF_BLOCKS:
            stanzas.setdefault(directive.name, []).append(Stanza(directive, site.zones))
    # In the order of the chain: what a stanza names (@kubernetes) may come later all the same.
    for name in sorted(stanzas, key=ORDER.index):
        first, *others = stanzas[name]
        if name in GATHERED:
            made.append(GATHERED[name]([first, *others], site))
        elif others and name not in REPEATABLE:
            raise others[0].error(f"{name}: {ONCE}; it is in line {first.directive.number} already")
        else:
            made.extend(PLUGINS[name](stanza, site) for stanza in (first, *others))
    return made


def _check_names(block: ServerBlock) -> None:
    for directive in block.directives:
        name = directive.name
        if name not in PLUGINS and name not in GATHERED and name not in OF_BLOCKS:
            names = sorted((*PLUGINS, *GATHERED, *OF_BLOCKS))
            near = get_close_matches(name.lower(), names, n=1, cutoff=0.7)
            known = f"did you mean {near[0]}? Known are" if near else "known are"
            raise CorefileError.at(
                directive.file,
                directive.number,
                f"Unknown directive '{name}'; {known}: {', '.join(names)}",
            )


def _root(block: ServerBlock, folder: Path) -> Path:
    """Return the folder of the files that the block names: its ``root``, or the Corefile's."""
    for directive in block.directives:
        if directive.name == "root":
            folder = _folder(directive, folder)
    return folder


def _folder(directive: Directive, folder: Path) -> Path:
    stanza = Stanza(directive)
    stanza.no_lines()
    (path,) = stanza.arguments_of(least=1, most=1)
    return folder / path
