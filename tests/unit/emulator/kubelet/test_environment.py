import base64
from typing import Any

import msgspec
import pytest

from podwire.emulator.kubelet.environment import (
    MissingSourceError,
    command_line,
    decoded,
    environment,
    expand,
    field_of,
    resource_of,
    service_variables,
)
from podwire.kube.objects import (
    ConfigMap,
    Container,
    ObjectFieldSelector,
    ObjectMeta,
    Pod,
    PodSpec,
    ResourceFieldSelector,
    Secret,
    Service,
    ServicePort,
)
from podwire.kube.podstatus import with_addresses
from podwire.testing import build

Json = dict[str, Any]

CONFIG = {"game": {"lives": "3", "level.name": "one"}, "empty": {}}
SECRETS = {"key": {"token": "s3cret"}}


def container(**fields: Any) -> Container:
    return msgspec.convert({"name": "web", **fields}, Container)


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("", ""),
        ("plain", "plain"),
        ("$(A)", "1"),
        ("x$(A)y$(B)z", "x1y2z"),
        ("$(UNKNOWN)", "$(UNKNOWN)"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$A ${A} $(", "$A ${A} $("),
        ("$(A", "$(A"),
        ("$(a.b-c)", "odd"),
        ("$$", "$"),
    ],
)
def test_references_are_expanded(text: str, expanded: str) -> None:
    assert expand(text, {"A": "1", "B": "2", "a.b-c": "odd"}) == expanded


@pytest.mark.parametrize(
    ("entrypoint", "image_command", "command", "args", "runs"),
    [
        ("entry", "cmd", "", "", "entry cmd"),
        ("entry", "cmd", "mine", "", "mine"),
        ("entry", "cmd", "", "given", "entry given"),
        ("entry", "cmd", "mine", "given", "mine given"),
        ("", "cmd", "", "", "cmd"),
        ("", "", "", "", ""),
        ("entry", "cmd", "run $(PORT)", "--at $(HOST) $(NONE)", "run 80 --at web $(NONE)"),
    ],
)
def test_what_runs(entrypoint: str, image_command: str, command: str, args: str, runs: str) -> None:
    wanted = container(command=command.split(), args=args.split())
    line = command_line(
        wanted, entrypoint.split(), image_command.split(), {"PORT": "80", "HOST": "web"}
    )
    assert " ".join(line) == runs


def made(pod: Pod | None = None, **fields: Any) -> dict[str, str]:
    def config_map(name: str) -> ConfigMap | None:
        return ConfigMap(data=CONFIG[name]) if name in CONFIG else None

    return environment(
        pod or build.pod("web"),
        container(**fields),
        base={"PATH": "/bin", "HOME": "/root"},
        config_map=config_map,
        secret=SECRETS.get,
    )


def test_base_env_from_then_env_in_order() -> None:
    assert made(
        envFrom=[
            {"configMapRef": {"name": "game"}},
            {"prefix": "S_", "secretRef": {"name": "key"}},
            {"configMapRef": {"name": "absent", "optional": True}},
            {"configMapRef": {"name": "empty"}},
        ],
        env=[
            {"name": "lives", "value": "$(lives)0"},
            {"name": "BOTH", "value": "$(lives) $(S_token) $(LATER)"},
            {"name": "LATER", "value": "x"},
            {"name": "PATH", "value": "/opt:$(PATH)"},
            {"name": "EMPTY"},
        ],
    ) == {
        "PATH": "/opt:/bin",
        "HOME": "/root",
        "lives": "30",
        "level.name": "one",
        "S_token": "s3cret",
        "BOTH": "30 s3cret $(LATER)",
        "LATER": "x",
        "EMPTY": "",
    }


def key(kind: str, name: str, key_: str, *, optional: bool | None = None) -> list[Json]:
    selector: Json = {"name": name, "key": key_}
    if optional is not None:
        selector["optional"] = optional
    return [{"name": "X", "valueFrom": {f"{kind}KeyRef": selector}}]


@pytest.mark.parametrize(
    ("env", "value"),
    [
        (key("configMap", "game", "lives"), "3"),
        (key("secret", "key", "token"), "s3cret"),
        (key("configMap", "absent", "lives", optional=True), None),
        (key("secret", "key", "absent", optional=True), None),
    ],
)
def test_values_from_keys(env: list[Json], value: str | None) -> None:
    assert made(env=env).get("X") == value


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"env": key("configMap", "absent", "x")}, 'configmap "absent" not found'),
        ({"env": key("secret", "absent", "x")}, 'secret "absent" not found'),
        ({"env": key("configMap", "game", "x")}, "couldn't find key x in ConfigMap default/game"),
        (
            {"env": key("secret", "key", "x", optional=False)},
            "couldn't find key x in Secret default/key",
        ),
        ({"envFrom": [{"configMapRef": {"name": "absent"}}]}, 'configmap "absent" not found'),
        ({"envFrom": [{"secretRef": {"name": "absent"}}]}, 'secret "absent" not found'),
        (
            {"env": [{"name": "X", "valueFrom": {"fieldRef": {"fieldPath": "spec.color"}}}]},
            "unsupported fieldPath: spec.color",
        ),
    ],
)
def test_what_is_missing_is_named(fields: Json, message: str) -> None:
    with pytest.raises(MissingSourceError) as raised:
        made(**fields)
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("metadata.name", "web"),
        ("metadata.namespace", "default"),
        ("metadata.uid", "uid-of-web"),
        ("metadata.labels", 'app="web"\ntier="front \\"a\\""'),
        ("metadata.annotations", ""),
        ("metadata.labels['app']", "web"),
        ("metadata.labels['none']", ""),
        ("spec.nodeName", "node-1"),
        ("spec.serviceAccountName", "default"),
        ("status.podIP", "10.244.1.2"),
        ("status.podIPs", "10.244.1.2"),
        ("status.hostIP", "192.168.1.10"),
        ("status.hostIPs", "192.168.1.10"),
    ],
)
def test_fields_of_the_pod(path: str, value: str) -> None:
    pod = Pod(
        metadata=ObjectMeta(
            name="web",
            namespace="default",
            uid="uid-of-web",
            labels={"tier": 'front "a"', "app": "web"},
        ),
        spec=PodSpec(node_name="node-1", service_account_name="default"),
    )
    found = with_addresses(pod, "10.244.1.2", "192.168.1.10")
    assert field_of(found, ObjectFieldSelector(field_path=path)) == value


@pytest.mark.parametrize(
    ("resource", "divisor", "value"),
    [
        ("limits.cpu", "", "1"),
        ("limits.cpu", "0", "1"),
        ("limits.cpu", "1m", "250"),
        ("limits.memory", "", "134217728"),
        ("limits.memory", "1Mi", "128"),
        ("requests.memory", "1Gi", "1"),
        ("requests.cpu", "1", "2"),
        ("requests.ephemeral-storage", "", "0"),
        # What is not limited may take what the node has.
        ("limits.ephemeral-storage", "1Gi", "3"),
    ],
)
def test_resources_of_a_container(resource: str, divisor: str, value: str) -> None:
    resources = {
        "limits": {"cpu": "250m", "memory": "128Mi"},
        "requests": {"cpu": 2, "memory": "64Mi"},
    }
    selector = ResourceFieldSelector(resource=resource, divisor=divisor)
    allocatable = {"cpu": "8", "ephemeral-storage": "3Gi"}
    assert resource_of(container(resources=resources), selector, allocatable) == value


def test_an_unknown_resource_is_refused() -> None:
    with pytest.raises(MissingSourceError, match="unsupported container resource: cpu"):
        resource_of(container(), ResourceFieldSelector(resource="cpu"), {})


def services() -> list[Service]:
    return [
        build.service(
            "kubernetes", cluster_ip="10.96.0.1", ports=[ServicePort(port=443, name="https")]
        ),
        build.service(
            "my-db",
            namespace="shop",
            cluster_ip="10.96.7.7",
            ports=[
                ServicePort(port=5432, name="sql-main"),
                ServicePort(port=53, protocol="UDP", name="dns"),
            ],
        ),
        build.service("headless", namespace="shop", cluster_ip="None"),
        build.service("elsewhere", namespace="other", cluster_ip="10.96.8.8"),
    ]


def test_variables_that_name_services() -> None:
    assert service_variables(services(), "shop", links=True) == {
        "KUBERNETES_SERVICE_HOST": "10.96.0.1",
        "KUBERNETES_SERVICE_PORT": "443",
        "KUBERNETES_SERVICE_PORT_HTTPS": "443",
        "KUBERNETES_PORT": "tcp://10.96.0.1:443",
        "KUBERNETES_PORT_443_TCP": "tcp://10.96.0.1:443",
        "KUBERNETES_PORT_443_TCP_PROTO": "tcp",
        "KUBERNETES_PORT_443_TCP_PORT": "443",
        "KUBERNETES_PORT_443_TCP_ADDR": "10.96.0.1",
        "MY_DB_SERVICE_HOST": "10.96.7.7",
        "MY_DB_SERVICE_PORT": "5432",
        "MY_DB_SERVICE_PORT_SQL_MAIN": "5432",
        "MY_DB_SERVICE_PORT_DNS": "53",
        "MY_DB_PORT": "tcp://10.96.7.7:5432",
        "MY_DB_PORT_5432_TCP": "tcp://10.96.7.7:5432",
        "MY_DB_PORT_5432_TCP_PROTO": "tcp",
        "MY_DB_PORT_5432_TCP_PORT": "5432",
        "MY_DB_PORT_5432_TCP_ADDR": "10.96.7.7",
        "MY_DB_PORT_53_UDP": "udp://10.96.7.7:53",
        "MY_DB_PORT_53_UDP_PROTO": "udp",
        "MY_DB_PORT_53_UDP_PORT": "53",
        "MY_DB_PORT_53_UDP_ADDR": "10.96.7.7",
    }


def test_without_service_links_only_kubernetes_is_named() -> None:
    variables = service_variables(services(), "shop", links=False)
    assert {name.partition("_")[0] for name in variables} == {"KUBERNETES"}


@pytest.mark.parametrize("turn", [1, -1])
def test_a_namespaces_own_kubernetes_hides_the_clusters(turn: int) -> None:
    both = [
        build.service("kubernetes", cluster_ip="10.96.0.1"),
        build.service("kubernetes", namespace="shop", cluster_ip="10.96.9.9"),
    ]
    variables = service_variables(both[::turn], "shop", links=True)
    assert variables["KUBERNETES_SERVICE_HOST"] == "10.96.9.9"
    assert variables["KUBERNETES_PORT"] == "tcp://10.96.9.9:80"


def test_secrets_are_decoded() -> None:
    secret = Secret(
        data={"a": base64.b64encode(b"x").decode(), "b": base64.b64encode(b"\xff").decode()}
    )
    assert decoded(secret, base64.b64decode) == {"a": "x", "b": "�"}
    assert decoded(None, base64.b64decode) is None
