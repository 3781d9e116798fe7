"""Pure: "web.shop.svc.cluster.local." <-> the question it asks.

The grammar is that of Kubernetes DNS-Based Service Discovery 1.1.0 plus the pod names that
CoreDNS still serves. Every function takes names as they come and ignores their case; only
`ask` wants the lower-cased name, because it hands out its labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import (
    AddressValueError,
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Literal

from podwire.dns.message import Address


@dataclass(frozen=True, slots=True)
class Asked:
    """What a name below a cluster zone asks for; empty text means "not given".

    *branch* is empty for the zone itself and for ``svc`` and ``pod``, which exist but hold nothing.
    """

    branch: Literal["", "svc", "pod"] = ""
    namespace: str = ""
    service: str = ""
    endpoint: str = ""
    port: str = ""
    protocol: str = ""


def ask(name: str, zone: str) -> Asked | None:
    """Return what the lower-cased *name* asks for in *zone*, or None: no such name can exist.

    Read from the right: branch, namespace, service (or the address of a pod), then one label for
    an endpoint or two for port and protocol. ``_http._tcp`` and ``http.tcp`` are the same.
    """
    base = below(name, zone)
    if base is None:
        return None
    if base in ("", "svc", "pod"):
        return Asked()
    labels = base.split(".")
    match labels[-1]:
        case "svc":
            branch: Literal["svc", "pod"] = "svc"
        case "pod":
            branch = "pod"
        case _:
            return None
    namespace = labels[-2]
    service = labels[-3] if len(labels) > 2 else ""
    match labels[:-3]:
        case []:
            return Asked(branch, namespace, service)
        case [endpoint]:
            return Asked(branch, namespace, service, endpoint=endpoint)
        case [port, protocol]:
            return Asked(
                branch,
                namespace,
                service,
                port=port.removeprefix("_"),
                protocol=protocol.removeprefix("_"),
            )
        case _:
            return None


def below(name: str, zone: str) -> str | None:
    """Return what stands left of *zone* in *name*, without the dot between; None if outside.

    Both may lack their last dot. The zone itself gives the empty text.
    """
    name, zone = name.removesuffix("."), zone.removesuffix(".")
    if not zone:
        return name
    if name.lower() == zone.lower():
        return ""
    if name.lower().endswith("." + zone.lower()):
        return name[: -len(zone) - 1]
    return None


def within(name: str, zone: str) -> bool:
    """Return whether *name* is *zone* or lies below it."""
    return below(name, zone) is not None


def longest_match(name: str, zones: Sequence[str]) -> str | None:
    """Return the zone of *zones* that holds *name* most closely."""
    return max((zone for zone in zones if within(name, zone)), key=len, default=None)


def spelled_like(name: str, zone: str) -> str:
    """Return *zone* in the spelling that the absolute *name*, which lies in it, gives it."""
    return name[len(name) - len(zone) :] if zone != "." else zone


def endpoint_name(address: Address, hostname: str, pod: str, *, pod_names: bool) -> str:
    """Return the label under which an endpoint is published: host name, pod or dashed address."""
    if hostname:
        return hostname
    if pod_names and 0 < len(pod) <= 63:
        return pod
    dashed = str(address).replace(".", "-").replace(":", "-")
    # A label must not end in a dash (RFC 1123, 2.1): fd00:: would be "fd00--".
    return dashed + "0" if dashed.endswith("-") and address.version == 6 else dashed


def pod_address_text(label: str) -> str:
    """Return the address that a pod label such as ``10-244-1-5`` spells; it may be nonsense."""
    if label.count("-") == 3 and "--" not in label:
        return label.replace("-", ".")
    return label.replace("-", ":")


def address(text: str) -> Address | None:
    """Return the address that *text* is, or None; no zone index, no leading zeros."""
    if "%" in text:
        return None
    try:
        return ip_address(text)
    except ValueError:
        return None


def reverse_family(name: str) -> Literal[0, 4, 6]:
    """Return 4 or 6 for a name below in-addr.arpa or ip6.arpa, else 0."""
    if name.lower().endswith(".in-addr.arpa."):
        return 4
    if name.lower().endswith(".ip6.arpa."):
        return 6
    return 0


def reversed_address(name: str) -> Address | None:
    """Return the address that a complete reverse name stands for; None for a partial one."""
    family = reverse_family(name)
    if not family:
        return None
    labels = name.lower().split(".")[:-3][::-1]
    try:
        if family == 4:
            return IPv4Address(".".join(labels)) if len(labels) == 4 else None
        if len(labels) != 32 or any(len(label) != 1 for label in labels):
            return None
        digits = "".join(labels)
        return IPv6Address(":".join(digits[i : i + 4] for i in range(0, 32, 4)))
    except AddressValueError:
        return None


def zones_of(text: str) -> tuple[str, ...]:
    """Return the zones that a Corefile's zone word names: absolute, lower-cased.

    A CIDR becomes the reverse zones that cover it, cut at octets (IPv4) or nibbles (IPv6):
    ``10.0.0.0/15`` gives ``0.10.in-addr.arpa.`` and ``1.10.in-addr.arpa.``. A scheme in front and
    a port behind are dropped.
    """
    word = text.lower().rpartition("://")[2]
    try:
        network = ip_network(word)
    except ValueError:
        head, colon, port = word.rpartition(":")
        if colon and port.isdigit() and head:
            word = head
        return (absolute(word),)
    return _reverse_zones(network)


def absolute(name: str) -> str:
    """Return *name* with its last dot."""
    return name if name.endswith(".") else name + "."


def _reverse_zones(network: IPv4Network | IPv6Network) -> tuple[str, ...]:
    unit = 8 if network.version == 4 else 4
    prefix = -(-network.prefixlen // unit) * unit
    # The zone of a whole family (0.0.0.0/0) has no labels of its own.
    labels = prefix // unit
    return tuple(
        ".".join(subnet.network_address.reverse_pointer.split(".")[-2 - labels :]) + "."
        for subnet in network.subnets(new_prefix=prefix)
    )
