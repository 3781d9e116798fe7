"""What a container is, by its labels; and what is said when they make no sense."""

from dataclasses import replace
from ipaddress import IPv4Network
from typing import Any

import pytest

from podwire.emulator.discovery.facts import Container
from podwire.emulator.discovery.labels import (
    MemberLabels,
    Mistake,
    NodeLabels,
    PodLabels,
    Port,
    belongs,
    meaning,
)
from podwire.kube.names import Key

ID = "0123456789abcdef" * 4
COMPOSE = "com.docker.compose."


def container(text: str = "", *, joined: str = "", **compose: str) -> Container:
    """Return a container with labels of ours, `pod=web ports=80`, and those of Compose."""
    ours = dict(item.split("=", 1) for item in text.split())
    labels = {f"podwire.dev/{name}": value for name, value in ours.items()}
    labels |= {COMPOSE + name.replace("_", "-"): value for name, value in compose.items()}
    return Container(ID, "box", labels, joined=joined)


@pytest.mark.parametrize(
    ("labels", "key"),
    [
        ("pod=web", "default/web"),
        ("pod=web namespace=shop", "shop/web"),
        ("pod=web-*", "default/web-01234"),
        ("pod=web.example.com", "default/web.example.com"),
    ],
)
def test_the_name_of_a_pod(labels: str, key: str) -> None:
    found = meaning(container(labels))
    assert isinstance(found, PodLabels)
    assert str(found.key) == key


def test_a_star_is_the_number_that_compose_gives() -> None:
    found = meaning(container("pod=web-*", container_number="3", service="web"))
    assert isinstance(found, PodLabels)
    assert found.key == Key("default", "web-3")
    assert found.container == "web"


def test_a_one_off_container_is_a_pod_of_its_own_and_gets_no_traffic() -> None:
    one_off = container("pod=web-* labels=app=web", container_number="1", oneoff="True")
    found = meaning(one_off)
    assert isinstance(found, PodLabels)
    assert found.key == Key("default", "web-run-01234")
    assert found.labels == {}


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        ("ports=80", [Port(80)]),
        ("ports=http=80,dns=53/udp,9100", [Port(80, "http"), Port(53, "dns", "UDP"), Port(9100)]),
        ("ports=80/TCP,", [Port(80)]),
        ("ports=", []),
    ],
)
def test_ports(labels: str, found: list[Port]) -> None:
    pod = meaning(container(f"pod=web {labels}"))
    assert isinstance(pod, PodLabels)
    assert list(pod.ports) == found


def test_labels_and_the_names_of_containers() -> None:
    pod = meaning(container("pod=web labels=app=web,example.com/tier=front,empty= container=main"))
    assert isinstance(pod, PodLabels)
    assert pod.labels == {"app": "web", "example.com/tier": "front", "empty": ""}
    assert pod.container == "main"
    named = meaning(replace(container("pod=web"), name="My_Box.1"))
    assert isinstance(named, PodLabels)
    assert named.container == "my-box-1"


def test_the_subdomain_of_a_pod() -> None:
    found = meaning(container("pod=db-* subdomain=db", container_number="2"))
    assert isinstance(found, PodLabels)
    assert (found.key.name, found.subdomain) == ("db-2", "db")


def test_a_node() -> None:
    node = meaning(container("node=node-a pod-cidr=10.244.1.0/24 labels=zone=a"))
    assert node == NodeLabels("node-a", IPv4Network("10.244.1.0/24"), {"zone": "a"})


def test_who_shares_a_network_is_a_container_of_that_pod() -> None:
    assert meaning(container(joined="abc", service="app")) == MemberLabels("abc", (), "app")
    found = meaning(container("container=log ports=9100", joined="abc"))
    assert found == MemberLabels("abc", (Port(9100),), "log")


@pytest.mark.parametrize("labels", ["", "cluster=one", "pod=", "node="])
def test_no_part_of_the_cluster(labels: str) -> None:
    assert meaning(container(labels)) is None


QUALIFIED = "must consist of alphanumeric characters, '-', '_' or '.'"


@pytest.mark.parametrize(
    ("labels", "texts"),
    [
        ("pod=Web_1", ['label podwire.dev/pod: Invalid value: "Web_1": a lowercase RFC 1123 sub']),
        ("pod=web namespace=a.b", ['podwire.dev/namespace: Invalid value: "a.b": must not contain']),
        ("pod=web node=Node", ['podwire.dev/node: Invalid value: "Node": a lowercase RFC 1123']),
        ("pod=web node=a.b", ['podwire.dev/node: Invalid value: "a.b": must not contain dots']),
        ("node=a.b pod-cidr=10.244.1.0/24", ['podwire.dev/node: Invalid value: "a.b": must not contain dots']),
        (f"node={'a' * 64} pod-cidr=10.244.1.0/24", ["must be no more than 63"]),
        ("pod=web subdomain=a.b", ['podwire.dev/subdomain: Invalid value: "a.b": must not contain']),
        ("pod=a.b subdomain=db", ["has no effect: the pod's name a.b is no single DNS label"]),
        ("subdomain=db", ["podwire.dev/subdomain", "has no effect without podwire.dev/pod"]),
        ("pod=web container=a_b", ['podwire.dev/container: Invalid value: "a_b": a lowercase']),
        ("pod=web pause=yes", ['podwire.dev/pause: Invalid value: "yes": must be "true" or "false"']),
        ("pod=web labels=app", ["must be KEY=VALUE pairs separated by commas (e.g. 'app=web"]),
        ("pod=web labels=-a=b", [QUALIFIED]),
        ("pod=web labels=a=-b", ["a valid label must be an empty string or consist of"]),
        ("pod=web ports=http:80", ['Invalid value: "http:80": must be ports separated by commas']),
        ("pod=web ports=80/icmp", ["must be ports separated by commas"]),
        ("pod=web ports=0", ["must be between 1 and 65535, inclusive"]),
        ("pod=web ports=70000", ["must be between 1 and 65535, inclusive"]),
        ("pod=web ports=HTTP=80", ["must contain only alpha-numeric characters (a-z, 0-9)"]),
        ("pod=web ports=a=80,a=81", ["Duplicate value: 'a'"]),
        ("pod=web lables=app=web", ["label podwire.dev/lables is unknown; there are podwire.dev/pod,"]),
        ("pods=web", ["label podwire.dev/pods is unknown; there are podwire.dev/pod,"]),
        ("pod=Web ports=0", ['"Web": a lowercase', "must be between 1"]),
        ("labels=app=web", ["podwire.dev/labels", "has no effect without podwire.dev/pod"]),
        ("pod-cidr=10.0.0.0/24", ["has no effect without podwire.dev/node"]),
        ("node=node-a", ["label podwire.dev/pod-cidr: Required value: the range of the node's pods"]),
        ("node=node-a pod-cidr=10.244.1.1/24", ["must be a valid IPv4 CIDR value, (e.g. 10.244.1.0"]),
        ("node=node-a pod-cidr=fd00::/64", ["must be a valid IPv4 CIDR value"]),
    ],
)  # fmt: skip
def test_mistakes_name_container_label_and_what_is_allowed(labels: str, texts: list[str]) -> None:
    found = meaning(container(labels))
    assert isinstance(found, Mistake)
    assert found.reason == "InvalidLabel"
    assert found.text.startswith("container box: label podwire.dev/")
    for text in texts:
        assert text in found.text


@pytest.mark.parametrize("label", ["pod=web", "namespace=shop", "labels=a=b", "node=node-a"])
def test_only_the_owner_of_a_network_says_which_pod_it_is(label: str) -> None:
    assert isinstance(meaning(container(label, joined="abc")), Mistake)


@pytest.mark.parametrize(
    ("labels", "ours"),
    [
        ({"podwire.dev/cluster": "one"}, True),
        ({"podwire.dev/cluster": "two"}, False),
        ({COMPOSE + "project": "one"}, True),
        ({COMPOSE + "project": "two"}, False),
        ({COMPOSE + "project": "two", "podwire.dev/cluster": "one"}, True),
        ({COMPOSE + "project": "one", "podwire.dev/cluster": "two"}, False),
        ({COMPOSE + "project": "one", "podwire.dev/cluster": ""}, True),
        ({"podwire.dev/cluster": "one", "podwire.dev/made-by": "one"}, False),
        ({}, False),
    ],
)
def test_whose_container_it_is(labels: dict[str, str], ours: Any) -> None:
    assert belongs(labels, "one") is ours
