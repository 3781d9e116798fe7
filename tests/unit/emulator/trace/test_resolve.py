from typing import TYPE_CHECKING

import pytest

from podwire.emulator.trace.resolve import (
    answer,
    candidates,
    search_of,
    search_of_node,
    uses_cluster_dns,
)
from podwire.emulator.trace.wiring import Wiring

if TYPE_CHECKING:
    from tests.unit.emulator.trace.conftest import Bench

ZONE = "svc.cluster.local."


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        (
            "web-svc",
            [
                "web-svc.default.svc.cluster.local.",
                "web-svc.svc.cluster.local.",
                "web-svc.cluster.local.",
                "web-svc.",
            ],
        ),
        (
            "Web-svc.default.svc.cluster.local",
            [
                "web-svc.default.svc.cluster.local.default.svc.cluster.local.",
                "web-svc.default.svc.cluster.local.svc.cluster.local.",
                "web-svc.default.svc.cluster.local.cluster.local.",
                "web-svc.default.svc.cluster.local.",
            ],
        ),
        ("example.com.", ["example.com."]),
    ],
)
def test_walk_along_the_search_path(bench: "Bench", name: str, asked: list[str]) -> None:
    client = bench.cluster().pod("default/client")
    assert client is not None
    assert list(candidates(name, search_of(client, Wiring()))) == asked


def test_a_name_with_five_dots_is_asked_alone_first(bench: "Bench") -> None:
    client = bench.cluster().pod("default/client")
    assert client is not None
    first = candidates("db-0.db.default.svc.cluster.local", search_of(client, Wiring()))[0]
    assert first == "db-0.db.default.svc.cluster.local."


def test_dns_config_changes_the_walk(bench: "Bench") -> None:
    config = {"searches": ["corp.example"], "options": [{"name": "ndots", "value": "1"}]}
    pod = bench.cluster(bench.pod("default/client", "10.244.1.5", dnsConfig=config)).pod(
        "default/client"
    )
    assert pod is not None
    search = search_of(pod, Wiring())
    assert candidates("a.b", search)[0] == "a.b."
    assert candidates("a", search)[3] == "a.corp.example."


NODES = Wiring(searches=("corp.example", "svc.cluster.local"), node_ndots=2)
OF_CLUSTER = ["a.default.svc.cluster.local.", "a.svc.cluster.local.", "a.cluster.local."]


@pytest.mark.parametrize(
    ("spec", "asked"),
    [
        ({}, [*OF_CLUSTER, "a.corp.example.", "a."]),
        ({"dnsPolicy": "Default"}, ["a.corp.example.", "a.svc.cluster.local.", "a."]),
        ({"hostNetwork": True}, ["a.corp.example.", "a.svc.cluster.local.", "a."]),
        (
            {"hostNetwork": True, "dnsPolicy": "ClusterFirstWithHostNet"},
            [*OF_CLUSTER, "a.corp.example.", "a."],
        ),
        ({"dnsPolicy": "None", "dnsConfig": {"searches": ["x.y"]}}, ["a.x.y.", "a."]),
        (
            {"dnsConfig": {"searches": ["x.y", "corp.example"]}},
            [*OF_CLUSTER, "a.corp.example.", "a.x.y.", "a."],
        ),
    ],
)
def test_pods_inherit_the_search_domains_of_their_node(
    bench: "Bench", spec: dict[str, object], asked: list[str]
) -> None:
    pod = bench.cluster(bench.pod("default/client", "10.244.1.5", **spec)).pod("default/client")
    assert pod is not None
    assert list(candidates("a", search_of(pod, NODES))) == asked


def test_what_runs_on_a_node_searches_as_the_node_does() -> None:
    assert candidates("a.b", search_of_node(NODES))[0] == "a.b.corp.example."
    assert candidates("a.b.c", search_of_node(NODES))[0] == "a.b.c."


@pytest.mark.parametrize(
    ("policy", "host_network", "uses"),
    [
        ("ClusterFirst", False, True),
        ("ClusterFirst", True, False),
        ("ClusterFirstWithHostNet", True, True),
        ("Default", False, False),
        ("None", False, False),
    ],
)
def test_who_asks_cluster_dns(
    bench: "Bench",
    policy: str,
    host_network: bool,  # noqa: FBT001 - a column of the table
    uses: bool,  # noqa: FBT001 - a column of the table
) -> None:
    spec = {"dnsPolicy": policy, "hostNetwork": host_network}
    pod = bench.cluster(bench.pod("default/client", "10.244.1.5", **spec)).pod("default/client")
    assert pod is not None
    assert uses_cluster_dns(pod) is uses


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (f"web-svc.default.{ZONE}", "A 10.96.14.7"),
        (f"WEB-SVC.Default.{ZONE}", "A 10.96.14.7"),
        (f"web-svc.other.{ZONE}", "NXDOMAIN"),
        (f"default.{ZONE}", "NODATA"),
        (f"nowhere.{ZONE}", "NXDOMAIN"),
        (ZONE, "NODATA"),
        (f"10-244-2-6.web-svc.default.{ZONE}", "A 10.244.2.6"),
        (f"headless.default.{ZONE}", "A 10.244.1.6, 10.244.2.6"),
        (f"10-244-1-6.headless.default.{ZONE}", "A 10.244.1.6"),
        (f"empty.default.{ZONE}", "NXDOMAIN"),
        (f"alias.default.{ZONE}", "A 10.96.14.7"),
        (f"away.default.{ZONE}", "elsewhere"),
        (f"broken.default.{ZONE}", "NODATA"),
        (f"loop.default.{ZONE}", "NODATA"),
        ("10-244-9-9.default.pod.cluster.local.", "A 10.244.9.9"),
        ("999-1-1-1.default.pod.cluster.local.", "NXDOMAIN"),
        ("web-svc.cluster.local.", "NXDOMAIN"),
        ("cluster.local.", "NODATA"),
        ("example.com.", "elsewhere"),
    ],
)
def test_what_cluster_dns_must_answer(bench: "Bench", name: str, expected: str) -> None:
    def alias(where: str, target: str) -> dict[str, object]:
        return bench.service(where, "", type="ExternalName", externalName=target)

    snapshot = bench.cluster(
        bench.service("default/headless", "None"),
        bench.slice("default/headless", "10.244.1.6, 10.244.2.6, 10.244.2.7 not-ready"),
        bench.service("default/empty", "None"),
        alias("default/alias", "web-svc.default.svc.cluster.local"),
        alias("default/away", "example.com"),
        alias("default/broken", "gone.default.svc.cluster.local"),
        alias("default/loop", "loop.default.svc.cluster.local"),
    )
    assert str(answer(snapshot, name, Wiring())) == expected
