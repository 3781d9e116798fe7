"""The page of counters: its form, what it has per server and zone, and what stays across reloads."""

import asyncio
import gc
import os
import random
import shutil
import socket
import subprocess
import urllib.request
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from podwire.dns.cluster.api_metrics import LAST_CHANGE, ApiMetrics
from podwire.dns.cluster.watched import WatchedService, WatchedSlice
from podwire.dns.configuration import Configuration
from podwire.dns.corefile.corefile import CorefileError
from podwire.dns.messages.message import Kind, Question
from podwire.dns.messages.wire import question_packet
from podwire.dns.serving.metrics import Counters, Gauges, Histograms, Metrics
from podwire.kube.codec import convert
from podwire.kube.times import rfc3339
from podwire.testing.clock import FakeClock
from tests.unit.dns.corefiles import CLIENT, Bench, block

COLOURS = Gauges("colours", "Of the rainbow.", ("name",))
CALLS = Counters("calls_total", 'A "help" \\ of\ntwo lines.', ("z", "a"))
TIMES = Histograms("times_seconds", "How long.", ("of",), (0.5, 1.0))


def test_the_form_of_the_page() -> None:
    metrics = Metrics()
    metrics.counter(CALLS, 'quo"te', "back\\slash\nline").value += 3
    metrics.counter(CALLS, "", "").value += 0.5
    histogram = metrics.histogram(TIMES, "day")
    for seconds in (0.5, 0.6, 2.0):
        histogram.add(seconds)
    histogram.add(0.1, times=4)
    with metrics.showing(COLOURS, lambda: {("red",): 2.0, ("blue",): 1.0}):
        text = metrics.text()
    shown = [line for line in text.splitlines() if not line.partition(" coredns_")[1]]
    assert [line for line in shown if not line.startswith("coredns_")] == [
        '# HELP calls_total A "help" \\\\ of\\ntwo lines.',
        "# TYPE calls_total counter",
        'calls_total{a="",z=""} 0.5',
        'calls_total{a="back\\\\slash\\nline",z="quo\\"te"} 3',
        "# HELP colours Of the rainbow.",
        "# TYPE colours gauge",
        'colours{name="blue"} 1',
        'colours{name="red"} 2',
        "# HELP times_seconds How long.",
        "# TYPE times_seconds histogram",
        'times_seconds_bucket{of="day",le="0.5"} 5',
        'times_seconds_bucket{of="day",le="1"} 6',
        'times_seconds_bucket{of="day",le="+Inf"} 7',
        'times_seconds_sum{of="day"} 3.5',
        'times_seconds_count{of="day"} 7',
    ]
    assert "colours" not in metrics.text()


@pytest.mark.parametrize("values", [(), ("a",), ("a", "b", "c")])
def test_a_series_has_a_value_for_each_label(values: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="calls_total has the labels"):
        Metrics().counter(CALLS, *values)


class PuttingOff:
    """Counts seven when it is told to."""

    def __init__(self, metrics: Metrics) -> None:
        self.counter = metrics.counter(CALLS, "1", "2")
        metrics.before_reading(self.settle)

    def settle(self) -> None:
        self.counter.value += 7


def test_what_was_put_off_is_counted_before_the_page_is_read() -> None:
    metrics = Metrics()
    counting = PuttingOff(metrics)
    assert 'calls_total{a="2",z="1"} 7\n' in metrics.text()
    # Nobody is kept alive by it.
    del counting
    gc.collect()
    assert 'calls_total{a="2",z="1"} 7\n' in metrics.text()


# The plugin


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@asynccontextmanager
async def running(bench: Bench, text: str) -> AsyncGenerator[Configuration]:
    configuration = bench.configure(text)
    async with AsyncExitStack() as stack:
        for plugin in configuration.plugins:
            await stack.enter_async_context(plugin.run())
        yield configuration


async def asked(configuration: Configuration, name: str, kind: int = Kind.A) -> None:
    """Ask through the front door, as a client would."""
    (server,) = configuration.servers.values()
    packet = question_packet(random.randrange(1 << 16), Question(name, kind))
    assert list(await server.door.answer(packet, CLIENT, "udp"))


COREFILE = """
.:53 {
    prometheus 127.0.0.1:PORT
    errors
    health 127.0.0.1:0
    template IN A example.org {
        answer "{{ .Name }} 60 IN A 192.0.2.1"
    }
    cache
}
stub.test:53 other.test:53 {
    prometheus 127.0.0.1:PORT
    errors
}
silent.test:53 {
    errors
}
"""


async def test_what_is_counted_and_where() -> None:
    bench = Bench()
    port = free_port()
    async with running(bench, COREFILE.replace("PORT", str(port))) as configuration:
        for name in ("www.example.org.", "www.example.org.", "a.stub.test.", "a.silent.test."):
            await asked(configuration, name)
        await asked(configuration, "www.example.org.", 65280)
        url = f"http://127.0.0.1:{port}/metrics"
        page = await asyncio.to_thread(lambda: urllib.request.urlopen(url).read())
    text = page.decode()
    server = 'server="dns://:53"'
    for line in (
        f'coredns_plugin_enabled{{name="errors",{server},view="",zone="."}} 1',
        f'coredns_plugin_enabled{{name="cache",{server},view="",zone="."}} 1',
        f'coredns_plugin_enabled{{name="errors",{server},view="",zone="stub.test."}} 1',
        f'coredns_plugin_enabled{{name="prometheus",{server},view="",zone="other.test."}} 1',
        f'coredns_dns_requests_total{{family="1",proto="udp",{server},type="A",view="",zone="."}} 2',
        f'coredns_dns_requests_total{{family="1",proto="udp",{server},type="A",view="",'
        'zone="stub.test."} 1',
        f'coredns_dns_requests_total{{family="1",proto="udp",{server},type="other",view="",'
        'zone="."} 1',
        f'coredns_dns_responses_total{{plugin="template",rcode="NOERROR",{server},view="",'
        'zone="."} 1',
        f'coredns_dns_responses_total{{plugin="cache",rcode="NOERROR",{server},view="",zone="."}} 1',
        f'coredns_cache_hits_total{{{server},type="success",view="",zones="."}} 1',
        f'coredns_dns_request_size_bytes_count{{proto="udp",{server},view="",zone="."}} 3',
        "coredns_panics_total 0",
        "coredns_health_request_failures_total 0",
    ):
        assert f"{line}\n" in text
    # A block without the plugin is not counted, and these are no part of the chain.
    assert "silent.test." not in text
    assert 'name="health"' not in text


async def test_counts_outlive_a_reload_and_what_is_gone_is_not_shown() -> None:
    bench = Bench()
    port = free_port()
    with_template = block(
        f"prometheus 127.0.0.1:{port}",
        "template IN A {",
        'answer "{{ .Name }} 60 A 192.0.2.1"',
        "}",
    )
    without = block(f"prometheus 127.0.0.1:{port}", "errors")
    async with AsyncExitStack() as old:
        first = await old.enter_async_context(running(bench, with_template))
        await asked(first, "www.example.org.")
        async with running(bench, without) as second:
            await old.aclose()
            await asked(second, "www.example.org.")
            text = bench.process.metrics.text()
    assert 'type="A",view="",zone="."} 2\n' in text
    assert 'plugin_enabled{name="errors",' in text
    assert 'plugin_enabled{name="template",' not in text


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed")
async def test_prometheus_itself_reads_it() -> None:
    bench = Bench()
    async with running(bench, COREFILE.replace("PORT", str(free_port()))) as configuration:
        await asked(configuration, "www.example.org.")
        text = bench.process.metrics.text()
    done = subprocess.run(  # noqa: ASYNC221 - nothing else goes on
        ["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    assert f"process_max_fds {os.sysconf('SC_OPEN_MAX')}\n" in text


@pytest.mark.parametrize(
    ("lines", "number", "message"),
    [
        (["prometheus a:1 b:2"], 2, "Wrong argument count"),
        (["prometheus localhost"], 2, "'localhost' is no address with a port"),
        (["prometheus {", "  tls /etc/web.yaml", "}"], 3, "tls is not supported here"),
        (["prometheus {", "  nosuch", "}"], 3, "unknown property 'nosuch'; known are: runtime"),
        (["prometheus {", "  runtime_metrics all", "}"], 3, "Wrong argument count"),
        (["prometheus", "prometheus"], 3, "can only be used once"),
    ],
)
def test_stanza_errors(lines: list[str], number: int, message: str) -> None:
    with pytest.raises(CorefileError) as caught:
        Bench().configure(block(*lines))
    assert f"Corefile:{number} - Error during parsing: " in str(caught.value)
    assert message in str(caught.value)


# Of the API server


NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    ("cluster_ip", "changed", "counted"),
    [
        ("10.96.0.7", rfc3339(NOW - 3), 'service_kind="cluster_ip"} 3'),
        ("None", rfc3339(NOW - 3), 'service_kind="headless_with_selector"} 3'),
        ("10.96.0.7", "", ""),
        ("10.96.0.7", "yesterday", ""),
        (None, rfc3339(NOW - 3), ""),
    ],
)
def test_how_long_a_change_takes(cluster_ip: str | None, changed: str, counted: str) -> None:
    metrics = Metrics()
    annotations = {LAST_CHANGE: changed} if changed else {}
    changed_slice: Any = {"metadata": {"name": "web-1", "annotations": annotations}}
    service = convert(WatchedService, {"spec": {"clusterIP": cluster_ip}}) if cluster_ip else None
    ApiMetrics(metrics, FakeClock(NOW)).programmed(convert(WatchedSlice, changed_slice), service)
    found = [line for line in metrics.text().splitlines() if "duration_seconds_sum" in line]
    name = "coredns_kubernetes_dns_programming_duration_seconds_sum"
    assert found == ([f"{name}{{{counted}"] if counted else [])


def test_requests_to_the_api_server() -> None:
    metrics = Metrics()
    seen = ApiMetrics(metrics, FakeClock())
    seen.called("GET", "podwire", "200", 0.004)
    seen.called("GET", "podwire", "<error>", 0.2)
    text = metrics.text()
    name = "coredns_kubernetes_rest_client_requests_total"
    assert f'{name}{{code="200",host="podwire",method="GET"}} 1\n' in text
    assert f'{name}{{code="<error>",host="podwire",method="GET"}} 1\n' in text
