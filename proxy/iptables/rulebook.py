"""Pure: the rules of all Services together -> what `iptables-restore` must read.

A chain is written only when it differs from what was written before. kube-proxy writes the shared
ones every time; at 1,000 Services that would be most of the time a change takes.
"""

from bisect import insort
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from podwire.kube.names import Key
from podwire.proxy.iptables import names
from podwire.proxy.iptables.ground import TABLES, Ground, Table, fixed_rules, last_rules
from podwire.proxy.iptables.saved import Saved
from podwire.proxy.iptables.service import NOTHING, Portion

_Shared = Literal[
    "refused", "refused_outside", "health_checks", "firewall", "services", "node_ports"
]
"""The lines of a portion that go into chains which all Services share."""

_SHARED: tuple[_Shared, ...] = get_args(_Shared)


@dataclass(frozen=True, slots=True)
class Script:
    """What `iptables-restore --noflush` reads, and how many rules of each table are in it."""

    text: str
    nat: int
    filter: int


class Rulebook:
    """What is to be programmed, Service by Service, and which of it has not been written yet."""

    def __init__(self) -> None:
        self._portions: dict[Key, Portion] = {}
        self._order: list[tuple[str, str]] = []
        self._fresh: dict[Key, dict[str, str]] = {}
        self._stale: set[str] = set()
        self._shared: dict[tuple[Table, str], str] = {}
        self._shared_before: dict[tuple[Table, str], str] = {}
        # To join the same lines again costs milliseconds where there are many Services.
        self._joined: dict[_Shared, str] = {}

    @property
    def stale(self) -> Collection[str]:
        """Return the chains that no Service wants any more and that were not deleted yet."""
        return self._stale

    def put(self, key: Key, new: Portion) -> None:
        """Have *new* be the rules of one Service; NOTHING for one that has gone."""
        old = self._portions.get(key, NOTHING)
        for name in _SHARED:
            if getattr(old, name) != getattr(new, name):
                self._joined.pop(name, None)
        if new is NOTHING:
            if self._portions.pop(key, None) is not None:
                self._order.remove((key.namespace, key.name))
        else:
            if key not in self._portions:
                insort(self._order, (key.namespace, key.name))
            self._portions[key] = new
        self._stale |= old.chains.keys() - new.chains.keys()
        fresh = self._fresh.get(key, {})
        # In the order of the Service's chains: one leads only to those before it.
        self._fresh[key] = {
            chain: rules
            for chain, rules in new.chains.items()
            if chain in fresh or chain in self._stale or old.chains.get(chain) != rules
        }
        self._stale -= new.chains.keys()

    def whole(self, ground: Ground, present: Saved, *, limit: int) -> Script:
        """Return a script that programs everything, whatever of it is *present* already."""
        self._fresh = {key: dict(found.chains) for key, found in self._portions.items()}
        self._shared_before = {}
        wanted = {chain for found in self._portions.values() for chain in found.chains}
        self._stale = {
            chain
            for chain in present.chains.get("nat", ())
            if chain not in wanted and chain.startswith(names.OF_SERVICES)
        }
        script = self.part(ground, deleted=self._stale, limit=limit)
        hooks = "".join(
            f"*{table}\n:{names.CANARY} - [0:0]\n"
            + "".join(
                f"-I {jump.hook} {jump.rule()}\n"
                for jump in present.missing()
                if jump.table == table
            )
            + "COMMIT\n"
            for table in TABLES
        )
        # Last, so that nothing leads to chains that are empty still.
        return Script(script.text + hooks, script.nat, script.filter)

    def part(self, ground: Ground, *, deleted: Collection[str], limit: int) -> Script:
        """Return a script for what has changed, which also deletes the chains *deleted*.

        What is longer than about *limit* bytes on its way to the kernel is committed in parts,
        chains before those that lead to them.
        """
        self._shared = self._shared_chains(ground)
        before = self._shared_before
        changed = {which: text for which, text in self._shared.items() if before.get(which) != text}
        filter_ = {chain: text for (table, chain), text in changed.items() if table == "filter"}
        nat = {chain: text for (table, chain), text in changed.items() if table == "nat"}
        parts = _parts((item for chains in self._fresh.values() for item in chains.items()), limit)
        text = [_section("filter", filter_)]
        if len(parts) > 1 or (parts and _cost(nat) + _cost(parts[0]) > limit):
            # All of them lead to it.
            text.append(_section("nat", {names.MARK_MASQ: self._shared["nat", names.MARK_MASQ]}))
            nat.pop(names.MARK_MASQ, None)
            text += [_section("nat", part) for part in parts]
        elif parts:
            nat |= parts[0]
        text.append(_section("nat", nat, deleted))
        rules = sum(section.count("\n-A ") for section in text)
        of_filter = sum(lines.count("\n") for lines in filter_.values())
        return Script("".join(text), nat=rules - of_filter, filter=of_filter)

    def written(self, *, deleted: Collection[str]) -> None:
        """Note that the last script has been obeyed."""
        self._fresh = {}
        self._stale = self._stale.difference(deleted)
        self._shared_before = self._shared

    def rules(self) -> dict[Table, int]:
        """Return how many rules are programmed."""
        counts: dict[Table, int] = {"nat": 0, "filter": 0}
        for (table, _), text in self._shared_before.items():
            counts[table] += text.count("\n")
        for found in self._portions.values():
            counts["nat"] += sum(text.count("\n") for text in found.chains.values())
        return counts

    def _shared_chains(self, ground: Ground) -> dict[tuple[Table, str], str]:
        return {
            **fixed_rules(ground),
            ("filter", names.SERVICES): self._all("refused"),
            ("filter", names.EXTERNAL_SERVICES): self._all("refused_outside"),
            ("filter", names.NODE_PORTS): self._all("health_checks"),
            ("filter", names.PROXY_FIREWALL): self._all("firewall"),
            ("nat", names.SERVICES): self._all("services") + last_rules(ground),
            ("nat", names.NODE_PORTS): self._all("node_ports"),
        }

    def _all(self, name: _Shared) -> str:
        """Return the lines *name* of all Services, in order."""
        found = self._joined.get(name)
        if found is None:
            found = "".join([getattr(self._portions[Key(*key)], name) for key in self._order])
            self._joined[name] = found
        return found


def _parts(chains: Iterable[tuple[str, str]], limit: int) -> list[dict[str, str]]:
    """Return *chains* in their order in as few parts as have room below *limit*."""
    parts: list[dict[str, str]] = []
    room = 0
    for chain, rules in chains:
        cost = _cost({chain: rules})
        if not parts or cost > room:
            parts.append({})
            room = limit
        parts[-1][chain] = rules
        room -= cost
    return parts


def _cost(chains: Mapping[str, str]) -> int:
    """Return how many bytes *chains* take as messages to nf_tables, or rather a little more."""
    # Measured: 60 for a chain, 250 to 300 for a rule and for each of its matches.
    return sum(100 + 300 * (rules.count("\n") + rules.count(" -m ")) for rules in chains.values())


def _section(table: Table, chains: Mapping[str, str], deleted: Collection[str] = ()) -> str:
    """Return what rewrites *chains* and deletes others; nothing, if there is nothing to do.

    A table without changes would cost a transaction all the same.
    """
    if not chains and not deleted:
        return ""
    # From Z to A, because iptables-nft keeps a sorted list that it searches from the front: at
    # 10,000 chains any other order takes it seconds. Declaring a chain empties it, so nothing
    # refers any more to those that are deleted.
    gone = sorted(deleted, reverse=True)
    declared = [f":{chain} - [0:0]\n" for chain in sorted((*chains, *gone), reverse=True)]
    deletions = [f"-X {chain}\n" for chain in gone]
    return "".join([f"*{table}\n", *declared, *chains.values(), *deletions, "COMMIT\n"])
