"""Volumes of a pod: what files they hold (pure), and their directories in the sandbox."""

import base64
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from podwire.emulator.kubelet.environment import MissingSourceError, field_of
from podwire.emulator.runtimes.mounts import Bind
from podwire.kube.objects import ConfigMap, Container, KeyToPath, Pod, Secret, Volume


class VolumeError(Exception):
    """A volume cannot be made; the message is the kubelet's."""


@dataclass(frozen=True, slots=True)
class File:
    """A file of a volume."""

    content: bytes
    mode: int = 0o644


def files_of(
    volume: Volume,
    pod: Pod,
    config_map: Callable[[str], ConfigMap | None],
    secret: Callable[[str], Secret | None],
) -> Mapping[str, File] | None:
    """Return a volume's files by relative path; None for one that is just a directory.

    Raises VolumeError for what is missing or not supported.
    """
    if volume.config_map is not None:
        source = volume.config_map
        found = config_map(source.name)
        if found is None:
            return _absent("configmap", source.name, optional=source.optional)
        values = {key: text.encode() for key, text in found.data.items()}
        values |= {key: base64.b64decode(text) for key, text in found.binary_data.items()}
        return _chosen(values, source.items, source.default_mode, source.name)
    if volume.secret is not None:
        name = volume.secret.secret_name
        kept = secret(name)
        if kept is None:
            return _absent("secret", name, optional=volume.secret.optional)
        values = {key: base64.b64decode(text) for key, text in kept.data.items()}
        return _chosen(values, volume.secret.items, volume.secret.default_mode, name)
    if volume.downward_api is not None:
        return _downward(volume, pod)
    if volume.empty_dir is not None:
        return None
    raise VolumeError(
        f'volume "{volume.name}" is of a kind that podwire does not have '
        "(emptyDir, configMap, secret, downwardAPI and hostPath are there)"
    )


def write(directory: Path, files: Mapping[str, File]) -> None:
    """Make *directory* hold exactly *files*; each file is replaced at once, never half written."""
    directory.mkdir(parents=True, exist_ok=True)
    for path, file in files.items():
        target = directory / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_file() and target.read_bytes() == file.content:
            continue
        fresh = target.with_name(f"..{target.name}.new")
        fresh.write_bytes(file.content)
        fresh.chmod(file.mode)
        fresh.replace(target)
    for old in [path for path in directory.rglob("*") if path.is_file()]:
        if str(old.relative_to(directory)) not in files:
            old.unlink()


def binds_of(container: Container, pod: Pod, volumes: Path) -> list[Bind]:
    """Return what is to be mounted in *container*; *volumes* holds a directory per volume."""
    host_paths = {v.name: v.host_path.path for v in pod.spec.volumes if v.host_path is not None}
    binds: list[Bind] = []
    for mount in container.volume_mounts:
        base = Path(host_paths[mount.name]) if mount.name in host_paths else volumes / mount.name
        source = base / mount.sub_path if mount.sub_path else base
        if not source.exists():
            if mount.name in host_paths:
                raise VolumeError(f"hostPath {source} does not exist on this machine")
            source.mkdir(parents=True)
        path = "/" + mount.mount_path.strip("/")
        # What is the host's stays the host's: pods never write its files.
        read_only = mount.read_only or mount.name in host_paths
        binds.append(Bind(path, str(source), source.is_dir(), read_only))
    return binds


def remove(directory: Path) -> None:
    """Remove a pod's directory; gone already is success."""
    shutil.rmtree(directory, ignore_errors=True)


def _absent(kind: str, name: str, *, optional: bool | None) -> Mapping[str, File]:
    if optional:
        return {}
    raise VolumeError(f'{kind} "{name}" not found')


def _chosen(
    values: Mapping[str, bytes], items: tuple[KeyToPath, ...], mode: int, name: str
) -> Mapping[str, File]:
    if not items:
        return {key: File(content, mode) for key, content in values.items()}
    missing = [item.key for item in items if item.key not in values]
    if missing:
        raise VolumeError(f"{name}: references non-existent config key: {missing[0]}")
    return {item.path: File(values[item.key], item.mode or mode) for item in items}


def _downward(volume: Volume, pod: Pod) -> Mapping[str, File]:
    assert volume.downward_api is not None
    files: dict[str, File] = {}
    for item in volume.downward_api.items:
        if item.field_ref is None:
            raise VolumeError("downwardAPI volumes have fieldRef only here, not resourceFieldRef")
        try:
            text = field_of(pod, item.field_ref)
        except MissingSourceError as error:
            raise VolumeError(str(error)) from error
        files[item.path] = File(text.encode(), item.mode or volume.downward_api.default_mode)
    return files
