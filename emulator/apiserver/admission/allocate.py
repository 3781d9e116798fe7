"""Pure: ClusterIPs and NodePorts for Services, in the API server's words when there is none.

What is taken is read from the stored Services, so nothing can leak: a Service that is gone has
given back its address by that.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv4Network
from typing import Any

from podwire.emulator.apiserver.admission.admit import FieldError
from podwire.emulator.apiserver.request import Dice, Network
from podwire.emulator.apiserver.store import Stored
from podwire.emulator.apiserver.types.fields import many, struct

Json = dict[str, Any]

_EXTERNAL_NAME = "ExternalName"
_READABLE = 65536


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
        ports.update(_node_ports(spec))
    return Taken(frozenset(addresses), frozenset(ports))


def inherit(spec: Json, old: Json) -> None:
    """Keep what was given to the Service before and is not named in an update of *spec*."""
    if _has_address(spec) and _has_address(old):
        if not spec.get("clusterIP") and old.get("clusterIP"):
            spec["clusterIP"] = old["clusterIP"]
        if not spec.get("clusterIPs") and spec.get("clusterIP") == old.get("clusterIP"):
            _copy(spec, old, "clusterIPs")
        changed = spec.get("clusterIP") != old.get("clusterIP")
        if changed and spec.get("clusterIPs") == old.get("clusterIPs"):
            # Clients that know clusterIP alone mean the list as well.
            spec["clusterIPs"] = [spec["clusterIP"]]
    if _has_node_ports(spec) and _has_node_ports(old):
        known = {_identity(p): p.get("nodePort") for p in many(old, "ports")}
        for port in many(spec, "ports"):
            if not port.get("nodePort") and known.get(_identity(port)):
                port["nodePort"] = known[_identity(port)]
    if _has_health_check(spec) and _has_health_check(old) and not spec.get("healthCheckNodePort"):
        _copy(spec, old, "healthCheckNodePort")


def drop_unused(spec: Json, old: Json) -> None:
    """Take away what only the old type needed, unless the update changed it on purpose."""
    if _has_address(old) and not _has_address(spec):
        if spec.get("clusterIP") == old.get("clusterIP"):
            _drop(spec, "clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy")
        if spec.get("internalTrafficPolicy") == old.get("internalTrafficPolicy"):
            _drop(spec, "internalTrafficPolicy")
    if _has_node_ports(old) and not _has_node_ports(spec):
        same = sorted(_node_ports(spec)) == sorted(_node_ports(old))
        for port in many(spec, "ports") if same else ():
            _drop(port, "nodePort")
    if _has_health_check(old) and not _has_health_check(spec):
        _drop_same(spec, old, "healthCheckNodePort")
    if old.get("type") == "LoadBalancer" != spec.get("type"):
        _drop_same(spec, old, "allocateLoadBalancerNodePorts")
        _drop_same(spec, old, "loadBalancerClass")
    if _has_node_ports_by_type(old) and not _has_node_ports_by_type(spec):
        _drop_same(spec, old, "externalTrafficPolicy")


def allocate(spec: Json, held: Taken, network: Network, dice: Dice) -> list[FieldError]:
    """Give *spec* its address and node ports; return what could not be given."""
    problems = _give_address(spec, held.addresses, network.services, dice)
    return problems + _give_ports(spec, held.ports, network.node_ports, dice)


def _give_address(
    spec: Json, held: frozenset[str], services: IPv4Network, dice: Dice
) -> list[FieldError]:
    if not _has_address(spec):
        return []
    wanted = spec.get("clusterIP") or next(iter(many(spec, "clusterIPs")), "")
    if not wanted:
        address = _free_address(held, services, dice)
        if address is None:
            return [_address_problem("[]string(nil)", f"failed to allocate a serviceIP: {_FULL}")]
        spec["clusterIP"], spec["clusterIPs"] = address, [address]
    elif wanted == "None":
        spec["clusterIP"], spec["clusterIPs"] = "None", spec.get("clusterIPs") or ["None"]
    else:
        spec["clusterIP"] = wanted
        spec.setdefault("clusterIPs", [wanted])
        try:
            asked = IPv4Address(wanted)
        except AddressValueError:
            return []  # validation says what is wrong with the text
        shown = f'[]string{{"{wanted}"}}'
        if asked not in services or asked in (services[0], services[-1]):
            why = (
                f"the provided IP ({wanted}) is not in the valid range. "
                f"The range of valid IPs is {services}"
            )
            return [_address_problem(shown, f"failed to allocate IP {wanted}: {why}")]
        if wanted in held:
            why = "provided IP is already allocated"
            return [_address_problem(shown, f"failed to allocate IP {wanted}: {why}")]
    spec.setdefault("ipFamilies", ["IPv4"])
    spec.setdefault("ipFamilyPolicy", "SingleStack")
    return []


_FULL = "range is full"


def _address_problem(value: str, why: str) -> FieldError:
    return FieldError("spec.clusterIPs", "FieldValueInvalid", f"Invalid value: {value}: {why}")


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


def _give_ports(spec: Json, held: frozenset[int], allowed: range, dice: Dice) -> list[FieldError]:
    problems: list[FieldError] = []
    if not _has_node_ports(spec):
        return problems
    ports: list[Json] = many(spec, "ports")
    asked = {port["nodePort"] for port in ports if port.get("nodePort")}
    # One number may serve TCP and UDP of the same port, as kube-apiserver gives it.
    given: dict[int, int] = {}
    for index, port in enumerate(ports):
        number = port.get("nodePort")
        if not number:
            continue
        given.setdefault(port.get("port", 0), number)
        why = ""
        if number not in allowed:
            why = (
                "provided port is not in the valid range. "
                f"The range of valid ports is {allowed.start}-{allowed.stop - 1}"
            )
        elif number in held:
            why = "provided port is already allocated"
        if why:
            problems.append(
                FieldError(
                    f"spec.ports[{index}].nodePort",
                    "FieldValueInvalid",
                    f"Invalid value: {number}: {why}",
                )
            )
    used = set(held) | asked
    for index, port in enumerate(ports):
        if port.get("nodePort"):
            continue
        number = _shared(port, ports, given) or _free_port(used, allowed, dice)
        if number is None:
            problems.append(
                FieldError(
                    f"spec.ports[{index}].nodePort",
                    "FieldValueInvalid",
                    f"Invalid value: 0: failed to allocate a nodePort: {_FULL}",
                )
            )
            continue
        port["nodePort"] = number
        given.setdefault(port.get("port", 0), number)
        used.add(number)
    if _has_health_check(spec) and not spec.get("healthCheckNodePort"):
        number = _free_port(used, allowed, dice)
        if number is not None:
            spec["healthCheckNodePort"] = number
    return problems


def _shared(port: Json, ports: Sequence[Json], given: dict[int, int]) -> int | None:
    number = given.get(port.get("port", 0))
    protocol = port.get("protocol", "TCP")
    clash = any(p.get("nodePort") == number and p.get("protocol", "TCP") == protocol for p in ports)
    return None if number is None or clash else number


def _free_port(used: set[int], allowed: range, dice: Dice) -> int | None:
    static = min(max(16, len(allowed) // 32), 128)
    for low, high in ((static, len(allowed)), (0, min(static, len(allowed)))):
        for offset in _from_somewhere(low, high, dice):
            if allowed[offset] not in used:
                return allowed[offset]
    return None


def _from_somewhere(low: int, high: int, dice: Dice) -> Iterator[int]:
    """Yield every number of the range once, beginning at a random one."""
    if low >= high:
        return
    start = dice.randrange(low, high)
    yield from range(start, high)
    yield from range(low, start)


def _node_ports(spec: Json) -> list[int]:
    found = [port["nodePort"] for port in many(spec, "ports") if port.get("nodePort")]
    return [*found, spec["healthCheckNodePort"]] if spec.get("healthCheckNodePort") else found


def _has_address(spec: Json) -> bool:
    return bool(spec.get("type", "ClusterIP") != _EXTERNAL_NAME)


def _has_node_ports_by_type(spec: Json) -> bool:
    return spec.get("type") in ("NodePort", "LoadBalancer")


def _has_node_ports(spec: Json) -> bool:
    if spec.get("type") == "LoadBalancer":
        return spec.get("allocateLoadBalancerNodePorts") is not False
    return bool(spec.get("type") == "NodePort")


def _has_health_check(spec: Json) -> bool:
    return bool(spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local")


def _identity(port: Json) -> tuple[str, int]:
    return port.get("protocol", "TCP"), port.get("port", 0)


def _copy(spec: Json, old: Json, name: str) -> None:
    if name in old:
        spec[name] = old[name]


def _drop(spec: Json, *names: str) -> None:
    for name in names:
        spec.pop(name, None)


def _drop_same(spec: Json, old: Json, name: str) -> None:
    if spec.get(name) == old.get(name):
        spec.pop(name, None)
