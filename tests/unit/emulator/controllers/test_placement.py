import pytest

from podwire.emulator.controllers.placement import obstacle, target_node
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
    ("spec", "taken", "fits"),
    [
        ({"ports": [{"containerPort": 80}]}, {("TCP", 80)}, True),
        ({"ports": [{"containerPort": 80, "hostPort": 80}]}, {("TCP", 80)}, False),
        ({"ports": [{"containerPort": 80, "hostPort": 80}]}, {("UDP", 80)}, True),
    ],
)
def test_host_ports_are_given_once(
    *, spec: dict[str, object], taken: set[tuple[str, int]], fits: bool
) -> None:
    wants = pod(containers=[{"name": "main", **spec}])
    assert (obstacle(wants.spec, NODE, taken) is None) == fits


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
