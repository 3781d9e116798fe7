"""Pure: a pod's resolv.conf, as the kubelet makes it: policy, dnsConfig, the node's file, limits.

Source: pkg/kubelet/network/dns/dns.go; the limits are those of Kubernetes 1.28 and later.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from podwire.kube.objects import PodDNSConfigOption, PodSpec

MOST_NAMESERVERS = 3
MOST_SEARCHES = 32
LONGEST_SEARCH_LINE = 2048
# glibc 2.28 ends a program that has a longer one.
LONGEST_DOMAIN = 253

OPTIONS = ("ndots:5",)


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


@dataclass(frozen=True, slots=True)
class Complaint:
    """What a Warning event about the pod says."""

    reason: Literal["DNSConfigForming", "MissingClusterDNS"]
    message: str


# What pods get from a kubelet whose resolvConf is the empty text.
_NO_FILE = Resolver(nameservers=("127.0.0.1",), searches=(".",))

_NO_CLUSTER_DNS = Complaint(
    "MissingClusterDNS",
    "kubelet does not have ClusterDNS IP configured and cannot create Pod using "
    '"ClusterFirst" policy. Falling back to "Default" policy.',
)

Source = Literal["cluster", "host", "none"]


def parse(text: str) -> Resolver:
    """Read a resolv.conf: nameservers add up, the last search and options lines win.

    Raises ValueError, in the kubelet's words, for a nameserver line without an address.
    """
    nameservers: list[str] = []
    searches: Sequence[str] = ()
    options: Sequence[str] = ()
    for line in text.split("\n"):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if words[0] == "nameserver":
            if len(words) == 1:
                raise ValueError("nameserver list is empty ")
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
    spec: PodSpec,
    namespace: str,
    *,
    node: Resolver | None,
    cluster_dns: Sequence[str],
    domain: str,
) -> tuple[Resolver, tuple[Complaint, ...]]:
    """Return a pod's resolver, and what is to be complained of.

    *node* is the node's own, None if it has no file; *cluster_dns* are the addresses of the
    cluster's DNS that the kubelet knows, *domain* is the cluster's.
    """
    try:
        source = source_of(spec)
    except ValueError:
        source = "cluster"  # as the kubelet falls back
    complaints: tuple[Complaint, ...] = ()
    if source == "cluster" and not cluster_dns:
        source, complaints = "host", (_NO_CLUSTER_DNS,)
    if source == "cluster":
        searches = cluster_searches(namespace, domain, node.searches if node else ())
        base = Resolver(tuple(cluster_dns), searches, OPTIONS)
    elif source == "none":
        base = Resolver()
    else:
        base = node or _NO_FILE
    fitting, cut = limited(_merged(base, spec))
    return fitting, complaints + cut


def cluster_searches(namespace: str, domain: str, nodes: Sequence[str]) -> tuple[str, ...]:
    """Return the search domains of a pod of *namespace*, then those of its node."""
    if not domain:
        return tuple(nodes)
    clusters = (f"{namespace}.svc.{domain}", f"svc.{domain}", domain)
    return _once(clusters, nodes)


def merged_options(options: Iterable[str], more: Iterable[PodDNSConfigOption]) -> tuple[str, ...]:
    """Return options, each name once; what a pod's dnsConfig says wins."""
    values = {name: value for name, _, value in (option.partition(":") for option in options)}
    values |= {option.name: option.value or "" for option in more}
    return tuple(f"{name}:{value}" if value else name for name, value in values.items())


def limited(wanted: Resolver) -> tuple[Resolver, tuple[Complaint, ...]]:
    """Return what a resolver has room for, and what is said of the rest."""
    nameservers, searches = (
        limited_nameservers(wanted.nameservers),
        limited_searches(wanted.searches),
    )
    complaints: list[Complaint] = []
    if nameservers != wanted.nameservers:
        complaints.append(
            Complaint(
                "DNSConfigForming",
                "Nameserver limits were exceeded, some nameservers have been omitted, "
                f"the applied nameserver line is: {' '.join(nameservers)}",
            )
        )
    if searches != wanted.searches:
        complaints.append(
            Complaint(
                "DNSConfigForming",
                "Search Line limits were exceeded, some search paths have been omitted, "
                f"the applied search line is: {' '.join(searches)}",
            )
        )
    fitting = replace(wanted, nameservers=nameservers, searches=searches)
    return fitting, tuple(complaints)


def limited_nameservers(nameservers: Sequence[str]) -> tuple[str, ...]:
    """Return the nameservers that a resolver looks at: the first three."""
    return tuple(nameservers[:MOST_NAMESERVERS])


def limited_searches(searches: Sequence[str]) -> tuple[str, ...]:
    """Return the search domains that fit: by number, then each by its length, then their line."""
    kept = [one for one in searches[:MOST_SEARCHES] if len(one) <= LONGEST_DOMAIN]
    while len(" ".join(kept)) > LONGEST_SEARCH_LINE:
        kept.pop()
    return tuple(kept)


def node_complaint(node: Resolver, domain: str, path: str = "/etc/resolv.conf") -> str:
    """Return what the kubelet says at its start of a node's search domains, if they do not fit.

    Those of the cluster, whose *domain* it is, come before them in most pods.
    """
    most = MOST_SEARCHES - (3 if domain else 0)
    if len(node.searches) > most:
        return (
            f"Resolv.conf file '{path}' contains search line consisting of more than {most} "
            "domains!"
        )
    if any(len(one) > LONGEST_DOMAIN for one in node.searches):
        return (
            f'Resolv.conf file "{path}" contains a search path which length is more than allowed '
            f"{LONGEST_DOMAIN} chars!"
        )
    if len(" ".join(node.searches)) > LONGEST_SEARCH_LINE:
        return (
            f"Resolv.conf file '{path}' contains search line which length is more than allowed "
            f"{LONGEST_SEARCH_LINE} chars!"
        )
    return ""


def _merged(base: Resolver, spec: PodSpec) -> Resolver:
    extra = spec.dns_config
    if extra is None:
        return base
    return Resolver(
        _once(base.nameservers, extra.nameservers),
        _once(base.searches, extra.searches),
        merged_options(base.options, extra.options),
    )


def _once(first: Sequence[str], more: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*first, *more)))
