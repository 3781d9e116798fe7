"""debug: accepted, for Corefiles that have it; bugs are always in the log here."""

from __future__ import annotations

from podwire.dns.chain import Plugin
from podwire.dns.corefile.stanza import Stanza
from podwire.dns.site import Site


def setup(stanza: Stanza, site: Site) -> Plugin:
    """Return the plugin: ``debug``."""
    del site
    stanza.arguments_of(most=0)
    stanza.no_lines()
    return Debug()


class Debug(Plugin):
    """Does nothing."""

    name = "debug"
