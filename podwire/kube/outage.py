"""Pure: when to say that something still fails: at once, then ever more seldom, and when it works.

What is tried again twice a second would fill a log with one line, and hide all others.
"""

from __future__ import annotations

from typing import Final

FIRST_PAUSE: Final = 10.0
"""Seconds until the same failure is told a second time; each pause is three times as long."""
LONGEST_PAUSE: Final = 600.0


class Outage:
    """The failures of one thing, in seconds of any clock that only goes forward."""

    def __init__(self) -> None:
        self._reason = ""
        self._since = self._next = self._pause = 0.0
        self._lasts = False

    def failed(self, reason: str, message: str, now: float) -> str:
        """Return what to log of a failure now, or nothing; another *reason* is always news."""
        if not self._lasts:
            self._lasts, self._since = True, now
        elif reason == self._reason and now < self._next:
            return ""
        if reason != self._reason:
            self._reason, self._pause = reason, FIRST_PAUSE
        else:
            self._pause = min(self._pause * 3, LONGEST_PAUSE)
            message = f"{message} (for {now - self._since:.0f} s now)"
        self._next = now + self._pause
        return message

    def worked(self, now: float) -> str:
        """Return what to log of a success now, or nothing when nothing failed before."""
        if not self._lasts:
            return ""
        self._lasts, self._reason = False, ""
        return f"works again after {now - self._since:.1f} s"
