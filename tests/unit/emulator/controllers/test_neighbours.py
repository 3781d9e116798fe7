"""Four nodes in two zones: node-1 and node-2 in a, node-3 and node-4 in b (which has no rack)."""

from typing import Any

import pytest

from podwire.emulator.controllers.nodes.groups import Groups
from podwire.emulator.controllers.nodes.neighbours import Neighbours, around, asks, gains
from podwire.kube.codec import convert
from podwire.kube.objects import Pod
from podwire.testing import build

HOST, ZONE = "kubernetes.io/hostname", "topology.kubernetes.io/zone"
NODES = [
    build.node("node-1", labels={ZONE: "a", "rack": "1"}),
    build.node("node-2", labels={ZONE: "a", "rack": "2"}),
    build.node("node-3", labels={ZONE: "b"}),
    build.node("node-4", labels={ZONE: "b"}),
]
NAMESPACES = {"default": {"team": "web"}, "data": {"team": "db"}}
ALL = "1 2 3 4"
SPREAD = "node(s) didn't match pod topology spread constraints"
NOT_NEAR = "node(s) didn't match pod affinity rules"
TOO_NEAR = "node(s) didn't match pod anti-affinity rules"
SHUNNED = "node(s) didn't satisfy existing pods anti-affinity rules"

Json = dict[str, Any]


def pod(app: str = "web", namespace: str = "default", /, **spec: Any) -> Pod:
    """Return a pod of an application; `web/v1` has a version, too."""
    name, _, version = app.partition("/")
    labels = {"app": name} | ({"version": version} if version else {})
    metadata = {"name": name, "namespace": namespace, "labels": labels, "uid": name}
    return convert(Pod, {"metadata": metadata, "spec": spec})


def term(app: str = "", key: str = HOST, **fields: Any) -> Json:
    selector = {"labelSelector": {"matchLabels": {"app": app}}} if app else {}
    return {"topologyKey": key, **selector, **fields}


def near(*terms: Json, apart: bool = False) -> Json:
    kind = "podAntiAffinity" if apart else "podAffinity"
    return {"affinity": {kind: {"requiredDuringSchedulingIgnoredDuringExecution": list(terms)}}}


def apart(*terms: Json) -> Json:
    return near(*terms, apart=True)


def spread(skew: int = 1, key: str = HOST, **fields: Any) -> Json:
    constraint = {
        "maxSkew": skew,
        "topologyKey": key,
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "web"}},
    }
    return {"topologySpreadConstraints": [constraint | fields]}


def there(text: str, **spec: Any) -> Groups:
    """Read `web 1, db@data 3, web/v1 4`: which application has a pod on which node."""
    groups = Groups()
    for item in filter(None, text.split(", ")):
        app, number = item.split()
        name, _, namespace = app.partition("@")
        groups.join(pod(name, namespace or "default", **spec), f"node-{number}")
    return groups


def seen(wants: Pod, others: Groups) -> Neighbours:
    labels: dict[str, dict[str, str]] = NAMESPACES
    return around(wants, NODES, others.groups(), others.wishes(), lambda name: labels.get(name, {}))


def fits(wants: Pod, others: str, **spec: Any) -> tuple[str, frozenset[str]]:
    """Return the numbers of the nodes that fit, and why others do not, which have *spec*."""
    found = seen(wants, there(others, **spec))
    why = {node.metadata.name[-1]: found.obstacle(node) for node in NODES}
    reasons = frozenset(text for text in why.values() if text is not None)
    return " ".join(number for number, text in why.items() if text is None), reasons


@pytest.mark.parametrize(
    ("wants", "others", "where", "why"),
    [
        (apart(term("web")), "", ALL, None),
        (apart(term("web")), "web 1, db 2", "2 3 4", TOO_NEAR),
        (apart(term("web", ZONE)), "web 1", "3 4", TOO_NEAR),
        (apart(term("web", ZONE), term("db")), "web 1, db 3", "4", TOO_NEAR),
        # Who is nowhere is not near.
        (apart(term("web", "rack")), "web 3", ALL, None),
        # Without a selector nobody is meant, with an empty one everybody.
        (apart(term()), "web 1", ALL, None),
        (apart(term(labelSelector={})), "web 1, db 2", "3 4", TOO_NEAR),
        # In the pod's own namespace, unless the term says which.
        (apart(term("db")), "db@data 1", ALL, None),
        (apart(term("db", namespaces=["data"])), "db@data 1, db 2", "2 3 4", TOO_NEAR),
        (apart(term("db", namespaceSelector={})), "db@data 1, db 2", "3 4", TOO_NEAR),
        (
            apart(term("db", namespaceSelector={"matchLabels": {"team": "db"}})),
            "db@data 1, db 2",
            "2 3 4",
            TOO_NEAR,
        ),
    ],
)
def test_apart(wants: Json, others: str, where: str, why: str | None) -> None:
    fitting, reasons = fits(pod("web/v2", **wants), others)
    assert (fitting, reasons) == (where, frozenset([why] if why else []))


@pytest.mark.parametrize(
    ("wants", "others", "where"),
    [
        (near(term("db")), "db 2", "2"),
        (near(term("db", ZONE)), "db 2", "1 2"),
        (near(term("db", ZONE)), "", ""),
        (near(term("db", ZONE), term("db")), "db 2", "2"),
        # Two terms mean whom both mean.
        (near(term("db", ZONE), term("web", ZONE)), "db 1, web 2", ""),
        # The first of a kind has nobody to be near to; it needs a place all the same.
        (near(term("web")), "", ALL),
        (near(term("web")), "web 3", "3"),
        (near(term("web", "rack")), "", "1 2"),
    ],
)
def test_near(wants: Json, others: str, where: str) -> None:
    fitting, reasons = fits(pod("web", **wants), others)
    assert (fitting, reasons) == (where, frozenset([NOT_NEAR] if where != ALL else []))


def test_who_keeps_others_away_keeps_them_away() -> None:
    shunning = apart(term("web", ZONE))
    assert fits(pod("web"), "db 1", **shunning) == ("3 4", frozenset([SHUNNED]))
    assert fits(pod("db"), "db 1", **shunning) == (ALL, frozenset())
    assert fits(pod("web"), "db@data 1", **shunning) == (ALL, frozenset())


@pytest.mark.parametrize(
    ("wants", "others", "where", "why"),
    [
        (spread(), "", ALL, None),
        (spread(), "web 1, web 2", "3 4", SPREAD),
        (spread(), "web 1, web 2, web 3, web 4", ALL, None),
        (spread(2), "web 1, web 1, web 2", "2 3 4", SPREAD),
        (spread(key=ZONE), "web 1", "3 4", SPREAD),
        (spread(), "db 1, web@data 2", ALL, None),
        # A node without the label is nowhere.
        (spread(key="rack"), "web 1", "2", f"{SPREAD} (missing required label)"),
        (spread(key=ZONE, minDomains=3), "web 1, web 3", "", SPREAD),
        # Nodes on which the pod may not be do not count, unless it says so.
        (spread() | {"nodeSelector": {ZONE: "a"}}, "web 1, web 2", ALL, None),
        (
            spread(nodeAffinityPolicy="Ignore") | {"nodeSelector": {ZONE: "a"}},
            "web 1, web 2",
            "3 4",
            SPREAD,
        ),
        (spread(matchLabelKeys=["version"]), "web/v1 1, web/v2 2", "1 3 4", SPREAD),
        # An empty selector counts nobody, as in Kubernetes.
        (spread(labelSelector={}), "web 1, web 2", ALL, None),
        # One that it does not count itself may go to the fullest place that is allowed.
        (
            spread(labelSelector={"matchLabels": {"app": "db"}}),
            "db 1, db 2, db 2",
            "1 3 4",
            SPREAD,
        ),
    ],
)
def test_spread(wants: Json, others: str, where: str, why: str | None) -> None:
    fitting, reasons = fits(pod("web/v2", **wants), others)
    assert fitting == where
    assert why is None or why in reasons


def test_who_leaves_is_not_counted_where_it_is_spread() -> None:
    groups = Groups()
    groups.join(build.pod("web", labels={"app": "web"}, deleted=True), "node-1")
    assert seen(pod("web", **spread()), groups).obstacle(NODES[0]) is None
    assert seen(pod("web", **apart(term("web"))), groups).obstacle(NODES[0]) == TOO_NEAR


def preferring(kind: str, *weighted: tuple[int, Json]) -> Json:
    terms = [{"weight": weight, "podAffinityTerm": one} for weight, one in weighted]
    return {"affinity": {kind: {"preferredDuringSchedulingIgnoredDuringExecution": terms}}}


@pytest.mark.parametrize(
    ("wants", "others", "likings"),
    [
        (preferring("podAffinity", (5, term("db", ZONE))), "db 1, db 2", [10, 10, 0, 0]),
        (preferring("podAntiAffinity", (5, term("db"))), "db 1", [-5, 0, 0, 0]),
    ],
)
def test_what_a_pod_would_rather(wants: Json, others: str, likings: list[int]) -> None:
    found = seen(pod("web", **wants), there(others))
    assert [found.liking(node) for node in NODES] == likings


@pytest.mark.parametrize(
    ("wish", "likings"),
    [
        (preferring("podAffinity", (5, term("web"))), [10, 0, 0, 0]),
        (preferring("podAntiAffinity", (5, term("web", ZONE))), [-10, -10, 0, 0]),
        (preferring("podAffinity", (5, term("other"))), [0, 0, 0, 0]),
        # Who cannot be without it likes it a little, too.
        (near(term("web")), [2, 0, 0, 0]),
    ],
)
def test_what_others_would_rather(wish: Json, likings: list[int]) -> None:
    found = seen(pod("web"), there("db 1, db 1", **wish))
    assert [found.liking(node) for node in NODES] == likings


def test_pods_that_are_alike_are_one_group() -> None:
    groups = Groups()
    wish = apart(term("web"))
    members = [groups.join(pod("web", **wish), f"node-{1 + n % 2}") for n in range(1000)]
    assert [group.nodes for group in groups.groups()] == [{"node-1": 500, "node-2": 500}]
    assert [wish.nodes for wish in groups.wishes()] == [{"node-1": 500, "node-2": 500}]
    for member in members:
        groups.leave(member)
    assert (list(groups.groups()), list(groups.wishes())) == ([], [])


def test_the_crowd_that_had_better_be_spread() -> None:
    wants = pod("web", **spread(key="rack", whenUnsatisfiable="ScheduleAnyway"))
    found = seen(wants, there("web 1, web 1, web 3"))
    crowds = [found.crowd(node) for node in NODES]
    assert crowds[:2] == [2, 0]
    assert min(crowds[2:]) > 1000


@pytest.mark.parametrize(
    ("spec", "asked", "gained"),
    [
        ({}, False, False),
        (near(term("db")), True, True),
        (spread(), True, True),
        # Nobody is let in because another comes whom it keeps away from.
        (apart(term("web")), True, False),
        (preferring("podAffinity", (1, term("db"))), True, False),
    ],
)
def test_to_whom_another_pod_matters(spec: Json, *, asked: bool, gained: bool) -> None:
    wants = pod("web", **spec).spec
    assert (asks(wants), gains(wants)) == (asked, gained)
