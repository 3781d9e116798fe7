"""Pure: the ControllerRevisions of a DaemonSet or StatefulSet: which is the newest, which go.

A revision holds the pod template as a strategic merge patch (its `$patch: replace` is what
`kubectl rollout undo` needs); numbers only grow, and going back gives an old revision a new number
(pkg/controller/history).
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from podwire.emulator.controllers.pod_templates import Template, labels_of, template_hash
from podwire.kube.codec import owned_by
from podwire.kube.objects import ControllerRevision, Object, ObjectMeta


@dataclass(frozen=True)
class Newest:
    """The revision with the wanted template: present, present under an old number, or to make."""

    revision: ControllerRevision
    renumber: int | None = None
    """The number that the revision, which exists, must get."""
    create: bool = False


def newest(
    owner: Object,
    template: Template,
    revisions: Iterable[ControllerRevision],
    *,
    collisions: int,
    hash_label: str,
) -> Newest:
    """Return the revision of *template*, given all that *owner* has.

    *hash_label* is the label under which the owner's kind writes the hash.
    """
    by_number = ordered(revisions)
    following = by_number[-1].revision + 1 if by_number else 1
    same = [r for r in by_number if template_of(r) == template]
    if not same:
        made = _revision(owner, template, following, collisions, hash_label)
        return Newest(made, create=True)
    if same[-1] is by_number[-1]:
        return Newest(same[-1])
    return Newest(same[-1], renumber=following)


def template_of(revision: ControllerRevision) -> dict[str, Any] | None:
    """Return the pod template that a revision holds, or None if it holds something else."""
    spec: dict[str, Any] = (revision.data or {}).get("spec") or {}
    template: dict[str, Any] | None = spec.get("template")
    if template is None:
        return None
    return {key: value for key, value in template.items() if key != "$patch"}


def ordered(revisions: Iterable[ControllerRevision]) -> list[ControllerRevision]:
    """Return revisions by number; among equals the older first."""
    return sorted(
        revisions,
        key=lambda r: (r.revision, r.metadata.creation_timestamp or "", r.metadata.name),
    )


def surplus(
    revisions: Sequence[ControllerRevision], live: Collection[str], limit: int
) -> list[ControllerRevision]:
    """Return the revisions to delete: no pod and no rollout needs them, and *limit* is reached."""
    idle = [r for r in ordered(revisions) if r.metadata.name not in live]
    return idle[: max(0, len(idle) - limit)]


def _revision(
    owner: Object, template: Template, number: int, collisions: int, hash_label: str
) -> ControllerRevision:
    suffix = template_hash(template, collisions)
    return ControllerRevision(
        metadata=ObjectMeta(
            name=f"{owner.metadata.name}-{suffix}",
            namespace=owner.metadata.namespace,
            labels={**labels_of(template), hash_label: suffix},
            # The change-cause of `rollout history` is among them.
            annotations=owner.metadata.annotations,
            owner_references=(owned_by(owner),),
        ),
        revision=number,
        data={"spec": {"template": {**template, "$patch": "replace"}}},
    )
