"""Pure: a custom resource's schema, walked: what a field is, what is pruned, what is filled in.

A structural schema says of each place what may stand there; `anyOf` and its like only narrow the
values (validate_custom). Source: k8s.io/apiextensions-apiserver/pkg/apiserver/schema.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from podwire.emulator.apiserver.types.fields import many, struct

Json = dict[str, Any]

_META = frozenset({"apiVersion", "kind", "metadata"})


class Node:
    """One place of a schema. Below a place that no schema describes everything is free (None)."""

    __slots__ = ("_additional", "_children", "_default", "_items", "_rules", "raw")

    def __init__(self, raw: Mapping[str, Any]) -> None:
        self.raw = raw
        self._children: dict[str, Node] | None = None
        self._items: Node | None = None
        self._additional: Node | None = None
        self._default: bool | None = None
        self._rules: bool | None = None

    def __eq__(self, other: object) -> bool:
        """Two nodes that say the same are the same."""
        return isinstance(other, Node) and (self.raw is other.raw or self.raw == other.raw)

    @property
    def properties(self) -> "dict[str, Node]":
        """Return the fields that are named."""
        if self._children is None:
            # A CRD of half a megabyte is walked as deep as its objects are.
            named = struct(self.raw, "properties")
            self._children = {name: Node(struct(named, name)) for name in named}
        return self._children

    @property
    def items(self) -> "Node | None":
        """Return the schema of a list's items."""
        if self._items is None and isinstance(self.raw.get("items"), dict):
            self._items = Node(self.raw["items"])
        return self._items

    @property
    def additional(self) -> "Node | None":
        """Return the schema of a map's values."""
        if self._additional is None and isinstance(self.raw.get("additionalProperties"), dict):
            self._additional = Node(self.raw["additionalProperties"])
        return self._additional

    @property
    def open(self) -> bool:
        """Return whether a map may have keys that no property names."""
        return self.raw.get("additionalProperties") not in (None, False)

    def child(self, name: str) -> "Node | None":
        """Return the schema of the member *name*: a property, or a map's value."""
        return self.properties.get(name) or self.additional

    def at(self, *path: str | int) -> "Node | None":
        """Return the schema at *path*: names of members, and numbers for items of lists."""
        found: Node | None = self
        for step in path:
            if found is None:
                return None
            found = found.items if isinstance(step, int) else found.child(step)
        return found

    @property
    def type(self) -> str:
        """Return `object`, `array`, `integer`..., or the empty text where none is given."""
        return str(self.raw.get("type") or "")

    @property
    def list_type(self) -> str:
        """Return `atomic` (also where nothing is said), `set` or `map`."""
        return str(self.raw.get("x-kubernetes-list-type") or "atomic")

    @property
    def list_keys(self) -> tuple[str, ...]:
        """Return the fields that tell the items of a list of type `map` apart."""
        return tuple(many(self.raw, "x-kubernetes-list-map-keys"))

    @property
    def map_type(self) -> str:
        """Return `granular` (also where nothing is said) or `atomic`."""
        return str(self.raw.get("x-kubernetes-map-type") or "granular")

    @property
    def nullable(self) -> bool:
        """Return whether null is a value here."""
        return bool(self.raw.get("nullable"))

    @property
    def embedded(self) -> bool:
        """Return whether a whole object with kind and metadata stands here."""
        return bool(self.raw.get("x-kubernetes-embedded-resource"))

    @property
    def preserves(self) -> bool:
        """Return whether fields that are not named are kept."""
        return bool(self.raw.get("x-kubernetes-preserve-unknown-fields"))

    @property
    def int_or_string(self) -> bool:
        """Return whether a number or a text may stand here."""
        return bool(self.raw.get("x-kubernetes-int-or-string"))

    @property
    def default(self) -> Any:
        """Return the value that is filled in, None if there is none."""
        return self.raw.get("default")

    @property
    def fills(self) -> bool:
        """Return whether there is a default here or below."""
        if self._default is None:
            self._default = self.default is not None or any(node.fills for node in self._below())
        return self._default

    @property
    def rules(self) -> bool:
        """Return whether there are rules in CEL here or below."""
        if self._rules is None:
            here = bool(self.raw.get("x-kubernetes-validations"))
            self._rules = here or any(node.rules for node in self._below())
        return self._rules

    def _below(self) -> "Iterator[Node]":
        yield from self.properties.values()
        if self.items is not None:
            yield self.items
        if self.additional is not None:
            yield self.additional


def walk(value: Any, node: Node | None, path: str = "") -> Iterator[tuple[str, Any, Node]]:
    """Yield *value* and all below it of which the schema knows: path, value and schema.

    A path is as errors have it: with a dot before what `properties` names, else in brackets.
    """
    if node is None:
        return
    yield path, value, node
    if isinstance(value, dict):
        members: Json = value  # pyright: ignore[reportUnknownVariableType]
        for name, member in members.items():
            where = f"{path}.{name}" if name in node.properties else f"{path}[{name}]"
            yield from walk(member, node.child(name), where.removeprefix("."))
    elif isinstance(value, list):
        entries: list[Any] = value  # pyright: ignore[reportUnknownVariableType]
        for index, entry in enumerate(entries):
            yield from walk(entry, node.items, f"{path}[{index}]")


def prune(obj: Json, root: Node) -> list[str]:
    """Drop from *obj* what *root* does not name; return the paths, sorted as Go sorts them.

    kind, apiVersion and metadata are not the schema's business.
    """
    unknown: list[str] = []
    _prune_map(obj, root, "", unknown, embedded=True)
    return sorted(unknown)


def default(value: Any, node: Node | None) -> None:
    """Fill in defaults below *value*, also where there is a null that may not be one."""
    if node is None or not node.fills:
        return
    if isinstance(value, dict):
        members: Json = value  # pyright: ignore[reportUnknownVariableType]
        for name, below in node.properties.items():
            if below.default is not None and _is_unset(members, name, below):
                members[name] = copied(below.default)
        for name in members:
            inner = node.child(name)
            if inner is not None and name not in node.properties:
                _replace_null(members, name, inner)
            default(members[name], inner)
    elif isinstance(value, list):
        entries: list[Any] = value  # pyright: ignore[reportUnknownVariableType]
        for index in range(len(entries)):
            if node.items is not None:
                _replace_null(entries, index, node.items)
            default(entries[index], node.items)


def defaulted(obj: Json, root: Node) -> Json:
    """Return *obj* with defaults filled in; *obj* itself stays as it is."""
    if not _lacks(obj, root):
        return obj
    filled: Json = copied(obj)
    default(filled, root)
    return filled


def drop_nulls(value: Any, node: Node | None) -> None:
    """Drop members that are null where *node* wants a value."""
    if isinstance(value, dict):
        members: Json = value  # pyright: ignore[reportUnknownVariableType]
        for name in tuple(members):
            below = None if node is None else node.child(name)
            if members[name] is None:
                if below is not None and not below.nullable and below.default is None:
                    del members[name]
            else:
                drop_nulls(members[name], below)
    elif isinstance(value, list):
        entries: list[Any] = value  # pyright: ignore[reportUnknownVariableType]
        for entry in entries:
            drop_nulls(entry, None if node is None else node.items)


def copied(value: Any) -> Any:
    """Return a copy of a JSON value."""
    if isinstance(value, dict):
        return {name: copied(member) for name, member in value.items()}  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, list):
        return [copied(member) for member in value]  # pyright: ignore[reportUnknownVariableType]
    return value


def _lacks(value: Any, node: Node | None) -> bool:
    """Tell whether `default` would change *value*: most objects in a list have all they need."""
    if node is None or not node.fills:
        return False
    if isinstance(value, dict):
        members: Json = value  # pyright: ignore[reportUnknownVariableType]
        for name, below in node.properties.items():
            if below.default is not None and _is_unset(members, name, below):
                return True
        return any(
            (member is None and name not in node.properties) or _lacks(member, node.child(name))
            for name, member in members.items()
        )
    if isinstance(value, list):
        entries: list[Any] = value  # pyright: ignore[reportUnknownVariableType]
        return any(entry is None or _lacks(entry, node.items) for entry in entries)
    return False


def _is_unset(members: Json, name: str, below: Node) -> bool:
    return name not in members or (members[name] is None and not below.nullable)


def _replace_null(holder: Any, key: str | int, below: Node) -> None:
    if holder[key] is None and not below.nullable:
        holder[key] = copied(below.default)


def _prune(value: Any, node: Node | None, path: str, unknown: list[str]) -> None:
    if isinstance(value, dict):
        embedded = node is not None and node.embedded
        members: Json = value  # pyright: ignore[reportUnknownVariableType]
        _prune_map(members, node, path, unknown, embedded=embedded)
    elif isinstance(value, list):
        entries: list[Any] = value  # pyright: ignore[reportUnknownVariableType]
        for index, entry in enumerate(entries):
            below = None if node is None else node.items
            if node is not None and node.preserves and below is None:
                continue
            _prune(entry, below, f"{path}[{index}]", unknown)


def _prune_map(
    members: Json, node: Node | None, path: str, unknown: list[str], *, embedded: bool
) -> None:
    for name in tuple(members):
        if embedded and name in _META:
            continue
        where = f"{path}.{name}" if path else name
        below = None if node is None else node.child(name)
        if below is not None:
            _prune(members[name], below, where, unknown)
        elif node is None or not (node.preserves or node.open):
            unknown.append(where)
            del members[name]
        elif not node.preserves:
            # additionalProperties: true allows any value, of which nothing is known.
            _prune(members[name], None, where, unknown)
