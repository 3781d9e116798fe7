"""The fields of one mapping in a YAML document: handed out with their type, the rest refused.

For files whose every field must be honoured: an unknown or mistyped one is a ConfigError that
names the field, the file, the line and the column.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

from podwire.errors import ConfigError
from podwire.kube.documents import Document

T = TypeVar("T")


class Fields:
    """The mapping at *path* of a document: hands out its fields and refuses the rest."""

    def __init__(self, document: Document, path: tuple[str | int, ...]) -> None:
        self._document = document
        self._path = path
        value: Any = document.value
        for step in path:
            value = value[step]
        if not isinstance(value, dict):
            raise self.error("", f"a mapping is expected here, not {_named(value)}")
        self._fields = cast("dict[str, Any]", value)

    def error(self, key: str | int, what: str) -> ConfigError:
        """Return the error that the field *key* is wrong."""
        return self._document.place(*self._path, key).error(what)

    def only(self, *known: str, refused: Mapping[str, str] = {}) -> None:
        """Refuse every field that is not among *known*, with its reason if it is in *refused*."""
        for key in self._fields:
            if key in known:
                continue
            where = self.dotted(key)
            if key in refused:
                raise self.error(key, f"{where} cannot be honoured: {refused[key]}")
            raise self.error(key, f"unknown field {where}\n  known here: {', '.join(known)}")

    def dotted(self, key: str) -> str:
        """Return the field's name from the top, as kubectl writes it: nodes[0].role."""
        text = ""
        for step in (*self._path, key):
            text += f"[{step}]" if isinstance(step, int) else f".{step}"
        return text.lstrip(".")

    def has(self, key: str) -> bool:
        """Return whether the field stands there with a value."""
        return self._fields.get(key) is not None

    def text(self, key: str, default: str) -> str:
        """Return a text field."""
        return self._typed(key, default, str, "text")

    def whole(self, key: str, default: int) -> int:
        """Return a field that is a whole number."""
        return self._typed(key, default, int, "a whole number")

    def port(self, key: str, default: int) -> int:
        """Return a port number; 0, or kind's -1, stands for any free one."""
        port = self.whole(key, default)
        if not -1 <= port <= 65535:
            raise self.error(key, f"{self.dotted(key)}: {port} is no port (0 to 65535)")
        return max(0, port)

    def yes(self, key: str) -> bool:
        """Return a field that is true or false; absent is false."""
        return self._typed(key, False, bool, "true or false")

    def one_of(self, key: str, default: str, allowed: tuple[str, ...], why: str = "") -> str:
        """Return a text field that has one of the *allowed* values."""
        value = self.text(key, default)
        if value not in allowed:
            words = _list(tuple(each for each in allowed if each))  # "" is "not set"
            raise self.error(key, f"{self.dotted(key)}: {value!r} is not one of {words}{why}")
        return value

    def parsed(self, key: str, default: T, parse_text: Callable[[str], T]) -> T:
        """Return a field made by *parse_text*, whose ValueError says what is wrong with it."""
        if not self.has(key):
            return default
        try:
            return parse_text(self.text(key, ""))
        except ValueError as error:
            raise self.error(key, f"{self.dotted(key)}: {error}") from error

    def child(self, key: str) -> "Fields | None":
        """Return the mapping in a field, or None if it is absent."""
        return Fields(self._document, (*self._path, key)) if self.has(key) else None

    def children(self, key: str) -> "tuple[Fields, ...]":
        """Return the mappings of a list in a field."""
        none: list[Any] = []
        items = self._typed(key, none, list, "a list")
        return tuple(Fields(self._document, (*self._path, key, i)) for i in range(len(items)))

    def list_of_texts(self, key: str) -> tuple[str, ...]:
        """Return a field that is a list of texts."""
        none: list[Any] = []
        items = self._typed(key, none, list, "a list")
        for item in items:
            if not isinstance(item, str):
                raise self.error(
                    key, f"{self.dotted(key)}: a list of text is expected, not {_named(item)} in it"
                )
        return tuple(items)

    def texts(self, key: str) -> dict[str, str]:
        """Return a field that maps text to text, such as labels."""
        reader = self.child(key)
        if reader is None:
            return {}
        return {name: reader.text(name, "") for name in reader._fields}

    def _typed(self, key: str, default: T, kind: type[T], words: str) -> T:
        value = self._fields.get(key)
        if value is None:
            return default
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise self.error(key, f"{self.dotted(key)}: {words} is expected, not {_named(value)}")
        return value


def _named(value: object) -> str:
    """Return *value* as a message shows it: in JSON's words, shortened."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    words = {"None": "nothing", "True": "true", "False": "false"}
    shown = words.get(repr(value), repr(value))
    return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}..."


_LONGEST = 60  # characters of a value in a message: a file that is no YAML is one long text


def _list(allowed: tuple[str, ...]) -> str:
    return allowed[0] if len(allowed) == 1 else f"{', '.join(allowed[:-1])} or {allowed[-1]}"
