"""The server that hostile packets and clients are thrown at, inside."""

import re
import tempfile
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

from tests.system.dns import upstream
from tests.system.dns.fake_api import FakeApi
from tests.system.dns.messages import question
from tests.system.dns.objects import objects
from tests.system.dns.upstream import Upstream
from tests.system.dns.world import HERE, Place, Server, ask_tcp, ask_udp

Json = dict[str, Any]

WEB: Final = "web-svc.default.svc.cluster.local."
MANY: Final = "many.default.svc.cluster.local."
SILENCE: Final = 0.3
"""Seconds without a reply that count as none."""

UPSTREAM_PORT: Final = 10053
KUBEADM: Final = f""".:53 {{
    errors
    health {{
       lameduck 5s
    }}
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {{
       pods insecure
       fallthrough in-addr.arpa ip6.arpa
       ttl 30
    }}
    prometheus :9153
    forward . {HERE}:{UPSTREAM_PORT} {{
       max_concurrent 1000
    }}
    cache 30 {{
       disable success cluster.local
       disable denial cluster.local
    }}
    loop
    reload
    loadbalance
}}
"""


def may_be_silent(expect: str) -> bool:
    """Return whether the words of a file allow that there is no reply."""
    return re.search("drop|silen|no reply|close|ignore", expect) is not None


class Victim:
    """The server, and whether it still answers; *behind* is where it forwards to."""

    def __init__(self, place: Place, server: Server, behind: Upstream) -> None:
        self.place = place
        self.server = server
        self.behind = behind

    async def answers(self, *, within: float = 5.0) -> bool:
        """Return whether the baseline query is answered as if nothing had happened."""
        query = question({"qname": WEB, "qtype": "A"}, 0x7777)
        reply = await ask_udp(self.place, query, within=within)
        return (
            reply is not None and reply[:2] == query[:2] and reply[-4:] == bytes((10, 96, 10, 10))
        )

    async def packet(self, packet: Json) -> Json:
        """Return the reply to a packet, its cost in seconds of CPU, and what came after it."""
        ask = ask_tcp if packet["transport"] == "tcp" else ask_udp
        within = SILENCE if may_be_silent(packet["expect"]) else 5.0
        before = self.spent()
        reply = await ask(self.place, bytes.fromhex(packet["hex"]), within=within)
        spent = self.spent() - before
        answers = await self.answers()
        return {"reply": reply.hex() if reply else None, "answers": answers, "spent": spent}

    def spent(self) -> float:
        """Return the seconds that the server's main thread has been on a processor."""
        text = Path(f"/proc/{self.server.pid}/schedstat").read_text()
        return int(text.split()[0]) / 1e9

    def received(self) -> int:
        """Return how many datagrams have arrived in the place."""
        text = Path(f"/proc/{self.server.pid}/net/snmp").read_text()
        names, values = (line.split() for line in text.splitlines() if line.startswith("Udp:"))
        return int(values[names.index("InDatagrams")])


@asynccontextmanager
async def attacked(fixture: Json) -> AsyncGenerator[Victim]:
    """Run the server with the objects of *fixture*, configured as by kubeadm, inside the block."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="podwire-dns-")))
        place = Place()
        behind = Upstream(upstream.denying)
        await stack.enter_async_context(behind.serving(place, UPSTREAM_PORT))
        await stack.enter_async_context(FakeApi(objects(fixture)).serving(folder / "api"))
        server = stack.enter_context(
            Server(place, KUBEADM, folder / "server", api=str(folder / "api"))
        )
        await server.serves()
        yield Victim(place, server, behind)
