"""Pure: a pod's resolv.conf and hosts file, as the kubelet writes them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from podwire.kube.objects import PodSpec

# Limits of Kubernetes 1.28 and later.
MOST_NAMESERVERS = 3
MOST_SEARCHES = 32
LONGEST_SEARCH_LINE = 2048


@dataclass(frozen=True, slots=True)
class Resolver:
    """The contents of a resolv.conf."""

    nameservers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()

    def text(self) -> str:
        """Return the file."""
        lines = [f"nameserver {address}" for address in self.nameservers]
        if self.searches:
            lines.append("search " + " ".join(self.searches))
        if self.options:
            lines.append("options " + " ".join(self.options))
        return "\n".join(lines) + "\n"


# What pods get from a node without a resolv.conf of its own.
_NO_FILE = Resolver(nameservers=("127.0.0.1",), searches=(".",))

Source = Literal["cluster", "host", "none"]


def parse(text: str) -> Resolver:
    """Read a resolv.conf: nameservers add up, the last search and options lines win.

    Raises ValueError for a nameserver line without an address.
    """
    nameservers: list[str] = []
    searches: Sequence[str] = ()
    options: Sequence[str] = ()
    for line in text.splitlines():
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if words[0] == "nameserver":
            if len(words) == 1:
                raise ValueError("a nameserver line has no address")
            nameservers.append(words[1])
        elif words[0] == "search":
            searches = [w if w == "." else w.removesuffix(".") for w in words[1:]]
        elif words[0] == "options":
            options = words[1:]
    return Resolver(tuple(nameservers), tuple(searches), tuple(options))


def source_of(spec: PodSpec) -> Source:
    """Return where a pod's resolver comes from; raises ValueError for an unknown dnsPolicy."""
    match spec.dns_policy:
        case "None":
            return "none"
        case "ClusterFirstWithHostNet":
            return "cluster"
        case "ClusterFirst":
            return "host" if spec.host_network else "cluster"
        case "Default":
            return "host"
        case other:
            raise ValueError(f"invalid DNSPolicy={other}")


def resolver_of(
    spec: PodSpec, namespace: str, *, node: Resolver | None, cluster_dns: str, domain: str
) -> tuple[Resolver, tuple[str, ...]]:
    """Return a pod's resolver, and what had to be left out of it (for a Warning event)."""
    try:
        source = source_of(spec)
    except ValueError:
        source = "cluster"  # as the kubelet falls back
    if source == "cluster":
        searches = (
            f"{namespace}.svc.{domain}",
            f"svc.{domain}",
            domain,
            *(node.searches if node else ()),
        )
        base = Resolver((cluster_dns,), searches, ("ndots:5",))
    elif source == "none":
        base = Resolver()
    else:
        base = node or _NO_FILE
    return _limited(_merged(base, spec))


def hosts(spec: PodSpec, *, address: str, hostname: str, domain: str, namespace: str) -> str:
    """Return a pod's /etc/hosts."""
    names = hostname
    if spec.subdomain:
        names = f"{hostname}.{spec.subdomain}.{namespace}.svc.{domain}\t{hostname}"
    lines = [
        "# Kubernetes-managed hosts file.",
        "127.0.0.1\tlocalhost",
        "::1\tlocalhost ip6-localhost ip6-loopback",
        "fe00::0\tip6-localnet",
        "fe00::0\tip6-mcastprefix",
        "fe00::1\tip6-allnodes",
        "fe00::2\tip6-allrouters",
        f"{address}\t{names}",
    ]
    if spec.host_aliases:
        lines += ["", "# Entries added by HostAliases."]
        lines += ["\t".join([alias.ip, *alias.hostnames]) for alias in spec.host_aliases]
    return "\n".join(lines) + "\n"


def _merged(base: Resolver, spec: PodSpec) -> Resolver:
    extra = spec.dns_config
    if extra is None:
        return base
    options = {option.partition(":")[0]: option for option in base.options}
    for option in extra.options:
        options[option.name] = f"{option.name}:{option.value}" if option.value else option.name
    return Resolver(
        tuple(dict.fromkeys((*base.nameservers, *extra.nameservers))),
        tuple(dict.fromkeys((*base.searches, *extra.searches))),
        tuple(options.values()),
    )


def _limited(wanted: Resolver) -> tuple[Resolver, tuple[str, ...]]:
    omitted: list[str] = []
    nameservers = wanted.nameservers[:MOST_NAMESERVERS]
    if nameservers != wanted.nameservers:
        omitted.append(
            "Nameserver limits were exceeded, some nameservers have been omitted, "
            f"the applied nameserver line is: {' '.join(nameservers)}"
        )
    searches = [s for s in wanted.searches if len(s) <= 253][:MOST_SEARCHES]
    while len(" ".join(searches)) > LONGEST_SEARCH_LINE:
        searches.pop()
    if tuple(searches) != wanted.searches:
        omitted.append(
            "Search Line limits were exceeded, some search paths have been omitted, "
            f"the applied search line is: {' '.join(searches)}"
        )
    return Resolver(nameservers, tuple(searches), wanted.options), tuple(omitted)
