"""Pure: rules for custom resources: whether an object fits its definition's schema.

The words are those of kube-openapi's validator, which Kubernetes uses for custom resources
(`spec.size in body must be of type integer: "string"`). On an update what did not change is not
checked again (KEP-4008, on by default since 1.30). Rules in CEL are not evaluated.
"""

from collections.abc import Iterator
from typing import Any

from podwire.emulator.apiserver.admission import field_errors as fields
from podwire.emulator.apiserver.admission.field_errors import FieldError, quoted
from podwire.emulator.apiserver.custom import (
    go_pattern,
    list_types,
    string_formats,
    validate_embedded,
)
from podwire.emulator.apiserver.custom.structural import Node
from podwire.emulator.apiserver.resources import CustomKind, ScalePaths
from podwire.emulator.apiserver.types.fields import below, many

Json = dict[str, Any]

NOTHING = object()
"""What an object had before at a place where it had nothing, or what cannot be told."""

_JSON_NAMES = {str: "string", bool: "boolean", int: "integer", float: "number",
               list: "array", dict: "object", type(None): "null"}  # fmt: skip
_GO_NAMES = {str: "string", bool: "bool", float: "float64", list: "[]interface {}",
             dict: "map[string]interface {}"}  # fmt: skip
_MOST_REPLICAS = 2**31 - 1
_EXACT, _EPSILON = 2**53, 1e-9
"""Which floats are whole numbers for JSON (go-openapi/swag, IsFloat64AJSONInteger)."""


def custom(
    obj: Json, old: Json | None, kind: CustomKind, *, status_only: bool = False
) -> list[FieldError]:
    """Return what is wrong with an object whose metadata was checked already."""
    schema = kind.schema
    if status_only:
        below = schema.properties.get("status")
        found: list[FieldError] = []
        if below is not None and "status" in obj:
            before = NOTHING if old is None else old.get("status", NOTHING)
            found = [_in_status(error) for error in value(obj["status"], below, "", before)]
    else:
        found = value(obj, schema, "", NOTHING if old is None else old)
    problems = _unique(found)
    if kind.scale is not None:
        problems += _scale(obj, kind.scale, status_only=status_only)
    problems += validate_embedded.embedded(obj, schema)
    if old is None or not list_types.duplicates(old, schema):
        problems += list_types.duplicates(obj, schema)
    if problems and schema.rules:
        text = (
            "some validation rules were not checked because the object was invalid; correct the "
            "existing errors to complete validation"
        )
        problems.append(FieldError("<nil>", "FieldValueInvalid", f"Invalid value: null: {text}"))
    return problems


def value(found: Any, node: Node, path: str, old: Any = NOTHING) -> list[FieldError]:
    """Return what is wrong with the value *found* at *path*; *old* is what was there before."""
    if old is not NOTHING and _same(old, found):
        return []
    return list(_value(found, node, path, old))


def _value(found: Any, node: Node, path: str, old: Any) -> Iterator[FieldError]:
    raw = node.raw
    mismatch = _type(found, node, path)
    if mismatch is not None:
        yield mismatch
    if found is None:
        yield from _enum(found, raw, path)
        return
    yield from _junctors(found, node, path)
    if isinstance(found, str):
        yield from _text(found, raw, path)
    elif isinstance(found, int | float) and not isinstance(found, bool):
        yield from _number(found, raw, path)
    elif isinstance(found, list):
        entries: list[Any] = found  # pyright: ignore[reportUnknownVariableType]
        yield from _list(entries, node, path, old)
    yield from _enum(found, raw, path)
    if isinstance(found, dict):
        members: Json = found  # pyright: ignore[reportUnknownVariableType]
        yield from _map(members, node, path, old)


def _type(found: Any, node: Node, path: str) -> FieldError | None:
    wanted = ("integer", "string") if node.int_or_string else (node.type,) if node.type else ()
    is_type = _JSON_NAMES[type(found)]
    if found is None:
        fine = not wanted or node.nullable
    elif is_type == "number" and found == int(found):
        fine = not wanted or "number" in wanted or "integer" in wanted
    elif is_type == "integer":
        fine = not wanted or "integer" in wanted or "number" in wanted
    else:
        fine = not wanted or is_type in wanted
    if fine:
        return None
    message = f'{path} in body must be of type {",".join(wanted)}: "{is_type}"'
    return FieldError(
        path or "<nil>", "FieldValueTypeInvalid", f'Invalid value: "{is_type}": {message}'
    )


def _invalid(path: str, found: Any, tail: str) -> FieldError:
    return fields.invalid(path or "<nil>", found, f"{path} in body {tail}")


def _text(found: str, raw: Any, path: str) -> Iterator[FieldError]:
    most, least = raw.get("maxLength"), raw.get("minLength")
    if most is not None and len(found) > most:
        yield fields.too_long(path, int(most))
    elif least is not None and len(found) < least:
        yield _invalid(path, found, f"should be at least {least} chars long")
    elif (pattern := raw.get("pattern")) and not go_pattern.matches(pattern, found):
        yield _invalid(path, found, f"should match '{pattern}'")
    form: str = raw.get("format") or ""
    if form and not string_formats.holds(form, found):
        message = f"{path} in body must be of type {form}: {quoted(found)}"
        yield FieldError(
            path, "FieldValueTypeInvalid", f"Invalid value: {quoted(found)}: {message}"
        )


def _number(found: float, raw: Any, path: str) -> Iterator[FieldError]:
    factor = raw.get("multipleOf")
    if factor is not None and factor > 0 and not _is_multiple(found, factor):
        yield _invalid(path, found, f"should be a multiple of {_plain(factor)}")
    least, most = raw.get("minimum"), raw.get("maximum")
    if least is not None:
        if raw.get("exclusiveMinimum") and found <= least:
            yield _invalid(path, found, f"should be greater than {_plain(least)}")
        elif found < least:
            yield _invalid(path, found, f"should be greater than or equal to {_plain(least)}")
    if most is not None:
        if raw.get("exclusiveMaximum") and found >= most:
            yield _invalid(path, found, f"should be less than {_plain(most)}")
        elif found > most:
            yield _invalid(path, found, f"should be less than or equal to {_plain(most)}")


def _is_multiple(found: float, factor: float) -> bool:
    # As Go reckons: with 0.1 three tenths are three times, and what is too large is never so.
    try:
        times = (1 / factor * found) if factor < 1 else found / factor
    except OverflowError:
        return False
    return abs(times) < _EXACT and abs(times - int(times)) <= _EPSILON * 2 * abs(times)


def _list(found: list[Any], node: Node, path: str, old: Any) -> Iterator[FieldError]:
    if node.items is not None:
        before = _by_key(old, node)
        for index, entry in enumerate(found):
            was = before.get(_key(entry, node), NOTHING) if before else NOTHING
            yield from value(entry, node.items, f"{path}[{index}]", was)
    least, most = node.raw.get("minItems"), node.raw.get("maxItems")
    if least is not None and len(found) < least:
        yield _invalid(path, len(found), f"should have at least {least} items")
    if most is not None and len(found) > most:
        yield fields.too_many(path, len(found), int(most))


def _map(found: Json, node: Node, path: str, old: Any) -> Iterator[FieldError]:
    least, most = node.raw.get("minProperties"), node.raw.get("maxProperties")
    if least is not None and len(found) < least:
        yield _invalid(path, len(found), f"should have at least {least} properties")
    if most is not None and len(found) > most:
        yield fields.too_many(path or "<nil>", len(found), int(most))
    closed = node.raw.get("additionalProperties") is False
    before: Json = old if isinstance(old, dict) else {}  # pyright: ignore[reportUnknownVariableType]
    for name, member in found.items():
        below = node.child(name)
        where = f"{path}.{name}" if path else name
        if below is not None:
            yield from value(member, below, where, before.get(name, NOTHING))
        elif closed:
            text = f"{path}.{name} in body is a forbidden property"
            yield fields.invalid(path or "<nil>", name, text)
    for name in many(node.raw, "required"):
        if name not in found:
            yield fields.required(f"{path}.{name}" if path else name)


def _enum(found: Any, raw: Any, path: str) -> Iterator[FieldError]:
    allowed: list[Any] = many(raw, "enum")
    if allowed and not any(_same(found, one) for one in allowed):
        words = [one if isinstance(one, str) else fields.shown(one) for one in allowed]
        yield fields.not_supported(path, found, words)


def _junctors(found: Any, node: Node, path: str) -> Iterator[FieldError]:
    raw = node.raw
    where = f'"{path}"'
    parts = many(raw, "anyOf")
    if parts:
        results = [list(_nested(found, part, path)) for part in parts]
        if all(results):
            yield _whole(f"{where} must validate at least one schema (anyOf)")
            yield from min(results, key=len)
    parts = many(raw, "oneOf")
    if parts:
        results = [list(_nested(found, part, path)) for part in parts]
        valid = sum(not result for result in results)
        if valid != 1:
            count = "Found none valid" if not valid else f"Found {valid} valid alternatives"
            yield _whole(f"{where} must validate one and only one schema (oneOf). {count}")
            if not valid:
                yield from min(results, key=len)
    parts = many(raw, "allOf")
    if parts:
        results = [list(_nested(found, part, path)) for part in parts]
        if any(results):
            none = ". None validated" if all(results) else ""
            for result in results:
                yield from result
            yield _whole(f"{where} must validate all the schemas (allOf){none}")
    negated = raw.get("not")
    if isinstance(negated, dict) and not list(_nested(found, negated, path)):
        yield _whole(f"{where} must not validate the schema (not)")


def _nested(found: Any, part: Any, path: str) -> Iterator[FieldError]:
    return _value(found, Node(part), path, NOTHING)


def _whole(message: str) -> FieldError:
    # kube-openapi has no path for these: Go prints that of nothing.
    return FieldError("<nil>", "FieldValueInvalid", f'Invalid value: "": {message}')


def _in_status(error: FieldError) -> FieldError:
    # The real validator is given the status alone: the field has its path, the sentence has not.
    field = "status" if error.field == "<nil>" else f"status.{error.field}"
    return FieldError(field, error.reason, error.message)


def _scale(obj: Json, paths: ScalePaths, *, status_only: bool) -> list[FieldError]:
    wanted = [] if status_only else [paths.wanted]
    problems: list[FieldError] = []
    for path in (*wanted, paths.present):
        *holders, name = path
        found: Any = below(obj, *holders).get(name)
        field = "." + ".".join(path)
        if not isinstance(found, int) or isinstance(found, bool):
            if found is not None:
                is_type = _GO_NAMES[type(found)]
                text = f"{field} accessor error: {found} is of the type {is_type}, expected int64"
                problems.append(fields.invalid(field, 0, text))
        elif found < 0:
            problems.append(fields.invalid(field, found, "should be a non-negative integer"))
        elif found > _MOST_REPLICAS:
            text = f"should be less than or equal to {_MOST_REPLICAS}"
            problems.append(fields.invalid(field, found, text))
    return problems


def _by_key(old: Any, node: Node) -> dict[Any, Any]:
    if not isinstance(old, list) or node.list_type != "map":
        return {}
    entries: list[Any] = old  # pyright: ignore[reportUnknownVariableType]
    return {_key(entry, node): entry for entry in entries}


def _key(entry: Any, node: Node) -> str:
    if not isinstance(entry, dict):
        return fields.shown(entry)
    members: Json = entry  # pyright: ignore[reportUnknownVariableType]
    return fields.shown([members.get(name) for name in node.list_keys])


def _same(left: Any, right: Any) -> bool:
    # True == 1 in Python, and not in JSON.
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    return bool(left == right)


def _plain(number: float) -> str:
    return str(int(number)) if number == int(number) else str(number)


def _unique(problems: list[FieldError]) -> list[FieldError]:
    return list(dict.fromkeys(problems))
