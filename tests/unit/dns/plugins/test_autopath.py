"""autopath: a client's walk through its search list, done by the server."""

from pathlib import Path
from typing import Any

import pytest

from podwire.dns.cluster.watched import WatchedPod, WatchedService
from podwire.dns.configuration import Configuration
from podwire.dns.plugins import autopath
from podwire.dns.plugins.kubernetes import Kubernetes
from podwire.kube.codec import convert
from podwire.kube.objects import Namespace
from tests.unit.dns.corefiles import Bench, ask, block, plugin_of, shown

Json = dict[str, Any]

ELSEWHERE = (
    "template IN A example.com {",
    'answer "{{ .Name }} 60 IN A 192.0.2.1"',
    "}",
    "template IN A node.test {",
    "match ^host[.]",
    'answer "{{ .Name }} 60 IN A 192.0.2.2"',
    "fallthrough",
    "}",
    "template IN ANY . {",
    "match [.]example[.]com[.]$ ^nothing[.]$ node[.]test[.]$",
    "rcode NXDOMAIN",
    "fallthrough",
    "}",
)
POD, STRANGER = "10.244.1.5", "10.244.9.9"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(autopath, "RESOLV_CONF", "resolv.conf")
    (tmp_path / "resolv.conf").write_text("nameserver 10.0.0.1\nsearch Node.test\n")
    return tmp_path


def cluster(folder: Path, *lines: str, pods: str = "verified") -> Configuration:
    """Return a server with one Service and one pod, both in the namespace shop."""
    text = block(*lines, f"kubernetes cluster.local {{\npods {pods}\n}}", *ELSEWHERE)
    configuration = Bench(folder=folder).configure(text)
    plugin = plugin_of(configuration, "kubernetes")
    assert isinstance(plugin, Kubernetes)
    in_shop: Json = {"namespace": "shop"}
    plugin.table.change_namespace(None, convert(Namespace, {"metadata": {"name": "shop"}}))
    service = {"type": "ClusterIP", "clusterIPs": ["10.96.0.7"], "ports": [{"port": 80}]}
    plugin.table.change_service(
        None,
        convert(WatchedService, {"metadata": {"name": "web", **in_shop}, "spec": service}),
        now=1,
    )
    pod = {"metadata": {"name": "pod", **in_shop}, "status": {"podIP": POD, "phase": "Running"}}
    plugin.table.change_pod(None, convert(WatchedPod, pod), now=1)
    plugin.table.synced()
    return configuration


WEB = "web.shop.svc.cluster.local."


@pytest.mark.parametrize(
    ("name", "client", "expected"),
    [
        (WEB, POD, [f"{WEB} 5 A 10.96.0.7"]),
        (
            f"web.shop.{WEB.partition('.')[2]}",
            POD,
            [
                f"web.shop.{WEB.partition('.')[2]} 5 CNAME {WEB}",
                f"{WEB} 5 A 10.96.0.7",
            ],
        ),
        (
            "www.Example.com.shop.svc.cluster.local.",
            POD,
            [
                "www.Example.com.shop.svc.cluster.local. 60 CNAME www.example.com.",
                "www.example.com. 60 A 192.0.2.1",
            ],
        ),
        (
            "host.shop.svc.cluster.local.",
            POD,
            [
                "host.shop.svc.cluster.local. 60 CNAME host.node.test.",
                "host.node.test. 60 A 192.0.2.2",
            ],
        ),
        ("nothing.shop.svc.cluster.local.", POD, []),
        ("www.example.com.shop.svc.cluster.local.", STRANGER, []),
        ("www.example.com.svc.cluster.local.", POD, []),
    ],
)
async def test_walks(folder: Path, name: str, client: str, expected: list[str]) -> None:
    configuration = cluster(folder, "autopath @kubernetes")
    reply = await ask(configuration, name, client=client)
    assert shown(reply)[1:] == expected or (not expected and not reply.answer)
    assert shown(reply)[0] == ("NOERROR aa" if expected else "NXDOMAIN aa")
    # What another client gets differs wherever the walk did not end at its first name.
    assert reply.lasting == (name == WEB and False)


async def test_other_names_are_left_alone(folder: Path) -> None:
    configuration = cluster(folder, "autopath @kubernetes")
    reply = await ask(configuration, "web.shop.svc.cluster.local.", client=STRANGER)
    assert reply.lasting
    assert (await ask(configuration, "www.example.com.", client=POD)).lasting


async def test_pods_must_be_followed(folder: Path) -> None:
    configuration = cluster(folder, "autopath @kubernetes", pods="insecure")
    reply = await ask(configuration, "www.example.com.shop.svc.cluster.local.", client=POD)
    assert shown(reply)[0] == "NXDOMAIN aa"


@pytest.mark.parametrize(
    ("zones", "first"),
    [("", "NOERROR aa"), ("shop.svc.cluster.local ", "NOERROR aa"), ("x ", "NX")],
)
async def test_a_file_has_the_search_list(folder: Path, zones: str, first: str) -> None:
    (folder / "list").write_text("search shop.svc.cluster.local cluster.local\n")
    configuration = cluster(folder, f"autopath {zones}list")
    name = "www.example.com.shop.svc.cluster.local."
    reply = await ask(configuration, name, client=STRANGER)
    assert shown(reply)[0].startswith(first)


async def test_successes_are_counted(folder: Path) -> None:
    bench = Bench(folder=folder)
    (folder / "list").write_text("search a.test\n")
    configuration = bench.configure(block("autopath list", *ELSEWHERE))
    assert 'coredns_autopath_success_total{server="dns://:53"} 0' in bench.process.metrics.text()
    await ask(configuration, "www.example.com.a.test.")
    # The first candidate has no plugin behind it here, which ends the walk with an error.
    assert 'coredns_autopath_success_total{server="dns://:53"} 0' in bench.process.metrics.text()
