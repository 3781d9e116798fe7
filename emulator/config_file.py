"""A ClusterConfig from YAML in kind's shape, each field honoured or refused.

Text in, a frozen value out. A field that Podwire cannot honour is an error with file, line and
column, never ignored, so that a file which loads means what it says.
"""

from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from typing import cast, get_args

from podwire.emulator import own_images
from podwire.emulator.config import (
    LOCALHOST,
    MOST_NODES,
    UNDERLAY,
    Backend,
    ClusterConfig,
    NodeConfig,
    PortMapping,
    ProxyMode,
    checked_name,
    is_label,
)
from podwire.errors import ConfigError
from podwire.kube import syntax
from podwire.kube.documents import read
from podwire.kube.fields import Fields

API_VERSIONS = ("podwire.dev/v1alpha1", "kind.x-k8s.io/v1alpha4")


def parse(text: str, source: str = "cluster.yaml") -> ClusterConfig:
    """Return the cluster that *text* asks for; raises ConfigError with file, line and column."""
    documents = read(text, source)
    if len(documents) != 1:
        raise ConfigError(
            f"{source}: one document of kind Cluster is expected, not {len(documents)}\n"
            f"  see examples/cluster.yaml for a whole one"
        )
    return _cluster(Fields(documents[0], ()))


_REFUSED_AT_TOP = {
    "kubeadmConfigPatches": "there is no kubeadm here",
    "kubeadmConfigPatchesJSON6902": "there is no kubeadm here",
    "containerdConfigPatches": "there is no containerd here",
    "featureGates": "no feature can be switched yet; leave it out",
    "runtimeConfig": "the API groups that are served are fixed",
}
_REFUSED_OF_NODES = {
    "image": "nodes are network namespaces, not images",
    "extraMounts": "nodes share the file system of this machine",
    "kubeadmConfigPatches": "there is no kubeadm here",
    "kubeadmConfigPatchesJSON6902": "there is no kubeadm here",
}


def _cluster(fields: Fields) -> ClusterConfig:
    fields.one_of("kind", "", ("Cluster",))
    fields.one_of("apiVersion", "", API_VERSIONS)
    fields.only(
        "kind", "apiVersion", "name", "nodes", "networking", "images", refused=_REFUSED_AT_TOP
    )
    default = ClusterConfig()
    networking = fields.child("networking")
    config = _networking(networking, default) if networking else default
    nodes = _nodes(fields) if fields.has("nodes") else default.nodes
    return _consistent(
        fields,
        ClusterConfig(
            name=fields.parsed("name", default.name, _name),
            nodes=nodes,
            pod_subnet=config.pod_subnet,
            service_subnet=config.service_subnet,
            underlay=config.underlay,
            outside=config.outside,
            api_server_address=config.api_server_address,
            api_server_port=config.api_server_port,
            dns_domain=config.dns_domain,
            dns_search=config.dns_search,
            backend=config.backend,
            proxy_mode=config.proxy_mode,
            images=_images(fields),
        ),
    )


def _name(text: str) -> str:
    try:
        return checked_name(text)
    except ConfigError as error:
        raise ValueError(str(error)) from error


def _images(fields: Fields) -> dict[str, tuple[str, ...]]:
    at = fields.child("images")
    if at is None:
        return {}
    images = dict[str, tuple[str, ...]]()
    for name, command in fields.texts("images").items():
        try:
            if not name:
                raise ValueError("it says no name")
            images[name] = own_images.split(command)
        except ValueError as error:
            raise at.error(name, f"{at.dotted(name)}: {error}") from error
    return images


def _nodes(fields: Fields) -> tuple[NodeConfig, ...]:
    """Return the workers; a control-plane entry stands for the API server, which every cluster has.

    Unlike in kind, the control plane runs no pods and so is no Node object; a file with that one
    entry alone gets one node, so that pods can run as they would in kind. Beside workers, its port
    mappings are the first worker's.
    """
    nodes = list[NodeConfig]()
    planes = list[Fields]()
    for entry in fields.children("nodes"):
        entry.only("role", "name", "labels", "extraPortMappings", refused=_REFUSED_OF_NODES)
        role = entry.one_of("role", "worker", ("worker", "control-plane"))
        if role == "control-plane":
            planes.append(entry)
            if len(planes) > 1:
                raise entry.error("role", "a second control-plane node cannot be honoured")
        else:
            nodes.append(_node(entry, len(nodes) + 1))
    if planes and nodes:
        # A NodePort answers on every node, so kind's usual place for mappings leads to one as well.
        mappings = _port_mappings(planes[0])
        if mappings:
            first = nodes[0]
            nodes[0] = replace(first, extra_port_mappings=first.extra_port_mappings + mappings)
        for key in ("labels", "name"):
            if planes[0].has(key):
                raise planes[0].error(
                    key,
                    f"{planes[0].dotted(key)} cannot be honoured: the control plane is no node"
                    " here\n  give it to a worker",
                )
    if planes and not nodes:
        nodes.append(_node(planes[0], 1))
    if not nodes:
        raise fields.error("nodes", "nodes: at least one is needed")
    if len(nodes) > MOST_NODES:
        raise fields.error("nodes", f"nodes: {len(nodes)} are more than the {MOST_NODES} possible")
    return tuple(nodes)


def _node(fields: Fields, number: int) -> NodeConfig:
    return NodeConfig(
        name=fields.parsed("name", f"node-{number}", _node_name),
        labels=fields.texts("labels"),
        extra_port_mappings=_port_mappings(fields),
    )


def _port_mappings(fields: Fields) -> tuple[PortMapping, ...]:
    return tuple(_port_mapping(entry) for entry in fields.children("extraPortMappings"))


def _node_name(text: str) -> str:
    if not is_label(text) or len(text) > 63:
        raise ValueError(f"{text!r} is no DNS label (a-z, 0-9, '-')")
    return text


def _port_mapping(fields: Fields) -> PortMapping:
    fields.only("containerPort", "hostPort", "listenAddress", "protocol")
    port = fields.port("containerPort", 0)
    if port == 0:
        raise fields.error("containerPort", f"{fields.dotted('containerPort')}: a port is needed")
    # UDP would need a relay of its own.
    fields.one_of("protocol", "TCP", ("TCP", "tcp"))
    return PortMapping(
        container_port=port,
        host_port=fields.port("hostPort", 0),
        listen_address=fields.parsed("listenAddress", LOCALHOST, IPv4Address),
    )


def _networking(fields: Fields, default: ClusterConfig) -> ClusterConfig:
    fields.only(
        "ipFamily",
        "podSubnet",
        "serviceSubnet",
        "underlay",
        "outside",
        "apiServerAddress",
        "apiServerPort",
        "dnsDomain",
        "kubeProxyMode",
        "dnsSearch",
        "disableDefaultCNI",
        "backend",
    )
    fields.one_of("ipFamily", "ipv4", ("ipv4",), " (the only family so far)")
    if fields.yes("disableDefaultCNI"):
        raise fields.error(
            "disableDefaultCNI",
            "networking.disableDefaultCNI cannot be honoured: pods need the built-in plugin",
        )
    pod_subnet = fields.parsed("podSubnet", default.pod_subnet, IPv4Network)
    service_subnet = fields.parsed("serviceSubnet", default.service_subnet, IPv4Network)
    taken = (pod_subnet, service_subnet)
    return ClusterConfig(
        pod_subnet=pod_subnet,
        service_subnet=service_subnet,
        underlay=fields.parsed("underlay", _free_underlay(taken), IPv4Network),
        outside=fields.parsed("outside", default.outside, IPv4Network),
        api_server_address=fields.parsed(
            "apiServerAddress", default.api_server_address, IPv4Address
        ),
        api_server_port=fields.port("apiServerPort", 0),
        dns_domain=fields.parsed("dnsDomain", default.dns_domain, _domain),
        dns_search=_searches(fields),
        backend=cast("Backend", fields.one_of("backend", default.backend, get_args(Backend))),
        proxy_mode=cast(
            "ProxyMode",
            fields.one_of("kubeProxyMode", default.proxy_mode, get_args(ProxyMode)),
        ),
    )


def _free_underlay(taken: Sequence[IPv4Network]) -> IPv4Network:
    """Return the nodes' network for a file that names none: Calico's pods are 192.168.0.0/16."""
    free = (net for net in _UNDERLAYS if not any(net.overlaps(other) for other in taken))
    return next(free, UNDERLAY)


_UNDERLAYS = (UNDERLAY, IPv4Network("172.30.1.0/24"), IPv4Network("10.89.0.0/24"))


def _searches(fields: Fields) -> tuple[str, ...]:
    domains = fields.list_of_texts("dnsSearch")
    for domain in domains:
        if domain != "." and syntax.search_domain(domain.removesuffix(".")):
            raise fields.error("dnsSearch", f"networking.dnsSearch: {domain!r} is no domain name")
    return domains


def _domain(text: str) -> str:
    if not all(is_label(label) for label in text.split(".")):
        raise ValueError(f"{text!r} is no domain name")
    return text


def _consistent(fields: Fields, config: ClusterConfig) -> ClusterConfig:
    """Return *config*; raises ConfigError if names repeat, networks overlap or do not suffice."""
    names = [node.name for node in config.nodes]
    for number, name in enumerate(names):
        if name in names[:number]:
            raise fields.error("nodes", f"nodes: two are named {name!r}")
    networks = {
        "podSubnet": config.pod_subnet,
        "serviceSubnet": config.service_subnet,
        "underlay": config.underlay,
        "outside": config.outside,
    }
    at = fields.child("networking") or fields
    seen = dict[str, IPv4Network]()
    for key, network in networks.items():
        for other, earlier in seen.items():
            if network.overlaps(earlier):
                place = key if at.has(key) else other
                raise at.error(place, f"networking.{key} {network} overlaps {other} {earlier}")
        seen[key] = network
    if config.pod_subnet.prefixlen > 24 or 2 ** (24 - config.pod_subnet.prefixlen) <= len(names):
        raise at.error(
            "podSubnet",
            f"networking.podSubnet {config.pod_subnet} has no /24 for each of {len(names)} nodes"
            "\n  node N gets the N-th /24; the 0th stays unused",
        )
    if config.service_subnet.prefixlen > 24:
        raise at.error(
            "serviceSubnet",
            f"networking.serviceSubnet {config.service_subnet} is smaller than a /24",
        )
    return config
