"""Pure: which search list a client's pod has, for answering its whole walk at once (autopath)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from podwire.dns.cluster.options import Options
from podwire.dns.cluster.records import Table
from podwire.dns.messages.message import Kind, Record, Reply
from podwire.dns.messages.names import within


def search_domains(text: str) -> tuple[str, ...]:
    """Return the search list of a resolv.conf, as it is written; its last line of the kind counts.

    A ``domain`` line is a search list of one.
    """
    found: tuple[str, ...] = ()
    for words in (line.split() for line in text.splitlines()):
        if words[:1] == ["search"]:
            found = tuple(words[1:])
        elif words[:1] == ["domain"]:
            found = tuple(words[1:2])
    return found


def autopath_search(
    name: str, client: str, table: Table, options: Options, own_search: Sequence[str]
) -> tuple[str, ...]:
    """Return the search list of the pod at the address *client*, for a question about *name*.

    Its last element is empty: the name alone. An empty list: the client walks by itself, because
    it is no known pod, pods are not watched, or *name* is not in our zones. *own_search* is the
    search list of the server's own resolv.conf, which the node's pods have too.
    """
    zone = options.served.find(name.lower().split("."))
    if zone is None or options.pods != "verified":
        return ()
    namespace = table.namespace_of_pod(client)
    if not namespace:
        return ()
    own = (domain.lower().rstrip(".") + "." for domain in own_search)
    suffix = zone.suffix
    return (f"{namespace}.svc.{suffix}", f"svc.{suffix}", zone.name, *own, "")


def autopath_applies(name: str, search: Sequence[str]) -> bool:
    """Return whether *name* is, or lies below, the first domain of a client's search list."""
    return bool(search) and within(name, search[0])


def autopath_candidates(name: str, search: Sequence[str]) -> tuple[str, ...]:
    """Return the names to try for *name*, in order; none where the walk is not for us.

    The case of *name* is kept. The search domain itself is nobody's short name, so it is left
    alone (CoreDNS fails on it).
    """
    if not autopath_applies(name, search):
        return ()
    base = name[: len(name) - len(search[0])].removesuffix(".")
    return tuple(_joined(base, domain) for domain in search) if base else ()


def renamed(reply: Reply, asked: str) -> Reply:
    """Return *reply*, made for a candidate, as the answer to the name that was *asked*.

    An alias leads from that name to the first owner that is called otherwise.
    """
    for record in reply.answer:
        if record.name.lower() != asked.lower():
            alias = Record(asked, Kind.CNAME, record.ttl, record.name)
            return replace(reply, answer=(alias, *reply.answer))
    return reply


def _joined(base: str, domain: str) -> str:
    return ".".join(part for part in (base, domain.removesuffix(".")) if part) + "."
