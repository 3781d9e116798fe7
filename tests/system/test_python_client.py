"""Kubernetes' official Python client, from outside, with the kubeconfig: as programs use it."""

import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from podwire.testing.cluster import Cluster
from tests.system.conftest import both_runtimes

kubernetes = pytest.importorskip("kubernetes", reason="pip install kubernetes")

Json = dict[str, Any]


def config_map(name: str, **data: str) -> Json:
    return {"metadata": {"name": name, "labels": {"test": "yes"}}, "data": data}


def web(replicas: int = 1) -> Json:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {
                    "terminationGracePeriodSeconds": 0,
                    "containers": [
                        {
                            "name": "web",
                            "image": "podwire/web:test",
                            "ports": [{"name": "http", "containerPort": 80}],
                        }
                    ],
                },
            },
        },
    }


@pytest.fixture
def client(cluster: Cluster) -> Iterator[Any]:
    """Give the client's ApiClient, as `config.load_kube_config` makes it."""
    configuration = kubernetes.client.Configuration()
    kubernetes.config.load_kube_config(str(cluster.kubeconfig), client_configuration=configuration)
    with kubernetes.client.ApiClient(configuration) as api:
        yield api


@pytest.fixture
def core(client: Any) -> Any:
    return kubernetes.client.CoreV1Api(client)


def status_of(error: Any) -> Json:
    found: Json = json.loads(error.body)
    return found


@both_runtimes
def test_a_deployment_from_its_creation_to_its_end(
    cluster: Cluster, client: Any, core: Any
) -> None:
    apps, namespace = kubernetes.client.AppsV1Api(client), cluster.namespace
    made = apps.create_namespaced_deployment(namespace, web())
    assert (made.spec.replicas, made.spec.strategy.type) == (1, "RollingUpdate")
    watch = kubernetes.watch.Watch()
    for event in watch.stream(apps.list_namespaced_deployment, namespace, timeout_seconds=30):
        if event["object"].status.available_replicas == 1:
            watch.stop()
    (pod,) = core.list_namespaced_pod(namespace, label_selector="app=web").items
    assert pod.status.phase == "Running"
    assert pod.spec.service_account_name == "default"
    scale = apps.patch_namespaced_deployment_scale("web", namespace, {"spec": {"replicas": 2}})
    assert scale.spec.replicas == 2
    # Without kind and apiVersion: what the client's own models leave out.
    port = kubernetes.client.V1ServicePort(port=80, target_port="http")
    service = core.create_namespaced_service(
        namespace,
        kubernetes.client.V1Service(
            metadata=kubernetes.client.V1ObjectMeta(name="web"),
            spec=kubernetes.client.V1ServiceSpec(selector={"app": "web"}, ports=[port]),
        ),
    )
    assert service.spec.cluster_ip.startswith("10.")
    service.metadata.labels = {"tier": "front"}
    assert core.replace_namespaced_service("web", namespace, service).metadata.labels == {
        "tier": "front"
    }
    assert core.delete_namespaced_service("web", namespace).spec.type == "ClusterIP"
    done = apps.delete_namespaced_deployment("web", namespace, propagation_policy="Background")
    assert done["status"] == "Success"
    with pytest.raises(kubernetes.client.ApiException) as missing:
        apps.read_namespaced_deployment("web", namespace)
    assert missing.value.status == 404


@pytest.mark.parametrize(
    ("patch", "content_type", "expected"),
    [
        ({"data": {"b": "2"}}, None, {"a": "1", "b": "2"}),
        ({"data": {"a": None, "b": "2"}}, "application/merge-patch+json", {"b": "2"}),
        ([{"op": "replace", "path": "/data/a", "value": "9"}], "application/json-patch+json", {"a": "9"}),
        ({"data": {"c": "3"}}, "application/strategic-merge-patch+json", {"a": "1", "c": "3"}),
    ],
)  # fmt: skip
def test_patches(
    cluster: Cluster, core: Any, patch: Any, content_type: str | None, expected: Json
) -> None:
    core.create_namespaced_config_map(cluster.namespace, config_map("m", a="1"))
    more = {"_content_type": content_type} if content_type else {}
    found = core.patch_namespaced_config_map("m", cluster.namespace, patch, **more)
    assert found.data == expected


def test_a_long_list_comes_in_pieces(cluster: Cluster, core: Any) -> None:
    for number in range(7):
        core.create_namespaced_config_map(cluster.namespace, config_map(f"m-{number}"))
    names: list[str] = []
    token, left = "", list[int | None]()
    while True:
        page = core.list_namespaced_config_map(cluster.namespace, limit=3, _continue=token)
        names += [item.metadata.name for item in page.items]
        left.append(page.metadata.remaining_item_count)
        token = page.metadata._continue
        if not token:
            break
    assert [name for name in names if name.startswith("m-")] == [f"m-{n}" for n in range(7)]
    assert len(left) >= 3
    assert left[-1] is None
    chosen = core.list_namespaced_config_map(cluster.namespace, label_selector="test=yes")
    assert len(chosen.items) == 7


def test_a_watch_goes_on_where_it_stopped(cluster: Cluster, core: Any) -> None:
    namespace = cluster.namespace
    first = core.list_namespaced_config_map(namespace).metadata.resource_version
    core.create_namespaced_config_map(namespace, config_map("a"))
    core.create_namespaced_config_map(namespace, config_map("b"))
    watch = kubernetes.watch.Watch()
    seen: list[tuple[str, str]] = []

    def follow(version: str, until: tuple[str, str]) -> str:
        for event in watch.stream(
            core.list_namespaced_config_map,
            namespace,
            label_selector="test=yes",
            resource_version=version,
            timeout_seconds=10,
        ):
            seen.append((event["type"], event["object"].metadata.name))
            if seen[-1] == until:
                watch.stop()
                return str(event["object"].metadata.resource_version)
        raise AssertionError(seen)

    version = follow(first, ("ADDED", "a"))
    core.patch_namespaced_config_map("a", namespace, {"data": {"x": "y"}})
    core.delete_namespaced_config_map("b", namespace)
    follow(version, ("DELETED", "b"))
    assert seen == [("ADDED", "a"), ("ADDED", "b"), ("MODIFIED", "a"), ("DELETED", "b")]


def test_a_watch_is_live(cluster: Cluster, core: Any) -> None:
    namespace = cluster.namespace
    writer = threading.Timer(
        0.3, lambda: core.create_namespaced_config_map(namespace, config_map("late"))
    )
    writer.start()
    watch = kubernetes.watch.Watch()
    for event in watch.stream(
        core.list_namespaced_config_map, namespace, label_selector="test=yes", timeout_seconds=20
    ):
        assert event["object"].metadata.name == "late"
        watch.stop()
    writer.join()


ERRORS: list[tuple[Callable[[Any, str], Any], int, str, str]] = [
    (lambda core, ns: core.read_namespaced_pod("none", ns), 404, "NotFound", 'pods "none" not found'),
    (lambda core, ns: core.create_namespaced_config_map(ns, config_map("twice")), 409, "AlreadyExists", 'configmaps "twice" already exists'),
    (lambda core, ns: core.create_namespaced_config_map("none", config_map("m")), 404, "NotFound", 'namespaces "none" not found'),
    (lambda core, ns: core.create_namespaced_config_map(ns, config_map("No_Name")), 422, "Invalid", 'ConfigMap "No_Name" is invalid: metadata.name: Invalid value: "No_Name": '),
    (lambda core, ns: core.list_namespaced_pod(ns, label_selector="a b"), 400, "BadRequest", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
    (lambda core, ns: core.replace_namespaced_config_map("twice", ns, {**config_map("twice"), "metadata": {"name": "twice", "resourceVersion": "1"}}), 409, "Conflict", 'Operation cannot be fulfilled on configmaps "twice": '),
    (lambda core, ns: core.delete_namespace("kube-system"), 403, "Forbidden", 'namespaces "kube-system" is forbidden: this namespace may not be deleted'),
]  # fmt: skip


@pytest.mark.parametrize(("call", "code", "reason", "message"), ERRORS)
def test_errors(
    cluster: Cluster,
    core: Any,
    call: Callable[[Any, str], Any],
    code: int,
    reason: str,
    message: str,
) -> None:
    core.create_namespaced_config_map(cluster.namespace, config_map("twice"))
    with pytest.raises(kubernetes.client.ApiException) as refused:
        call(core, cluster.namespace)
    status = status_of(refused.value)
    assert (refused.value.status, status["code"], status["reason"]) == (code, code, reason)
    assert status["message"].startswith(message)


def test_the_dynamic_client(cluster: Cluster, client: Any, tmp_path: Any) -> None:
    dynamic = kubernetes.dynamic.DynamicClient(client, cache_file=str(tmp_path / "discovery"))
    maps = dynamic.resources.get(api_version="v1", kind="ConfigMap")
    namespace = cluster.namespace
    body = {"apiVersion": "v1", "kind": "ConfigMap", **config_map("d", a="1")}
    made = maps.create(body=body, namespace=namespace)
    assert made.data.a == "1"
    applied = maps.server_side_apply(
        body={**body, "data": {"b": "2"}}, name="d", namespace=namespace,
        field_manager="test", force_conflicts=True,
    )  # fmt: skip
    assert applied.data.to_dict() == {"a": "1", "b": "2"}
    patched = maps.patch(
        body={"data": {"a": None}}, name="d", namespace=namespace,
        content_type="application/merge-patch+json",
    )  # fmt: skip
    assert patched.data.to_dict() == {"b": "2"}
    found = maps.get(namespace=namespace, label_selector="test=yes")
    assert [item.metadata.name for item in found.items] == ["d"]
    for event in maps.watch(namespace=namespace, timeout=5):
        if event["object"].metadata.name == "d":
            assert event["type"] == "ADDED"
            break
    maps.delete(name="d", namespace=namespace)
    with pytest.raises(kubernetes.dynamic.exceptions.NotFoundError):
        maps.get(name="d", namespace=namespace)
    # Every kind of discovery is usable: what has a list is listed.
    for kind in ("Deployment", "Role", "CronJob", "Lease", "EndpointSlice"):
        (resource,) = dynamic.resources.search(kind=kind)
        resource.get(namespace=namespace)


def test_versions_and_discovery(client: Any) -> None:
    assert kubernetes.client.VersionApi(client).get_code().major == "1"
    groups = kubernetes.client.ApisApi(client).get_api_versions().groups
    assert {"apps", "batch", "rbac.authorization.k8s.io"} <= {group.name for group in groups}
    kinds = kubernetes.client.CoreV1Api(client).get_api_resources().resources
    assert {"pods", "pods/log", "services"} <= {kind.name for kind in kinds}


def test_access_for_programs(cluster: Cluster, client: Any, core: Any) -> None:
    namespace = cluster.namespace
    rbac = kubernetes.client.RbacAuthorizationV1Api(client)
    core.create_namespaced_service_account(namespace, {"metadata": {"name": "robot"}})
    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]
    rbac.create_namespaced_role(namespace, {"metadata": {"name": "r"}, "rules": rules})
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"}
    subjects = [{"kind": "ServiceAccount", "name": "robot", "namespace": namespace}]
    rbac.create_namespaced_role_binding(
        namespace, {"metadata": {"name": "r"}, "roleRef": reference, "subjects": subjects}
    )
    asked = core.create_namespaced_service_account_token(
        "robot", namespace, {"spec": {"audiences": [], "expirationSeconds": 600}}
    )
    token = asked.status.token
    reviewed = kubernetes.client.AuthenticationV1Api(client).create_token_review(
        {"spec": {"token": token}}
    )
    assert reviewed.status.authenticated
    assert reviewed.status.user.username == f"system:serviceaccount:{namespace}:robot"
    configuration = kubernetes.client.Configuration()
    configuration.host = client.configuration.host
    configuration.ssl_ca_cert = client.configuration.ssl_ca_cert
    configuration.api_key = {"authorization": f"Bearer {token}"}
    with kubernetes.client.ApiClient(configuration) as other:
        robot = kubernetes.client.CoreV1Api(other)
        assert robot.list_namespaced_pod(namespace).items == []
        with pytest.raises(kubernetes.client.ApiException) as refused:
            robot.list_namespaced_secret(namespace)
        assert refused.value.status == 403
        access = kubernetes.client.AuthorizationV1Api(other)
        for verb, may in (("list", True), ("delete", False)):
            about = {"namespace": namespace, "verb": verb, "resource": "pods"}
            answer = access.create_self_subject_access_review(
                {"spec": {"resourceAttributes": about}}
            )
            assert answer.status.allowed is may
        core.delete_namespaced_service_account("robot", namespace)
        with pytest.raises(kubernetes.client.ApiException) as ended:
            robot.list_namespaced_pod(namespace)
        assert ended.value.status == 401
