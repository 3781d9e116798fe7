"""Corefiles for tests: a text -> the servers that it configures, asked without a socket."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from random import Random

from podwire.dns.chain import Plugin, Request, choose
from podwire.dns.cluster.sources import Sources
from podwire.dns.configuration import Configuration, configure
from podwire.dns.messages.message import (
    Address,
    Kind,
    Question,
    Reply,
    Transport,
    rcode_name,
)
from podwire.dns.messages.query import Query, screen
from podwire.dns.messages.wire import question_packet
from podwire.dns.serving.frontdoor import FrontDoor
from podwire.dns.serving.metrics import Metrics
from podwire.dns.serving.pages import PageServers
from podwire.dns.serving.traffic import Traffic
from podwire.dns.site import Life, Process
from podwire.testing.clock import FakeClock
from tests.unit.dns.zone_text import record_text

CLIENT = ("10.244.1.5", 40212)
INTERFACES: Mapping[str, Sequence[Address]] = {
    "lo": (ip_address("127.0.0.1"), ip_address("::1")),
    "eth0": (ip_address("10.244.0.2"), ip_address("fe80::1")),
}


@dataclass(kw_only=True)
class Bench:
    """What the servers of a test stand on; the clock is moved by hand."""

    folder: Path = Path("/nonexistent")
    clock: FakeClock = field(default_factory=FakeClock)
    process: Process = field(init=False)

    def __post_init__(self) -> None:
        self.process = Process(
            corefile=self.folder / "Corefile",
            life=Life(),
            pages=PageServers(),
            sources=Sources(api="/nonexistent/api.sock", user="tests", clock=self.clock),
            metrics=Metrics(),
            clock=self.clock,
            dice=Random(1),
        )

    def configure(
        self, text: str, interfaces: Mapping[str, Sequence[Address]] = INTERFACES
    ) -> Configuration:
        """Return the configuration of a Corefile, its doors open. Raises CorefileError."""
        made = configure(
            text,
            self.process,
            default_port=53,
            interfaces=interfaces,
            doors={},
            make_door=self._door,
        )
        for server in made.servers.values():
            server.door.open(server.blocks)
        return made

    def _door(self, name: str) -> FrontDoor:
        return FrontDoor(
            revision=lambda: 0,
            clock=self.clock,
            dice=self.process.dice,
            traffic=Traffic(self.process.metrics, name),
        )


def block(*lines: str) -> str:
    """Return a Corefile of one server block for every name."""
    return ".:53 {\n" + "".join(f"    {line}\n" for line in lines) + "}\n"


def plugin_of(configuration: Configuration, name: str) -> Plugin:
    """Return the plugin of that name."""
    (found,) = (plugin for plugin in configuration.plugins if plugin.name == name)
    return found


def request(
    name: str, kind: str = "A", *, client: str = CLIENT[0], transport: Transport = "udp"
) -> Request:
    """Return a request for a name as it is written, of a type by its name."""
    query = screen(question_packet(5, Question(name, kind_of(kind))))
    assert isinstance(query, Query)
    return Request(query, (client, CLIENT[1]), transport)


def kind_of(name: str) -> int:
    """Return the number of a record type."""
    return int(name.removeprefix("TYPE")) if name.startswith("TYPE") else Kind[name]


async def ask(
    configuration: Configuration,
    name: str,
    kind: str = "A",
    *,
    client: str = CLIENT[0],
    transport: Transport = "udp",
    port: int = 53,
) -> Reply:
    """Return the reply of the server that listens on *port* to everybody."""
    asked = request(name, kind, client=client, transport=transport)
    return await ask_for(configuration, asked, port=port)


async def ask_for(configuration: Configuration, asked: Request, *, port: int = 53) -> Reply:
    """Return the reply to a request."""
    question = asked.query.question
    chosen = choose(configuration.servers["", port].blocks, question.name, question.kind)
    assert chosen is not None
    return await chosen[0].link(asked)


async def answers(
    text: str, name: str, kind: str = "A", *, client: str = CLIENT[0], folder: Path | None = None
) -> list[str]:
    """Return what a Corefile answers, as `shown` shows it."""
    bench = Bench(folder=folder) if folder else Bench()
    return shown(await ask(bench.configure(text), name, kind, client=client))


def shown(reply: Reply) -> list[str]:
    """Return a reply: its code, then its records as a zone file has them, sections marked."""
    lines = [rcode_name(reply.rcode) + (" aa" if reply.authoritative else "")]
    lines += [record_text(record) for record in reply.answer]
    lines += ["authority: " + record_text(record) for record in reply.authority]
    lines += ["additional: " + record_text(record) for record in reply.additional]
    return lines
