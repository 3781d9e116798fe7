"""k8s_external: what it takes from the kubernetes plugin, and whom else it asks."""

import pytest

from podwire.dns.cluster.watched import WatchedService
from podwire.dns.configuration import Configuration
from podwire.dns.corefile.corefile import CorefileError
from podwire.dns.plugins.kubernetes import Kubernetes
from podwire.kube.codec import convert
from podwire.kube.objects import Namespace
from tests.unit.dns.corefiles import Bench, ask, block, plugin_of, shown

ELSEWHERE = (
    "template IN A lb.test {",
    'answer "{{ .Name }} 60 IN A 192.0.2.1"',
    "}",
)


def server(*lines: str) -> Configuration:
    """Return a server whose cluster has one Service with an address and one with a host name."""
    text = block("k8s_external out.test {", *lines, "}", "kubernetes cluster.local", *ELSEWHERE)
    configuration = Bench().configure(text)
    plugin = plugin_of(configuration, "kubernetes")
    assert isinstance(plugin, Kubernetes)
    plugin.table.change_namespace(None, convert(Namespace, {"metadata": {"name": "shop"}}))
    for name, ingress in (("web", {"ip": "198.51.100.7"}), ("far", {"hostname": "www.lb.test"})):
        service = {
            "metadata": {"name": name, "namespace": "shop"},
            "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]},
            "status": {"loadBalancer": {"ingress": [ingress]}},
        }
        plugin.table.change_service(None, convert(WatchedService, service), now=1)
    plugin.table.synced()
    return configuration


@pytest.mark.parametrize(
    ("lines", "name", "kind", "expected"),
    [
        ([], "web.shop.out.test.", "A", ["NOERROR aa", "web.shop.out.test. 5 A 198.51.100.7"]),
        (
            ["ttl 9"],
            "web.shop.out.test.",
            "A",
            ["NOERROR aa", "web.shop.out.test. 9 A 198.51.100.7"],
        ),
        (
            [],
            "far.shop.out.test.",
            "A",
            [
                "NOERROR aa",
                "far.shop.out.test. 5 CNAME www.lb.test.",
                "www.lb.test. 60 A 192.0.2.1",
            ],
        ),
        (
            [],
            "far.shop.out.test.",
            "SRV",
            [
                "NOERROR aa",
                "far.shop.out.test. 5 SRV 0 100 80 www.lb.test.",
                "additional: www.lb.test. 60 A 192.0.2.1",
            ],
        ),
        (
            ["apex Name"],
            "out.test.",
            "SOA",
            [
                "NOERROR aa",
                "out.test. 5 SOA ns1.name.out.test. hostmaster.name.out.test. 1 7200 1800 86400 5",
            ],
        ),
        (["fallthrough"], "none.shop.out.test.", "A", ["SERVFAIL"]),
    ],
)
async def test_answers(lines: list[str], name: str, kind: str, expected: list[str]) -> None:
    assert shown(await ask(server(*lines), name, kind)) == expected


async def test_without_kubernetes_it_does_not_start() -> None:
    configuration = Bench().configure(block("errors", "k8s_external out.test"))
    with pytest.raises(CorefileError, match=r"Corefile:3 .*kubernetes plugin not loaded"):
        async with plugin_of(configuration, "k8s_external").run():
            pass
