"""Pure: rules for endpoints and endpoint slices, and for the addresses and protocols in them.

Source: pkg/apis/core/validation and pkg/apis/discovery/validation of Kubernetes 1.32,
hints for nodes as in 1.34 (KEP-3015).
"""

import ipaddress

from podwire.emulator.apiserver.admission.field_errors import (
    FieldError,
    duplicate,
    invalid,
    not_supported,
    required,
    too_many,
)
from podwire.emulator.apiserver.admission.validate_meta import Json, check
from podwire.emulator.apiserver.types.fields import many
from podwire.kube import syntax

PROTOCOLS = ("SCTP", "TCP", "UDP")
FAMILIES = {"IPv4": 4, "IPv6": 6}

_MAX_HINTS = 8


def protocol(field: str, value: str) -> list[FieldError]:
    """Check a transport protocol."""
    if not value:
        return [required(field)]
    return [] if value in PROTOCOLS else [not_supported(field, value, PROTOCOLS)]


def reachable_address(field: str, value: str) -> list[FieldError]:
    """Check an address that traffic may be sent to."""
    problems = check(field, value, syntax.address)
    return problems or ordinary_address(field, value)


def ordinary_address(field: str, value: str) -> list[FieldError]:
    """Check that an address is none of those that mean something special."""
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        return [invalid(field, value, "must be a valid IP address")]
    if address.is_unspecified:
        return [invalid(field, value, f"may not be unspecified ({value})")]
    if address.is_loopback:
        message = "may not be in the loopback range (127.0.0.0/8, ::1/128)"
        return [invalid(field, value, message)]
    if address.is_link_local:
        message = "may not be in the link-local range (169.254.0.0/16, fe80::/10)"
        return [invalid(field, value, message)]
    if address.is_multicast and value.startswith(("224.0.0.", "ff02")):
        message = "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"
        return [invalid(field, value, message)]
    return []


def endpoints(obj: Json, old: Json | None) -> list[FieldError]:
    """Check an Endpoints object."""
    del old
    problems: list[FieldError] = []
    for index, subset in enumerate(many(obj, "subsets")):
        field = f"subsets[{index}]"
        if not subset.get("addresses") and not subset.get("notReadyAddresses"):
            message = "must specify `addresses` or `notReadyAddresses`"
            problems.append(required(field, message))
        for name in ("addresses", "notReadyAddresses"):
            for at, address in enumerate(subset.get(name) or ()):
                inner = f"{field}.{name}[{at}]"
                problems += reachable_address(f"{inner}.ip", address.get("ip", ""))
                if address.get("hostname"):
                    problems += check(f"{inner}.hostname", address["hostname"], syntax.label)
                if address.get("nodeName") is not None:
                    problems += check(f"{inner}.nodeName", address["nodeName"], syntax.subdomain)
        ports: list[Json] = many(subset, "ports")
        for at, port in enumerate(ports):
            problems += _endpoint_port(f"{field}.ports[{at}]", port, alone=len(ports) == 1)
    return problems


def _endpoint_port(field: str, port: Json, *, alone: bool) -> list[FieldError]:
    problems: list[FieldError] = []
    name, number = port.get("name", ""), port.get("port", 0)
    if not name and not alone:
        problems.append(required(f"{field}.name"))
    elif name:
        problems += check(f"{field}.name", name, syntax.label)
    problems += [invalid(f"{field}.port", number, m) for m in syntax.port_number(number)]
    problems += protocol(f"{field}.protocol", port.get("protocol", ""))
    if port.get("appProtocol") is not None:
        problems += check(f"{field}.appProtocol", port["appProtocol"], syntax.qualified_name)
    return problems


def endpoint_slice(obj: Json, old: Json | None) -> list[FieldError]:
    """Check an EndpointSlice."""
    kind = obj.get("addressType", "")
    kinds = ("FQDN", "IPv4", "IPv6")
    problems: list[FieldError] = []
    if not kind:
        problems.append(required("addressType"))
    elif kind not in kinds:
        problems.append(not_supported("addressType", kind, kinds))
    if old is not None and old.get("addressType") != kind:
        problems.append(invalid("addressType", kind, "field is immutable"))
    members: list[Json] = many(obj, "endpoints")
    if len(members) > 1000:
        return [*problems, too_many("endpoints", len(members), 1000)]
    for index, endpoint in enumerate(members):
        problems += _slice_endpoint(f"endpoints[{index}]", endpoint, kind)
    return problems + _slice_ports(many(obj, "ports"))


def _slice_endpoint(field: str, endpoint: Json, kind: str) -> list[FieldError]:
    addresses: list[str] = many(endpoint, "addresses")
    problems: list[FieldError] = []
    if not addresses:
        problems.append(required(f"{field}.addresses", "must contain at least 1 address"))
    elif len(addresses) > 100:
        problems.append(too_many(f"{field}.addresses", len(addresses), 100))
    for index, address in enumerate(addresses):
        problems += _slice_address(f"{field}.addresses[{index}]", address, kind)
    if endpoint.get("nodeName") is not None:
        problems += check(f"{field}.nodeName", endpoint["nodeName"], syntax.subdomain)
    if endpoint.get("hostname") is not None:
        problems += check(f"{field}.hostname", endpoint["hostname"], syntax.label)
    if endpoint.get("hints") is not None:
        problems += _hints(f"{field}.hints.forZones", endpoint["hints"], syntax.label_value)
        problems += _hints(f"{field}.hints.forNodes", endpoint["hints"], syntax.subdomain)
    return problems


def _hints(field: str, hints: Json, rule: syntax.Check) -> list[FieldError]:
    listed: list[Json] = many(hints, field.rpartition(".")[2])
    if len(listed) > _MAX_HINTS:
        return [too_many(field, len(listed), _MAX_HINTS)]
    problems: list[FieldError] = []
    names: set[str] = set()
    for index, hint in enumerate(listed):
        at, name = f"{field}[{index}].name", hint.get("name", "")
        if name in names:
            problems.append(duplicate(at, name))
        names.add(name)
        problems += check(at, name, rule)
    return problems


def _slice_address(field: str, address: str, kind: str) -> list[FieldError]:
    if kind == "FQDN":
        return _full_name(field, address)
    if kind not in FAMILIES:
        return []
    try:
        right = ipaddress.ip_address(address).version == FAMILIES[kind]
    except ValueError:
        right = False
    problems = [] if right else [invalid(field, address, f"must be a valid {kind} address")]
    return problems + ordinary_address(field, address)


def _full_name(field: str, name: str) -> list[FieldError]:
    if not name:
        return [required(field)]
    problems = check(field, name.removesuffix("."), syntax.subdomain)
    if not problems and "." not in name.removesuffix("."):
        message = "should be a domain with at least two segments separated by dots"
        problems = [invalid(field, name, message)]
    return problems


def _slice_ports(ports: list[Json]) -> list[FieldError]:
    problems: list[FieldError] = []
    if len(ports) > 20000:
        return [too_many("ports", len(ports), 20000)]
    names: set[str] = set()
    for index, port in enumerate(ports):
        field, name = f"ports[{index}]", port.get("name") or ""
        if name:
            problems += check(f"{field}.name", name, syntax.label)
        if name in names:
            problems.append(duplicate(f"{field}.name", name))
        names.add(name)
        problems += protocol(f"{field}.protocol", port.get("protocol") or "")
        if port.get("port") is not None:
            number = port["port"]
            problems += [invalid(f"{field}.port", number, m) for m in syntax.port_number(number)]
        if port.get("appProtocol"):
            problems += check(f"{field}.appProtocol", port["appProtocol"], syntax.qualified_name)
    return problems
