"""The paths of printer columns."""

from typing import Any

import pytest

from podwire.emulator.apiserver.custom.jsonpath import PathError, find, steps

OBJECT: dict[str, Any] = {
    "spec": {"size": 3, "tags": ["a", "b"], "a.b": 1},
    "status": {
        "conditions": [{"type": "Ready", "status": "True", "n": 2}, {"type": "Old", "n": 5}]
    },
}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (".spec.size", [3]),
        ("{.spec.size}", [3]),
        (".spec.none", []),
        (".spec.tags[*]", ["a", "b"]),
        (".spec.tags[-1]", ["b"]),
        (".spec.tags[0:1]", ["a"]),
        (".spec.a\\.b", [1]),
        (".spec['a.b']", [1]),
        ('.status.conditions[?(@.type=="Ready")].status', ["True"]),
        (".status.conditions[?(@['type']=='Old')].n", [5]),
        (".status.conditions[?(@.n>2)].type", ["Old"]),
        (".status.conditions[?(@.status)].type", ["Ready"]),
    ],
)
def test_what_a_path_leads_to(path: str, found: list[Any]) -> None:
    assert find(path, OBJECT) == found


def test_a_path_without_an_end_is_refused_at_once() -> None:
    """There are 2**40 ways to read these brackets."""
    with pytest.raises(PathError):
        steps(".a[?(@" + "[a]" * 40)
