"""Counters in Prometheus's text format, under the names that CoreDNS gives them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from podwire import __version__
from podwire.dns.chain import Request
from podwire.dns.message import Reply, kind_name, rcode_name

DURATION_BUCKETS: Final = tuple(0.00025 * 2**k for k in range(16))
SIZE_BUCKETS: Final = (
    0, 100, 200, 300, 400, 511, 1023, 2047, 4095, 8291, 16000, 32000, 48000, 64000,
)  # fmt: skip

# Other types are counted as "other", so that a stranger cannot make endless series.
_COUNTED: Final = {
    "A", "AAAA", "ANY", "CNAME", "DNSKEY", "DS", "HTTPS", "MX", "NS", "NSEC", "PTR", "RRSIG", "SOA",
    "SRV", "SVCB", "TXT",
}  # fmt: skip

_Labels = tuple[tuple[str, str], ...]


class Histogram:
    """How often a value fell under each of the *bounds*; one labelled series."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        """Count one *value*."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class Counter:
    """A number that only grows, or a gauge that is set; one labelled series."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0


class Series:
    """All that is counted for replies of one kind; made once, so that counting is quick."""

    __slots__ = ("_do", "_duration", "_is_dnssec", "_requests", "_responses", "_sizes")

    def __init__(self, metrics: Metrics, labels: Mapping[str, str], *, is_dnssec: bool) -> None:
        where = {k: labels[k] for k in ("server", "zone", "view")}
        sized = {**where, "proto": labels["proto"]}
        reply = {**where, "rcode": labels["rcode"], "plugin": labels["plugin"]}
        asked = {**sized, "family": labels["family"], "type": labels["type"]}
        counter, histogram = metrics.counter, metrics.histogram
        self._requests = counter("coredns_dns_requests_total", asked)
        self._responses = counter("coredns_dns_responses_total", reply)
        self._do = counter("coredns_dns_do_requests_total", where)
        self._is_dnssec = is_dnssec
        self._duration = histogram("coredns_dns_request_duration_seconds", where, DURATION_BUCKETS)
        self._sizes = (
            histogram("coredns_dns_request_size_bytes", sized, SIZE_BUCKETS),
            histogram("coredns_dns_response_size_bytes", sized, SIZE_BUCKETS),
        )

    def count(self, request_size: int, reply_size: int, seconds: float) -> None:
        """Count one request and its reply; sizes in bytes."""
        self._requests.value += 1
        self._responses.value += 1
        self._do.value += self._is_dnssec
        self._duration.add(seconds)
        self._sizes[0].add(request_size)
        self._sizes[1].add(reply_size)


class Metrics:
    """Every series of one server; *server* is how CoreDNS names its listener, ``dns://:53``."""

    def __init__(self, server: str = "") -> None:
        self.server = server
        self._counters: dict[str, dict[_Labels, Counter]] = {}
        self._histograms: dict[str, dict[_Labels, Histogram]] = {}
        self._series: dict[tuple[str, ...], Series] = {}
        build = {"version": __version__, "revision": "podwire", "goversion": ""}
        self.counter("coredns_build_info", build).value = 1
        self.panics = self.counter("coredns_panics_total", {})
        self._rejects = self.counter("coredns_forward_max_concurrent_rejects_total", {})

    def of(self, server: str) -> Metrics:
        """Return what counts for *server* into the same page."""
        other = Metrics(server)
        other._counters = self._counters
        other._histograms = self._histograms
        other.panics = self.panics
        other._rejects = self._rejects
        return other

    def counter(self, name: str, labels: Mapping[str, str]) -> Counter:
        """Return the counter or gauge of that name and labels, made if need be."""
        return self._counters.setdefault(name, {}).setdefault(tuple(labels.items()), Counter())

    def histogram(self, name: str, labels: Mapping[str, str], bounds: Sequence[float]) -> Histogram:
        """Return the histogram of that name and labels, made if need be."""
        series = self._histograms.setdefault(name, {})
        key = tuple(labels.items())
        if key not in series:
            series[key] = Histogram(bounds)
        return series[key]

    def series(self, request: Request, reply: Reply, zone: str) -> Series:
        """Return what counts replies like this one; *zone* is the server block's."""
        kind = kind_name(request.query.question.kind)
        edns = request.query.edns
        key = (
            zone,
            request.transport,
            "2" if ":" in request.client[0] else "1",
            kind if kind in _COUNTED else "other",
            rcode_name(reply.rcode),
            reply.by,
            "do" if edns is not None and edns.dnssec_ok else "",
        )
        if key not in self._series:
            names = ("zone", "proto", "family", "type", "rcode", "plugin")
            labels = {"server": self.server, "view": "", **dict(zip(names, key, strict=False))}
            self._series[key] = Series(self, labels, is_dnssec=bool(key[-1]))
        return self._series[key]

    def exchanged(self, upstream: str, rcode: str, seconds: float) -> None:
        """Note one exchange of the forward handler."""
        labels = {"proxy_name": "forward", "to": upstream, "rcode": rcode}
        self.histogram("coredns_proxy_request_duration_seconds", labels, DURATION_BUCKETS).add(
            seconds
        )

    def rejected(self) -> None:
        """Note a query that the forward handler refused for want of room."""
        self._rejects.value += 1

    def count_cache(self, entries: Mapping[str, int], hits: Mapping[str, int], misses: int) -> None:
        """Take over the cache handler's own counts."""
        where = {"server": self.server, "zones": ".", "view": ""}
        for class_, count in entries.items():
            labels = {"server": self.server, "type": class_, "zones": ".", "view": ""}
            self.counter("coredns_cache_entries", labels).value = count
            self.counter("coredns_cache_hits_total", labels).value = hits[class_]
        self.counter("coredns_cache_misses_total", where).value = misses
        self.counter("coredns_cache_requests_total", where).value = misses + sum(hits.values())

    def text(self) -> str:
        """Return all series in Prometheus's text format 0.0.4."""
        return "".join(line + "\n" for line in self._lines())

    def _lines(self) -> Iterator[str]:
        for name, series in sorted(self._counters.items()):
            yield f"# TYPE {name} {'counter' if name.endswith('_total') else 'gauge'}"
            for labels, counter in series.items():
                yield f"{name}{_braced(labels)} {counter.value:.17g}"
        for name, histograms in sorted(self._histograms.items()):
            yield f"# TYPE {name} histogram"
            for labels, histogram in histograms.items():
                running = 0
                for bound, count in zip(
                    (*(f"{b:.15g}" for b in histogram.bounds), "+Inf"),
                    histogram.counts,
                    strict=True,
                ):
                    running += count
                    yield f"{name}_bucket{_braced((*labels, ('le', bound)))} {running}"
                yield f"{name}_sum{_braced(labels)} {histogram.total:.17g}"
                yield f"{name}_count{_braced(labels)} {running}"


def _braced(labels: _Labels) -> str:
    if not labels:
        return ""
    escaped = (
        (k, v.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")) for k, v in labels
    )
    return "{" + ",".join(f'{k}="{v}"' for k, v in escaped) + "}"
