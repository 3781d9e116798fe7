"""Pure: what `iptables-save` printed -> which of our chains and jumps are there."""

from dataclasses import dataclass, field

from podwire.proxy.iptables.ground import JUMPS, TABLES, Jump, Table

_TOGETHER = 1000


@dataclass(frozen=True, slots=True)
class Saved:
    """The KUBE- chains of each table, and the rules of built-in chains that jump to one of them.

    A jump is kept as the rule that was printed, -A and all.
    """

    chains: dict[Table, frozenset[str]] = field(default_factory=dict[Table, frozenset[str]])
    jumps: dict[Table, tuple[str, ...]] = field(default_factory=dict[Table, tuple[str, ...]])

    def missing(self) -> tuple[Jump, ...]:
        """Return the jumps that are not there, in the order in which to insert them."""
        return tuple(
            jump
            for jump in JUMPS
            if f"-A {jump.hook} {jump.rule()}" not in self.jumps.get(jump.table, ())
        )


def parse(text: str) -> Saved:
    """Read what `iptables-save` prints, for all tables or for one."""
    chains: dict[Table, set[str]] = {table: set() for table in TABLES}
    jumps: dict[Table, list[str]] = {table: [] for table in TABLES}
    table: Table | None = None
    for line in text.splitlines():
        if line.startswith("*"):
            name = line[1:]
            table = name if name in TABLES else None
        elif table is None:
            continue
        elif line.startswith(":KUBE-"):
            chains[table].add(line[1:].split(" ", 1)[0])
        elif line.startswith("-A ") and not line.startswith("-A KUBE-") and " -j KUBE-" in line:
            jumps[table].append(line)
    return Saved(
        {table: frozenset(found) for table, found in chains.items()},
        {table: tuple(found) for table, found in jumps.items()},
    )


def removal(saved: Saved) -> str:
    """Return what `iptables-restore --noflush` must read to remove every KUBE- chain and jump.

    Many chains go a thousand at a time, first their rules: see Programs.limit.
    """
    text: list[str] = []
    for table in TABLES:
        # From Z to A: see rulebook._section.
        chains = sorted(saved.chains.get(table, ()), reverse=True)
        parts = [chains[n : n + _TOGETHER] for n in range(0, len(chains), _TOGETHER)]
        flushes = ["".join([f":{chain} - [0:0]\n" for chain in part]) for part in parts]
        deletions = ["".join([f"-X {chain}\n" for chain in part]) for part in parts]
        jumps = "".join(f"-D{jump.removeprefix('-A')}\n" for jump in saved.jumps.get(table, ()))
        if len(parts) == 1:
            sections = [flushes[0] + jumps + deletions[0]]
        else:
            sections = [jumps, *flushes, *deletions]
        text += [f"*{table}\n{section}COMMIT\n" for section in sections if section]
    return "".join(text)
