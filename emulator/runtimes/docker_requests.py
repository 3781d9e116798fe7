"""Pure: what Docker Engine is asked for, for a pod and its containers (Docker Engine API 1.43)."""

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Any

from podwire.emulator.runtimes.capabilities import NUMBERS
from podwire.emulator.runtimes.mounts import Bind
from podwire.emulator.runtimes.runtime import ContainerRequest, PodRequest, RuntimeFailure
from podwire.kube.times import parse_rfc3339

Json = dict[str, Any]

MADE_BY = "podwire.dev/made-by"
POD_UID = "podwire.dev/pod-uid"
# The container's name in its pod; SANDBOX is the one that holds the network.
MADE_CONTAINER = "podwire.dev/made-container"
# NAMESPACE/NAME, for people. Not podwire.dev/pod: that would describe one more pod.
MADE_POD = "podwire.dev/made-pod"
SANDBOX = "POD"

# The engine takes a terminal's client away when it sees these keys, and holds back what could be
# their beginning: its own choice begins with Ctrl-P, which shells use. Nobody types these.
DETACH_KEYS = "ctrl-@,ctrl-^,ctrl-@,ctrl-^,ctrl-@"
# As the kubelet's containerLogMaxSize; without a limit the engine's logs fill the disk.
_LOGS = {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "2"}}
# The fields of a securityContext that have a word below, beside capabilities.
HONOURED = ("runAsUser", "runAsGroup", "readOnlyRootFilesystem", "allowPrivilegeEscalation")
_NO_ESCALATION = ["no-new-privileges"]


@dataclass(frozen=True, slots=True)
class DockerNode:
    """A node as the runtime needs it: its container, and the id of its pods' network."""

    name: str
    address: IPv4Address
    container: str
    network: str


@dataclass(frozen=True, slots=True)
class Project:
    """Whose containers they are, and what they are made of.

    *image* is for sandboxes, which run *pause*. *folders* maps directories of ours to where the
    engine finds them on its own machine: real paths, with nothing below them but files of pods, for
    a pod may mount all of it. *captures* is the lender of pods' interfaces.
    """

    name: str
    image: str
    pause: tuple[str, ...] = ("sleep", "infinity")
    folders: Mapping[str, str] = field(default_factory=dict[str, str])
    captures: str = ""


def sandbox_body(project: Project, node: DockerNode, pod: PodRequest) -> Json:
    """Return the body that creates the container whose namespaces the pod's others share."""
    body: Json = {
        "Image": project.image,
        "Entrypoint": list(project.pause[:1]),
        "Cmd": list(project.pause[1:]),
        "Labels": labels(project, pod, SANDBOX),
        "Healthcheck": {"Test": ["NONE"]},
        # As a first process it ignores SIGTERM: the engine would wait when it stops.
        "StopSignal": "SIGKILL",
        "HostConfig": {
            "NetworkMode": node.network,
            "IpcMode": "shareable",
            "CapDrop": ["ALL"],
            "SecurityOpt": _NO_ESCALATION,
            "ReadonlyRootfs": True,
            "LogConfig": _LOGS,
        },
    }
    if pod.shares_processes:
        # The first process of them all has to take the orphans.
        body["HostConfig"]["Init"] = True
    if pod.host_network:
        body["HostConfig"]["NetworkMode"] = f"container:{node.container}"
    else:
        # With another container's network goes its host name.
        body["Hostname"] = pod.hostname
    return body


def container_body(
    project: Project,
    sandbox: str,
    pod: PodRequest,
    request: ContainerRequest,
    *,
    stdin: bool,
    beside: str = "",
) -> Json:
    """Return the body that creates a container of the pod; raises RuntimeFailure for a mount.

    *beside* is the id of the container whose processes it sees, empty: only its own.
    """
    if pod.shares_processes:
        beside = sandbox
    return {
        "Image": request.image,
        "Entrypoint": list(request.argv[:1]),
        "Cmd": list(request.argv[1:]),
        "Env": variables(request),
        "WorkingDir": request.directory,
        "User": request.user,
        "Tty": request.tty,
        "OpenStdin": stdin,
        # The end of our input is the end of the container's; a terminal has none.
        "StdinOnce": stdin and not request.tty,
        "AttachStdin": stdin,
        "AttachStdout": True,
        "AttachStderr": True,
        "Labels": labels(project, pod, request.name),
        # The kubelet's probes count here, not the image's HEALTHCHECK.
        "Healthcheck": {"Test": ["NONE"]},
        "HostConfig": {
            "NetworkMode": f"container:{sandbox}",
            "IpcMode": f"container:{sandbox}",
            "PidMode": f"container:{beside}" if beside else "",
            "CapDrop": ["ALL"],
            "CapAdd": added(request),
            "SecurityOpt": _NO_ESCALATION,
            "ReadonlyRootfs": request.read_only,
            "Mounts": [mount(project, bind) for bind in request.binds],
            "LogConfig": _LOGS,
        },
    }


def command_body(request: ContainerRequest, *, stdin: bool) -> Json:
    """Return the body that prepares a command in a running container."""
    return {
        "Cmd": list(request.argv),
        "Env": variables(request),
        "WorkingDir": request.directory,
        "User": request.user,
        "Tty": request.tty,
        "AttachStdin": stdin,
        "AttachStdout": True,
        "AttachStderr": True,
        "DetachKeys": DETACH_KEYS,
    }


def labels(project: Project, pod: PodRequest, container: str) -> dict[str, str]:
    """Return the labels by which we find a container again."""
    return {
        MADE_BY: project.name,
        POD_UID: pod.uid,
        MADE_CONTAINER: container,
        MADE_POD: f"{pod.namespace}/{pod.name}",
    }


def first_name(project: str, namespace: str, pod: str, container: str) -> str:
    """Return what all names of a pod's container begin with; a number follows."""
    return f"podwire_{project}_{namespace}_{pod}_{container}_"


def variables(request: ContainerRequest) -> list[str]:
    """Return the environment as the engine takes it."""
    return [f"{name}={value}" for name, value in request.environ.items()]


def added(request: ContainerRequest) -> list[str]:
    """Return the names of the capabilities that the pod asks for by name, and may have."""
    wanted = set(request.asked) & set(request.capabilities)
    return sorted(name for name, number in NUMBERS.items() if number in wanted)


def mount(project: Project, bind: Bind) -> Json:
    """Return a bind mount; raises RuntimeFailure for what is not in the project's folders.

    The source has no symbolic links: the engine would follow them on its own machine.
    """
    path = posixpath.normpath(bind.source)
    for ours, engines in project.folders.items():
        if path == ours or path.startswith(f"{ours.rstrip('/')}/"):
            return {
                "Type": "bind",
                "Source": engines.rstrip("/") + path.removeprefix(ours.rstrip("/")),
                "Target": bind.path,
                "ReadOnly": bind.read_only,
            }
    # It would be of the machine that the engine runs on, and a pod with it root there.
    raise RuntimeFailure(
        "CreateContainerError",
        f'cannot mount "{bind.source}" at {bind.path}: hostPath volumes are not supported on a '
        "Docker Engine; use an emptyDir, a configMap or a secret",
    )


def in_short(message: str) -> str:
    """Return what the engine says about a program that cannot start, without its own stack."""
    _, found, words = message.partition("unable to start container process: ")
    return (words if found else message).removesuffix(": unknown").strip()


def moment(stamp: str) -> float:
    """Return when something happened, in seconds since 1970; 0 for never."""
    # Go's zero time is of the year 1.
    return max(parse_rfc3339(stamp), 0.0) if stamp else 0.0


def lifetime(state: Json) -> tuple[float, float]:
    """Return when a container with the engine's *state* started and ended, as `moment` does.

    0 for the end of one that runs. The engine takes the time of the start when it hears that the
    process runs, and that of the end from who saw it: a short one would end before its start.
    """
    began = moment(state["StartedAt"])
    if state["Running"]:
        return began, 0.0
    ended = moment(state["FinishedAt"])
    return min(began, ended), ended
