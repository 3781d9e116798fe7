"""Signals that end a command: each becomes a KeyboardInterrupt, and none is lost.

Python drops an exception that is raised in a callback of its own (a weak reference's, while a
module is imported, for one). So what came is remembered, and asked for again where it matters.
"""

import signal
import sys
from types import FrameType

NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_seen = list[int]()


def listen() -> None:
    """Turn SIGINT, SIGTERM and SIGHUP into KeyboardInterrupt(number), in this whole process.

    What is ignored stays so.
    """
    for number in NUMBERS:
        # A shell starts what it puts into the background with SIGINT ignored, nohup what it starts
        # with SIGHUP ignored; that shall hold.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, interrupted)
    sys.unraisablehook = _dropped


def _dropped(what: "sys.UnraisableHookArgs") -> None:
    """Say nothing of an exception that Python drops if it is one of ours: `check` has it."""
    if not isinstance(what.exc_value, KeyboardInterrupt):
        sys.__unraisablehook__(what)


def interrupted(number: int, _frame: FrameType | None) -> None:
    """Be the handler of a signal."""
    _seen.append(number)
    raise KeyboardInterrupt(number)


def ignore() -> None:
    """Hear no signal any more; of a process that does not listen, nothing is changed."""
    for number in NUMBERS:
        if signal.getsignal(number) is interrupted:
            signal.signal(number, signal.SIG_IGN)


def check() -> None:
    """Raise KeyboardInterrupt if a signal came and its exception went astray."""
    if _seen:
        raise KeyboardInterrupt(_seen.pop())
