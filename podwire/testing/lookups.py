"""Pure: what was asked of DNS and what came: one query, or a resolver's walk of several."""

from dataclasses import dataclass

from podwire.emulator.trace.dnsmessage import DnsMessage, Record
from podwire.emulator.trace.dnsquestion import Question
from podwire.emulator.trace.naming import why_in_this_order

_ADDRESSES = ("A", "AAAA")
_MOST_NDOTS = 15  # glibc takes no more (resolv.h, RES_MAXNDOTS)
_MOST_SERVERS = 3


NO_REPLY = "no reply"
"""The status of a question to which no answer came in time."""


class NoData(AssertionError):
    """There is no record of the asked type, or no answer at all."""


@dataclass(frozen=True, slots=True)
class ResolvConf:
    """A resolv.conf as glibc reads it: *timeout* in seconds for each try of each server.

    *tcp* is its option use-vc.
    """

    nameservers: tuple[str, ...] = ("127.0.0.1",)
    search: tuple[str, ...] = ()
    ndots: int = 1
    timeout: float = 5.0
    attempts: int = 2
    tcp: bool = False

    def __str__(self) -> str:
        search = f"search {' '.join(self.search)}" if self.search else "no search list"
        tcp = "; use-vc" * self.tcp
        return f"nameserver {', '.join(self.nameservers)}; {search}; ndots:{self.ndots}{tcp}"


@dataclass(frozen=True, slots=True)
class Reply:
    """A query and what came of it.

    *ms* runs from the first sending to the reply. *error* says why there is no *message*, or why
    what did not fit into a datagram could not be had over TCP; *cut* is that datagram's size.
    *about* says what the server is, *hint* what to try instead.
    """

    question: Question
    where: str
    server: str = ""
    port: int = 53
    transport: str = "UDP"
    message: DnsMessage | None = None
    ms: float = 0.0
    size: int = 0
    sent: int = 1
    cut: int = 0
    error: str = ""
    about: str = ""
    hint: str = ""

    @property
    def status(self) -> str:
        """Return NOERROR, NODATA, NXDOMAIN, SERVFAIL, ...; without a message, the error."""
        return self.message.status if self.message is not None else self.error or NO_REPLY

    @property
    def records(self) -> tuple[Record, ...]:
        """Return the records of the answer section."""
        return self.message.answers if self.message is not None else ()

    @property
    def values(self) -> tuple[str, ...]:
        """Return the values of the answer section as dig +short prints them."""
        return tuple(record.value for record in self.records)

    @property
    def addresses(self) -> tuple[str, ...]:
        """Return the addresses in the answer, IPv4 and IPv6."""
        return tuple(record.value for record in self.records if record.kind in _ADDRESSES)

    @property
    def has_data(self) -> bool:
        """Return whether a record of the asked type came."""
        return self.message is not None and self.message.has_data

    def check(self) -> "Reply":
        """Return this reply if it has data; raises NoData, which says what came."""
        if not self.has_data:
            raise NoData(f"{self.question.name} {self.question.kind}: {self.status}\n{self}")
        return self

    def __str__(self) -> str:
        from podwire.testing.lookup_text import as_dig  # noqa: PLC0415 - text needs these types

        return as_dig(self)


@dataclass(frozen=True, slots=True)
class Step:
    """One candidate of a walk, and its replies: of A and AAAA, as a rule."""

    name: str
    replies: tuple[Reply, ...]

    @property
    def has_data(self) -> bool:
        """Return whether the name gave what was looked for."""
        return any(reply.has_data for reply in self.replies)

    @property
    def ms(self) -> float:
        """Return what the step cost: its queries go out at once."""
        return max((reply.ms for reply in self.replies), default=0.0)


@dataclass(frozen=True, slots=True)
class Walk:
    """How a resolver looked for *name*: its steps, of *candidates* at most; *ms* for all."""

    name: str
    where: str
    resolv: ResolvConf
    candidates: tuple[str, ...]
    steps: tuple[Step, ...]
    ms: float
    hint: str = ""

    @property
    def won(self) -> str:
        """Return the candidate that gave data, or an empty text."""
        return next((step.name for step in self.steps if step.has_data), "")

    @property
    def queries(self) -> int:
        """Return how many queries were sent."""
        return sum(reply.sent for step in self.steps for reply in step.replies)

    @property
    def wasted(self) -> int:
        """Return how many queries were sent for other names than the one that gave data."""
        return sum(
            reply.sent for step in self.steps if step.name != self.won for reply in step.replies
        )

    @property
    def replies(self) -> tuple[Reply, ...]:
        """Return all replies in order."""
        return tuple(reply for step in self.steps for reply in step.replies)

    @property
    def addresses(self) -> tuple[str, ...]:
        """Return the addresses that came, IPv4 and IPv6."""
        return tuple(address for reply in self.replies for address in reply.addresses)

    @property
    def values(self) -> tuple[str, ...]:
        """Return what came for the candidate that gave data, as dig +short prints it."""
        found = [value for reply in self.replies if reply.has_data for value in reply.values]
        return tuple(dict.fromkeys(found))

    @property
    def has_data(self) -> bool:
        """Return whether a candidate gave what was looked for."""
        return bool(self.won)

    @property
    def status(self) -> str:
        """Return NOERROR, or the status of the last candidate."""
        if self.has_data:
            return "NOERROR"
        worst = [reply.status for reply in self.replies if reply.status not in _DENIALS]
        return worst[0] if worst else self.replies[-1].status if self.replies else NO_REPLY

    @property
    def why(self) -> str:
        """Return why the walk began where it did."""
        return why_in_this_order(self.name, self.resolv.search, self.resolv.ndots)

    def check(self) -> "Walk":
        """Return this walk if it found something; raises NoData, which shows it."""
        if not self.has_data:
            raise NoData(f"{self.name}: {self.status}\n{self}")
        return self

    def __str__(self) -> str:
        from podwire.testing.lookup_text import as_steps  # noqa: PLC0415 - text needs these types

        return as_steps(self)


_DENIALS = ("NXDOMAIN", "NODATA")


def exit_status(found: Reply | Walk) -> int:
    """Return 0 for data, 1 for a name or type that does not exist, 2 for a server that fails.

    If no reply comes in time it is 124, as for every other limit.
    """
    if found.has_data:
        return 0
    if found.status == NO_REPLY:
        return 124
    return 1 if found.status in _DENIALS else 2


def read_resolv_conf(text: str) -> ResolvConf:
    """Return what glibc makes of a resolv.conf (resolv/res_init.c)."""
    servers: list[str] = []
    search: tuple[str, ...] = ()
    options: dict[str, str] = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) < 2 or line[0] in "#;":
            continue
        if words[0] == "nameserver":
            servers.append(words[1])
        elif words[0] in ("search", "domain"):
            # Of several lines the last one counts; a domain is a list of one.
            search = tuple(words[1:] if words[0] == "search" else words[1:2])
        elif words[0] == "options":
            for word in words[1:]:
                option, _, value = word.partition(":")
                options[option] = value
    usual = ResolvConf()
    return ResolvConf(
        nameservers=tuple(servers[:_MOST_SERVERS]) or usual.nameservers,
        search=search,
        ndots=min(_number(options, "ndots", usual.ndots), _MOST_NDOTS),
        timeout=max(1, min(_number(options, "timeout", 5), 30)),
        attempts=max(1, min(_number(options, "attempts", usual.attempts), 5)),
        tcp="use-vc" in options,
    )


def _number(options: dict[str, str], name: str, usual: float) -> int:
    word = options.get(name, "")
    return int(word) if word.isdigit() else int(usual)
