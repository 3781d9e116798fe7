"""Replies that the front door keeps for as long as the table stays as it is.

They are found by the bytes of their request, the ID apart.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from podwire.dns.messages.dealing import Shuffle, Written, deal
from podwire.dns.messages.message import Reply
from podwire.dns.messages.query import Query
from podwire.dns.messages.writer import write
from podwire.dns.serving.traffic import Series

MOST_KEPT: Final = 4096
MOST_NOTED: Final = 8192
"""How many requests that came once are remembered, in each of two halves."""
MOST_BYTES: Final = 4 << 20
"""Of each of the two halves of a store."""

_CARD: Final = 40
"""What each part of a reply takes beside its bytes."""


class KeptReply:
    """A reply that is good for all requests of the same bytes; *hits* are not counted yet.

    *plain* is the reply after its ID if it is the same each time; one that was cut is written anew,
    so that each of its addresses has its turn.
    """

    __slots__ = (
        "_counted", "_series", "_sizes", "_source", "_written", "hits", "plain", "seconds", "until",
    )  # fmt: skip

    def __init__(
        self, query: Query, reply: Reply, limit: int, written: Written, series: Series, size: int
    ) -> None:
        self._written = written
        self._source = None if written.can_be_dealt else (query, reply, limit)
        self._series = series
        self._sizes = (size, len(written.message))
        self._counted = reply.counted
        self.until = reply.until
        self.hits = 0
        self.seconds = 0.0
        is_plain = written.can_be_dealt and not written.hands and not reply.until
        self.plain = written.parts[0] if is_plain else None

    @property
    def weight(self) -> int:
        """Return about how many bytes it takes."""
        return self._sizes[1] + _CARD * len(self._written.parts)

    def again(self, shuffle: Shuffle) -> bytes:
        """Return it, after its ID, for another request."""
        if self._source is not None:
            return deal(write(*self._source, shuffle), shuffle)
        return deal(self._written, shuffle)

    def settle(self) -> None:
        """Count the hits, each with the time that one of them took."""
        if self.hits:
            self._series.count(*self._sizes, self.seconds, times=self.hits)
            if self._counted is not None:
                self._counted(self.hits)
            self.hits = 0


class Store:
    """Kept replies in two halves, of which the older one makes room.

    So names that are asked for seldom push each other out, not those that are asked for all the
    time. Names that are asked for once are not kept at all: most names that a pod's search list
    makes are such, and so many small objects that live for a while cost the garbage collector
    more than finding the answer again.
    """

    __slots__ = ("_now", "_old", "_once", "_once_before", "_shuffle", "_weight", "_young")

    def __init__(self, *, shuffle: Shuffle, now: Callable[[], float]) -> None:
        self._shuffle = shuffle
        self._now = now
        self._once: set[bytes] = set()
        self._once_before: set[bytes] = set()
        self._young: dict[bytes, KeptReply] = {}
        self._old: dict[bytes, KeptReply] = {}
        self._weight = 0

    def reply(self, request: bytes) -> bytes | None:
        """Return the reply that is kept for *request*, or None; both without their IDs."""
        kept = self._young.get(request) or self._older(request)
        if kept is None:
            return None
        plain = kept.plain
        if plain is None:
            if kept.until and self._now() >= kept.until:
                self._remove(request)
                return None
            plain = kept.again(self._shuffle)
        kept.hits += 1
        return plain

    def _older(self, key: bytes) -> KeptReply | None:
        kept = self._old.pop(key, None)
        if kept is not None:
            self._put(key, kept)
        return kept

    def is_asked_again(self, key: bytes) -> bool:
        """Return whether the request came before, kept or not, and note that it came."""
        if key in self._once or key in self._once_before:
            return True
        if len(self._once) >= MOST_NOTED:
            self._once_before, self._once = self._once, set()
        self._once.add(key)
        return False

    def put(self, key: bytes, kept: KeptReply) -> None:
        """Keep a reply for requests that are *key* after their ID."""
        began = self._now()
        kept.again(self._shuffle)
        # What each takes; asking the clock each time would take longer.
        kept.seconds = self._now() - began
        self._put(key, kept)

    def _put(self, key: bytes, kept: KeptReply) -> None:
        self._weight += kept.weight
        if len(self._young) >= MOST_KEPT or self._weight > MOST_BYTES:
            _settle(self._old)
            self._old, self._young = self._young, {}
            self._weight = kept.weight
        other = self._young.get(key)
        if other is not None:
            # Two of the same had to wait for their answers.
            other.settle()
        self._young[key] = kept

    def _remove(self, key: bytes) -> None:
        kept = self._young.pop(key)
        self._weight -= kept.weight
        kept.settle()

    def settle(self) -> None:
        """Count the hits that have not been counted."""
        _settle(self._young)
        _settle(self._old)

    def clear(self) -> None:
        """Keep nothing of what is here; what came before is known all the same."""
        self.settle()
        self._young.clear()
        self._old.clear()
        self._weight = 0


def _settle(kept: dict[bytes, KeptReply]) -> None:
    for one in kept.values():
        one.settle()
