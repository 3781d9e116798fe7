"""whoami: tells a client its own address, port and transport."""

from __future__ import annotations

from ipaddress import ip_address

from podwire.dns.chain import Link, Plugin, Request
from podwire.dns.corefile.stanza import Stanza
from podwire.dns.messages.message import Kind, Record, Reply, Srv, address_kind
from podwire.dns.site import Site


def setup(stanza: Stanza, site: Site) -> Plugin:
    """Return the plugin: ``whoami``."""
    del site
    stanza.arguments_of(most=0)
    stanza.no_lines()
    return Whoami()


class Whoami(Plugin):
    """Answers every name and type with additional records alone."""

    name = "whoami"

    async def serve(self, request: Request, rest: Link) -> Reply:
        """Return who asked."""
        del rest
        name = request.query.question.name
        host, port = request.client
        address = ip_address(host.partition("%")[0])
        owner = f"_{request.transport}.{name}" if name != "." else f"_{request.transport}."
        return Reply(
            authoritative=True,
            additional=(
                Record(name, address_kind(address), 0, address),
                Record(owner, Kind.SRV, 0, Srv(0, 0, port, ".")),
            ),
            by=self.name,
        )
