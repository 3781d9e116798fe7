"""Pure: which objects a label selector and a field selector choose."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from podwire.emulator.apiserver import statuses
from podwire.emulator.apiserver.resources import Resource
from podwire.emulator.apiserver.store import Stored
from podwire.emulator.apiserver.types.fields import struct
from podwire.kube.selectors import EVERYTHING, LabelSelector, SelectorError, parse_fields
from podwire.kube.selectors import parse_labels as read_labels

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class FieldCondition:
    """One `path=value` or `path!=value` on the stored object."""

    path: tuple[str, ...]
    absent: str
    value: str
    equal: bool

    def matches(self, obj: Mapping[str, Any]) -> bool:
        """Tell whether *obj* fulfils the condition."""
        return (_value(obj, self.path, self.absent) == self.value) is self.equal


@dataclass(frozen=True, slots=True)
class Selection:
    """What a list or a watch is about: a namespace, perhaps one name, labels and fields."""

    namespace: str = ""
    name: str = ""
    labels: LabelSelector = EVERYTHING
    fields: tuple[FieldCondition, ...] = ()

    @property
    def selective(self) -> bool:
        """Return whether a selector, and not only the namespace, narrows the choice."""
        return bool(self.name or self.labels.requirements or self.fields)

    def includes(self, stored: Stored) -> bool:
        """Tell whether *stored* is meant."""
        if self.namespace and stored.key.namespace != self.namespace:
            return False
        if self.name and stored.key.name != self.name:
            return False
        if not self.labels.requirements and not self.fields:
            return True
        obj = stored.object
        labels: Mapping[str, str] = struct(obj["metadata"], "labels")
        return self.labels.matches(labels) and all(f.matches(obj) for f in self.fields)


def parse(resource: Resource, *, namespace: str, name: str, labels: str, fields: str) -> Selection:
    """Read both selectors; raises Refused (400) with the API server's words."""
    try:
        label_selector = read_labels(labels)
        requirements = parse_fields(fields)
    except SelectorError as error:
        raise statuses.bad_request(str(error)) from error
    conditions: list[FieldCondition] = []
    for requirement in requirements:
        if requirement.field == "metadata.name" and requirement.equal and not name:
            # The common case (kubectl wait, kubectl get -w NAME): no need to read the object.
            name = requirement.value
            if name:
                continue
        path, absent = _path(resource, requirement.field)
        conditions.append(FieldCondition(path, absent, requirement.value, requirement.equal))
    return Selection(namespace, name, label_selector, tuple(conditions))


def _path(resource: Resource, label: str) -> tuple[tuple[str, ...], str]:
    if label == "metadata.name" or (label == "metadata.namespace" and resource.namespaced):
        return tuple(label.split(".")), ""
    if label not in resource.fields:
        if resource.kind == "Job" and resource.group == "batch":
            # pkg/apis/batch/v1/conversion.go has words of its own.
            raise statuses.bad_request(f'field label "{label}" not supported for batchv1.Job')
        if resource.fields:
            raise statuses.bad_request(f"field label not supported: {label}")
        raise statuses.bad_request(
            f'"{label}" is not a known field selector: only "metadata.name", "metadata.namespace"'
        )
    return resource.fields[label]


def _value(obj: Mapping[str, Any], path: tuple[str, ...], absent: str) -> str:
    value: Any = obj
    for step in path:
        value = cast("Json", value).get(step) if isinstance(value, dict) else None
    if value is None:
        return absent
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
