"""Pure: the subsets of a classic Endpoints object."""

from collections.abc import Iterable, Sequence
from ipaddress import ip_address

import msgspec

from podwire.emulator.controllers.podstate import is_ready, is_terminating
from podwire.emulator.controllers.services.service_endpoints import (
    address_of,
    families,
    has_address,
    hostname_of,
    resolved_ports,
    target_of,
)
from podwire.kube.objects import (
    EndpointAddress,
    EndpointPort,
    EndpointsPort,
    EndpointSubset,
    Pod,
    Service,
)

MAX_ADDRESSES = 1000


def subsets_of(service: Service, pods: Iterable[Pod]) -> tuple[EndpointSubset, ...]:
    """Return the subsets for the *pods* that the selector chose.

    Terminating ones are left out, unless publishNotReadyAddresses.
    """
    publish = service.spec.publish_not_ready_addresses
    family = families(service)[0]
    grouped: dict[
        tuple[EndpointPort, ...], tuple[list[EndpointAddress], list[EndpointAddress]]
    ] = {}
    for pod in pods:
        if not has_address(pod) or (is_terminating(pod) and not publish):
            continue
        ip = address_of(pod, family)
        ports = resolved_ports(service, pod)
        if not ip or (service.spec.ports and not ports):
            continue
        address = EndpointAddress(
            ip=ip,
            hostname=hostname_of(service, pod) or "",
            node_name=pod.spec.node_name or None,
            target_ref=target_of(pod),
        )
        ready, not_ready = grouped.setdefault(ports, ([], []))
        (ready if publish or is_ready(pod) else not_ready).append(address)
    return tuple(
        EndpointSubset(
            addresses=tuple(sorted(ready, key=_by_address)),
            not_ready_addresses=tuple(sorted(not_ready, key=_by_address)),
            ports=tuple(_port(port) for port in ports),
        )
        for ports, (ready, not_ready) in sorted(grouped.items(), key=lambda item: str(item[0]))
    )


def truncated(
    subsets: Sequence[EndpointSubset], limit: int = MAX_ADDRESSES
) -> tuple[EndpointSubset, ...] | None:
    """Return the subsets cut to *limit* addresses, or None if they fit.

    Ready addresses are kept before others, and each subset gives up its proportion.
    """
    ready = sum(len(s.addresses) for s in subsets)
    not_ready = sum(len(s.not_ready_addresses) for s in subsets)
    if ready + not_ready <= limit:
        return None
    kept_ready = _shares([len(s.addresses) for s in subsets], min(limit, ready))
    kept_others = _shares([len(s.not_ready_addresses) for s in subsets], max(0, limit - ready))
    cut = (
        msgspec.structs.replace(
            subset,
            addresses=subset.addresses[:ready_share],
            not_ready_addresses=subset.not_ready_addresses[:other_share],
        )
        for subset, ready_share, other_share in zip(subsets, kept_ready, kept_others, strict=True)
    )
    return tuple(s for s in cut if s.addresses or s.not_ready_addresses)


def _shares(sizes: Sequence[int], limit: int) -> list[int]:
    total = sum(sizes)
    if not total:
        return [0 for _ in sizes]
    shares = [size * limit // total for size in sizes]
    for at, size in enumerate(sizes):
        shares[at] += min(size - shares[at], limit - sum(shares))
    return shares


def _by_address(address: EndpointAddress) -> tuple[int, int, str]:
    parsed = ip_address(address.ip)
    return parsed.version, int(parsed), address.target_ref.uid if address.target_ref else ""


def _port(port: EndpointPort) -> EndpointsPort:
    return EndpointsPort(
        name=port.name or "",
        port=port.port or 0,
        protocol=port.protocol,
        app_protocol=port.app_protocol,
    )
