"""Pure: the text of a hosts file -> which names have which addresses, and the other way round.

CoreDNS, plugin/hosts/hostsfile.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from podwire.dns.messages.message import Address, address_kind
from podwire.dns.messages.names import absolute, address, longest_match


@dataclass(frozen=True, slots=True)
class HostTable:
    """Names are absolute and lower-cased; ``*.example.`` stands for every name one label longer."""

    by_name: dict[tuple[str, int], tuple[Address, ...]] = field(
        default_factory=dict[tuple[str, int], tuple[Address, ...]]
    )
    by_address: dict[Address, tuple[str, ...]] = field(
        default_factory=dict[Address, tuple[str, ...]]
    )

    def addresses(self, name: str, kind: int) -> tuple[Address, ...]:
        """Return the addresses of one family (A or AAAA) that *name* has."""
        found = self.by_name.get((name, kind))
        if found is not None:
            return found
        _, _, parent = name.partition(".")
        return self.by_name.get((f"*.{parent}", kind), ()) if parent else ()

    def names(self, place: Address) -> tuple[str, ...]:
        """Return the names of an address."""
        return self.by_address.get(place, ())

    def __len__(self) -> int:
        """Return how many addresses of names and names of addresses there are."""
        tables = (*self.by_name.values(), *self.by_address.values())
        return sum(len(found) for found in tables)


def hosts(lines: Iterable[str], zones: Sequence[str], *, has_reverse: bool = True) -> HostTable:
    """Return the table of a hosts file; names outside of *zones* are left out.

    Lines that make no sense are skipped, as every reader of such files does.
    """
    by_name: dict[tuple[str, int], list[Address]] = {}
    by_address: dict[Address, list[str]] = {}
    for line in lines:
        text, *aliases = line.partition("#")[0].split() or [""]
        # An address with a zone index is the address.
        place = address(text.partition("%")[0])
        if place is None:
            continue
        kind = address_kind(place)
        for alias in aliases:
            name = absolute(alias.lower())
            if longest_match(name, zones) is None:
                continue
            by_name.setdefault((name, kind), []).append(place)
            if has_reverse and not name.startswith("*."):
                by_address.setdefault(place, []).append(name)
    return HostTable(
        {key: tuple(found) for key, found in by_name.items()},
        {key: tuple(found) for key, found in by_address.items()},
    )
