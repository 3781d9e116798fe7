"""Lines of the log, written together and beside the loop: a slow reader delays no answer."""

from __future__ import annotations

import asyncio
import logging
import threading
from contextlib import suppress
from typing import Final, TextIO

TOGETHER: Final = 0.01
"""How long lines wait for each other, in seconds."""
MOST_WAITING: Final = 100_000
"""How many lines wait for a slow reader; what comes then is counted and left out."""
PATIENCE: Final = 1.0
"""How long the end of the process waits for who reads the last lines, in seconds."""


class LogLines(logging.Handler):
    """Writes to *stream*: at once without a running loop, else a moment later in a thread."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream
        self._waiting: list[str] = []
        self._left_out = 0
        self._is_due = False
        self._writing = threading.Lock()

    def emit(self, record: logging.LogRecord) -> None:
        """Take a record in."""
        try:
            line = self.format(record)
        except Exception:  # noqa: BLE001 - logging's own way: a bad record must not end anything
            self.handleError(record)
            return
        if len(self._waiting) >= MOST_WAITING:
            self._left_out += 1
            return
        self._waiting.append(line)
        if self._is_due:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.flush()
            return
        self._is_due = True
        loop.call_later(TOGETHER, self._hand_over, loop)

    @property
    def is_waiting(self) -> bool:
        """Return whether there are lines that have not been written."""
        return bool(self._waiting) or self._is_due or self._writing.locked()

    def flush(self) -> None:
        """Write what waits, now; give up on a reader that does not read."""
        if self._writing.acquire(timeout=PATIENCE):
            try:
                self._write(self._taken())
            finally:
                self._writing.release()

    def _hand_over(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._writing.acquire(blocking=False):
            # The last lines are not gone yet.
            loop.call_later(TOGETHER, self._hand_over, loop)
            return
        self._is_due = False
        # Not of the loop's own threads: the end of the process waits for those.
        threading.Thread(target=self._write_all, args=(self._taken(),), daemon=True).start()

    def _write_all(self, text: str) -> None:
        try:
            self._write(text)
        finally:
            self._writing.release()

    def _taken(self) -> str:
        """Return what waits; only who may write takes it, so that lines stay in their order."""
        lines, self._waiting = self._waiting, []
        if self._left_out:
            lines.append(f"[WARNING] {self._left_out} lines are left out: nobody reads them")
            self._left_out = 0
        return "".join(f"{line}\n" for line in lines)

    def _write(self, text: str) -> None:
        # Nobody listens any more: no reason to stop answering.
        with suppress(OSError, ValueError):
            self._stream.write(text)
            self._stream.flush()
