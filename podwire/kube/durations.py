"""Pure: spans of time as Go reads and writes them: 30s, 1h30m, 250ms (time.ParseDuration)."""

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


def written(span: float) -> str:
    """Return *span*, in seconds, as Go writes it: 30s, 5m0s, 1h0m0s, 250ms (Duration.String)."""
    nanoseconds = round(span * 1e9)
    if nanoseconds == 0:
        return "0s"
    if nanoseconds < 1_000_000_000:
        unit, size = next(
            (u, n)
            for u, n in (("ns", 1), ("µs", 1000), ("ms", 1_000_000))
            if nanoseconds < n * 1000
        )
        return f"{nanoseconds / size:.9f}".rstrip("0").rstrip(".") + unit
    minutes, left = divmod(nanoseconds, 60_000_000_000)
    hours, minutes = divmod(minutes, 60)
    text = f"{left / 1e9:.9f}".rstrip("0").rstrip(".") + "s"
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text
