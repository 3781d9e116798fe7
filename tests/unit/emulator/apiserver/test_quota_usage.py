"""What a ResourceQuota's status counts."""

from typing import Any

import pytest

from podwire.testing.apiserver import SilentServer

Json = dict[str, Any]

HERE = "/api/v1/namespaces/default"
QUOTAS = f"{HERE}/resourcequotas"


@pytest.fixture
def server() -> SilentServer:
    server = SilentServer()
    server.must("POST /api/v1/namespaces", {"metadata": {"name": "default"}})
    return server


def pod(name: str, cpu: str = "", memory: str = "", **spec: Any) -> Json:
    given = {"cpu": cpu, "memory": memory}
    requests = {key: value for key, value in given.items() if value}
    container = {"name": "a", "image": "b", "resources": {"requests": requests}}
    return {"metadata": {"name": name}, "spec": {"containers": [container], **spec}}


def quota(server: SilentServer, *names: str, **spec: Any) -> None:
    body = {"metadata": {"name": "q"}, "spec": {"hard": dict.fromkeys(names, "9"), **spec}}
    server.must(f"POST {QUOTAS}", body)


def used(server: SilentServer) -> Json:
    status = server.get(f"{QUOTAS}/q")["status"]
    assert set(status["hard"]) == set(status["used"])
    return dict(status["used"])


def test_a_new_quota_counts_what_is_there(server: SilentServer) -> None:
    server.must(f"POST {HERE}/pods", pod("p", cpu="100m", memory="1Gi"))
    quota(server, "pods", "cpu", "requests.memory", "limits.cpu")
    assert used(server) == {"pods": "1", "cpu": "100m", "requests.memory": "1Gi", "limits.cpu": "0"}


def test_pods_count_until_they_end(server: SilentServer) -> None:
    quota(server, "pods", "cpu")
    for name in "abc":
        server.must(f"POST {HERE}/pods", pod(name, cpu="250m"))
    assert used(server) == {"pods": "3", "cpu": "750m"}
    server.must(f"DELETE {HERE}/pods/a")
    ended = {"status": {"phase": "Succeeded"}}
    server.must(f"PATCH {HERE}/pods/b/status", ended, patch="merge")
    assert used(server) == {"pods": "1", "cpu": "250m"}


def test_objects_are_counted_by_their_kind(server: SilentServer) -> None:
    quota(server, "configmaps", "count/jobs.batch", "services", "services.nodeports")
    server.must(f"POST {HERE}/configmaps", {"metadata": {"name": "c"}})
    ports = [{"name": "a", "port": 1}, {"name": "b", "port": 2}]
    body = {"metadata": {"name": "s"}, "spec": {"type": "NodePort", "ports": ports}}
    server.must(f"POST {HERE}/services", body)
    assert used(server) == {
        "configmaps": "1", "count/jobs.batch": "0", "services": "1", "services.nodeports": "2",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"scopes": ["BestEffort"]}, "1"),
        ({"scopes": ["NotBestEffort"]}, "2"),
        ({"scopes": ["Terminating"]}, "1"),
        ({"scopes": ["NotBestEffort", "NotTerminating"]}, "1"),
        ({"scopeSelector": {"matchExpressions": [{"scopeName": "PriorityClass", "operator": "In", "values": ["high"]}]}}, "1"),
        ({"scopeSelector": {"matchExpressions": [{"scopeName": "PriorityClass", "operator": "DoesNotExist"}]}}, "2"),
    ],
)  # fmt: skip
def test_scopes(server: SilentServer, spec: Json, expected: str) -> None:
    classes = "/apis/scheduling.k8s.io/v1/priorityclasses"
    server.must(f"POST {classes}", {"metadata": {"name": "high"}, "value": 1})
    quota(server, "pods", **spec)
    server.must(f"POST {HERE}/pods", pod("best"))
    server.must(f"POST {HERE}/pods", pod("ends", cpu="1", activeDeadlineSeconds=9))
    server.must(f"POST {HERE}/pods", pod("high", cpu="1", priorityClassName="high"))
    assert used(server) == {"pods": expected}


def test_another_namespace_does_not_count(server: SilentServer) -> None:
    quota(server, "pods")
    server.must("POST /api/v1/namespaces", {"metadata": {"name": "other"}})
    server.must("POST /api/v1/namespaces/other/pods", pod("p"))
    assert used(server) == {"pods": "0"}


def test_what_no_quota_counts_is_not_counted_again(server: SilentServer) -> None:
    """Most writes in a namespace say how its pods fare; none of them looks at all pods."""
    quota(server, "pods", "services")
    server.must(f"POST {HERE}/pods", pod("p"))
    # Something that a new count would put right.
    stored = server.api.store.all("resourcequotas")[0]
    wrong = stored.copy()
    wrong["status"]["used"]["pods"] = "7"
    server.api.store.put("resourcequotas", stored.key, wrong)
    server.must(f"POST {HERE}/configmaps", {"metadata": {"name": "c"}})
    running = {"status": {"phase": "Running"}}
    server.must(f"PATCH {HERE}/pods/p/status", running, patch="merge")
    server.must(f"POST {HERE}/pods?dryRun=All", pod("q"))
    assert used(server)["pods"] == "7"
    server.must(f"POST {HERE}/pods", pod("r"))
    assert used(server)["pods"] == "2"
