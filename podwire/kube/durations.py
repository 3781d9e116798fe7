"""Pure: spans of time as Go writes them: 30s, 1h30m, 250ms (time.ParseDuration)."""

import re

_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(h|ms|m|s|us|µs|ns)")
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


def seconds(text: str) -> float:
    """Return *text* in seconds; raises ValueError for what Go does not read, and for less than 0.

    As in Go "0" needs no unit.
    """
    written = text.removeprefix("+")
    if written == "0":
        return 0.0
    parts = _PART.findall(written)
    if not parts or "".join(number + unit for number, unit in parts) != written:
        raise ValueError(f'invalid duration "{text}" (write it like 30s or 1h30m)')
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)
