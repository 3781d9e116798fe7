"""Pure: reads regular expressions as Go writes them (RE2 syntax); `go_pattern` matches them.

Source: regexp/syntax/parse.go of Go, its words for errors too.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

Chars = Callable[[str], bool]
"""Tells whether it is one of the signs that may stand at a place."""
Place = Literal["begin", "end", "line begin", "line end", "word edge", "no word edge"]

_RANGES = {
    "alnum": "09AZaz", "alpha": "AZaz", "ascii": "\x00\x7f", "blank": "\t\t  ",
    "cntrl": "\x00\x1f\x7f\x7f", "digit": "09", "graph": "!~", "lower": "az", "print": " ~",
    "punct": "!/:@[`{~", "space": "\t\r  ", "upper": "AZ", "word": "09AZaz__", "xdigit": "09AFaf",
}  # fmt: skip
_PERL = {"d": "09", "s": "\t\n\f\r  ", "w": "09AZaz__"}
_CONTROLS = {"a": "\a", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_PLACES: dict[str, Place] = {"A": "begin", "z": "end", "b": "word edge", "B": "no word edge"}
_COUNT = re.compile(r"\{(\d+)(?:(,)(\d*))?\}", re.ASCII)
_GROUP = re.compile(r"\(\?(?:P?<(?P<name>\w+)>|(?P<on>[imsU]*)(?P<off>-[imsU]+)?(?P<end>[:)]))")
_CLASS = re.compile(r"\[:(\^?)(\w+):\]")
_CODE = re.compile(r"\\(?:x\{([0-9A-Fa-f]{1,6})\}|x([0-9A-Fa-f]{2})|(0[0-7]{0,2}|[1-7][0-7]{1,2}))")
_CATEGORY = re.compile(r"\\([pP])(?:\{(\^?)(\w+)\}|([A-Z]))")
_SEVERAL = re.compile(r"\\[dDsSwWpP]")
_MOST_TIMES = 1000


class PatternError(ValueError):
    """An expression that cannot be read."""


@dataclass(frozen=True, slots=True)
class One:
    """One sign."""

    chars: Chars


@dataclass(frozen=True, slots=True)
class At:
    """A place between signs."""

    place: Place


@dataclass(frozen=True, slots=True)
class Series:
    """One after the other."""

    parts: tuple["Tree", ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """One of several."""

    parts: tuple["Tree", ...]


@dataclass(frozen=True, slots=True)
class Times:
    """The same so many times; *most* is None where there is no end."""

    part: "Tree"
    least: int
    most: int | None


Tree = One | At | Series | Choice | Times


def parse(pattern: str) -> Tree:
    """Return what *pattern* says; raises PatternError."""
    reader = _Reader(pattern)
    try:
        tree = reader.either("")
    except RecursionError as error:
        raise _wrong("expression nests too deeply", pattern) from error
    if reader.at < len(pattern):
        raise _wrong("unexpected )", pattern)
    return tree


class _Reader:
    """Reads an expression from left to right; flags hold to the end of their group."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.at = 0

    def either(self, flags: str) -> Tree:
        """Read up to the end, or to the parenthesis that closes."""
        choices: list[Tree] = []
        parts: list[Tree] = []
        pattern = self.pattern
        while self.at < len(pattern) and pattern[self.at] != ")":
            if pattern[self.at] == "|":
                self.at += 1
                choices.append(Series(tuple(parts)))
                parts = []
            elif pattern.startswith("\\Q", self.at):
                literal, _, _ = pattern[self.at + 2 :].partition("\\E")
                self.at = min(len(pattern), self.at + 4 + len(literal))
                parts += [One(_sign(sign, flags)) for sign in literal]
                if parts and literal:
                    parts.append(self._repeated(parts.pop()))
            elif (group := _GROUP.match(pattern, self.at)) and group["end"] == ")":
                self.at = group.end()
                flags = _with(flags, group)
            else:
                parts.append(self._repeated(self._atom(flags)))
        choices.append(Series(tuple(parts)))
        return choices[0] if len(choices) == 1 else Choice(tuple(choices))

    def _repeated(self, part: Tree) -> Tree:
        """Read what says how often *part* stands there."""
        pattern, start = self.pattern, self.at
        found = self._count()
        if found is None:
            return part
        again = self.at
        if self._count() is not None:
            shown = pattern[start : self.at]
            raise _wrong("invalid nested repetition operator", shown)
        self.at = again
        least, most = found
        if max(least, most or 0) > _MOST_TIMES or (most is not None and least > most):
            raise _wrong("invalid repeat count", pattern[start:again])
        return Times(part, least, most)

    def _count(self) -> tuple[int, int | None] | None:
        pattern = self.pattern
        sign = pattern[self.at : self.at + 1]
        times: dict[str, tuple[int, int | None]] = {"*": (0, None), "+": (1, None), "?": (0, 1)}
        found = times.get(sign)
        end = self.at + 1
        if found is None:
            match = _COUNT.match(pattern, self.at)
            if match is None:
                return None
            least, end = int(match[1]), match.end()
            most = least if not match[2] else int(match[3]) if match[3] else None
            found = least, most
        # Which of several matches is taken makes no difference here.
        self.at = end + (pattern[end : end + 1] == "?")
        return found

    def _atom(self, flags: str) -> Tree:
        pattern, start = self.pattern, self.at
        sign = pattern[start]
        self.at += 1
        match sign:
            case "(":
                return self._group(flags)
            case "[":
                return One(self._class(flags))
            case ".":
                return One(lambda char: True) if "s" in flags else One(lambda char: char != "\n")
            case "^":
                return At("line begin" if "m" in flags else "begin")
            case "$":
                return At("line end" if "m" in flags else "end")
            case "*" | "+" | "?":
                raise _wrong("missing argument to repetition operator", sign)
            case "\\":
                place = _PLACES.get(pattern[self.at : self.at + 1])
                if place is not None:
                    self.at += 1
                    return At(place)
                self.at = start
                return One(self._escaped(flags))
            case _:
                if sign == "{" and _COUNT.match(pattern, start):
                    raise _wrong("missing argument to repetition operator", pattern[start:])
                return One(_sign(sign, flags))

    def _group(self, flags: str) -> Tree:
        pattern, start = self.pattern, self.at - 1
        if pattern.startswith("?", self.at):
            group = _GROUP.match(pattern, start)
            if group is None:
                raise _wrong("invalid or unsupported Perl syntax", pattern[start : start + 3])
            flags = _with(flags, group)
            self.at = group.end()
        tree = self.either(flags)
        if not pattern.startswith(")", self.at):
            raise _wrong("missing closing )", pattern)
        self.at += 1
        return tree

    def _escaped(self, flags: str) -> Chars:
        """Read an escape that stands for signs."""
        pattern, start = self.pattern, self.at
        sign = pattern[start + 1 : start + 2]
        if not sign:
            raise _wrong("trailing backslash at end of expression", "")
        if sign.lower() in _PERL:
            self.at += 2
            return _perl(sign)
        if sign in "pP" and (match := _CATEGORY.match(pattern, start)):
            self.at = match.end()
            inverse = (match[1] == "P") is not bool(match[2])
            return _category(match[3] or match[4], inverse=inverse)
        return _sign(self._one(), flags)

    def _one(self) -> str:
        """Read one sign of a class or of a text, perhaps escaped."""
        pattern, start = self.pattern, self.at
        if pattern[start] != "\\":
            self.at += 1
            return pattern[start]
        sign = pattern[start + 1 : start + 2]
        if match := _CODE.match(pattern, start):
            self.at = match.end()
            code = int(match[3], 8) if match[3] else int(match[1] or match[2], 16)
            if code < 0x110000:
                return chr(code)
        elif sign in _CONTROLS or (sign.isascii() and sign and not sign.isalnum()):
            self.at += 2
            return _CONTROLS.get(sign, sign)
        raise _wrong("invalid escape sequence", pattern[start : start + 2])

    def _class(self, flags: str) -> Chars:
        """Read a class, behind its bracket."""
        pattern, start = self.pattern, self.at - 1
        inverse = pattern.startswith("^", self.at)
        self.at += inverse
        ranges: list[tuple[str, str]] = []
        others: list[Chars] = []
        first = True
        while first or not pattern.startswith("]", self.at):
            first = False
            if self.at >= len(pattern):
                raise _wrong("missing closing ]", pattern[start:])
            if pattern.startswith("[:", self.at) and (named := _CLASS.match(pattern, self.at)):
                self.at = named.end()
                if named[2] not in _RANGES:
                    raise _wrong("invalid character class range", named[0])
                others.append(_among(_pairs(_RANGES[named[2]]), inverse=bool(named[1])))
            elif _SEVERAL.match(pattern, self.at):
                others.append(self._escaped(""))
            else:
                ranges.append(self._range())
        self.at += 1
        within = _among(ranges, inverse=False)
        parts = [_folded(within) if "i" in flags else within, *others]
        return lambda char: any(part(char) for part in parts) is not inverse

    def _range(self) -> tuple[str, str]:
        pattern, start = self.pattern, self.at
        low = self._one()
        beyond = pattern[self.at + 1 : self.at + 2]
        if not pattern.startswith("-", self.at) or beyond in ("]", ""):
            return low, low
        self.at += 1
        high = self._one()
        if high < low:
            raise _wrong("invalid character class range", pattern[start : self.at])
        return low, high


def _with(flags: str, group: re.Match[str]) -> str:
    off = group["off"] or ""
    return "".join(flag for flag in flags + (group["on"] or "") if flag not in off)


def _pairs(text: str) -> list[tuple[str, str]]:
    return list(zip(text[::2], text[1::2], strict=True))


def _among(ranges: Iterable[tuple[str, str]], *, inverse: bool) -> Chars:
    known = tuple(ranges)
    return lambda char: any(low <= char <= high for low, high in known) is not inverse


def _perl(sign: str) -> Chars:
    return _among(_pairs(_PERL[sign.lower()]), inverse=sign.isupper())


def _sign(sign: str, flags: str) -> Chars:
    return _folded(sign.__eq__) if "i" in flags else sign.__eq__


def _folded(chars: Chars) -> Chars:
    return lambda char: chars(char) or chars(char.lower()) or chars(char.upper())


def _category(name: str, *, inverse: bool) -> Chars:
    """Return the signs of a general category (`L`, `Lu`), of a script, or `Any`."""

    def holds(char: str) -> bool:
        if len(name) <= 2:
            return unicodedata.category(char).startswith(name)
        return name == "Any" or unicodedata.name(char, "").startswith(f"{name.upper()} ")

    return lambda char: holds(char) is not inverse


def _wrong(why: str, where: str) -> PatternError:
    return PatternError(f"error parsing regexp: {why}: `{where}`")
