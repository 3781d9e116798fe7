"""Pure: a container's environment variables, arguments and their $(VAR) references."""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType

from podwire.kube import quantity
from podwire.kube.objects import (
    ConfigMap,
    Container,
    EnvVar,
    KeySelector,
    ObjectFieldSelector,
    Pod,
    ResourceFieldSelector,
    Secret,
    Service,
)

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_REFERENCE = re.compile(r"\$\$|\$\(([A-Za-z_.-][A-Za-z0-9_.-]*)\)")


class MissingSourceError(Exception):
    """A variable refers to something that is not there; the message is the kubelet's."""


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Replace $(NAME) by its value; unknown names stay as they are, $$ is a dollar sign."""

    def value(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        return variables.get(match[1], match[0])

    return _REFERENCE.sub(value, text)


def expand_strictly(text: str, variables: Mapping[str, str]) -> str:
    """Replace $(NAME) by its value; raises KeyError with a name that is not known."""
    return _REFERENCE.sub(lambda match: "$" if match[0] == "$$" else variables[match[1]], text)


def command_line(
    container: Container,
    entrypoint: Sequence[str],
    command: Sequence[str],
    variables: Mapping[str, str],
) -> tuple[str, ...]:
    """Return what runs: `command` replaces the image's entrypoint, `args` its command."""
    if container.command:
        words = (*container.command, *container.args)
    else:
        words = (*entrypoint, *(container.args or command))
    return tuple(expand(word, variables) for word in words)


def service_variables(
    services: Iterable[Service], namespace: str, *, links: bool
) -> dict[str, str]:
    """Return the variables that name the Services of *namespace*, and always `kubernetes`.

    See Kubernetes' docs, "Discovering services": {NAME}_SERVICE_HOST and the Docker link variables.
    """
    variables: dict[str, str] = {}

    def is_master(service: Service) -> bool:
        return service.metadata.namespace == "default" and service.metadata.name == "kubernetes"

    # The namespace's own `kubernetes` comes later, and so hides the cluster's.
    for service in sorted(services, key=lambda s: (not is_master(s), s.metadata.name)):
        meta, spec = service.metadata, service.spec
        if not spec.ports or spec.cluster_ip in ("", "None"):
            continue
        if not is_master(service) and not (links and meta.namespace == namespace):
            continue
        prefix = meta.name.upper().replace("-", "_")
        variables[f"{prefix}_SERVICE_HOST"] = spec.cluster_ip
        variables[f"{prefix}_SERVICE_PORT"] = str(spec.ports[0].port)
        for port in spec.ports:
            if port.name:
                name = port.name.upper().replace("-", "_")
                variables[f"{prefix}_SERVICE_PORT_{name}"] = str(port.port)
            protocol = port.protocol
            link = f"{prefix}_PORT_{port.port}_{protocol}"
            url = f"{protocol.lower()}://{spec.cluster_ip}:{port.port}"
            if port is spec.ports[0]:
                variables[f"{prefix}_PORT"] = url
            variables[link] = url
            variables[f"{link}_PROTO"] = protocol.lower()
            variables[f"{link}_PORT"] = str(port.port)
            variables[f"{link}_ADDR"] = spec.cluster_ip
    return variables


def environment(
    pod: Pod,
    container: Container,
    *,
    base: Mapping[str, str],
    config_map: Callable[[str], ConfigMap | None],
    secret: Callable[[str], Mapping[str, str] | None],
    allocatable: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, str]:
    """Return the variables of *container*: *base*, envFrom, then env in order.

    *secret* returns decoded values, *allocatable* is what the node has. Raises MissingSourceError
    for a missing, not optional source.
    """
    variables = dict(base)
    for source in container.env_from:
        if source.config_map_ref is not None:
            reference, kind = source.config_map_ref, "configmap"
            values = _data(config_map(reference.name))
        elif source.secret_ref is not None:
            reference, kind = source.secret_ref, "secret"
            values = secret(reference.name)
        else:
            continue
        if values is None and not reference.optional:
            raise MissingSourceError(f'{kind} "{reference.name}" not found')
        variables.update({source.prefix + k: v for k, v in (values or {}).items()})
    for variable in container.env:
        resource = variable.value_from and variable.value_from.resource_field_ref
        value: str | None
        if resource:
            named = _named(pod, container, resource.container_name)
            value = resource_of(named, resource, allocatable)
        else:
            value = _value(pod, variable, variables, config_map, secret)
        if value is not None:
            variables[variable.name] = value
    return variables


def _data(found: ConfigMap | None) -> Mapping[str, str] | None:
    return None if found is None else found.data


def _named(pod: Pod, container: Container, name: str) -> Container:
    """Return the container of *pod* that is called *name*; *container* itself without a name."""
    if not name or name == container.name:
        return container
    for other in (*pod.spec.containers, *pod.spec.init_containers):
        if other.name == name:
            return other
    raise MissingSourceError(f"container {name} not found")


def _value(
    pod: Pod,
    variable: EnvVar,
    variables: Mapping[str, str],
    config_map: Callable[[str], ConfigMap | None],
    secret: Callable[[str], Mapping[str, str] | None],
) -> str | None:
    source = variable.value_from
    if source is None:
        return expand(variable.value, variables)
    if source.field_ref is not None:
        return field_of(pod, source.field_ref)
    if source.config_map_key_ref is not None:
        selector = source.config_map_key_ref
        return _key(_data(config_map(selector.name)), selector, "ConfigMap", pod)
    if source.secret_key_ref is not None:
        selector = source.secret_key_ref
        return _key(secret(selector.name), selector, "Secret", pod)
    return ""


def _key(
    values: Mapping[str, str] | None, selector: KeySelector, kind: str, pod: Pod
) -> str | None:
    if values is not None and selector.key in values:
        return values[selector.key]
    if selector.optional:
        return None
    if values is None:
        raise MissingSourceError(f'{kind.lower()} "{selector.name}" not found')
    raise MissingSourceError(
        f"couldn't find key {selector.key} in {kind} {pod.metadata.namespace}/{selector.name}"
    )


def field_of(pod: Pod, selector: ObjectFieldSelector) -> str:
    """Return a field of the pod as the downward API writes it; raises MissingSourceError."""
    path = selector.field_path
    meta, spec, status = pod.metadata, pod.spec, pod.status
    plain = {
        "metadata.name": meta.name,
        "metadata.namespace": meta.namespace,
        "metadata.uid": meta.uid,
        "metadata.labels": _listed(meta.labels),
        "metadata.annotations": _listed(meta.annotations),
        "spec.nodeName": spec.node_name,
        "spec.serviceAccountName": spec.service_account_name,
        "status.podIP": status.pod_ip,
        "status.podIPs": ",".join(ip.ip for ip in status.pod_ips),
        "status.hostIP": status.host_ip,
        "status.hostIPs": status.host_ip,
    }
    if path in plain:
        return plain[path]
    match = re.fullmatch(r"metadata\.(labels|annotations)\['([^']+)'\]", path)
    if match:
        table = meta.labels if match[1] == "labels" else meta.annotations
        return table.get(match[2], "")
    raise MissingSourceError(f"unsupported fieldPath: {path}")


def resource_of(
    container: Container, selector: ResourceFieldSelector, allocatable: Mapping[str, str]
) -> str:
    """Return a resource of *container* as the downward API writes it, rounded up.

    In units of the divisor: whole cores, bytes. What is not limited may take all that is
    *allocatable*. Raises MissingSourceError.
    """
    kind, _, name = selector.resource.partition(".")
    limits = {**allocatable, **container.resources.limits}
    tables = {"limits": limits, "requests": container.resources.requests}
    if kind not in tables or not name:
        raise MissingSourceError(f"unsupported container resource: {selector.resource}")
    try:
        amount = quantity.parse(str(tables[kind].get(name, "0"))).nano
        divisor = quantity.parse(str(selector.divisor or "1")).nano or quantity.parse("1").nano
    except quantity.QuantityError as error:
        raise MissingSourceError(str(error)) from error
    return str(-(-amount // divisor))


def _listed(table: Mapping[str, str]) -> str:
    return "\n".join(
        f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in sorted(table.items())
    )


def decoded(found: Secret | None, decode: Callable[[str], bytes]) -> dict[str, str] | None:
    """Return a Secret's values as text; *decode* undoes base64."""
    if found is None:
        return None
    return {key: decode(value).decode(errors="replace") for key, value in found.data.items()}
