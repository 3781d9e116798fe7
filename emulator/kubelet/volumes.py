"""Volumes of a pod: what files they hold (pure), and their directories in the sandbox."""

import base64
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from podwire.emulator.kubelet.environment import MissingSourceError, field_of, resource_of
from podwire.emulator.runtimes.mounts import Bind
from podwire.kube.objects import (
    ConfigMap,
    Container,
    DownwardAPIFile,
    KeyToPath,
    Pod,
    Secret,
    Volume,
)


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
        complaint = "configmap references non-existent config key: {}"
        mode, optional = source.default_mode, source.optional
        return _chosen(values, source.items, mode, complaint, optional=optional)
    if volume.secret is not None:
        name = volume.secret.secret_name
        kept = secret(name)
        if kept is None:
            return _absent("secret", name, optional=volume.secret.optional)
        values = {key: base64.b64decode(text) for key, text in kept.data.items()}
        complaint = "references non-existent secret key: {}"
        mode, optional = volume.secret.default_mode, volume.secret.optional
        return _chosen(values, volume.secret.items, mode, complaint, optional=optional)
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
            target.chmod(file.mode)
            continue
        fresh = target.with_name(f"..{target.name}.new")
        fresh.write_bytes(file.content)
        fresh.chmod(file.mode)
        fresh.replace(target)
    for old in [path for path in directory.rglob("*") if path.is_file()]:
        if str(old.relative_to(directory)) not in files:
            old.unlink()


def binds_of(
    container: Container, pod: Pod, volumes: Path, *, pins_paths: bool = True
) -> list[Bind]:
    """Return what is to be mounted in *container*; *volumes* holds a directory per volume.

    Where the runtime does not pin paths, a container of the pod could lead another's subPath out of
    the volume, with a link that it makes after we looked: there an emptyDir has none. Raises
    VolumeError.
    """
    host_paths = {v.name: v.host_path.path for v in pod.spec.volumes if v.host_path is not None}
    empty = {v.name for v in pod.spec.volumes if v.empty_dir is not None}
    binds: list[Bind] = []
    for mount in container.volume_mounts:
        base = Path(host_paths[mount.name]) if mount.name in host_paths else volumes / mount.name
        source = base / mount.sub_path if mount.sub_path else base
        if mount.sub_path and mount.name in empty and not pins_paths:
            raise VolumeError(
                f"subPath {mount.sub_path!r} of the emptyDir volume {mount.name}: not supported "
                "where pods are containers of Docker Engine; mount the whole volume, or give the "
                "directory an emptyDir of its own"
            )
        # A link that a container made in the volume must not lead out of it (CVE-2017-1002101).
        if not source.resolve().is_relative_to(base.resolve()):
            raise VolumeError(f"subPath {mount.sub_path!r} of {mount.name} leads out of the volume")
        if not source.exists():
            if mount.name in host_paths:
                raise VolumeError(f"hostPath {source} does not exist on this machine")
            source.mkdir(parents=True)
        path = "/" + mount.mount_path.strip("/")
        # What is the host's stays the host's, and what the API server holds stays what it is.
        read_only = mount.read_only or mount.name not in empty
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
    values: Mapping[str, bytes],
    items: tuple[KeyToPath, ...],
    mode: int,
    complaint: str,
    *,
    optional: bool | None,
) -> Mapping[str, File]:
    if not items:
        return {key: File(content, mode) for key, content in values.items()}
    missing = [item.key for item in items if item.key not in values]
    if missing and not optional:
        raise VolumeError(complaint.format(missing[0]))
    return {
        item.path: File(values[item.key], mode if item.mode is None else item.mode)
        for item in items
        if item.key in values
    }


def _downward(volume: Volume, pod: Pod) -> Mapping[str, File]:
    assert volume.downward_api is not None
    files: dict[str, File] = {}
    for item in volume.downward_api.items:
        try:
            text = _downward_text(item, pod)
        except MissingSourceError as error:
            raise VolumeError(str(error)) from error
        mode = volume.downward_api.default_mode if item.mode is None else item.mode
        files[item.path] = File(text.encode(), mode)
    return files


def _downward_text(item: DownwardAPIFile, pod: Pod) -> str:
    if item.field_ref is not None:
        return field_of(pod, item.field_ref)
    if item.resource_field_ref is None:
        raise MissingSourceError(f"{item.path}: neither fieldRef nor resourceFieldRef")
    name = item.resource_field_ref.container_name
    for container in (*pod.spec.containers, *pod.spec.init_containers):
        if container.name == name:
            return resource_of(container, item.resource_field_ref)
    raise MissingSourceError(f"container {name} not found")
