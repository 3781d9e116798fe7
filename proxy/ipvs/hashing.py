"""Pure: the schedulers of ip_vs that hash addresses: sh, dh and mh, with the kernel's own hashes.

A destination that drains keeps its share of the hash table, and who falls on it is refused: that
is what the kernel does without its fallback flags, which kube-proxy does not set.
"""

from collections.abc import Sequence

from podwire.proxy.endpoints import Backend
from podwire.proxy.ipvs.destinations import Destination, Oblivious, Packet

_GOLDEN_RATIO = 0x61C88647  # GOLDEN_RATIO_32 of linux/hash.h; until Linux 4.17 it was 2654435761
_BITS = 8
_U32, _U64 = 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF

TABLE = 4093
"""Places in the Maglev table: CONFIG_IP_VS_MH_TAB_INDEX=12, the default; a prime."""

_FIRST_KEY = (2654435761, 2654435761)
_SECOND_KEY = (2654446892, 2654446892)


def hash_32(value: int, bits: int) -> int:
    """Return the upper *bits* of *value* times the golden ratio (linux/hash.h)."""
    return ((value * _GOLDEN_RATIO) & _U32) >> (32 - bits)


def hsiphash(value: int, key: tuple[int, int]) -> int:
    """Return SipHash-1-3 of the 32-bit *value*, cut to 32 bits: hsiphash of 64-bit machines."""
    v0, v1 = 0x736F6D6570736575 ^ key[0], 0x646F72616E646F6D ^ key[1]
    v2, v3 = 0x6C7967656E657261 ^ key[0], 0x7465646279746573 ^ key[1]
    word = (4 << 56) | (value & _U32)
    v3 ^= word
    v0, v1, v2, v3 = _round(v0, v1, v2, v3)
    v0 ^= word
    v2 ^= 0xFF
    for _ in range(3):
        v0, v1, v2, v3 = _round(v0, v1, v2, v3)
    return (v0 ^ v1 ^ v2 ^ v3) & _U32


class SourceHash(Oblivious):
    """sh: by the client's address (ip_vs_sh.c)."""

    def choose(self, among: Sequence[Destination], packet: Packet) -> Destination | None:
        """Return the destination of the client's bucket, None while that one drains."""
        return _in_bucket(among, int(packet.client))


class DestinationHash(Oblivious):
    """dh: by the virtual server's address, so one destination takes all (ip_vs_dh.c)."""

    def choose(self, among: Sequence[Destination], packet: Packet) -> Destination | None:
        """Return the destination of the address's bucket, None while that one drains."""
        return _in_bucket(among, int(packet.address))


class Maglev:
    """mh: by the client's address and port, moving few clients at a change (ip_vs_mh.c).

    kube-proxy sets the flag that takes the port in (mh-port).
    """

    def __init__(self) -> None:
        self._table: tuple[Destination, ...] | None = None

    def choose(self, among: Sequence[Destination], packet: Packet) -> Destination | None:
        """Return the destination of the client's place, None while that one drains."""
        if self._table is None:
            self._table = _maglev_table(among)
        if not self._table:
            return None
        key = int(packet.client) + packet.client_port
        chosen = self._table[hsiphash(key, _FIRST_KEY) % TABLE]
        return chosen if chosen.weight > 0 else None

    def changed(self, among: Sequence[Destination]) -> None:
        """Have the table filled again, when it is needed: that takes milliseconds."""
        self._table = None

    def removed(self, gone: Destination, before: Destination | None) -> None:
        """Nothing more: `changed` says it too."""


def _maglev_table(among: Sequence[Destination]) -> tuple[Destination, ...]:
    """Return the table: in turns each of *among* takes the next place it wishes for."""
    wanted = [(d, _wish(d.backend)) for d in among if d.last_weight > 0]
    if not wanted:
        return ()
    places: list[Destination | None] = [None] * TABLE
    free = TABLE
    while free:
        for destination, wish in wanted[:free]:
            place, skip = wish
            while places[place] is not None:
                place = (place + skip) % TABLE
            wish[0] = place
            places[place] = destination
            free -= 1
    return tuple(place for place in places if place is not None)


def _wish(backend: Backend) -> list[int]:
    """Return the first place that *backend* wishes for, and the step to the next."""
    key = int(backend.address) + backend.port
    return [hsiphash(key, _FIRST_KEY) % TABLE, hsiphash(key, _SECOND_KEY) % (TABLE - 1) + 1]


def _in_bucket(among: Sequence[Destination], address: int) -> Destination | None:
    # The kernel deals its 256 buckets out in turns. A destination takes as many in a row as it
    # weighs, and one even when it drains.
    if not among:
        return None
    chosen = among[hash_32(address, _BITS) % len(among)]
    return chosen if chosen.weight > 0 else None


def _round(v0: int, v1: int, v2: int, v3: int) -> tuple[int, int, int, int]:
    v0 = (v0 + v1) & _U64
    v1 = _turned(v1, 13) ^ v0
    v0 = _turned(v0, 32)
    v2 = (v2 + v3) & _U64
    v3 = _turned(v3, 16) ^ v2
    v0 = (v0 + v3) & _U64
    v3 = _turned(v3, 21) ^ v0
    v2 = (v2 + v1) & _U64
    v1 = _turned(v1, 17) ^ v2
    v2 = _turned(v2, 32)
    return v0, v1, v2, v3


def _turned(value: int, by: int) -> int:
    return ((value << by) | (value >> (64 - by))) & _U64
