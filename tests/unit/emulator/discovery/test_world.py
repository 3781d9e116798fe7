"""All containers together: whose node, whose pod, who is in the way."""

from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any

import pytest

from podwire.emulator.discovery.facts import Container
from podwire.emulator.discovery.world import World, arrange
from podwire.kube.names import Key

NODES = ("node-a-1", "node-b-1")


class Project:
    """The recorded containers, which a test may relabel."""

    def __init__(self, recorded: Any) -> None:
        self._recorded = recorded
        self.there: dict[str, Container] = {}

    def has(self, *names: str) -> "Project":
        for name in names:
            self.there[name] = self._recorded.container(name)
        return self

    def change(self, name: str, **fields: Any) -> "Project":
        self.there[name] = replace(self.there[name], **fields)
        return self

    def label(self, name: str, **labels: str) -> "Project":
        ours = {f"podwire.dev/{key.replace('_', '-')}": value for key, value in labels.items()}
        return self.change(name, labels={**self.there[name].labels, **ours})

    def arranged(self) -> World:
        return arrange(self.there.values(), self._recorded.known_networks())

    def mistakes(self) -> list[str]:
        return [f"{one.reason}: {one.text}" for one in self.arranged().mistakes]


@pytest.fixture
def project(recorded: Any) -> Project:
    return Project(recorded)


def test_nodes(project: Project) -> None:
    world = project.has(*NODES).arranged()
    node = world.nodes["node-a"]
    assert node.address == IPv4Address("10.194.0.11")
    assert node.labels == {"zone": "a"}
    assert node.pods_network_id == node.container.networks[1].network_id
    assert {str(key) for key in world.pods} == {
        "kube-system/kube-proxy-node-a",
        "kube-system/kube-proxy-node-b",
    }


@pytest.mark.parametrize(
    ("name", "key", "node"),
    [
        ("web-1", "default/web-1", "node-a"),
        ("client-1", "shop/client", "node-b"),
        ("done-1", "default/done", "node-a"),  # has no address any more
    ],
)
def test_a_pod_is_on_the_node_whose_network_it_is_on(
    project: Project, name: str, key: str, node: str
) -> None:
    pods = {str(key): pod for key, pod in project.has(*NODES, name).arranged().pods.items()}
    assert pods[key].node == node


def test_before_the_first_start_only_the_names_of_networks_are_known(project: Project) -> None:
    project.has(*NODES, "web-1")
    for name in (*NODES, "web-1"):
        there = project.arranged().nodes
        project.change(
            name,
            status="created",
            networks=tuple(
                replace(one, network_id="", address=None) for one in project.there[name].networks
            ),
        )
        assert project.arranged().nodes.keys() == there.keys()
    pod = project.arranged().pods[Key("default", "web-1")]
    assert (pod.node, pod.address, pod.node_up) == ("node-a", None, False)


@pytest.mark.parametrize(
    ("there", "labels", "mistake"),
    [
        (
            ("lost-1",), {},
            "NoPodNetwork: container h2c-lost-1: label podwire.dev/pod: the container is on no"
            " network for pods, but on: h2c_nodes (10.194.0.0/24); put it on a network with one of"
            " the ranges: 10.195.1.0/24 of node-a, 10.195.2.0/24 of node-b",
        ),
        (
            ("astray-1",), {},
            'WrongNode: container h2c-astray-1: label podwire.dev/node: "node-b" has the range'
            " 10.195.2.0/24, and the container is on the network of node-a (10.195.1.0/24):"
            " change one of the two",
        ),
        (
            ("web-1",), {"node": "node-x"},
            'UnknownNode: container h2c-web-1: label podwire.dev/node: "node-x" is no node; nodes'
            " are: node-a, node-b",
        ),
        (
            ("client-1", "twin-1"), {},
            "DuplicatePodName: container h2c-twin-1: label podwire.dev/pod: pod shop/client is"
            " container h2c-client-1, which is older and keeps the name; podwire.dev/pod: twin-*"
            " would give each a name of its own",
        ),
        (
            ("lost-1",), {"node": "node-a", "pod": "", "pod_cidr": "10.195.1.0/24"},
            "DuplicateNodeName: container h2c-lost-1: label podwire.dev/node: node node-a is"
            " container h2c-node-a-1, which is older; give one of them another name",
        ),
        (
            ("lost-1",), {"node": "node-c", "pod": "", "pod_cidr": "10.195.0.0/16"},
            "InvalidLabel: container h2c-lost-1: label podwire.dev/pod-cidr: 10.195.0.0/16"
            " overlaps 10.195.1.0/24, the range of node-a",
        ),
        (
            ("lost-1",), {"node": "node-c", "pod": "", "pod_cidr": "10.9.0.0/16"},
            "InvalidLabel: container h2c-lost-1: label podwire.dev/pod-cidr: 10.9.0.0/16 is the"
            " range of none of its networks: h2c_nodes (10.194.0.0/24)",
        ),
        (
            ("pair-1", "pair-app-1", "pair-log-1"), {"container": "app"},
            "DuplicateContainerName: container h2c-pair-log-1: pod default/pair has a container app"
            " already; give this one another name: podwire.dev/container",
        ),
    ],
)  # fmt: skip
def test_mistakes_that_take_two(
    project: Project, there: tuple[str, ...], labels: dict[str, str], mistake: str
) -> None:
    project.has(*NODES, *there).change(there[-1], created=9e9)
    if labels:
        project.label(there[-1], **labels)
    assert project.mistakes() == [mistake]
    # The counterpart: before it runs it is no mistake, for Compose makes all containers first.
    project.change(there[-1], status="created")
    assert [one for one in project.mistakes() if "overlaps" not in one] == []


def test_a_pod_on_the_networks_of_two_nodes(project: Project) -> None:
    project.has(*NODES, "web-1", "client-1")
    both = (*project.there["web-1"].networks, *project.there["client-1"].networks)
    project.change("web-1", networks=both)
    [mistake] = project.mistakes()
    assert "is on the networks of node-a, node-b, and a pod is on one node" in mistake
    project.label("web-1", node="node-b")
    pod = project.arranged().pods[Key("default", "web-1")]
    assert (pod.node, pod.address) == ("node-b", both[1].address)


def test_a_pause_container_is_not_listed_and_its_guests_are(project: Project) -> None:
    project.has(*NODES, "pair-1")
    assert Key("default", "pair") not in project.arranged().pods
    project.has("pair-app-1", "pair-log-1").label("pair-1", ports="80")
    pod = project.arranged().pods[Key("default", "pair")]
    # Recorded after a restart of pair: their network is gone.
    assert {(one.name, one.cut_off) for one in pod.members} == {("app", True), ("pair-log", True)}
    assert 80 in [port.number for port in pod.members[0].ports]
    assert pod.sandbox.name == "h2c-pair-1"
    project.label("pair-1", pause="false", container="main")
    assert project.arranged().pods[Key("default", "pair")].members[0].name == "main"


def test_guests_of_who_is_no_pod_take_no_part(project: Project) -> None:
    project.has(*NODES, "pair-1", "pair-app-1").label("pair-1", pod="", pause="", labels="")
    assert project.mistakes() == []
    assert len(project.arranged().pods) == 2


def test_guests_of_who_was_removed_are_told_how_to_come_back(project: Project) -> None:
    project.has(*NODES, "pair-app-1")
    [mistake] = project.mistakes()
    assert mistake.startswith("NetworkLost: container h2c-pair-app-1: the container whose network")
    assert (
        "is gone, or of another cluster: docker compose up -d --force-recreate pair-app" in mistake
    )
    project.change("pair-app-1", status="exited")
    assert project.mistakes() == []
