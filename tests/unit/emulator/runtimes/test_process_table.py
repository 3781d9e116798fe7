"""Whose process is whose, and what a line of /proc says."""

import pytest

from podwire.emulator.runtimes.process_table import Entry, Owners, entry_of


def table(*pairs: tuple[int, int]) -> dict[int, Entry]:
    """Return processes by (pid, parent)."""
    return {pid: Entry(pid, parent, 0, 0) for pid, parent in pairs}


# PID 1 forks containers 10 and 20. 11 and 12 are children of 10, 13 a command in it; 30 is alone.
TREE = table((1, 0), (10, 1), (11, 10), (12, 11), (13, 1), (14, 13), (20, 1), (30, 1))
NAMESPACES = {1: 1, 10: 2, 11: 2, 12: 2, 13: 2, 14: 2, 20: 3, 30: 1}


@pytest.mark.parametrize(
    ("pid", "owner"),
    [(10, 10), (11, 10), (12, 10), (13, 10), (14, 10), (20, 20), (30, 0), (1, 0), (99, 0)],
)
def test_whose_a_process_is(pid: int, owner: int) -> None:
    owners = Owners(TREE, [10, 20], lambda pid: NAMESPACES[pid])
    assert owners.of(pid) == owner


@pytest.mark.parametrize(("pid", "owner"), [(10, 10), (20, 20), (21, 20), (22, 10)])
def test_in_one_namespace_ancestors_decide(pid: int, owner: int) -> None:
    # 20 was put beside 10; 22 has outlived its parent there, and PID 1 of the namespace took it.
    tree = table((1, 0), (10, 1), (20, 1), (21, 20), (22, 10))
    owners = Owners(tree, [10, 20], lambda pid: 1 if pid == 1 else 2)
    assert owners.of(pid) == owner


def test_a_container_that_has_ended_owns_nothing() -> None:
    owners = Owners(TREE, [-1, 20], lambda pid: NAMESPACES[pid])
    assert owners.of(11) == 0


def test_a_line_of_proc() -> None:
    line = b"42 (a ) b) S 7 42 42 0 -1 4194560 1 2 3 4 100 20 3 4 20 0 1 0 5 1000 25 18446744073709551615"
    found = entry_of(line)
    assert (found.pid, found.parent, found.ticks) == (42, 7, 127)
    assert found.resident % 25 == 0
