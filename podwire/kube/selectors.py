"""Label and field selectors: parse, match. Errors use the API server's words."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

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


def parse_labels(text: str) -> LabelSelector:
    """Read `a=b, c in (d,e), !f`; raises SelectorError."""
    tokens = _TOKEN.findall(text)
    requirements: list[Requirement] = []
    at = 0
    while at < len(tokens):
        requirement, at = _requirement(tokens, at)
        requirements.append(requirement)
        if at < len(tokens):
            if tokens[at] != ",":
                raise SelectorError(
                    f"unable to parse requirement: found '{tokens[at]}', "
                    "expected: ',' or 'end of string'"
                )
            at += 1
            if at == len(tokens):
                raise SelectorError(
                    "unable to parse requirement: found '', expected: identifier after ','"
                )
    return LabelSelector(tuple(requirements))


def parse_fields(text: str) -> tuple[FieldRequirement, ...]:
    """Read `metadata.name=x,status.phase!=Running`; raises SelectorError."""
    requirements: list[FieldRequirement] = []
    for term in filter(None, (t.strip() for t in text.split(","))):
        match = re.fullmatch(r"([^=!]+?)\s*(!=|==|=)\s*(.*)", term)
        if not match:
            raise SelectorError(f"invalid selector: '{term}'; can't understand '{term}'")
        requirements.append(FieldRequirement(match[1], match[3], equal=match[2] != "!="))
    return tuple(requirements)


def _requirement(tokens: Sequence[str], at: int) -> tuple[Requirement, int]:
    word = tokens[at]
    if word == "!":
        return Requirement(_name(tokens, at + 1), "absent"), at + 2
    key = _name(tokens, at)
    operator = tokens[at + 1] if at + 1 < len(tokens) else ","
    if operator == ",":
        return Requirement(key, "exists"), at + 1
    if operator in ("=", "==", "!=", ">", "<"):
        value, at = _value(tokens, at + 2)
        kinds: dict[str, Operator] = {"=": "in", "==": "in", "!=": "notin", ">": ">", "<": "<"}
        return Requirement(key, kinds[operator], frozenset([value])), at
    if operator in ("in", "notin"):
        values, at = _values(tokens, at + 2)
        return Requirement(key, "in" if operator == "in" else "notin", values), at
    raise SelectorError(
        f"unable to parse requirement: found '{operator}', expected: in, notin, =, ==, !=, gt, lt"
    )


def _name(tokens: Sequence[str], at: int) -> str:
    if at >= len(tokens) or tokens[at] in (",", "(", ")", "=", "==", "!=", "!", ">", "<"):
        found = tokens[at] if at < len(tokens) else ""
        raise SelectorError(f"unable to parse requirement: found '{found}', expected: identifier")
    return tokens[at]


def _value(tokens: Sequence[str], at: int) -> tuple[str, int]:
    # `a=` is legal and means the empty value.
    if at >= len(tokens) or tokens[at] == ",":
        return "", at
    return tokens[at], at + 1


def _values(tokens: Sequence[str], at: int) -> tuple[frozenset[str], int]:
    if at >= len(tokens) or tokens[at] != "(":
        found = tokens[at] if at < len(tokens) else ""
        raise SelectorError(f"unable to parse requirement: found '{found}' expected: '('")
    values: set[str] = set()
    at += 1
    expect_value = True
    while at < len(tokens) and tokens[at] != ")":
        if tokens[at] == ",":
            if expect_value:
                values.add("")
            expect_value = True
        else:
            values.add(tokens[at])
            expect_value = False
        at += 1
    if at >= len(tokens):
        raise SelectorError("unable to parse requirement: found '', expected: ',' or ')'")
    return frozenset(values), at + 1


def _compares(value: str | None, operator: str, limit: str) -> bool:
    try:
        left, right = int(value or ""), int(limit)
    except ValueError:
        return False
    return left > right if operator == ">" else left < right
