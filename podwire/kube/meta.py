"""What all Kubernetes objects share: where a kind lives, metadata, selectors, references."""

from typing import ClassVar, TypeVar

import msgspec

IntOrString = int | str


class Resource(msgspec.Struct, frozen=True):
    """Where a kind lives in the API."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """Return the `apiVersion` that objects of this kind carry."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def prefix(self) -> str:
        """Return the URL path of the group and version."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"


class View(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A part of an object; fields that have their default value are not written."""


class OwnerReference(View, frozen=True):
    """Who made an object, and whether it goes when they go."""

    api_version: str
    kind: str
    name: str
    uid: str
    controller: bool | None = None
    block_owner_deletion: bool | None = None


class ObjectMeta(View, frozen=True):
    """What every object carries. Times are RFC 3339 text."""

    name: str = ""
    namespace: str = ""
    generate_name: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    owner_references: tuple[OwnerReference, ...] = ()
    finalizers: tuple[str, ...] = ()
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    deletion_grace_period_seconds: int | None = None


class LabelSelectorRequirement(View, frozen=True):
    """One line of a selector's matchExpressions."""

    key: str
    operator: str
    values: tuple[str, ...] = ()


class LabelSelectorSpec(View, frozen=True):
    """`metav1.LabelSelector`; see podwire.kube.selectors.from_selector."""

    match_labels: dict[str, str] = {}
    match_expressions: tuple[LabelSelectorRequirement, ...] = ()


class ObjectReference(View, frozen=True):
    """A pointer to an object."""

    kind: str = ""
    namespace: str = ""
    name: str = ""
    uid: str = ""
    api_version: str = ""
    resource_version: str = ""
    field_path: str = ""


class Object(View, frozen=True):
    """What all kinds have in common."""

    RESOURCE: ClassVar[Resource]

    metadata: ObjectMeta = ObjectMeta()


class Condition(View, frozen=True):
    """A condition in an object's status; *status* is True, False or Unknown."""

    type: str
    status: str
    reason: str = ""
    message: str = ""
    last_transition_time: str | None = None
    last_update_time: str | None = None
    observed_generation: int = 0


T = TypeVar("T", bound=Object)
