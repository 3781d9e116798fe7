"""chaos: who made this server and which version it is, for those who ask in class CH."""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence
from random import Random
from typing import Any, Final

from podwire import __version__
from podwire.dns.chain import Plugin
from podwire.dns.corefile.stanza import Stanza
from podwire.dns.messages.kinds import CLASSES
from podwire.dns.messages.message import Kind, Rcode, Reply
from podwire.dns.messages.query import Query, Rejection
from podwire.dns.messages.writer import LARGEST_UDP, write
from podwire.dns.site import Site

VERSION: Final = f"podwire-{__version__}"
AUTHORS: Final = ("the authors of podwire",)
LONGEST: Final = 255

_CHAOS: Final = CLASSES["CH"]
_TO_QUESTION: Final = b"\xc0\x0c"


def setup(stanza: Stanza, site: Site) -> Plugin:
    """Return the plugin: ``chaos [VERSION [AUTHORS...]]``."""
    stanza.no_lines()
    version, *authors = stanza.arguments or (VERSION,)
    return Chaos(version, sorted(set(authors)) or AUTHORS, site.process.dice)


class Chaos(Plugin):
    """Answers TXT of class CH, which everybody else is refused."""

    name = "chaos"

    def __init__(self, version: str, authors: Sequence[str], dice: Random) -> None:
        self._version = version
        self._authors = tuple(authors)
        self._dice = dice

    def answer_rejected(self, rejection: Rejection) -> bytes | None:
        """Return version, authors or host name."""
        query = rejection.query
        if query is None or rejection.rcode != Rcode.REFUSED or query.question.kind != Kind.TXT:
            return None
        if int.from_bytes(query.question_bytes[-2:], "big") != _CHAOS:
            return None
        match query.question.name.lower():
            case "authors.bind.":
                texts = self._dice.sample(self._authors, len(self._authors))
            case "version.bind." | "version.server.":
                texts = [self._version]
            case "hostname.bind." | "id.server.":
                texts = [socket.gethostname()]
            case _:
                return None
        return _message(query, texts)


def _message(query: Query, texts: Sequence[str]) -> bytes:
    """Return a reply with TXT records of class CH, which no other plugin ever writes."""
    message = bytearray(write(query, Reply(), LARGEST_UDP, _as_they_are).message)
    records = b""
    for text in texts:
        string = text.encode()[:LONGEST]
        header = struct.pack("!HHIH", Kind.TXT, _CHAOS, 0, len(string) + 1)
        records += _TO_QUESTION + header + bytes((len(string),)) + string
    message[query.question_end : query.question_end] = records
    struct.pack_into("!H", message, 6, len(texts))
    return bytes(message)


def _as_they_are(cards: list[Any]) -> None:
    """Leave the order alone."""
