"""CoreDNS' objects: the Corefile is kubeadm's and the server can read it."""

from typing import Any

import pytest

from podwire.dns.corefile.corefile import parse
from podwire.dns.registry import PLUGINS
from podwire.emulator import coredns
from podwire.emulator.addons import addons, descriptions

KUBEADM = """\
.:53 {
    errors
    health {
       lameduck 5s
    }
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {
       pods insecure
       fallthrough in-addr.arpa ip6.arpa
       ttl 30
    }
    prometheus :9153
    forward . /etc/resolv.conf {
       max_concurrent 1000
    }
    cache 30 {
       disable success cluster.local
       disable denial cluster.local
    }
    loop
    reload
    loadbalance
}
"""
NETWORK = {
    "domain": "cluster.local", "dns": "10.96.0.10", "pods": "10.244.0.0/16",
    "services": "10.96.0.0/12", "external": "203.0.113.1", "backend": "vxlan",
}  # fmt: skip


def test_the_corefile_is_kubeadms() -> None:
    assert coredns.corefile("cluster.local") == KUBEADM


@pytest.mark.parametrize("upstream", ["/etc/resolv.conf", ""])
def test_the_server_knows_every_plugin_of_it(upstream: str) -> None:
    text = coredns.corefile("corp.example", upstream=upstream)
    (block,) = parse(text, name="Corefile", environ={}, read=lambda _file, _pattern: [])
    names = [one.name for one in block.directives]
    assert ("forward" in names) == bool(upstream)
    assert set(names) <= set(PLUGINS)


def test_the_account_is_there_before_the_pods_that_have_it() -> None:
    kinds = [f"{one['kind']} {one['metadata']['name']}" for one in addons(NETWORK, "userspace", {})]
    assert kinds.index("ServiceAccount coredns") < kinds.index("Deployment coredns")
    assert kinds.index("ConfigMap coredns") < kinds.index("Deployment coredns")


def test_another_corefile_may_be_given() -> None:
    given: dict[str, Any] = next(
        one
        for one in descriptions(NETWORK, "userspace", ". {\n}\n")
        if (one["kind"], one["metadata"]["name"]) == ("ConfigMap", "coredns")
    )
    assert given["data"] == {"Corefile": ". {\n}\n"}


def test_the_pods_mount_what_they_are_told_to_read() -> None:
    spec = coredns.deployment()["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    assert {one["name"] for one in container["volumeMounts"]} == {
        one["name"] for one in spec["volumes"]
    }
    ports = {one["name"] for one in container["ports"]}
    assert container["readinessProbe"]["httpGet"]["port"] in ports
    assert container["livenessProbe"]["httpGet"]["port"] in ports
