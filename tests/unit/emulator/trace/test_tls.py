import ssl

import pytest

from podwire.emulator.trace.tls import record_name


def hello(host: str | None) -> bytes:
    """Return what Python's own client says first."""
    context = ssl.create_default_context()
    context.check_hostname = False
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname=host)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


NAMED = hello("web-svc.default")
SERVER_HELLO = bytes.fromhex("16 0303 007a 02 000076 0303") + bytes(32)


@pytest.mark.parametrize(
    ("payload", "name"),
    [
        (NAMED, "TLS Client Hello (web-svc.default)"),
        (hello(None), "TLS Client Hello"),
        (NAMED[:60], "TLS Client Hello"),
        (NAMED[:9], "TLS Client Hello"),
        (NAMED[:7], "TLS Handshake"),
        (NAMED[:4], ""),
        (NAMED.replace(b"web-svc.default", b"web\x1bsvc.default"), "TLS Client Hello"),
        (NAMED.replace(b"web-svc.default", b"web\xffsvc.default"), "TLS Client Hello"),
        (SERVER_HELLO, "TLS Server Hello"),
        (bytes.fromhex("15 0303 0002 02 28"), "TLS Alert"),
        (bytes.fromhex("17 0303 0045") + bytes(69), "TLS application data"),
        (bytes.fromhex("17 0304 0045"), "TLS application data"),
        (bytes.fromhex("14 0303 0001 01"), "TLS Change Cipher Spec"),
        # Certificate; and a Finished that is encrypted, and begins as a Client Hello would.
        (bytes.fromhex("16 0303 0300 0b 0002fc"), "TLS Handshake"),
        (bytes.fromhex("16 0303 0028 01 9fc377"), "TLS Handshake"),
        # Versions and types that TLS does not have.
        (bytes.fromhex("16 0300 0028 01 000024"), ""),
        (bytes.fromhex("16 0305 0028 01 000024"), ""),
        (bytes.fromhex("18 0303 0003 01 0001"), ""),
        (b"GET / HTTP/1.1\r\n", ""),
        (b"", ""),
    ],
    # What is random must not be in a name: the workers of a run have to agree.
    ids=lambda value: value if isinstance(value, str) else f"{len(value)} bytes",
)
def test_what_a_segment_says(payload: bytes, name: str) -> None:
    assert record_name(payload) == name


def test_less_than_was_sent_is_read() -> None:
    said = [record_name(NAMED[:length]) for length in range(len(NAMED))]
    assert said[:5] == [""] * 5
    assert all(text.startswith(("TLS Client Hello", "TLS Handshake")) for text in said[5:])
