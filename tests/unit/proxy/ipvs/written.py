"""Virtual servers written in a few words."""

from collections.abc import Mapping
from ipaddress import IPv4Address
from typing import cast

from podwire.proxy.endpoints import Backend
from podwire.proxy.ipvs.changes import Listed, ListedDestination
from podwire.proxy.ipvs.plan import VirtualServer, Wanted
from podwire.proxy.table import PortName, Protocol
from podwire.proxy.userspace.routes import Frontend

RR = VirtualServer("rr")
NAME = PortName("default", "web")


def frontend(written: str) -> Frontend:
    """Return "10.96.0.10:53/UDP" as a frontend; without protocol it is TCP."""
    place, _, protocol = written.partition("/")
    address, _, port = place.partition(":")
    return Frontend(IPv4Address(address), int(port), cast("Protocol", protocol or "TCP"))


def backend(written: str) -> Backend:
    address, _, port = written.partition(":")
    return Backend(IPv4Address(address), int(port))


def wanted(written: str, server: VirtualServer = RR) -> dict[Frontend, Wanted]:
    """Return "10.96.0.1:80 -> 10.244.1.2:80 10.244.1.3:80; ..." as what is wanted."""
    found: dict[Frontend, Wanted] = {}
    for part in filter(None, map(str.strip, written.split(";"))):
        place, _, ends = part.partition("->")
        destinations = frozenset(map(backend, ends.split()))
        found[frontend(place.strip())] = Wanted(NAME, server, destinations)
    return found


def there(written: str, server: VirtualServer = RR) -> dict[Frontend, Listed]:
    """Return the same as what is there; "10.244.1.2:80!+3" drains and has 3 connections."""
    found: dict[Frontend, Listed] = {}
    for part in filter(None, map(str.strip, written.split(";"))):
        place, _, ends = part.partition("->")
        destinations: dict[Backend, ListedDestination] = {}
        for end in ends.split():
            name, _, count = end.partition("+")
            weight = 0 if name.endswith("!") else 1
            destinations[backend(name.rstrip("!"))] = ListedDestination(weight, int(count or 0))
        found[frontend(place.strip())] = Listed(server, destinations)
    return found


def without_what_drains(
    servers: Mapping[Frontend, Listed],
) -> dict[Frontend, tuple[VirtualServer, frozenset[Backend]]]:
    """Return the virtual servers with the destinations that take new connections."""
    return {
        frontend: (
            listed.server,
            frozenset(backend for backend, each in listed.destinations.items() if each.weight),
        )
        for frontend, listed in servers.items()
    }
