r"""Pure: the words of a DNS message: question, record, reply. No bytes here; wire.py has those.

A name is text in zone-file form, absolute: ``web.shop.svc.cluster.local.``. Bytes that are not
plain printable ASCII stand as ``\DDD`` (RFC 1035, 5.1), the dot inside a label too, so a name can
be split at its dots and lower-cased as text.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address
from typing import Final, Literal, TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address
Transport: TypeAlias = Literal["udp", "tcp"]

CLASS_IN: Final = 1


class Rcode(IntEnum):
    """Response codes (RFC 1035 4.1.1; BADVERS is extended, RFC 6891 9)."""

    NOERROR = 0
    FORMERR = 1
    SERVFAIL = 2
    NXDOMAIN = 3
    NOTIMP = 4
    REFUSED = 5
    YXDOMAIN = 6
    YXRRSET = 7
    NXRRSET = 8
    NOTAUTH = 9
    NOTZONE = 10
    BADVERS = 16


class Kind(IntEnum):
    """Record types that have a name here; any other number is legal in a question too."""

    A = 1
    NS = 2
    CNAME = 5
    SOA = 6
    PTR = 12
    HINFO = 13
    MX = 15
    TXT = 16
    AAAA = 28
    SRV = 33
    NAPTR = 35
    DS = 43
    RRSIG = 46
    NSEC = 47
    DNSKEY = 48
    OPT = 41
    SVCB = 64
    HTTPS = 65
    IXFR = 251
    AXFR = 252
    ANY = 255
    CAA = 257


@dataclass(frozen=True, slots=True)
class Srv:
    """Data of an SRV record (RFC 2782)."""

    priority: int
    weight: int
    port: int
    target: str


@dataclass(frozen=True, slots=True)
class Soa:
    """Data of an SOA record (RFC 1035 3.3.13); times are seconds."""

    mname: str
    rname: str
    serial: int
    refresh: int
    retry: int
    expire: int
    minimum: int


@dataclass(frozen=True, slots=True)
class Mx:
    """Data of an MX record."""

    preference: int
    target: str


@dataclass(frozen=True, slots=True)
class Text:
    """Data of a TXT record: one or more strings of at most 255 bytes."""

    strings: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Opaque:
    """Data of a type that nothing here looks into, as on the wire without compression."""

    content: bytes


Data: TypeAlias = IPv4Address | IPv6Address | str | Srv | Soa | Mx | Text | Opaque
"""What a record holds; a plain ``str`` is the target of CNAME, NS and PTR."""


@dataclass(frozen=True, slots=True)
class Record:
    """One resource record of class IN; *ttl* in seconds."""

    name: str
    kind: int
    ttl: int
    data: Data


@dataclass(frozen=True, slots=True)
class Question:
    """What a client asks: *name* as it spelled it, and the record type."""

    name: str
    kind: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What goes back to the client, question and EDNS apart (those follow from the query).

    *authenticated* is the AD bit: an upstream has checked the signatures (RFC 4035, 3.2.3).
    *follow* is a CNAME target that the answer ends in and that somebody else must look up.
    *lasting* promises that the reply stays right until the table changes, or until the moment
    *until* of the monotonic clock (0: no such moment); *counted* is told how many more requests
    got it meanwhile. *dealt* asks for a new random order of addresses each time it is written.
    *limit* is the most bytes that go in a datagram, 0: as many as the client takes. *is_transfer*
    marks a zone transfer, whose answer may take several messages over TCP. *by* is the plugin that
    made it, *error* the sentence for the log when something failed. *sent* is called with the
    message as it leaves and the seconds since its request came; such a reply is not kept.
    """

    rcode: int = Rcode.NOERROR
    authoritative: bool = False
    recursion_available: bool = False
    authenticated: bool = False
    truncated: bool = False
    answer: tuple[Record, ...] = ()
    authority: tuple[Record, ...] = ()
    additional: tuple[Record, ...] = ()
    follow: str = ""
    lasting: bool = False
    until: float = 0.0
    dealt: bool = False
    limit: int = 0
    is_transfer: bool = False
    by: str = ""
    error: str = ""
    sent: Callable[[bytes, float], None] | None = None
    counted: Callable[[int], None] | None = None


def address_kind(place: Address) -> Kind:
    """Return the type of record that holds *place*: A or AAAA."""
    return Kind.A if place.version == 4 else Kind.AAAA


def kind_name(kind: int) -> str:
    """Return the type's name, or ``TYPE65280`` for one that has none here (RFC 3597, 5)."""
    try:
        return Kind(kind).name
    except ValueError:
        return f"TYPE{kind}"


def rcode_name(rcode: int) -> str:
    """Return the code's name, or ``RCODE17`` for one that has none here."""
    try:
        return Rcode(rcode).name
    except ValueError:
        return f"RCODE{rcode}"
