"""A clock for tests: time moves when the test says so."""


class FakeClock:
    """Both clocks of `podwire.kube.clock.Clock`, moved by hand."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self._now = now
        self._monotonic = 0.0

    def now(self) -> float:
        """Return the pretended wall time, seconds since 1970."""
        return self._now

    def monotonic(self) -> float:
        """Return the pretended monotonic time, seconds."""
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Let *seconds* pass."""
        self._now += seconds
        self._monotonic += seconds
