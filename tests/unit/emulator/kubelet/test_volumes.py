import base64
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from podwire.emulator.kubelet.swapped_files import write
from podwire.emulator.kubelet.volume_files import (
    File,
    Sources,
    VolumeError,
    files_of,
    objects_in,
)
from podwire.emulator.kubelet.volumes import binds_of, remove
from podwire.emulator.runtimes.mounts import Bind
from podwire.kube.objects import ConfigMap, Container, ObjectMeta, Pod, PodSpec, Secret, Volume

Json = dict[str, Any]


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


MAPS = {"game": ConfigMap(data={"a.txt": "one", "b.txt": "two"}, binary_data={"c": b64(b"\0\1")})}
SECRETS = {"key": Secret(data={"token": b64(b"s3cret")})}
SOURCES = Sources(MAPS.get, SECRETS.get, {("", 3607): "jwt"}, {"cpu": "4"})
POD = Pod(
    metadata=ObjectMeta(name="web", namespace="default", labels={"app": "web"}),
    spec=PodSpec(
        containers=(
            msgspec.convert(
                {"name": "main", "resources": {"limits": {"memory": "1Mi"}}}, Container
            ),
        )
    ),
)


def volume(**source: Any) -> Volume:
    return msgspec.convert({"name": "v", **source}, Volume)


def files(**source: Any) -> dict[str, File] | None:
    found = files_of(volume(**source), POD, SOURCES)
    return None if found is None else dict(found)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ({"emptyDir": {}}, None),
        (
            {"configMap": {"name": "game"}},
            {"a.txt": File(b"one"), "b.txt": File(b"two"), "c": File(b"\0\1")},
        ),
        (
            {"configMap": {"name": "game", "defaultMode": 0o400,
                           "items": [{"key": "a.txt", "path": "x/y"}, {"key": "c", "path": "z", "mode": 0}]}},
            {"x/y": File(b"one", 0o400), "z": File(b"\0\1", 0)},
        ),
        ({"configMap": {"name": "absent", "optional": True}}, {}),
        (
            {"configMap": {"name": "game", "optional": True, "items": [{"key": "no", "path": "x"}]}},
            {},
        ),
        ({"secret": {"secretName": "key"}}, {"token": File(b"s3cret")}),
        ({"secret": {"secretName": "absent", "optional": True}}, {}),
        (
            {"downwardAPI": {"items": [
                {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
                {"path": "memory", "mode": 0o600,
                 "resourceFieldRef": {"containerName": "main", "resource": "limits.memory", "divisor": "1Ki"}},
            ]}},
            {"labels": File(b'app="web"'), "memory": File(b"1024", 0o600)},
        ),
        (
            {"downwardAPI": {"items": [
                {"path": "cpu", "resourceFieldRef": {"containerName": "main", "resource": "limits.cpu"}},
                {"path": "asked", "resourceFieldRef": {"containerName": "main", "resource": "requests.cpu"}},
            ]}},
            {"cpu": File(b"4"), "asked": File(b"0")},
        ),
        (
            {"projected": {"defaultMode": 0o440, "sources": [
                {"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}},
                {"configMap": {"name": "game", "items": [{"key": "a.txt", "path": "a", "mode": 0o400}]}},
                {"secret": {"name": "key"}},
                {"downwardAPI": {"items": [{"path": "ns", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
                {"configMap": {"name": "absent", "optional": True}},
            ]}},
            {"token": File(b"s3cret", 0o440), "a": File(b"one", 0o400), "ns": File(b"default", 0o440)},
        ),
        ({"projected": {"sources": []}}, {}),
    ],
)  # fmt: skip
def test_the_files_of_a_volume(source: Json, expected: dict[str, File] | None) -> None:
    assert files(**source) == expected


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"configMap": {"name": "absent"}}, 'configmap "absent" not found'),
        ({"secret": {"secretName": "absent"}}, 'secret "absent" not found'),
        (
            {"configMap": {"name": "game", "items": [{"key": "no", "path": "x"}]}},
            "configmap references non-existent config key: no",
        ),
        (
            {"secret": {"secretName": "key", "items": [{"key": "no", "path": "x"}]}},
            "references non-existent secret key: no",
        ),
        (
            {"downwardAPI": {"items": [{"path": "x", "fieldRef": {"fieldPath": "spec.color"}}]}},
            "unsupported fieldPath: spec.color",
        ),
        (
            {
                "downwardAPI": {
                    "items": [
                        {
                            "path": "x",
                            "resourceFieldRef": {"resource": "limits.cpu", "containerName": "no"},
                        }
                    ]
                }
            },
            "container no not found",
        ),
        ({"downwardAPI": {"items": [{"path": "x"}]}}, "x: neither fieldRef nor resourceFieldRef"),
        (
            {},
            'volume "v" is of a kind that podwire does not have '
            "(emptyDir, configMap, secret, downwardAPI, projected and hostPath are there)",
        ),
        (
            {"projected": {"sources": [{"configMap": {"name": "absent"}}]}},
            'configmap "absent" not found',
        ),
        (
            {"projected": {"sources": [{"serviceAccountToken": {"path": "t", "audience": "x"}}]}},
            "failed to fetch token: there is none yet",
        ),
    ],
)
def test_a_volume_that_cannot_be_made_says_why(source: Json, message: str) -> None:
    with pytest.raises(VolumeError) as raised:
        files(**source)
    assert str(raised.value) == message


SHOWN: list[tuple[Json, set[tuple[type, str]]]] = [
    ({"configMap": {"name": "game"}}, {(ConfigMap, "game")}),
    ({"secret": {"secretName": "key"}}, {(Secret, "key")}),
    (
        {"projected": {"sources": [
            {"configMap": {"name": "a"}}, {"secret": {"name": "b"}},
            {"downwardAPI": {"items": []}}, {"serviceAccountToken": {"path": "t"}},
        ]}},
        {(ConfigMap, "a"), (Secret, "b")},
    ),
    ({"emptyDir": {}}, set()),
]  # fmt: skip


@pytest.mark.parametrize(("source", "expected"), SHOWN)
def test_what_a_volume_shows(source: Json, expected: set[tuple[type, str]]) -> None:
    assert objects_in([volume(**source)]) == expected


def test_removing_is_repeatable(tmp_path: Path) -> None:
    write(tmp_path / "pod" / "v", {"a": File(b"1")}, 0.0)
    remove(tmp_path / "pod")
    remove(tmp_path / "pod")
    assert not (tmp_path / "pod").exists()


def binds(tmp_path: Path, mount: Json, *, pins_paths: bool = True, **source: Any) -> list[Bind]:
    container = msgspec.convert(
        {"name": "main", "volumeMounts": [{"name": "v", **mount}]}, Container
    )
    pod = Pod(spec=PodSpec(volumes=(volume(**source),)))
    return binds_of(container, pod, tmp_path, {"POD": "web"}, pins_paths=pins_paths)


def test_a_sub_path_that_pods_can_change_needs_a_runtime_that_pins_it(tmp_path: Path) -> None:
    write(tmp_path / "v", {"f": File(b"x")}, 0.0)
    mount = {"mountPath": "/data", "subPath": "f"}
    for source in ({"configMap": {"name": "game"}}, {"secret": {"secretName": "s"}}):
        (bind,) = binds(tmp_path, mount, pins_paths=False, **source)
        assert bind.source == str(tmp_path / "v" / "f")
    with pytest.raises(VolumeError, match="not supported where pods are containers"):
        binds(tmp_path, {"mountPath": "/data", "subPath": "new"}, pins_paths=False, emptyDir={})
    # Nothing was made on the way there.
    assert not (tmp_path / "v" / "new").exists()


@pytest.mark.parametrize(
    ("mount", "source", "expected"),
    [
        ({"mountPath": "/data"}, {"emptyDir": {}}, ("/data", "v", True, False)),
        ({"mountPath": "/data/"}, {"emptyDir": {}}, ("/data", "v", True, False)),
        ({"mountPath": "/data", "readOnly": True}, {"emptyDir": {}}, ("/data", "v", True, True)),
        (
            {"mountPath": "/data", "subPath": "new"},
            {"emptyDir": {}},
            ("/data", "v/new", True, False),
        ),
        ({"mountPath": "/etc/x"}, {"configMap": {"name": "game"}}, ("/etc/x", "v", True, True)),
        (
            {"mountPath": "/etc/x", "subPath": "f"},
            {"secret": {"secretName": "s"}},
            ("/etc/x", "v/f", False, True),
        ),
    ],
)
def test_mounts_of_volumes(
    tmp_path: Path, mount: Json, source: Json, expected: tuple[str, str, bool, bool]
) -> None:
    write(tmp_path / "v", {"f": File(b"x")}, 0.0)
    path, below, is_directory, read_only = expected
    wanted = Bind(path, str(tmp_path / below), is_directory=is_directory, read_only=read_only)
    assert binds(tmp_path, mount, **source) == [wanted]
    assert os.path.lexists(wanted.source)


def test_a_sub_path_may_name_the_containers_variables(tmp_path: Path) -> None:
    mount = {"mountPath": "/logs", "subPathExpr": "pods/$(POD)"}
    (bind,) = binds(tmp_path, mount, emptyDir={})
    assert bind.source == str(tmp_path / "v" / "pods" / "web")
    with pytest.raises(VolumeError, match='missing value for "NO"'):
        binds(tmp_path, {"mountPath": "/logs", "subPathExpr": "$(NO)"}, emptyDir={})


def test_what_is_the_hosts_is_read_only(tmp_path: Path) -> None:
    file = tmp_path / "host"
    file.write_text("x")
    made = binds(tmp_path, {"mountPath": "/x"}, hostPath={"path": str(file)})
    assert made == [Bind("/x", str(file), is_directory=False, read_only=True)]
    with pytest.raises(VolumeError, match="hostPath /no/such does not exist on this machine"):
        binds(tmp_path, {"mountPath": "/x"}, hostPath={"path": "/no/such"})
