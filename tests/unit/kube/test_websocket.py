import struct

import pytest

from podwire.errors import ApiError
from podwire.kube.websocket import Message, Parser, close_frame, frame, upgrade_headers


def from_server(opcode: int, payload: bytes, *, final: bool = True) -> bytes:
    head = bytes([(0x80 if final else 0) | opcode])
    if len(payload) < 126:
        return head + bytes([len(payload)]) + payload
    if len(payload) < 65536:
        return head + struct.pack("!BH", 126, len(payload)) + payload
    return head + struct.pack("!BQ", 127, len(payload)) + payload


def unmasked(sent: bytes) -> tuple[int, bytes]:
    """Return (opcode, payload) of a client's frame, as a server reads it."""
    length, start = sent[1] & 0x7F, 2
    assert sent[1] & 0x80, "a client must mask (RFC 6455, 5.1)"
    if length == 126:
        (length,), start = struct.unpack_from("!H", sent, 2), 4
    elif length == 127:
        (length,), start = struct.unpack_from("!Q", sent, 2), 10
    mask, body = sent[start : start + 4], sent[start + 4 :]
    assert len(body) == length
    return sent[0] & 0x0F, bytes(b ^ mask[i % 4] for i, b in enumerate(body))


@pytest.mark.parametrize("size", [0, 1, 3, 125, 126, 65535, 65536, 100_001])
def test_what_is_sent_arrives(size: int) -> None:
    data = bytes(i % 251 for i in range(size))
    assert unmasked(frame(data)) == (2, data)
    assert Parser().feed(from_server(2, data)) == [Message("binary", data)]


@pytest.mark.parametrize("step", [1, 2, 7, 1000])
def test_bytes_may_come_in_any_pieces(step: int) -> None:
    stream = (
        from_server(1, b"text")
        + from_server(2, b"abc", final=False)
        + from_server(9, b"ping")
        + from_server(0, b"def")
        + from_server(8, struct.pack("!H", 1000) + b"bye")
    )
    parser, messages = Parser(), list[Message]()
    for start in range(0, len(stream), step):
        messages += parser.feed(stream[start : start + step])
    assert messages == [
        Message("text", b"text"),
        Message("binary", b"abcdef"),
        Message("close", b"bye"),
    ]
    pong_length = 2 + 4 + len(b"ping")
    assert unmasked(bytes(parser.replies[:pong_length])) == (10, b"ping")


@pytest.mark.parametrize(
    "broken", [b"\xf2\x00", b"\x82\x81", b"\x83\x00", b"\x82\x7f" + b"\xff" * 8]
)
def test_a_server_that_breaks_the_protocol_is_an_error(broken: bytes) -> None:
    with pytest.raises(ApiError):
        Parser().feed(broken)


def test_headers_and_close() -> None:
    headers = upgrade_headers(["v5.channel.k8s.io"])
    assert headers["Sec-WebSocket-Protocol"] == "v5.channel.k8s.io"
    assert upgrade_headers([])["Sec-WebSocket-Key"] != headers["Sec-WebSocket-Key"]
    assert unmasked(close_frame()) == (8, struct.pack("!H", 1000))
