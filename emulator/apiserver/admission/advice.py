"""Pure: what Kubernetes itself warns of: objects that it takes, though they are hardly meant so.

What has no effect here is unsupported.py's. Source: pkg/api/pod/warnings.go,
pkg/api/service/warnings.go and the strategies in pkg/registry of Kubernetes 1.32.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from podwire.emulator.apiserver.types.fields import below, many
from podwire.kube import syntax

Json = dict[str, Any]

_INGRESS_CLASS = "kubernetes.io/ingress.class"
_TOPOLOGY_MODE = "service.kubernetes.io/topology-mode"
_TOPOLOGY_HINTS = "service.kubernetes.io/topology-aware-hints"
_NAMES_PODS = frozenset(("Deployment", "ReplicaSet", "Job"))
_TEMPLATES: Mapping[str, tuple[str, ...]] = {
    "Deployment": ("spec", "template"),
    "ReplicaSet": ("spec", "template"),
    "DaemonSet": ("spec", "template"),
    "StatefulSet": ("spec", "template"),
    "Job": ("spec", "template"),
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
}


def given(obj: Json, old: Json | None) -> Iterator[str]:
    """Yield what to warn of when *obj*, defaulted, is created or replaces *old*."""
    kind = obj.get("kind", "")
    if kind == "Pod":
        if old is None:
            yield from _name(obj, "the Pod's hostname")
        yield from _pod("", obj)
    elif kind in _TEMPLATES and (old is None or old.get("spec") != obj.get("spec")):
        if old is None and kind in _NAMES_PODS:
            yield from _name(obj, "Pod names and hostnames")
        path = _TEMPLATES[kind]
        yield from _pod(".".join((*path, "")), below(obj, *path))
    elif kind == "Ingress" and old is None:
        yield from _ingress(obj)
    elif kind == "Service":
        yield from _service(obj)


def _ingress(obj: Json) -> Iterator[str]:
    if _INGRESS_CLASS in below(obj, "metadata", "annotations"):
        yield (
            f'annotation "{_INGRESS_CLASS}" is deprecated,'
            " please use 'spec.ingressClassName' instead"
        )


def _service(obj: Json) -> Iterator[str]:
    spec = below(obj, "spec")
    if _TOPOLOGY_HINTS in below(obj, "metadata", "annotations"):
        yield f"annotation {_TOPOLOGY_HINTS} is deprecated, please use {_TOPOLOGY_MODE} instead"
    if (spec.get("type"), spec.get("clusterIP")) == ("ClusterIP", "None"):
        for name in ("loadBalancerIP", "externalIPs"):
            if spec.get(name):
                yield f"spec.{name} is ignored for headless services"
        if spec.get("sessionAffinity") != "None":
            yield "spec.SessionAffinity is ignored for headless services"
    alias = spec.get("type") == "ExternalName"
    if alias and spec.get("externalIPs"):
        yield 'spec.externalIPs is ignored when spec.type is "ExternalName"'
    if not alias and spec.get("externalName"):
        yield 'spec.externalName is ignored when spec.type is not "ExternalName"'


def _name(obj: Json, used: str) -> Iterator[str]:
    wrong = syntax.label(below(obj, "metadata").get("name", ""))
    if wrong:
        yield (
            f"metadata.name: this is used in {used}, which can result in surprising behavior;"
            f" a DNS label is recommended: [{' '.join(wrong)}]"
        )


def _pod(path: str, pod: Json) -> Iterator[str]:
    """Look at a pod or a template; *path* ends with a dot, or is empty."""
    spec = below(pod, "spec")
    yield from _twice(f"{path}spec.hostAliases", many(spec, "hostAliases"), "ip")
    secrets = many(spec, "imagePullSecrets")
    yield from _twice(f"{path}spec.imagePullSecrets", secrets, "name")
    for index, secret in enumerate(secrets):
        if not secret.get("name"):
            yield f'{path}spec.imagePullSecrets[{index}].name: invalid empty name ""'
    containers = [
        (f"{path}spec.{kind}[{index}]", container)
        for kind in ("initContainers", "containers", "ephemeralContainers")
        for index, container in enumerate(many(spec, kind))
    ]
    for at, container in containers:
        yield from _environment(at, many(container, "env"))
    yield from _ports(
        (f"{at}.ports[{index}]", port)
        for at, container in containers
        for index, port in enumerate(many(container, "ports"))
    )


def _twice(field: str, items: list[Json], key: str) -> Iterator[str]:
    seen: set[str] = set()
    for index, item in enumerate(items):
        value = item.get(key, "")
        if value in seen:
            yield f'{field}[{index}].{key}: duplicate {key} "{value}"'
        seen.add(value)


def _environment(field: str, variables: list[Json]) -> Iterator[str]:
    seen: set[str] = set()
    for index, variable in enumerate(variables):
        name, value = variable.get("name", ""), variable.get("value", "")
        reference = f"$({name})"
        # PATH=$(PATH):/more builds upon the earlier one, and is meant so.
        builds = not variable.get("valueFrom") and reference in value and value != reference
        if name in seen and not builds:
            yield (
                f'{field}.env[{index}]: hides previous definition of "{name}",'
                " which may be dropped when using apply"
            )
        seen.add(name)


def _ports(ports: Iterator[tuple[str, Json]]) -> Iterator[str]:
    known: dict[tuple[int, str], list[tuple[str, str, int]]] = {}
    for at, port in ports:
        address, host_port = port.get("hostIP", ""), port.get("hostPort", 0)
        others = known.setdefault((port.get("containerPort", 0), port.get("protocol", "")), [])
        for other, other_address, other_port in others:
            if (address, host_port) == (other_address, other_port):
                yield f"{at}: duplicate port definition with {other}"
            elif not host_port or not other_port:
                yield f"{at}: overlapping port definition with {other}"
            elif host_port == other_port and bool(address) != bool(other_address):
                yield f"{at}: dangerously ambiguous port definition with {other}"
        others.append((at, address, host_port))
