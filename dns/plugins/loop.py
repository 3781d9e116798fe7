"""loop: ends the process when what this server forwards comes back to it.

It asks itself, once at the start, for a name that nobody else can know. If that question arrives
more than twice somebody sends it in a ring, and each client's question with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

from podwire.dns.chain import Link, Plugin, Request
from podwire.dns.corefile.stanza import Stanza
from podwire.dns.messages.message import Kind, Question, Rcode, Reply
from podwire.dns.messages.wire import question_packet
from podwire.dns.parts.upstream import Channel, Connecting, ExchangeError, Upstream
from podwire.dns.serving.background import Background
from podwire.dns.site import Site

MOST_SEEN: Final = 2
ATTEMPTS_FOR: Final = 30.0
"""How long one tries to reach the server, which may wait for the API server first; seconds."""
PATIENCE: Final = 2.0
PAUSE: Final = 1.0
ARMED_FOR: Final = 2.0
"""How long one watches after the reply: what goes round may do so for a while."""


def setup(stanza: Stanza, site: Site) -> Plugin:
    """Return the plugin: ``loop``."""
    stanza.arguments_of(most=0)
    stanza.no_lines()
    return Loop(site)


class Loop(Plugin):
    """Counts how often its own question comes in, until it has been answered."""

    name = "loop"

    def __init__(self, site: Site) -> None:
        self._site = site
        self._zone = site.zones[0]
        self._background = Background(self.name)
        self.asked = ""
        """The name that is asked for now; empty when it is over."""
        self._seen = 0

    @asynccontextmanager
    async def run(self) -> AsyncGenerator[None]:
        """Look for a loop while the server begins to serve."""
        async with self._background.open():
            self._background.start(self._probe())
            yield

    async def serve(self, request: Request, rest: Link) -> Reply:
        """Pass on; end the process if this is our question once too often."""
        question = request.query.question
        if question.kind == Kind.HINFO and question.name.lower() == self.asked:
            self._seen += 1
            if self._seen > MOST_SEEN:
                self._fail(request.client)
                # Not once more: whoever waits in the ring has its reply now.
                return Reply(rcode=Rcode.SERVFAIL, by=self.name)
        return await rest(request)

    async def _probe(self) -> None:
        host = self._site.listens[0] if self._site.listens else "127.0.0.1"
        dice = self._site.process.dice
        channel = Channel(
            Upstream(host, self._site.port),
            Connecting(),
            self._site.process.clock,
            reused=lambda _: None,
            opened=lambda _: None,
        )
        try:
            async with asyncio.timeout(ATTEMPTS_FOR):
                while True:
                    # A new name each time: an attempt that waited in the socket, because the
                    # server was not serving yet, must not count as one that came back.
                    self.asked = self._name(dice.getrandbits(62), dice.getrandbits(62))
                    self._seen = 0
                    question = Question(self.asked, Kind.HINFO)
                    packet = question_packet(dice.getrandbits(16), question)
                    try:
                        await channel.exchange(packet, "udp", PATIENCE)
                        break
                    except ExchangeError:
                        await asyncio.sleep(PAUSE)
            await asyncio.sleep(ARMED_FOR)
        except TimeoutError:
            # Nobody answers here: nothing can go round either.
            pass
        finally:
            self.asked = ""

    def _name(self, *labels: int) -> str:
        zone = "" if self._zone == "." else self._zone
        return "".join(f"{label}." for label in labels) + zone

    def _fail(self, client: tuple[str, int]) -> None:
        host, port = client
        here = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        bound = self._site.listens[0] if self._site.listens else ""
        own = f"[{bound}]" if ":" in bound else bound
        self._site.process.life.fail(
            f"plugin/loop: Loop ({here} -> {own}:{self._site.port}) detected for zone "
            f'"{self._zone}", see https://coredns.io/plugins/loop#troubleshooting. '
            f'Query: "HINFO {self.asked}"'
        )
