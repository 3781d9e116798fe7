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

    As CoreDNS does it: one group after the other, so a group's text may be filled again.
    """
    for number in range(found.re.groups + 1):
        replacement = replacement.replace(f"{{{number}}}", found[number] or "")
    return replacement


def groups_used(replacement: str) -> int:
    """Return how many different groups *replacement* uses."""
    return sum(f"{{{number}}}" in replacement for number in range(101))
