"""Pure: which container of a pod is meant, and whether it has a log; in the kubelet's words."""

from collections.abc import Mapping, Sequence
from typing import Any

from podwire.emulator.apiserver import statuses
from podwire.emulator.apiserver.agent import LogOptions
from podwire.emulator.apiserver.request import Request
from podwire.emulator.apiserver.types.fields import struct
from podwire.kube.times import parse_rfc3339

Json = Mapping[str, Any]


def chosen(pod: Json, asked: str) -> str:
    """Return the container's name; raises Refused (400) if it is unknown or has to be named."""
    spec: Json = struct(pod, "spec")
    name = pod["metadata"]["name"]
    containers = _names(spec.get("containers"))
    init = _names(spec.get("initContainers"))
    if asked:
        if asked not in (*containers, *init, *_names(spec.get("ephemeralContainers"))):
            raise statuses.bad_request(f"container {asked} is not valid for pod {name}")
        return asked
    if len(containers) == 1:
        return containers[0]
    if not containers:
        raise statuses.bad_request(f"a container name must be specified for pod {name}")
    choices = f"choose one of: [{' '.join(containers)}]"
    if init:
        choices += f" or one of the init containers: [{' '.join(init)}]"
    raise statuses.bad_request(f"a container name must be specified for pod {name}, {choices}")


def check_assigned(pod: Json) -> None:
    """Raise Refused (400) for a pod without a node: nobody can run a command in it."""
    if not struct(pod, "spec").get("nodeName"):
        name = pod["metadata"]["name"]
        raise statuses.bad_request(f"pod {name} does not have a host assigned")


def has_log(pod: Json) -> bool:
    """Tell whether there can be any log: a pod without a node answers with an empty one."""
    return bool(struct(pod, "spec").get("nodeName"))


def check_log(pod: Json, container: str, *, previous: bool) -> None:
    """Raise Refused (400) if *container* has no log yet (kubelet, validateContainerLogStatus)."""
    where = f'container "{container}" in pod "{pod["metadata"]["name"]}"'
    status = _status_of(pod, container)
    if status is None:
        raise statuses.bad_request(f"{where} is not available")
    state, last = struct(status, "state"), struct(status, "lastState")
    if previous:
        if not last.get("terminated"):
            raise statuses.bad_request(f"previous terminated {where} not found")
        return
    if state.get("running") or state.get("terminated") or last.get("terminated"):
        return
    reason = struct(state, "waiting").get("reason", "")
    match reason:
        case "ErrImagePull":
            why = "is waiting to start: image can't be pulled"
        case "ImagePullBackOff":
            why = "is waiting to start: trying and failing to pull image"
        case "":
            why = "is waiting to start - no logs yet"
        case _:
            why = f"is waiting to start: {reason}"
    raise statuses.bad_request(f"{where} {why}")


def log_options(request: Request) -> LogOptions:
    """Return what a log request asks for; raises Refused for numbers that make no sense."""
    since_time: float | None = None
    if request.option("sinceTime"):
        try:
            since_time = parse_rfc3339(request.option("sinceTime"))
        except ValueError as error:
            raise statuses.bad_request(f"sinceTime: {error}") from error
    options = LogOptions(
        follow=request.flag("follow"),
        tail_lines=request.number("tailLines"),
        timestamps=request.flag("timestamps"),
        previous=request.flag("previous"),
        since_seconds=request.number("sinceSeconds"),
        since_time=since_time,
        limit_bytes=request.number("limitBytes"),
    )
    checks = (
        ("tailLines", options.tail_lines, 0),
        ("sinceSeconds", options.since_seconds, 1),
        ("limitBytes", options.limit_bytes, 1),
    )
    for name, value, least in checks:
        if value is not None and value < least:
            raise statuses.refused(
                422,
                "Invalid",
                f'PodLogOptions "{request.name}" is invalid: {name}: Invalid value: {value}: '
                f"must be greater than {'or equal to 0' if least == 0 else '0'}",
            )
    if options.since_seconds is not None and options.since_time is not None:
        raise statuses.refused(
            422,
            "Invalid",
            f'PodLogOptions "{request.name}" is invalid: at most one of `sinceTime` or '
            "`sinceSeconds` may be specified",
        )
    return options


def _names(containers: Sequence[Json] | None) -> list[str]:
    return [container["name"] for container in containers or ()]


def _status_of(pod: Json, container: str) -> Json | None:
    status: Json = struct(pod, "status")
    for list_ in ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"):
        for found in status.get(list_) or ():
            if found.get("name") == container:
                result: Json = found
                return result
    return None
