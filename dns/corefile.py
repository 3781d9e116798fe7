"""Pure: the text of a Corefile -> server blocks of directives, by the rules of Caddyfiles.

What a directive means is its plugin's business (stanza.py, plugins/). Errors begin as CoreDNS's do:
``Corefile:7 - Error during parsing: ...``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from podwire.errors import ConfigError

MOST_IMPORTS: Final = 100
"""How many files and snippets one Corefile may take in: they could name each other in a ring."""

_VARIABLE: Final = re.compile(r"\{\$([A-Za-z_][A-Za-z0-9_]*)\}|\{%([A-Za-z_][A-Za-z0-9_]*)%\}")

Read = Callable[[str], Sequence[tuple[str, str]]]
"""The files that the pattern of an ``import`` names: (name, text). Raises OSError."""


class CorefileError(ConfigError):
    """A Corefile that cannot be served; the message begins with its name and the line."""

    @classmethod
    def at(cls, file: str, line: int, message: str) -> CorefileError:
        """Return the error with CoreDNS's preamble."""
        return cls(f"{file}:{line} - Error during parsing: {message}", line=line)


@dataclass(frozen=True, slots=True)
class Word:
    """A word of the file; *is_new_line* says that it begins a line."""

    text: str
    file: str
    line: int
    is_new_line: bool
    is_quoted: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """A line inside the braces of a directive; *lines* are those inside its own braces."""

    words: tuple[str, ...]
    number: int
    lines: tuple[Line, ...] = ()


@dataclass(frozen=True, slots=True)
class Directive:
    """A plugin's name, what stands behind it, and the lines inside its braces."""

    name: str
    arguments: tuple[str, ...]
    lines: tuple[Line, ...]
    file: str
    number: int


@dataclass(frozen=True, slots=True)
class ServerBlock:
    """Zones with scheme and port as written, and the directives that serve them."""

    keys: tuple[str, ...]
    directives: tuple[Directive, ...]
    file: str
    number: int


def parse(
    text: str, *, name: str = "Corefile", environ: Mapping[str, str] | None = None, read: Read
) -> tuple[ServerBlock, ...]:
    """Return the server blocks of a Corefile. Raises CorefileError.

    ``{$NAME}`` stands for a variable of *environ*; *read* gives what ``import`` takes in.
    """
    words = _Words(_split(text, name, environ or {}), name, environ or {}, read)
    blocks: list[ServerBlock] = []
    while not words.at_end:
        block = _block(words)
        if block is not None:
            blocks.append(block)
    return tuple(blocks)


def _split(text: str, file: str, environ: Mapping[str, str]) -> list[Word]:
    """Return the words of *text*; comments run from a # to the end of the line."""
    words: list[Word] = []
    at, line, is_new_line = 0, 1, True
    while at < len(text):
        char = text[at]
        if char == "\n":
            line, at, is_new_line = line + 1, at + 1, True
            continue
        if char.isspace():
            at += 1
            continue
        if char == "#":
            end = text.find("\n", at)
            at = len(text) if end < 0 else end
            continue
        begin = at
        if char == '"':
            word, at = _quoted(text, at + 1, file, line)
        else:
            while at < len(text) and not text[at].isspace() and text[at] != "#":
                at += 1
            word = text[begin:at]
        expanded = _VARIABLE.sub(lambda m: environ.get(m[1] or m[2], ""), word)
        if expanded or char == '"':
            words.append(Word(expanded, file, line, is_new_line, char == '"'))
        line += text.count("\n", begin, at)
        is_new_line = False
    return words


def _quoted(text: str, at: int, file: str, line: int) -> tuple[str, int]:
    """Return what stands in quotes, where only a quote can be escaped, and where it ends."""
    begin, made = at, ""
    while at < len(text):
        if text.startswith('\\"', at):
            made += text[begin:at] + '"'
            at = begin = at + 2
        elif text[at] == '"':
            return made + text[begin:at], at + 1
        else:
            at += 1
    raise CorefileError.at(file, line, "Unexpected EOF: a quote is not closed")


class _Words:
    """The words that are still to be read; imports are put in where they stand."""

    def __init__(
        self, words: list[Word], file: str, environ: Mapping[str, str], read: Read
    ) -> None:
        self._words = words
        self._at = 0
        self._file = file
        self._environ = environ
        self._read = read
        self._imports = 0
        self.snippets: dict[str, list[Word]] = {}

    @property
    def at_end(self) -> bool:
        return self._at >= len(self._words)

    @property
    def ahead(self) -> Word | None:
        return None if self.at_end else self._words[self._at]

    def take(self) -> Word:
        word = self.ahead
        if word is None:
            raise self.end()
        self._at += 1
        return word

    def take_line(self) -> list[Word]:
        """Return the words up to the end of the line; at least one."""
        line = [self.take()]
        while (word := self.ahead) is not None and not word.is_new_line:
            line.append(self.take())
        return line

    def end(self) -> CorefileError:
        last = self._words[-1] if self._words else Word("", self._file, 1, is_new_line=True)
        return CorefileError.at(last.file, last.line, "Unexpected EOF: a brace is not closed")

    def take_import(self, line: list[Word]) -> None:
        """Put in place of an ``import`` line what it names."""
        word = line[0]
        if len(line) < 2:
            raise CorefileError.at(word.file, word.line, wrong_count("import"))
        self._imports += 1
        if self._imports > MOST_IMPORTS:
            raise CorefileError.at(word.file, word.line, "import: too many; is it a ring?")
        pattern = line[1].text
        found = self.snippets.get(pattern)
        if found is None:
            try:
                files = self._read(pattern)
            except OSError as error:
                raise CorefileError.at(word.file, word.line, f"import {pattern}: {error}") from None
            found = [w for name, text in files for w in _split(text, name, self._environ)]
        if found and not found[0].is_new_line:
            first = found[0]
            found = [Word(first.text, first.file, first.line, is_new_line=True), *found[1:]]
        self._words[self._at : self._at] = found


def wrong_count(after: str) -> str:
    """Return CoreDNS's words for arguments that are too few or too many."""
    return f"Wrong argument count or unexpected line ending after '{after}'"


def _block(words: _Words) -> ServerBlock | None:
    """Return the next server block; None if a snippet or an import stood there."""
    first = words.ahead
    if first is None:
        raise words.end()
    if first.text == "import" and not first.is_quoted:
        words.take_import(words.take_line())
        return None
    keys: list[str] = []
    has_brace = False
    goes_on = True
    while goes_on and not has_brace:
        line = words.take_line()
        goes_on = line[-1].text.endswith(",")
        for key in line:
            if key.text == "{":
                has_brace = True
            elif has_brace:
                # Everything of a block may stand behind its brace only on lines of its own.
                raise CorefileError.at(
                    key.file, key.line, f"Unexpected token '{key.text}' behind '{{'"
                )
            elif key.text.rstrip(","):
                keys.append(key.text.rstrip(","))
    if len(keys) == 1 and keys[0].startswith("(") and keys[0].endswith(")"):
        if not has_brace:
            raise CorefileError.at(first.file, first.line, f"{keys[0]}: a snippet needs braces")
        words.snippets[keys[0][1:-1]] = _snippet(words)
        return None
    if not keys:
        raise CorefileError.at(
            first.file, first.line, f"Unexpected token '{first.text}', expecting a zone"
        )
    directives: list[Directive] = []
    while (word := words.ahead) is not None or has_brace:
        if word is None:
            raise words.end()
        if word.text == "}" and not word.is_quoted:
            if not has_brace:
                raise CorefileError.at(
                    word.file, word.line, "Unexpected '}' because no matching '{'"
                )
            words.take()
            break
        line = words.take_line()
        if line[0].text == "import" and not line[0].is_quoted:
            words.take_import(line)
            continue
        directives.append(_directive(line, words))
    return ServerBlock(tuple(keys), tuple(directives), first.file, first.line)


def _snippet(words: _Words) -> list[Word]:
    """Return the words up to the brace that closes the snippet."""
    found: list[Word] = []
    depth = 1
    while True:
        word = words.take()
        if not word.is_quoted:
            depth += (word.text == "{") - (word.text == "}")
        if not depth:
            return found
        found.append(word)


def _directive(line: list[Word], words: _Words) -> Directive:
    name = line[0]
    if name.text == "{":
        raise CorefileError.at(name.file, name.line, "Unexpected '{', expecting a directive")
    texts, has_brace = _without_brace(line)
    lines = _lines(words) if has_brace else ()
    return Directive(name.text, texts[1:], lines, name.file, name.line)


def _lines(words: _Words) -> tuple[Line, ...]:
    found: list[Line] = []
    while True:
        line = words.take_line()
        if line[0].text == "}" and not line[0].is_quoted:
            if len(line) > 1:
                raise CorefileError.at(
                    line[1].file, line[1].line, f"Unexpected token '{line[1].text}' behind '}}'"
                )
            return tuple(found)
        if line[0].text == "import" and not line[0].is_quoted:
            words.take_import(line)
            continue
        texts, has_brace = _without_brace(line)
        found.append(Line(texts, line[0].line, _lines(words) if has_brace else ()))


def _without_brace(line: list[Word]) -> tuple[tuple[str, ...], bool]:
    """Return a line's words, and whether it ends by opening braces."""
    last = line[-1]
    has_brace = last.text == "{" and not last.is_quoted
    for word in line[:-1] if has_brace else line:
        if word.text in ("{", "}") and not word.is_quoted:
            raise CorefileError.at(
                word.file, word.line, f"Unexpected token '{word.text}' in the middle of a line"
            )
    return tuple(word.text for word in (line[:-1] if has_brace else line)), has_brace
