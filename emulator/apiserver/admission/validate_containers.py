"""Pure: rules for the containers of a pod: names, images, ports, environment, mounts.

Source: pkg/apis/core/validation/validation.go of Kubernetes 1.32.
"""

from collections.abc import Collection
from typing import Any

from podwire.emulator.apiserver.admission import validate_probes, validate_resources
from podwire.emulator.apiserver.admission.field_errors import (
    FieldError,
    duplicate,
    forbidden,
    invalid,
    not_found,
    not_supported,
    required,
)
from podwire.emulator.apiserver.admission.validate_endpoints import PROTOCOLS, protocol
from podwire.emulator.apiserver.admission.validate_meta import Json, check
from podwire.emulator.apiserver.types.fields import below, many
from podwire.kube import syntax

_PULL = ("Always", "IfNotPresent", "Never")
_MESSAGE = ("FallbackToLogsOnError", "File")
_ENV_SOURCES = ("fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef")
_ENV_FIELDS = frozenset(
    {
        "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName",
        "spec.serviceAccountName", "status.hostIP", "status.hostIPs", "status.podIP",
        "status.podIPs",
    }
)  # fmt: skip
_NEVER_EPHEMERAL = (
    "ports", "resources", "livenessProbe", "readinessProbe", "lifecycle", "startupProbe",
    "restartPolicy", "resizePolicy",
)  # fmt: skip
_NOT_EPHEMERAL = "cannot be set for an Ephemeral Container"


def containers(spec: Json, volumes: Collection[str]) -> list[FieldError]:
    """Check all containers of a pod spec; *volumes* are the names that they may mount."""
    problems: list[FieldError] = []
    if not spec.get("containers"):
        problems.append(required("spec.containers"))
    names: set[str] = set()
    for kind in ("containers", "initContainers"):
        for index, container in enumerate(spec.get(kind) or ()):
            field = f"spec.{kind}[{index}]"
            problems += _name(field, container, names)
            problems += _container(field, container, volumes, init=kind == "initContainers")
            if spec.get("hostNetwork"):
                problems += _host_network(field, container)
    problems += _ephemeral(spec, frozenset(names), names, volumes)
    return problems + _host_ports(spec)


def _ephemeral(
    spec: Json, targets: Collection[str], names: set[str], volumes: Collection[str]
) -> list[FieldError]:
    """Check ephemeral containers: they come late, so much may not be asked of them."""
    problems: list[FieldError] = []
    for index, container in enumerate(many(spec, "ephemeralContainers")):
        field = f"spec.ephemeralContainers[{index}]"
        problems += _container(field, container, volumes, init=False)
        problems += _name(field, container, names)
        target = container.get("targetContainerName", "")
        if target and target not in targets:
            problems.append(not_found(f"{field}.targetContainerName", target))
        problems += [
            forbidden(f"{field}.{name}", _NOT_EPHEMERAL)
            for name in _NEVER_EPHEMERAL
            if container.get(name)
        ]
        problems += [
            forbidden(f"{field}.volumeMounts[{at}].{name}", _NOT_EPHEMERAL)
            for at, mount in enumerate(many(container, "volumeMounts"))
            for name in ("subPath", "subPathExpr")
            if mount.get(name)
        ]
    return problems


def _name(field: str, container: Json, names: set[str]) -> list[FieldError]:
    name = container.get("name", "")
    problems = check(f"{field}.name", name, syntax.label) if name else [required(f"{field}.name")]
    if name in names:
        problems.append(duplicate(f"{field}.name", name))
    names.add(name)
    return problems


def _container(
    field: str, container: Json, volumes: Collection[str], *, init: bool
) -> list[FieldError]:
    problems: list[FieldError] = []
    image = container.get("image", "")
    if not image:
        problems.append(required(f"{field}.image"))
    elif image != image.strip():
        message = "must not have leading or trailing whitespace"
        problems.append(invalid(f"{field}.image", image, message))
    problems += _words(field, container)
    problems += _ports(f"{field}.ports", many(container, "ports"))
    for index, variable in enumerate(many(container, "env")):
        problems += _variable(f"{field}.env[{index}]", variable)
    for index, source in enumerate(many(container, "envFrom")):
        problems += _env_from(f"{field}.envFrom[{index}]", source)
    problems += _mounts(f"{field}.volumeMounts", many(container, "volumeMounts"), volumes)
    problems += validate_resources.resources(f"{field}.resources", below(container, "resources"))
    sidecar = container.get("restartPolicy") == "Always"
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        probe = container.get(name)
        if probe is None:
            continue
        if init and not sidecar:
            message = "may not be set for init containers without restartPolicy=Always"
            problems.append(forbidden(f"{field}.{name}", message))
        else:
            problems += validate_probes.probe(
                f"{field}.{name}", probe, once=name != "readinessProbe"
            )
    for name, hook in below(container, "lifecycle").items():
        if isinstance(hook, dict):
            problems += validate_probes.handler(f"{field}.lifecycle.{name}", hook)  # pyright: ignore[reportUnknownArgumentType]
    return problems


def _words(field: str, container: Json) -> list[FieldError]:
    return [
        not_supported(f"{field}.{name}", container[name], words)
        for name, words in (
            ("imagePullPolicy", _PULL),
            ("terminationMessagePolicy", _MESSAGE),
        )
        if container.get(name) and container[name] not in words
    ]


def _ports(field: str, ports: list[Json]) -> list[FieldError]:
    problems: list[FieldError] = []
    names: set[str] = set()
    for index, port in enumerate(ports):
        at, name = f"{field}[{index}]", port.get("name", "")
        if name:
            wrong = check(f"{at}.name", name, syntax.port_name)
            if not wrong and name in names:
                wrong = [duplicate(f"{at}.name", name)]
            names.add(name)
            problems += wrong
        number = port.get("containerPort", 0)
        if not number:
            problems.append(required(f"{at}.containerPort"))
        else:
            problems += [
                invalid(f"{at}.containerPort", number, m) for m in syntax.port_number(number)
            ]
        host = port.get("hostPort", 0)
        if host:
            problems += [invalid(f"{at}.hostPort", host, m) for m in syntax.port_number(host)]
        if port.get("protocol") and port["protocol"] not in PROTOCOLS:
            problems.append(not_supported(f"{at}.protocol", port["protocol"], PROTOCOLS))
        elif not port.get("protocol"):
            problems += protocol(f"{at}.protocol", "")
    return problems


def _host_network(field: str, container: Json) -> list[FieldError]:
    message = "must match `containerPort` when `hostNetwork` is true"
    return [
        invalid(f"{field}.ports[{index}].containerPort", port.get("containerPort"), message)
        for index, port in enumerate(many(container, "ports"))
        if port.get("hostPort") and port["hostPort"] != port.get("containerPort")
    ]


def _host_ports(spec: Json) -> list[FieldError]:
    """Find host ports that two containers of a pod want."""
    problems: list[FieldError] = []
    seen: set[tuple[Any, ...]] = set()
    for number, container in enumerate(many(spec, "containers")):
        for index, port in enumerate(many(container, "ports")):
            host = port.get("hostPort")
            if not host:
                continue
            key = (port.get("protocol"), port.get("hostIP", ""), host)
            if key in seen:
                field = f"spec.containers[{number}].ports[{index}].hostPort"
                shown = f"{port.get('protocol')}/{port.get('hostIP', '')}/{host}"
                problems.append(duplicate(field, shown))
            seen.add(key)
    return problems


def _variable(field: str, variable: Json) -> list[FieldError]:
    name = variable.get("name", "")
    problems = (
        check(f"{field}.name", name, syntax.environment_name)
        if name
        else [required(f"{field}.name")]
    )
    source: Json | None = variable.get("valueFrom")
    if source is None:
        return problems
    at = f"{field}.valueFrom"
    if variable.get("value"):
        problems.append(invalid(at, "", "may not be specified when `value` is not empty"))
    given = [one for one in _ENV_SOURCES if source.get(one) is not None]
    if not given:
        message = (
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or"
            " `secretKeyRef`"
        )
        return [*problems, invalid(at, "", message)]
    if len(given) > 1:
        message = "may not have more than one field specified at a time"
        problems.append(invalid(at, "", message))
    for one in given:
        problems += _env_source(f"{at}.{one}", one, source[one])
    return problems


def _env_source(field: str, kind: str, source: Json) -> list[FieldError]:
    if kind == "fieldRef":
        return _field_reference(field, source)
    if kind == "resourceFieldRef":
        return [] if source.get("resource") else [required(f"{field}.resource")]
    problems = [] if source.get("name") else [required(f"{field}.name")]
    if not source.get("key"):
        return [*problems, required(f"{field}.key")]
    return problems + check(f"{field}.key", source["key"], syntax.config_key)


def _field_reference(field: str, source: Json) -> list[FieldError]:
    path: str = source.get("fieldPath", "")
    if not source.get("apiVersion"):
        return [required(f"{field}.apiVersion")]
    if not path:
        return [required(f"{field}.fieldPath")]
    whole, _, key = path.partition("['")
    if key and whole in ("metadata.labels", "metadata.annotations"):
        return check(f"{field}.fieldPath", key.removesuffix("']").lower(), syntax.qualified_name)
    if path in _ENV_FIELDS:
        return []
    if path in ("metadata.labels", "metadata.annotations"):
        return [not_supported(f"{field}.fieldPath", path, sorted(_ENV_FIELDS))]
    message = f"error converting fieldPath: field label not supported: {path}"
    return [invalid(f"{field}.fieldPath", path, message)]


def _env_from(field: str, source: Json) -> list[FieldError]:
    given = [one for one in ("configMapRef", "secretRef") if source.get(one) is not None]
    if not given:
        return [invalid(field, "", "must specify one of: `configMapRef` or `secretRef`")]
    if len(given) > 1:
        return [invalid(field, "", "may not have more than one field specified at a time")]
    return [] if source[given[0]].get("name") else [required(f"{field}.{given[0]}.name")]


def _mounts(field: str, mounts: list[Json], volumes: Collection[str]) -> list[FieldError]:
    problems: list[FieldError] = []
    paths: set[str] = set()
    for index, mount in enumerate(mounts):
        at, name, path = f"{field}[{index}]", mount.get("name", ""), mount.get("mountPath", "")
        if not name:
            problems.append(required(f"{at}.name"))
        if name not in volumes:
            problems.append(not_found(f"{at}.name", name))
        if not path:
            problems.append(required(f"{at}.mountPath"))
        if path in paths:
            problems.append(invalid(f"{at}.mountPath", path, "must be unique"))
        paths.add(path)
        for inner in ("subPath", "subPathExpr"):
            problems += _relative(f"{at}.{inner}", mount.get(inner, ""))
    return problems


def _relative(field: str, path: str) -> list[FieldError]:
    if path.startswith("/"):
        return [invalid(field, path, "must be a relative path")]
    if ".." in path.split("/"):
        return [invalid(field, path, "must not contain '..'")]
    return []
