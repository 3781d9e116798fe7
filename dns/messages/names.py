"""Pure: "web.shop.svc.cluster.local." <-> the question it asks.

The grammar is that of Kubernetes DNS-Based Service Discovery 1.1.0 plus the pod names, names of
cluster sets and names of topology zones that CoreDNS serves. Every function takes names as they
come and ignores their case; only `ask` and `read` want them in lower case, because they hand out
their labels.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_network,
)
from typing import Generic, Literal, NamedTuple, TypeVar

from podwire.dns.messages.message import Address

_Facts = TypeVar("_Facts")

_NIBBLES = frozenset("0123456789abcdef")


class Asked(NamedTuple):
    """What a name below a cluster zone asks for; empty text means "not given".

    *branch* is empty for the zone itself and for ``svc`` and ``pod``, which exist but hold nothing.
    *cluster* is given with *endpoint* in the zone of a cluster set only. *topology_zone* asks for
    the endpoints of that zone, and *prefer* for all of them if it has none.
    """

    branch: Literal["", "svc", "pod"] = ""
    namespace: str = ""
    service: str = ""
    endpoint: str = ""
    port: str = ""
    protocol: str = ""
    cluster: str = ""
    topology_zone: str = ""
    prefer: bool = False


_STRUCTURE: Asked = Asked()


def ask(name: str, zone: str, *, multicluster: bool = False, zonal: bool = False) -> Asked | None:
    """Return what the lower-cased *name* asks for in *zone*, or None: no such name can exist."""
    base = below(name, zone)
    if base is None:
        return None
    return read(base.split(".") if base else [], multicluster=multicluster, zonal=zonal)


def read(labels: Sequence[str], *, multicluster: bool = False, zonal: bool = False) -> Asked | None:
    """Return what *labels*, which stand left of a zone, ask for; None: no such name can exist.

    Read from the right: branch, namespace, service (or the address of a pod), then one label for
    an endpoint or two for port and protocol; ``_http._tcp`` and ``http.tcp`` are the same. In a
    *multicluster* zone two labels without an underscore are an endpoint and its cluster. A *zonal*
    plugin knows ``ZONE.pin._zone`` and ``ZONE.prefer._zone``, where ZONE may have dots.
    """
    count = len(labels)
    if count < 2:
        return _STRUCTURE if not count or labels[0] in ("svc", "pod") else None
    branch: Literal["svc", "pod"]
    if labels[-1] == "svc":
        if count == 3:
            return Asked("svc", labels[1], labels[0])
        branch = "svc"
    elif labels[-1] == "pod":
        branch = "pod"
    else:
        return None
    namespace = labels[-2]
    service = labels[-3] if count > 2 else ""
    if count < 4:
        return Asked(branch, namespace, service)
    if count == 4:
        return Asked(branch, namespace, service, labels[0])
    if count == 5:
        left, right = labels[0], labels[1]
        if multicluster and not (left.startswith("_") or right.startswith("_")):
            return Asked(branch, namespace, service, left, cluster=right)
        return Asked(
            branch, namespace, service, "", left.removeprefix("_"), right.removeprefix("_")
        )
    if not zonal or multicluster or branch != "svc" or labels[-4] != "_zone":
        return None
    directive = labels[-5]
    if directive not in ("pin", "prefer"):
        return None
    zone = ".".join(labels[:-5])
    return Asked("svc", namespace, service, topology_zone=zone, prefer=directive == "prefer")


class Suffixes(Generic[_Facts]):
    """Facts about zones, to be found by the longest suffix of a name; zones are lower-cased.

    The time does not grow with the number of zones, only with how many depths they have.
    """

    __slots__ = ("_by_text", "_depths")

    def __init__(self, zones: Iterable[tuple[str, _Facts]]) -> None:
        self._by_text = {"" if zone == "." else zone: facts for zone, facts in zones}
        self._depths = sorted({text.count(".") for text in self._by_text}, reverse=True)

    def find(self, labels: Sequence[str]) -> _Facts | None:
        """Return the facts of the closest zone; *labels* are an absolute name split at its dots."""
        for depth in self._depths:
            facts = self._by_text.get(".".join(labels[-1 - depth :]))
            if facts is not None:
                return facts
        return None


def below(name: str, zone: str) -> str | None:
    """Return what stands left of *zone* in *name*, without the dot between; None if outside.

    Both may lack their last dot. The zone itself gives the empty text.
    """
    if not within(name, zone):
        return None
    name, zone = name.removesuffix("."), zone.removesuffix(".")
    return name[: -len(zone)].removesuffix(".") if zone else name


def within(name: str, zone: str) -> bool:
    """Return whether *name* is *zone* or lies below it."""
    # Asked several times for each question: most answers come from one character.
    if not zone.endswith("."):
        zone += "."
    if zone == ".":
        return True
    if not name.endswith("."):
        name += "."
    start = len(name) - len(zone)
    if start > 0:
        return name[start - 1] == "." and name[start:].lower() == zone.lower()
    return start == 0 and name.lower() == zone.lower()


def longest_match(name: str, zones: Iterable[str]) -> str | None:
    """Return the zone of *zones* that holds *name* most closely."""
    best = None
    for zone in zones:
        if (best is None or len(zone) > len(best)) and within(name, zone):
            best = zone
    return best


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
    """Return the address that *text* is, or None; no zone index, no leading zeros.

    An IPv4 address in IPv6 form (``::ffff:a01:203``) is the IPv4 address, as in Go.
    """
    try:
        # Asking for the family first saves an exception for each of 100,000 endpoints.
        if ":" not in text:
            return IPv4Address(text)
        return None if "%" in text else _plain(IPv6Address(text))
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
    """Return the address that a complete reverse name stands for; None for a partial one.

    Up to three labels left of a complete IPv6 name change nothing (CoreDNS, dnsutil/reverse.go).
    """
    family = reverse_family(name)
    if not family:
        return None
    labels = name.lower().split(".")[:-3][::-1]
    try:
        if family == 4:
            return IPv4Address(".".join(labels)) if len(labels) == 4 else None
        if len(labels) // 4 != 8 or not all(label in _NIBBLES for label in labels[:32]):
            return None
        return _plain(IPv6Address(int("".join(labels[:32]), 16)))
    except ValueError:
        return None


def zones_of(text: str) -> tuple[str, ...]:
    """Return the zones that a Corefile's zone word names: absolute, lower-cased.

    A CIDR becomes the reverse zones that cover it, cut at octets (IPv4) or nibbles (IPv6):
    ``10.0.0.0/15`` gives ``0.10.in-addr.arpa.`` and ``1.10.in-addr.arpa.``. A scheme in front and
    a port behind are dropped.
    """
    word = text.lower().rpartition("://")[2]
    head, colon, port = word.rpartition(":")
    if colon and port.isdigit() and head:
        word = head
    if "/" not in word:
        return (absolute(word),)
    try:
        # Bits behind the mask are ignored, as in Go.
        return _reverse_zones(ip_network(word, strict=False))
    except ValueError:
        return (absolute(word),)


def is_zone(name: str) -> bool:
    """Return whether the absolute *name* can be one: labels of 1 to 63 characters, 255 in all."""
    if name == ".":
        return True
    labels = name.removesuffix(".").split(".")
    return len(name) <= 255 and all(0 < len(label) < 64 for label in labels)


def absolute(name: str) -> str:
    """Return *name* with its last dot."""
    return name if name.endswith(".") else name + "."


def _plain(place: Address) -> Address:
    mapped = place.ipv4_mapped if isinstance(place, IPv6Address) else None
    return place if mapped is None else mapped


def _reverse_zones(network: IPv4Network | IPv6Network) -> tuple[str, ...]:
    unit = 8 if network.version == 4 else 4
    prefix = -(-network.prefixlen // unit) * unit
    # The zone of a whole family (0.0.0.0/0) has no labels of its own.
    labels = prefix // unit
    return tuple(
        ".".join(subnet.network_address.reverse_pointer.split(".")[-2 - labels :]) + "."
        for subnet in network.subnets(new_prefix=prefix)
    )
