"""Pure: which address a pod gets, by the rules of the reference plugin host-local.

An `ipam` section has range *sets*; a pod gets one address of each. The search goes on after the
address given last and wraps, so an address just freed rests for as long as possible.
"""

from collections.abc import Container, Iterator, Sequence
from ipaddress import IPv4Interface, IPv6Interface, ip_address
from itertools import combinations
from typing import NamedTuple

from podwire.cni.documents import Json, anycase, as_object, ip, lists, objects, text
from podwire.cni.results import ResultRoute, network, parse_route
from podwire.netlink.changes import Address, Interface, Network

DATA_DIR = "/var/lib/cni/networks"


class Range(NamedTuple):
    """Addresses *first* to *last*, both included, of *subnet*; *gateway* is never given out."""

    subnet: Network
    first: Address
    last: Address
    gateway: Address

    def holds(self, address: Address) -> bool:
        """Return whether *address* is one of the range's."""
        same_family = address.version == self.first.version
        return same_family and int(self.first) <= int(address) <= int(self.last)

    def gives(self, address: Address) -> bool:
        """Return whether a pod can have *address*, which the range holds.

        In IPv4 the first and the last of a network are nobody's, even if rangeStart says so.
        """
        ends = (self.subnet[0], self.subnet[-1]) if address.version == 4 else ()
        return address != self.gateway and address not in ends

    def __str__(self) -> str:
        return f"{self.first}-{self.last}"


RangeSet = tuple[Range, ...]


class HostLocal(NamedTuple):
    """A valid `ipam` section of type host-local, with the addresses that this call asks for."""

    sets: tuple[RangeSet, ...]
    requested: tuple[Address, ...] = ()
    routes: tuple[ResultRoute, ...] = ()
    data_dir: str = DATA_DIR
    resolv_conf: str = ""


class Lease(NamedTuple):
    """An address with its prefix, and the gateway of its range."""

    address: Interface
    gateway: Address | None


def parse_host_local(
    ipam: Json, *, requested: Sequence[Address] = (), more_sets: Sequence[RangeSet] = ()
) -> HostLocal:
    """Return the `ipam` section of type host-local. Raises ValueError.

    *more_sets* are those of the capability ipRanges; they come first.
    """
    old_style = ((parse_range(ipam),),) if ipam.get("subnet") is not None else ()
    sets = (*more_sets, *old_style, *parse_sets(ipam, "ranges"))
    _require_sound(sets)
    return HostLocal(
        sets=sets,
        requested=tuple(requested),
        routes=tuple(parse_route(item) for item in objects(ipam, "routes")),
        data_dir=text(ipam, "dataDir") or DATA_DIR,
        resolv_conf=text(ipam, "resolvConf"),
    )


def parse_sets(document: Json, name: str) -> tuple[RangeSet, ...]:
    """Return a member that is a list of range sets. Raises ValueError."""
    return tuple(
        tuple(parse_range(as_object(item, name)) for item in each) for each in lists(document, name)
    )


def parse_range(item: Json) -> Range:
    """Return one range, with host-local's defaults filled in. Raises ValueError."""
    item = anycase(item)  # Of the capability ipRanges, too, and so as Go would read it.
    subnet = _subnet(item)
    small = subnet.network_address
    # IPv6 has no broadcast address, so there the last address can be given out.
    end = subnet.broadcast_address - 1 if subnet.version == 4 else subnet.broadcast_address
    first = ip(item, "rangestart") or small + 1
    last = ip(item, "rangeend") or end
    gateway = ip(item, "gateway") or small + 1
    if gateway.version != subnet.version:
        raise ValueError(f"gateway {gateway} is of another family than {subnet}")
    if first not in subnet:
        raise ValueError(f"RangeStart {first} not in network {subnet}")
    if last not in subnet:
        raise ValueError(f"RangeEnd {last} not in network {subnet}")
    if int(first) > int(last):
        raise ValueError(f"RangeStart {first} is after RangeEnd {last}")
    return Range(subnet, first, last, gateway)


def candidates(ranges: RangeSet, after: Address | None) -> Iterator[tuple[Address, Range]]:
    """Yield every address that may be given, each once, beginning after *after* and wrapping."""
    start = next(
        (n for n, each in enumerate(ranges) if after is not None and each.holds(after)), None
    )
    if start is None or after is None:
        for each in ranges:
            yield from _between(each, int(each.first), int(each.last))
        return
    yield from _between(ranges[start], int(after) + 1, int(ranges[start].last))
    for each in (*ranges[start + 1 :], *ranges[:start]):
        yield from _between(each, int(each.first), int(each.last))
    yield from _between(ranges[start], int(ranges[start].first), int(after))


def next_free(ranges: RangeSet, taken: Container[str], after: Address | None) -> Lease | None:
    """Return the lease of the next address whose text is not in *taken*, or None: exhausted."""
    for address, owner in candidates(ranges, after):
        if str(address) not in taken:
            return _lease(address, owner)
    return None


def requested_lease(
    ranges: RangeSet, wanted: Sequence[Address], taken: Container[str]
) -> Lease | None:
    """Return the lease of the first of *wanted* that lies in *ranges*; None if none does.

    Raises ValueError if it is a gateway or taken.
    """
    for address in wanted:
        owner = next((each for each in ranges if each.holds(address)), None)
        if owner is None:
            continue
        if address == owner.gateway:
            raise ValueError(f"requested ip {address} is subnet's gateway")
        if not owner.gives(address) or str(address) in taken:
            raise ValueError(
                f"requested IP address {address} is not available in range set {show(ranges)}"
            )
        return _lease(address, owner)
    return None


def show(ranges: RangeSet) -> str:
    """Return *ranges* as text, as host-local writes them in its errors."""
    return ",".join(str(each) for each in ranges)


def _lease(address: Address, owner: Range) -> Lease:
    interface = (int(address), owner.subnet.prefixlen)
    # The classes tell 4 from 6 by type only, so a small IPv6 number must not go through a guess.
    if owner.subnet.version == 4:
        return Lease(IPv4Interface(interface), owner.gateway)
    return Lease(IPv6Interface(interface), owner.gateway)


def _between(owner: Range, first: int, last: int) -> Iterator[tuple[Address, Range]]:
    kind = type(owner.first)
    for number in range(first, last + 1):
        address = kind(number)
        if owner.gives(address):
            yield address, owner


def _subnet(item: Json) -> Network:
    written, subnet = text(item, "subnet"), network(item, "subnet")
    if subnet.prefixlen > subnet.max_prefixlen - 2:
        raise ValueError(f"Network {written} too small to allocate from")
    if ip_address(written.partition("/")[0]) != subnet.network_address:
        raise ValueError(
            f"Network has host bits set. For a subnet mask of length {subnet.prefixlen} "
            f"the network address is {subnet.network_address}"
        )
    return subnet


def _require_sound(sets: Sequence[RangeSet]) -> None:
    if not sets:
        raise ValueError("no IP ranges specified")
    for ranges in sets:
        if not ranges:
            raise ValueError("empty range set")
        if len({each.subnet.version for each in ranges}) > 1:
            raise ValueError("mixed address families")
        for one, other in combinations(ranges, 2):
            if _overlap(one, other):
                raise ValueError(f"subnets {one} and {other} overlap")
    for (i, one_set), (j, other_set) in combinations(enumerate(sets), 2):
        if any(_overlap(one, other) for one in one_set for other in other_set):
            raise ValueError(f"range set {i} overlaps with {j}")


def _overlap(one: Range, other: Range) -> bool:
    return one.holds(other.first) or other.holds(one.first)
