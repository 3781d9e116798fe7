"""Pure: JSON patch (RFC 6902) and JSON merge patch (RFC 7396), with a real server's errors.

No function changes its arguments.
"""

import copy
from collections.abc import Callable
from typing import Any

import msgspec

Json = dict[str, Any]

_REJECTED = "the server rejected our request due to an error in our request"
_MAX_OPERATIONS = 10_000
_MAX_COPIED = 3 * 1024 * 1024
"""Bytes of JSON that all copies of one patch may add: each could double the document."""


class PatchError(ValueError):
    """A patch cannot be applied; says which Status the server answers."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message


def bad_request(message: str) -> PatchError:
    """Return the error for a patch that is not well formed."""
    return PatchError(400, "BadRequest", message)


def not_an_object(patch: Any) -> PatchError:
    """Return the error for a patch that is a list, a number, ... in Go's words."""
    kind = _json_kind(patch)
    return bad_request(
        f"json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}"
    )


def merge_patch(doc: Json, patch: Any) -> Json:
    """Apply a JSON merge patch: objects merge, null removes, anything else replaces."""
    if not isinstance(patch, dict):
        raise bad_request(f"error decoding patch: {not_an_object(patch).message}")
    merged: Json = _merge(doc, patch)
    return merged


def _merge(target: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    result: Json = dict(target) if isinstance(target, dict) else {}  # pyright: ignore[reportUnknownArgumentType]
    changes: Json = patch  # pyright: ignore[reportUnknownVariableType]
    for name, value in changes.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = _merge(result.get(name), value)
    return result


def json_patch(doc: Json, ops: Any) -> Json:
    """Apply a JSON patch. A failed test, a wrong path or an unknown operation is 422 Invalid."""
    if not isinstance(ops, list):
        raise bad_request(
            f"error decoding patch: json: cannot unmarshal {_json_kind(ops)}"
            " into Go value of type []handlers.jsonPatchOp"
        )
    operations: list[Any] = ops  # pyright: ignore[reportUnknownVariableType]
    if len(operations) > _MAX_OPERATIONS:
        raise PatchError(
            413,
            "RequestEntityTooLarge",
            "Request entity too large: The allowed maximum operations in a JSON patch is"
            f" {_MAX_OPERATIONS}, got {len(operations)}",
        )
    result: Any = copy.deepcopy(doc)
    copied = 0
    try:
        for operation in operations:
            if operation["op"] == "copy":
                copied += _size(_get(result, _tokens(operation["from"])))
                if copied > _MAX_COPIED:
                    raise ValueError("accumulated size of copies")
            result = _OPERATIONS[operation["op"]](result, operation)
    except (KeyError, IndexError, TypeError, ValueError, RecursionError) as error:
        raise PatchError(422, "Invalid", _REJECTED) from error
    if not isinstance(result, dict):
        raise PatchError(422, "Invalid", _REJECTED)
    changed: Json = result  # pyright: ignore[reportUnknownVariableType]
    return changed


def _add(doc: Any, operation: Json) -> Any:
    return _put(doc, _tokens(operation["path"]), copy.deepcopy(operation["value"]))


def _remove(doc: Any, operation: Json) -> Any:
    parent, last = _parent(doc, _tokens(operation["path"]))
    del parent[_index(parent, last) if isinstance(parent, list) else last]  # pyright: ignore[reportUnknownArgumentType]
    return doc


def _replace(doc: Any, operation: Json) -> Any:
    tokens = _tokens(operation["path"])
    value = copy.deepcopy(operation["value"])
    if not tokens:
        return value
    parent, last = _parent(doc, tokens)
    key: Any = _index(parent, last) if isinstance(parent, list) else last  # pyright: ignore[reportUnknownArgumentType]
    parent[key]  # a path that is not there must fail
    parent[key] = value
    return doc


def _move(doc: Any, operation: Json) -> Any:
    value = _get(doc, _tokens(operation["from"]))
    return _put(_remove(doc, {"path": operation["from"]}), _tokens(operation["path"]), value)


def _copy(doc: Any, operation: Json) -> Any:
    value = copy.deepcopy(_get(doc, _tokens(operation["from"])))
    return _put(doc, _tokens(operation["path"]), value)


def _size(value: Any) -> int:
    return len(msgspec.json.encode(value))


def _test(doc: Any, operation: Json) -> Any:
    expected = operation.get("value")
    try:
        found = _get(doc, _tokens(operation["path"]))
    except (KeyError, IndexError):
        # Go's library takes "is null" for true when the member is missing.
        found = None
    if not _equal(found, expected):
        raise ValueError("test failed")
    return doc


def _equal(left: Any, right: Any) -> bool:
    """Compare JSON values; Python's ``True == 1`` does not hold in JSON."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(_equal(left[k], right[k]) for k in left)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_equal, left, right))  # pyright: ignore[reportUnknownArgumentType]
    return bool(left == right)


_OPERATIONS: dict[str, Callable[[Any, Json], Any]] = {
    "add": _add,
    "remove": _remove,
    "replace": _replace,
    "move": _move,
    "copy": _copy,
    "test": _test,
}


def _tokens(pointer: Any) -> list[str]:
    """Split a JSON pointer (RFC 6901)."""
    if pointer == "":
        return []
    if not isinstance(pointer, str) or not pointer.startswith("/"):
        raise ValueError(pointer)
    return [part.replace("~1", "/").replace("~0", "~") for part in pointer[1:].split("/")]


def _index(items: list[Any], token: str) -> int:
    """Return a list index. Go's library counts negative ones from the end."""
    index = int(token)
    if not -len(items) <= index < len(items):
        raise IndexError(token)
    return index


def _get(doc: Any, tokens: list[str]) -> Any:
    for token in tokens:
        doc = doc[_index(doc, token) if isinstance(doc, list) else token]  # pyright: ignore[reportUnknownArgumentType]
    return doc


def _parent(doc: Any, tokens: list[str]) -> tuple[Any, str]:
    if not tokens:
        raise ValueError("the whole document")
    return _get(doc, tokens[:-1]), tokens[-1]


def _put(doc: Any, tokens: list[str], value: Any) -> Any:
    if not tokens:
        return value
    parent, last = _parent(doc, tokens)
    if isinstance(parent, list):
        items: list[Any] = parent  # pyright: ignore[reportUnknownVariableType]
        at = len(items) if last == "-" else int(last)
        at = at + len(items) + 1 if at < 0 else at
        if not 0 <= at <= len(items):
            raise IndexError(last)
        items.insert(at, value)
    elif isinstance(parent, dict):
        parent[last] = value
    else:
        raise TypeError(last)
    return doc


def _json_kind(value: Any) -> str:
    kinds: dict[type, str] = {dict: "object", list: "array", str: "string", bool: "bool"}
    kind: type = type(value)  # pyright: ignore[reportUnknownVariableType]
    return kinds.get(kind, "number")
