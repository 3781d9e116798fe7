import pytest

from podwire.errors import UsageError
from podwire.kube.places import parse


@pytest.mark.parametrize(
    ("text", "point", "where"),
    [
        ("client", "pod/default/client", "default/client"),
        ("shop/front", "pod/shop/front", "shop/front"),
        ("pod/client", "pod/default/client", "default/client"),
        ("pod/shop/front", "pod/shop/front", "shop/front"),
        ("node/node-1", "node/node-1", "node-1"),
        ("external", "external", "external"),
        ("router", "router", "router"),
    ],
)
def test_places(text: str, point: str, where: str) -> None:
    place = parse(text)
    assert (place.point, place.where) == (point, where)


@pytest.mark.parametrize("text", ["", "/", "a/", "/b", "a/b/c", "node/"])
def test_no_places(text: str) -> None:
    with pytest.raises(UsageError):
        parse(text)
