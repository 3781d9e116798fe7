"""dnspython as a client: it reads messages strictly, and shares no line with what wrote them."""

import asyncio
import json
import sys
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from tests.system.dns import inside
from tests.system.dns.fake_api import FakeApi
from tests.system.dns.files import DATA, read
from tests.system.dns.objects import objects
from tests.system.dns.world import Place, Server

Json = dict[str, Any]

COREFILE = """.:53 {
    errors
    kubernetes cluster.local in-addr.arpa {
        ttl 30
    }
    transfer cluster.local {
        to *
    }
    loadbalance
}
"""


# In it `dns` is dnspython: a program of its own, for here it would be our folder.
CLIENT = r"""
import json
import sys

import dns.exception, dns.flags, dns.message, dns.query, dns.resolver, dns.zone

HERE = "127.0.0.1"
ZONE = "default.svc.cluster.local."


def main() -> int:
    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers = [HERE]
    resolver.lifetime = 10
    found = {
        "address": sorted(r.to_text() for r in resolver.resolve(f"web-svc.{ZONE}", "A")),
        "service": sorted(
            r.to_text() for r in resolver.resolve(f"_http._tcp.web-svc.{ZONE}", "SRV")
        ),
        "reverse": [r.to_text() for r in resolver.resolve_address("10.96.10.10")],
        "chain": resolver.resolve(f"ext-chain.{ZONE}", "A").canonical_name.to_text(),
        "no such name": refusal(resolver, f"nosuch.{ZONE}", "A"),
        "no such type": refusal(resolver, f"web-svc.{ZONE}", "AAAA"),
        "version": [r.to_text() for r in resolver.resolve("dns-version.cluster.local.", "TXT")],
        "many": many(),
        "transfer": transfer(),
        "edns": edns(),
    }
    json.dump(found, sys.stdout)
    return 0


def refusal(resolver, name, kind):
    try:
        resolver.resolve(name, kind)
    except dns.exception.DNSException as error:
        return type(error).__name__
    return ""


def many():
    query = dns.message.make_query(f"many.{ZONE}", "A")
    cut = dns.query.udp(query, HERE, timeout=10)
    whole, used_tcp = dns.query.udp_with_fallback(query, HERE, timeout=10)
    return {
        "is cut": bool(cut.flags & dns.flags.TC),
        "by tcp": used_tcp,
        "addresses": len(whole.answer[0]),
    }


def transfer():
    zone = dns.zone.from_xfr(
        dns.query.xfr(HERE, "cluster.local.", relativize=False, lifetime=10),
        relativize=False,
        check_origin=False,
    )
    return {
        "has": [n in {str(name) for name in zone} for n in (f"web-svc.{ZONE}", f"db.{ZONE}")],
        "addresses of many": len(zone.find_rdataset(f"many.{ZONE}", "A")),
        "serial": zone.get_soa().serial > 0,
    }


def edns():
    query = dns.message.make_query(
        f"web-svc.{ZONE}", "A", use_edns=0, payload=1400, want_dnssec=True
    )
    reply = dns.query.udp(query, HERE, timeout=10)
    return [reply.edns, reply.payload, bool(reply.ednsflags & dns.flags.DO)]


if __name__ == "__main__":
    sys.exit(main())
"""


async def ask(fixture: Json) -> Json:
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="podwire-dns-")))
        place = Place()
        await stack.enter_async_context(FakeApi(objects(fixture)).serving(folder / "api"))
        server = stack.enter_context(
            Server(place, COREFILE, folder / "server", api=str(folder / "api"))
        )
        await server.serves()
        said = folder / "said"
        command = (sys.executable, "-P", "-c", CLIENT)
        client = stack.enter_context(
            place.start(*command, folder=folder, log=said, environ={"PYTHONPATH": ""})
        )
        async with asyncio.timeout(60):
            await asyncio.to_thread(client.wait)
        assert client.returncode == 0, said.read_text() + server.said()
        found: Json = json.loads(said.read_text())
        return found


def test_dnspython_understands_all_of_it() -> None:
    fixture = read(DATA / "cases.json")["fixtures"]["shop"]
    found: Json = inside.play(ask, fixture)
    assert found == {
        "address": ["10.96.10.10"],
        "service": ["0 100 80 web-svc.default.svc.cluster.local."],
        "reverse": ["web-svc.default.svc.cluster.local."],
        "chain": "web-svc.default.svc.cluster.local.",
        "no such name": "NXDOMAIN",
        "no such type": "NoAnswer",
        "version": ['"1.1.0"'],
        "many": {"is cut": True, "by tcp": True, "addresses": 40},
        "transfer": {"has": [True, True], "addresses of many": 40, "serial": True},
        "edns": [0, 1400, True],
    }
