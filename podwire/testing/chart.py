"""Pure: a line chart as SVG, so that a benchmark can draw what it has found without a library.

The same numbers give the same text, so that a picture in a repository changes only with them.
"""

import math
from collections.abc import Mapping, Sequence
from html import escape

Point = tuple[float, float]

_WIDTH, _HEIGHT = 720, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 150, 50, 50
# Colours that people who see few of them tell apart (Okabe and Ito).
_COLOURS = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_LINES = 5
_LABEL_HEIGHT = 16


def chart(title: str, across: str, up: str, lines: Mapping[str, Sequence[Point]]) -> str:
    """Return an SVG with one line per name in *lines*, both axes linear and from zero.

    *across* and *up* say what the axes are. Raises ValueError without a point.
    """
    points = [point for line in lines.values() for point in line]
    if not points:
        raise ValueError("there is nothing to draw")
    steps = tuple(_step(max(point[axis] for point in points)) for axis in (0, 1))
    ends = tuple(
        step * max(1, math.ceil(max(point[axis] for point in points) / step - 1e-9))
        for axis, step in enumerate(steps)
    )

    def place(point: Point) -> Point:
        x = _LEFT + point[0] / ends[0] * (_WIDTH - _LEFT - _RIGHT)
        return x, _HEIGHT - _BOTTOM - point[1] / ends[1] * (_HEIGHT - _TOP - _BOTTOM)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}"'
        ' font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        f'<text x="{_LEFT}" y="24" font-size="15">{escape(title)}</text>',
        f'<text x="{_LEFT}" y="42" fill="#555">{escape(up)}</text>',
        f'<text x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 12}" text-anchor="end" fill="#555">'
        f"{escape(across)}</text>",
    ]
    for value in _marks(ends[1], steps[1]):
        x, y = place((0, value))
        end = _WIDTH - _RIGHT
        parts.append(f'<path d="M{x:.1f} {y:.1f}H{end}" stroke="#ddd"/>')
        parts.append(f'<text x="{x - 8:.1f}" y="{y + 4:.1f}" text-anchor="end">{value:,g}</text>')
    for value in _marks(ends[0], steps[0]):
        x, y = place((value, 0))
        parts.append(f'<text x="{x:.1f}" y="{y + 18:.1f}" text-anchor="middle">{value:,g}</text>')
    ordered = {name: sorted(line) for name, line in lines.items() if line}
    heights = _apart({name: place(line[-1])[1] for name, line in ordered.items()})
    for number, (name, line) in enumerate(ordered.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        places = [place(point) for point in line]
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
        parts.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places]
        parts.append(
            f'<text x="{places[-1][0] + 8:.1f}" y="{heights[name] + 4:.1f}" fill="{colour}">'
            f"{escape(name)}</text>"
        )
    return "\n".join([*parts, "</svg>", ""])


def _step(most: float) -> float:
    """Return the distance of the marks of an axis: 1, 2 or 5 times a power of ten."""
    if most <= 0:
        return 1.0
    rough = most / _LINES
    power = 10.0 ** math.floor(math.log10(rough))
    return power * next(factor for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)


def _marks(end: float, step: float) -> list[float]:
    return [number * step for number in range(round(end / step) + 1)]


def _apart(heights: Mapping[str, float]) -> dict[str, float]:
    """Return *heights* moved so far down that no label covers another."""
    moved: dict[str, float] = {}
    above = -math.inf
    for name, height in sorted(heights.items(), key=lambda item: item[1]):
        above = moved[name] = max(height, above + _LABEL_HEIGHT)
    return moved
