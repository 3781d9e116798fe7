"""YAML text to documents that remember where each value stands, for errors with file:line:column.

The scalars follow kubectl's reader where it differs from PyYAML: dates stay text, `80:30` is text
and not a number of base 60, a key that stands twice is an error.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import yaml

from podwire.errors import ConfigError


@dataclass(frozen=True)
class Place:
    """Where something stands: a file's name, line and column, both counted from 1."""

    source: str
    line: int
    column: int

    def __str__(self) -> str:
        """Return file:line:column, as compilers do and editors understand."""
        return f"{self.source}:{self.line}:{self.column}"

    def error(self, what: str) -> ConfigError:
        """Return the error that *what* is wrong here; its message begins with the place."""
        return ConfigError(f"{self}: {what}", line=self.line, column=self.column)


@dataclass(frozen=True)
class Document:
    """One YAML document: its plain value, and where each part of it stands."""

    value: Any
    source: str
    node: yaml.Node

    def place(self, *path: str | int) -> Place:
        """Return where the key or item at *path* stands, or its nearest parent that exists."""
        node: yaml.Node = self.node
        mark = node.start_mark
        for step in path:
            found = _child(node, step)
            if found is None:
                break
            mark, node = found
        return Place(self.source, mark.line + 1, mark.column + 1)


def read(text: str, source: str) -> tuple[Document, ...]:
    """Return the documents of *text*, without the empty ones.

    Raises ConfigError with file, line and column for broken syntax and for a key that stands twice.
    """
    try:
        return tuple(_documents(text, source))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(source, mark.line + 1, mark.column + 1) if mark else Place(source, 1, 1)
        context = f" ({error.context})" if error.context else ""
        raise place.error(f"broken YAML: {error.problem or 'unreadable'}{context}") from error
    except RecursionError as error:
        raise Place(source, 1, 1).error("broken YAML: an alias contains itself") from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        column = error.position - (text.rfind("\n", 0, error.position) + 1) + 1
        raise Place(source, line, column).error(f"broken YAML: {error.reason}") from error


def _documents(text: str, source: str) -> Iterator[Document]:
    loader = _KubernetesLoader(text)
    try:
        while loader.check_node():
            node = cast("yaml.Node", loader.get_node())  # there is one: check_node said so
            _refuse_double_keys(node, source)
            value = _with_text_keys(cast("Any", loader).construct_document(node))
            if value is not None:
                yield Document(value, source, node)
    finally:
        loader.dispose()


def _with_text_keys(value: Any) -> Any:
    """Return *value* as JSON has it: every key is text (YAML reads the key 8080 as a number)."""
    if isinstance(value, dict):
        mapping = cast("dict[object, Any]", value)
        return {_json_key(key): _with_text_keys(item) for key, item in mapping.items()}
    if isinstance(value, list):
        return [_with_text_keys(item) for item in cast("list[object]", value)]
    return value


def _json_key(key: object) -> str:
    return str(key).lower() if isinstance(key, bool) else str(key)


class _KubernetesLoader(yaml.CSafeLoader):
    """PyYAML's safe loader, with scalars as kubectl reads them."""


def _number_or_text(loader: Any, node: yaml.ScalarNode) -> int | str:
    # YAML 1.1 reads 80:30 as 80 minutes 30; kubectl's reader does not, and a port mapping is text.
    value: int | str = node.value if ":" in str(node.value) else loader.construct_yaml_int(node)
    return value


def _fraction_or_text(loader: Any, node: yaml.ScalarNode) -> float | str:
    value: float | str = node.value if ":" in str(node.value) else loader.construct_yaml_float(node)
    return value


def _text(_: Any, node: yaml.ScalarNode) -> str:
    return str(node.value)


_KubernetesLoader.add_constructor("tag:yaml.org,2002:int", _number_or_text)
_KubernetesLoader.add_constructor("tag:yaml.org,2002:float", _fraction_or_text)
_KubernetesLoader.add_constructor("tag:yaml.org,2002:timestamp", _text)


def _refuse_double_keys(node: yaml.Node, source: str) -> None:
    nodes, seen_nodes = [node], set[int]()
    while nodes:
        node = nodes.pop()
        if id(node) in seen_nodes:  # an alias, perhaps of a node that contains it
            continue
        seen_nodes.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            nodes.extend(_items(node))
        if isinstance(node, yaml.MappingNode):
            seen = set[str]()
            for key, value in _pairs(node):
                nodes.append(value)
                if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                    continue
                if key.value in seen:
                    place = Place(source, key.start_mark.line + 1, key.start_mark.column + 1)
                    raise place.error(f"key {key.value!r} stands twice in one mapping")
                seen.add(key.value)


def _child(node: yaml.Node, step: str | int) -> tuple[Any, yaml.Node] | None:
    """Return (where the key or item begins, its value), or None."""
    if isinstance(node, yaml.MappingNode):
        for key, value in _pairs(node):
            if getattr(key, "value", None) == step:
                return key.start_mark, value
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int):
        items = _items(node)
        if step < len(items):
            return items[step].start_mark, items[step]
    return None


def _pairs(node: yaml.MappingNode) -> Sequence[tuple[yaml.Node, yaml.Node]]:
    pairs: Sequence[tuple[yaml.Node, yaml.Node]] = node.value
    return pairs


def _items(node: yaml.SequenceNode) -> Sequence[yaml.Node]:
    items: Sequence[yaml.Node] = node.value
    return items
