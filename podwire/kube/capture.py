"""Records packets through the API server: the client's side of the capture stream."""

import select
import time
from collections.abc import Callable, Sequence

from podwire.errors import ApiError, PodwireError
from podwire.kube.plain import Connection, WebSocket

PATH = "/apis/podwire.dev/v1/capture"
POINTS_PATH = "/apis/podwire.dev/v1/capturepoints"


class Capture:
    """A capture that runs. Its first bytes have come, so every socket is armed."""

    def __init__(self, socket: WebSocket, first: bytes, sink: Callable[[bytes], object]) -> None:
        self._socket = socket
        self._sink = sink
        sink(first)

    def record(self, stop: int, duration: float | None = None) -> None:
        """Pass on what comes until *stop* is readable or *duration*, in seconds, is over.

        What is on its way then still comes. Raises PodwireError when the stream breaks off.
        """
        deadline = None if duration is None else time.monotonic() + duration
        while True:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            waiting = self._socket.pending()
            ready, _, _ = select.select([self._socket, stop], [], [], 0 if waiting else left)
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


def started(
    connection: Connection,
    points: Sequence[str],
    sink: Callable[[bytes], object],
    *,
    packet_filter: str = "",
) -> Capture:
    """Start a capture at *points* (none: everywhere) and return when all sockets are armed.

    *sink* gets the bytes of a pcapng file. *packet_filter* is in tcpdump's words. Raises ApiError
    for an unknown point or a filter that makes no sense.
    """
    query = [("point", point) for point in points]
    query += [("filter", packet_filter)] if packet_filter else []
    socket = connection.websocket(PATH, query, protocols=[])
    try:
        while True:
            for message in socket.receive():
                if message.kind == "close":
                    reason = message.data.decode(errors="replace") or "the capture ended at once"
                    raise ApiError(500, "InternalError", reason)
                if message.kind == "binary" and message.data:
                    return Capture(socket, message.data, sink)
    except BaseException:
        socket.close()
        raise
