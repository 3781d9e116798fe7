"""Pure: Kubernetes' strategic merge patch.

A JSON merge patch that knows the types: a list whose field has the strategy ``merge`` merges by
its key (or as a set of scalars) instead of being replaced. Directives in the patch:

- ``$patch: replace | delete | merge`` on a map or a list element;
- ``$retainKeys: [...]`` removes every other member of a map;
- ``$setElementOrder/FIELD: [...]`` orders a list;
- ``$deleteFromPrimitiveList/FIELD: [...]`` removes scalars from a list.

Merged lists are ordered as Go's code does: elements of the patch in the patch's order, elements
that only the server has keep their place relative to those that both have.

Source: k8s.io/apimachinery/pkg/util/strategicpatch.
"""

from typing import Any

from podwire.emulator.apiserver.patches.json_patch import (
    Json,
    PatchError,
    bad_request,
    not_an_object,
)
from podwire.emulator.apiserver.types import schema
from podwire.emulator.apiserver.types.schema import Kind

_DIRECTIVE = "$patch"
_RETAIN = "$retainKeys"
_ORDER = "$setElementOrder/"
_DELETE = "$deleteFromPrimitiveList/"


def strategic_merge_patch(doc: Json, patch: Any, api_version: str, kind: str) -> Json:
    """Apply a strategic merge patch to an object of a built-in kind; *doc* stays as it is."""
    if not isinstance(patch, dict):
        raise not_an_object(patch)
    found = schema.type_of(api_version, kind)
    of = None if found is None else Kind("struct", found.name, found.go)
    return _merge_map(doc, patch, of)  # pyright: ignore[reportUnknownArgumentType]


def _member(of: Kind | None, name: str) -> tuple[Kind | None, str, str]:
    """Return the type, strategy and merge key of a member of a map or struct."""
    if of is None:
        return None, "", ""
    if of.shape == "map":
        return of.of, "", ""
    if of.shape != "struct":
        return None, "", ""
    field = schema.struct(of.name).fields.get(name)
    if field is None:
        return None, "", ""
    strategies = [s for s in field.patch_strategy.split(",") if s != "retainKeys"]
    return field.kind, strategies[0] if strategies else "", field.merge_key


def _merge_map(original: Json, patch: Json, of: Kind | None) -> Json:
    if _DIRECTIVE in patch:
        return _whole_map(patch)
    result = dict(original)
    if _RETAIN in patch:
        patch, result = _retain(patch, result)
    ordered = {name.removeprefix(_ORDER) for name in patch if name.startswith(_ORDER)}
    for name in ordered:
        _ordered_list(result, patch, name, of)
    for name, value in patch.items():
        if name.startswith(_ORDER) or name in ordered:
            continue
        if name.startswith(_DELETE):
            _delete_scalars(result, name.removeprefix(_DELETE), value)
        elif value is None:
            result.pop(name, None)
        elif isinstance(value, dict) and isinstance(result.get(name), dict):
            member, strategy, _ = _member(of, name)
            result[name] = (
                value if strategy == "replace" else _merge_map(result[name], value, member)  # pyright: ignore[reportUnknownArgumentType]
            )
        elif isinstance(value, list) and isinstance(result.get(name), list):
            member, strategy, key = _member(of, name)
            result[name] = (
                _merge_list(result[name], value, member, key) if strategy == "merge" else value  # pyright: ignore[reportUnknownArgumentType]
            )
        else:
            _take(result, name, value)
    return result


def _whole_map(patch: Json) -> Json:
    directive = patch[_DIRECTIVE]
    if directive == "replace":
        return {name: value for name, value in patch.items() if name != _DIRECTIVE}
    if directive == "delete":
        return {}
    raise _failed(f"unknown patch type: {directive} in map: {_go(patch)}")


def _take(result: Json, name: str, value: Any) -> None:
    """Set a member that the document lacks, or has with another type."""
    kept = _without_directives(value)
    if kept is _NOTHING:
        result.pop(name, None)
    else:
        result[name] = kept


_NOTHING = object()


def _without_directives(value: Any) -> Any:
    """Return a patch's value without nulls and without maps that are directives."""
    if isinstance(value, dict):
        members: Json = value  # pyright: ignore[reportUnknownVariableType]
        if _DIRECTIVE in members:
            return _NOTHING
        kept = {n: _without_directives(v) for n, v in members.items() if v is not None}
        return {n: v for n, v in kept.items() if v is not _NOTHING}
    if isinstance(value, list):
        items = [_without_directives(v) for v in value]  # pyright: ignore[reportUnknownVariableType]
        return [v for v in items if v is not _NOTHING]
    return value


def _retain(patch: Json, original: Json) -> tuple[Json, Json]:
    names: Any = patch[_RETAIN]
    if isinstance(names, list):
        names = frozenset(name for name in names if isinstance(name, str))  # pyright: ignore[reportUnknownVariableType]
    rest = {name: value for name, value in patch.items() if name != _RETAIN}
    if not isinstance(names, frozenset) or any(
        value is not None and name not in names and not name.startswith((_DELETE, _ORDER))
        for name, value in rest.items()
    ):
        raise bad_request("invalid patch format of retainKeys")
    return rest, {name: value for name, value in original.items() if name in names}


def _ordered_list(result: Json, patch: Json, name: str, of: Kind | None) -> None:
    """Merge the list *name* and bring it into the order that the patch asks for."""
    order, changes = patch[_ORDER + name], patch.get(name)
    present = result.get(name)
    for what in (order, changes, present):
        if what is not None and not isinstance(what, list):
            raise bad_request("invalid patch format of setElementOrder list")
    member, strategy, key = _member(of, name)
    _check_order(changes or [], order, key)
    if changes is None and present is None:
        return
    if present is None:
        merged = _without_directives(changes)
    elif changes is None:
        merged = present
    elif strategy == "merge":
        merged = _merge_list(present, changes, member, key)
    else:
        merged = changes
    result[name] = _in_order(merged, order, present or [], key)


def _check_order(changes: list[Any], order: list[Any], key: str) -> None:
    """Refuse a patch whose elements are not in the order that it asks for."""
    if not changes or not order:
        return
    waiting: list[Any] = [
        item for item in changes if not (isinstance(item, dict) and _DIRECTIVE in item)
    ]
    at = 0
    for wanted in order:
        if at < len(waiting) and _key(waiting[at], key) == _key(wanted, key):
            at += 1
    if at < len(waiting):
        raise _failed(
            f"The order in patch list:\n{_go(changes)}\n doesn't match $setElementOrder list:"
            f"\n{_go(order)}\n"
        )


def _merge_list(original: list[Any], patch: list[Any], of: Kind | None, key: str) -> list[Any]:
    if not original and not patch:
        return original
    kinds = {_shape(item) for item in (*original, *patch)}
    if "list" in kinds:
        raise PatchError(
            422, "Invalid", "the server rejected our request due to an error in our request"
        )
    if len(kinds) > 1:
        raise _failed(f"list element types are not identical: {_go([original, patch])}")
    if "map" not in kinds:
        known = {_key(item, "") for item in original}
        merged = original + [item for item in patch if _key(item, "") not in known]
        return _in_order(merged, patch, original, "")
    if not key:
        raise _failed("cannot merge lists without merge key")
    return _merge_maps(original, patch, None if of is None else of.element, key)


def _merge_maps(original: list[Json], patch: list[Json], of: Kind | None, key: str) -> list[Any]:
    """Merge lists of maps by *key*."""
    changes: list[Json] = []
    gone = set[Any]()
    replace = False
    for item in patch:
        match item.get(_DIRECTIVE, _NOTHING):
            case "delete":
                gone.add(_required(item, key))
            case "replace":
                replace = True
            case "merge":
                raise _failed("merging lists cannot yet be specified in the patch")
            case directive if directive is not _NOTHING:
                raise _failed(f"unknown patch type: {directive} in map: {_go(item)}")
            case _:
                changes.append(item)
    if replace:
        return changes
    original = [item for item in original if _key(item, key) not in gone]
    merged = list(original)
    places = _ranks(original, key)
    for item in changes:
        value = _required(item, key)
        at = places.setdefault(value, len(merged))
        if at == len(merged):
            merged.append(item)
        else:
            merged[at] = _merge_map(merged[at], item, of)
    return _in_order(merged, changes, original, key)


def _required(item: Json, key: str) -> Any:
    if key not in item:
        raise _failed(f"map: {_go(item)} does not contain declared merge key: {key}")
    return _key(item, key)


def _in_order(merged: list[Any], wanted: list[Any], server: list[Any], key: str) -> list[Any]:
    """Order a merged list: *wanted* items in that order, the others by their place in *server*."""
    rank = _ranks(wanted, key)
    place = _ranks(server, key)
    far = len(server) + len(wanted)
    ours = sorted((m for m in merged if _key(m, key) in rank), key=lambda m: rank[_key(m, key)])
    theirs = sorted(
        (m for m in merged if _key(m, key) not in rank),
        key=lambda m: place.get(_key(m, key), far),
    )
    result: list[Any] = []
    i = j = 0
    while i < len(ours) and j < len(theirs):
        left, right = place.get(_key(theirs[j], key)), place.get(_key(ours[i], key))
        if left is not None and right is not None and left < right:
            result.append(theirs[j])
            j += 1
        else:
            result.append(ours[i])
            i += 1
    return result + ours[i:] + theirs[j:]


def _ranks(items: list[Any], key: str) -> dict[Any, int]:
    ranks: dict[Any, int] = {}
    for index, item in enumerate(items):
        ranks.setdefault(_key(item, key), index)
    return ranks


def _key(item: Any, key: str) -> Any:
    """Return what identifies a list element; its type counts, as ``True == 1`` in Python."""
    value = item.get(key) if key and isinstance(item, dict) else item  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
    return (type(value).__name__, str(value) if isinstance(value, dict | list) else value)  # pyright: ignore[reportUnknownArgumentType]


def _delete_scalars(result: Json, name: str, gone: Any) -> None:
    if isinstance(gone, list) and isinstance(result.get(name), list):
        lost = {_key(item, "") for item in gone}  # pyright: ignore[reportUnknownVariableType]
        result[name] = [item for item in result[name] if _key(item, "") not in lost]


def _shape(value: Any) -> str:
    if isinstance(value, dict):
        return "map"
    return "list" if isinstance(value, list) else type(value).__name__


def _failed(message: str) -> PatchError:
    """Return the error for a patch that breaks its own rules.

    A real server answers with this text and 500, its own fault; kubectl shows the same for both.
    """
    return PatchError(400, "", message)


def _go(value: Any) -> str:
    """Format a value as Go's ``%v`` does."""
    if isinstance(value, dict):
        members: Json = value  # pyright: ignore[reportUnknownVariableType]
        return "map[" + " ".join(f"{n}:{_go(v)}" for n, v in sorted(members.items())) + "]"
    if isinstance(value, list):
        return "[" + " ".join(_go(item) for item in value) + "]"  # pyright: ignore[reportUnknownVariableType]
    if value is None:
        return "<nil>"
    return str(value).lower() if isinstance(value, bool) else str(value)
