"""Pure: what repeated measurements say: median, percentiles, spread, and whether a goal is met.

For benchmarks, also of your own services: a number alone says nothing about how sure it is.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Strictness = Literal["goals", "limits"]


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured thing: every value in *unit*, what is wanted of it, and how it is judged.

    *judged_by* is the percentile that must meet the goal: 50 is the median. With *more_is_better*
    the goal is a floor, else a ceiling. A goal is what we want; a limit, if there is one, is worse
    and what nobody may miss.
    """

    what: str
    unit: str
    values: tuple[float, ...]
    goal: float | None = None
    limit: float | None = None
    judged_by: float = 50.0
    more_is_better: bool = False

    @property
    def median(self) -> float:
        """Return the middle of the values."""
        return percentile(self.values, 50.0)

    @property
    def measured(self) -> float:
        """Return the value that the goal is compared with."""
        return percentile(self.values, self.judged_by)

    def missed(self, strictness: Strictness) -> float | None:
        """Return the goal (or with "limits" the limit, where there is one) if it is missed."""
        wanted = self.goal
        if strictness == "limits" and self.limit is not None:
            wanted = self.limit
        if wanted is None:
            return None
        good = self.measured >= wanted if self.more_is_better else self.measured <= wanted
        return None if good else wanted

    @property
    def verdict(self) -> str:
        """Return ok, over the goal (or below it), over the limit, or nothing without a goal."""
        side = "below" if self.more_is_better else "over"
        if self.limit is not None and self.missed("limits") is not None:
            return f"{side.upper()} THE LIMIT"
        if self.missed("goals") is not None:
            return f"{side} the goal"
        return "" if self.goal is None else "ok"

    def document(self) -> dict[str, Any]:
        """Return it as JSON values; `of_document` reads them."""
        return {
            "what": self.what,
            "unit": self.unit,
            "values": list(self.values),
            "median": self.median,
            "measured": self.measured,
            "goal": self.goal,
            "limit": self.limit,
            "judged_by": self.judged_by,
            "more_is_better": self.more_is_better,
            "verdict": self.verdict,
        }


def of_document(document: Mapping[str, Any]) -> Figure:
    """Return the figure that `Figure.document` wrote."""
    return Figure(
        what=str(document["what"]),
        unit=str(document["unit"]),
        values=tuple(float(value) for value in document["values"]),
        goal=document["goal"],
        limit=document["limit"],
        judged_by=float(document["judged_by"]),
        more_is_better=bool(document["more_is_better"]),
    )


def percentile(values: Iterable[float], percent: float) -> float:
    """Return the value below or at which *percent* of the values lie, interpolated between two.

    The 50th is the median, the 100th the greatest. Raises ValueError without values.
    """
    ordered = sorted(values)
    if not ordered:
        raise ValueError("nothing was measured")
    place = (len(ordered) - 1) * percent / 100
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def complaints(figures: Iterable[Figure], strictness: Strictness) -> list[str]:
    """Return one line for each goal (or limit) that is missed."""
    lines = list[str]()
    for figure in figures:
        wanted = figure.missed(strictness)
        if wanted is None:
            continue
        name = "limit" if strictness == "limits" and figure.limit is not None else "goal"
        relation = "at least" if figure.more_is_better else "at most"
        lines.append(
            f"{figure.what}: {number(figure.measured)} {figure.unit}"
            f" ({_statistic(figure)} of {len(figure.values)}), {name}: {relation} {number(wanted)}"
        )
    return lines


def summary(figures: Iterable[Figure]) -> str:
    """Return the table of all figures: goal, limit, measured, spread and verdict."""
    rows = [("", "goal", "limit", "measured", "", "lowest .. highest", "n", "")]
    for figure in figures:
        sign = ">=" if figure.more_is_better else "<="
        rows.append(
            (
                figure.what,
                "" if figure.goal is None else f"{sign} {number(figure.goal)}",
                "" if figure.limit is None else f"{sign} {number(figure.limit)}",
                f"{number(figure.measured)} {figure.unit}",
                _statistic(figure),
                f"{number(min(figure.values))} .. {number(max(figure.values))}",
                str(len(figure.values)),
                figure.verdict,
            )
        )
    return table(rows)


def table(rows: Sequence[Sequence[str]]) -> str:
    """Return rows in columns; the first column is text, the others are set right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = list[str]()
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def number(value: float) -> str:
    """Return a number as people read it: three digits that matter, no more."""
    size = abs(value)
    if size >= 1000:
        return f"{value:,.0f}"
    digits = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 else 3
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _statistic(figure: Figure) -> str:
    return "median" if figure.judged_by == 50.0 else f"p{figure.judged_by:g}"
