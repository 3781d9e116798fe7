"""metrics.k8s.io: the agent's figures as metrics-server would say them."""

from typing import Any

import msgspec
import pytest

from podwire.emulator.apiserver import metrics
from podwire.emulator.apiserver.agent import ContainerUsage, NodeUsage, PodUsage, Usages
from podwire.emulator.apiserver.negotiate import PLAIN, Form
from podwire.emulator.apiserver.render import render
from podwire.emulator.apiserver.statuses import Refused
from podwire.testing.agent import FakeAgent
from podwire.testing.apiserver import SilentServer

Json = dict[str, Any]

URL = "/apis/metrics.k8s.io/v1beta1"
AT = 1_700_000_000.0
USAGES = Usages(
    (
        PodUsage(
            "default",
            "web",
            AT,
            15.5,
            (ContainerUsage("a", 250_000_000, 4096), ContainerUsage("b", 7, 5 << 20)),
        ),
        PodUsage("default", "gone", AT, 15.0, (ContainerUsage("a", 1, 1),)),
    ),
    (NodeUsage("node-1", AT, 15.0, 1_500_000_000, 1 << 30),),
)
WEB = {
    "kind": "PodMetrics",
    "apiVersion": "metrics.k8s.io/v1beta1",
    "metadata": {
        "name": "web",
        "namespace": "default",
        "creationTimestamp": "2023-11-14T22:13:20Z",
        "labels": {"app": "web"},
    },
    "timestamp": "2023-11-14T22:13:20Z",
    "window": "15.5s",
    "containers": [
        {"name": "a", "usage": {"cpu": "250000000n", "memory": "4Ki"}},
        {"name": "b", "usage": {"cpu": "7n", "memory": "5120Ki"}},
    ],
}


@pytest.fixture
def server() -> SilentServer:
    made = SilentServer()
    made.must("POST /api/v1/namespaces", {"metadata": {"name": "default"}})
    account = {"metadata": {"name": "default"}}
    made.must("POST /api/v1/namespaces/default/serviceaccounts", account)
    made.must("POST /api/v1/nodes", {"metadata": {"name": "node-1", "labels": {"zone": "a"}}})
    for name in ("web", "young"):
        spec = {"nodeName": "node-1", "containers": [{"name": "a", "image": "x"}]}
        pod = {"metadata": {"name": name, "labels": {"app": name}}, "spec": spec}
        made.must("POST /api/v1/namespaces/default/pods", pod)
    return made


async def ask(server: SilentServer, path: str, form: Form = PLAIN) -> Json:
    request = server.request(f"GET {URL}{path}")
    answer = await metrics.answer(server.api, FakeAgent(usages=USAGES), request)
    document: Json = msgspec.json.decode(render(answer, form, now=AT))
    return document


async def names(server: SilentServer, path: str) -> list[str]:
    return [one["metadata"]["name"] for one in (await ask(server, path))["items"]]


async def test_one_pod(server: SilentServer) -> None:
    assert await ask(server, "/namespaces/default/pods/web") == WEB


async def test_what_pods_and_nodes_use_is_listed(server: SilentServer) -> None:
    listing = await ask(server, "/pods")
    assert (listing["kind"], listing["items"]) == ("PodMetricsList", [WEB])
    listing = await ask(server, "/nodes")
    assert listing["kind"] == "NodeMetricsList"
    (node,) = listing["items"]
    assert node["metadata"]["labels"] == {"zone": "a"}
    assert (node["usage"], node["window"]) == ({"cpu": "1500000000n", "memory": "1048576Ki"}, "15s")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["web"]),
        ("?labelSelector=app%3Dweb", ["web"]),
        ("?labelSelector=app%3Dother", []),
        ("?fieldSelector=spec.nodeName%3Dnode-1", ["web"]),
        ("?fieldSelector=metadata.name%3Dnobody", []),
    ],
)
async def test_selectors_choose_by_the_pods_themselves(
    server: SilentServer, query: str, expected: list[str]
) -> None:
    assert await names(server, f"/namespaces/default/pods{query}") == expected
    assert await names(server, f"/namespaces/other/pods{query}") == []


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/namespaces/default/pods/no", 'podmetrics.metrics.k8s.io "default/no" not found'),
        # It has just begun.
        ("/namespaces/default/pods/young", 'podmetrics.metrics.k8s.io "default/young" not found'),
        # Its figures are there still, and it is not.
        ("/namespaces/default/pods/gone", 'podmetrics.metrics.k8s.io "default/gone" not found'),
        ("/nodes/no", 'nodemetrics.metrics.k8s.io "no" not found'),
    ],
)
async def test_what_is_not_there(server: SilentServer, path: str, message: str) -> None:
    with pytest.raises(Refused) as raised:
        await ask(server, path)
    assert (raised.value.code, raised.value.status["message"]) == (404, message)


async def test_kubectl_get_shows_a_table(server: SilentServer) -> None:
    table = await ask(server, "/namespaces/default/pods", Form("table"))
    assert [column["name"] for column in table["columnDefinitions"]] == [
        "Name",
        "Cpu",
        "Memory",
        "Window",
    ]
    assert [row["cells"] for row in table["rows"]] == [["web", "250000007n", "5124Ki", "15.5s"]]
