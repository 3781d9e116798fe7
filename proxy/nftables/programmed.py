"""Pure: what the table has by our own account, and what must change for it to have something else.

Two Services may want the same element: one external address for both, or one pod behind both that
reaches itself. The first of them by name has it, whichever came first, so that a table that grew
change by change is the same as one written at once.
"""

from collections.abc import Iterable, Mapping, Set

from podwire.kube.names import Key
from podwire.proxy.nftables.objects import Contents, Element, Place, Transaction

SETTLING = 1.0
"""Seconds from flushing a chain to deleting it.

Kernels before 6.2 notice only a while after a map's element was deleted that no map leads to the
chain any more, and refuse to delete it.
"""


class Programmed:
    """What each Service has in the table; nothing to begin with.

    *own* are the elements that belong to no Service.
    """

    def __init__(self) -> None:
        self.own: Mapping[Place, Element] = {}
        self._services: dict[Key, Contents] = {}
        self._claims: dict[Place, dict[Key, Element]] = {}
        self._flushed_at: dict[str, float] = {}

    def services(self) -> Set[Key]:
        """Return the Services that have anything."""
        return self._services.keys()

    def elements(self) -> dict[Place, Element]:
        """Return all elements there are."""
        won = {place: claims[min(claims)] for place, claims in self._claims.items()}
        return {**won, **self.own}

    def chains(self) -> set[str]:
        """Return the names of all chains of Services."""
        return {chain for contents in self._services.values() for chain in contents.chains}

    def affinity(self) -> set[str]:
        """Return the names of all sets of remembered clients."""
        return {name for contents in self._services.values() for name in contents.affinity}

    def change(self, wanted: Mapping[Key, Contents], *, now: float) -> Transaction:
        """Return what makes the table have *wanted*, and take it as done.

        *now* is of a monotonic clock, in seconds; it decides which chains may be deleted.
        """
        found = Transaction()
        for key, contents in wanted.items():
            self._change(found, key, contents)
        for chain in found.flushed:
            self._flushed_at[chain] = now
        for chain in found.chains:
            self._flushed_at.pop(chain, None)
        found.deleted_chains = self._settled(now)
        return found

    def flush_later_deleted(self, chains: Iterable[str], *, now: float) -> None:
        """Take it that *chains*, of no Service, have been flushed at *now*."""
        self._flushed_at |= dict.fromkeys(chains, now)

    def waiting(self, now: float) -> bool:
        """Return whether there are flushed chains that may be deleted by now."""
        return any(now - at >= SETTLING for at in self._flushed_at.values())

    def _settled(self, now: float) -> list[str]:
        settled = [chain for chain, at in self._flushed_at.items() if now - at >= SETTLING]
        for chain in settled:
            del self._flushed_at[chain]
        return settled

    def _change(self, found: Transaction, key: Key, contents: Contents) -> None:
        old = self._services.get(key, Contents())
        if contents == old:
            return
        # The kernel changes no set that is there: one with another timeout is made anew, and the
        # rules that look into it with it.
        remade = [n for n, s in old.affinity.items() if contents.affinity.get(n, s) != s]
        for chain, rules in contents.chains.items():
            if remade or old.chains.get(chain) != rules:
                found.chains[chain] = rules
        found.flushed += [chain for chain in old.chains if chain not in contents.chains]
        found.deleted_affinity += [n for n in old.affinity if n not in contents.affinity] + remade
        found.affinity |= {
            name: seconds
            for name, seconds in contents.affinity.items()
            if old.affinity.get(name) != seconds
        }
        for place in old.elements.keys() - contents.elements.keys():
            self._claim(found, place, key, None)
        for place, element in contents.elements.items():
            if old.elements.get(place) != element:
                self._claim(found, place, key, element)
        if contents.chains or contents.elements:
            self._services[key] = contents
        else:
            self._services.pop(key, None)

    def _claim(self, found: Transaction, place: Place, key: Key, element: Element | None) -> None:
        claims = self._claims.setdefault(place, {})
        before = claims[min(claims)] if claims else None
        if element is None:
            claims.pop(key, None)
        else:
            claims[key] = element
        after = claims[min(claims)] if claims else None
        if not claims:
            del self._claims[place]
        if place in self.own or after == before:
            return
        # Two Services may pass an element on in one transaction: the kernel had what the first of
        # the changes began with.
        if before is not None and found.elements.pop(place, None) is None:
            found.deleted_elements.append(place)
        if after is not None:
            found.elements[place] = after
