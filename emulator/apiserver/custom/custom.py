"""Pure: CustomResourceDefinitions to kinds that are served, and what a definition's change means.

Nothing runs beside the requests: after each write that may matter `settle` makes names, conditions,
the registry of kinds and the end of definitions what they should be, however often it is called.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from podwire.emulator.apiserver.custom import crd, structural
from podwire.emulator.apiserver.custom.structural import Node
from podwire.emulator.apiserver.kinds import Kinds
from podwire.emulator.apiserver.resources import (
    CustomKind,
    FieldPaths,
    PrinterColumn,
    Resource,
    ScalePaths,
    Subresource,
)
from podwire.emulator.apiserver.store import Store, Stored
from podwire.emulator.apiserver.types.fields import below, many, struct, text
from podwire.emulator.apiserver.types.normalise import Normalised, normalise

Json = dict[str, Any]

DEFINITIONS = "customresourcedefinitions.apiextensions.k8s.io"

_VERBS = ("delete", "deletecollection", "get", "list", "patch", "create", "update", "watch")
_BELOW_VERBS = ("get", "patch", "update")
_AGE = PrinterColumn(
    "Age",
    "date",
    ".metadata.creationTimestamp",
    "CreationTimestamp is a timestamp representing the server time when this object was created.",
)
_FINALIZERS = ("orphan", "foregroundDeletion", "kubernetes")
_CHANGING = ("metadata", "status")
_VERSION = re.compile(r"v(\d+)(?:(alpha|beta)(\d+))?")
_GRADES = {"": 2, "beta": 1, "alpha": 0}


def settle(store: Store, kinds: Kinds, now: float) -> list[tuple[Resource, Stored]]:
    """Make the definitions' status and *kinds* what the store's definitions say.

    Returns the objects that must be deleted because their definition is: call again after that.
    """
    doomed: list[tuple[Resource, Stored]] = []
    changed = True
    while changed:  # a name that one definition gives up is taken by the next
        changed = False
        definitions = store.all(DEFINITIONS)
        for stored in definitions:
            obj = _draft(stored)
            crd.settle(obj, _neighbours(obj, definitions, kinds), now)
            if _ends(obj):
                left = _objects(store, obj)
                doomed += [e for e in left if not e[1].object["metadata"].get("deletionTimestamp")]
                crd.clean(obj, now, left=len(left))
                if not obj["metadata"].get("finalizers"):
                    doomed = [entry for entry in doomed if entry not in left]
                    store.remove(DEFINITIONS, stored.key, obj)
                    changed = True
                    break
            if obj != stored.object:
                store.put(DEFINITIONS, stored.key, obj)
                changed = True
                break
    kinds.replace_custom(served(store))
    return list({id(stored): (resource, stored) for resource, stored in doomed}.values())


def served(store: Store) -> list[Resource]:
    """Return the kinds of all definitions, in the order in which discovery shows them."""
    found = [
        entry
        for stored in store.all(DEFINITIONS)
        if crd.served(stored.object)
        for entry in entries(stored.object)
    ]
    return sorted(found, key=lambda e: (e.group, _preference(e.version), e.plural))


def entries(obj: Json) -> tuple[Resource, ...]:
    """Return the kinds that a definition has: one for each version that is served."""
    versions: list[Json] = many(struct(obj, "spec"), "versions")
    storage = next((v for v in versions if v.get("storage")), None)
    if storage is None:
        return ()
    home = _resource(obj, storage, None)
    return tuple(
        home if version is storage else _resource(obj, version, home)
        for version in versions
        if version.get("served")
    )


def home_of(obj: Json) -> Resource:
    """Return the kind in whose version a definition's objects are stored; raises StopIteration."""
    versions: list[Json] = many(struct(obj, "spec"), "versions")
    return _resource(obj, next(v for v in versions if v.get("storage")), None)


def read(value: Json, resource: Resource, kind: CustomKind) -> Normalised:
    """Return *value* as it is stored: metadata as every kind has it, the rest as *kind* says.

    Raises TypeMismatch for metadata that is none.
    """
    if value.get("metadata") is None:
        value = {**value, "metadata": {}}
    found = normalise(value, resource.api_version, resource.kind)  # of the metadata
    obj: Json = structural.copied(found.object)
    pruned = structural.prune(obj, kind.schema)
    structural.drop_nulls(obj, kind.schema)
    obj["apiVersion"], obj["kind"] = resource.api_version, resource.kind
    return Normalised(obj, [*found.unknown, *(f'unknown field "{path}"' for path in pruned)])


def odd_finalizers(obj: Json, before: Json | None) -> tuple[str, ...]:
    """Return a warning for each new finalizer of a custom resource that has no domain."""
    names = many(obj["metadata"], "finalizers")
    known = many(before["metadata"], "finalizers") if before else ()
    warnings: list[str] = []
    for name in sorted({*names} - {*known, *_FINALIZERS}):
        if "/" not in name:
            path = " including a path (/)" if "." in name else ""
            warnings.append(
                f'metadata.finalizers: "{name}": prefer a domain-qualified finalizer name{path} to '
                "avoid accidental conflicts with other finalizer writers"
            )
    return tuple(warnings)


def shown(obj: Json, resource: Resource, kind: CustomKind) -> Json:
    """Return a stored object in the version of *resource*, with defaults that came later."""
    if obj.get("apiVersion") != resource.api_version:
        obj = {**obj, "apiVersion": resource.api_version}
    return structural.defaulted(obj, kind.schema)


def _neighbours(obj: Json, definitions: Iterable[Stored], kinds: Kinds) -> Iterator[Json]:
    """Yield what else has names in the group of *obj*: built-in kinds and other definitions."""
    group, own = text(struct(obj, "spec"), "group"), obj["metadata"]["name"]
    for entry in kinds.builtin(group):
        # Kubernetes keeps built-in kinds elsewhere; here both would have the same objects.
        names = {
            "plural": entry.plural,
            "singular": entry.singular,
            "shortNames": list(entry.short_names),
            "kind": entry.kind,
        }
        yield {"status": {"acceptedNames": names}}
    for other in definitions:
        if other.key.name != own and text(struct(other.object, "spec"), "group") == group:
            yield other.object


def _draft(stored: Stored) -> Json:
    """Return a definition whose metadata and status may be changed; schemas are large."""
    obj = stored.object
    return {**obj, **{part: structural.copied(obj.get(part) or {}) for part in _CHANGING}}


def _ends(obj: Json) -> bool:
    meta = obj["metadata"]
    return bool(meta.get("deletionTimestamp")) and crd.CLEANUP in many(meta, "finalizers")


def _objects(store: Store, obj: Json) -> list[tuple[Resource, Stored]]:
    if not crd.is_true(obj, "Established"):
        return []  # another definition's objects may have this name
    home = home_of(obj)
    return [(home, stored) for stored in store.all(home.collection)]


def _resource(obj: Json, version: Json, storage: Resource | None) -> Resource:
    spec = struct(obj, "spec")
    names = below(obj, "status", "acceptedNames")
    group, name = text(spec, "group"), text(version, "name")
    plural = text(struct(spec, "names"), "plural")
    kind = text(names, "kind")
    scale = below(version, "subresources", "scale")
    subresources: list[Subresource] = []
    if struct(version, "subresources").get("status") is not None:
        subresources.append(Subresource("status", kind, _BELOW_VERBS, group, name))
    if scale:
        subresources.append(Subresource("scale", "Scale", _BELOW_VERBS, "autoscaling", "v1"))
    return Resource(
        group,
        name,
        plural,
        text(names, "singular"),
        kind,
        namespaced=spec.get("scope") == "Namespaced",
        short_names=tuple(many(names, "shortNames")),
        categories=tuple(many(names, "categories")),
        verbs=_VERBS,
        subresources=tuple(subresources),
        generation=True,
        unconditional_update=False,
        fields=_fields(many(version, "selectableFields")),
        stored_as=storage,
        custom=CustomKind(
            Node(below(version, "schema", "openAPIV3Schema")),
            text(names, "listKind") or f"{kind}List",
            _columns(many(version, "additionalPrinterColumns")),
            _scale(scale) if scale else None,
            _deprecation(version, f"{group}/{name} {kind} is deprecated"),
            ending=bool(obj["metadata"].get("deletionTimestamp")),
        ),
    )


def _fields(selectable: list[Json]) -> FieldPaths:
    paths = [_steps(text(entry, "jsonPath")) for entry in selectable]
    return {".".join(path): (path, "") for path in paths}


def _steps(path: str) -> tuple[str, ...]:
    return tuple(path.removeprefix(".").split("."))


def _columns(given: list[Json]) -> tuple[PrinterColumn, ...]:
    return tuple(
        PrinterColumn(
            text(column, "name"),
            text(column, "type"),
            text(column, "jsonPath"),
            text(column, "description"),
            text(column, "format"),
            int(column.get("priority") or 0),
        )
        for column in given
    ) or (_AGE,)


def _scale(scale: Json) -> ScalePaths:
    selector = text(scale, "labelSelectorPath")
    return ScalePaths(
        _steps(text(scale, "specReplicasPath")),
        _steps(text(scale, "statusReplicasPath")),
        _steps(selector) if selector else (),
    )


def _deprecation(version: Json, otherwise: str) -> str:
    if not version.get("deprecated"):
        return ""
    return text(version, "deprecationWarning") or otherwise


def _preference(version: str) -> tuple[int, int, int, int, str]:
    """Return what sorts versions as Kubernetes prefers them: v2, v1, v1beta1, v1alpha1, others."""
    match = _VERSION.fullmatch(version)
    if match is None:
        return (1, 0, 0, 0, version)
    major, grade, minor = match.groups()
    return (0, -_GRADES[grade or ""], -int(major), -int(minor or 0), version)
