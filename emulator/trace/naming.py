"""Pure: what a client's search for a name took: each step, who answered it, and the time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class NameStep:
    """One name that was asked, and the answer to its A question.

    *queries* counts all that were sent for it, AAAA and repeated ones included. *server* is the pod
    that answered, if the capture shows it. *start_ns* and *end_ns* count from the epoch.
    """

    name: str
    answer: str
    queries: int
    start_ns: int
    end_ns: int
    server: str = ""
    transport: Literal["UDP", "TCP"] = "UDP"
    addresses: tuple[IPv4Address, ...] = ()

    @property
    def ms(self) -> float:
        """Return what the step cost."""
        return (self.end_ns - self.start_ns) / 1e6


@dataclass(frozen=True, slots=True)
class Naming:
    """A search for *host*: its steps, of *candidates* at most, and *why* in this order."""

    host: str
    candidates: int
    why: str
    steps: tuple[NameStep, ...]

    @property
    def won(self) -> NameStep | None:
        """Return the step that gave an address."""
        return next((step for step in self.steps if step.addresses), None)

    @property
    def queries(self) -> int:
        """Return how many queries were sent."""
        return sum(step.queries for step in self.steps)

    @property
    def wasted(self) -> int:
        """Return how many queries were sent for names without an address."""
        return sum(step.queries for step in self.steps if not step.addresses)

    @property
    def ms(self) -> float:
        """Return the time from the first question to the last answer."""
        return (self.steps[-1].end_ns - self.steps[0].start_ns) / 1e6 if self.steps else 0.0

    @property
    def wasted_ms(self) -> float:
        """Return the time until the name that gave an address was asked; all, if none did."""
        won = self.won
        return (won.start_ns - self.steps[0].start_ns) / 1e6 if won else self.ms

    def line(self) -> str:
        """Return the cost of the search in a sentence; empty if there was only one step."""
        if len(self.steps) < 2:
            return ""
        won = self.won
        if won is None:
            return f"{self.why}; {self.queries} queries in {self.ms:.1f} ms found no address"
        return (
            f"{self.why}; {self.wasted} of {self.queries} queries and {self.wasted_ms:.1f} of"
            f" {self.ms:.1f} ms went to names without an address;"
            f' "{won.name}" with its dot saves them'
        )

    def document(self) -> Mapping[str, Any]:
        """Return the search as JSON values."""
        won = self.won
        return {
            "host": self.host,
            "why": self.why,
            "candidates": self.candidates,
            "found": won.name if won else None,
            "queries": self.queries,
            "wasted_queries": self.wasted,
            "duration_us": round(self.ms * 1000, 3),
            "wasted_us": round(self.wasted_ms * 1000, 3),
            "steps": [
                {
                    "name": step.name,
                    "answer": step.answer,
                    "queries": step.queries,
                    "duration_us": round(step.ms * 1000, 3),
                    "server": step.server or None,
                    "transport": step.transport,
                }
                for step in self.steps
            ],
        }


def why_in_this_order(host: str, domains: Sequence[str], ndots: int) -> str:
    """Return why a resolver asks in the order in which it does, in a sentence without its point."""
    if host.endswith("."):
        return "the dot at its end says that the name is whole: nothing is searched"
    if not domains:
        return "there is no search list"
    dots = host.count(".")
    count = "1 dot" if dots == 1 else f"{dots or 'no'} dots"
    if dots < ndots:
        return f"the name has {count}, fewer than ndots:{ndots}, so the search list came first"
    return f"the name has {count}, not fewer than ndots:{ndots}, so it was asked alone first"
