"""Pure: signals as the engine writes them."""

import re
import signal

_REAL_TIME = re.compile(r"RT(MIN|MAX)(?:([+-])([0-9]+))?")


def signal_number(text: str) -> int:
    """Return the number of a signal: 15, TERM, SIGTERM, RTMIN+3, SIGRTMAX-1; 0 if there is none."""
    name = text.upper().removeprefix("SIG")
    if name.isdecimal():
        number = int(name)
    elif match := _REAL_TIME.fullmatch(name):
        start = signal.SIGRTMIN if match[1] == "MIN" else signal.SIGRTMAX
        offset = int(match[3] or 0)
        number = start - offset if match[2] == "-" else start + offset
        if number < signal.SIGRTMIN:
            return 0
    else:
        number = int(signal.Signals.__members__.get(f"SIG{name}", 0))
    return number if number <= signal.SIGRTMAX else 0
