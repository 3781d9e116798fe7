"""Pure: the addresses of a reply in a new random order each time, without writing it anew."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from podwire.dns.messages.message import Kind, Record

_ADDRESSES: Final = frozenset({Kind.A, Kind.AAAA})
_DEALT: Final = frozenset({Kind.A, Kind.AAAA, Kind.MX})

Shuffle = Callable[[list[Any]], None]
"""`random.Random.shuffle`, or what a test puts in its place."""


@dataclass(frozen=True, slots=True)
class Written:
    """A reply as bytes after its ID, cut where its addresses can be dealt anew.

    *hands* are (first, last) ranges of *parts* that hold one address record each; they may trade
    places if the reply *can_be_dealt*: nothing was cut, and none of them points to another.
    """

    ident: bytes
    parts: tuple[bytes, ...]
    hands: tuple[tuple[int, int], ...]
    can_be_dealt: bool

    @property
    def message(self) -> bytes:
        """Return the message in the order in which it was written."""
        return self.ident + b"".join(self.parts)


def deal(written: Written, shuffle: Shuffle) -> bytes:
    """Return *written* after its ID for another request, its addresses dealt anew."""
    if not written.hands:
        return written.parts[0]
    parts = list(written.parts)
    for first, last in written.hands:
        cards = parts[first:last]
        shuffle(cards)
        parts[first:last] = cards
    return b"".join(parts)


def in_dealing_order(section: Sequence[Record], shuffle: Shuffle) -> tuple[Sequence[Record], int]:
    """Return aliases, other records, addresses, mail exchangers: the last two shuffled.

    The number says how many stand before the addresses.
    """
    addresses = [r for r in section if r.kind in _ADDRESSES]
    if len(addresses) == len(section):
        shuffle(addresses)
        return addresses, 0
    mail = [r for r in section if r.kind == Kind.MX]
    if not addresses and not mail:
        # Aliases come first all the same.
        return sorted(section, key=lambda r: r.kind != Kind.CNAME), len(section)
    shuffle(addresses)
    shuffle(mail)
    aliases = [r for r in section if r.kind == Kind.CNAME]
    others = [r for r in section if r.kind != Kind.CNAME and r.kind not in _DEALT]
    return [*aliases, *others, *addresses, *mail], len(aliases) + len(others)


def run_of_addresses(records: Sequence[Record], first: int) -> int:
    """Return how many addresses follow each other from the *first* record on."""
    count = 0
    for record in records[first:]:
        if record.kind not in _ADDRESSES:
            break
        count += 1
    return count


def leads_before(card: bytes, start: int) -> bool:
    """Return whether a record's owner is but a pointer to what stands before *start*."""
    return card[0] >= 0xC0 and ((card[0] & 0x3F) << 8 | card[1]) < start
