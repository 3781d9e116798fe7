"""Pure: what the server must know of a kind to serve it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from podwire.emulator.apiserver.custom.structural import Node

ALL_VERBS = (
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
)

# Field selector label -> path in the stored object, and the value that stands for "absent".
FieldPaths = Mapping[str, tuple[tuple[str, ...], str]]


@dataclass(frozen=True, slots=True)
class Subresource:
    """What hangs below one object's path, such as `pods/NAME/log`."""

    name: str
    kind: str
    verbs: tuple[str, ...]
    group: str = ""
    version: str = "v1"


@dataclass(frozen=True, slots=True)
class PrinterColumn:
    """One column that a CustomResourceDefinition adds to `kubectl get`."""

    name: str
    type: str
    path: str
    description: str = ""
    format: str = ""
    priority: int = 0


@dataclass(frozen=True, slots=True)
class ScalePaths:
    """Where a custom resource has what its Scale shows, as `("spec", "replicas")`."""

    wanted: tuple[str, ...]
    present: tuple[str, ...]
    selector: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CustomKind:
    """What a CustomResourceDefinition says of one version of its kind."""

    schema: Node
    """The openAPIV3Schema."""
    list_kind: str = ""
    columns: tuple[PrinterColumn, ...] = ()
    scale: ScalePaths | None = None
    deprecation: str = ""
    """What to warn of whoever uses this version."""
    ending: bool = False
    """Whether the definition is being deleted: nothing new may be created."""


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind in one version, and what makes its handling differ from other kinds."""

    group: str
    version: str
    plural: str
    singular: str
    kind: str
    namespaced: bool = True
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ALL_VERBS
    subresources: tuple[Subresource, ...] = ()
    generation: bool = False
    """Whether metadata.generation counts changes outside metadata and status."""
    create_on_update: bool = False
    """Whether PUT on a missing object creates it."""
    unconditional_update: bool = True
    """Whether PUT without resourceVersion overwrites."""
    status_on_create: bool = False
    """Whether a status in the body of a POST is kept although there is a status subresource."""
    fields: FieldPaths = field(default_factory=lambda: MappingProxyType({}))
    """Field selectors besides metadata.name and metadata.namespace."""
    stored_as: "Resource | None" = None
    """The kind whose store this one shares (events.k8s.io: core events)."""
    computed: bool = False
    """Whether objects are made when somebody asks (metrics) and never stored."""
    refusal: str = ""
    """Why a verb that Kubernetes has is missing, and what to use instead."""
    custom: CustomKind | None = None
    """What a CustomResourceDefinition says; None for a kind that is built in."""

    @property
    def api_version(self) -> str:
        """Return `v1` or `apps/v1`, as objects write it."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def storage(self) -> "Resource":
        """Return the kind in whose version objects of this one are stored."""
        return self if self.stored_as is None else self.stored_as

    @property
    def collection(self) -> str:
        """Return the name under which the store keeps objects of this kind."""
        return self.storage.qualified

    @property
    def qualified(self) -> str:
        """Return `pods` or `deployments.apps`, as error messages write it."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def stored(self) -> bool:
        """Return whether objects of this kind are kept; reviews are answered and forgotten."""
        return "get" in self.verbs and not self.computed

    def has(self, subresource: str) -> bool:
        """Return whether *subresource* exists below this kind."""
        return any(entry.name == subresource for entry in self.subresources)
