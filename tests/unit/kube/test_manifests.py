from pathlib import Path

import pytest

from podwire.errors import PodwireError
from podwire.kube.manifests import from_objects, from_paths, from_text

POD = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\n"
NAMESPACE = "apiVersion: v1\nkind: Namespace\nmetadata: {name: n}\n"


def test_namespaces_come_first_and_the_rest_keeps_its_order(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text(NAMESPACE)
    (tmp_path / "a.yml").write_text(POD + "---\n" + POD.replace("name: p", "name: q"))
    (tmp_path / "notes.txt").write_text("no manifest")
    assert [m.name for m in from_paths([str(tmp_path)])] == ["n", "p", "q"]


def test_a_list_is_its_items() -> None:
    (one,) = from_objects([{"kind": "List", "apiVersion": "v1", "items": [
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "n"}}]}])  # fmt: skip
    assert (one.kind, one.namespace, one.name) == ("Pod", "n", "p")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n", "m:1:1: a Kubernetes object is expected"),
        (POD + "---\nkind: Pod\n", "m:5:1: apiVersion is missing"),
        ("apiVersion: v1\nmetadata: {name: x}\n", "m:1:1: kind is missing"),
        ("apiVersion: v1\nkind: Pod\n", "m:1:1: Pod has no metadata"),
        ("apiVersion: v1\nkind: Pod\nmetadata:\n  labels: {}\n", "m:3:1: Pod: metadata.name is"),
        ("apiVersion: v1\nkind: Pod\nmetadata:\n  name: 7\n", "m:4:3: Pod: metadata.name is"),
    ],
)
def test_what_is_no_object_is_named_with_its_place(text: str, message: str) -> None:
    with pytest.raises(PodwireError) as caught:
        from_text(text, "m")
    assert str(caught.value).startswith(message)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(PodwireError, match="there is no file"):
        from_paths([str(tmp_path / "none.yaml")])
    with pytest.raises(PodwireError, match="no manifest in"):
        from_paths([str(tmp_path)])
    (tmp_path / "x.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(PodwireError, match="is not UTF-8"):
        from_paths([str(tmp_path)])
