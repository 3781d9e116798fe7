"""Pure: ClusterIPs and node ports for Services, in the API server's words when there is none.

What is taken is read from the stored Services, so nothing can leak: a Service that is gone has
given back its address by that. Source: pkg/registry/core/service/storage/alloc.go of Kubernetes
1.32. A node port belongs to one Service, whatever the protocol; within a Service one number may
serve TCP and UDP.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from podwire.emulator.apiserver.admission import service_families
from podwire.emulator.apiserver.admission.field_errors import FieldError, Unquoted, go_list, invalid
from podwire.emulator.apiserver.admission.service_types import (
    agree,
    gives_node_ports,
    is_headless,
    needs_address,
    needs_health_check,
    needs_node_ports,
    node_ports,
)
from podwire.emulator.apiserver.request import Dice, Network
from podwire.emulator.apiserver.store import Stored
from podwire.emulator.apiserver.types.fields import many, struct

Json = dict[str, Any]

_FULL = "range is full"
_READABLE = 65536


class AllocationError(Exception):
    """Nothing is left to give, or a health check's port cannot be had; for a 500 answer."""


@dataclass(frozen=True, slots=True)
class Taken:
    """The addresses and node ports of all Services but one."""

    addresses: frozenset[str]
    ports: frozenset[int]


def taken(services: Sequence[Stored], but: Stored | None) -> Taken:
    """Return what *services* hold, without what *but* (the one being written) holds."""
    addresses: set[str] = set()
    ports: set[int] = set()
    for stored in services:
        if but is not None and stored.key == but.key:
            continue
        spec: Json = struct(stored.object, "spec")
        if spec.get("clusterIP"):
            addresses.add(spec["clusterIP"])
        ports.update(_held(spec))
    return Taken(frozenset(addresses), frozenset(ports))


def allocate(
    spec: Json, old: Json | None, held: Taken, network: Network, dice: Dice
) -> list[FieldError]:
    """Give *spec* its families, address and node ports; return the first thing that it cannot have.

    *old* is the spec before, None for a new Service; what that had is its own. Raises
    AllocationError.
    """
    agree(spec, old)
    problems = service_families.settle(spec, old)
    if not problems and (old is None or not needs_address(old)):
        problems = _give_address(spec, held.addresses, network.services, dice)
    if problems:
        return problems
    own: Json = old or {}
    ports = _Ports({*held.ports, *_held(own)}, network.node_ports, dice)
    if needs_node_ports(spec):
        problems = _new_ports(spec, ports) if old is None else _change_ports(spec, own, ports)
    if not problems and needs_health_check(spec) and not needs_health_check(own):
        _give_health_check(spec, ports)
    return problems


def _give_address(
    spec: Json, held: frozenset[str], services: IPv4Network, dice: Dice
) -> list[FieldError]:
    if not needs_address(spec) or is_headless(spec):
        return []
    wanted: str = spec.get("clusterIP", "")
    if not wanted:
        address = _free_address(held, services, dice)
        if address is None:
            raise AllocationError(f"failed to allocate a serviceIP: {_FULL}")
        spec["clusterIP"], spec["clusterIPs"] = address, [address]
        return []
    why = ""
    asked = IPv4Address(wanted)
    if asked not in services or asked in (services[0], services[-1]):
        why = (
            f"the provided IP ({wanted}) is not in the valid range. "
            f"The range of valid IPs is {services}"
        )
    elif wanted in held:
        why = "provided IP is already allocated"
    shown = Unquoted(go_list([wanted]))
    message = f"failed to allocate IP {wanted}: {why}"
    return [invalid("spec.clusterIPs", shown, message)] if why else []


def _free_address(held: frozenset[str], services: IPv4Network, dice: Dice) -> str | None:
    size = services.num_addresses
    # The lower band is left to addresses that people ask for (KEP-3070): min(max(16, n/16), 256).
    static = 1 + min(max(16, size // 16), 256)
    # The first 65536 before the rest: addresses that look alike are easier to read in a capture.
    bands = ((static, _READABLE), (_READABLE, size), (1, static))
    for low, high in bands:
        for offset in _from_somewhere(low, min(high, size - 1), dice):
            address = str(services[offset])
            if address not in held:
                return address
    return None


@dataclass(slots=True)
class _Ports:
    """The node ports of the cluster while one Service is written."""

    used: set[int]
    allowed: range
    dice: Dice

    def refusal(self, number: int) -> str:
        """Return why *number* cannot be had; take it if it can."""
        if number not in self.allowed:
            return (
                "provided port is not in the valid range. "
                f"The range of valid ports is {self.allowed.start}-{self.allowed.stop - 1}"
            )
        if number in self.used:
            return "provided port is already allocated"
        self.used.add(number)
        return ""

    def next(self, what: str, but: Sequence[int] = ()) -> int:
        """Take a free number that is not in *but*; raises AllocationError."""
        # The lower band is left to ports that people ask for (KEP-3668).
        static = min(max(16, len(self.allowed) // 32), 128)
        for low, high in ((static, len(self.allowed)), (0, min(static, len(self.allowed)))):
            for offset in _from_somewhere(low, high, self.dice):
                number = self.allowed[offset]
                if number not in self.used and number not in but:
                    self.used.add(number)
                    return number
        raise AllocationError(f"failed to allocate {what}: {_FULL}")


def _new_ports(spec: Json, ports: _Ports) -> list[FieldError]:
    # One number serves all protocols of a port, TCP and UDP of DNS for instance.
    given: dict[int, int] = {}
    listed: list[Json] = many(spec, "ports")
    asked = node_ports(spec)
    for index, port in enumerate(listed):
        if not port.get("nodePort") and not gives_node_ports(spec):
            continue
        number = port.get("port", 0)
        if number not in given:
            wanted = _asked_for(number, listed)
            why = ports.refusal(wanted) if wanted else ""
            if why:
                return [invalid(f"spec.ports[{index}].nodePort", wanted, why)]
            given[number] = wanted or ports.next("a nodePort", asked)
            port["nodePort"] = given[number]
        elif not port.get("nodePort"):
            port["nodePort"] = given[number]
        elif port["nodePort"] != given[number]:
            why = ports.refusal(port["nodePort"])
            if why:
                return [invalid(f"spec.ports[{index}].nodePort", port["nodePort"], why)]
    return []


def _change_ports(spec: Json, old: Json, ports: _Ports) -> list[FieldError]:
    own = set(node_ports(old))
    asked = node_ports(spec)
    for index, port in enumerate(many(spec, "ports")):
        number = port.get("nodePort")
        if number:
            why = "" if number in own else ports.refusal(number)
            if why:
                return [invalid(f"spec.ports[{index}].nodePort", number, why)]
            own.add(number)
        elif gives_node_ports(spec):
            port["nodePort"] = ports.next("a nodePort", asked)
    return []


def _give_health_check(spec: Json, ports: _Ports) -> None:
    number = spec.get("healthCheckNodePort")
    if not number:
        spec["healthCheckNodePort"] = ports.next("a HealthCheck NodePort 0")
        return
    why = ports.refusal(number)
    if why:
        raise AllocationError(f"failed to allocate requested HealthCheck NodePort {number}: {why}")


def _asked_for(number: int, listed: Sequence[Json]) -> int:
    """Return the node port that is asked for with the Service's port *number*, 0 for none."""
    return next(
        (
            port["nodePort"]
            for port in listed
            if port.get("port") == number and port.get("nodePort")
        ),
        0,
    )


def _from_somewhere(low: int, high: int, dice: Dice) -> Iterator[int]:
    """Yield every number of the range once, beginning at a random one."""
    if low >= high:
        return
    start = dice.randrange(low, high)
    yield from range(start, high)
    yield from range(low, start)


def _held(spec: Json) -> list[int]:
    found = node_ports(spec)
    return [*found, spec["healthCheckNodePort"]] if spec.get("healthCheckNodePort") else found
