r"""Pure: regular expressions as Go reads them: RE2 itself, which never takes long.

Python's `re` tries every way to split a name among groups: with a rule such as
``(.*)-(.*)-(.*)-(.*)\.example\.org`` one name of 252 dashes held the server for 80 seconds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, Protocol, cast

# re2 has no types.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
import re2

LONGEST: Final = 10_000

_PLACE: Final = re.compile(r"\{(0|[1-9][0-9]{0,3})\}")
_OPTIONS: Final = re2.Options()
_OPTIONS.log_errors = False


class Match(Protocol):
    """Where a pattern fits; a group that took no part is None."""

    @property
    def re(self) -> Pattern:
        """Return the pattern."""
        ...

    def __getitem__(self, group: int, /) -> str | None: ...

    def groups(self) -> tuple[str | None, ...]:
        """Return all groups but the whole."""
        ...

    def groupdict(self) -> Mapping[str, str | None]:
        """Return the groups that have names."""
        ...


class Pattern(Protocol):
    """A compiled pattern."""

    @property
    def pattern(self) -> str:
        """Return its text."""
        ...

    @property
    def groups(self) -> int:
        """Return how many groups it has."""
        ...

    def search(self, text: str, /) -> Match | None:
        """Return where it fits first, or None."""
        ...


def pattern(text: str) -> Pattern:
    """Return the compiled pattern; raises ValueError, in Go's words where they are short."""
    if len(text) > LONGEST:
        raise ValueError(f"regex pattern too long: {len(text)} > {LONGEST}")
    try:
        return cast(Pattern, re2.compile(text, _OPTIONS))
    except re2.error as error:
        said: Any = error.args[0] if error.args else b""
        reason = said.decode(errors="replace") if isinstance(said, bytes) else str(said)
        reason = reason.replace("invalid perl operator", "invalid or unsupported Perl syntax")
        raise ValueError(f"error parsing regexp: {reason}: `{text}`") from None


def filled(replacement: str, found: Match) -> str:
    """Return *replacement* with each ``{N}`` filled by that group; a group that took no part is ''.

    What a group holds is not filled again, as CoreDNS would: names that say ``{2}{2}{2}`` and
    ``{3}{3}{3}`` grow to megabytes so.
    """

    def fill(place: re.Match[str]) -> str:
        number = int(place[1])
        return (found[number] or "") if number <= found.re.groups else place[0]

    return _PLACE.sub(fill, replacement)


def groups_used(replacement: str) -> int:
    """Return how many different groups *replacement* uses."""
    return sum(f"{{{number}}}" in replacement for number in range(101))
