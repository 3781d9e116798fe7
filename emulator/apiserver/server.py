"""The API server as a whole: what the control process starts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from podwire.emulator.apiserver import bootstrap, http
from podwire.emulator.apiserver.expiry import EVENT_SECONDS, Expiry
from podwire.emulator.apiserver.http import Authenticate, Front, Patience
from podwire.emulator.apiserver.listening import Listener, listening
from podwire.emulator.apiserver.request import Api, Dice, Network
from podwire.emulator.apiserver.store import Store
from podwire.kube.clock import Clock

if TYPE_CHECKING:
    from podwire.emulator.apiserver.agent import NodeAgent

_SWEEP_SECONDS = 60.0


class ApiServer:
    """Kubernetes' API over *store*; *agent* runs what needs a node."""

    def __init__(
        self,
        store: Store,
        agent: NodeAgent,
        clock: Clock,
        dice: Dice,
        *,
        network: Network | None = None,
        honoured: Iterable[str] = (),
        who: Authenticate = http.by_connection,
        token_key: bytes = b"",
    ) -> None:
        # Without a key from elsewhere, tokens end with this server.
        key = token_key or dice.getrandbits(256).to_bytes(32, "big")
        self.api = Api(store, dice, network or Network(), frozenset(honoured), token_key=key)
        self._agent = agent
        self._clock = clock
        self._who = who
        self._events = Expiry(store, "events", EVENT_SECONDS, clock.monotonic)
        self._sweeping: asyncio.TimerHandle | None = None

    def fill(self, port: int) -> None:
        """Create the namespaces and the Service that every cluster has, if they are missing.

        Pods reach this server at *port*.
        """
        bootstrap.fill(self.api, now=self._clock.now(), port=port)

    @asynccontextmanager
    async def serve(
        self,
        tls_sockets: Sequence[Listener] = (),
        unix_path: Path | None = None,
        *,
        dns_path: Path | None = None,
        sweep_seconds: float = _SWEEP_SECONDS,
        patience: Patience | None = None,
    ) -> AsyncGenerator[None]:
        """Answer requests until the block ends.

        Each of *tls_sockets* is bound already; its context asks for client certificates
        (`ssl.CERT_OPTIONAL`, so that health checks need none). On the Unix socket the header
        X-Remote-User is believed: only the cluster's own processes may reach *unix_path*. Who asks
        at *dns_path* is the DNS server, whatever it says, and may do what its role says.
        Events of more than an hour are looked for every *sweep_seconds*. *patience* is how long
        clients may take to ask and to read.
        """
        api, agent, clock = self.api, self._agent, self._clock
        front = Front(api, agent, clock, who=self._who, patience=patience)
        of_dns = Front(api, agent, clock, who=http.as_dns_server, patience=patience)
        self._sweep(sweep_seconds)
        try:
            async with (
                # What is said on it of oneself is believed: for us, and for nodes, which are root.
                listening(front, tls_sockets, unix_path, unix_mode=0o600),
                # The DNS server is nobody in particular.
                listening(of_dns, (), dns_path, unix_mode=0o666),
            ):
                yield
        finally:
            if self._sweeping is not None:
                self._sweeping.cancel()

    def _sweep(self, seconds: float) -> None:
        self._events.sweep()
        loop = asyncio.get_running_loop()
        self._sweeping = loop.call_later(seconds, self._sweep, seconds)
