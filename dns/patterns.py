"""Pure: regular expressions as Go reads them (RE2) -> Python's.

What RE2 cannot do (look-around, back references) is refused here too. Python may take long over a
bad pattern where RE2 never does; what it is matched with has 255 bytes at most.
"""

from __future__ import annotations

import re
from typing import Final

LONGEST: Final = 10_000

_POSIX: Final = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "digit": "0-9",
    "lower": "a-z",
    "upper": "A-Z",
    "punct": r"!-/:-@\[-`{-~",
    "space": r"\t\n\v\f\r ",
    "word": "0-9A-Za-z_",
    "xdigit": "0-9A-Fa-f",
}
_REFUSED: Final = re.compile(r"\(\?(?:<?[=!]|P=|>|\()")
_ESCAPES: Final = re.compile(r"\\[1-9]|\\[pPCQEZ]")
_PLACE: Final = re.compile(r"\{(0|[1-9][0-9]{0,3})\}")


def pattern(text: str) -> re.Pattern[str]:
    """Return the compiled pattern; raises ValueError, in Go's words where they are short."""
    if len(text) > LONGEST:
        raise ValueError(f"regex pattern too long: {len(text)} > {LONGEST}")
    plain = text.replace("\\\\", "")
    refused = _REFUSED.search(plain) or _ESCAPES.search(plain)
    if refused:
        raise ValueError(
            f"error parsing regexp: invalid or unsupported Perl syntax: `{refused[0]}`"
        )
    written = re.sub(r"\(\?<(?![=!])", "(?P<", text)
    written = re.sub(r"\[:(\w+):\]", lambda found: _POSIX.get(found[1], found[0]), written)
    written = written.replace(r"\z", r"\Z")
    try:
        return re.compile(written, re.ASCII)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"error parsing regexp: {error}: `{text}`") from None


def filled(replacement: str, found: re.Match[str]) -> str:
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
