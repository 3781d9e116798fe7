import copy
import json
from typing import Any

import pytest

from podwire.kube.merge import LAST_APPLIED, three_way, with_last_applied

Json = dict[str, Any]


def applied(spec: Json, **extra: Json) -> Json:
    return {"apiVersion": "v1", "kind": "X", "metadata": {"name": "x"}, "spec": spec, **extra}


def stored(last: Json, spec: Json) -> Json:
    """Return the object as the server has it: *last* was applied, *spec* is there now."""
    return {**with_last_applied(applied(last)), "spec": spec, "status": {"phase": "there"}}


@pytest.mark.parametrize(
    ("last", "present", "wanted", "patch"),
    [
        # Nothing changes when the server only added defaults.
        ({"a": 1}, {"a": 1, "defaulted": 2}, {"a": 1}, None),
        # A change.
        ({"a": 1}, {"a": 1, "defaulted": 2}, {"a": 3}, {"a": 3}),
        # Applied before and not wanted any more: taken away; what others added stays.
        ({"a": 1, "b": 2}, {"a": 1, "b": 2, "c": 3}, {"a": 1}, {"b": None}),
        # Others changed what we want.
        ({"a": 1}, {"a": 9}, {"a": 1}, {"a": 1}),
        # A default inside a list's item, found again by the item's name.
        (
            {"ports": [{"name": "http", "port": 80}]},
            {"ports": [{"name": "http", "port": 80, "nodePort": 30080}]},
            {"ports": [{"name": "http", "port": 81}]},
            {"ports": [{"name": "http", "port": 81, "nodePort": 30080}]},
        ),
        # Without names, ports are told apart by their number.
        (
            {"ports": [{"port": 80}]},
            {"ports": [{"port": 80, "protocol": "TCP"}]},
            {"ports": [{"port": 80}, {"port": 81}]},
            {"ports": [{"port": 80, "protocol": "TCP"}, {"port": 81}]},
        ),
        # An item that somebody else added stays; one of ours that is gone goes.
        (
            {"containers": [{"name": "a"}, {"name": "b"}]},
            {"containers": [{"name": "a"}, {"name": "b"}, {"name": "sidecar"}]},
            {"containers": [{"name": "a"}]},
            {"containers": [{"name": "a"}, {"name": "sidecar"}]},
        ),
        # A list of plain values is one value.
        ({"args": ["a"]}, {"args": ["a"]}, {"args": ["b", "c"]}, {"args": ["b", "c"]}),
        ({"args": ["a"]}, {"args": ["a"]}, {"args": ["a"]}, None),
        # The server dropped what was empty; that is no change.
        ({"labels": {}}, {}, {"labels": {}}, None),
    ],
)
def test_three_way(last: Json, present: Json, wanted: Json, patch: Json | None) -> None:
    found = three_way(with_last_applied(applied(wanted)), stored(last, present))
    assert found.get("spec") == patch
    if patch is None and last == wanted:
        assert found == {}


def test_the_annotation_is_what_kubectl_writes_and_never_contains_itself() -> None:
    once = with_last_applied(applied({"a": 1}))
    text = once["metadata"]["annotations"][LAST_APPLIED]
    assert text.endswith("\n")
    assert json.loads(text) == {
        **applied({"a": 1}), "metadata": {"name": "x", "annotations": {}}}  # fmt: skip
    assert with_last_applied(once) == once


def test_an_object_that_nobody_applied_is_only_added_to() -> None:
    present = applied({"a": 1, "b": 2})
    before = copy.deepcopy(present)
    patch = three_way(with_last_applied(applied({"a": 1})), present)
    assert "spec" not in patch
    assert present == before


def test_a_foreign_annotation_counts_as_nothing_applied() -> None:
    present = applied({"a": 1, "b": 2})
    present["metadata"]["annotations"] = {LAST_APPLIED: "no JSON"}
    assert "spec" not in three_way(with_last_applied(applied({"a": 1})), present)
