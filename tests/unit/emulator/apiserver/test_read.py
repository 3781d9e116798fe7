import pytest

from podwire.emulator.apiserver.negotiate import Form
from podwire.testing.apiserver import SilentServer

MAPS = "/api/v1/namespaces/default/configmaps"


@pytest.fixture
def maps(server: SilentServer) -> SilentServer:
    for name, labels in (
        ("a", {"app": "x"}),
        ("b", {"app": "y"}),
        ("c", {}),
        ("d", {"app": "x", "t": "1"}),
    ):
        server.must(f"POST {MAPS}", {"metadata": {"name": name, "labels": labels}})
    return server


def names(server: SilentServer, url: str) -> str:
    return " ".join(item["metadata"]["name"] for item in server.get(url)["items"])


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", "a b c d"),
        ("labelSelector=app=x", "a d"),
        ("labelSelector=app!=x", "b c"),
        ("labelSelector=app in (x,y)", "a b d"),
        ("labelSelector=!app", "c"),
        ("labelSelector=app=x,t", "d"),
        ("fieldSelector=metadata.name=b", "b"),
        ("fieldSelector=metadata.name!=b", "a c d"),
        ("fieldSelector=metadata.namespace=default", "a b c d"),
        ("fieldSelector=metadata.namespace=", ""),
        ("resourceVersion=0", "a b c d"),
        ("limit=500&resourceVersion=0", "a b c d"),
    ],
)
def test_selectors(maps: SilentServer, query: str, expected: str) -> None:
    assert names(maps, f"{MAPS}?{query}") == expected


@pytest.mark.parametrize(
    ("collection", "said"),
    [
        ("api/v1/pods", "field label not supported: spec.foo"),
        ("apis/batch/v1/jobs", 'field label "spec.foo" not supported for batchv1.Job'),
        ("apis/apps/v1/deployments", '"spec.foo" is not a known field selector: only "metadata.name", "metadata.namespace"'),
    ],
)  # fmt: skip
def test_each_kind_has_words_for_an_unknown_field(
    server: SilentServer, collection: str, said: str
) -> None:
    refused = server.says(f"GET /{collection}?fieldSelector=spec.foo=1")
    assert refused == f"400 BadRequest: {said}"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("labelSelector=a b", "400 BadRequest: unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
        ("fieldSelector=spec.foo=1", "400 BadRequest: "),
        ("limit=many", "400 BadRequest: strconv.ParseInt"),
        ("continue=rubbish", "400 BadRequest: invalid continue token"),
        ("resourceVersion=x", "400 BadRequest: resourceVersion: Invalid value"),
        ("resourceVersion=100000", "504 Timeout: Timeout: Too large resource version: 100000, current: "),
        ("resourceVersionMatch=Exact", "400 BadRequest: "),
        ("resourceVersionMatch=Nearly&resourceVersion=1", "400 BadRequest: "),
    ],
)  # fmt: skip
def test_queries_that_are_refused(maps: SilentServer, query: str, expected: str) -> None:
    assert maps.says(f"GET {MAPS}?{query}").startswith(expected)


def test_pieces_show_one_moment(maps: SilentServer) -> None:
    first = maps.get(f"{MAPS}?limit=3")
    meta = first["metadata"]
    assert ([i["metadata"]["name"] for i in first["items"]], meta["remainingItemCount"]) == (
        ["a", "b", "c"],
        1,
    )
    maps.must(f"DELETE {MAPS}/d")
    maps.must(f"POST {MAPS}", {"metadata": {"name": "e"}})
    rest = maps.get(f"{MAPS}?limit=3&continue={meta['continue']}")
    assert [i["metadata"]["name"] for i in rest["items"]] == ["d"]
    assert rest["metadata"] == {"resourceVersion": meta["resourceVersion"]}


def test_no_count_is_given_where_it_would_cost(maps: SilentServer) -> None:
    assert "remainingItemCount" not in maps.get(f"{MAPS}?limit=1&labelSelector=app=x")["metadata"]


def test_an_exact_revision_shows_the_past(maps: SilentServer) -> None:
    then = maps.api.store.revision
    maps.must(f"DELETE {MAPS}/a")
    assert names(maps, f"{MAPS}?resourceVersion={then}&resourceVersionMatch=Exact") == "a b c d"
    assert (
        names(maps, f"{MAPS}?resourceVersion={then}&resourceVersionMatch=NotOlderThan") == "b c d"
    )


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("status.phase=Running", ""),
        ("status.phase=Pending", "p q"),
        ("status.phase!=Succeeded,status.phase!=Failed", "p q"),
        ("spec.nodeName=node-1", "q"),
        ("spec.nodeName=", "p"),
        ("spec.hostNetwork=false", "p q"),
        ("spec.restartPolicy=Always", "p q"),
    ],
)
def test_fields_of_pods(server: SilentServer, selector: str, expected: str) -> None:
    for name, node in (("p", ""), ("q", "node-1")):
        spec = {"containers": [{"name": "c", "image": "nginx"}], "nodeName": node}
        server.must(
            "POST /api/v1/namespaces/default/pods", {"metadata": {"name": name}, "spec": spec}
        )
    assert names(server, f"/api/v1/pods?fieldSelector={selector}") == expected


def test_lists_name_their_kind_and_revision(maps: SilentServer) -> None:
    document = maps.get("/api/v1/configmaps")
    assert (document["kind"], document["apiVersion"]) == ("ConfigMapList", "v1")
    assert document["metadata"]["resourceVersion"] == str(maps.api.store.revision)


def test_tables(maps: SilentServer) -> None:
    _, table = maps.ask(f"GET {MAPS}?limit=3", form=Form("table"))
    assert [column["name"] for column in table["columnDefinitions"]] == ["Name", "Data", "Age"]
    assert [row["cells"][0] for row in table["rows"]] == ["a", "b", "c"]
    assert table["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
    assert table["metadata"]["continue"]
    _, one = maps.ask(f"GET {MAPS}/a", form=Form("table"))
    assert [row["cells"][0] for row in one["rows"]] == ["a"]


def test_metadata_alone(maps: SilentServer) -> None:
    _, document = maps.ask(f"GET {MAPS}", form=Form("metadata"))
    assert document["kind"] == "PartialObjectMetadataList"
    assert {tuple(item) for item in document["items"]} == {("kind", "apiVersion", "metadata")}


def test_a_new_cluster(server: SilentServer) -> None:
    assert names(server, "/api/v1/namespaces") == "default kube-node-lease kube-public kube-system"
    assert (
        server.get("/api/v1/namespaces/default/services/kubernetes")["spec"]["clusterIP"]
        == "10.96.0.1"
    )
