"""Pure: what an object loses when a manager stops applying some of its fields.

A path is lost if the manager had it, and it, or something above it that the manager had too, is
owned by nobody now. A declared field counts as had and as owned if anything below it is; an item of
a list only if it is itself: without an owner it goes with all it has, whoever owns parts of it.
Source: sigs.k8s.io/structured-merge-diff/merge (prune).
"""

from dataclasses import dataclass
from typing import Any

from podwire.emulator.apiserver.apply import fieldset
from podwire.emulator.apiserver.apply.compare import by_element, member_of
from podwire.emulator.apiserver.apply.fieldset import LEAF, Fields
from podwire.emulator.apiserver.apply.shape import Shape, form_of

Json = dict[str, Any]


def prune(obj: Json, shape: Shape, *, last: Fields, owned: Fields) -> Json:
    """Return *obj* without what is lost; *last*: what the manager had, *owned*: all have now."""
    if not last:
        return obj
    kept: Json = _inside(obj, shape, _Place(last, owned)) or {}
    return kept


@dataclass(frozen=True, slots=True)
class _Place:
    """One place of the object: what is had and owned there and below."""

    last: Fields
    owned: Fields | None
    #: whether the manager had this, not only something below it
    had: bool = False
    #: whether it had this or something above
    cut: bool = False
    #: whether this or something above was cut and has no owner
    orphaned: bool = False

    def below(self, element: str, *, declared: bool) -> "_Place | None":
        """Return the place of a member or item; None if the manager had nothing there."""
        last = self.last.get(element)
        if last is None:
            return None
        owned = None if self.owned is None else self.owned.get(element)
        had = declared or fieldset.belongs(last)
        kept = owned is not None and (declared or fieldset.belongs(owned))
        cut = self.cut or had
        return _Place(last, owned, had, cut, self.orphaned or (cut and not kept))

    @property
    def lost(self) -> bool:
        """Return whether what stands here goes."""
        return self.had and self.orphaned


def _inside(value: Any, shape: Shape, place: _Place) -> Any:
    """Return *value* without what is lost below it; None if nothing is left."""
    form = form_of(shape, value)
    if form == "leaf" or not value or place.last == LEAF:
        return value
    if form == "map":
        members: Json = {}
        for name, inside in value.items():
            declared = shape.member(name)
            below = place.below(fieldset.field(name), declared=declared is not None)
            kept = _kept(inside, declared or member_of(shape, name), below)
            if kept or kept == inside:
                members[name] = kept
        return members
    items: list[Any] = []
    for element, entries in by_element(shape, value).items():
        below = place.below(element, declared=False)
        for entry in entries:
            kept = _kept(entry, shape.items, below)
            if kept is not None:
                # An item without its keys would be another one.
                keys = {key: entry[key] for key in shape.keys if key in entry}
                items.append({**keys, **kept} if keys else kept)
    return items


def _kept(value: Any, shape: Shape, place: _Place | None) -> Any:
    """Return what is left of *value*, None if it is lost."""
    if place is None:
        return value
    return None if place.lost else _inside(value, shape, place)
