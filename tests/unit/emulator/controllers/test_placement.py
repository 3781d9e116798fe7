import pytest

from podwire.emulator.controllers.placement import clash, host_ports, obstacle, target_node
from podwire.kube.codec import convert
from podwire.kube.objects import Node, Pod, Taint
from podwire.testing import build

NODE = build.node("node-1", labels={"disk": "ssd", "cores": "8"})
CORDONED = build.node("node-1", unschedulable=True)
TAINTED = build.node("node-1", taints=[Taint(key="team", value="db", effect="NoSchedule")])
EVICTING = build.node("node-1", taints=[Taint(key="team", value="db", effect="NoExecute")])
PREFERRED = build.node("node-1", taints=[Taint(key="t", effect="PreferNoSchedule")])

TAINT = "node(s) had untolerated taint {team: db}"
SELECTOR = "node(s) didn't match Pod's node affinity/selector"
CORDON = "node(s) were unschedulable"


def pod(**spec: object) -> Pod:
    return convert(Pod, {"metadata": {"name": "web"}, "spec": spec})


def tolerating(**toleration: object) -> Pod:
    return pod(tolerations=[toleration])


def affine(key: str, operator: str, *values: str, field: bool = False) -> Pod:
    line = {"key": key, "operator": operator, "values": list(values)}
    term = {"matchFields" if field else "matchExpressions": [line]}
    return terms(term)


def terms(*which: object) -> Pod:
    required = {"nodeSelectorTerms": list(which)}
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}
    return pod(affinity=affinity)


@pytest.mark.parametrize(
    ("wants", "node", "why_not"),
    [
        (pod(), NODE, None),
        (pod(nodeSelector={"disk": "ssd"}), NODE, None),
        (pod(nodeSelector={"disk": "hdd"}), NODE, SELECTOR),
        (pod(nodeSelector={"gpu": ""}), NODE, SELECTOR),
        (affine("disk", "In", "ssd", "nvme"), NODE, None),
        (affine("disk", "NotIn", "ssd"), NODE, SELECTOR),
        (affine("gpu", "NotIn", "big"), NODE, None),
        (affine("gpu", "Exists"), NODE, SELECTOR),
        (affine("gpu", "DoesNotExist"), NODE, None),
        (affine("cores", "Gt", "4"), NODE, None),
        (affine("cores", "Lt", "4"), NODE, SELECTOR),
        (affine("disk", "Likes", "ssd"), NODE, SELECTOR),
        (affine("metadata.name", "In", "node-1", field=True), NODE, None),
        (affine("metadata.name", "In", "node-2", field=True), NODE, SELECTOR),
        (terms({}), NODE, SELECTOR),
        (
            terms(
                {"matchExpressions": [{"key": "gpu", "operator": "Exists"}]},
                {"matchExpressions": [{"key": "disk", "operator": "Exists"}]},
            ),
            NODE,
            None,
        ),
        (pod(), CORDONED, CORDON),
        (tolerating(key="node.kubernetes.io/unschedulable", operator="Exists"), CORDONED, None),
        (pod(), TAINTED, TAINT),
        (pod(), EVICTING, TAINT),
        (pod(), PREFERRED, None),
        (tolerating(key="team", value="db"), TAINTED, None),
        (tolerating(key="team", value="web"), TAINTED, TAINT),
        (tolerating(key="team", operator="Exists"), TAINTED, None),
        (tolerating(key="team", operator="Exists", effect="NoExecute"), TAINTED, TAINT),
        (tolerating(operator="Exists"), TAINTED, None),
    ],
)
def test_what_keeps_a_pod_from_a_node(wants: Pod, node: Node, why_not: str | None) -> None:
    assert obstacle(wants.spec, node) == why_not


@pytest.mark.parametrize(
    ("one", "other", "clashes"),
    [
        ({"containerPort": 80}, {"hostPort": 80}, False),
        ({"hostPort": 80}, {"hostPort": 80}, True),
        ({"hostPort": 80}, {"hostPort": 81}, False),
        ({"hostPort": 80}, {"hostPort": 80, "protocol": "UDP"}, False),
        ({"hostPort": 80, "hostIP": "127.0.0.1"}, {"hostPort": 80}, True),
        ({"hostPort": 80, "hostIP": "0.0.0.0"}, {"hostPort": 80, "hostIP": "127.0.0.1"}, True),
        ({"hostPort": 80, "hostIP": "10.0.0.1"}, {"hostPort": 80, "hostIP": "127.0.0.1"}, False),
    ],
)
def test_host_ports_are_given_once(
    *, one: dict[str, object], other: dict[str, object], clashes: bool
) -> None:
    wanted, taken = (
        host_ports(
            pod(containers=[{"name": "main", "ports": [{"containerPort": 8080, **port}]}]).spec
        )
        for port in (one, other)
    )
    assert clash(wanted, taken) == clash(taken, wanted) == clashes


def test_host_ports_of_all_that_run_together() -> None:
    def container(name: str, port: int, **more: object) -> dict[str, object]:
        return {"name": name, "ports": [{"containerPort": port, "hostPort": port}], **more}

    wants = pod(
        containers=[container("main", 80)],
        initContainers=[container("first", 81), container("beside", 82, restartPolicy="Always")],
    )
    assert {port.number for port in host_ports(wants.spec)} == {80, 82}


@pytest.mark.parametrize(
    ("which", "node"),
    [
        (pod(), ""),
        (pod(nodeName="node-3"), "node-3"),
        (affine("metadata.name", "In", "node-2", field=True), "node-2"),
        (affine("disk", "In", "ssd"), ""),
    ],
)
def test_the_node_a_pod_is_made_for(which: Pod, node: str) -> None:
    assert target_node(which) == node
