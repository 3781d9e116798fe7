"""Pure: what the garbage collector must do with an object, given the state of its owners.

The rules are those of Kubernetes' garbage collector (attemptToDeleteItem).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from podwire.kube.objects import Object, OwnerReference

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"

OwnerState = Literal["solid", "absent", "waiting"]
"""An owner that stays, one that is gone, one whose deletion waits for its dependents."""

Propagation = Literal["Background", "Foreground", "Orphan"]


@dataclass(frozen=True, slots=True)
class Keep:
    """Leave the object alone."""


@dataclass(frozen=True, slots=True)
class Disown:
    """Some owners stay: the object stays too, without its other references."""

    keep: tuple[OwnerReference, ...]


@dataclass(frozen=True, slots=True)
class Collect:
    """No owner stays: delete the object."""

    propagation: Propagation


Verdict = Keep | Disown | Collect


def verdict(obj: Object, states: Mapping[str, OwnerState], *, has_dependents: bool) -> Verdict:
    """Return what to do with *obj*; *states* holds the state of each owner by its uid."""
    references = obj.metadata.owner_references
    if not references or obj.metadata.deletion_timestamp is not None:
        return Keep()
    solid = tuple(r for r in references if states[r.uid] == "solid")
    if solid:
        return Keep() if len(solid) == len(references) else Disown(solid)
    if has_dependents and any(states[r.uid] == "waiting" for r in references):
        return Collect("Foreground")
    if ORPHAN in obj.metadata.finalizers:
        return Collect("Orphan")
    return Collect("Foreground" if FOREGROUND in obj.metadata.finalizers else "Background")


def waits_for_dependents(obj: Object) -> bool:
    """Tell whether the object is being deleted in the foreground."""
    meta = obj.metadata
    return meta.deletion_timestamp is not None and FOREGROUND in meta.finalizers


def frees_dependents(obj: Object) -> bool:
    """Tell whether the object is being deleted and its dependents shall stay."""
    meta = obj.metadata
    return meta.deletion_timestamp is not None and ORPHAN in meta.finalizers


def blocks(dependent: Object, owner: Object) -> bool:
    """Tell whether *dependent* must be gone before *owner*, which is deleted in the foreground."""
    return any(
        r.uid == owner.metadata.uid and r.block_owner_deletion
        for r in dependent.metadata.owner_references
    )
