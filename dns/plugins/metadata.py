"""metadata: accepted, for Corefiles that have it; no plugin here has any to tell."""

from __future__ import annotations

from podwire.dns.chain import Plugin
from podwire.dns.corefile.stanza import Stanza
from podwire.dns.site import Site


def setup(stanza: Stanza, site: Site) -> Plugin:
    """Return the plugin: ``metadata``."""
    del site
    stanza.zones_or_block(stanza.arguments)
    stanza.no_lines()
    return Metadata()


class Metadata(Plugin):
    """Does nothing."""

    name = "metadata"
