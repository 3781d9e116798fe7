"""Pure: the text of a Corefile -> server blocks of directives, by the rules of Caddyfiles.

What a directive means is its plugin's business (stanza.py, plugins/). Errors begin as CoreDNS's do:
``Corefile:7 - Error during parsing: ...``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from podwire.errors import ConfigError

MOST_IMPORTS: Final = 1000
"""How many files and snippets one Corefile may take in: they could name each other in a ring."""

DEEPEST: Final = 10
"""How deep braces may be nested in a directive; no plugin has more than one level."""

_VARIABLE: Final = re.compile(r"\{\$([^{}]+)\}|\{%([^{}%]+)%\}")

Read = Callable[[str, str], Sequence[tuple[str, str]]]
"""The files (name, text) that an ``import`` names: its pattern, and the file where it stands.

Raises OSError.
"""


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
    """A line inside the braces of a directive; *lines* are those inside its own braces.

    *file* is empty when it is the directive's.
    """

    words: tuple[str, ...]
    number: int
    lines: tuple[Line, ...] = ()
    file: str = ""


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


def wrong_count(after: str) -> str:
    """Return CoreDNS's words for arguments that are too few or too many."""
    return f"Wrong argument count or unexpected line ending after '{after}'"


def _split(text: str, file: str, environ: Mapping[str, str]) -> list[Word]:
    """Return the words of *text*; comments run from a # to the end of the line."""
    words: list[Word] = []
    at, line, is_new_line = 0, 1, True
    text = text.removeprefix("\ufeff")
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
        # What an unset variable leaves is a word all the same: empty.
        expanded = _VARIABLE.sub(lambda found: environ.get(found[1] or found[2], ""), word)
        words.append(Word(expanded, file, line, is_new_line, char == '"'))
        line += text.count("\n", begin, at)
        is_new_line = False
    return words


def _quoted(text: str, at: int, file: str, line: int) -> tuple[str, int]:
    """Return what stands in quotes, where only a quote can be escaped, and where it ends."""
    made = ""
    while at < len(text):
        char = text[at]
        if char == '"':
            return made, at + 1
        if char == "\\" and at + 1 < len(text):
            made += '"' if text[at + 1] == '"' else text[at : at + 2]
            at += 2
        else:
            made += char
            at += 1
    raise CorefileError.at(file, line, "Unexpected EOF: a quote is not closed")


class _Words:
    """The words that are still to be read; imports are put in where they stand."""

    def __init__(
        self, words: list[Word], file: str, environ: Mapping[str, str], read: Read
    ) -> None:
        # The next word is the last of the list: taking one, and putting some in, is cheap there.
        self._left = words[::-1]
        self._last = words[-1] if words else Word("", file, 1, is_new_line=True)
        self._environ = environ
        self._read = read
        self._imports = 0
        self.snippets: dict[str, list[Word]] = {}

    @property
    def at_end(self) -> bool:
        return not self._left

    @property
    def here(self) -> tuple[str, int]:
        """Return file and line of the word that was taken last."""
        return self._last.file, self._last.line

    @property
    def ahead(self) -> Word | None:
        return self._left[-1] if self._left else None

    def take(self) -> Word:
        """Return the next word."""
        if not self._left:
            raise CorefileError.at(*self.here, "Unexpected EOF: a brace is not closed")
        self._last = self._left.pop()
        return self._last

    def take_line(self) -> tuple[list[Word], bool]:
        """Return the words up to the end of the line, at least one, and whether braces open there.

        The braces end the line: what stands behind them belongs to what is inside.
        """
        line = [self.take()]
        while (word := self.ahead) is not None and not word.is_new_line:
            self.take()
            if _is_brace(word, "{"):
                return line, True
            line.append(word)
        return line, False

    def has_import(self) -> bool:
        """Return whether an ``import`` stood next; what it names stands there now."""
        word = self.ahead
        if word is None or word.is_quoted or word.text != "import":
            return False
        line, has_brace = self.take_line()
        if len(line) < 2:
            raise _error(word, wrong_count("import"))
        pattern = line[1].text
        if not pattern:
            raise _error(word, "Import requires a non-empty filepath")
        if len(line) > 2 or has_brace:
            raise _error(word, "Import takes only one argument (glob pattern or file)")
        self._imports += 1
        if self._imports > MOST_IMPORTS:
            raise _error(word, f"maximum import depth ({MOST_IMPORTS}) exceeded; is it a ring?")
        found = self.snippets.get(pattern)
        if found is None:
            try:
                files = self._read(pattern, word.file)
            except FileNotFoundError:
                raise _error(word, f"File to import not found: {pattern}") from None
            except (OSError, ValueError) as error:
                raise _error(word, f"Could not import {pattern}: {error}") from None
            found = [one for name, text in files for one in _split(text, name, self._environ)]
        if found:
            found = [replace(found[0], is_new_line=True), *found[1:]]
        self._left.extend(reversed(found))
        return True


def _is_brace(word: Word, brace: str) -> bool:
    """Return whether *word* is that brace, and not text in quotes."""
    return word.text == brace and not word.is_quoted


def _error(word: Word, message: str) -> CorefileError:
    return CorefileError.at(word.file, word.line, message)


def _block(words: _Words) -> ServerBlock | None:
    """Return the next server block; None if a snippet or an import stood there."""
    if words.has_import():
        return None
    first = words.ahead
    if first is None:
        return None
    keys, has_brace = _keys(words)
    if len(keys) == 1 and keys[0].startswith("(") and keys[0].endswith(")"):
        name = keys[0][1:-1]
        if not has_brace:
            raise _error(first, f"snippet {keys[0]} needs braces")
        if name in words.snippets:
            raise _error(first, f"redeclaration of previously declared snippet {name}")
        words.snippets[name] = _snippet(words)
        return None
    if not keys:
        raise _error(first, f"Unexpected token '{first.text}', expecting a zone")
    directives: list[Directive] = []
    while not words.at_end or has_brace:
        if words.has_import():
            continue
        word = words.ahead
        if word is not None and _is_brace(word, "}"):
            if not has_brace:
                raise _error(
                    word, f"Unexpected '}}' because no matching opening brace{_glued(keys)}"
                )
            words.take()
            break
        directives.append(_directive(words))
    return ServerBlock(tuple(keys), tuple(directives), first.file, first.line)


def _glued(keys: list[str]) -> str:
    """Return which zone took a brace for a part of its name, to be put behind an error."""
    glued = next((key for key in keys if key.endswith("{")), "")
    return f": is a space missing before the {{ of {glued}?" if glued else ""


def _keys(words: _Words) -> tuple[list[str], bool]:
    """Return the zones in front of a block, and whether it has braces.

    They end at the brace, which may stand on the next line, or at the end of the line; a comma
    behind a zone says that another one follows, there or on the next line.
    """
    keys: list[str] = []
    expects_another = False
    while (word := words.ahead) is not None:
        if _is_brace(word, "{"):
            if expects_another:
                raise _error(word, "Expected another address but had '{' - check for extra comma")
            words.take()
            return keys, True
        if keys and word.is_new_line and not expects_another:
            return keys, False
        words.take()
        if word.text:
            expects_another = word.text.endswith(",")
            keys.append(word.text.removesuffix(","))
    if expects_another:
        raise CorefileError.at(*words.here, "Unexpected EOF: another address is expected")
    return [key for key in keys if key], False


def _snippet(words: _Words) -> list[Word]:
    """Return the words up to the brace that closes the snippet."""
    found: list[Word] = []
    depth = 1
    while True:
        word = words.take()
        depth += _is_brace(word, "{") - _is_brace(word, "}")
        if not depth:
            return found
        found.append(word)


def _directive(words: _Words) -> Directive:
    line, has_brace = words.take_line()
    name = line[0]
    if _is_brace(name, "{"):
        raise _error(name, "Unexpected '{', expecting a directive")
    texts = _texts(line)
    lines = _lines(words) if has_brace else ()
    return Directive(name.text, texts[1:], lines, name.file, name.line)


def _lines(words: _Words, depth: int = 1) -> tuple[Line, ...]:
    """Return the lines up to the brace that closes them."""
    if depth > DEEPEST:
        raise CorefileError.at(*words.here, f"braces are nested more than {DEEPEST} deep")
    found: list[Line] = []
    while True:
        if words.has_import():
            continue
        word = words.ahead
        if word is not None and _is_brace(word, "}"):
            words.take()
            behind = words.ahead
            if behind is not None and not behind.is_new_line and not _is_brace(behind, "}"):
                raise _error(behind, f"Unexpected token '{behind.text}' behind '}}'")
            return tuple(found)
        line, has_brace = words.take_line()
        inner = _lines(words, depth + 1) if has_brace else ()
        found.append(Line(_texts(line), line[0].line, inner, line[0].file))


def _texts(line: Sequence[Word]) -> tuple[str, ...]:
    for word in line[1:]:
        if _is_brace(word, "}"):
            raise _error(word, "Unexpected '}' in a line: it needs a line of its own")
    return tuple(word.text for word in line)
