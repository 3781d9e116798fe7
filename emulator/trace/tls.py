"""Pure: what a TCP segment says that begins with a TLS record; only what is never encrypted."""

# RFC 8446, 5.1 and B.3. A record's header is type, version and length; a message's kind and length.
_RECORD, _MESSAGE = 5, 4
_KINDS = {
    20: "TLS Change Cipher Spec",
    21: "TLS Alert",
    22: "TLS Handshake",
    23: "TLS application data",
}
_HANDSHAKE, _CLIENT_HELLO, _SERVER_HELLO = 22, 1, 2
_SERVER_NAME = 0
_LONGEST = 72


def record_name(payload: bytes) -> str:
    """Return "TLS Client Hello (web.example)" or the like; empty if no TLS record begins there.

    A record may go on in later segments, and a capture may hold less than what was sent.
    """
    kind = _KINDS.get(payload[0], "") if len(payload) >= _RECORD else ""
    if not kind or payload[1] != 3 or not 1 <= payload[2] <= 4:
        return ""
    if payload[0] != _HANDSHAKE:
        return kind
    record = int.from_bytes(payload[3:5])
    message = payload[_RECORD : _RECORD + _MESSAGE]
    # One that is encrypted begins with anything: then its length hardly fits the record's.
    if len(message) < _MESSAGE or int.from_bytes(message[1:]) + _MESSAGE > record:
        return kind
    if message[0] == _SERVER_HELLO:
        return "TLS Server Hello"
    if message[0] != _CLIENT_HELLO:
        return kind
    name = _server_name(payload[_RECORD + _MESSAGE :])
    return f"TLS Client Hello ({name})" if name else "TLS Client Hello"


def _server_name(hello: bytes) -> str:
    """Return the host that a Client Hello asks for (SNI: RFC 6066, 3); empty if it names none."""
    at = 2 + 32  # version and random
    for width in (1, 2, 1):  # session, cipher suites, compression methods
        at += width + int.from_bytes(hello[at : at + width])
    at += 2  # the length of all extensions
    while at + 4 <= len(hello):
        kind, length = (int.from_bytes(hello[begin : begin + 2]) for begin in (at, at + 2))
        at += 4
        if kind == _SERVER_NAME:
            # A list, of which only the first entry is ever used: its type, its length, the name.
            size = int.from_bytes(hello[at + 3 : at + 5])
            name = hello[at + 5 : at + 5 + size].decode("ascii", "replace")
            return name[:_LONGEST] if name.isprintable() and "\ufffd" not in name else ""
        at += length
    return ""
