"""Pure: pod templates as values: their hash, are two the same, and the pod that one makes."""

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from podwire.kube.codec import owned_by
from podwire.kube.names import ALPHABET, Dice, random_suffix
from podwire.kube.objects import Object

POD_TEMPLATE_HASH = "pod-template-hash"
CONTROLLER_REVISION_HASH = "controller-revision-hash"
# Where the API server counts the templates of a DaemonSet, and the label that its pods get of it.
TEMPLATE_GENERATION = "deprecated.daemonset.template.generation"
POD_TEMPLATE_GENERATION = "pod-template-generation"

Template = Mapping[str, Any]

# A generated name may have 63 characters: 5 are chance (apiserver, storage/names).
LONGEST_BASE = 58


def generated_name(owner: str, dice: Dice) -> str:
    """Return a name for a pod of *owner*, as generateName would make it."""
    return f"{owner}-"[:LONGEST_BASE] + random_suffix(dice)


def pod_of(owner: Object, template: Template, name: str) -> dict[str, Any]:
    """Return the pod, as JSON values, that *owner* makes of *template*."""
    given = metadata_of(template)
    metadata: dict[str, Any] = {
        "name": name,
        # We choose the name ourselves, to know what to expect; users look for the field anyway.
        "generateName": f"{owner.metadata.name}-",
        "namespace": owner.metadata.namespace,
        "labels": given.get("labels") or {},
        "annotations": given.get("annotations") or {},
        "finalizers": given.get("finalizers") or [],
        "ownerReferences": [msgspec.to_builtins(owned_by(owner))],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {key: value for key, value in metadata.items() if value},
        "spec": template.get("spec") or {},
    }


def metadata_of(template: Template) -> dict[str, Any]:
    """Return what the template says of its pods' metadata."""
    metadata: dict[str, Any] | None = template.get("metadata")
    return metadata or {}


def labels_of(template: Template) -> dict[str, str]:
    """Return the labels of the template's pods."""
    labels: dict[str, str] | None = metadata_of(template).get("labels")
    return labels or {}


def template_hash(template: Template, collisions: int = 0) -> str:
    """Return the text that stands for *template* in names and labels.

    Letters and method are Kubernetes' (FNV-1a of 32 bits, its decimal digits spelled in safe
    letters); the bytes that are hashed are the template's JSON and not Go's dump of it, so the text
    is as stable as Kubernetes' and not equal to it.
    """
    text = json.dumps(template, sort_keys=True, separators=(",", ":"))
    number = 0x811C9DC5
    for byte in text.encode() + (str(collisions).encode() if collisions else b""):
        number = ((number ^ byte) * 0x01000193) & 0xFFFFFFFF
    return "".join(ALPHABET[ord(digit) % len(ALPHABET)] for digit in str(number))


def with_label(template: Template, key: str, value: str) -> dict[str, Any]:
    """Return *template* with one more label for its pods."""
    labels = {**labels_of(template), key: value}
    return {**template, "metadata": {**metadata_of(template), "labels": labels}}


def same_template(a: Template, b: Template) -> bool:
    """Tell whether two templates make the same pods; pod-template-hash does not count."""
    return _bare(a) == _bare(b)


def _bare(template: Template) -> dict[str, Any]:
    metadata = {k: v for k, v in metadata_of(template).items() if v is not None}
    labels = {k: v for k, v in labels_of(template).items() if k != POD_TEMPLATE_HASH}
    return {**template, "metadata": {**metadata, "labels": labels}}
