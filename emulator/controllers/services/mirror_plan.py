"""Pure: what the mirror of an Endpoints object holds, and what is left out of it.

Source: pkg/controller/endpointslicemirroring of Kubernetes 1.32.
"""

from collections.abc import Iterable
from ipaddress import ip_address

import msgspec

from podwire.emulator.controllers.services.slice_labels import MANAGED_BY, SERVICE_NAME
from podwire.emulator.controllers.services.slicing import Group, SliceWrites, ports_key
from podwire.emulator.controllers.services.trigger_times import LAST_CHANGE
from podwire.kube.codec import owned_by
from podwire.kube.objects import (
    Endpoint,
    EndpointAddress,
    EndpointConditions,
    EndpointPort,
    Endpoints,
    EndpointsPort,
    EndpointSubset,
    ObjectMeta,
    Service,
)

CONTROLLER = "endpointslicemirroring-controller.k8s.io"
SKIP = "endpointslice.kubernetes.io/skip-mirror"
LEADER = "control-plane.alpha.kubernetes.io/leader"

# --mirroring-max-endpoints-per-subset
MAX_ADDRESSES = 1000

_NOT_COPIED = frozenset({LAST_CHANGE, "kubectl.kubernetes.io/last-applied-configuration"})


def is_mirrored(endpoints: Endpoints, service: Service | None) -> bool:
    """Tell whether *endpoints* are written by hand and somebody must make slices of them."""
    return (
        service is not None
        and not service.spec.selector
        and service.spec.type != "ExternalName"
        and endpoints.metadata.labels.get(SKIP) != "true"
        and LEADER not in endpoints.metadata.annotations
    )


def mirrored(endpoints: Endpoints) -> dict[Group, list[Endpoint]]:
    """Return the endpoints that the slices shall hold: at most 1000 of each subset."""
    wanted: dict[Group, list[Endpoint]] = {}
    for subset in endpoints.subsets:
        ports = ports_key(_port(port) for port in subset.ports)
        for address, ready in _mirrored_addresses(subset):
            group = Group("IPv6" if ":" in address.ip else "IPv4", ports)
            wanted.setdefault(group, []).append(_endpoint(address, ready=ready))
    return wanted


def annotated(writes: SliceWrites, annotations: dict[str, str]) -> SliceWrites:
    """Return *writes* that leave exactly *annotations* on every slice."""
    stale = (s for s in writes.unchanged if s.metadata.annotations != annotations)
    update = tuple(
        msgspec.structs.replace(
            slice_, metadata=msgspec.structs.replace(slice_.metadata, annotations=annotations)
        )
        for slice_ in (*writes.update, *stale)
    )
    kept = tuple(s for s in writes.unchanged if s.metadata.annotations == annotations)
    return SliceWrites(writes.create, update, writes.delete, kept)


def left_out(endpoints: Endpoints) -> list[tuple[str, str]]:
    """Return reason and message of an event for each kind of address that is not mirrored."""
    addresses = [(s, a) for s in endpoints.subsets for a in (*s.addresses, *s.not_ready_addresses)]
    wrong = sum(1 for _, address in addresses if not _is_address(address.ip))
    taken = sum(len(_mirrored_addresses(subset)) for subset in endpoints.subsets)
    skipped = len(addresses) - taken
    found: list[tuple[str, str]] = []
    if wrong:
        message = f"Skipped {wrong} invalid IP addresses when mirroring to EndpointSlices"
        found.append(("InvalidIPAddress", message))
    if skipped > wrong:
        message = (
            f"A max of {MAX_ADDRESSES} addresses can be mirrored to EndpointSlices per Endpoints "
            f"subset. {skipped} addresses were skipped"
        )
        found.append(("TooManyAddressesToMirror", message))
    return found


def _mirrored_addresses(subset: EndpointSubset) -> list[tuple[EndpointAddress, bool]]:
    """Return the addresses that fit and whether each is ready: the ready ones come first."""
    addresses = [
        *((address, True) for address in subset.addresses),
        *((address, False) for address in subset.not_ready_addresses),
    ]
    return [entry for entry in addresses if _is_address(entry[0].ip)][:MAX_ADDRESSES]


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def mirror_metadata(endpoints: Endpoints) -> ObjectMeta:
    """Return what every mirror slice carries."""
    meta = endpoints.metadata
    return ObjectMeta(
        generate_name=f"{meta.name}-",
        namespace=meta.namespace,
        labels={**meta.labels, SERVICE_NAME: meta.name, MANAGED_BY: CONTROLLER},
        annotations=_without(meta.annotations, _NOT_COPIED),
        owner_references=(owned_by(endpoints),),
    )


def _without(annotations: dict[str, str], names: Iterable[str]) -> dict[str, str]:
    return {k: v for k, v in annotations.items() if k not in set(names)}


def _endpoint(address: EndpointAddress, *, ready: bool) -> Endpoint:
    return Endpoint(
        addresses=(address.ip,),
        conditions=EndpointConditions(ready=ready),
        hostname=address.hostname or None,
        target_ref=address.target_ref,
        node_name=address.node_name,
    )


def _port(port: EndpointsPort) -> EndpointPort:
    return EndpointPort(
        name=port.name, port=port.port, protocol=port.protocol, app_protocol=port.app_protocol
    )
