"""What a pod is called from inside, and its /etc/hosts."""

import pytest

from podwire.emulator.kubelet.host_names import (
    HostNameError,
    domain_of,
    hosts_file,
    hosts_file_of_node,
    kernel_name_of,
)
from podwire.kube.objects import HostAlias, ObjectMeta, Pod, PodSpec

DOMAIN = "cluster.local"
LOCAL = (
    "127.0.0.1\tlocalhost\n"
    "::1\tlocalhost ip6-localhost ip6-loopback\n"
    "fe00::0\tip6-localnet\n"
    "fe00::0\tip6-mcastprefix\n"
    "fe00::1\tip6-allnodes\n"
    "fe00::2\tip6-allrouters\n"
)


def pod(
    name: str = "web-0", *, hostname: str = "", subdomain: str = "", whole: bool = False
) -> Pod:
    spec = PodSpec(hostname=hostname, subdomain=subdomain, set_hostname_as_fqdn=whole)
    return Pod(metadata=ObjectMeta(name=name, namespace="shop"), spec=spec)


@pytest.mark.parametrize(
    ("given", "name", "domain"),
    [
        (pod(), "web-0", ""),
        (pod(hostname="first"), "first", ""),
        (pod(hostname="first", subdomain="web"), "first", "web.shop.svc.cluster.local"),
        (pod(subdomain="web"), "web-0", "web.shop.svc.cluster.local"),
        (pod("a" * 70), "a" * 63, ""),
        (pod("a" * 62 + "-b"), "a" * 62, ""),
        (pod("a" * 61 + ".-b"), "a" * 61, ""),
        # Without a domain there is no whole name.
        (pod(hostname="first", whole=True), "first", ""),
        (
            pod(subdomain="web", whole=True),
            "web-0.web.shop.svc.cluster.local",
            "web.shop.svc.cluster.local",
        ),
        (
            pod("a" * 37, subdomain="web", whole=True),
            "a" * 37 + ".web.shop.svc.cluster.local",
            "web.shop.svc.cluster.local",
        ),
    ],
)
def test_the_host_name_of_a_pod(given: Pod, name: str, domain: str) -> None:
    assert kernel_name_of(given, DOMAIN) == name
    assert domain_of(given, DOMAIN) == domain


def test_a_whole_name_that_the_kernel_has_no_room_for() -> None:
    given = pod("a" * 38, subdomain="web", whole=True)
    whole = "a" * 38 + ".web.shop.svc.cluster.local"
    with pytest.raises(HostNameError) as raised:
        kernel_name_of(given, DOMAIN)
    assert str(raised.value) == (
        f"failed to construct FQDN from pod hostname and cluster domain, FQDN {whole} is too long "
        "(64 characters is the max, 65 characters requested)"
    )


@pytest.mark.parametrize(
    ("spec", "ending"),
    [
        (PodSpec(), "10.244.1.2\tweb-0\n"),
        (PodSpec(subdomain="web"), "10.244.1.2\tweb-0.web.shop.svc.cluster.local\tweb-0\n"),
        (
            PodSpec(subdomain="web", set_hostname_as_fqdn=True),
            "10.244.1.2\tweb-0.web.shop.svc.cluster.local\tweb-0\n",
        ),
        (
            PodSpec(host_aliases=(HostAlias(ip="192.0.2.1", hostnames=("a", "b")),)),
            "10.244.1.2\tweb-0\n\n# Entries added by HostAliases.\n192.0.2.1\ta\tb\n",
        ),
    ],
)
def test_the_hosts_file_of_a_pod(spec: PodSpec, ending: str) -> None:
    given = Pod(metadata=ObjectMeta(name="web-0", namespace="shop"), spec=spec)
    text = hosts_file(given, "10.244.1.2", DOMAIN)
    assert text == "# Kubernetes-managed hosts file.\n" + LOCAL + ending


def test_the_hosts_file_of_a_pod_in_its_nodes_network() -> None:
    aliases = (HostAlias(ip="192.0.2.1", hostnames=("a",)),)
    spec = PodSpec(host_network=True, subdomain="web", host_aliases=aliases)
    text = hosts_file_of_node(Pod(spec=spec), "node-1", "192.168.1.10")
    assert text == (
        "# Kubernetes-managed hosts file (host network).\n"
        + LOCAL
        + "192.168.1.10\tnode-1\n\n# Entries added by HostAliases.\n192.0.2.1\ta\n"
    )
