"""Label and field selectors: parse, match. Errors use the API server's words."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from podwire.kube import syntax
from podwire.kube.objects import LabelSelectorSpec

Operator = Literal["in", "notin", "exists", "absent", ">", "<"]


class SelectorError(ValueError):
    """A selector that cannot be read; the message is the API server's."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """One condition on one label."""

    key: str
    operator: Operator
    values: frozenset[str] = frozenset()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Tell whether *labels* fulfil the condition."""
        value = labels.get(self.key)
        match self.operator:
            case "exists":
                return value is not None
            case "absent":
                return value is None
            case "in":
                return value in self.values
            case "notin":
                return value is None or value not in self.values
            case ">" | "<":
                return _compares(value, self.operator, next(iter(self.values)))


@dataclass(frozen=True, slots=True)
class LabelSelector:
    """Conditions that must all hold; none at all matches everything."""

    requirements: tuple[Requirement, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Tell whether *labels* fulfil all conditions."""
        return all(requirement.matches(labels) for requirement in self.requirements)


@dataclass(frozen=True, slots=True)
class FieldRequirement:
    """One `field=value` or `field!=value`."""

    field: str
    value: str
    equal: bool


EVERYTHING = LabelSelector()
NOTHING = LabelSelector((Requirement("", "in"),))


def from_labels(labels: Mapping[str, str]) -> LabelSelector:
    """Return the selector that a Service's `selector` map stands for."""
    return LabelSelector(tuple(Requirement(k, "in", frozenset([v])) for k, v in labels.items()))


def from_selector(spec: LabelSelectorSpec) -> LabelSelector:
    """Return the selector of a workload; raises SelectorError for an unknown operator."""
    operators: dict[str, Operator] = {
        "In": "in",
        "NotIn": "notin",
        "Exists": "exists",
        "DoesNotExist": "absent",
        "Gt": ">",
        "Lt": "<",
    }
    requirements = list(from_labels(spec.match_labels).requirements)
    for line in spec.match_expressions:
        if line.operator not in operators:
            raise SelectorError(f"{line.operator!r} is not a valid label selector operator")
        requirements.append(Requirement(line.key, operators[line.operator], frozenset(line.values)))
    return LabelSelector(tuple(requirements))


_TOKEN = re.compile(r"\s*(,|\(|\)|!=|==|=|!|>|<|[^\s,()=!<>]+)")
_SPECIAL = frozenset((",", "(", ")", "!=", "==", "=", "!", ">", "<"))
_OPERATORS = "in, notin, =, ==, !=, gt, lt"
_SIGNS: Mapping[str, Operator] = {
    "=": "in", "==": "in", "!=": "notin", ">": ">", "<": "<",
}  # fmt: skip


def parse_labels(text: str) -> LabelSelector:
    """Read `a=b, c in (d,e), !f`; raises SelectorError.

    Grammar and messages are those of apimachinery's labels.Parse.
    """
    tokens = _Tokens(_TOKEN.findall(text))
    requirements: list[Requirement] = []
    while (token := tokens.ahead()) != "":
        if token in _SPECIAL and token != "!":
            raise SelectorError(f"found '{token}', expected: !, identifier, or 'end of string'")
        try:
            requirements.append(_requirement(tokens))
        except SelectorError as error:
            raise SelectorError(f"unable to parse requirement: {error}") from None
        after = tokens.take()
        if after not in ("", ","):
            raise SelectorError(f"found '{after}', expected: ',' or 'end of string'")
        following = tokens.ahead()
        if after == "," and (following == "" or following in _SPECIAL - {"!"}):
            raise SelectorError(f"found '{following}', expected: identifier after ','")
    return LabelSelector(tuple(requirements))


def parse_fields(text: str) -> tuple[FieldRequirement, ...]:
    """Read `metadata.name=x,status.phase!=Running`; raises SelectorError.

    In values a backslash stands before a comma, an equals sign or a backslash that is meant so.
    """
    requirements: list[FieldRequirement] = []
    for term in _FIELD_TERM.findall(text):
        if not term:
            continue
        match = _FIELD.fullmatch(term)
        if not match:
            raise SelectorError(f"invalid selector: '{text}'; can't understand '{term}'")
        value = _unescaped(match[3])
        requirements.append(FieldRequirement(match[1], value, equal=match[2] != "!="))
    return tuple(requirements)


# Up to a comma that has no backslash before it.
_FIELD_TERM = re.compile(r"((?:\\.|[^,\\]|\\$)*)(?:,|$)", re.DOTALL)
_FIELD = re.compile(r"(.*?)(!=|==|=)(.*)", re.DOTALL)


def _unescaped(value: str) -> str:
    plain: list[str] = []
    characters = iter(value)
    for character in characters:
        if character == "\\":
            escaped = next(characters, "")
            if escaped not in ("\\", ",", "="):
                raise SelectorError(f"invalid field selector: invalid escape sequence: \\{escaped}")
            plain.append(escaped)
        elif character == "=":
            raise SelectorError("invalid field selector: unescaped character in value: =")
        else:
            plain.append(character)
    return "".join(plain)


class _Tokens:
    """The words and signs of a selector; behind the last one they are empty."""

    def __init__(self, tokens: Sequence[str]) -> None:
        self._tokens = tokens
        self._at = 0

    def ahead(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def take(self) -> str:
        token = self.ahead()
        self._at += 1
        return token


def _requirement(tokens: _Tokens) -> Requirement:
    absent = tokens.ahead() == "!"
    if absent:
        tokens.take()
    key = tokens.take()
    if key == "" or key in _SPECIAL:
        raise SelectorError(f"found '{key}', expected: identifier")
    if wrong := syntax.qualified_name(key):
        raise SelectorError(f'<nil>: Invalid value: "{key}": {"; ".join(wrong)}')
    if absent:
        return Requirement(key, "absent")
    if tokens.ahead() in ("", ","):
        return Requirement(key, "exists")
    sign = tokens.take()
    if sign in ("in", "notin"):
        return Requirement(key, "in" if sign == "in" else "notin", _good(key, _values(tokens)))
    if sign not in _SIGNS:
        raise SelectorError(f"found '{sign}', expected: {_OPERATORS}")
    value = _value(tokens)
    if sign in (">", "<") and not re.fullmatch(r"[+-]?[0-9]+", value):
        raise SelectorError(
            f'values[0][{key}]: Invalid value: "{value}": '
            "for 'Gt', 'Lt' operators, the value must be an integer"
        )
    return Requirement(key, _SIGNS[sign], _good(key, frozenset([value])))


def _good(key: str, values: frozenset[str]) -> frozenset[str]:
    """Return *values* if they are good labels; raises SelectorError."""
    problems = [
        f'values[{index}][{key}]: Invalid value: "{value}": {"; ".join(wrong)}'
        for index, value in enumerate(sorted(values))
        if (wrong := syntax.label_value(value))
    ]
    if problems:
        raise SelectorError(problems[0] if len(problems) == 1 else f"[{', '.join(problems)}]")
    return values


def _value(tokens: _Tokens) -> str:
    # `a=` is legal and means the empty value.
    if tokens.ahead() in ("", ","):
        return ""
    value = tokens.take()
    if value in _SPECIAL:
        raise SelectorError(f"found '{value}', expected: identifier")
    return value


def _values(tokens: _Tokens) -> frozenset[str]:
    opening = tokens.take()
    if opening != "(":
        raise SelectorError(f"found '{opening}' expected: '('")
    values: set[str] = set()
    first = True
    while True:
        # `()`, `(,a)` and `(a,)` hold the empty value, too.
        if tokens.ahead() in (",", ")"):
            values.add("")
        else:
            value = tokens.take()
            if value == "" or value in _SPECIAL:
                expected = "',', ')' or identifier" if first else "',', or identifier"
                raise SelectorError(f"found '{value}', expected: {expected}")
            values.add(value)
        first = False
        after = tokens.take()
        if after == ")":
            return frozenset(values)
        if after != ",":
            raise SelectorError(f"found '{after}', expected: ',' or ')'")


def _compares(value: str | None, operator: str, limit: str) -> bool:
    try:
        left, right = int(value or ""), int(limit)
    except ValueError:
        return False
    return left > right if operator == ">" else left < right
