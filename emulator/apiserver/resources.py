"""Pure: the table of kinds this server serves; everything else answers 404.

A kind whose controller does not exist is absent on purpose: "not found" tells the user more than
an object that is stored and never acted on.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

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
_STATUS_VERBS = ("get", "patch", "update")

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
    stored_as: tuple[str, str] | None = None
    """Group and version of the kind whose store this one shares (events.k8s.io: core events)."""

    @property
    def api_version(self) -> str:
        """Return `v1` or `apps/v1`, as objects write it."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def collection(self) -> str:
        """Return the name under which the store keeps objects of this kind."""
        group = self.group if self.stored_as is None else self.stored_as[0]
        return f"{self.plural}.{group}" if group else self.plural

    @property
    def qualified(self) -> str:
        """Return `pods` or `deployments.apps`, as error messages write it."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def stored(self) -> bool:
        """Return whether objects of this kind are kept; reviews are answered and forgotten."""
        return "get" in self.verbs

    def has(self, subresource: str) -> bool:
        """Return whether *subresource* exists below this kind."""
        return any(entry.name == subresource for entry in self.subresources)


def _field(path: str, absent: str = "") -> tuple[tuple[str, ...], str]:
    return tuple(path.split(".")), absent


def _fields(*paths: str, **absent: str) -> FieldPaths:
    table = {path: _field(path) for path in paths}
    table |= {
        key.replace("__", "."): _field(key.replace("__", "."), value)
        for key, value in absent.items()
    }
    return MappingProxyType(table)


def _status(kind: str, group: str = "") -> Subresource:
    return Subresource("status", kind, _STATUS_VERBS, group)


_SCALE = Subresource("scale", "Scale", _STATUS_VERBS, "autoscaling", "v1")

_EVENT_FIELDS = (
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "type",
)
_CORE_EVENT_FIELDS: FieldPaths = MappingProxyType(
    {path: _field(path) for path in (*_EVENT_FIELDS, "reportingComponent")}
    | {"source": _field("source.component")}
)
_NEW_EVENT_FIELDS: FieldPaths = MappingProxyType(
    {path.replace("involvedObject", "regarding"): _field(path) for path in _EVENT_FIELDS}
    | {"reportingController": _field("reportingComponent")}
)

RESOURCES: tuple[Resource, ...] = (
    Resource(
        "", "v1", "configmaps", "configmap", "ConfigMap", short_names=("cm",),
    ),
    Resource(
        "", "v1", "endpoints", "endpoints", "Endpoints",
        short_names=("ep",), create_on_update=True,
    ),
    Resource(
        "", "v1", "events", "event", "Event",
        short_names=("ev",), create_on_update=True, fields=_CORE_EVENT_FIELDS,
    ),
    Resource(
        "", "v1", "namespaces", "namespace", "Namespace",
        namespaced=False, short_names=("ns",),
        # No deletecollection: the real server does not offer it for namespaces either.
        verbs=tuple(verb for verb in ALL_VERBS if verb != "deletecollection"),
        subresources=(Subresource("finalize", "Namespace", ("update",)), _status("Namespace")),
        fields=_fields("status.phase"),
    ),
    Resource(
        "", "v1", "nodes", "node", "Node",
        namespaced=False, short_names=("no",), subresources=(_status("Node"),),
        # The kubelet registers its node with the status filled in.
        status_on_create=True, fields=_fields(spec__unschedulable="false"),
    ),
    Resource(
        "", "v1", "pods", "pod", "Pod",
        short_names=("po",), categories=("all",),
        subresources=(
            Subresource("attach", "PodAttachOptions", ("create", "get")),
            Subresource("binding", "Binding", ("create",)),
            Subresource("eviction", "Eviction", ("create",), "policy"),
            Subresource("exec", "PodExecOptions", ("create", "get")),
            Subresource("log", "Pod", ("get",)),
            _status("Pod"),
        ),
        fields=_fields(
            "spec.nodeName", "spec.restartPolicy", "spec.schedulerName",
            "spec.serviceAccountName", "status.phase", "status.podIP",
            "status.nominatedNodeName", spec__hostNetwork="false",
        ),
    ),
    Resource(
        "", "v1", "secrets", "secret", "Secret", fields=_fields("type"),
    ),
    Resource(
        "", "v1", "serviceaccounts", "serviceaccount", "ServiceAccount", short_names=("sa",),
    ),
    Resource(
        "", "v1", "services", "service", "Service",
        short_names=("svc",), categories=("all",), subresources=(_status("Service"),),
        create_on_update=True, fields=_fields("spec.clusterIP", "spec.type"),
    ),
    Resource(
        "apps", "v1", "controllerrevisions", "controllerrevision", "ControllerRevision",
    ),
    Resource(
        "apps", "v1", "daemonsets", "daemonset", "DaemonSet",
        short_names=("ds",), categories=("all",), generation=True,
        subresources=(_status("DaemonSet", "apps"),),
    ),
    Resource(
        "apps", "v1", "deployments", "deployment", "Deployment",
        short_names=("deploy",), categories=("all",), generation=True,
        subresources=(_SCALE, _status("Deployment", "apps")),
    ),
    Resource(
        "apps", "v1", "replicasets", "replicaset", "ReplicaSet",
        short_names=("rs",), categories=("all",), generation=True,
        subresources=(_SCALE, _status("ReplicaSet", "apps")),
        fields=_fields(status__replicas="0"),
    ),
    Resource(
        "events.k8s.io", "v1", "events", "event", "Event",
        short_names=("ev",), create_on_update=True, fields=_NEW_EVENT_FIELDS,
        stored_as=("", "v1"),
    ),
    Resource(
        "authentication.k8s.io", "v1", "selfsubjectreviews", "selfsubjectreview",
        "SelfSubjectReview", namespaced=False, verbs=("create",),
    ),
    Resource(
        "authorization.k8s.io", "v1", "selfsubjectaccessreviews", "selfsubjectaccessreview",
        "SelfSubjectAccessReview", namespaced=False, verbs=("create",),
    ),
    Resource(
        "authorization.k8s.io", "v1", "selfsubjectrulesreviews", "selfsubjectrulesreview",
        "SelfSubjectRulesReview", namespaced=False, verbs=("create",),
    ),
    Resource(
        "coordination.k8s.io", "v1", "leases", "lease", "Lease",
        create_on_update=True, unconditional_update=False,
    ),
    Resource(
        "discovery.k8s.io", "v1", "endpointslices", "endpointslice", "EndpointSlice",
        generation=True,
    ),
)  # fmt: skip
"""Every kind served, groups in the order of kubectl's preference."""

_BY_PATH = {(entry.group, entry.version, entry.plural): entry for entry in RESOURCES}
_BY_KIND = {(entry.group, entry.version, entry.kind): entry for entry in RESOURCES}


def find(group: str, version: str, plural: str) -> Resource | None:
    """Return the kind served at that path, or None."""
    return _BY_PATH.get((group, version, plural))


def of_kind(group: str, version: str, kind: str) -> Resource | None:
    """Return the entry of a group, version and kind, or None."""
    return _BY_KIND.get((group, version, kind))


def storage_of(resource: Resource) -> Resource:
    """Return the kind in whose version objects of *resource* are stored."""
    if resource.stored_as is None:
        return resource
    return _BY_PATH[(*resource.stored_as, resource.plural)]


def groups() -> dict[str, tuple[str, ...]]:
    """Return group -> versions, in the order of preference; the core group is the empty text."""
    found: dict[str, tuple[str, ...]] = {}
    for entry in RESOURCES:
        versions = found.get(entry.group, ())
        if entry.version not in versions:
            found[entry.group] = (*versions, entry.version)
    return found


def in_version(group: str, version: str) -> tuple[Resource, ...]:
    """Return the kinds of one group and version."""
    return tuple(e for e in RESOURCES if (e.group, e.version) == (group, version))
