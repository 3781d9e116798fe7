"""Pure: a Service's ports -> its rules, in kube-proxy's words and order."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from podwire.proxy.endpoints import Backend
from podwire.proxy.iptables import names
from podwire.proxy.iptables.ground import Ground
from podwire.proxy.table import ServicePort, Target


@dataclass(frozen=True, slots=True)
class Portion:
    """What one Service adds to the rules of a node; each text is rules, a line each.

    The first six go into chains that all Services share. *chains* are its own, all in the table
    nat, each after those that it leads to.
    """

    services: str = ""
    node_ports: str = ""
    refused: str = ""
    refused_outside: str = ""
    health_checks: str = ""
    firewall: str = ""
    chains: dict[str, str] = field(default_factory=dict[str, str])


NOTHING = Portion()


def portion(ports: Iterable[ServicePort], ground: Ground, *, comments: bool) -> Portion:
    """Return the rules of *ports*; without *comments* those of SVC, SVL and SEP chains go bare.

    kube-proxy leaves them out in large clusters, where they are 40 % of the text.
    """
    written = [_Port(port, ground, comments) for port in ports]
    for each in written:
        each.write()
    if not written:
        return NOTHING
    return Portion(
        services="".join(w.services for w in written),
        node_ports="".join(w.node_ports for w in written),
        refused="".join(w.refused for w in written),
        refused_outside="".join(w.refused_outside for w in written),
        health_checks="".join(w.health_checks for w in written),
        firewall="".join(w.firewall for w in written),
        chains={name: text for w in written for name, text in w.chains.items()},
    )


class _Port:
    """The rules of one Service port, as they are being written."""

    def __init__(self, port: ServicePort, ground: Ground, comments: bool) -> None:  # noqa: FBT001
        self.port = port
        self.ground = ground
        self.comments = comments
        self.name = str(port.name)
        self.protocol = port.protocol.lower()
        self.hash = names.port_hash(self.name, self.protocol)
        self.outside = port.from_outside
        self.services = self.node_ports = self.refused = self.refused_outside = ""
        self.health_checks = self.firewall = ""
        self.chains: dict[str, str] = {}

    def write(self) -> None:
        port = self.port
        self._dispatch()
        if port.health_check_port:
            self.health_checks = (
                f'-A {names.NODE_PORTS} -m comment --comment "{self.name} health check node port" '
                f"-m tcp -p tcp --dport {port.health_check_port} -j ACCEPT\n"
            )
        if not port.usable.anywhere:
            return
        local = port.usable.local
        internal_local = port.internal_policy == "Local"
        external_local = self.outside and port.external_policy == "Local"
        uses_cluster = not internal_local or self.outside
        uses_local = bool(local) and (internal_local or external_local)
        reached = {
            *(port.usable.cluster if uses_cluster else ()),
            *(local if uses_local else ()),
        }
        # A chain comes after those that it leads to.
        for backend in sorted(reached):
            self._endpoint(backend)
        if uses_cluster:
            masquerade = "" if internal_local else self._masquerade(names.CLUSTER)
            self._balance(names.CLUSTER, masquerade, port.usable.cluster)
        if uses_local:
            masquerade = self._masquerade(names.LOCAL) if internal_local else ""
            self._balance(names.LOCAL, masquerade, local)
        if self.outside:
            self.chains[names.EXTERNAL + self.hash] = self._external()
            if self._filtered():
                self.chains[names.SOURCES + self.hash] = self._sources()

    def _dispatch(self) -> None:
        """Write the rules by destination: where it leads, or why it does not."""
        port = self.port
        external = names.EXTERNAL + self.hash
        cluster_ip = self._to(port.cluster_ip)
        if port.internal.verdict == "FORWARD":
            kind = names.LOCAL if port.internal_policy == "Local" else names.CLUSTER
            self.services += (
                f'-A {names.SERVICES} -m comment --comment "{self.name} cluster IP" '
                f"{cluster_ip} -j {kind}{self.hash}\n"
            )
        else:
            self.refused = f"-A {names.SERVICES} {self._refusal(port.internal, cluster_ip)}"
        matches = [("external IP", self._to(ip), external) for ip in port.external_ips]
        balanced = names.SOURCES + self.hash if self._filtered() else external
        matches += [("loadbalancer IP", self._to(ip), balanced) for ip in port.load_balancer_ips]
        for kind, match, chain in matches:
            if port.usable.anywhere:
                self.services += (
                    f'-A {names.SERVICES} -m comment --comment "{self.name} {kind}" '
                    f"{match} -j {chain}\n"
                )
                if chain == names.SOURCES + self.hash:
                    self.firewall += (
                        f"-A {names.PROXY_FIREWALL} -m comment --comment "
                        f'"{self.name} traffic not accepted by {chain}" {match} -j DROP\n'
                    )
        by_port = f"-m {self.protocol} -p {self.protocol} --dport {port.node_port}"
        if port.node_port and port.usable.anywhere:
            self.node_ports = (
                f'-A {names.NODE_PORTS} -m comment --comment "{self.name}" '
                f"{by_port} -j {external}\n"
            )
        if port.external.verdict != "FORWARD":
            outside = [match for _, match, _ in matches]
            if port.node_port:
                outside.append(f"-m addrtype --dst-type LOCAL {by_port}")
            self.refused_outside = "".join(
                f"-A {names.EXTERNAL_SERVICES} {self._refusal(port.external, match)}"
                for match in outside
            )

    def _external(self) -> str:
        """Return where traffic for NodePorts, external and load-balancer addresses goes."""
        port, name = self.port, self.name
        chain = f"-A {names.EXTERNAL}{self.hash}"
        cluster = f"-j {names.CLUSTER}{self.hash}\n"
        if port.external_policy == "Cluster":
            return (
                f'{chain} -m comment --comment "masquerade traffic for {name} external '
                f'destinations" -j {names.MARK_MASQ}\n{chain} {cluster}'
            )
        local = "-m addrtype --src-type LOCAL"
        rules = ""
        if self.ground.pods:
            rules = (
                f'{chain} -m comment --comment "pod traffic for {name} external destinations" '
                f"{self.ground.pods} {cluster}"
            )
        rules += (
            f'{chain} -m comment --comment "masquerade LOCAL traffic for {name} external '
            f'destinations" {local} -j {names.MARK_MASQ}\n'
            f'{chain} -m comment --comment "route LOCAL traffic for {name} external '
            f'destinations" {local} {cluster}'
        )
        if port.external.verdict == "FORWARD":
            rules += f"{chain} -j {names.LOCAL}{self.hash}\n"
        return rules

    def _sources(self) -> str:
        """Return the rules that let the Service's source ranges in."""
        port = self.port
        chain = f"-A {names.SOURCES}{self.hash}"
        sources = [str(cidr) for cidr in port.source_ranges]
        if any(a in cidr for a in self.ground.addresses for cidr in port.source_ranges):
            # Where the address is on the node itself, a process of the node has it as its source.
            sources += map(str, port.load_balancer_ips)
        return (
            "".join(
                f'{chain} -m comment --comment "{self.name} loadbalancer IP" -s {source} '
                f"-j {names.EXTERNAL}{self.hash}\n"
                for source in sources
            )
            + f'{chain} -m comment --comment "other traffic to {self.name} will be dropped by '
            f'{names.PROXY_FIREWALL}"\n'
        )

    def _masquerade(self, kind: str) -> str:
        """Return the rule for what comes to the ClusterIP from outside of the cluster."""
        ground = self.ground
        if not ground.masquerade_all and not ground.not_pods:
            return ""
        sources = "" if ground.masquerade_all else f"{ground.not_pods} "
        return (
            f'-A {kind}{self.hash} -m comment --comment "{self.name} cluster IP" '
            f"{self._to(self.port.cluster_ip)} {sources}-j {names.MARK_MASQ}\n"
        )

    def _balance(self, kind: str, masquerade: str, backends: Sequence[Backend]) -> None:
        """Write the chain that chooses among *backends*."""
        chain = kind + self.hash
        # As strings, so 10.244.1.10 comes before 10.244.1.9.
        endpoints = sorted(map(str, backends))
        rules = [masquerade]
        jumps: list[tuple[str, str]] = []
        for endpoint in endpoints:
            comment = f' -m comment --comment "{self.name} -> {endpoint}"' if self.comments else ""
            target = names.endpoint_chain(self.name, self.protocol, endpoint)
            jumps.append((f"-A {chain}{comment}", target))
        seconds = self.port.affinity_seconds
        if seconds:
            rules += [
                f"{start} -m recent --name {target} --rcheck --seconds {seconds} --reap "
                f"-j {target}\n"
                for start, target in jumps
            ]
        left = len(jumps)
        for start, target in jumps:
            chance = (
                f" -m statistic --mode random --probability {1 / left:.10f}" if left > 1 else ""
            )
            rules.append(f"{start}{chance} -j {target}\n")
            left -= 1
        self.chains[chain] = "".join(rules)

    def _endpoint(self, backend: Backend) -> None:
        """Write the chain that sends to *backend*."""
        chain = names.endpoint_chain(self.name, self.protocol, str(backend))
        start = f"-A {chain}"
        if self.comments:
            start += f' -m comment --comment "{self.name}"'
        remember = f" -m recent --name {chain} --set" if self.port.affinity_seconds else ""
        # A pod that is sent to itself, or to one beside it on a switch, would be answered past the
        # node, from an address that it never asked.
        beside = next((pods for pods in self.ground.switched if backend.address in pods), None)
        self.chains[chain] = (
            f"{start} -s {beside or backend.address} -j {names.MARK_MASQ}\n"
            f"{start}{remember} -m {self.protocol} -p {self.protocol} -j DNAT "
            f"--to-destination {backend}\n"
        )

    def _filtered(self) -> bool:
        port = self.port
        return bool(port.usable.anywhere and port.load_balancer_ips and port.source_ranges)

    def _to(self, address: object) -> str:
        return f"-m {self.protocol} -p {self.protocol} -d {address} --dport {self.port.port}"

    def _refusal(self, target: Target, match: str) -> str:
        lacking = "no endpoints" if target.verdict == "REJECT" else "no local endpoints"
        return f'-m comment --comment "{self.name} has {lacking}" {match} -j {target.verdict}\n'
