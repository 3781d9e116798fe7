"""A chart as SVG: where its points and labels are."""

import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from podwire.testing.chart import chart

SVG = "{http://www.w3.org/2000/svg}"


def drawn(**lines: list[tuple[float, float]]) -> ElementTree.Element:
    return ElementTree.fromstring(chart("title & more", "across", "up", lines))


def test_points_are_where_their_numbers_are() -> None:
    circles = drawn(one=[(0, 0), (50, 100), (100, 50)]).findall(f"{SVG}circle")
    places = [(float(c.attrib["cx"]), float(c.attrib["cy"])) for c in circles]
    (left, bottom), (middle, top), (right, half) = places
    assert middle == pytest.approx((left + right) / 2)
    assert half == pytest.approx((top + bottom) / 2)
    assert top < bottom


@pytest.mark.parametrize(
    ("most", "marks"),
    [
        (10, ["0", "2", "4", "6", "8", "10"]),
        (9, ["0", "2", "4", "6", "8", "10"]),
        (10_000, ["0", "2,000", "4,000", "6,000", "8,000", "10,000"]),
        (0.3, ["0", "0.1", "0.2", "0.3"]),
        (0, ["0", "1"]),
    ],
)
def test_marks_of_an_axis(most: float, marks: list[str]) -> None:
    texts = drawn(one=[(most, 1)]).findall(f"{SVG}text")
    found = [t.text for t in texts if t.attrib.get("text-anchor") == "middle"]
    assert found == marks


def test_labels_of_lines_do_not_cover_each_other() -> None:
    texts = drawn(a=[(1, 5)], b=[(1, 5)], c=[(1, 4.9)]).findall(f"{SVG}text")
    heights = sorted(float(t.attrib["y"]) for t in texts if t.text in ("a", "b", "c"))
    assert all(after - before >= 15 for before, after in pairwise(heights))


def test_the_same_numbers_give_the_same_picture() -> None:
    lines = {"one": [(1.0, 2.0), (3.0, 4.0)]}
    first = chart("t", "x", "y", lines)
    assert first == chart("t", "x", "y", lines)
    assert not re.search(r"\d\.\d{3}", first)


def test_nothing_to_draw() -> None:
    with pytest.raises(ValueError, match="nothing to draw"):
        chart("t", "x", "y", {"one": []})
