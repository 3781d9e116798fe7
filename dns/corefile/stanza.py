"""Pure: one directive of a Corefile, as its plugin reads it: words, lines, and their errors."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from podwire.dns.corefile.corefile import CorefileError, Directive, Line, wrong_count
from podwire.dns.messages.names import is_zone, zones_of
from podwire.kube.durations import seconds

# Python's int() takes more for numbers than Go does: 1_000, and digits of every script.
_WHOLE: Final = re.compile(r"[+-]?[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class Stanza:
    """A directive in its server block; *block_zones* are served when it names none itself."""

    directive: Directive
    block_zones: tuple[str, ...] = (".",)

    @property
    def name(self) -> str:
        """Return the plugin's name."""
        return self.directive.name

    @property
    def arguments(self) -> tuple[str, ...]:
        """Return the words behind the name."""
        return self.directive.arguments

    @property
    def lines(self) -> tuple[Line, ...]:
        """Return the lines inside the braces."""
        return self.directive.lines

    def error(self, message: str, line: Line | None = None) -> CorefileError:
        """Return an error at *line*, or at the directive itself."""
        number = line.number if line is not None else self.directive.number
        file = line.file if line is not None and line.file else self.directive.file
        return CorefileError.at(file, number, message)

    def wrong_count(self, line: Line | None = None) -> CorefileError:
        """Return the error for too many or too few words on *line*, or behind the name."""
        words = line.words if line is not None else (self.name, *self.arguments)
        return self.error(wrong_count(words[-1]), line)

    def arguments_of(
        self, line: Line | None = None, *, least: int = 0, most: int | None = None
    ) -> tuple[str, ...]:
        """Return the words behind the first of *line* (or behind the name), as many as allowed.

        Raises CorefileError when they are fewer than *least* or more than *most* (None: no limit).
        """
        found = line.words[1:] if line is not None else self.arguments
        if len(found) < least or (most is not None and len(found) > most):
            raise self.wrong_count(line)
        return found

    def no_lines(self) -> None:
        """Raise CorefileError if there are braces with something in them."""
        for line in self.lines:
            raise self.error(f"unknown property '{line.words[0]}': {self.name} has none", line)

    def options(self, known: Mapping[str, Callable[[Line], None]]) -> None:
        """Call for each line the function under its first word; raises CorefileError."""
        for line in self.lines:
            take = known.get(line.words[0])
            if take is None:
                raise self.error(
                    f"unknown property '{line.words[0]}'; known are: {', '.join(known)}", line
                )
            if line.lines:
                raise self.error(f"'{line.words[0]}' has no braces", line)
            take(line)

    def fallthrough(self, line: Line) -> tuple[str, ...]:
        """Return the zones of a ``fallthrough`` line; it means every name when it has none."""
        return self.zones(line.words[1:], line) or (".",)

    def duration(self, text: str, line: Line | None = None) -> float:
        """Return a span of time in seconds. Raises CorefileError."""
        try:
            return seconds(text)
        except ValueError as error:
            raise self.error(str(error), line) from None

    def number(
        self, text: str, line: Line | None = None, *, lowest: int = 0, highest: int = 2**31 - 1
    ) -> int:
        """Return a whole number within its limits. Raises CorefileError."""
        if not _WHOLE.fullmatch(text):
            raise self.error(f"'{text}' is no whole number", line)
        value = int(text)
        if not lowest <= value <= highest:
            raise self.error(f"{value} is not in range [{lowest}, {highest}]", line)
        return value

    def endpoint(self, text: str) -> tuple[str, int]:
        """Return address and port of ``ADDRESS:PORT`` or ``:PORT``, which is every address.

        Raises CorefileError.
        """
        host, colon, port = text.rpartition(":")
        if not colon or not _WHOLE.fullmatch(port) or not 0 <= int(port) <= 65535:
            raise self.error(f"'{text}' is no address with a port; write it like :8080")
        host = host.removeprefix("[").removesuffix("]")
        return {"": "0.0.0.0", "localhost": "127.0.0.1"}.get(host, host), int(port)

    def zones(self, words: Iterable[str], line: Line | None = None) -> tuple[str, ...]:
        """Return the zones that *words* name, absolute and lower-cased; CIDRs are reverse zones.

        Raises CorefileError for what cannot be a name.
        """
        found: list[str] = []
        for word in words:
            for zone in zones_of(word):
                if not is_zone(zone):
                    raise self.error(f"'{word}' is no zone", line)
                found.append(zone)
        return tuple(dict.fromkeys(found))

    def zones_or_block(self, words: Iterable[str]) -> tuple[str, ...]:
        """Return the zones that *words* name, or those of the server block if they name none."""
        return self.zones(words) or self.block_zones
