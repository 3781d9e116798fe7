import pytest

from podwire.emulator.controllers.nodes.requests import asked, lacking
from podwire.kube import quantity
from podwire.kube.codec import convert
from podwire.kube.objects import Node, Pod, PodSpec

Containers = list[str]


def container(text: str) -> dict[str, object]:
    """Read `cpu 100m memory 1Gi`, with `sidecar` before it if it is one."""
    words = text.split()
    beside = words[:1] == ["sidecar"]
    amounts = words[1:] if beside else words
    requests = dict(zip(amounts[::2], amounts[1::2], strict=True))
    made: dict[str, object] = {"name": "c", "resources": {"requests": requests}}
    return made | ({"restartPolicy": "Always"} if beside else {})


def spec(*containers: str, init: Containers | None = None) -> PodSpec:
    first = [container(text) for text in init or ()]
    whole = {"containers": [container(text) for text in containers], "initContainers": first}
    return convert(Pod, {"metadata": {"name": "web"}, "spec": whole}).spec


def amount(text: str) -> int:
    return quantity.parse(text).nano


@pytest.mark.parametrize(
    ("init", "containers", "cpu"),
    [
        ([], [""], "0"),
        ([], ["cpu 100m", "cpu 0.2", "memory 1Gi"], "300m"),
        # One after another, before the others.
        (["cpu 1", "cpu 2"], ["cpu 100m"], "2"),
        (["cpu 1"], ["cpu 3"], "3"),
        # A side-car stays.
        (["sidecar cpu 1"], ["cpu 3"], "4"),
        (["sidecar cpu 1", "cpu 5"], ["cpu 3"], "6"),
        (["cpu 5", "sidecar cpu 1"], ["cpu 3"], "5"),
    ],
)
def test_what_a_pod_asks_for(init: Containers, containers: Containers, cpu: str) -> None:
    assert asked(spec(*containers, init=init)).get("cpu", 0) == amount(cpu)


def test_the_overhead_of_a_runtime_comes_on_top() -> None:
    whole = {"overhead": {"cpu": "250m", "memory": "64Mi"}, "containers": [container("cpu 1")]}
    wants = convert(Pod, {"metadata": {"name": "web"}, "spec": whole}).spec
    assert asked(wants) == {"cpu": amount("1250m"), "memory": amount("64Mi")}


@pytest.mark.parametrize(
    ("wants", "reasons"),
    [
        ("", ""),
        ("cpu 1500m memory 1Gi", ""),
        ("cpu 1501m", "Insufficient cpu"),
        ("cpu 1501m memory 5Gi", "Insufficient cpu, Insufficient memory"),
        ("example.com/gpu 1", ""),
        ("example.com/gpu 2", "Insufficient example.com/gpu"),
        ("example.com/tpu 1", "Insufficient example.com/tpu"),
        # No node here says how much it has: no reason to refuse.
        ("ephemeral-storage 10Gi", ""),
    ],
)
def test_what_a_node_lacks(wants: str, reasons: str) -> None:
    has = {"cpu": "2", "memory": "4Gi", "pods": "3", "example.com/gpu": "1"}
    node = convert(Node, {"metadata": {"name": "node-1"}, "status": {"allocatable": has}})
    taken = {"cpu": amount("500m"), "memory": amount("1Gi")}
    wanted = asked(spec(wants))
    assert ", ".join(lacking(wanted, node, taken, pods=2)) == reasons
    assert "Too many pods" in lacking(wanted, node, taken, pods=3)
