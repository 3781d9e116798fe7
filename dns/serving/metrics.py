"""Counts in Prometheus's text format 0.0.4: families, their series, and the page of all of them.

A part declares its families as constants, with CoreDNS's names, labels and help, and takes a series
once for each set of label values; counting is an addition then.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final
from weakref import WeakMethod

from podwire import __version__

DURATION_BUCKETS: Final = tuple(0.00025 * 2**k for k in range(16))
"""From a quarter of a millisecond to eight seconds."""
SLIM_DURATION_BUCKETS: Final = tuple(0.00025 * 10**k for k in range(5))


@dataclass(frozen=True, slots=True)
class Counters:
    """Numbers that only grow, one for each set of values of the *labels*."""

    name: str
    help: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Gauges:
    """Numbers that go up and down."""

    name: str
    help: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Histograms:
    """How often values fell under each of the *buckets*."""

    name: str
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = DURATION_BUCKETS


BUILD_INFO: Final = Gauges(
    "coredns_build_info",
    "A metric with a constant '1' value labeled by version, revision, and goversion from which "
    "CoreDNS was built.",
    ("version", "revision", "goversion"),
)
PANICS: Final = Counters("coredns_panics_total", "A metrics that counts the number of panics.")

_Family = Counters | Gauges | Histograms
_Values = tuple[str, ...]
Readings = Mapping[_Values, float]
"""Label values -> what is shown for them now."""


class Counter:
    """One series of `Counters`: add to its *value*."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0


class Histogram:
    """One series of `Histograms`."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float, times: int = 1) -> None:
        """Count *value*, which came up so many *times*."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.total += value * times


class Metrics:
    """All series of the process; they outlive a reload of the Corefile, as counts must."""

    def __init__(self) -> None:
        self._counters: dict[Counters, dict[_Values, Counter]] = {}
        self._histograms: dict[Histograms, dict[_Values, Histogram]] = {}
        self._readers: dict[Counters | Gauges, list[Callable[[], Readings]]] = {}
        self._settles: list[WeakMethod[Callable[[], None]]] = []
        build: Readings = {(__version__, "podwire", ""): 1.0}
        self._readers[BUILD_INFO] = [lambda: build]
        self.counter(PANICS)

    def counter(self, family: Counters, *values: str) -> Counter:
        """Return the series with these label values; it is shown from now on."""
        series = self._counters.setdefault(family, {})
        if values not in series:
            series[_checked(family, values)] = Counter()
        return series[values]

    def histogram(self, family: Histograms, *values: str) -> Histogram:
        """Return the series with these label values; it is shown from now on."""
        series = self._histograms.setdefault(family, {})
        if values not in series:
            series[_checked(family, values)] = Histogram(family.buckets)
        return series[values]

    @contextmanager
    def showing(self, family: Counters | Gauges, read: Callable[[], Readings]) -> Generator[None]:
        """Show in the block what *read* gives when the page is read."""
        readers = self._readers.setdefault(family, [])
        readers.append(read)
        try:
            yield
        finally:
            readers.remove(read)

    def before_reading(self, settle: Callable[[], None]) -> None:
        """Call the method *settle* each time before the page is read, while its object lives.

        It counts what was put off till then.
        """
        self._settles.append(WeakMethod(settle))

    def text(self) -> str:
        """Return the page."""
        self._settles = [reference for reference in self._settles if reference()]
        for reference in self._settles:
            settle = reference()
            if settle is not None:
                settle()
        families: list[_Family] = [*self._counters, *self._histograms]
        families += (family for family in self._readers if family not in self._counters)
        lines: list[str] = []
        for family in sorted(families, key=lambda family: family.name):
            if isinstance(family, Histograms):
                series = list(_bucketed(family, self._histograms[family].items()))
            else:
                series = list(self._read(family))
            if series:
                lines.append(f"# HELP {family.name} {_help(family.help)}")
                lines.append(f"# TYPE {family.name} {type(family).__name__.lower()[:-1]}")
                lines += series
        return "".join(line + "\n" for line in lines)

    def _read(self, family: Counters | Gauges) -> Iterator[str]:
        found: dict[_Values, float] = {}
        if isinstance(family, Counters):
            found = {v: counter.value for v, counter in self._counters.get(family, {}).items()}
        for read in self._readers.get(family, ()):
            found.update(read())
        for values, value in sorted(found.items()):
            yield f"{family.name}{_braced(family.labels, values)} {_number(value)}"


def _checked(family: _Family, values: _Values) -> _Values:
    if len(values) != len(family.labels):
        raise ValueError(f"{family.name} has the labels {family.labels}, not {len(values)} values")
    return values


def _bucketed(family: Histograms, series: Iterable[tuple[_Values, Histogram]]) -> Iterator[str]:
    bounds = (*map(_number, family.buckets), "+Inf")
    labels = (*family.labels, "le")
    for values, histogram in sorted(series, key=lambda one: one[0]):
        count = 0
        for bound, more in zip(bounds, histogram.counts, strict=True):
            count += more
            yield f"{family.name}_bucket{_braced(labels, (*values, bound))} {count}"
        braced = _braced(family.labels, values)
        yield f"{family.name}_sum{braced} {_number(histogram.total)}"
        yield f"{family.name}_count{braced} {count}"


def _braced(labels: _Values, values: _Values) -> str:
    """Return labels as the Go client writes them: by name, the bound of a bucket last."""
    pairs = sorted(zip(labels, values, strict=True), key=lambda pair: (pair[0] == "le", pair[0]))
    return "{" + ",".join(f'{k}="{_escaped(v)}"' for k, v in pairs) + "}" if pairs else ""


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _help(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")


def _number(value: float) -> str:
    return f"{value:.15g}"
