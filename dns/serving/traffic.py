"""What one server has answered, as its front door counts it: how many, how large, how fast."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from podwire.dns.chain import Request
from podwire.dns.messages.message import Kind, Reply, kind_name, rcode_name
from podwire.dns.serving.metrics import PANICS, Counter, Counters, Histogram, Histograms, Metrics

SIZE_BUCKETS: Final = tuple(
    float(bound)
    for bound in (0, 100, 200, 300, 400, 511, 1023, 2047, 4095, 8291, 16e3, 32e3, 48e3, 64e3)
)
DROPPED: Final = "dropped"
"""The zone of what no server block serves."""

_WHERE: Final = ("server", "zone", "view")
REQUESTS: Final = Counters(
    "coredns_dns_requests_total",
    "Counter of DNS requests made per zone, protocol and family.",
    (*_WHERE, "proto", "family", "type"),
)
REQUEST_DURATION: Final = Histograms(
    "coredns_dns_request_duration_seconds",
    "Histogram of the time (in seconds) each request took per zone.",
    _WHERE,
)
REQUEST_SIZE: Final = Histograms(
    "coredns_dns_request_size_bytes",
    "Size of the EDNS0 UDP buffer in bytes (64K for TCP) per zone and protocol.",
    (*_WHERE, "proto"),
    SIZE_BUCKETS,
)
DO_REQUESTS: Final = Counters(
    "coredns_dns_do_requests_total",
    "Counter of DNS requests with DO bit set per zone.",
    _WHERE,
)
RESPONSE_SIZE: Final = Histograms(
    "coredns_dns_response_size_bytes",
    "Size of the returned response in bytes.",
    (*_WHERE, "proto"),
    SIZE_BUCKETS,
)
RESPONSES: Final = Counters(
    "coredns_dns_responses_total",
    "Counter of response status codes.",
    (*_WHERE, "rcode", "plugin"),
)

# Other types are counted as "other", so that a stranger cannot make endless series.
_COUNTED: Final = frozenset(
    {
        Kind.A, Kind.AAAA, Kind.ANY, Kind.AXFR, Kind.CNAME, Kind.DNSKEY, Kind.DS, Kind.HTTPS,
        Kind.IXFR, Kind.MX, Kind.NS, Kind.NSEC, Kind.PTR, Kind.RRSIG, Kind.SOA, Kind.SRV, Kind.SVCB,
        Kind.TXT,
    }
)  # fmt: skip


class Series:
    """All that is counted for replies of one kind; made once, so that counting is quick."""

    __slots__ = ("_do", "_duration", "_request_sizes", "_requests", "_response_sizes", "_responses")

    def __init__(
        self,
        *,
        requests: Counter,
        responses: Counter,
        do: Counter | None,
        duration: Histogram,
        request_sizes: Histogram,
        response_sizes: Histogram,
    ) -> None:
        self._requests = requests
        self._responses = responses
        self._do = do
        self._duration = duration
        self._request_sizes = request_sizes
        self._response_sizes = response_sizes

    def count(self, request_size: int, reply_size: int, seconds: float, *, times: int = 1) -> None:
        """Count *times* equal requests and their replies; sizes in bytes, *seconds* of each."""
        self._requests.value += times
        self._responses.value += times
        if self._do is not None:
            self._do.value += times
        self._duration.add(seconds, times)
        self._request_sizes.add(request_size, times)
        self._response_sizes.add(reply_size, times)


class Traffic:
    """Counts for one *server*, which CoreDNS names ``dns://:53``, into the page of *metrics*."""

    def __init__(self, metrics: Metrics, server: str) -> None:
        self.panics = metrics.counter(PANICS)
        self._metrics = metrics
        self._server = server
        self._shown: frozenset[str] | None = None
        self._series: dict[tuple[object, ...], Series] = {}

    def show(self, zones: Iterable[str]) -> None:
        """Count from now on for these zones only, and for what no block serves.

        They are those of the server blocks that have the prometheus plugin.
        """
        self._shown = frozenset((*zones, DROPPED))
        self._series.clear()

    def before_reading(self, settle: Callable[[], None]) -> None:
        """Call the method *settle* each time before the page is read, while its object lives."""
        self._metrics.before_reading(settle)

    def series(self, request: Request, reply: Reply, zone: str) -> Series:
        """Return what counts replies like this one; *zone* is the server block's."""
        query = request.query
        kind = query.question.kind
        is_dnssec = query.edns is not None and query.edns.dnssec_ok
        key = (
            zone,
            request.transport,
            ":" in request.client[0],
            kind if kind in _COUNTED else 0,
            reply.rcode,
            reply.by,
            is_dnssec,
        )
        series = self._series.get(key)
        if series is None:
            series = self._series[key] = self._made(request, reply, zone, is_dnssec=is_dnssec)
        return series

    def _made(self, request: Request, reply: Reply, zone: str, *, is_dnssec: bool) -> Series:
        # What is not shown is counted all the same: a question less for what is.
        is_shown = self._shown is None or zone in self._shown
        metrics = self._metrics if is_shown else Metrics()
        kind = request.query.question.kind
        where = (self._server, zone, "")
        proto = request.transport
        family = "2" if ":" in request.client[0] else "1"
        kind_label = kind_name(kind) if kind in _COUNTED else "other"
        return Series(
            requests=metrics.counter(REQUESTS, *where, proto, family, kind_label),
            responses=metrics.counter(RESPONSES, *where, rcode_name(reply.rcode), reply.by),
            do=metrics.counter(DO_REQUESTS, *where) if is_dnssec else None,
            duration=metrics.histogram(REQUEST_DURATION, *where),
            request_sizes=metrics.histogram(REQUEST_SIZE, *where, proto),
            response_sizes=metrics.histogram(RESPONSE_SIZE, *where, proto),
        )
