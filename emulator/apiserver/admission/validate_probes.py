"""Pure: rules for the probes and hooks of a container.

Source: pkg/apis/core/validation/validation.go of Kubernetes 1.32.
"""

from podwire.emulator.apiserver.admission.field_errors import (
    FieldError,
    forbidden,
    invalid,
    not_supported,
    required,
)
from podwire.emulator.apiserver.admission.validate_meta import Json, check
from podwire.emulator.apiserver.types.fields import many
from podwire.kube import syntax

_HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc", "sleep")
_NOT_NEGATIVE = "must be greater than or equal to 0"
_NO_GRPC = "gRPC probes are not served here: use httpGet, tcpSocket or exec"


def probe(field: str, asked: Json, *, once: bool) -> list[FieldError]:
    """Check a probe; *once*: one success is enough, as with all but readiness."""
    problems = handler(field, asked)
    if asked.get("grpc") is not None:
        problems.append(forbidden(f"{field}.grpc", _NO_GRPC))
    for name in (
        "initialDelaySeconds",
        "timeoutSeconds",
        "periodSeconds",
        "successThreshold",
        "failureThreshold",
    ):
        value = asked.get(name, 0)
        if value < 0:
            problems.append(invalid(f"{field}.{name}", value, _NOT_NEGATIVE))
    if once and asked.get("successThreshold", 1) != 1:
        problems.append(
            invalid(f"{field}.successThreshold", asked["successThreshold"], "must be 1")
        )
    grace = asked.get("terminationGracePeriodSeconds")
    if grace is not None and not once:
        message = "must not be set for readinessProbes"
        problems.append(invalid(f"{field}.terminationGracePeriodSeconds", grace, message))
    elif grace is not None and grace <= 0:
        message = "must be greater than 0"
        problems.append(invalid(f"{field}.terminationGracePeriodSeconds", grace, message))
    return problems


def handler(field: str, holder: Json) -> list[FieldError]:
    """Check what a probe or a hook does."""
    given = [name for name in _HANDLERS if holder.get(name) is not None]
    if not given:
        return [required(field, "must specify a handler type")]
    problems = [
        forbidden(f"{field}.{name}", "may not specify more than 1 handler type")
        for name in given[1:]
    ]
    return problems + _action(f"{field}.{given[0]}", given[0], holder[given[0]])


def _action(field: str, kind: str, action: Json) -> list[FieldError]:
    if kind == "exec":
        return [] if action.get("command") else [required(f"{field}.command")]
    if kind == "sleep":
        return []
    problems: list[FieldError] = []
    if kind == "httpGet":
        if not action.get("path"):
            problems.append(required(f"{field}.path"))
        if action.get("scheme") not in ("HTTP", "HTTPS"):
            problems.append(
                not_supported(f"{field}.scheme", action.get("scheme", ""), ("HTTP", "HTTPS"))
            )
        for header in many(action, "httpHeaders"):
            name = header.get("name", "")
            problems += check(f"{field}.httpHeaders", name, syntax.header_name)
    value = action.get("port", 0)
    return problems + [invalid(f"{field}.port", value, m) for m in syntax.port(value)]
