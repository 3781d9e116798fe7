from typing import Any

import pytest

from podwire.testing.apiserver import SilentServer

Json = dict[str, Any]

V1 = "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers"
V2 = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers"
PREFIX = "autoscaling.alpha.kubernetes.io"
TARGET = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
CPU = {
    "type": "Resource",
    "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}},
}


@pytest.fixture
def server() -> SilentServer:
    server = SilentServer()
    server.must("POST /api/v1/namespaces", {"metadata": {"name": "default"}})
    return server


def autoscaler(**spec: Any) -> Json:
    return {"metadata": {"name": "web"}, "spec": {"scaleTargetRef": TARGET, **spec}}


def test_what_autoscale_writes_is_read_as_version_2(server: SilentServer) -> None:
    body = autoscaler(maxReplicas=3, targetCPUUtilizationPercentage=50)
    made = server.must(f"POST {V1}", body)
    assert made["apiVersion"] == "autoscaling/v1"
    assert made["spec"]["targetCPUUtilizationPercentage"] == 50
    assert made["status"] == {"currentReplicas": 0, "desiredReplicas": 0}
    found = server.get(f"{V2}/web")
    assert (found["apiVersion"], found["spec"]["metrics"]) == ("autoscaling/v2", [CPU])
    assert found["spec"]["minReplicas"] == 1
    assert found["status"] == {"currentMetrics": None, "desiredReplicas": 0}


def test_without_a_metric_it_is_80_percent_of_the_cpu(server: SilentServer) -> None:
    server.must(f"POST {V1}", autoscaler(maxReplicas=3))
    assert server.get(f"{V1}/web")["spec"]["targetCPUUtilizationPercentage"] == 80


METRICS: list[Json] = [
    {"type": "Resource", "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "1Gi"}}},
    {"type": "Pods", "pods": {"metric": {"name": "rps"}, "target": {"type": "AverageValue", "averageValue": "10"}}},
    {"type": "Object", "object": {"describedObject": {"kind": "Ingress", "name": "i"}, "metric": {"name": "rps"}, "target": {"type": "Value", "value": "2k"}}},
    {"type": "External", "external": {"metric": {"name": "queue", "selector": {"matchLabels": {"a": "b"}}}, "target": {"type": "AverageValue", "averageValue": "30"}}},
    {"type": "ContainerResource", "containerResource": {"name": "cpu", "container": "c", "target": {"type": "Utilization", "averageUtilization": 60}}},
]  # fmt: skip


@pytest.mark.parametrize("metric", METRICS, ids=[metric["type"] for metric in METRICS])
def test_what_version_1_cannot_say_comes_back(server: SilentServer, metric: Json) -> None:
    server.must(f"POST {V2}", autoscaler(maxReplicas=3, metrics=[metric, CPU]))
    old = server.get(f"{V1}/web")
    assert old["spec"]["targetCPUUtilizationPercentage"] == 50
    assert f"{PREFIX}/metrics" in old["metadata"]["annotations"]
    assert server.must(f"PUT {V1}/web", old)["spec"] == old["spec"]
    found = server.get(f"{V2}/web")
    assert found["spec"]["metrics"] == [metric, CPU]
    assert "annotations" not in found["metadata"]


def test_behaviour_and_status_come_back(server: SilentServer) -> None:
    server.must(f"POST {V2}", autoscaler(maxReplicas=3, behavior={"scaleDown": {}}))
    before = server.get(f"{V2}/web")
    current = {"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 7, "averageValue": "70m"}}}  # fmt: skip
    condition = {"type": "AbleToScale", "status": "True", "lastTransitionTime": None}
    status = {"status": {"currentMetrics": [current], "conditions": [condition]}}
    server.must(f"PATCH {V2}/web/status", status, patch="merge")
    old = server.get(f"{V1}/web")
    assert old["status"]["currentCPUUtilizationPercentage"] == 7
    names = ("behavior", "current-metrics", "conditions")
    assert set(old["metadata"]["annotations"]) == {f"{PREFIX}/{name}" for name in names}
    server.must(f"PUT {V1}/web", old)
    assert server.get(f"{V2}/web")["spec"] == before["spec"]


@pytest.mark.parametrize("nonsense", ["{", '{"scaleUp": 4}', "[1]", '"x"'])
def test_annotations_that_make_no_sense_say_nothing(server: SilentServer, nonsense: str) -> None:
    body = autoscaler(maxReplicas=3, targetCPUUtilizationPercentage=50)
    body["metadata"]["annotations"] = {
        f"{PREFIX}/{name}": nonsense for name in ("metrics", "behavior", "conditions")
    }
    server.must(f"POST {V1}", body)
    assert server.get(f"{V2}/web")["spec"]["metrics"] == [CPU]
