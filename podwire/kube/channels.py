"""Pure: the frames of exec and attach, subprotocol v5.channel.k8s.io (KEP-4006).

The first byte of a binary frame is the channel. With a terminal, stderr is merged into stdout.
"""

import json
from typing import Any, cast

PROTOCOL = "v5.channel.k8s.io"

STDIN, STDOUT, STDERR, STATUS, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255

END_OF_INPUT = bytes([CLOSE, STDIN])  # without it `echo x | podwire exec -i pod -- cat` hangs


def typed(data: bytes) -> bytes:
    """Return the frame that carries input."""
    return bytes([STDIN]) + data


def resized(columns: int, rows: int) -> bytes:
    """Return the frame that says how large the terminal is."""
    return bytes([RESIZE]) + json.dumps({"Width": columns, "Height": rows}).encode()


def exit_status(status: bytes) -> tuple[int, str]:
    """Return (exit status, message) of the Status object that ends a stream.

    A command that could not be run has the statuses that a shell gives: 127 if there is no such
    program, else 126, with the server's message.
    """
    body = cast("dict[str, Any]", json.loads(status))
    if body.get("status") == "Success":
        return 0, ""
    details = cast("dict[str, Any]", body.get("details") or {})
    for cause in cast("list[dict[str, str]]", details.get("causes") or []):
        if cause.get("reason") == "ExitCode":
            return int(cause["message"]), ""
    message = str(body.get("message") or "the command could not be run")
    return (127 if "executable file not found" in message else 126), message
