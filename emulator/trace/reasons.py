"""Pure: causes in the words of a Kubernetes engineer."""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address

from podwire.emulator.trace.frames import Packet
from podwire.emulator.trace.join import Sightings
from podwire.emulator.trace.modes import Mode
from podwire.emulator.trace.snapshot import Snapshot, key
from podwire.emulator.trace.ways import Place
from podwire.kube.objects import Pod, Service, ServicePort

_NODE_PORTS = range(30000, 32768)  # what clusters have unless they are told otherwise


def no_endpoints(snapshot: Snapshot, service: Service, port: ServicePort | None = None) -> str:
    """Return why a Service has no ready endpoints, at *port* if one is given."""
    text = f"Service {key(service)} has no ready endpoints"
    selector = service.spec.selector
    if not selector:
        others = _listed_ports(snapshot, service)
        if port is not None and others and port.name not in others:
            named = ", ".join(name or "one without a name" for name in others)
            wanted = f"port {port.name}" if port.name else "a port without a name"
            return f"{text}: its EndpointSlices have {named}, and the Service asks for {wanted}"
        return f"{text}: it has no selector, and its EndpointSlices list none"
    words = _labels(selector.items())
    pods = snapshot.selected(service)
    if not pods:
        return f"{text}: its selector {words} matches no pod{_near_misses(snapshot, service)}"
    states = ", ".join(f"{key(pod)} {_state(pod)}" for pod in pods[:3])
    more = f" and {len(pods) - 3} more" if len(pods) > 3 else ""
    count = "1 pod" if len(pods) == 1 else f"{len(pods)} pods"
    if all(_is_ready(pod) for pod in pods):
        unknown = _unknown_target(pods, port)
        if unknown:
            return f"{text}: {unknown}"
        are = "is" if len(pods) == 1 else "are"
        return (
            f"{text}, though its selector {words} matches {count} that {are} ready ({states}{more})"
        )
    return f"{text}: its selector {words} matches {count}, none of them ready ({states}{more})"


def nothing_listens(
    snapshot: Snapshot, service: Service | None, pod_name: str, where: str, port: int
) -> str:
    """Return why a pod, or else *where*, refused a connection to *port*."""
    text = f"nothing listens on port {port} " + (f"in {pod_name}" if pod_name else f"of {where}")
    about: list[str] = []
    if service is None and snapshot.node(where) is not None and port in _NODE_PORTS:
        about.append("no Service has that NodePort")
    if service is not None:
        ports = [f"port {p.port}, targetPort {p.target_port or p.port}" for p in service.spec.ports]
        about.append(f"Service {key(service)}: {'; '.join(ports)}")
    pod = snapshot.pod(pod_name)
    declared = _declared(pod) if pod is not None else []
    if declared and port not in declared:
        about.append(f"the pod declares containerPort {', '.join(map(str, declared))}")
    return f"{text} ({'; '.join(about)})" if about else text


def by_rules(mode: Mode, last: Packet, reaction: Packet | None) -> str:
    """Return what the rules of a node did with what no endpoint may get, to be put behind why."""
    node = last.where
    if reaction is None:
        return (
            f": the {mode.rules} of {node} dropped it (it reached {node} {last.interface} and"
            " nothing left)"
        )
    if reaction.core.protocol == "ICMP":
        return f": the {mode.rules} of {node} rejected it (ICMP {reaction.core.icmp})"
    return ""


def lost_between(
    sightings: Sightings, snapshot: Snapshot, seen: Packet, missing: Place, since_ns: int
) -> str:
    """Return where a packet disappeared, with what else the capture shows of the cause."""
    core = seen.core
    last = sightings.furthest(seen, (seen.where, missing.where))
    what = {"TCP": "SYN" if core.opens else "segment"}.get(core.protocol, "datagram")
    what = f"the {what} to {core.dst}:{core.dport}"
    if last.where == missing.where and missing.tunnelled and last.interface == missing.device:
        text = (
            f"{what} left {last.where} {last.interface} as it is, not inside VXLAN: {last.where}"
            f" has no route to {core.dst} by its VXLAN device"
        )
    else:
        text = f"{what} {between(last, missing)}" + _led_astray(snapshot, last, missing)
    errors = sightings.errors_about(core.flow, since_ns)
    if errors:
        error = errors[0].core
        name = snapshot.name_of(error.src)
        named = "" if name == str(error.src) else f" ({name})"
        return f"{text}: {error.icmp}, says {error.src}{named}"
    return text + no_arp_answer(sightings, since_ns, at=last.where, address=str(core.dst))


def between(last: Packet, missing: Place) -> str:
    """Return, to be put behind what was lost, where it was seen last and where never."""
    how = " inside VXLAN" if missing.tunnelled else ""
    if last.where == missing.where:
        return f"reached {last.where} {last.interface} but never left by {missing.device}{how}"
    reached = "reached" if last.direction == "in" else "left"
    there = f"{missing.where} {missing.device}".rstrip()
    return f"{reached} {last.where} {last.interface} but never reached {there}"


def _led_astray(snapshot: Snapshot, last: Packet, missing: Place) -> str:
    """Return that VXLAN led a packet to another node than it is for, or nothing."""
    address = snapshot.node_address(missing.where)
    if last.inner is None or address is None or last.dst == address:
        return ""
    to = address_text(snapshot, last.dst)
    see = f"podwire exec node/{last.where} -- bridge fdb show"
    return f": {last.where} sent it inside VXLAN to {to} ({see})"


def no_arp_answer(sightings: Sightings, since_ns: int, *, at: str, address: str) -> str:
    """Return, to be put behind a reason, which address nobody answers for; or nothing."""
    arp = sightings.unanswered_arp(since_ns, at=at, address=address)
    if arp is None:
        return ""
    return f": nobody answers ARP for {arp.dst} on {arp.where} {arp.interface}"


def address_text(snapshot: Snapshot, address: IPv4Address) -> str:
    """Return an address with what it belongs to."""
    name = snapshot.name_of(address)
    return name if name == str(address) else f"{name} ({address})"


def _listed_ports(snapshot: Snapshot, service: Service) -> list[str]:
    """Return the names of the ports for which a Service's EndpointSlices list endpoints."""
    slices = [s for s in snapshot.slices_of(service) if s.endpoints]
    return sorted({entry.name or "" for s in slices for entry in s.ports or ()})


def _unknown_target(pods: Sequence[Pod], port: ServicePort | None) -> str:
    """Return that none of *pods* has a port of the name that *port* sends to, or nothing."""
    name = port.target_port if port is not None else None
    if not isinstance(name, str):
        return ""
    names = {p.name for pod in pods for c in pod.spec.containers for p in c.ports if p.name}
    if name in names:
        return ""
    known = f"they have {', '.join(sorted(names))}" if names else "they name none"
    return f"its targetPort {name} is the name of no port of {_pods_named(pods)} ({known})"


def _pods_named(pods: Sequence[Pod]) -> str:
    return ", ".join(key(pod) for pod in pods[:3]) + (" and others" if len(pods) > 3 else "")


def _labels(items: Iterable[tuple[str, str]]) -> str:
    return ",".join(f"{name}={value}" for name, value in items)


def _near_misses(snapshot: Snapshot, service: Service) -> str:
    """Return the values that pods of the namespace have for the selector's keys."""
    keys = service.spec.selector.keys()
    found = {
        _labels((name, pod.metadata.labels[name]) for name in sorted(keys))
        for pod in snapshot.pods
        if pod.metadata.namespace == service.metadata.namespace
        and keys <= pod.metadata.labels.keys()
    }
    return f" (pods there have {' or '.join(sorted(found)[:3])})" if found else ""


def _state(pod: Pod) -> str:
    if pod.metadata.deletion_timestamp:
        return "Terminating"
    for status in pod.status.container_statuses:
        if status.state.waiting is not None and status.state.waiting.reason:
            return status.state.waiting.reason
    if _is_ready(pod):
        return "Ready"
    return f"{pod.status.phase or 'Pending'}, not Ready"


def _is_ready(pod: Pod) -> bool:
    return any(c.type == "Ready" and c.status == "True" for c in pod.status.conditions)


def _declared(pod: Pod) -> list[int]:
    return [port.container_port for c in pod.spec.containers for port in c.ports]
