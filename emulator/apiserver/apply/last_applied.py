"""Pure: from client-side to server-side apply: the annotation in which kubectl keeps what it sent.

Who comes from client-side apply is not in conflict with himself: what the annotation says and the
object still has may be taken. The annotation then follows, so that both ways may be mixed.
Source: k8s.io/apimachinery/pkg/util/managedfields/internal/lastapplied*.go.
"""

from typing import Any

import msgspec

from podwire.emulator.apiserver.apply import fieldset
from podwire.emulator.apiserver.apply.apply import Conflict
from podwire.emulator.apiserver.apply.compare import compare, fields_of
from podwire.emulator.apiserver.apply.fieldset import Fields
from podwire.emulator.apiserver.apply.shape import Shape
from podwire.emulator.apiserver.types.fields import below, text

Json = dict[str, Any]

ANNOTATION = "kubectl.kubernetes.io/last-applied-configuration"
KUBECTL = "kubectl"
"""Only for this manager: other programs never wrote the annotation."""

_LONGEST_ANNOTATIONS = 256 * 1024


def unresolved(conflict: Conflict, live: Json, shape: Shape) -> Conflict | None:
    """Return what is left of a conflict when the annotation's fields may be taken."""
    allowed = _as_applied(live, shape)
    rest = {who: fieldset.difference(f, allowed) for who, f in conflict.fields.items()}
    rest = {who: fields for who, fields in rest.items() if fields}
    return Conflict(rest) if rest else None


def follow(obj: Json, config: Json) -> Json:
    """Return *obj* with the annotation saying *config*, if it has one."""
    annotations = below(obj, "metadata", "annotations")
    if not annotations.get(ANNOTATION):
        return obj
    said = below(config, "metadata", "annotations")
    if ANNOTATION in said:
        rest = {name: value for name, value in said.items() if name != ANNOTATION}
        config = {**config, "metadata": {**config["metadata"], "annotations": rest}}
    # Go's encoder sorts the keys and ends with a line feed.
    words = msgspec.json.encode(config, order="sorted").decode() + "\n"
    annotations = {**annotations, ANNOTATION: words}
    if sum(len(name) + len(str(value)) for name, value in annotations.items()) > (
        _LONGEST_ANNOTATIONS
    ):
        del annotations[ANNOTATION]
    return {**obj, "metadata": {**obj["metadata"], "annotations": annotations}}


def _as_applied(live: Json, shape: Shape) -> Fields:
    """Return the fields that the annotation says and that still have its values."""
    words = text(below(live, "metadata", "annotations"), ANNOTATION)
    try:
        applied = msgspec.json.decode(words, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return fieldset.LEAF
    if applied.get("apiVersion") != live["apiVersion"]:
        return fieldset.LEAF
    changes = compare(applied, live, shape)
    return fieldset.difference(
        fields_of(applied, shape), fieldset.union(changes.written, changes.removed)
    )
