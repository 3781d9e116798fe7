"""Pure: what is in the table kube-proxy, as values: rules, elements of maps, what a Service needs.

Rules are text in the words of nft but for those that most changes touch: `messages` can give these
to the kernel without nft.
"""

from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import NamedTuple

from podwire.proxy.endpoints import Backend
from podwire.proxy.table import Protocol

KeyPart = IPv4Address | Protocol | int
ElementKey = tuple[KeyPart, ...]


class Place(NamedTuple):
    """Where an element is: in which set or map, and at which key."""

    map: str
    key: ElementKey


class Element(NamedTuple):
    """What a map has at a key; a set has elements without a verdict."""

    verdict: str = ""
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Balance:
    """A rule: each new connection goes to one of *backends*, chosen at random."""

    protocol: Protocol
    backends: tuple[Backend, ...]

    def __str__(self) -> str:
        choices = ", ".join(f"{n} : {b.address} . {b.port}" for n, b in enumerate(self.backends))
        return (
            f"meta l4proto {self.protocol.lower()} dnat ip addr . port to"
            f" numgen random mod {len(self.backends)} map {{ {choices} }}"
        )


@dataclass(frozen=True, slots=True)
class Mark:
    """A rule: what comes here is masqueraded when it leaves. *bit* is that of the packet's mark."""

    bit: int

    def __str__(self) -> str:
        return f'meta mark set mark or {self.bit:#010x} comment "{MASQUERADE}"'


@dataclass(frozen=True, slots=True)
class Goto:
    """A rule: go on in *chain*."""

    chain: str

    def __str__(self) -> str:
        return f"goto {self.chain}"


@dataclass(frozen=True, slots=True)
class Spread:
    """A rule: each new connection goes on in one of *chains*, chosen at random."""

    chains: tuple[str, ...]

    def __str__(self) -> str:
        choices = ", ".join(f"{n} : goto {chain}" for n, chain in enumerate(self.chains))
        return f"numgen random mod {len(self.chains)} vmap {{ {choices} }}"


@dataclass(frozen=True, slots=True)
class Remembered:
    """A rule: clients whose address is in the set *clients* go on in *chain*."""

    clients: str
    chain: str

    def __str__(self) -> str:
        return f"ip saddr @{self.clients} goto {self.chain}"


@dataclass(frozen=True, slots=True)
class Remember:
    """A rule: put the client's address into the set *clients*; its time there begins anew."""

    clients: str

    def __str__(self) -> str:
        return f"update @{self.clients} {{ ip saddr }}"


@dataclass(frozen=True, slots=True)
class Lead:
    """A rule: connections go to *backend*."""

    protocol: Protocol
    backend: Backend

    def __str__(self) -> str:
        return f"meta l4proto {self.protocol.lower()} dnat to {self.backend}"


MASQUERADE = "masquerade"
Rule = str | Balance | Mark | Goto | Spread | Remembered | Remember | Lead


@dataclass(slots=True)
class Contents:
    """What one Service has in the table.

    *affinity* are its sets of client addresses, each with the seconds that a client is remembered.
    """

    chains: dict[str, tuple[Rule, ...]] = field(default_factory=dict[str, tuple[Rule, ...]])
    affinity: dict[str, int] = field(default_factory=dict[str, int])
    elements: dict[Place, Element] = field(default_factory=dict[Place, Element])


@dataclass(slots=True)
class Transaction:
    """Changes that the kernel takes all together or not at all, in the order of the fields.

    *chains* are made where they are not there, emptied, and given their rules. *flushed* have lost
    their Service; *deleted_chains* lost it earlier.
    """

    chains: dict[str, tuple[Rule, ...]] = field(default_factory=dict[str, tuple[Rule, ...]])
    deleted_affinity: list[str] = field(default_factory=list[str])
    affinity: dict[str, int] = field(default_factory=dict[str, int])
    deleted_elements: list[Place] = field(default_factory=list[Place])
    elements: dict[Place, Element] = field(default_factory=dict[Place, Element])
    flushed: list[str] = field(default_factory=list[str])
    deleted_chains: list[str] = field(default_factory=list[str])

    def __bool__(self) -> bool:
        return bool(
            self.chains
            or self.deleted_affinity
            or self.affinity
            or self.deleted_elements
            or self.elements
            or self.flushed
            or self.deleted_chains
        )
