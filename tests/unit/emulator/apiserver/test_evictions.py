from typing import Any

import pytest

from podwire.testing.apiserver import SilentServer

Json = dict[str, Any]
PODS = "/api/v1/namespaces/default/pods"
BUDGETS = "/apis/policy/v1/namespaces/default/poddisruptionbudgets"
EVICTION: Json = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}}


def pod(server: SilentServer, *, ready: bool = True, phase: str = "Running") -> None:
    spec = {"containers": [{"name": "c", "image": "nginx"}], "nodeName": "node-1"}
    server.must(f"POST {PODS}", {"metadata": {"name": "p", "labels": {"app": "x"}}, "spec": spec})
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    server.must(
        f"PATCH {PODS}/p/status",
        {"status": {"phase": phase, "conditions": conditions}},
        patch="merge",
    )


def budget(server: SilentServer, name: str = "b", *, allowed: int = 0, **parts: Any) -> None:
    spec = {"minAvailable": 1, "selector": {"matchLabels": {"app": "x"}}}
    made = server.must(
        f"POST {BUDGETS}", {"metadata": {"name": name}, "spec": {**spec, **parts.pop("spec", {})}}
    )
    status = {
        "observedGeneration": made["metadata"]["generation"],
        "disruptionsAllowed": allowed,
        "currentHealthy": 1,
        "desiredHealthy": 2,
        "expectedPods": 1,
        **parts,
    }
    server.must(
        f"PATCH {BUDGETS}/{name}/status",
        {"status": status},
        patch="merge",
    )


def evicted(server: SilentServer) -> str:
    """Return how the eviction was answered."""
    code, answer = server.ask(f"POST {PODS}/p/eviction", EVICTION)
    return f"{code} {answer.get('reason', answer['status'])}"


def test_a_budget_without_room_refuses_and_says_why(server: SilentServer) -> None:
    pod(server)
    budget(server)
    code, status = server.ask(f"POST {PODS}/p/eviction", EVICTION)
    assert code == 429
    assert status == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": "Cannot evict pod as it would violate the pod's disruption budget.",
        "reason": "TooManyRequests",
        "details": {
            "causes": [
                {
                    "reason": "DisruptionBudget",
                    "message": "The disruption budget b needs 2 healthy pods and has 1 currently",
                }
            ]
        },
        "code": 429,
    }
    assert "deletionTimestamp" not in server.get(f"{PODS}/p")["metadata"]


def test_what_is_granted_is_taken_from_the_budget(server: SilentServer) -> None:
    pod(server)
    budget(server, allowed=1)
    assert evicted(server) == "201 Success"
    status = server.get(f"{BUDGETS}/b")["status"]
    assert status["disruptionsAllowed"] == 0
    assert list(status["disruptedPods"]) == ["p"]
    left = server.get(f"{PODS}/p")
    assert left["metadata"]["deletionTimestamp"]
    assert [
        c["reason"] for c in left["status"]["conditions"] if c["type"] == "DisruptionTarget"
    ] == ["EvictionByEvictionAPI"]


@pytest.mark.parametrize(
    ("said", "of_pod", "of_budget"),
    [
        ("429 TooManyRequests", {}, {}),
        ("201 Success", {"phase": "Pending"}, {}),
        ("201 Success", {"phase": "Succeeded"}, {}),
        ("201 Success", {}, {"spec": {"selector": {"matchLabels": {"app": "y"}}}}),
        ("429 TooManyRequests", {}, {"spec": {"selector": {}}}),
        ("429 TooManyRequests", {"ready": False}, {}),
        ("201 Success", {"ready": False}, {"currentHealthy": 2}),
        ("201 Success", {"ready": False}, {"spec": {"unhealthyPodEvictionPolicy": "AlwaysAllow"}}),
        ("429 TooManyRequests", {}, {"observedGeneration": 0, "allowed": 1}),
    ],
)
def test_which_pods_a_budget_holds(
    server: SilentServer, said: str, of_pod: Json, of_budget: Json
) -> None:
    pod(server, **of_pod)
    budget(server, **of_budget)
    assert evicted(server) == said


def test_a_budget_that_is_not_looked_at_yet_asks_to_come_again(server: SilentServer) -> None:
    pod(server)
    budget(server, observedGeneration=0, allowed=1)
    _, status = server.ask(f"POST {PODS}/p/eviction", EVICTION)
    assert status["details"] == {
        "retryAfterSeconds": 10,
        "causes": [
            {
                "reason": "DisruptionBudget",
                "message": "The disruption budget b is still being processed by the server.",
            }
        ],
    }


def test_two_budgets_for_one_pod_are_an_error(server: SilentServer) -> None:
    pod(server)
    budget(server, "a", allowed=1)
    budget(server, "b", allowed=1)
    code, status = server.ask(f"POST {PODS}/p/eviction", EVICTION)
    assert code == 500
    assert status["message"].startswith("This pod has more than one PodDisruptionBudget")


def test_a_dry_run_takes_nothing(server: SilentServer) -> None:
    pod(server)
    budget(server, allowed=1)
    asked = {**EVICTION, "deleteOptions": {"dryRun": ["All"]}}
    assert server.ask(f"POST {PODS}/p/eviction", asked)[0] == 201
    assert server.get(f"{BUDGETS}/b")["status"]["disruptionsAllowed"] == 1
    assert "deletionTimestamp" not in server.get(f"{PODS}/p")["metadata"]
