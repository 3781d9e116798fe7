"""Pure: a request with everything about it but the packets, and where it must be captured."""

from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address

from podwire.emulator.trace import resolve
from podwire.emulator.trace.expect import places_of, route
from podwire.emulator.trace.request import Command, Request
from podwire.emulator.trace.snapshot import EXTERNAL, ROUTER, Location, Snapshot, key
from podwire.emulator.trace.wiring import Wiring

_LOCALHOST = IPv4Address("127.0.0.1")


@dataclass(frozen=True, slots=True)
class ClientReport:
    """What the client program said: never proof, but it tells its own flow from others.

    *local_port* and *status* are 0 if it did not say; *error* is its message if it failed.
    """

    exit_code: int = 0
    local_port: int = 0
    status: int = 0
    timed_out: bool = False
    error: str = ""


@dataclass(frozen=True, slots=True)
class Case:
    """Everything about a request but the packets."""

    snapshot: Snapshot
    wiring: Wiring
    source: Location
    request: Request
    report: ClientReport


def points(case: Case) -> tuple[str, ...]:
    """Return the places that must be captured so that the request can be judged.

    All nodes are among them: a packet that goes astray shall be seen where it went.
    """
    snapshot, wiring, source = case.snapshot, case.wiring, case.source
    routes = [route(snapshot, wiring, source, wiring.dns, 53, "UDP")]
    request = case.request
    names = [n.metadata.name for n in snapshot.nodes]
    found = dict.fromkeys([source.where, *names])
    addresses = [] if isinstance(request, Command) else expected_addresses(case, request.host)
    if isinstance(request, Command) or (wiring.dns_rules and not addresses):
        # Where it will go is not known before: what a Corefile does with names is in no object.
        found.update(dict.fromkeys(key(p) for p in snapshot.pods if not p.spec.host_network))
    else:
        for address in addresses:
            # Of what begins outside the objects do not say at which node it comes in.
            for entry in [""] if source.node else names:
                path = route(
                    snapshot, wiring, source, address, request.port, request.protocol, entry=entry
                )
                routes.append(path)
    for item in routes:
        service = snapshot.service(item.proxied.service) if item.proxied else None
        for pod in snapshot.selected(service) if service else ():
            if not pod.spec.host_network:
                found[key(pod)] = None
    found.update(dict.fromkeys(places_of(routes)))
    found.update(dict.fromkeys((EXTERNAL, ROUTER)))
    return tuple(found)


def expected_addresses(case: Case, host: str) -> list[IPv4Address]:
    """Return the addresses that the objects give for *host*, a name or an address."""
    address = known_beforehand(case, host)
    if address is not None:
        return [address]
    for name in candidates_of(case, host):
        answer = resolve.answer(case.snapshot, name, case.wiring)
        if answer.addresses:
            return sorted(answer.addresses)
    return []


def known_beforehand(case: Case, host: str) -> IPv4Address | None:
    """Return the address of *host* if no DNS is asked for it: it is one, or /etc/hosts has it."""
    address, name = literal(host), host.lower()
    if address is not None or name == "localhost":
        return address or _LOCALHOST
    pod = case.snapshot.pod(case.source.pod)
    # As the kubelet writes the file (pkg/kubelet/kubelet_pods.go, managedHostsFileContent); a pod
    # in its node's network gets the node's own file, with its aliases (nodeHostsFileContent).
    if case.source.kind == "node":
        own = {case.source.node}
    elif pod is not None:
        short = pod.spec.hostname or pod.metadata.name
        domain = f"{pod.spec.subdomain}.{pod.metadata.namespace}.svc.{case.wiring.domain}"
        own = {short, f"{short}.{domain}"}
    else:
        return None
    if name in own:
        return case.source.address
    aliases = pod.spec.host_aliases if pod is not None else ()
    return next((literal(alias.ip) for alias in aliases if name in alias.hostnames), None)


def said(case: Case) -> str:
    """Return the client's own words, to be put behind a reason."""
    return f": {case.report.error}" if case.report.error else ""


def candidates_of(case: Case, host: str) -> tuple[str, ...]:
    """Return the names that the client asks in turn."""
    return resolve.candidates(host, search_of(case))


def search_of(case: Case) -> resolve.Search:
    """Return what the client's resolv.conf says of names."""
    pod = case.snapshot.pod(case.source.pod)
    if pod is not None:
        return resolve.search_of(pod, case.wiring)
    is_node = case.source.kind == "node"
    return resolve.search_of_node(case.wiring) if is_node else resolve.Search()


def literal(host: str) -> IPv4Address | None:
    """Return *host* as an address, or None if it is a name."""
    try:
        return IPv4Address(host)
    except AddressValueError:
        return None
