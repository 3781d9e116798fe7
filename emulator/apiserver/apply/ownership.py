"""Pure: `metadata.managedFields`: who wrote which field, and how a write changes that.

Each entry belongs to a manager. One that applied (operation Apply) keeps what its configuration
says; any other write (operation Update) owns what it changed and takes it from the others. What is
removed belongs to nobody any more. Source: k8s.io/apimachinery/pkg/util/managedfields/internal.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

from podwire.emulator.apiserver.apply import fieldset
from podwire.emulator.apiserver.apply.compare import Comparison, compare
from podwire.emulator.apiserver.apply.fieldset import Fields
from podwire.emulator.apiserver.apply.shape import Shape

Json = dict[str, Any]
Operation = Literal["Apply", "Update"]
Comparisons = Callable[[str], Comparison | None]
"""What a write changes, in the words of an apiVersion; None if that is not served any more."""

Views = Callable[[Json, str], "tuple[Json, Shape] | None"]
"""An object in another apiVersion, with its shape; None if that version is not served."""

MOST_UPDATERS = 10
"""More entries of operation Update than these are merged, the oldest first."""
_ANCIENT = "ancient-changes"

_META = ("name", "namespace", "creationTimestamp", "selfLink", "uid", "generation")
_STRIPPED: Fields = {
    "f:apiVersion": fieldset.LEAF,
    "f:kind": fieldset.LEAF,
    "f:metadata": {
        fieldset.SELF: fieldset.LEAF,
        **{fieldset.field(name): fieldset.LEAF for name in _META},
        "f:managedFields": fieldset.LEAF,
        "f:resourceVersion": fieldset.LEAF,
    },
}
"""What belongs to nobody: it says which object this is, or only the server writes it."""


class Malformed(ValueError):
    """A list of entries that no server wrote."""


@dataclass(frozen=True, slots=True)
class Manager:
    """Whose entry it is. One that applies has one entry, whatever version it applies."""

    name: str
    operation: Operation
    subresource: str = ""
    api_version: str = ""

    def __str__(self) -> str:
        """Return the manager as conflicts name it."""
        text = f'"{self.name}"'
        if self.subresource:
            text += f' with subresource "{self.subresource}"'
        return text if self.operation == "Apply" else f"{text} using {self.api_version}"


@dataclass(frozen=True, slots=True)
class Entry:
    """The fields of one manager, in the words of one apiVersion."""

    manager: Manager
    api_version: str
    fields: Fields
    time: str = ""
    """RFC 3339, or empty: who only shares what others wrote has none."""


Owners = Mapping[Manager, Entry]


def changes_between(
    old: Json, new: Json, views: Views, excluded: Callable[[Json], Json]
) -> Comparisons:
    """Return what tells the changes from *old* to *new* in the words of an apiVersion."""
    known: dict[str, Comparison | None] = {}

    def changes(api_version: str) -> Comparison | None:
        if api_version not in known:
            before, after = views(old, api_version), views(new, api_version)
            known[api_version] = (
                compare(excluded(before[0]), excluded(after[0]), after[1])
                if before and after
                else None
            )
        return known[api_version]

    return changes


def manager(name: str, operation: Operation, api_version: str, subresource: str = "") -> Manager:
    """Return who writes."""
    version = "" if operation == "Apply" else api_version
    return Manager(name or "unknown", operation, subresource, version)


def read(entries: Sequence[Json]) -> Owners:
    """Return the owners that a list of entries names; raises Malformed."""
    owners: dict[Manager, Entry] = {}
    for entry in entries:
        operation = entry.get("operation")
        if operation not in ("Apply", "Update"):
            raise Malformed("operation must be `Apply` or `Update`")
        version = entry.get("apiVersion")
        if not version or entry.get("fieldsType") != "FieldsV1":
            raise Malformed("apiVersion must not be empty, and fieldsType must be FieldsV1")
        whose = manager(
            entry.get("manager") or "", operation, version, entry.get("subresource") or ""
        )
        try:
            fields = fieldset.read(entry.get("fieldsV1") or {})
        except (ValueError, RecursionError) as error:
            raise Malformed(str(error)) from error
        owners[whose] = Entry(whose, version, fields, entry.get("time") or "")
    return owners


def trusted(entries: Iterable[Json]) -> Owners:
    """Return the owners of entries that this server wrote."""
    owners: dict[Manager, Entry] = {}
    for entry in entries:
        operation, version = cast("Operation", entry["operation"]), entry["apiVersion"]
        whose = manager(entry["manager"], operation, version, entry.get("subresource", ""))
        owners[whose] = Entry(whose, version, entry["fieldsV1"], entry.get("time", ""))
    return owners


def written(owners: Owners) -> list[Json]:
    """Return the entries as objects carry them, in the order of operation, time and manager."""

    def rank(entry: Entry) -> tuple[str, ...]:
        who = entry.manager
        return (who.operation, entry.time, who.name, entry.api_version, who.subresource)

    return [_entry(entry) for entry in sorted(owners.values(), key=rank)]


def _entry(entry: Entry) -> Json:
    who = entry.manager
    result: Json = {
        "manager": who.name,
        "operation": who.operation,
        "apiVersion": entry.api_version,
    }
    if entry.time:
        result["time"] = entry.time
    result |= {"fieldsType": "FieldsV1", "fieldsV1": entry.fields}
    if who.subresource:
        result["subresource"] = who.subresource
    return result


def after_update(
    owners: Owners, who: Manager, api_version: str, changes: Comparisons, now: str
) -> Owners:
    """Return the owners after a write that was no apply."""
    own = changes(api_version)
    assert own is not None, "the version of the request itself is served"
    result = dict(take(owners, changes))
    fields = strip(own.written)
    if fields:
        before = result.get(who)
        merged = fields if before is None else fieldset.union(before.fields, fields)
        result[who] = Entry(who, api_version, fieldset.ordered(merged), now)
    return _capped(result)


def take(owners: Owners, changes: Comparisons, *, but: Manager | None = None) -> Owners:
    """Return *owners* without what a write changed or removed, except for the entry *but*."""
    result: dict[Manager, Entry] = {}
    for whose, entry in owners.items():
        change = changes(entry.api_version)
        if whose == but:
            result[whose] = entry
        elif change is not None:
            lost = fieldset.union(change.written, change.removed)
            fields = fieldset.difference(entry.fields, lost)
            if fields:
                result[whose] = entry if fields == entry.fields else replace(entry, fields=fields)
    return result


def conflicts(owners: Owners, changes: Comparisons, *, but: Manager) -> dict[Manager, Fields]:
    """Return what a write would take from whom, by the managers' names."""
    found: dict[Manager, Fields] = {}
    for whose, entry in sorted(owners.items(), key=lambda pair: str(pair[0])):
        change = changes(entry.api_version)
        if whose != but and change is not None:
            theirs = fieldset.intersection(entry.fields, change.written)
            if theirs:
                found[whose] = theirs
    return found


def strip(fields: Fields) -> Fields:
    """Return what of *fields* can belong to somebody."""
    return fieldset.difference(fields, _STRIPPED)


def _capped(owners: dict[Manager, Entry]) -> Owners:
    updaters = [entry for entry in owners.values() if entry.manager.operation == "Update"]
    if len(updaters) <= MOST_UPDATERS:
        return owners
    updaters.sort(key=lambda entry: (entry.time, str(entry.manager)))
    result, left = dict(owners), len(updaters)
    oldest: dict[str, Entry] = {}
    for entry in updaters:
        first = oldest.get(entry.api_version)
        if left <= MOST_UPDATERS:
            break
        if first is None:
            oldest[entry.api_version] = entry
            continue
        version = entry.api_version
        del result[first.manager], result[entry.manager]
        fields = fieldset.ordered(fieldset.union(entry.fields, first.fields))
        merged = Entry(manager(_ANCIENT, "Update", version), version, fields, entry.time)
        oldest[version] = result[merged.manager] = merged
        left -= 1
    return result
