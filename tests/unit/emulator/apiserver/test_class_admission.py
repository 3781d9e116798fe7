"""What PriorityClasses and IngressClasses do to the objects that name them, or do not."""

from typing import Any

import pytest

from podwire.testing.apiserver import SilentServer

Json = dict[str, Any]

CLASSES = "/apis/scheduling.k8s.io/v1/priorityclasses"
PODS = "/api/v1/namespaces/default/pods"
INGRESS_CLASSES = "/apis/networking.k8s.io/v1/ingressclasses"
INGRESSES = "/apis/networking.k8s.io/v1/namespaces/default/ingresses"
BACKEND = {"service": {"name": "a", "port": {"number": 80}}}


@pytest.fixture
def server() -> SilentServer:
    server = SilentServer()
    server.must("POST /api/v1/namespaces", {"metadata": {"name": "default"}})
    server.must(f"POST {CLASSES}", {"metadata": {"name": "high"}, "value": 7})
    return server


def pod(**spec: Any) -> Json:
    containers = [{"name": "a", "image": "b"}]
    return {"metadata": {"name": "p"}, "spec": {"containers": containers, **spec}}


def importance(found: Json) -> tuple[Any, ...]:
    spec = found["spec"]
    return spec.get("priorityClassName"), spec["priority"], spec["preemptionPolicy"]


def test_a_pod_gets_the_priority_of_its_class(server: SilentServer) -> None:
    made = server.must(f"POST {PODS}", pod(priorityClassName="high"))
    assert importance(made) == ("high", 7, "PreemptLowerPriority")


def test_a_pod_without_a_class_gets_the_default_one(server: SilentServer) -> None:
    assert importance(server.must(f"POST {PODS}?dryRun=All", pod())) == (
        None, 0, "PreemptLowerPriority",
    )  # fmt: skip
    default = {"metadata": {"name": "usual"}, "value": 3, "globalDefault": True}
    server.must(f"POST {CLASSES}", {**default, "preemptionPolicy": "Never"})
    assert importance(server.must(f"POST {PODS}", pod())) == ("usual", 3, "Never")


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"priorityClassName": "nope"}, "no PriorityClass with name nope was found"),
        ({"priorityClassName": "high", "priority": 8}, "the integer value of priority (8) must not be provided in pod spec; priority admission controller computed 7 from the given PriorityClass name"),
        ({"preemptionPolicy": "Never"}, "the string value of PreemptionPolicy (Never) must not be provided in pod spec; priority admission controller computed PreemptLowerPriority from the given PriorityClass name"),
    ],
)  # fmt: skip
def test_nobody_chooses_a_priority_alone(server: SilentServer, spec: Json, why: str) -> None:
    said = server.says(f"POST {PODS}", pod(**spec))
    assert said == f'403 Forbidden: pods "p" is forbidden: {why}'


def test_a_pod_keeps_its_priority(server: SilentServer) -> None:
    made = server.must(f"POST {PODS}", pod(priorityClassName="high"))
    for name in ("priority", "preemptionPolicy"):
        del made["spec"][name]
    assert importance(server.must(f"PUT {PODS}/p", made))[1] == 7


def test_there_is_one_default_class(server: SilentServer) -> None:
    server.must(f"POST {CLASSES}", {"metadata": {"name": "a"}, "value": 1, "globalDefault": True})
    second = {"metadata": {"name": "b"}, "value": 2, "globalDefault": True}
    assert server.says(f"POST {CLASSES}", second) == (
        '403 Forbidden: priorityclasses.scheduling.k8s.io "b" is forbidden: PriorityClass a is '
        "already marked as default. Only one default can exist"
    )
    described = {"description": "still"}
    server.must(f"PATCH {CLASSES}/a", described, patch="merge")


def test_an_ingress_gets_the_default_class(server: SilentServer) -> None:
    mark = {"ingressclass.kubernetes.io/is-default-class": "true"}
    for name, notes in (("plain", {}), ("chosen", mark)):
        body = {"metadata": {"name": name, "annotations": notes}, "spec": {"controller": "a.b/c"}}
        server.must(f"POST {INGRESS_CLASSES}", body)
    body = {"metadata": {"name": "i"}, "spec": {"defaultBackend": BACKEND}}
    assert server.must(f"POST {INGRESSES}", body)["spec"]["ingressClassName"] == "chosen"
    own = {"ingressClassName": "plain", "defaultBackend": BACKEND}
    made = server.must(f"POST {INGRESSES}", {"metadata": {"name": "own"}, "spec": own})
    assert made["spec"]["ingressClassName"] == "plain"
