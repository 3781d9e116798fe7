"""What the kubelet says of a pod's resolver and of its name, and which files it writes."""

from pathlib import Path
from typing import Any

import pytest

from podwire.testing.jumps import JumpingLoop
from tests.unit.emulator.kubelet.conftest import Node, World

LOOPS = {"jumping": JumpingLoop}
LONG = "a" * 45


def file(world: World, path: str) -> str:
    bind = next(b for b in world.runtime.requests[0].binds if b.path == path)
    return Path(bind.source).read_text()


@pytest.mark.parametrize(
    ("spec", "resolver"),
    [
        ({}, "nameserver 10.96.0.10\nsearch default.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n"),
        ({"dnsPolicy": "Default"}, "nameserver 192.168.1.1\n"),
        ({"hostNetwork": True}, "nameserver 192.168.1.1\n"),
        ({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["192.0.2.9"]}}, "nameserver 192.0.2.9\n"),
    ],
)  # fmt: skip
async def test_the_file_follows_the_policy(node: Node, spec: dict[str, Any], resolver: str) -> None:
    async with node() as world:
        await world.pod(**spec)
        await world.until(world.ready)
        assert file(world, "/etc/resolv.conf") == resolver
        assert world.events(reason="DNSConfigForming") == []


async def test_what_does_not_fit_is_said(node: Node) -> None:
    async with node() as world:
        config = {
            "nameservers": ["192.0.2.1", "192.0.2.2", "192.0.2.3"],
            "searches": [f"d{number}.example" for number in range(30)],
        }
        await world.pod(dnsConfig=config)
        await world.until(lambda: len(world.events(reason="DNSConfigForming")) == 2)
        nameservers, searches = world.events(reason="DNSConfigForming")
        assert nameservers == (
            "DNSConfigForming: Nameserver limits were exceeded, some nameservers have been "
            "omitted, the applied nameserver line is: 10.96.0.10 192.0.2.1 192.0.2.2"
        )
        assert searches.startswith(
            "DNSConfigForming: Search Line limits were exceeded, some search paths have been "
            "omitted, the applied search line is: default.svc.cluster.local svc.cluster.local "
            "cluster.local d0.example "
        )
        assert searches.endswith(" d28.example")
        await world.until(world.ready)


async def test_a_kubelet_without_cluster_dns_says_so_of_the_pod_and_of_itself(node: Node) -> None:
    async with node() as world:
        world.kubelet.context.cluster_dns = ""
        await world.pod()
        await world.until(world.ready)
        found = world.get()
        assert found is not None
        said = (
            "kubelet does not have ClusterDNS IP configured and cannot create Pod using "
            '"ClusterFirst" policy. Falling back to "Default" policy.'
        )
        # That of the node is written first.
        await world.until(lambda: world.events(reason="MissingClusterDNS"))
        assert world.events(reason="MissingClusterDNS") == [
            f'MissingClusterDNS: pod: "web_default({found.metadata.uid})". {said}'
        ]
        assert world.events("node-1", reason="MissingClusterDNS") == [f"MissingClusterDNS: {said}"]
        assert file(world, "/etc/resolv.conf") == "nameserver 192.168.1.1\n"


async def test_a_whole_name_is_the_kernels_and_the_variables(node: Node) -> None:
    async with node() as world:
        await world.pod(hostname="first", subdomain="web", setHostnameAsFQDN=True)
        await world.until(world.ready)
        whole = "first.web.default.svc.cluster.local"
        assert world.runtime.requests[0].environ["HOSTNAME"] == whole
        assert file(world, "/etc/hostname") == f"{whole}\n"
        assert file(world, "/etc/hosts").endswith(f"10.244.1.2\t{whole}\tfirst\n")


async def test_a_whole_name_that_is_too_long_keeps_the_pod_from_starting(node: Node) -> None:
    async with node() as world:
        await world.pod(hostname=LONG, subdomain="web", setHostnameAsFQDN=True)
        await world.until(lambda: world.events(reason="FailedCreatePodSandBox"))
        whole = f"{LONG}.web.default.svc.cluster.local"
        assert world.events(reason="FailedCreatePodSandBox")[0].startswith(
            "FailedCreatePodSandBox: Failed to create pod sandbox: failed to construct FQDN from "
            f"pod hostname and cluster domain, FQDN {whole} is too long "
            f"(64 characters is the max, {len(whole)} characters requested)"
        )
        assert (world.phase(), world.states()) == ("Pending", "waiting ContainerCreating")
        await world.delete()
        await world.until(lambda: world.phase() == "gone")


async def test_a_pod_in_its_nodes_network_has_its_nodes_name(node: Node) -> None:
    async with node() as world:
        await world.pod(hostNetwork=True, hostname="first", subdomain="web", setHostnameAsFQDN=True)
        await world.until(world.ready)
        assert file(world, "/etc/hostname") == "node-1\n"
        hosts = file(world, "/etc/hosts")
        assert hosts.startswith("# Kubernetes-managed hosts file (host network).\n127.0.0.1\t")
        assert hosts.endswith("192.168.1.10\tnode-1\n")
