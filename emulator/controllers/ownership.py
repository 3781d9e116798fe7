"""Pure: which objects belong to a controller, which it may adopt and which it must let go.

The rules are those of Kubernetes' ControllerRefManager: a controller reference decides; without one
a matching selector is an invitation; nobody takes what another controller owns.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Generic

import msgspec

from podwire.kube.codec import owned_by
from podwire.kube.objects import Object, OwnerReference, T
from podwire.kube.selectors import LabelSelector


@dataclass(frozen=True, slots=True)
class Claim(Generic[T]):
    """What an owner has, what it should adopt, and what it should release."""

    owned: tuple[T, ...]
    adopt: tuple[T, ...] = ()
    release: tuple[T, ...] = ()


def controller_of(obj: Object) -> OwnerReference | None:
    """Return the reference to the object's controller, of which there is one at most."""
    return next((ref for ref in obj.metadata.owner_references if ref.controller), None)


def controller_uid(obj: Object) -> str:
    """Return the uid of the object's controller, or the empty text for an orphan."""
    reference = controller_of(obj)
    return reference.uid if reference else ""


def claim(owner: Object, selector: LabelSelector, candidates: Iterable[T]) -> Claim[T]:
    """Sort *candidates* (all of the owner's namespace) by what *owner* has to do with them.

    A terminating owner adopts and releases nothing; a terminating orphan is not adopted.
    """
    owned: list[T] = []
    adopt: list[T] = []
    release: list[T] = []
    leaving = owner.metadata.deletion_timestamp is not None
    for candidate in candidates:
        uid = controller_uid(candidate)
        matches = selector.matches(candidate.metadata.labels)
        if uid == owner.metadata.uid:
            if matches:
                owned.append(candidate)
            elif not leaving:
                release.append(candidate)
        elif not uid and matches and not leaving and not candidate.metadata.deletion_timestamp:
            adopt.append(candidate)
    return Claim(tuple(owned), tuple(adopt), tuple(release))


def adoption(owner: Object, orphan: Object, *, finalizer: str = "") -> dict[str, Any]:
    """Return the merge patch that makes *owner* the controller of *orphan*.

    With *finalizer* the object must be let go before it can vanish.
    """
    patch = references_patch(orphan, (*orphan.metadata.owner_references, owned_by(owner)))
    present = orphan.metadata.finalizers
    if finalizer and finalizer not in present:
        patch["metadata"]["finalizers"] = [*present, finalizer]
    return patch


def release(owner: Object, obj: Object) -> dict[str, Any]:
    """Return the merge patch that takes *owner* out of the object's references."""
    uid = owner.metadata.uid
    return references_patch(obj, (r for r in obj.metadata.owner_references if r.uid != uid))


def references_patch(obj: Object, references: Iterable[OwnerReference]) -> dict[str, Any]:
    """Return the merge patch that sets the owners; it conflicts if the object changed meanwhile."""
    # A merge patch replaces the whole list, so it must not overwrite what somebody else added.
    return {
        "metadata": {
            "resourceVersion": obj.metadata.resource_version,
            "ownerReferences": [msgspec.to_builtins(reference) for reference in references] or None,
        }
    }
