"""How the inside tells `podwire up` how far it is: JSON lines on the link that up holds."""

import json
import socket
from collections.abc import Mapping
from typing import Any


class Progress:
    """Writes steps until up has gone; then nothing is lost by writing into the void."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link

    def step(self, what: str) -> None:
        """Say that *what* is done."""
        self._say({"step": what})

    def ready(self, access: Mapping[str, str]) -> None:
        """Say that the API server answers, and how to reach it."""
        self._say({"access": access})

    def failed(self, error: str, status: int = 70) -> None:
        """Say why the cluster cannot start, and the exit status that fits."""
        self._say({"error": error, "status": status})

    def close(self) -> None:
        """Say no more from this process."""
        self._link.close()

    def _say(self, said: Mapping[str, Any]) -> None:
        try:
            self._link.sendall(json.dumps(said).encode() + b"\n")
        except OSError:
            return
