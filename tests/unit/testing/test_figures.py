"""Medians, percentiles, goals and limits of what benchmarks measure."""

from collections.abc import Sequence

import pytest

from podwire.testing.figures import (
    Figure,
    complaints,
    number,
    of_document,
    percentile,
    summary,
)


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [
        ([3.0], 50, 3.0),
        ([3.0], 99, 3.0),
        ([2.0, 1.0], 50, 1.5),
        ([5.0, 1.0, 3.0], 50, 3.0),
        ([5.0, 1.0, 3.0], 0, 1.0),
        ([5.0, 1.0, 3.0], 100, 5.0),
        (list(map(float, range(101))), 99, 99.0),
        ([0.0, 10.0], 99, 9.9),
    ],
)
def test_percentile(values: Sequence[float], percent: float, expected: float) -> None:
    assert percentile(values, percent) == pytest.approx(expected)


def test_nothing_measured_is_no_number() -> None:
    with pytest.raises(ValueError, match="nothing was measured"):
        percentile([], 50)


def seconds(*values: float, limit: float | None = 2.5) -> Figure:
    return Figure("start-up", "s", values, goal=1.0, limit=limit)


@pytest.mark.parametrize(
    ("figure", "verdict", "over_goals", "over_limits"),
    [
        (seconds(0.9, 5.0, 0.8), "ok", False, False),
        (seconds(1.0), "ok", False, False),
        (seconds(1.1), "over the goal", True, False),
        (seconds(2.6), "OVER THE LIMIT", True, True),
        (seconds(1.1, limit=None), "over the goal", True, True),
        (Figure("ratio", "x", (0.6,), goal=0.5, more_is_better=True), "ok", False, False),
        (Figure("ratio", "x", (0.4,), goal=0.5, more_is_better=True), "below the goal", True, True),
        (Figure("p99", "ms", (1.0, 1.0, 90.0), goal=50.0, judged_by=99.0),
         "over the goal", True, True),
        (Figure("no goal", "s", (99.0,)), "", False, False),
    ],
)  # fmt: skip
def test_verdict(figure: Figure, verdict: str, over_goals: bool, over_limits: bool) -> None:  # noqa: FBT001
    assert figure.verdict == verdict
    assert bool(complaints([figure], "goals")) == over_goals
    assert bool(complaints([figure], "limits")) == over_limits


def test_a_complaint_names_the_goal() -> None:
    assert complaints([seconds(1.25, 1.5, 1.75)], "goals") == [
        "start-up: 1.5 s (median of 3), goal: at most 1"
    ]
    assert complaints([seconds(3.0)], "limits") == [
        "start-up: 3 s (median of 1), limit: at most 2.5"
    ]


def test_a_figure_survives_json() -> None:
    figure = Figure("p99", "ms", (1.0, 2.0), goal=50.0, judged_by=99.0, more_is_better=True)
    assert of_document(figure.document()) == figure


def test_summary_shows_goal_limit_measured_and_spread() -> None:
    assert summary([seconds(0.8, 0.9, 1.2)]).splitlines() == [
        "          goal   limit  measured          lowest .. highest  n",
        "start-up  <= 1  <= 2.5     0.9 s  median         0.8 .. 1.2  3  ok",
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (0.0314, "0.031"), (1.0, "1"), (1.234, "1.23"), (12.34, "12.3"), (123.4, "123"),
     (12345.6, "12,346"), (-0.5, "-0.5")],
)  # fmt: skip
def test_number(value: float, text: str) -> None:
    assert number(value) == text
