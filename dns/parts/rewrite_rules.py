"""Pure: the words of a rewrite line -> its rule (CoreDNS, plugin/rewrite)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from podwire.dns.messages.kinds import kind_of, rcode_of
from podwire.dns.messages.names import absolute
from podwire.dns.messages.query import Edns
from podwire.dns.parts.rewriting import (
    MATCHINGS,
    Aliases,
    Asked,
    Codes,
    Lifetimes,
    Matching,
    Owners,
    Rule,
    Targets,
    Way,
    checked,
    kind_rule,
    matcher,
    name_rule,
    renamed_by,
    renaming,
    reply_rule,
)

RULES: Final = ("name", "type", "ttl", "rcode", "cname", "edns0")
ACTIONS: Final = ("append", "replace", "set", "unset")
NSID: Final = 3
EDNS_SIZE: Final = 4096
LARGEST_TTL: Final = 2**31 - 1


def rule_of(words: Sequence[str]) -> Rule:
    """Return the rule that *words* say. Raises ValueError, in CoreDNS's words."""
    if not words:
        raise ValueError("no rule type specified for rewrite")
    mode = words[0].lower()
    goes_on = mode == "continue"
    if mode in ("continue", "stop"):
        if len(words) < 2:
            raise ValueError(f"{mode} rule must begin with a rule type")
        words = words[1:]
    kind, arguments = words[0].lower(), list(words[1:])
    match kind:
        case "name":
            return _name(arguments, goes_on=goes_on)
        case "type":
            return _type(arguments, goes_on=goes_on)
        case "ttl":
            return _ttl(arguments, goes_on=goes_on)
        case "rcode":
            return _rcode(arguments, goes_on=goes_on)
        case "cname":
            return _cname(arguments, goes_on=goes_on)
        case "edns0":
            return _edns0(arguments, goes_on=goes_on)
        case "answer":
            raise ValueError("response rewrites must begin with a name rule")
        case "class":
            raise ValueError("class rules are not there: only class IN is served")
        case _:
            raise ValueError(f'invalid rule type "{words[0]}"; known are: {", ".join(RULES)}')


def _name(words: list[str], *, goes_on: bool) -> Rule:
    if len(words) < 2:
        raise ValueError("too few arguments for a name rule")
    matching: Matching = "exact"
    if len(words) > 2:
        matching = _matching(words.pop(0), "name rule")
    old, new, *answers = words
    new = _normal(new)
    if matching != "regex":
        old = _normal(old)
    if matching in ("exact", "suffix"):
        old, new = absolute(old), absolute(new)
    is_auto, ways = _answers(matching, answers)
    # The names of an exact rule's replies are always led back.
    return name_rule(
        matching,
        old,
        new,
        goes_on=goes_on,
        is_auto=is_auto or matching == "exact",
        ways=ways,
    )


def _answers(matching: str, words: list[str]) -> tuple[bool, list[Way]]:
    """Return whether ``answer auto`` is asked for, and the rules of the other ``answer`` parts."""
    is_auto = False
    ways: list[Way] = []
    if len(words) == 1:
        raise ValueError(f"invalid arguments for {matching} rule")
    if words and words[0] != "answer":
        raise ValueError(
            f"exceeded the number of arguments for a non-answer rule argument for {matching} rule"
        )
    while words:
        if words[0] == "answer":
            words.pop(0)
        if not words:
            raise ValueError(f"type missing for answer rule for {matching} rule")
        what = words.pop(0)
        if what == "auto":
            is_auto = True
            continue
        if what not in ("name", "value"):
            raise ValueError(
                f'invalid type "{what}" for answer rule for {matching} rule; known are: auto, '
                "name, value"
            )
        if len(words) < 2:
            raise ValueError(f"{what} answer rule for {matching} rule: 2 arguments required")
        old, new = words.pop(0), words.pop(0)
        rename = renamed_by(checked(old, new), _normal(new))
        ways.append(Owners(rename) if what == "name" else Targets(rename))
    if is_auto and any(isinstance(way, Owners) for way in ways):
        raise ValueError("auto name answer rule cannot be combined with explicit name anwer rules")
    return is_auto, ways


def _type(words: list[str], *, goes_on: bool) -> Rule:
    if len(words) != 2:
        raise ValueError("type rules must have exactly two arguments")
    kinds: list[int] = []
    for word in words:
        kind = kind_of(word.upper())
        if kind is None:
            raise ValueError(f'invalid type "{word.upper()}"')
        kinds.append(kind)
    return kind_rule(*kinds, goes_on=goes_on)


def _ttl(words: list[str], *, goes_on: bool) -> Rule:
    if len(words) < 2:
        raise ValueError(f"too few ({len(words)}) arguments for a ttl rule")
    if len(words) > 3:
        raise ValueError(f"too many ({len(words)}) arguments for a ttl rule")
    matching = _matching(words[0], "ttl rule") if len(words) == 3 else "exact"
    name, ttl = words[-2:]
    first, dash, last = ttl.partition("-")
    if (
        not all(part.isdigit() for part in (first, last) if part)
        or not (first or last)
        or int(first or 0) > int(last or (LARGEST_TTL if dash else first))
    ):
        raise ValueError(f"invalid TTL '{ttl}' for a ttl rule")
    lowest = int(first or 0)
    highest = int(last or LARGEST_TTL) if dash else lowest
    return reply_rule(_fits(matching, name), Lifetimes(lowest, highest), goes_on=goes_on)


def _rcode(words: list[str], *, goes_on: bool) -> Rule:
    if len(words) < 3:
        raise ValueError(f"too few ({len(words)}) arguments for a rcode rule")
    if len(words) > 4:
        raise ValueError(f"too many ({len(words)}) arguments for a rcode rule")
    matching = _matching(words[0], "rcode rule") if len(words) == 4 else "exact"
    name, old, new = words[-3:]
    way = Codes(_code(old, "matching"), _code(new, "replacement"))
    return reply_rule(_fits(matching, name), way, goes_on=goes_on)


def _code(word: str, what: str) -> int:
    code = int(word) if word.isdigit() and int(word) <= 23 else rcode_of(word.upper())
    if code is None:
        raise ValueError(f"invalid {what} RCODE '{word}' for a rcode rule")
    return code


def _cname(words: list[str], *, goes_on: bool) -> Rule:
    if len(words) not in (2, 3):
        raise ValueError(f"too few ({len(words)}) arguments for a cname rule")
    matching = _matching(words[0], "cname rule") if len(words) == 3 else "exact"
    old, new = (word.lower() for word in words[-2:])
    if matching == "exact":
        old, new = absolute(old), absolute(new)
    rename = renaming(matching, old, new)

    def target(name: str) -> str:
        found = rename(name)
        return name if found is None else found

    return reply_rule(lambda _: True, Aliases(target), goes_on=goes_on)


def _edns0(words: list[str], *, goes_on: bool) -> Rule:
    if len(words) < 2:
        raise ValueError("too few arguments for an EDNS0 rule")
    kind, action, *values = words
    kind, action = kind.lower(), action.lower()
    if action not in ACTIONS:
        raise ValueError(f'invalid action: "{action}"; known are: {", ".join(ACTIONS)}')
    if values[-1:] == ["revert"]:
        # What a client gets back is made from its own options: they are never changed.
        values.pop()
    if kind == "nsid" and not values:
        code, content = NSID, b""
    elif kind == "local" and len(values) == (1 if action == "unset" else 2):
        code, content = _option(*values)
    elif kind in ("nsid", "local"):
        raise ValueError(f"wrong number of arguments for an EDNS0 {kind} rule")
    else:
        raise ValueError(f'invalid rule type "{kind}" of edns0; known are: local, nsid')

    def change(asked: Asked) -> tuple[Asked, tuple[Way, ...]] | None:
        edns = asked.edns or Edns(EDNS_SIZE)
        others = tuple(option for option in edns.options if option[0] != code)
        is_there = len(others) != len(edns.options)
        if action == "replace" and not is_there:
            return None
        if action == "unset":
            options = others
        elif action == "append":
            options = (*edns.options, (code, content))
        else:
            options = (*others, (code, content))
        return replace(asked, edns=replace(edns, options=options)), ()

    return Rule(change, goes_on)


def _option(code_text: str, value: str = "") -> tuple[int, bytes]:
    try:
        code = int(code_text, 0)
        if not 0 <= code < 65536:
            raise ValueError
    except ValueError:
        raise ValueError(f'invalid code: "{code_text}"') from None
    if value.startswith("0x"):
        try:
            return code, bytes.fromhex(value[2:])
        except ValueError:
            raise ValueError(f'invalid data: "{value}"') from None
    if value.startswith("{") and value.endswith("}"):
        raise ValueError(f"variables in edns0 rules are not there: {value}")
    return code, value.encode()


def _matching(word: str, what: str) -> Matching:
    matching = word.lower()
    if matching not in MATCHINGS:
        raise ValueError(
            f"{what} supports only exact, prefix, suffix, substring, and regex name matching, "
            f"received: {matching}"
        )
    return matching


def _fits(matching: Matching, name: str) -> Callable[[str], bool]:
    return matcher(matching, name if matching == "regex" else _normal(name))


def _normal(name: str) -> str:
    """Return a name as plugins compare it: absolute and lower-cased."""
    return absolute(name.lower())
