import pytest

from podwire.emulator.apiserver.types import schema


@pytest.mark.parametrize(
    ("api_version", "kind"),
    [
        ("v1", "Pod"), ("v1", "Service"), ("v1", "EventList"), ("apps/v1", "Deployment"),
        ("batch/v1", "CronJob"), ("discovery.k8s.io/v1", "EndpointSlice"),
        ("events.k8s.io/v1", "Event"), ("autoscaling/v1", "Scale"),
        ("autoscaling/v2", "HorizontalPodAutoscaler"), ("networking.k8s.io/v1", "Ingress"),
        ("policy/v1", "Eviction"), ("rbac.authorization.k8s.io/v1", "ClusterRole"),
        ("coordination.k8s.io/v1", "Lease"), ("authentication.k8s.io/v1", "TokenReview"),
        ("authorization.k8s.io/v1", "SelfSubjectAccessReview"),
        ("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
        ("storage.k8s.io/v1", "StorageClass"), ("apps/v1", "DeleteOptions"),
    ],
)  # fmt: skip
def test_kinds_that_are_known(api_version: str, kind: str) -> None:
    assert schema.type_of(api_version, kind) is not None


def test_a_custom_resource_has_no_type() -> None:
    assert schema.type_of("example.com/v1", "Widget") is None


def field(type_name: str, name: str) -> schema.Field:
    return schema.struct(type_name).fields[name]


@pytest.mark.parametrize(
    ("type_name", "name", "strategy", "key", "list_type", "list_keys"),
    [
        ("core/v1.PodSpec", "containers", "merge", "name", "map", ("name",)),
        ("core/v1.PodSpec", "volumes", "merge,retainKeys", "name", "map", ("name",)),
        ("core/v1.Container", "ports", "merge", "containerPort", "map", ("containerPort", "protocol")),
        ("core/v1.ServiceSpec", "ports", "merge", "port", "map", ("port", "protocol")),
        ("core/v1.ServiceSpec", "clusterIPs", "", "", "atomic", ()),
        ("meta/v1.ObjectMeta", "finalizers", "merge", "", "set", ()),
        ("apps/v1.DeploymentSpec", "strategy", "retainKeys", "", "", ()),
        ("discovery/v1.EndpointSlice", "endpoints", "", "", "atomic", ()),
    ],
)  # fmt: skip
def test_how_lists_merge(
    type_name: str, name: str, strategy: str, key: str, list_type: str, list_keys: tuple[str, ...]
) -> None:
    found = field(type_name, name)
    assert (found.patch_strategy, found.merge_key) == (strategy, key)
    assert (found.list_type, found.list_keys) == (list_type, list_keys)


def test_the_members_of_an_inlined_struct_belong_to_the_outer_object() -> None:
    volume = schema.struct("core/v1.Volume")
    assert {"name", "emptyDir", "configMap"} <= volume.fields.keys()
    assert volume.wire[2].inline


def test_only_some_structs_are_one_value_for_server_side_apply() -> None:
    assert schema.struct("meta/v1.LabelSelector").atomic
    assert not schema.struct("core/v1.ServicePort").atomic


def test_every_type_that_is_referred_to_exists() -> None:
    for api_version, kind in schema.kinds():
        found = schema.type_of(api_version, kind)
        assert found is not None
        walk(found, set())


def walk(known: schema.Type, seen: set[str]) -> None:
    for member in known.fields.values():
        kind: schema.Kind | None = member.kind
        while kind is not None:
            if kind.shape == "struct" and kind.name not in seen:
                seen.add(kind.name)
                walk(schema.struct(kind.name), seen)
            kind = kind.element


def test_descriptions_are_kubernetes_own() -> None:
    found = schema.descriptions()["core/v1.ServicePort"]
    assert found.text == "ServicePort contains information on service's port."
    assert found.fields["port"] == "The port that will be exposed by this service."
