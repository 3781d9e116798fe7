"""Pure: what a client of a zone transfer says that it has already (IXFR, RFC 1995)."""

from __future__ import annotations

import struct

from podwire.dns.messages.message import Kind
from podwire.dns.messages.query import Query, skip_name


def known_serial(query: Query) -> int | None:
    """Return the serial of the one SOA in the authority section; None: there is no such thing."""
    packet = query.packet
    _, answers, authorities, _ = struct.unpack_from("!4H", packet, 4)
    if authorities != 1:
        return None
    at = query.question_end
    try:
        for nth in range(answers + 1):
            at = skip_name(packet, at)
            kind, _, _, size = struct.unpack_from("!HHIH", packet, at)
            at += 10
            if nth < answers:
                at += size
                continue
            if kind != Kind.SOA:
                return None
            at = skip_name(packet, skip_name(packet, at))
            return int(struct.unpack_from("!I", packet, at)[0])
    except (ValueError, struct.error):
        return None
    return None
