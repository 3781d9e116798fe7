"""Pure: the rules of the rewrite plugin: what a question becomes, and its reply on the way back.

CoreDNS, plugin/rewrite. Rules for the way back apply in reversed order, to one record after the
other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias, cast, get_args

from podwire.dns.messages.message import Data, Mx, Question, Record, Reply, Soa, Srv
from podwire.dns.messages.query import Edns
from podwire.dns.parts.patterns import Pattern, filled, groups_used, pattern

Matching: TypeAlias = Literal["exact", "prefix", "suffix", "substring", "regex"]
MATCHINGS: Final[tuple[Matching, ...]] = get_args(Matching)


@dataclass(frozen=True, slots=True)
class Asked:
    """What is passed on: the question and the EDNS of the request, both perhaps rewritten."""

    question: Question
    edns: Edns | None

    @property
    def name(self) -> str:
        """Return the name as rules see it."""
        return self.question.name.lower()


Renaming: TypeAlias = Callable[[str], str]
"""What a name in a reply becomes."""


@dataclass(frozen=True, slots=True)
class Owners:
    """Renames the owners of records."""

    rename: Renaming


@dataclass(frozen=True, slots=True)
class Targets:
    """Renames what records lead to."""

    rename: Renaming


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """Keeps TTLs between two limits, in seconds."""

    lowest: int
    highest: int


@dataclass(frozen=True, slots=True)
class Codes:
    """Makes one response code another."""

    old: int
    new: int


@dataclass(frozen=True, slots=True)
class Aliases:
    """Sends CNAMEs somewhere else; what is there must be looked up."""

    target: Renaming


Way = Owners | Targets | Lifetimes | Codes | Aliases
"""A rule for the way back."""


@dataclass(frozen=True, slots=True)
class Rule:
    """*change* returns what a request becomes and the rules for its reply; None: it stays.

    *goes_on* says that the rules behind this one see what it has made.
    """

    change: Callable[[Asked], tuple[Asked, tuple[Way, ...]] | None]
    goes_on: bool = False


def matcher(matching: Matching, wanted: str) -> Callable[[str], bool]:
    """Return what tells whether a lower-cased name fits. Raises ValueError for a bad pattern."""
    match matching:
        case "exact":
            return lambda name: name == wanted
        case "prefix":
            return lambda name: name.startswith(wanted)
        case "suffix":
            return lambda name: name.endswith(wanted)
        case "substring":
            return lambda name: wanted in name
        case "regex":
            compiled = pattern(wanted)
            return lambda name: compiled.search(name) is not None


def renaming(matching: Matching, old: str, new: str) -> Callable[[str], str | None]:
    """Return what gives the new name of one that fits, None for others. Raises ValueError."""
    match matching:
        case "exact":
            return lambda name: new if name == old else None
        case "prefix":
            return lambda name: new + name[len(old) :] if name.startswith(old) else None
        case "suffix":
            return lambda name: name.removesuffix(old) + new if old and name.endswith(old) else None
        case "substring":
            return lambda name: name.replace(old, new) if old in name else None
        case "regex":
            compiled = checked(old, new)
            return lambda name: (
                filled(new, found) if (found := compiled.search(name)) is not None else None
            )


def checked(wanted: str, replacement: str) -> Pattern:
    """Return the compiled pattern. Raises ValueError if *replacement* uses groups it lacks."""
    compiled = pattern(wanted)
    if groups_used(replacement) > compiled.groups:
        raise ValueError(
            f"the rewrite regex pattern ({replacement}) uses more subexpressions than its "
            f"corresponding matching regex pattern ({wanted})"
        )
    return compiled


def name_rule(
    matching: Matching,
    old: str,
    new: str,
    *,
    goes_on: bool,
    is_auto: bool = False,
    ways: Sequence[Way] = (),
) -> Rule:
    """Return the rule that asks for another name.

    With *is_auto* names in the reply become again what was asked for. Raises ValueError.
    """
    rename = renaming(matching, old, new)
    fixed: tuple[Way, ...] = tuple(ways)
    if is_auto and matching == "suffix":
        fixed = (*_both(_suffix_back(new, old)), *fixed)

    def change(asked: Asked) -> tuple[Asked, tuple[Way, ...]] | None:
        name = rename(asked.name)
        if name is None:
            return None
        back: tuple[Way, ...] = ()
        if is_auto and matching != "suffix":
            back = _both(_remapped(name, asked.name))
        question = Question(name, asked.question.kind)
        return replace(asked, question=question), (*back, *fixed)

    return Rule(change, goes_on)


def kind_rule(old: int, new: int, *, goes_on: bool) -> Rule:
    """Return the rule that asks for another record type."""

    def change(asked: Asked) -> tuple[Asked, tuple[Way, ...]] | None:
        if asked.question.kind != old:
            return None
        return replace(asked, question=Question(asked.question.name, new)), ()

    return Rule(change, goes_on)


def reply_rule(fits: Callable[[str], bool], way: Way, *, goes_on: bool) -> Rule:
    """Return the rule that leaves the question alone and changes the reply."""

    def change(asked: Asked) -> tuple[Asked, tuple[Way, ...]] | None:
        return (asked, (way,)) if fits(asked.name) else None

    return Rule(change, goes_on)


def renamed_by(compiled: Pattern, replacement: str) -> Renaming:
    """Return what fills *replacement* for names that fit, and leaves others alone."""

    def rename(name: str) -> str:
        found = compiled.search(name)
        return name if found is None else filled(replacement, found)

    return rename


def led_back(reply: Reply, ways: Sequence[Way]) -> Reply:
    """Return *reply* with the rules for the way back applied; aliases are not looked up here."""
    rcode = reply.rcode
    for way in reversed(ways):
        if isinstance(way, Codes) and way.old == rcode:
            rcode = way.new
    return replace(
        reply,
        rcode=rcode,
        answer=tuple(_led_back(record, ways) for record in reply.answer),
        authority=tuple(_led_back(record, ways) for record in reply.authority),
        additional=tuple(_led_back(record, ways) for record in reply.additional),
    )


def _led_back(record: Record, ways: Sequence[Way]) -> Record:
    for way in reversed(ways):
        match way:
            case Owners():
                record = replace(record, name=way.rename(record.name))
            case Targets():
                record = replace(record, data=_retargeted(record.data, way.rename))
            case Lifetimes():
                record = replace(record, ttl=min(max(record.ttl, way.lowest), way.highest))
            case Codes() | Aliases():
                pass
    return record


def _retargeted(data: Data, rename: Renaming) -> Data:
    match data:
        case str():
            return rename(data)
        case Srv() | Mx():
            return cast(Data, replace(data, target=rename(data.target)))
        case Soa():
            return replace(data, mname=rename(data.mname))
        case _:
            return data


def _both(rename: Renaming) -> tuple[Way, ...]:
    return (Owners(rename), Targets(rename))


def _suffix_back(suffix: str, replacement: str) -> Renaming:
    def rename(name: str) -> str:
        return name.removesuffix(suffix) + replacement if name.endswith(suffix) else name

    return rename


def _remapped(old: str, new: str) -> Renaming:
    """Return what renames one name and all below it."""

    def rename(name: str) -> str:
        if name == old:
            return new
        return name[: len(name) - len(old)] + new if name.endswith("." + old) else name

    return rename
