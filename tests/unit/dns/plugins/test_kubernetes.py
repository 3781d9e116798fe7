"""kubernetes: its stanza, rule by rule; the vectors have CoreDNS's own cases."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web

from podwire.dns.cluster import cluster_stanza, sources
from podwire.dns.cluster.cluster_stanza import Settings
from podwire.dns.corefile.corefile import CorefileError, parse
from podwire.dns.corefile.imports import read_import
from podwire.dns.corefile.stanza import Stanza
from tests.unit.dns.corefiles import Bench, block, plugin_of


def settings(text: str) -> Settings:
    """Return what a stanza in a block for every name says."""
    (made,) = parse(f". {{\n{text}\n}}", read=read_import)
    (directive,) = made.directives
    return cluster_stanza.parse(Stanza(directive))


def inside(*lines: str) -> str:
    return "kubernetes cluster.local {\n" + "\n".join(lines) + "\n}"


@pytest.mark.parametrize(
    ("lines", "field", "value"),
    [
        (["ttl 0"], "ttl", 0),
        (["ttl 3600"], "ttl", 3600),
        (["fallthrough"], "fallthrough", (".",)),
        (["fallthrough IN-ADDR.ARPA"], "fallthrough", ("in-addr.arpa.",)),
        (["fallthrough 10.0.0.0/15"], "fallthrough", ("0.10.in-addr.arpa.", "1.10.in-addr.arpa.")),
        ([], "fallthrough", None),
        (["namespaces a", "namespaces b"], "namespaces", frozenset("ab")),
        (["multicluster cluster.local"], "multicluster", ("cluster.local.",)),
        (["ignore"], "ignore_empty_service", False),
        (["apiserver_qps 2.5", "apiserver_burst 10", "apiserver_max_inflight 0"], "ttl", 5),
    ],
)
def test_options(lines: list[str], field: str, value: object) -> None:
    assert getattr(settings(inside(*lines)).options, field) == value


@pytest.mark.parametrize(
    ("lines", "field", "value"),
    [
        (["endpoint http://127.0.0.1:1 http://127.0.0.1:2"], "api", "http://127.0.0.1:1"),
        (["tls a b c"], "tls", ("a", "b", "c")),
        (["kubeconfig file context"], "kubeconfig", ("file", "context")),
        (["startup_timeout 1m30s"], "startup_timeout", 90.0),
        (["labels app in (a, b),!c"], "labels", "app in (a, b),!c"),
    ],
)
def test_settings(lines: list[str], field: str, value: object) -> None:
    assert getattr(settings(inside(*lines)), field) == value


@pytest.mark.parametrize(
    ("lines", "line", "says"),
    [
        (["ttl 3601"], 3, "ttl must be in range [0, 3600]: 3601"),
        (["pods verified", "ttl -1"], 4, "ttl must be in range [0, 3600]: -1"),
        (["ttl"], 3, "Wrong argument count or unexpected line ending after 'ttl'"),
        (["ttl soon"], 3, "'soon' is no whole number"),
        (["pods"], 3, "Wrong argument count"),
        (["pods all"], 3, "wrong value for pods: all,  must be one of: disabled, insecure"),
        (["ignore everything"], 3, "unable to parse ignore value: 'everything'"),
        (["zonal yes"], 3, "Wrong argument count"),
        (["zonal", "noendpoints"], 2, "zonal requires the endpoint cache; remove noendpoints"),
        (["multicluster other.test"], 2, "is not authoritative for the multicluster zone other"),
        (["tls a b"], 3, "Wrong argument count"),
        (["kubeconfig"], 3, "Wrong argument count"),
        (["kubeconfig a b c"], 3, "Wrong argument count"),
        (["startup_timeout soon"], 3, 'invalid duration "soon"'),
        (["apiserver_qps -1"], 3, "apiserver_qps must be >= 0"),
        (["apiserver_burst 1.5"], 3, 'invalid apiserver_burst "1.5"'),
        (["endpoint_pod_names x"], 3, "Wrong argument count"),
        (["federation x"], 3, "unknown property 'federation'; known are: endpoint_pod_names, "),
        (["namespaces a", "namespace_labels b=c"], 2, "namespaces and namespace_labels cannot"),
        (["labels a in (b"], 3, "unable to parse label selector value: 'a in (b'"),
        (["fallthrough a..b"], 3, "'a..b' is no zone"),
    ],
)
def test_what_is_refused(lines: list[str], line: int, says: str) -> None:
    with pytest.raises(CorefileError) as caught:
        settings(inside(*lines))
    assert str(caught.value).startswith(f"Corefile:{line} - Error during parsing: {says}")


def test_reverse_zones_alone_are_refused() -> None:
    with pytest.raises(CorefileError, match="non-reverse zone name must be used"):
        settings("kubernetes 10.0.0.0/24 fd00::/64")


def test_a_kubeconfig_must_be_there(tmp_path: Path) -> None:
    text = block("kubernetes cluster.local {", "kubeconfig nowhere", "}")
    with pytest.raises(CorefileError, match=r"Corefile:2 .*kubeconfig nowhere: there is no such"):
        Bench(folder=tmp_path).configure(text)


def test_a_kubeconfig_names_the_server(tmp_path: Path) -> None:
    (tmp_path / "config").write_text(
        json.dumps(
            {
                "current-context": "one",
                "contexts": [
                    {"name": name, "context": {"cluster": name, "user": name}}
                    for name in ("one", "two")
                ],
                "clusters": [
                    {"name": name, "cluster": {"server": f"http://{name}.test"}}
                    for name in ("one", "two")
                ],
                "users": [{"name": "one", "user": {}}, {"name": "two", "user": {"token": "t"}}],
            }
        )
    )
    bench = Bench(folder=tmp_path)
    text = block("kubernetes cluster.local {", "kubeconfig config two", "}")
    bench.configure(text)
    with pytest.raises(CorefileError, match="there is no context 'three'"):
        bench.configure(text.replace("two", "three"))


@asynccontextmanager
async def api_server(port: int) -> AsyncGenerator[set[tuple[str, str]]]:
    """Serve an API without objects; yields what was asked for, with which authorization."""
    asked: set[tuple[str, str]] = set()

    async def answer(request: web.Request) -> web.StreamResponse:
        asked.add((request.path.rpartition("/")[2], request.headers.get("Authorization", "")))
        if request.query.get("watch") == "true":
            await asyncio.Event().wait()
        return web.json_response({"items": [], "metadata": {"resourceVersion": "1"}})

    app = web.Application()
    app.router.add_get("/{tail:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield asked
    finally:
        await runner.cleanup()


async def test_a_kubeconfig_is_used(tmp_path: Path, unused_tcp_port: int) -> None:
    (tmp_path / "config").write_text(
        json.dumps(
            {
                "current-context": "c",
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
                "clusters": [
                    {"name": "c", "cluster": {"server": f"http://127.0.0.1:{unused_tcp_port}"}}
                ],
                "users": [{"name": "c", "user": {"token": "secret"}}],
            }
        )
    )
    text = block("kubernetes cluster.local {", "kubeconfig config", "}")
    plugin = plugin_of(Bench(folder=tmp_path).configure(text), "kubernetes")
    async with api_server(unused_tcp_port) as asked, plugin.run():
        assert plugin.is_ready()
    kinds = ("services", "namespaces", "endpointslices")
    assert asked == {(kind, "Bearer secret") for kind in kinds}


@pytest.mark.parametrize(
    ("line", "header"),
    [
        ("ttl 5", "Bearer t"),
        # Whoever is named in a Corefile need not be the API server: CoreDNS tells it nothing.
        ("endpoint http://localhost:{port}", ""),
    ],
)
async def test_the_token_is_for_the_clusters_own_server(
    line: str, header: str, tmp_path: Path, unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text("t\n")
    monkeypatch.setattr(sources, "SERVICE_ACCOUNT", tmp_path)
    bench = Bench(folder=tmp_path)
    bench.process = replace(
        bench.process,
        sources=sources.Sources(
            api=f"http://127.0.0.1:{unused_tcp_port}", user="", clock=bench.clock
        ),
    )
    text = block("kubernetes cluster.local {", line.format(port=unused_tcp_port), "}")
    plugin = plugin_of(bench.configure(text), "kubernetes")
    async with api_server(unused_tcp_port) as asked, plugin.run():
        assert plugin.is_ready()
    assert {authorization for _, authorization in asked} == {header}
