"""Records packets through the API server: the client's side of the capture stream."""

import json
import select
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, cast

from podwire.errors import ApiError, PodwireError
from podwire.kube.plain import Connection, WebSocket

PATH = "/apis/podwire.dev/v1/capture"
POINTS_PATH = "/apis/podwire.dev/v1/capturepoints"

Instruction = tuple[int, int, int, int]

_STATISTICS_BLOCK = 5
_SECTION_BLOCK = 0x0A0D0D0A  # alone: there was no interface to capture at
_LONGEST_TAIL = 4096


class Capture:
    """A capture that runs, with every socket armed."""

    def __init__(self, socket: WebSocket, first: bytes, sink: Callable[[bytes], object]) -> None:
        self._socket = socket
        self._sink = sink
        self._tail = b""
        if first:
            self._pass_on(first)

    def record(self, stop: int, duration: float | None = None) -> None:
        """Pass on what comes until *stop* is readable or *duration*, in seconds, is over.

        What is on its way then still comes. Raises PodwireError when the stream breaks off.
        """
        deadline = None if duration is None else time.monotonic() + duration
        while True:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            waiting = self._socket.pending()
            ready = select.select([self._socket.fileno(), stop], [], [], 0 if waiting else left)[0]
            if stop in ready or left == 0.0:
                self._finish()
                return
            if (waiting or ready) and not self._take():
                raise _broken_off()

    def _take(self) -> bool:
        """Pass on the bytes that come next; return whether there will be more."""
        for message in self._socket.receive():
            if message.kind == "close":
                return False
            if message.kind == "binary":
                self._pass_on(message.data)
        return True

    def _pass_on(self, data: bytes) -> None:
        self._sink(data)
        self._tail = (self._tail + data)[-_LONGEST_TAIL:]

    def _finish(self) -> None:
        with suppress(OSError):  # the other side may have ended; what it sent says whether well
            self._socket.send_text("stop")
        while self._take():
            pass
        if not is_whole(self._tail):
            raise _broken_off()

    def close(self) -> None:
        """Let go; never waits."""
        self._socket.close()


def is_whole(tail: bytes) -> bool:
    """Return whether a pcapng stream that ends with *tail* was ended in order.

    The last thing an agent writes is an interface statistics block for each interface: how many
    packets were dropped. Without it nobody can say that nothing is missing.
    """
    # A block begins with its type and ends with its length (draft-ietf-opsawg-pcapng, 3.1).
    length = int.from_bytes(tail[-4:], "little")
    if not 12 <= length <= len(tail):
        return False
    return int.from_bytes(tail[-length:][:4], "little") in (_STATISTICS_BLOCK, _SECTION_BLOCK)


def _broken_off() -> PodwireError:
    return PodwireError("the capture broke off\n  is the cluster still there? podwire status")


def points(connection: Connection) -> dict[str, dict[str, Any]]:
    """Return the places where packets can be captured: `pod/NAMESPACE/NAME`, `node/NAME`, ..."""
    listing = connection.get(POINTS_PATH)
    return {str(item["where"]): item for item in cast("list[Any]", listing.get("items") or [])}


def started(
    connection: Connection,
    wanted: Sequence[str],
    sink: Callable[[bytes], object],
    *,
    program: Sequence[Instruction] = (),
) -> Capture:
    """Start a capture at the points *wanted* and return when all sockets are armed.

    *sink* gets the bytes of a pcapng file. *program* filters packets in the kernel. Raises ApiError
    for a point that does not exist.
    """
    socket = connection.websocket(PATH, [("point", point) for point in wanted], protocols=[])
    try:
        socket.send_text(json.dumps({"filter": [list(step) for step in program]}))
        armed = False
        early = list[bytes]()
        while not armed:
            for message in socket.receive():
                if message.kind == "text" and message.data == b"started":
                    armed = True
                elif message.kind == "binary":
                    early.append(message.data)
                else:
                    raise _refusal(message.data)
    except BaseException:
        socket.close()
        raise
    return Capture(socket, b"".join(early), sink)


def _refusal(text: bytes) -> ApiError:
    try:
        status = cast("dict[str, Any]", json.loads(text))
        return ApiError.of(int(status["code"]), str(status["reason"]), str(status["message"]))
    except (ValueError, KeyError, TypeError):
        said = text.decode(errors="replace") or "the stream ended before the capture began"
        return ApiError(500, "InternalError", said)
