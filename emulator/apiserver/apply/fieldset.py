r"""Pure: sets of fields, in the form in which `managedFields` has them (fieldsType FieldsV1).

A set is a tree of path elements: `f:name` a member, `k:{"port":80}` the item of a list that has
these keys, `v:"x"` the item of a set. A path belongs to the set if its element has nothing below
it, or has `.` below it:

    {"f:spec": {"f:ports": {"k:{\"port\":80}": {".": {}, "f:name": {}}}}}

holds two paths, the item with port 80 and its name. Sets are never changed: what is computed is new
(and may share parts). Source: sigs.k8s.io/structured-merge-diff/fieldpath.
"""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, cast

import msgspec

Fields = Mapping[str, Any]
"""A tree as above; the values are Fields again."""
Path = tuple[str, ...]

SELF = "."
LEAF: Fields = {}
"""Below an element that belongs to the set, when nothing else does. One for all: it is small."""

_encode = msgspec.json.Encoder(order="deterministic").encode


def field(name: str) -> str:
    """Return the element of a member of a map or struct."""
    return f"f:{name}"


def item(keys: Mapping[str, Any]) -> str:
    """Return the element of an item of a list with keys."""
    return "k:" + _encode(keys).decode()


def value(scalar: Any) -> str:
    """Return the element of an item of a set."""
    return "v:" + _encode(scalar).decode()


def belongs(below: Fields | None) -> bool:
    """Tell whether the element that has *below* below it is in the set itself."""
    return below is not None and (not below or SELF in below)


def node(below: Fields, *, member: bool) -> Fields | None:
    """Return what stands below an element; None if the element is not in the tree at all."""
    if not below:
        return LEAF if member else None
    return {SELF: LEAF, **below} if member else below


def children(below: Fields) -> Fields:
    """Return what stands below an element, without the element itself."""
    return {e: b for e, b in below.items() if e != SELF} if SELF in below else below


def union(left: Fields, right: Fields) -> Fields:
    """Return the paths that are in one of the sets."""
    if not left or not right:
        return left or right
    result = dict(left)
    for element, theirs in right.items():
        ours = left.get(element)
        if ours is None:
            result[element] = theirs
        elif ours is not theirs:
            member = belongs(ours) or belongs(theirs)
            both = union(children(ours), children(theirs))
            result[element] = cast("Fields", node(both, member=member))
    return result


def intersection(left: Fields, right: Fields) -> Fields:
    """Return the paths that are in both sets."""
    result: dict[str, Fields] = {}
    for element, ours in left.items():
        theirs = right.get(element)
        if theirs is None:
            continue
        both = intersection(children(ours), children(theirs))
        kept = node(both, member=belongs(ours) and belongs(theirs))
        if kept is not None:
            result[element] = kept
    return result


def difference(left: Fields, right: Fields) -> Fields:
    """Return the paths of *left* that are not in *right*; what is below those stays."""
    if not right or not left:
        return left
    result: dict[str, Fields] = {}
    for element, ours in left.items():
        theirs = right.get(element)
        if theirs is None:
            result[element] = ours
            continue
        rest = difference(children(ours), children(theirs))
        kept = node(rest, member=belongs(ours) and not belongs(theirs))
        if kept is not None:
            result[element] = kept
    return result


def has(fields: Fields, path: Path) -> bool:
    """Tell whether *path* is in the set."""
    below: Fields | None = fields
    for element in path:
        if below is None:
            return False
        below = below.get(element)
    return belongs(below)


def paths(fields: Fields, start: Path = ()) -> Iterator[Path]:
    """Yield the paths, those of one map before those below them."""
    inside = [(element, below) for element, below in fields.items() if element != SELF]
    inside.sort(key=lambda entry: _rank(entry[0]))
    for element, below in inside:
        if belongs(below):
            yield (*start, element)
    for element, below in inside:
        yield from paths(below, (*start, element))


def ordered(fields: Fields) -> Fields:
    """Return the same set, its elements in Kubernetes' order: `.`, members, items."""
    if len(fields) < 2:
        return {e: ordered(b) if b else LEAF for e, b in fields.items()}
    elements = sorted(fields, key=_rank)
    return {e: ordered(fields[e]) if fields[e] else LEAF for e in elements}


def shown(path: Path) -> str:
    """Return a path as messages show it: `.spec.ports[port=80,protocol="TCP"].name`."""
    return "".join(map(_shown, path))


def read(tree: object) -> Fields:
    """Return the set that a client wrote as FieldsV1, in the one form that we compare.

    Raises ValueError for anything else.
    """
    if not isinstance(tree, dict):
        raise ValueError("fieldsV1 must be a map")
    result: dict[str, Fields] = {}
    for element, below in cast("dict[str, object]", tree).items():
        result[_read_element(element)] = read(below) or LEAF
    return result


def _read_element(text: str) -> str:
    kind, content = text[:2], text[2:]
    if text == SELF or kind == "f:":
        return text
    if kind == "i:":
        return f"i:{int(content)}"
    try:
        if kind == "k:":
            keys = msgspec.json.decode(content, type=dict[str, Any])
            return item({name: keys[name] for name in sorted(keys)})
        if kind == "v:":
            return value(msgspec.json.decode(content))
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise ValueError(f"unreadable path element {text!r}") from error
    raise ValueError(f"unknown path element {text!r}")


@lru_cache(maxsize=4096)
def _rank(element: str) -> tuple[Any, ...]:
    """Return what sorts elements as Kubernetes does: numbers in keys count as numbers."""
    kind, content = element[:2], element[2:]
    if kind == "f:":
        return (1, content)
    if kind == "k:":
        keys: dict[str, Any] = msgspec.json.decode(content)
        return (2, tuple((name, *_rank_of_value(keys[name])) for name in keys))
    if kind == "v:":
        return (3, _rank_of_value(msgspec.json.decode(content)))
    return (0, "") if element == SELF else (4, int(content))


def _rank_of_value(scalar: Any) -> tuple[int, float, str]:
    if isinstance(scalar, bool):
        return (2, scalar, "")
    if isinstance(scalar, int | float):
        return (0, scalar, "")
    return (1, 0, scalar if isinstance(scalar, str) else _encode(scalar).decode())


def _shown(element: str) -> str:
    kind, content = element[:2], element[2:]
    if kind == "f:":
        return f".{content}"
    if kind == "k:":
        keys: dict[str, Any] = msgspec.json.decode(content)
        return "[" + ",".join(f"{n}={_encode(v).decode()}" for n, v in keys.items()) + "]"
    return f"[={content}]" if kind == "v:" else f"[{content}]"
