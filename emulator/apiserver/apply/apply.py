"""Pure: server-side apply: a configuration merged into an object, and who owns what afterwards.

1. merged = the live object with the configuration laid over it, by the shapes of its fields;
2. pruned = without what this manager applied before, does not apply now, and nobody else owns;
3. whoever owns something that changed is in conflict, and loses it if the client forces it.

Source: sigs.k8s.io/structured-merge-diff/merge; KEP-555.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from podwire.emulator.apiserver.apply import fieldset, ownership
from podwire.emulator.apiserver.apply.compare import by_element, compare, fields_of, member_of
from podwire.emulator.apiserver.apply.fieldset import Fields
from podwire.emulator.apiserver.apply.ownership import Entry, Manager, Owners, Views
from podwire.emulator.apiserver.apply.prune import prune
from podwire.emulator.apiserver.apply.shape import Shape, form_of

Json = dict[str, Any]


class Conflict(Exception):
    """Others own what an apply would change; *fields* says what, by manager."""

    def __init__(self, fields: dict[Manager, Fields]) -> None:
        super().__init__("conflict")
        self.fields = fields

    def __iter__(self) -> "Iterator[tuple[Manager, fieldset.Path]]":
        """Yield each contested field with its manager."""
        for who, fields in self.fields.items():
            for path in fieldset.paths(fields):
                yield who, path


@dataclass(frozen=True, slots=True)
class Applying:
    """One apply: who, what, onto what."""

    who: Manager
    api_version: str
    shape: Shape
    config: Json
    live: Json
    owners: Owners
    views: Views
    now: str
    excluded: Callable[[Json], Json] = lambda obj: obj
    """Takes away what this path of the API does not write: the status, or all but the status."""


def apply(asked: Applying, *, force: bool) -> tuple[Json, Owners]:
    """Return the object after the apply and its owners; raises Conflict unless forced."""
    merged = merge(asked.live, asked.config, asked.shape)
    said = ownership.strip(fields_of(asked.excluded(asked.config), asked.shape))
    before = asked.owners.get(asked.who)
    entry = Entry(
        asked.who, asked.api_version, fieldset.ordered(said), "" if before is None else before.time
    )
    owners = {**asked.owners, asked.who: entry}
    result = merged if before is None else _pruned(asked, merged, before, owners)
    changes = ownership.changes_between(asked.live, result, asked.views, asked.excluded)
    contested = ownership.conflicts(owners, changes, but=asked.who)
    if contested and not force:
        raise Conflict(contested)
    after = dict(ownership.take(owners, changes, but=asked.who))
    if not said:
        del after[asked.who]
    elif result != asked.live:
        after[asked.who] = replace(entry, time=asked.now)
    return result, after


def merge(live: Any, config: Any, shape: Shape) -> Any:
    """Return *live* with *config* laid over it; neither is changed."""
    form = form_of(shape, config)
    if form == "leaf" or form_of(shape, live) != form:
        return config
    if not live or not config:
        return live or config
    if form != "map":
        return _merged_list(live, config, shape)
    result: Json = dict(live)
    for name, value in config.items():
        known = name in live
        result[name] = merge(live[name], value, member_of(shape, name)) if known else value
    return result


def _merged_list(live: list[Any], config: list[Any], shape: Shape) -> list[Any]:
    """Merge lists with keys, and sets.

    Items of both come in the order of the configuration, items that only the live list has stay
    where they are, new ones follow the item that is before them in the configuration.
    """
    present = by_element(shape, live)
    wanted = {element: items[0] for element, items in by_element(shape, config).items()}

    def merged(element: str) -> Any:
        others = present.get(element, [])
        # An item that stands twice in the live list is replaced as a whole.
        config_item = wanted[element]
        return merge(others[0], config_item, shape.items) if len(others) == 1 else config_item

    order = list(wanted)
    turns = [position for position, element in enumerate(order) if element in present]
    result: list[Any] = []
    done = 0
    for element, items in present.items():
        if element not in wanted:
            result += items
        elif turns and order[turns[0]] == element:
            end = turns.pop(0) + 1
            result += map(merged, order[done:end])
            done = end
    return result + [merged(element) for element in order[done:]]


def _pruned(asked: Applying, merged: Json, before: Entry, owners: Owners) -> Json:
    """Return *merged* without what this manager applied before and nobody owns now."""
    owned: dict[str, Fields] = {before.api_version: fieldset.LEAF}
    for entry in owners.values():
        version = entry.api_version
        owned[version] = fieldset.union(owned.get(version, fieldset.LEAF), entry.fields)
    result = merged
    for version, fields in owned.items():
        whole, rest = asked.views(merged, version), asked.views(result, version)
        if whole is None or rest is None:
            continue
        obj, shape = whole
        if version == before.api_version:
            last = before.fields
        else:
            # What went a moment ago, or became a zero value, stays if somebody has it in his words.
            change = compare(obj, rest[0], shape)
            last = fieldset.union(change.removed, change.modified)
        result = prune(obj, shape, last=last, owned=fields) if last else result
    back = asked.views(result, asked.api_version)
    return merged if back is None else back[0]
