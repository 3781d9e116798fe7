import pytest

from podwire.emulator.apiserver import negotiate
from podwire.emulator.apiserver.documents import discovery
from podwire.emulator.apiserver.kinds import Kinds
from podwire.emulator.apiserver.statuses import Refused

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"


@pytest.mark.parametrize(
    ("accept", "shape"),
    [
        ("", "object"),
        ("*/*", "object"),
        ("application/json", "object"),
        (f"{TABLE},application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json", "table"),
        ("application/json;as=Table;v=v9;g=meta.k8s.io,application/json", "object"),
        ("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1", "metadata"),
        ("application/vnd.kubernetes.protobuf, */*", "object"),
        ("application/vnd.kubernetes.protobuf", "object"),
        ("application/yaml", "yaml"),
        ("text/html", "406"),
        ("application/json;as=Table;v=v9;g=meta.k8s.io", "406"),
    ],
)
def test_accept(accept: str, shape: str) -> None:
    assert shape_of(accept) == shape


def shape_of(accept: str) -> str:
    try:
        form = negotiate.form_of(accept)
    except Refused as refusal:
        return str(refusal.code)
    return "yaml" if form.yaml else form.shape


@pytest.mark.parametrize(
    ("accept", "version"),
    [
        (
            "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,"
            "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json",
            "v2",
        ),
        (
            "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json",
            "v2beta1",
        ),
        ("application/json, */*", None),
        ("", None),
    ],
)
def test_discovery_version(accept: str, version: str | None) -> None:
    assert discovery.aggregated_version(accept) == version


def test_discovery_lists_subresources_in_both_forms() -> None:
    aggregated = discovery.aggregated(Kinds(), "v2", core=True)["items"][0]["versions"][0][
        "resources"
    ]
    legacy = discovery.resource_list(Kinds(), "", "v1")
    assert legacy is not None
    one = {
        f"{r['resource']}/{s['subresource']}" for r in aggregated for s in r.get("subresources", ())
    }
    other = {r["name"] for r in legacy["resources"] if "/" in r["name"]}
    assert one == other >= {"pods/exec", "pods/log", "pods/eviction", "namespaces/finalize"}


def test_what_has_no_controller_is_not_offered() -> None:
    names = {group["name"] for group in discovery.group_list(Kinds())["groups"]}
    assert "storage.k8s.io" not in names
    assert discovery.group(Kinds(), "storage.k8s.io") is None
