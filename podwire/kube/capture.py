"""Records packets through the API server: the client's side of the capture stream."""

import json
import select
import time
from collections.abc import Callable, Sequence
from typing import Any, cast

from podwire.errors import ApiError, PodwireError
from podwire.kube.plain import Connection, WebSocket

PATH = "/apis/podwire.dev/v1/capture"
POINTS_PATH = "/apis/podwire.dev/v1/capturepoints"

Instruction = tuple[int, int, int, int]


class Capture:
    """A capture that runs, with every socket armed."""

    def __init__(self, socket: WebSocket, first: bytes, sink: Callable[[bytes], object]) -> None:
        self._socket = socket
        self._sink = sink
        if first:
            sink(first)

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
                raise PodwireError(
                    "the capture broke off\n  is the cluster still there? podwire status"
                )

    def _take(self) -> bool:
        """Pass on the bytes that come next; return whether there will be more."""
        for message in self._socket.receive():
            if message.kind == "close":
                return False
            if message.kind == "binary":
                self._sink(message.data)
        return True

    def _finish(self) -> None:
        self._socket.send_text("stop")
        while self._take():
            pass

    def close(self) -> None:
        """Let go; never waits."""
        self._socket.close()


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
