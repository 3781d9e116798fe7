"""Pure: matches regular expressions as Go does: in time that grows with the text, and not faster.

Python's engine tries one way after another: for `(a+)+$` these double with each sign of the text,
and the API server would stand still for whoever may create a definition. Here all ways are gone
at once (Thompson's construction); where they lead is remembered, so that the next text is a look-up
per sign. Nobody asks here what a group has matched.
"""

from collections.abc import Iterable
from functools import lru_cache

from podwire.emulator.apiserver.custom import go_syntax
from podwire.emulator.apiserver.custom.go_syntax import (
    At,
    Chars,
    Choice,
    One,
    PatternError,
    Series,
    Times,
    Tree,
)

__all__ = ["PatternError", "compiled", "matches"]

_LONGEST = 20_000
"""Steps of a program; Go has a limit, too."""
_MOST_WORK = 1_000_000
"""Steps gone for one text, a second or two: after that it counts as one that does not match."""
_REMEMBERED = 50_000
"""Steps from which it is known where a sign leads, of one expression."""

_Step = Chars | At | tuple[int, ...] | None
"""A sign to read, a place to be at, where else to go on, or the end: it matches."""
_Where = tuple[frozenset[int], str, str]


class Pattern:
    """A compiled expression."""

    def __init__(self, tree: Tree) -> None:
        self._steps: list[_Step] = []
        self._emit(tree)
        self._steps.append(None)
        self._known: dict[_Where, tuple[bool, frozenset[int]]] = {}
        self._room = _REMEMBERED
        self._places = any(isinstance(step, At) for step in self._steps)

    def search(self, text: str) -> bool:
        """Tell whether it is found anywhere in *text*."""
        at, before, work = frozenset({0}), "", 0
        for char in (*text, ""):
            where = (at, before, char)
            known = self._known.get(where)
            if known is None:
                found, after = self._next(at, before, char)
                known = self._known[where] = found, frozenset(after)
                self._room -= 1 + len(after)
                if self._room < 0:
                    self._known.clear()
                    self._room = _REMEMBERED
                work += 1 + len(after)
                if work > _MOST_WORK:
                    return False
            found, at = known
            if found:
                return True
            if self._places:
                # Only what the places tell apart.
                before = "a" if _in_word(char) else "\n" if char == "\n" else " "
        return False

    def _next(self, at: Iterable[int], before: str, char: str) -> tuple[bool, set[int]]:
        """Return whether the end is reached, and where one is after *char*; "" is no sign."""
        open_, seen, after = list(at), set[int](), {0}
        while open_:
            number = open_.pop()
            if number in seen:
                continue
            seen.add(number)
            step = self._steps[number]
            if step is None:
                return True, after
            if isinstance(step, tuple):
                open_ += step
            elif isinstance(step, At):
                if _is_at(step, before, char):
                    open_.append(number + 1)
            elif char and step(char):
                after.add(number + 1)
        return False, after

    def _emit(self, tree: Tree) -> None:
        steps = self._steps
        if len(steps) > _LONGEST:
            raise PatternError("error parsing regexp: expression too large")
        match tree:
            case One(chars):
                steps.append(chars)
            case At():
                steps.append(tree)
            case Series(parts):
                for part in parts:
                    self._emit(part)
            case Choice(parts):
                ends: list[int] = []
                for part in parts:
                    fork = self._hole()
                    self._emit(part)
                    ends.append(self._hole())
                    steps[fork] = (fork + 1, len(steps))
                steps.append(())  # none of them
                for end in ends:
                    steps[end] = (len(steps),)
            case Times(part, least, most):
                for _ in range(least):
                    start = len(steps)
                    self._emit(part)
                    if len(steps) == start:
                        break  # nothing, however often
                if most is None:
                    fork = self._hole()
                    self._emit(part)
                    steps.append((fork,))
                    steps[fork] = (fork + 1, len(steps))
                    return
                forks: list[int] = []
                for _ in range(most - least):
                    forks.append(self._hole())
                    self._emit(part)
                for fork in forks:
                    steps[fork] = (fork + 1, len(steps))

    def _hole(self) -> int:
        self._steps.append(())
        return len(self._steps) - 1


def matches(pattern: str, text: str) -> bool:
    """Tell whether *pattern* is found in *text*; one that cannot be read matches nothing."""
    try:
        return compiled(pattern).search(text)
    except PatternError:
        return False


@lru_cache(maxsize=256)
def compiled(pattern: str) -> Pattern:
    """Return *pattern*, ready; raises PatternError."""
    return Pattern(go_syntax.parse(pattern))


def _is_at(step: At, before: str, char: str) -> bool:
    match step.place:
        case "begin":
            return not before
        case "end":
            return not char
        case "line begin":
            return before in ("", "\n")
        case "line end":
            return char in ("", "\n")
        case place:
            return (_in_word(before) is not _in_word(char)) is (place == "word edge")


def _in_word(char: str) -> bool:
    return char.isascii() and (char.isalnum() or char == "_")
