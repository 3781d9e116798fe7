"""`podwire up --no-wait` returns when the nodes are there: a moment after the API's first answer."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from podwire.commands import filling
from podwire.errors import TimedOut


class Watched:
    """A connection whose watch of nodes tells *events*, then that time is over."""

    def __init__(self, *nodes: str) -> None:
        self._nodes = list(nodes)

    def lines(
        self, path: str, query: object, *, left: Callable[[], float]
    ) -> Iterator[dict[str, Any]]:
        assert path == "/api/v1/nodes"
        assert left() > 0
        while self._nodes:
            yield {"type": "ADDED", "object": {"metadata": {"name": self._nodes.pop(0)}}}
        raise TimeoutError

    def get(self, path: str) -> dict[str, Any]:
        return {"items": [path] * (3 - len(self._nodes))}

    warnings = ()

    def __enter__(self) -> "Watched":
        return self

    def __exit__(self, *_: object) -> None:
        pass


def filled(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    def connected(_access: object) -> Watched:
        return watched

    def same(entry: object) -> object:
        return entry

    monkeypatch.setattr("podwire.commands.filling.Connection", connected)
    monkeypatch.setattr("podwire.commands.filling.from_document", same)
    return filling.fill({}, [], nodes=3, limit=60.0, wait=False, done=print)


def test_all_nodes_are_there_before_they_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = filled(Watched("node-1", "node-2", "node-1", "node-3"), monkeypatch)
    assert counts["nodes"] == 3


def test_a_node_that_is_told_twice_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TimedOut, match="2 of 3 nodes"):
        filled(Watched("node-1", "node-2", "node-1"), monkeypatch)
