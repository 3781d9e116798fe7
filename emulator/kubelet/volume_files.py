"""Pure: what files a volume of a pod holds."""

import base64
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from podwire.emulator.kubelet.environment import MissingSourceError, field_of, resource_of
from podwire.kube.objects import (
    ConfigMap,
    ConfigMapVolumeSource,
    DownwardAPIFile,
    DownwardAPIVolumeSource,
    KeyToPath,
    Pod,
    ProjectedVolumeSource,
    Secret,
    SecretProjection,
    ServiceAccountTokenProjection,
    Volume,
)

Files = Mapping[str, "File"]


class VolumeError(Exception):
    """A volume cannot be made; the message is the kubelet's."""


@dataclass(frozen=True, slots=True)
class File:
    """A file of a volume."""

    content: bytes
    mode: int = 0o644


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the contents of volumes come from.

    *tokens* holds those of the pod's ServiceAccount by audience and lifetime, *allocatable* what
    the node has of each resource.
    """

    config_map: Callable[[str], ConfigMap | None]
    secret: Callable[[str], Secret | None]
    tokens: Mapping[tuple[str, int], str] = field(default_factory=dict[tuple[str, int], str])
    allocatable: Mapping[str, str] = field(default_factory=dict[str, str])


def files_of(volume: Volume, pod: Pod, sources: Sources) -> Files | None:
    """Return a volume's files by relative path; None for one that is just a directory.

    Raises VolumeError for what is missing or not supported.
    """
    if volume.config_map is not None:
        source = volume.config_map
        return _config_map(source, sources, source.default_mode)
    if volume.secret is not None:
        asked = volume.secret
        projection = SecretProjection(asked.secret_name, asked.items, asked.optional)
        return _secret(projection, sources, asked.default_mode)
    if volume.downward_api is not None:
        return _downward(volume.downward_api, pod, sources, volume.downward_api.default_mode)
    if volume.projected is not None:
        return _projected(volume.projected, pod, sources)
    if volume.empty_dir is not None:
        return None
    raise VolumeError(
        f'volume "{volume.name}" is of a kind that podwire does not have '
        "(emptyDir, configMap, secret, downwardAPI, projected and hostPath are there)"
    )


def tokens_of(volume: Volume) -> tuple[ServiceAccountTokenProjection, ...]:
    """Return the tokens that *volume* holds."""
    if volume.projected is None:
        return ()
    sources = volume.projected.sources
    return tuple(s.service_account_token for s in sources if s.service_account_token is not None)


def objects_in(volumes: Iterable[Volume]) -> frozenset[tuple[type[ConfigMap | Secret], str]]:
    """Return the ConfigMaps and Secrets, by name, that *volumes* show."""
    found: set[tuple[type[ConfigMap | Secret], str]] = set()
    for volume in volumes:
        projected = volume.projected.sources if volume.projected is not None else ()
        maps = (volume.config_map, *(one.config_map for one in projected))
        found |= {(ConfigMap, one.name) for one in maps if one is not None}
        if volume.secret is not None:
            found.add((Secret, volume.secret.secret_name))
        found |= {(Secret, one.secret.name) for one in projected if one.secret is not None}
    return frozenset(found)


def _projected(volume: ProjectedVolumeSource, pod: Pod, sources: Sources) -> Files:
    mode = volume.default_mode
    files: dict[str, File] = {}
    for source in volume.sources:
        if source.config_map is not None:
            files |= _config_map(source.config_map, sources, mode)
        if source.secret is not None:
            files |= _secret(source.secret, sources, mode)
        if source.downward_api is not None:
            files |= _downward(source.downward_api, pod, sources, mode)
        if source.service_account_token is not None:
            wish = source.service_account_token
            token = sources.tokens.get((wish.audience, wish.expiration_seconds))
            if token is None:
                raise VolumeError("failed to fetch token: there is none yet")
            files[wish.path] = File(token.encode(), mode)
    return files


def _config_map(source: ConfigMapVolumeSource, sources: Sources, mode: int) -> Files:
    found = sources.config_map(source.name)
    if found is None:
        return _absent("configmap", source.name, optional=source.optional)
    values = {key: text.encode() for key, text in found.data.items()}
    values |= {key: base64.b64decode(text) for key, text in found.binary_data.items()}
    complaint = "configmap references non-existent config key: {}"
    return _chosen(values, source.items, mode, complaint, optional=source.optional)


def _secret(source: SecretProjection, sources: Sources, mode: int) -> Files:
    found = sources.secret(source.name)
    if found is None:
        return _absent("secret", source.name, optional=source.optional)
    values = {key: base64.b64decode(text) for key, text in found.data.items()}
    complaint = "references non-existent secret key: {}"
    return _chosen(values, source.items, mode, complaint, optional=source.optional)


def _absent(kind: str, name: str, *, optional: bool | None) -> Files:
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
) -> Files:
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


def _downward(source: DownwardAPIVolumeSource, pod: Pod, sources: Sources, mode: int) -> Files:
    files: dict[str, File] = {}
    for item in source.items:
        try:
            text = _downward_text(item, pod, sources.allocatable)
        except MissingSourceError as error:
            raise VolumeError(str(error)) from error
        files[item.path] = File(text.encode(), mode if item.mode is None else item.mode)
    return files


def _downward_text(item: DownwardAPIFile, pod: Pod, allocatable: Mapping[str, str]) -> str:
    if item.field_ref is not None:
        return field_of(pod, item.field_ref)
    if item.resource_field_ref is None:
        raise MissingSourceError(f"{item.path}: neither fieldRef nor resourceFieldRef")
    name = item.resource_field_ref.container_name
    for container in (*pod.spec.containers, *pod.spec.init_containers):
        if container.name == name:
            return resource_of(container, item.resource_field_ref, allocatable)
    raise MissingSourceError(f"container {name} not found")
