"""The sockets, and the configuration that serves through them now."""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack
from dataclasses import dataclass
from errno import EADDRINUSE
from typing import Final

from podwire.dns.configuration import DEFAULT, Configuration, configure
from podwire.dns.corefile.corefile import CorefileError
from podwire.dns.corefile.listening import Interfaces, Place
from podwire.dns.messages.message import Address
from podwire.dns.serving.frontdoor import FrontDoor
from podwire.dns.serving.server import Listener, listen, serving
from podwire.dns.serving.traffic import Traffic
from podwire.dns.settings import Settings
from podwire.dns.site import Process
from podwire.errors import MachineError
from podwire.netlink.client import Netlink

EVERYWHERE: Final = ("0.0.0.0", "::")

log = logging.getLogger("podwire.dns")


@dataclass(slots=True)
class _Open:
    """A place that is listened on."""

    door: FrontDoor
    listeners: list[Listener]
    stack: AsyncExitStack


class Servers:
    """Serves a Corefile; loading it again goes over to what it says then, without a gap."""

    def __init__(self, settings: Settings, process: Process) -> None:
        self._settings = settings
        self._process = process
        self._open: dict[Place, _Open] = {}
        self._running = AsyncExitStack()
        self._configuration: Configuration | None = None

    @property
    def lameduck(self) -> float:
        """Return how many seconds to serve on after the end was asked for."""
        return self._configuration.lameduck if self._configuration else 0.0

    async def load(self) -> None:
        """Serve what the Corefile says now.

        Raises CorefileError when it makes no sense and MachineError when a port cannot be had;
        what was served before is served on then.
        """
        configuration = configure(
            self._text(),
            self._process,
            default_port=self._settings.port,
            interfaces=interfaces(),
            doors={place: one.door for place, one in self._open.items()},
            make_door=self._door,
        )
        fresh: dict[Place, _Open] = {}
        running = AsyncExitStack()
        try:
            for place, server in configuration.servers.items():
                if place not in self._open:
                    # Port 0 is a new one each time, and never one that is shared.
                    ports = {port for _, port in (*self._open, *fresh) if port}
                    listeners = _listeners(place, is_beside_own=place[1] in ports)
                    fresh[place] = _Open(server.door, listeners, AsyncExitStack())
            for plugin in configuration.plugins:
                await running.enter_async_context(plugin.run())
            if self._configuration is not None and self._process.life.ending.is_set():
                # Whoever waited for something has stopped: it may know nothing yet.
                raise MachineError("the server was told to end meanwhile")
        except BaseException:
            for one in fresh.values():
                for listener in one.listeners:
                    listener.close()
            await running.aclose()
            raise
        await self._serve(configuration, fresh)
        self._configuration = configuration
        old, self._running = self._running, running
        await old.aclose()

    async def close(self) -> None:
        """Stop serving."""
        for one in self._open.values():
            await one.stack.aclose()
        self._open.clear()
        await self._running.aclose()

    async def _serve(self, configuration: Configuration, fresh: dict[Place, _Open]) -> None:
        for place in [place for place in self._open if place not in configuration.servers]:
            gone = self._open.pop(place)
            await gone.stack.aclose()
            # What it keeps is not counted yet.
            gone.door.open(())
        self._open |= fresh
        for place, server in configuration.servers.items():
            server.door.open(server.blocks)
            one = self._open[place]
            if place in fresh:
                await one.stack.enter_async_context(serving(one.listeners, one.door))
            zones = ", ".join(zone for block in server.blocks for zone in block.zones)
            port = one.listeners[0].port
            shown = f"[{place[0]}]" if ":" in place[0] else place[0] or EVERYWHERE[0]
            log.info("dns on %s:%d, zones %s", shown, port, zones)

    def _text(self) -> str:
        path = self._settings.corefile
        if path is None:
            return DEFAULT
        try:
            return path.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise CorefileError(f"{path}: cannot be read: {error}") from None

    def _door(self, name: str) -> FrontDoor:
        process = self._process
        return FrontDoor(
            revision=process.sources.revision,
            clock=process.clock,
            dice=process.dice,
            traffic=Traffic(process.metrics, name),
        )


def interfaces() -> Interfaces:
    """Return this machine's addresses, by the interface that has them."""
    found: dict[str, list[Address]] = {}
    try:
        with Netlink() as netlink:
            links = {link.number: link.name for link in netlink.links()}
            for one in netlink.addresses():
                found.setdefault(links.get(one.link, ""), []).append(one.address.ip)
    except OSError as error:
        log.warning("own addresses cannot be read: %s", error)
    return found


def _listeners(place: Place, *, is_beside_own: bool) -> list[Listener]:
    address, port = place
    if address:
        return [listen(address, port, is_beside_own=is_beside_own)]
    first = listen(EVERYWHERE[0], port, is_beside_own=is_beside_own)
    try:
        return [first, listen(EVERYWHERE[1], first.port, is_beside_own=is_beside_own)]
    except MachineError as error:
        if port and isinstance(error.__cause__, OSError) and error.__cause__.errno == EADDRINUSE:
            first.close()
            raise
        # A machine without IPv6 has no such address.
        log.info("IPv4 only: %s", error)
        return [first]
