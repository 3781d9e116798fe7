"""What is asked and what is answered, without HTTP."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from typing import Any, Protocol

from podwire.emulator.apiserver import statuses
from podwire.emulator.apiserver.access.authorize import Authorizer
from podwire.emulator.apiserver.kinds import Kinds
from podwire.emulator.apiserver.resources import Resource
from podwire.emulator.apiserver.store import Store, Stored
from podwire.kube.names import Key

Json = dict[str, Any]
Query = Mapping[str, Sequence[str]]


class Dice(Protocol):
    """What `random.Random` offers of use here."""

    def choice(self, seq: str, /) -> str:
        """Return one character of *seq*."""
        ...

    def getrandbits(self, k: int, /) -> int:
        """Return *k* random bits."""
        ...

    def randrange(self, start: int, stop: int, /) -> int:
        """Return a number from *start* to before *stop*."""
        ...


@dataclass(frozen=True, slots=True)
class User:
    """Who asks."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """What else is known, by key: the pod whose token it is, which credential was shown."""


_SERVICES = IPv4Network("10.96.0.0/12")


@dataclass(frozen=True, slots=True)
class Network:
    """From which addresses and ports Services get theirs."""

    services: IPv4Network = _SERVICES
    node_ports: range = range(30000, 32768)


@dataclass(frozen=True, slots=True)
class Api:
    """What every handler works on."""

    store: Store
    dice: Dice
    network: Network = Network()
    honoured: frozenset[str] = frozenset()
    """Fields of a securityContext that the runtime does as they say; others get a warning."""
    kinds: Kinds = field(default_factory=Kinds)
    token_key: bytes = field(default=b"", repr=False)
    """Signs the tokens of ServiceAccounts; without one there are none."""
    authorizer: Authorizer = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "authorizer", Authorizer(self.store))


@dataclass(frozen=True, slots=True)
class Body:
    """What a client sent, not yet read."""

    content_type: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Request:
    """One request to a kind; *verb* is Kubernetes' (get, list, deletecollection...)."""

    verb: str
    resource: Resource
    user: User
    now: float
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    query: Query = field(default_factory=dict[str, Sequence[str]])
    body: Body = Body("", b"")
    agent: str = ""
    """The User-Agent header: which program asks."""

    def option(self, name: str) -> str:
        """Return a query parameter, or the empty text."""
        values = self.query.get(name, ())
        return values[0] if values else ""

    def flag(self, name: str) -> bool:
        """Return a query parameter that is true or false; raises Refused for other words."""
        text = self.option(name)
        if text.lower() in ("true", "1", "t"):
            return True
        if text.lower() in ("", "false", "0", "f"):
            return False
        raise statuses.bad_request(
            f'strconv.ParseBool: parsing "{text}": invalid syntax (query parameter {name})'
        )

    def number(self, name: str) -> int | None:
        """Return a query parameter that is a whole number; raises Refused for other words."""
        text = self.option(name)
        if not text:
            return None
        try:
            return int(text)
        except ValueError:
            message = f'strconv.ParseInt: parsing "{text}": invalid syntax (query parameter {name})'
            raise statuses.bad_request(message) from None

    @property
    def key(self) -> Key:
        """Return which object is meant."""
        return Key(self.namespace, self.name)


@dataclass(frozen=True, slots=True)
class One:
    """One object as the answer."""

    resource: Resource
    object: Stored | Json
    code: int = 200
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Many:
    """A list as the answer."""

    resource: Resource
    items: Sequence[Stored]
    revision: int
    continue_: str = ""
    remaining: int | None = None
    code: int = 200
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Plain:
    """A document that belongs to no kind in the store: Status, Scale, reviews."""

    document: Json
    code: int = 200
    warnings: tuple[str, ...] = ()


Answer = One | Many | Plain
