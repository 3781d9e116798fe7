"""matchLabelKeys of affinity terms are in the selectors of pods, with their labels' values."""

from typing import Any

import pytest

from podwire.testing.apiserver import SilentServer

Json = dict[str, Any]
PODS = "/api/v1/namespaces/default/pods"
LABELS = {"app": "web", "version": "2"}


def term(selector: Json | None, **keys: list[str]) -> Json:
    return {"topologyKey": "zone", "labelSelector": selector, **keys}


def affinity(term: Json) -> Json:
    weighted = {"weight": 1, "podAffinityTerm": term}
    return {
        "podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [weighted]},
        "podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]},
    }


@pytest.mark.parametrize(
    ("written", "added"),
    [
        (term({}, matchLabelKeys=["version"]), [("version", "In", ["2"])]),
        (term({}, mismatchLabelKeys=["version"]), [("version", "NotIn", ["2"])]),
        (
            term({}, matchLabelKeys=["version", "app"], mismatchLabelKeys=["tenant"]),
            [("version", "In", ["2"]), ("app", "In", ["web"])],
        ),
        (term({}), []),
    ],
)
def test_keys_become_expressions(
    server: SilentServer, written: Json, added: list[tuple[str, str, list[str]]]
) -> None:
    expressions = [{"key": key, "operator": how, "values": values} for key, how, values in added]
    spec: Json = {
        "containers": [{"name": "c", "image": "i"}],
        "affinity": affinity(written),
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "zone",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": {"tier": "x"}},
                "matchLabelKeys": ["version"],
            }
        ],
    }
    server.must(f"POST {PODS}", {"metadata": {"name": "p", "labels": LABELS}, "spec": spec})
    stored = server.get(f"{PODS}/p")["spec"]
    liked = stored["affinity"]["podAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    shunned = stored["affinity"]["podAntiAffinity"][
        "requiredDuringSchedulingIgnoredDuringExecution"
    ]
    for one in (liked[0]["podAffinityTerm"], shunned[0]):
        assert one["labelSelector"].get("matchExpressions", []) == expressions
    [spread] = stored["topologySpreadConstraints"]
    assert spread["labelSelector"] == {"matchLabels": {"tier": "x"}}
    # A write that changes nothing does not write them twice.
    server.must(f"PATCH {PODS}/p", {"metadata": {"labels": {"more": "x"}}}, patch="merge")
    again = server.get(f"{PODS}/p")["spec"]["affinity"]
    assert again == stored["affinity"]
