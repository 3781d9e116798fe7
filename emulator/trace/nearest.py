"""Pure: what the objects say of a name that has no address, and what its user may have meant."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address

from podwire.emulator.trace import reasons, resolve
from podwire.emulator.trace.snapshot import Snapshot, key
from podwire.kube.objects import Service


@dataclass(frozen=True, slots=True)
class _Meant:
    """A name taken apart: *endpoint* of *service* in *namespace*; *is_whole*: it ends with svc."""

    service: str
    namespace: str
    endpoint: str = ""
    is_whole: bool = False


def about(snapshot: Snapshot, host: str, namespace: str, domain: str) -> str:
    """Return what is wrong with a name; empty if the objects do not tell.

    *host* is as a pod of *namespace* writes it: `web`, `web.shop`, `web.shop.svc.cluster.local`.
    """
    meant = _taken_apart(host, namespace, domain)
    if meant is None:
        return ""
    namespaces = {namespace, *snapshot.namespaces}
    if meant.namespace not in namespaces and not meant.is_whole:
        return _of_dotted(snapshot, meant, namespace)
    if meant.namespace not in namespaces:
        there_is = f"there is no namespace {meant.namespace}"
        return there_is + did_you_mean(meant.namespace, snapshot.namespaces)
    service = snapshot.service(f"{meant.namespace}/{meant.service}")
    if service is not None:
        return _of_known(snapshot, service, meant.endpoint)
    other = _elsewhere(snapshot, meant.service)
    if other is not None:
        return f"Service {key(other)} would be {meant.service}.{other.metadata.namespace}"
    names = [s.metadata.name for s in snapshot.services if s.metadata.namespace == meant.namespace]
    text = f"there is no Service {meant.service} in namespace {meant.namespace}"
    return text + did_you_mean(meant.service, names)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return the nearest known word as a question, to be put behind a reason; or nothing."""
    close = difflib.get_close_matches(word, sorted(set(known)), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _taken_apart(host: str, namespace: str, domain: str) -> _Meant | None:
    bare = host.lower().rstrip(".")
    for suffix in (f".svc.{domain}", ".svc"):
        if bare.endswith(suffix):
            labels = bare.removesuffix(suffix).split(".")
            return _below_svc(labels)
    if not bare or bare.endswith(f".{domain}") or bare == domain:
        return None
    labels = bare.split(".")
    if len(labels) == 1:
        return _Meant(bare, namespace)
    return _Meant(labels[0], labels[1]) if len(labels) == 2 else None


def _below_svc(labels: list[str]) -> _Meant | None:
    if len(labels) < 2:
        return None
    return _Meant(labels[-2], labels[-1], ".".join(labels[:-2]), is_whole=True)


def _of_dotted(snapshot: Snapshot, meant: _Meant, namespace: str) -> str:
    """Return what `a.b` may be if there is no namespace b: an endpoint, or a name outside."""
    service = snapshot.service(f"{namespace}/{meant.namespace}")
    if service is not None:
        return _of_known(snapshot, service, meant.service)
    other = _elsewhere(snapshot, meant.service)
    if other is not None:
        return f"Service {key(other)} would be {meant.service}.{other.metadata.namespace}"
    close = did_you_mean(meant.namespace, snapshot.namespaces)
    return f"there is no namespace {meant.namespace}{close}" if close else ""


def _of_known(snapshot: Snapshot, service: Service, endpoint: str) -> str:
    """Return why there is no address at a Service, or at *endpoint* below it; empty if there is."""
    if service.spec.type == "ExternalName":
        return _of_alias(service, endpoint)
    is_port = endpoint.count(".") == 1
    if is_port:
        missing = _of_port(service, endpoint)
        if missing:
            return missing
    label = None if is_port else endpoint or None
    if resolve.endpoints_of(snapshot, service, label):
        return ""
    if label:
        return f"Service {key(service)} has no ready endpoint {endpoint}"
    if service.spec.cluster_ip == "None":
        return f"it is headless: {reasons.no_endpoints(snapshot, service)}"
    return ""


def _of_alias(service: Service, endpoint: str) -> str:
    target = service.spec.external_name
    if is_address(target):
        return (
            f"Service {key(service)} has externalName {target}, which is an address and must be a"
            " name"
        )
    alias = f"Service {key(service)} is an alias of {target}"
    return f"{alias}: no name is below it" if endpoint else f"{alias}, which has no address"


def is_address(text: str) -> bool:
    """Return whether a name is no name but an address."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _of_port(service: Service, endpoint: str) -> str:
    """Return that a Service has no such port, of `_port._protocol`; empty if it has."""
    port, protocol = (label.removeprefix("_") for label in endpoint.split("."))
    names = [p.name for p in service.spec.ports if p.protocol.lower() == protocol]
    if port in names:
        return ""
    text = f"Service {key(service)} has no port {port} of {protocol.upper()}"
    return text + did_you_mean(port, filter(None, names))


def _elsewhere(snapshot: Snapshot, name: str) -> Service | None:
    return next((s for s in snapshot.services if s.metadata.name == name), None)
