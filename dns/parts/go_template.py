"""Pure: Go's text templates, as much of them as the template plugin's Corefiles use.

Fields (``.Name``, ``.Group.x``), ``index``, ``parseInt``, literals, parentheses and ``{{- -}}``.
Everything else is refused when the template is read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

_ACTION: Final = re.compile(r"\{\{(-\s)?(.*?)(\s-)?\}\}", re.DOTALL)
_TOKEN: Final = re.compile(
    r'\s*(?:(?P<field>(?:\.\w+)+)|(?P<word>\w+)|(?P<text>"(?:[^"\\]|\\.)*"|`[^`]*`)|(?P<mark>\S))'
)
_ESCAPE: Final = re.compile(r"\\(.)")

Value = str | int | Sequence[str] | Mapping[str, str]
Facts = Mapping[str, Value]
"""What a template may name: ``.Name`` is ``Name`` here."""

FUNCTIONS: Final = ("index", "parseInt")

_Term = Callable[[Facts], Value]


class FillingError(ValueError):
    """A template that cannot be filled for this question: a group or match that is not there."""


class GoTemplate:
    """A template, taken apart once. *fields* are those that it names."""

    def __init__(self, text: str, known: Sequence[str]) -> None:
        """Read *text*; *known* are the fields there are. Raises ValueError."""
        self.fields: set[str] = set()
        self._parts: list[str | _Term] = []
        at = 0
        trims = False
        for found in _ACTION.finditer(text):
            literal = _literal(text[at : found.start()])
            literal = literal.lstrip() if trims else literal
            self._parts.append(literal.rstrip() if found[1] else literal)
            trims = bool(found[3])
            at = found.end()
            if found[2].strip().startswith("/*"):
                continue
            reader = _Reader(found[2], known)
            self._parts.append(reader.read())
            self.fields |= reader.fields
        literal = _literal(text[at:])
        self._parts.append(literal.lstrip() if trims else literal)

    def fill(self, facts: Facts) -> str:
        """Return the text for these facts. Raises FillingError."""
        return "".join(p if isinstance(p, str) else str(p(facts)) for p in self._parts)


def _literal(text: str) -> str:
    if "{{" in text:
        raise ValueError("unclosed action")
    return text


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str


class _Reader:
    """Reads what stands in one pair of braces."""

    def __init__(self, text: str, known: Sequence[str]) -> None:
        self._tokens: list[_Token] = []
        self._text = text.strip()
        for found in _TOKEN.finditer(text):
            kind = found.lastgroup
            if kind:
                self._tokens.append(_Token(kind, found[kind]))
        self._known = known
        self.fields: set[str] = set()

    def read(self) -> _Term:
        if not self._tokens:
            raise ValueError("missing value for command")
        term = self._command()
        if self._tokens:
            raise ValueError(f"unexpected <{self._tokens[0].text}> in operand: {self._text}")
        return term

    def _command(self) -> _Term:
        """Read a function with its arguments, or a term that stands alone."""
        token = self._tokens[0]
        if token.kind != "word" or token.text.isdigit():
            return self._term()
        self._tokens.pop(0)
        if token.text not in FUNCTIONS:
            raise ValueError(
                f'function "{token.text}" not defined; known are: {", ".join(FUNCTIONS)}'
            )
        arguments: list[_Term] = []
        while self._tokens and self._tokens[0].text != ")":
            arguments.append(self._term())
        if token.text == "index":
            if len(arguments) != 2:
                raise ValueError(f"wrong number of args for index: {self._text}")
            return lambda facts: _index(arguments[0](facts), arguments[1](facts))
        if len(arguments) != 3:
            raise ValueError(f"wrong number of args for parseInt: want 3: {self._text}")
        return lambda facts: _parse_int(*(argument(facts) for argument in arguments))

    def _term(self) -> _Term:
        token = self._tokens.pop(0)
        match token.kind:
            case "field":
                return self._field(token.text)
            case "word" if token.text.isdigit():
                number = int(token.text)
                return lambda _: number
            case "text":
                text = token.text[1:-1]
                if token.text.startswith('"'):
                    text = _ESCAPE.sub(r"\1", text)
                return lambda _: text
            case "mark" if token.text == "(":
                term = self._command() if self._tokens else None
                if term is None or not self._tokens or self._tokens.pop(0).text != ")":
                    raise ValueError(f"unclosed left paren: {self._text}")
                return term
            case _:
                raise ValueError(f"{token.text} is not understood here: {self._text}")

    def _field(self, text: str) -> _Term:
        first, *rest = text[1:].split(".")
        if first not in self._known:
            raise ValueError(f"there is no field .{first}; known are: .{', .'.join(self._known)}")
        self.fields.add(first)
        if not rest:
            return lambda facts: facts[first]
        if len(rest) > 1 or first != "Group":
            raise ValueError(f"{text}: only .Group has fields of its own")
        return lambda facts: _index(facts[first], rest[0])


def _index(value: Value, key: Value) -> str:
    if isinstance(value, Mapping):
        found = value.get(str(key))
    elif isinstance(value, Sequence) and isinstance(key, int) and 0 <= key < len(value):
        found = value[key]
    else:
        raise FillingError(f"error calling index: index out of range: {key}")
    if found is None:
        raise FillingError(f"there is no group {key}")
    return found


def _parse_int(text: Value, base: Value, bits: Value) -> int:
    if not isinstance(text, str) or not isinstance(base, int) or not isinstance(bits, int):
        raise FillingError("error calling parseInt: wants a text, a base and a size in bits")
    try:
        number = int(text, base) if not text.startswith(("+", "-")) and "_" not in text else -1
    except ValueError:
        number = -1
    if not 0 <= number < 2 ** (bits or 64):
        raise FillingError(f'error calling parseInt: strconv.ParseUint: parsing "{text}"')
    return number
