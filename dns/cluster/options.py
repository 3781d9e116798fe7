"""Pure: what the kubernetes stanza of a Corefile says about answers, prepared for look-ups."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from podwire.dns.cluster.records import Table
from podwire.dns.messages.message import Address
from podwire.dns.messages.names import Suffixes, longest_match, reverse_family

PodMode: TypeAlias = Literal["disabled", "insecure", "verified"]


@dataclass(frozen=True, slots=True)
class Zone:
    """A zone that is served: *suffix* is its name, empty for the root; *depth* counts labels."""

    name: str
    suffix: str
    depth: int
    is_multicluster: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The kubernetes stanza of a Corefile. Zones are absolute and lower-cased; *ttl* in seconds.

    *fallthrough* lists the zones whose unknown names go to the next plugin: empty means all,
    None means none. *own_addresses* are those this server answers on, for NS. Empty *namespaces*
    exposes all. *multicluster* lists the zones in which a cluster set's Services are served.
    """

    zones: tuple[str, ...] = ("cluster.local.",)
    pods: PodMode = "disabled"
    ttl: int = 5
    namespaces: frozenset[str] = frozenset()
    fallthrough: tuple[str, ...] | None = None
    own_addresses: tuple[Address, ...] = ()
    endpoint_pod_names: bool = False
    no_endpoints: bool = False
    ignore_empty_service: bool = False
    zonal: bool = False
    multicluster: tuple[str, ...] = ()
    served: Suffixes[Zone] = field(init=False, repr=False, compare=False)
    falls_through: Suffixes[bool] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        zones = [(zone, self.zone(zone)) for zone in self.zones]
        object.__setattr__(self, "served", Suffixes(zones))
        falling = () if self.fallthrough is None else self.fallthrough or (".",)
        object.__setattr__(self, "falls_through", Suffixes((zone, True) for zone in falling))

    def zone(self, name: str) -> Zone:
        """Return what there is to know of a zone, or of a name that is taken for one."""
        suffix = "" if name == "." else name
        is_multicluster = longest_match(name, self.multicluster) is not None
        return Zone(name, suffix, suffix.count("."), is_multicluster)

    @property
    def primary_zone(self) -> str:
        """Return the zone that PTR records point into: the first that is not a reverse one."""
        return next((z for z in self.zones if not reverse_family("." + z)), self.zones[0])

    def exposes(self, namespace: str, table: Table) -> bool:
        """Return whether *namespace* exists and is one of those that are shown."""
        return (not self.namespaces or namespace in self.namespaces) and table.has_namespace(
            namespace
        )

    def shows_reverse(self, namespace: str, table: Table) -> bool:
        """Return whether addresses of *namespace* lead to names.

        Only the list of namespaces hides them; a selector does not (CoreDNS, reverse.go).
        """
        return not self.namespaces or self.exposes(namespace, table)
