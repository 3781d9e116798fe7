"""Pure: names on the wire, compressed (RFC 1035, 4.1.4).

With regard to case, so that each name keeps its spelling.
"""

from __future__ import annotations

import struct
from typing import Final

from podwire.dns.messages.query import HEADER, LONGEST_NAME, labels_of

_LAST_POINTER: Final = 0x3FFF
_LONGEST_LABEL: Final = 63
_POINTER: Final = struct.Struct("!H")


def pointer(at: int) -> bytes:
    """Return what stands for the name that begins at *at*."""
    return _POINTER.pack(0xC000 | at)


def wire_name(name: str) -> bytes:
    """Return an absolute *name* as on the wire, uncompressed. Raises ValueError."""
    data = bytearray()
    Names("").put_whole(data, name)
    return bytes(data)


class Names:
    """Where names stand in one message; *question* stands right after the header."""

    __slots__ = ("_at", "_question", "_whole")

    def __init__(self, question: str) -> None:
        self._at: dict[str, int] = {}
        self._whole: dict[str, bytes] = {}
        self._question = question
        if "\\" in question:
            # An escape is longer than its byte, so places in the text say nothing about the wire.
            self._question = ""
            at, rest = HEADER, question
            for label in labels_of(question):
                self._at.setdefault(rest, at)
                at += len(label) + 1
                rest = rest.partition(".")[2]

    def in_question(self, name: str) -> int:
        """Return where *name* begins in the question's name; 0 if it does not end in it."""
        question = self._question
        if not question.endswith(name):
            return 0
        before = len(question) - len(name)
        return HEADER + before if not before or question[before - 1] == "." else 0

    def put(self, data: bytearray, name: str) -> None:
        """Append *name*; later names may point to it. Raises ValueError for what is no name."""
        rest = _absolute(name)
        known = self._at
        while rest != ".":
            at = known.get(rest) or self.in_question(rest)
            if at:
                data += pointer(at)
                return
            if len(data) <= _LAST_POINTER:
                known[rest] = len(data)
            label, _, rest = rest.partition(".")
            data += _label(label)
            rest = rest or "."
        data.append(0)

    def put_whole(self, data: bytearray, name: str) -> None:
        """Append *name* without a pointer; later names may point to it. Raises ValueError."""
        rest = _absolute(name)
        if rest == ".":
            data.append(0)
            return
        self._note(rest, len(data))
        label, _, parent = rest.partition(".")
        data += _label(label)
        # The targets of a Service differ in their first labels only.
        whole = self._whole.get(parent)
        if whole is None:
            start, rest = len(data), parent
            while rest:
                self._note(rest, len(data))
                label, _, rest = rest.partition(".")
                data += _label(label)
            data.append(0)
            self._whole[parent] = bytes(data[start:])
        else:
            data += whole

    def _note(self, name: str, at: int) -> None:
        if at <= _LAST_POINTER:
            self._at.setdefault(name, at)


def _absolute(name: str) -> str:
    """Return *name* with its last dot. Raises ValueError if it is too long."""
    name = name if name[-1:] == "." else name + "."
    if len(name) >= LONGEST_NAME:
        _check_length(name)
    return name


def _label(label: str) -> bytes:
    """Return a label as on the wire. Raises ValueError if it is none."""
    raw = label.encode("latin-1") if "\\" not in label else labels_of(label)[0]
    if not 0 < len(raw) <= _LONGEST_LABEL:
        raise ValueError(f"no label: {label!r}")
    return bytes((len(raw),)) + raw


def _check_length(name: str) -> None:
    if sum(len(label) + 1 for label in labels_of(name)) + 1 > LONGEST_NAME:
        raise ValueError(f"name too long: {name}")
