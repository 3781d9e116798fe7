from typing import Any

import pytest

from podwire.emulator.apiserver.patches.patch import PatchError, json_patch, merge_patch

SERVICE: dict[str, Any] = {"spec": {"ports": [{"port": 80}, {"port": 443}], "a/b": "c"}}


@pytest.mark.parametrize(
    ("ops", "spec"),
    [
        ([{"op": "replace", "path": "/spec/ports/0/port", "value": 82}], {"ports": [{"port": 82}, {"port": 443}], "a/b": "c"}),
        ([{"op": "add", "path": "/spec/ports/-", "value": 1}], {"ports": [{"port": 80}, {"port": 443}, 1], "a/b": "c"}),
        ([{"op": "add", "path": "/spec/ports/0", "value": 1}], {"ports": [1, {"port": 80}, {"port": 443}], "a/b": "c"}),
        ([{"op": "remove", "path": "/spec/ports/0"}], {"ports": [{"port": 443}], "a/b": "c"}),
        ([{"op": "remove", "path": "/spec/a~1b"}], {"ports": [{"port": 80}, {"port": 443}]}),
        ([{"op": "move", "from": "/spec/ports/1", "path": "/spec/ports/0"}], {"ports": [{"port": 443}, {"port": 80}], "a/b": "c"}),
        ([{"op": "copy", "from": "/spec/a~1b", "path": "/spec/d"}], {"ports": [{"port": 80}, {"port": 443}], "a/b": "c", "d": "c"}),
        ([{"op": "test", "path": "/spec/ports/0/port", "value": 80}, {"op": "remove", "path": "/spec/ports"}], {"a/b": "c"}),
        ([{"op": "test", "path": "/spec/none", "value": None}], {"ports": [{"port": 80}, {"port": 443}], "a/b": "c"}),
    ],
)  # fmt: skip
def test_operations(ops: list[dict[str, Any]], spec: dict[str, Any]) -> None:
    assert json_patch(SERVICE, ops)["spec"] == spec
    assert SERVICE["spec"]["ports"] == [{"port": 80}, {"port": 443}]


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "test", "path": "/spec/ports/0/port", "value": 99},
        {"op": "test", "path": "/spec/ports/0/port", "value": True},
        {"op": "remove", "path": "/spec/none"},
        {"op": "replace", "path": "/spec/none", "value": 1},
        {"op": "add", "path": "/none/deeper", "value": 1},
        {"op": "add", "path": "/spec/ports/7", "value": 1},
        {"op": "add", "path": "/spec/ports/x", "value": 1},
        {"op": "add", "path": "/spec/a~1b/deeper", "value": 1},
        {"op": "add", "path": "no-slash", "value": 1},
        {"op": "add", "path": "/spec/x"},
        {"op": "jump", "path": "/spec"},
        {"op": "remove", "path": ""},
        {"op": "replace", "path": "", "value": 5},
        {"path": "/spec"},
        "remove",
    ],
)
def test_what_cannot_be_applied_is_invalid(operation: Any) -> None:
    with pytest.raises(PatchError) as caught:
        json_patch(SERVICE, [operation])
    assert (caught.value.code, caught.value.reason) == (422, "Invalid")
    assert str(caught.value) == "the server rejected our request due to an error in our request"


def test_a_json_patch_is_a_list() -> None:
    with pytest.raises(
        PatchError, match=r"cannot unmarshal object into Go value of type \[\]handlers\.jsonPatchOp"
    ) as e:
        json_patch(SERVICE, {"spec": {}})
    assert e.value.code == 400


def test_too_many_operations() -> None:
    with pytest.raises(PatchError, match="10000, got 10001") as caught:
        json_patch({}, [{"op": "test", "path": "/a", "value": None}] * 10001)
    assert caught.value.code == 413


@pytest.mark.parametrize(
    ("doc", "patch", "result"),
    [  # RFC 7396, appendix A, for objects
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({"a": "foo"}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge(doc: dict[str, Any], patch: dict[str, Any], result: dict[str, Any]) -> None:
    assert merge_patch(doc, patch) == result


def test_a_merge_patch_is_an_object() -> None:
    with pytest.raises(PatchError, match="cannot unmarshal array into Go value of type map"):
        merge_patch({}, [1])
