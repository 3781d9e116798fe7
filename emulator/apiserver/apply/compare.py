"""Pure: which fields a value has, and which of them differ between two values of one kind.

Two ways of counting exist. An applied configuration owns what it says and no containers
(`fields_of`); a write owns what it changed, and with a new map or item the container too
(`everything`, `compare`): `"f:labels": {".": {}, "f:app": {}}`.
Source: sigs.k8s.io/structured-merge-diff/typed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from podwire.emulator.apiserver.apply import fieldset
from podwire.emulator.apiserver.apply.fieldset import LEAF, Fields
from podwire.emulator.apiserver.apply.shape import FREE, Shape, form_of

Json = dict[str, Any]


class Unkeyed(ValueError):
    """An item of a list has no key, or a set holds what is no scalar."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a new state changes of an old one."""

    added: Fields
    modified: Fields
    removed: Fields

    @property
    def written(self) -> Fields:
        """Return what has a new value."""
        return fieldset.union(self.added, self.modified)


def member_of(shape: Shape, name: str) -> Shape:
    """Return the shape of a map's member, free where nothing is declared."""
    return shape.member(name) or shape.others or FREE


def element_of(shape: Shape, item: Any) -> str:
    """Return the path element of a list's item; raises Unkeyed."""
    if shape.form == "set":
        if item is None or isinstance(item, dict | list):
            raise Unkeyed("associative list without keys has an element that is no scalar")
        return fieldset.value(item)
    if not isinstance(item, dict):
        raise Unkeyed("associative list with keys may not have non-map elements")
    members: Json = item  # pyright: ignore[reportUnknownVariableType]
    keys: Json = {}
    for name, default in sorted(shape.keys.items()):
        found = members.get(name, default)
        if found is not None:
            keys[name] = found
    if not keys:
        raise Unkeyed(
            "associative list with keys has an element that omits all key fields "
            f"{_quoted(shape.keys)} (and doesn't have default values for any key fields)"
        )
    return fieldset.item(keys)


def by_element(shape: Shape, items: Any) -> dict[str, list[Any]]:
    """Return a list's items by their elements; a stored list may have one twice. May be null."""
    found: dict[str, list[Any]] = {}
    for position, item in enumerate(items or ()):
        try:
            element = element_of(shape, item)
        except Unkeyed:
            element = f"i:{position}"
        found.setdefault(element, []).append(item)
    return found


def fields_of(value: Any, shape: Shape) -> Fields:
    """Return the set of fields that a configuration says, for its top or a part of it."""
    form = form_of(shape, value)
    result: dict[str, Fields] = {}
    if form == "map":
        members: Json = value or {}
        for name, inside in members.items():
            declared = shape.member(name)
            below = _said(inside, declared or shape.others or FREE)
            empty = inside is None or inside == {}
            kept = _kept(below, member=empty or declared is None)
            if kept is not None:
                result[fieldset.field(name)] = kept
    else:
        for element, items in by_element(shape, value).items():
            below = LEAF if len(items) > 1 else _said(items[0], shape.items) or LEAF
            kept = _kept(below, member=True)
            if kept is not None:
                result[element] = kept
    return result


def _said(value: Any, shape: Shape) -> Fields | None:
    """Return what stands below an element in a configuration; None: nothing, not even itself."""
    if form_of(shape, value) == "leaf":
        return LEAF
    return fields_of(value, shape) or None


def _kept(below: Fields | None, *, member: bool) -> Fields | None:
    if below is None:
        return LEAF if member else None
    return fieldset.node(below, member=member) if below else LEAF


def everything(value: Any, shape: Shape) -> Fields:
    """Return what stands below the element of a value that is new as a whole, or gone."""
    form = form_of(shape, value)
    if form == "leaf" or not value:
        return LEAF
    result: dict[str, Fields] = {fieldset.SELF: LEAF}
    if form == "map":
        for name, inside in value.items():
            result["f:" + name] = everything(inside, member_of(shape, name))
    else:
        for element, items in by_element(shape, value).items():
            result[element] = everything(items[0], shape.items) if len(items) == 1 else LEAF
    return result


def compare(old: Json, new: Json, shape: Shape) -> Comparison:
    """Return what *new* changes of *old*."""
    walk = _Walk()
    added, modified, removed = walk.map(old, new, shape)
    return Comparison(added, modified, removed)


_Three = tuple[dict[str, Fields], dict[str, Fields], dict[str, Fields]]


class _Walk:
    """One descent through two values."""

    def map(self, old: Mapping[str, Any], new: Mapping[str, Any], shape: Shape) -> _Three:
        three: _Three = ({}, {}, {})
        for name, after in new.items():
            if name not in old:
                three[0]["f:" + name] = everything(after, member_of(shape, name))
            elif (before := old[name]) is not after:
                self.both(before, after, member_of(shape, name), "f:" + name, three)
        for name, before in old.items():
            if name not in new:
                three[2]["f:" + name] = everything(before, member_of(shape, name))
        return three

    def list(self, old: Any, new: Any, shape: Shape) -> _Three:
        three: _Three = ({}, {}, {})
        before, after = by_element(shape, old), by_element(shape, new)
        for element, items in after.items():
            others = before.get(element, [])
            match len(others), len(items):
                case 0, 1:
                    three[0][element] = everything(items[0], shape.items)
                case 1, 1:
                    self.both(others[0], items[0], shape.items, element, three)
                case 0 | 1, _:  # twice from now on: one leaf
                    if others:
                        three[2][element] = everything(others[0], shape.items)
                    three[0][element] = LEAF
                case _, 1:
                    three[0][element] = everything(items[0], shape.items)
                    three[2][element] = LEAF
                case _:
                    if others != items:
                        three[1][element] = LEAF
        for element, items in before.items():
            if element not in after:
                gone = everything(items[0], shape.items) if len(items) == 1 else LEAF
                three[2][element] = gone
        return three

    def both(self, old: Any, new: Any, shape: Shape, element: str, three: _Three) -> None:
        """Compare what is on both sides and write it into *three* at *element*."""
        form, former = form_of(shape, new), form_of(shape, old)
        if form == "leaf" or former == "leaf" or not (old or new):
            if old != new:
                three[1][element] = LEAF
                if form != former:  # where anything may stand, a map became a text, or back
                    _put(three[2], element, _below(old, shape, former))
                    _put(three[0], element, _below(new, shape, form))
            return
        inside = (
            self.map(old or {}, new or {}, shape) if form == "map" else self.list(old, new, shape)
        )
        for part, found in zip(three, inside, strict=True):
            _put(part, element, found)


def _below(value: Any, shape: Shape, form: str) -> Fields:
    return {} if form == "leaf" else fieldset.children(everything(value, shape))


def _put(part: dict[str, Fields], element: str, found: Fields) -> None:
    if found:
        part[element] = found


def _quoted(names: Mapping[str, Any]) -> str:
    return "[" + " ".join(f'"{name}"' for name in names) + "]"
