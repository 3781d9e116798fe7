"""Pure: what a pod is called from inside: its host name, its domain, and its /etc/hosts.

Source: GeneratePodHostNameAndDomain and managedHostsFileContent of pkg/kubelet/kubelet_pods.go,
GetNodenameForKernel of pkg/kubelet/util/util.go.
"""

from podwire.kube.objects import Pod

# What `struct utsname` of the kernel has room for; and a DNS label.
LONGEST_NAME = 64
_LONGEST_LABEL = 63


class HostNameError(Exception):
    """A pod cannot have the host name that it asks for; the message is the kubelet's."""


def hostname_of(pod: Pod) -> str:
    """Return the short name of a pod that has a network of its own: 63 characters at most."""
    return (pod.spec.hostname or pod.metadata.name)[:_LONGEST_LABEL].rstrip("-.")


def domain_of(pod: Pod, cluster_domain: str) -> str:
    """Return the domain of a pod that has a subdomain, else the empty text."""
    if not pod.spec.subdomain:
        return ""
    return f"{pod.spec.subdomain}.{pod.metadata.namespace}.svc.{cluster_domain}"


def kernel_name_of(pod: Pod, cluster_domain: str) -> str:
    """Return what `hostname` says in a pod that has a network of its own.

    Raises HostNameError for a whole name (setHostnameAsFQDN) that the kernel has no room for.
    """
    short, domain = hostname_of(pod), domain_of(pod, cluster_domain)
    if not (domain and pod.spec.set_hostname_as_fqdn):
        return short
    whole = f"{short}.{domain}"
    if len(whole) > LONGEST_NAME:
        raise HostNameError(
            "failed to construct FQDN from pod hostname and cluster domain, "
            f"FQDN {whole} is too long ({LONGEST_NAME} characters is the max, "
            f"{len(whole)} characters requested)"
        )
    return whole


def hosts_file(pod: Pod, address: str, cluster_domain: str) -> str:
    """Return the /etc/hosts of a pod that has a network of its own."""
    short, domain = hostname_of(pod), domain_of(pod, cluster_domain)
    names = f"{short}.{domain}\t{short}" if domain else short
    lines = [
        "# Kubernetes-managed hosts file.",
        *_LOCAL,
        f"{address}\t{names}",
        *_aliases(pod),
    ]
    return "\n".join(lines) + "\n"


def hosts_file_of_node(pod: Pod, node: str, address: str) -> str:
    """Return the /etc/hosts of a pod in the network of its node: the node's own, and aliases."""
    head = "# Kubernetes-managed hosts file (host network)."
    return head + "\n" + node_hosts(node, address) + "".join(f"{line}\n" for line in _aliases(pod))


def node_hosts(node: str, address: str) -> str:
    """Return the /etc/hosts of a node."""
    return "\n".join([*_LOCAL, f"{address}\t{node}"]) + "\n"


_LOCAL = (
    "127.0.0.1\tlocalhost",
    "::1\tlocalhost ip6-localhost ip6-loopback",
    "fe00::0\tip6-localnet",
    "fe00::0\tip6-mcastprefix",
    "fe00::1\tip6-allnodes",
    "fe00::2\tip6-allrouters",
)


def _aliases(pod: Pod) -> list[str]:
    if not pod.spec.host_aliases:
        return []
    entries = ["\t".join([alias.ip, *alias.hostnames]) for alias in pod.spec.host_aliases]
    return ["", "# Entries added by HostAliases.", *entries]
