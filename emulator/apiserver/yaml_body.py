"""Pure: one YAML document of a request, read within limits whatever it says.

From the parser's events, without recursion: a document may nest as deep and alias as often as it
likes and costs no more than its length. Scalars are read as kubectl reads them (`80:30` is text);
a key that stands twice is remembered, its last value counts.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import yaml

from podwire.emulator.apiserver import json_body

MOST_NODES = 100_000
"""Values in one document, those that aliases repeat counted each time."""


class YamlError(ValueError):
    """A body that cannot be read; the message is in the words of Go's library."""


@dataclass(slots=True)
class Reading:
    """A document, and the keys that stand twice in one of its maps."""

    value: Any = None
    doubles: list[str] = field(default_factory=list[str])


def read(content: bytes) -> Reading:
    """Return the one document of *content*; raises YamlError."""
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise YamlError("invalid leading UTF-8 octet") from error
    try:
        return _Composer(text).document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f"line {mark.line + 1}: " if mark else ""
        raise YamlError(f"{line}{error.problem or 'unreadable'}") from error
    except yaml.YAMLError as error:
        raise YamlError("control characters are not allowed") from error


class _Composer:
    """Builds values from events; `_open` are the collections that are not finished."""

    def __init__(self, text: str) -> None:
        self._loader: Any = yaml.CSafeLoader(text)
        self._reading = Reading()
        self._open: list[_Collection] = []
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._nodes = 0
        self._done = False

    def document(self) -> Reading:
        try:
            while self._loader.check_event():
                event = self._loader.get_event()
                if not self._done:
                    self._take(event)
                    self._done = isinstance(event, yaml.DocumentEndEvent)
                elif getattr(event, "value", "") or isinstance(event, yaml.CollectionStartEvent):
                    raise YamlError("there are several documents; one is needed")
        finally:
            self._loader.dispose()
        # Each alias may hold a deep value, and one that holds the next.
        if self._anchors and json_body.too_deep(self._reading.value):
            raise YamlError(f"exceeded max depth of {json_body.DEEPEST}")
        return self._reading

    def _take(self, event: Any) -> None:
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._anchors:
                raise YamlError(f"unknown anchor '{event.anchor}' referenced")
            value, nodes = self._anchors[event.anchor]
            self._count(nodes)
            self._add(value, event)
        elif isinstance(event, yaml.ScalarEvent):
            self._count(1)
            value = self._scalar(event)
            if event.anchor:
                self._anchors[event.anchor] = (value, 1)
            self._add(value, event)
        elif isinstance(event, yaml.CollectionStartEvent):
            self._count(1)
            if len(self._open) >= json_body.DEEPEST:
                raise YamlError(f"exceeded max depth of {json_body.DEEPEST}")
            empty: dict[str, Any] | list[Any] = {}
            if isinstance(event, yaml.SequenceStartEvent):
                empty = []
            self._open.append(_Collection(empty, event.anchor, self._nodes))
        elif isinstance(event, yaml.CollectionEndEvent):
            done = self._open.pop()
            if done.anchor:
                self._anchors[done.anchor] = (done.value, self._nodes - done.began + 1)
            self._add(done.value, event)

    def _count(self, nodes: int) -> None:
        self._nodes += nodes
        if self._nodes > MOST_NODES:
            raise YamlError("document contains excessive aliasing or too many values")

    def _add(self, value: Any, event: Any) -> None:
        if not self._open:
            self._reading.value = value
            return
        into = self._open[-1]
        if isinstance(into.value, list):
            into.value.append(value)
        elif not into.has_key:
            if isinstance(value, dict | list):
                raise YamlError(f"line {event.start_mark.line + 1}: invalid map key")
            into.key = "null" if value is None else str(value)
            if isinstance(value, bool):
                into.key = into.key.lower()
            into.has_key = True
            into.line = event.start_mark.line + 1
        else:
            into.has_key = False
            if into.key == "<<" and isinstance(value, dict):
                into.value = {**value, **into.value}
                return
            if into.key in into.seen:
                double = f'line {into.line}: key "{into.key}" already set in map'
                self._reading.doubles.append(double)
            into.seen.add(into.key)
            into.value[into.key] = value

    def _scalar(self, event: Any) -> Any:
        text: str = event.value
        if event.tag is None and not event.implicit[0]:
            return text  # quoted
        tag = event.tag or self._loader.resolve(yaml.ScalarNode, text, event.implicit)
        kind = tag.rpartition(":")[2]
        if kind == "null":
            return None
        if kind == "bool":
            return text.lower() in ("true", "yes", "on")
        # YAML 1.1 reads 80:30 as a number of base 60; Go's reader does not.
        if kind not in ("int", "float") or ":" in text:
            return text
        node = yaml.ScalarNode(tag, text)
        try:
            if kind == "int":
                return self._loader.construct_yaml_int(node)
            number: float = self._loader.construct_yaml_float(node)
        except ValueError as error:
            raise YamlError(f"line {event.start_mark.line + 1}: cannot decode {text!r}") from error
        if not math.isfinite(number):
            raise YamlError(f"json: unsupported value: {text}")  # JSON has no such numbers
        return number


@dataclass(slots=True)
class _Collection:
    value: dict[str, Any] | list[Any]
    anchor: str | None
    began: int
    key: str = ""
    has_key: bool = False
    line: int = 0
    seen: set[str] = field(default_factory=set[str])
