"""Keys and generated names."""

from dataclasses import dataclass
from typing import Protocol

# Kubernetes leaves out vowels and look-alikes, so that no word and no mistake comes out
# (apimachinery, util/rand).
ALPHABET = "bcdfghjklmnpqrstvwxz2456789"


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """Which object: *namespace* is empty for what belongs to no namespace."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


class Dice(Protocol):
    """What `random.Random` offers of use here."""

    def choice(self, seq: str, /) -> str:
        """Return one character of *seq*."""
        ...


def random_suffix(dice: Dice) -> str:
    """Return the five letters that the API server appends to a generateName."""
    return "".join(dice.choice(ALPHABET) for _ in range(5))
