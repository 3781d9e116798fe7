"""Pure: causes in the words of a Kubernetes engineer."""

from collections.abc import Iterable
from ipaddress import IPv4Address

from podwire.emulator.trace.frames import Packet
from podwire.emulator.trace.join import Sightings
from podwire.emulator.trace.modes import Mode
from podwire.emulator.trace.snapshot import Snapshot, key
from podwire.emulator.trace.ways import Place
from podwire.kube.objects import Pod, Service


def no_endpoints(snapshot: Snapshot, service: Service) -> str:
    """Return why a Service has no ready endpoints."""
    text = f"Service {key(service)} has no ready endpoints"
    selector = service.spec.selector
    if not selector:
        return f"{text}: it has no selector, and its EndpointSlices list none"
    words = _labels(selector.items())
    pods = snapshot.selected(service)
    if not pods:
        return f"{text}: its selector {words} matches no pod{_near_misses(snapshot, service)}"
    states = ", ".join(f"{key(pod)} {_state(pod)}" for pod in pods[:3])
    more = f" and {len(pods) - 3} more" if len(pods) > 3 else ""
    count = "1 pod" if len(pods) == 1 else f"{len(pods)} pods"
    if all(_is_ready(pod) for pod in pods):
        return (
            f"{text}, though its selector {words} matches {count} that are ready ({states}{more})"
        )
    return f"{text}: its selector {words} matches {count}, none of them ready ({states}{more})"


def nothing_listens(snapshot: Snapshot, service: Service | None, pod_name: str, port: int) -> str:
    """Return why a pod refused a connection to *port*."""
    text = f"nothing listens on port {port} in {pod_name or 'the backend'}"
    about: list[str] = []
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
    what = {"TCP": "SYN" if core.opens else "segment"}.get(core.protocol, "datagram")
    if seen.where == missing.where:
        how = " inside VXLAN" if missing.tunnelled else ""
        text = (
            f"the {what} to {core.dst}:{core.dport} reached {seen.where} {seen.interface} "
            f"but never left by {missing.device}{how}"
        )
    else:
        text = (
            f"the {what} to {core.dst}:{core.dport} left {seen.where} {seen.interface} "
            f"but never reached {missing.where} {missing.device}".rstrip()
        )
    errors = sightings.errors_about(core.flow, since_ns)
    if errors:
        error = errors[0].core
        return f"{text}: {error.icmp}, says {error.src} ({snapshot.name_of(error.src)})"
    return text + no_arp_answer(sightings, since_ns, at=seen.where, address=str(core.dst))


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
