import pytest

from podwire.errors import ConfigError
from podwire.kube.documents import read


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("", []),
        ("# nothing\n", []),
        ("a: 1\n---\n---\nb: 2\n", [{"a": 1}, {"b": 2}]),
        ("port: 80:30\n", [{"port": "80:30"}]),
        ("day: 2020-01-01\n", [{"day": "2020-01-01"}]),
        ("8080: x\ntrue: y\n", [{"8080": "x", "true": "y"}]),
        ("a: &x {k: v}\nb: {<<: *x, l: w}\n", [{"a": {"k": "v"}, "b": {"k": "v", "l": "w"}}]),
        ('{"json": [1, 2.5, null, true]}', [{"json": [1, 2.5, None, True]}]),
    ],
)
def test_values(text: str, values: list[object]) -> None:
    assert [document.value for document in read(text, "f.yaml")] == values


@pytest.mark.parametrize(
    ("text", "message", "line", "column"),
    [
        ("a: b: c\n", "f.yaml:1:5: broken YAML: mapping values are not allowed", 1, 5),
        ("a:\n\t- b\n", "f.yaml:2:1: broken YAML: found character that cannot start", 2, 1),
        ("a: 1\nb: 2\na: 3\n", "f.yaml:3:1: key 'a' stands twice", 3, 1),
        ("x:\n  - k: 1\n    k: 2\n", "f.yaml:3:5: key 'k' stands twice", 3, 5),
        ("a: *nobody\n", "f.yaml:1:4: broken YAML: found undefined alias", 1, 4),
        ("a: &x [*x]\n", "f.yaml:1:1: broken YAML: an alias contains itself", 1, 1),
        ("a: !!python/object:os.x {}\n", "f.yaml:1:4: broken YAML: could not determine", 1, 4),
    ],
)
def test_errors_say_where(text: str, message: str, line: int, column: int) -> None:
    with pytest.raises(ConfigError) as caught:
        read(text, "f.yaml")
    assert str(caught.value).startswith(message)
    assert (caught.value.line, caught.value.column) == (line, column)


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ((), "f:1:1"),
        (("spec",), "f:2:1"),
        (("spec", "ports", 1, "port"), "f:5:7"),
        (("spec", "nothing", "deeper"), "f:2:1"),
        (("spec", "ports", 9), "f:3:3"),
    ],
)
def test_place_of_a_part_or_of_its_nearest_parent(path: tuple[str | int, ...], place: str) -> None:
    text = "kind: X\nspec:\n  ports:\n    - port: 1\n    - port: 2\n"
    assert str(read(text, "f")[0].place(*path)) == place
