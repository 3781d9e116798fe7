from typing import Any

import pytest

from podwire.kube.meant import first, selector, suggestion, workload

Json = dict[str, Any]

PODS = [
    ("shop", "front-658b-7mx55"),
    ("shop", "front-658b-8775v"),
    ("shop", "client"),
    ("kube-system", "coredns-1"),
    ("kube-system", "front"),
    *(("many", f"web-{number}") for number in range(5)),
]


@pytest.mark.parametrize(
    ("name", "namespace", "said"),
    [
        ("front", "shop", "; did you mean front-658b-7mx55 or front-658b-8775v?"),
        ("front", "many", "; did you mean kube-system/front?"),
        ("coredns", "shop", "; did you mean kube-system/coredns-1?"),
        ("clinet", "shop", "; did you mean client?"),
        ("client", "default", "; did you mean shop/client?"),
        ("web", "many", "; did you mean web-0 or web-1 or web-2 (or 2 more)?"),
        ("client", "shop", ""),  # it is there: something else is wrong
        ("fro", "shop", ""),
        ("nobody", "shop", ""),
        ("nobody", "empty", ""),
    ],
)
def test_who_may_be_meant(name: str, namespace: str, said: str) -> None:
    assert suggestion(name, namespace, PODS) == said


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("deploy/front", "/apis/apps/v1/namespaces/shop/deployments/front"),
        ("deployment/other/front", "/apis/apps/v1/namespaces/other/deployments/front"),
        ("sts/store", "/apis/apps/v1/namespaces/shop/statefulsets/store"),
        ("job/seed", "/apis/batch/v1/namespaces/shop/jobs/seed"),
        ("svc/front", "/api/v1/namespaces/shop/services/front"),
        ("front", ""),
        ("pod/front", ""),
        ("node/node-1", ""),
        ("shop/front", ""),
        ("deploy/", ""),
        ("deploy//front", ""),
        ("deploy/a/b/c", ""),
    ],
)
def test_words_for_workloads(text: str, path: str) -> None:
    found = workload(text, "shop")
    assert (found.path if found else "") == path


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        ({"selector": {"matchLabels": {"app": "web", "tier": "x"}}}, "app=web,tier=x"),
        (
            {
                "selector": {
                    "matchExpressions": [
                        {"key": "a", "operator": "In", "values": ["x", "y"]},
                        {"key": "b", "operator": "NotIn", "values": ["z"]},
                        {"key": "c", "operator": "Exists"},
                        {"key": "d", "operator": "DoesNotExist"},
                    ]
                }
            },
            "a in (x,y),b notin (z),c,!d",
        ),
        ({"selector": {"app": "web"}, "ports": [{"port": 80}]}, "app=web"),
        ({"ports": [{"port": 80}]}, ""),
    ],
)
def test_selectors(spec: Json, wanted: str) -> None:
    assert selector({"spec": spec}) == wanted


def pod(name: str, **of: Any) -> Json:
    ready = "True" if of.get("ready", True) else "False"
    metadata = {"name": name, "creationTimestamp": f"2026-01-01T00:00:{of.get('at', 0):02}Z"}
    if of.get("ends"):
        metadata["deletionTimestamp"] = "2026-01-01T01:00:00Z"
    status = {
        "phase": of.get("phase", "Running"),
        "conditions": [{"type": "Ready", "status": ready}],
        "containerStatuses": [{"restartCount": of.get("restarts", 0)}],
    }
    return {"metadata": metadata, "status": status}


@pytest.mark.parametrize(
    ("pods", "taken"),
    [
        ([], ""),
        ([pod("a", phase="Pending", ready=False), pod("b")], "b"),
        ([pod("a", ready=False), pod("b")], "b"),
        ([pod("a", restarts=2), pod("b", restarts=1)], "b"),
        ([pod("a", at=30), pod("b", at=10)], "b"),
        ([pod("a", ends=True), pod("b", ready=False)], "b"),
    ],
)
def test_the_pod_that_is_taken(pods: list[Json], taken: str) -> None:
    assert first(pods) == taken
