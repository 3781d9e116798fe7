import msgspec
import pytest

from podwire.emulator.controllers.nodes.scheduling import (
    Placements,
    Unschedulable,
    choose,
    wants_scheduling,
)
from podwire.kube.codec import convert
from podwire.kube.objects import Container, ContainerPort, Node, Pod, PodSpec, Taint
from podwire.testing import build

WEB = build.replica_set("web")
DB = build.replica_set("db")
NODES = [build.node(f"node-{n}") for n in (1, 2, 3)]


def placed(text: str) -> Placements:
    """Read `web node-1, db node-2`: which ReplicaSet has a pod where."""
    placements = Placements()
    for number, item in enumerate(filter(None, text.split(", "))):
        owner, node = item.split()
        placements.put(build.pod(f"{owner}-{number}", owner=WEB if owner == "web" else DB), node)
    return placements


@pytest.mark.parametrize(
    ("there", "goes_to"),
    [
        ("", "node-1"),
        ("web node-1", "node-2"),
        ("web node-1, web node-2", "node-3"),
        ("web node-1, web node-2, web node-3", "node-1"),
        ("db node-1", "node-2"),
        ("db node-1, db node-2, web node-3", "node-1"),
        ("web node-1, db node-2, db node-2, db node-3", "node-3"),
        ("web node-1, db node-2, db node-2, db node-3, db node-3, db node-3", "node-2"),
    ],
)
def test_pods_of_one_owner_spread_first(there: str, goes_to: str) -> None:
    assert choose(build.pod("web-new", owner=WEB), NODES, placed(there)) == goes_to


def test_pods_without_owner_spread_too() -> None:
    placements = Placements()
    where: list[str] = []
    for number in range(6):
        pod = build.pod(f"lone-{number}")
        node = choose(pod, NODES, placements)
        assert isinstance(node, str)
        placements.put(pod, node)
        where.append(node)
    assert sorted(where) == ["node-1", "node-1", "node-2", "node-2", "node-3", "node-3"]


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([], "no nodes available to schedule pods"),
        (
            NODES,
            "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector. "
            "preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling.",
        ),
        (
            [
                build.node("node-1", unschedulable=True),
                build.node("node-2", taints=[Taint(key="k", value="v", effect="NoSchedule")]),
                build.node("node-3"),
            ],
            "0/3 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, "
            "1 node(s) had untolerated taint {k: v}, 1 node(s) were unschedulable. "
            "preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling.",
        ),
    ],
)
def test_no_node_fits(nodes: list[Node], message: str) -> None:
    pod = build.pod("picky")
    picky = msgspec.structs.replace(
        pod, spec=msgspec.structs.replace(pod.spec, node_selector={"disk": "ssd"})
    )
    assert choose(picky, nodes, Placements()) == Unschedulable(message)


def test_only_ports_could_be_freed_by_others() -> None:
    port = ContainerPort(container_port=80, host_port=80)
    spec = PodSpec(containers=(Container(name="main", ports=(port,)),))
    placements = Placements()
    for node in ("node-2", "node-3"):
        placements.put(build.pod(f"on-{node}", spec=spec), node)
    nodes = [build.node("node-1", unschedulable=True), *NODES[1:]]
    assert choose(build.pod("late", spec=spec), nodes, placements) == Unschedulable(
        "0/3 nodes are available: 1 node(s) were unschedulable, 2 node(s) didn't have free ports "
        "for the requested pod ports. preemption: 0/3 nodes are available: 1 Preemption is not "
        "helpful for scheduling, 2 No preemption victims found for incoming pod."
    )


def sized(name: str, node: str = "", **requests: str) -> Pod:
    container = {"name": "main", "resources": {"requests": requests}}
    spec = {"containers": [container], "nodeName": node}
    return convert(Pod, {"metadata": {"name": name, "uid": name}, "spec": spec})


def with_cpu(name: str, cpu: str) -> Node:
    status = {"allocatable": {"cpu": cpu, "memory": "1Gi", "pods": "110"}}
    return convert(Node, {"metadata": {"name": name}, "status": status})


def test_requests_fill_nodes() -> None:
    nodes = [with_cpu("node-1", "1"), with_cpu("node-2", "2")]
    placements = Placements()
    assert choose(sized("a", cpu="900m"), nodes, placements) == "node-1"
    placements.put(sized("a", cpu="900m"), "node-1")
    assert choose(sized("b", cpu="2"), nodes, placements) == "node-2"
    placements.put(sized("b", cpu="2"), "node-2")
    assert choose(sized("c", cpu="200m", memory="2Gi"), nodes, placements) == Unschedulable(
        "0/2 nodes are available: 2 Insufficient cpu, 2 Insufficient memory. preemption: "
        "0/2 nodes are available: 2 No preemption victims found for incoming pod."
    )
    assert choose(sized("d", cpu="100m"), nodes, placements) == "node-1"
    placements.remove("b")
    assert choose(sized("e", cpu="2"), nodes, placements) == "node-2"


def choosy(**spec: object) -> Pod:
    metadata = {"name": "choosy", "namespace": "default", "labels": {"app": "web"}}
    return convert(Pod, {"metadata": metadata, "spec": spec})


APART: dict[str, object] = {
    "podAntiAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": [
            {
                "topologyKey": "kubernetes.io/hostname",
                "labelSelector": {"matchLabels": {"app": "web"}},
            }
        ]
    }
}


def test_one_replica_per_node_and_no_more() -> None:
    placements = Placements()
    where: list[str] = []
    for number in range(3):
        chosen = choose(choosy(affinity=APART), NODES, placements)
        assert isinstance(chosen, str)
        where.append(chosen)
        metadata = {"name": f"p{number}", "uid": f"p{number}", "labels": {"app": "web"}}
        metadata["namespace"] = "default"
        one = convert(Pod, {"metadata": metadata, "spec": {"affinity": APART}})
        placements.put(one, chosen)
    assert sorted(where) == ["node-1", "node-2", "node-3"]
    victims = "0/3 nodes are available: 3 No preemption victims found for incoming pod."
    assert choose(choosy(affinity=APART), NODES, placements) == Unschedulable(
        "0/3 nodes are available: 3 node(s) didn't match pod anti-affinity rules. "
        f"preemption: {victims}"
    )
    # They keep away who does not ask for it, too.
    assert choose(choosy(), NODES, placements) == Unschedulable(
        "0/3 nodes are available: 3 node(s) didn't satisfy existing pods anti-affinity rules. "
        f"preemption: {victims}"
    )
    placements.remove("p1")
    assert choose(choosy(affinity=APART), NODES, placements) == where[1]


def preferring(**labels: str) -> dict[str, object]:
    lines = [{"key": key, "operator": "In", "values": [value]} for key, value in labels.items()]
    terms = [{"weight": 10, "preference": {"matchExpressions": lines}}]
    return {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": terms}}


@pytest.mark.parametrize(
    ("affinity", "goes_to"),
    [
        ({}, "node-2"),
        (preferring(disk="ssd"), "node-3"),
        (preferring(disk="none"), "node-2"),
    ],
)
def test_what_a_pod_would_rather_comes_before_even_numbers(
    affinity: dict[str, object], goes_to: str
) -> None:
    soft = Taint(key="k", value="v", effect="PreferNoSchedule")
    nodes = [
        build.node("node-1", taints=[soft]),
        build.node("node-2"),
        build.node("node-3", labels={"disk": "ssd"}),
    ]
    assert choose(choosy(affinity=affinity), nodes, placed("web node-3")) == goes_to


def test_a_pod_that_leaves_makes_room() -> None:
    placements = placed("web node-1, web node-2, web node-3")
    assert placements.remove("uid-of-web-1")
    assert not placements.remove("uid-of-web-1")
    assert choose(build.pod("web-new", owner=WEB), NODES, placements) == "node-2"


@pytest.mark.parametrize(
    ("changes", "wants"),
    [
        ({}, True),
        ({"node_name": "node-1"}, False),
        ({"scheduler_name": "mine"}, False),
        ({"scheduling_gates": ({"name": "wait"},)}, False),
    ],
)
def test_which_pods_are_ours(*, changes: dict[str, object], wants: bool) -> None:
    pod = build.pod("web", phase="Pending")
    pod = msgspec.structs.replace(pod, spec=msgspec.structs.replace(pod.spec, **changes))
    assert wants_scheduling(pod) == wants


@pytest.mark.parametrize(
    "pod", [build.pod("web", phase="Succeeded"), build.pod("web", phase="Pending", deleted=True)]
)
def test_finished_and_leaving_pods_are_not_placed(pod: Pod) -> None:
    assert not wants_scheduling(pod)
