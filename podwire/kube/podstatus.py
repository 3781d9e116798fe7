"""Pure: a pod's status from the state of its containers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from msgspec.structs import replace

from podwire.kube.objects import Condition, Pod, PodIP

State = Literal["waiting", "running", "terminated"]


@dataclass(slots=True)
class ContainerRecord:
    """What is known of one container; times are RFC 3339 text."""

    name: str
    image: str
    state: State = "waiting"
    reason: str = "ContainerCreating"
    message: str = ""
    # What runs it knows the image by; empty: by its name.
    image_id: str = ""
    container_id: str = ""
    started_at: str = ""
    finished_at: str = ""
    exit_code: int = 0
    restarts: int = 0
    ready: bool = False
    started: bool = False
    # Somebody has stopped all of it, for now: it runs, and answers nobody.
    paused: bool = False
    # An init container with restartPolicy Always: it runs beside the others (KEP-753).
    sidecar: bool = False
    # Added to a running pod, which does without it: it has no readiness (KEP-277).
    ephemeral: bool = False
    # It was ended to be started again with another image, whatever the pod's restart policy says.
    replaced: bool = False
    last: dict[str, Any] = field(default_factory=dict[str, Any])

    @property
    def initialised(self) -> bool:
        """Tell whether this init container lets the next one begin."""
        if self.sidecar:
            return self.started
        return self.state == "terminated" and self.exit_code == 0

    @property
    def answers(self) -> bool:
        """Tell whether it is ready, and not paused."""
        return self.ready and not self.paused

    @property
    def fresh(self) -> bool:
        """Tell whether it waits for its first start."""
        return self.state == "waiting" and not self.last

    def wait(self, reason: str, message: str) -> None:
        """Note why it does not run."""
        if self.state == "terminated":
            self.last = self.terminated()
        self.state, self.reason, self.message = "waiting", reason, message
        self.ready = self.started = self.paused = False

    def make(self, image: str, *, anew: bool) -> None:
        """Note that a container of *image* is there; *anew*: it was made now, and not found."""
        if self.state == "terminated":
            self.last = self.terminated()
        self.restarts += 1 if anew and self.last else 0
        self.image = image

    def run(self, *, started: bool, ready: bool) -> None:
        """Note that it runs, and whether its probes leave something to wait for."""
        self.state, self.reason, self.message = "running", "", ""
        self.replaced = False
        self.started = started
        self.ready = started and ready

    def end(
        self,
        status: int,
        finished_at: str,
        *,
        done: bool,
        message: str = "",
        reason: str = "",
        replaced: bool = False,
    ) -> None:
        """Note its exit status; *done*: an init container that has done its work is ready."""
        self.replaced = replaced
        self.state, self.exit_code, self.finished_at = "terminated", status, finished_at
        self.reason = reason or ("Completed" if status == 0 else "Error")
        self.message = message
        self.started, self.ready, self.paused = False, done, False

    def status(self) -> dict[str, Any]:
        """Return the ContainerStatus as it is written."""
        written: dict[str, Any] = {
            "name": self.name,
            "image": self.image,
            "imageID": (self.image_id or self.image) if self.container_id else "",
            "ready": self.answers and not self.ephemeral,
            "restartCount": self.restarts,
            "state": self.state_written(),
            "lastState": {"terminated": self.last} if self.last else {},
        }
        if not self.ephemeral:
            written["started"] = self.started
        if self.container_id:
            written["containerID"] = self.container_id
        return written

    def state_written(self) -> dict[str, Any]:
        """Return the ContainerState as it is written."""
        if self.state == "running":
            return {"running": {"startedAt": self.started_at}}
        if self.state == "terminated":
            return {"terminated": self.terminated()}
        waiting = {"reason": self.reason}
        if self.message:
            waiting["message"] = self.message
        return {"waiting": waiting}

    def terminated(self) -> dict[str, Any]:
        """Return the terminated state as it is written."""
        ended: dict[str, Any] = {
            "exitCode": self.exit_code,
            "reason": self.reason,
            "startedAt": self.started_at or None,
            "finishedAt": self.finished_at,
            "containerID": self.container_id,
        }
        if self.message:
            ended["message"] = self.message
        return ended


def phase_of(
    init: Sequence[ContainerRecord],
    containers: Sequence[ContainerRecord],
    restart_policy: str,
    *,
    ended: bool = False,
) -> str:
    """Return the pod's phase; *ended*: the pod is deleted and nothing of it will start again.

    As the kubelet's getPhase (pkg/kubelet/kubelet_pods.go), without containers of unknown state.
    """
    once = [c for c in init if not c.sidecar]
    beside = [c for c in init if c.sidecar]
    if any(c.state == "terminated" and c.exit_code for c in once) and (
        ended or restart_policy == "Never"
    ):
        return "Failed"
    if not _initialised(init, containers):
        return "Failed" if ended else "Pending"
    if any(c.fresh for c in (*beside, *containers)):
        return "Failed" if ended else "Pending"
    if any(c.state == "running" for c in (*beside, *containers)):
        return "Running"
    succeeded = all(c.state == "terminated" and c.exit_code == 0 for c in containers)
    if ended:
        return "Succeeded" if succeeded else "Failed"
    if restart_policy == "Always" or any(c.replaced for c in containers):
        return "Running"
    if succeeded:
        return "Succeeded"
    return "Failed" if restart_policy == "Never" else "Running"


def _initialised(init: Sequence[ContainerRecord], containers: Sequence[ContainerRecord]) -> bool:
    # Once a container has begun, a side-car that is started again takes nothing back.
    return all(c.initialised for c in init) or any(c.container_id for c in containers)


def status_of(
    pod: Pod,
    init: Sequence[ContainerRecord],
    containers: Sequence[ContainerRecord],
    *,
    host_ip: str,
    pod_ip: str,
    start_time: str,
    now: str,
    ended: bool = False,
    ephemeral: Sequence[ContainerRecord] = (),
    failed: tuple[str, str] | None = None,
) -> dict[str, Any]:
    """Return the PodStatus as a merge patch; *ended*: the pod is deleted and all has stopped.

    *failed* are the reason and the message of a pod that its node has ended.
    """
    phase = phase_of(init, containers, pod.spec.restart_policy, ended=ended)
    phase = phase if failed is None else "Failed"
    status: dict[str, Any] = {
        "phase": phase,
        "hostIP": host_ip,
        "hostIPs": [{"ip": host_ip}],
        "startTime": start_time,
        "conditions": _conditions(pod, init, containers, phase, now, networked=bool(pod_ip)),
        "containerStatuses": [c.status() for c in containers],
        "initContainerStatuses": [c.status() for c in init] or None,
        "qosClass": quality_of_service(pod),
    }
    if ephemeral:
        status["ephemeralContainerStatuses"] = [c.status() for c in ephemeral]
    if failed is not None:
        status["reason"], status["message"] = failed
    if pod_ip:
        status["podIP"] = pod_ip
        status["podIPs"] = [{"ip": pod_ip}]
    return status


def with_addresses(pod: Pod, pod_ip: str, host_ip: str) -> Pod:
    """Return *pod* with the addresses that its status will have."""
    status = replace(pod.status, pod_ip=pod_ip, pod_ips=(PodIP(ip=pod_ip),), host_ip=host_ip)
    return replace(pod, status=status)


def quality_of_service(pod: Pod) -> str:
    """Return the pod's class (Kubernetes docs, "Pod Quality of Service Classes")."""
    amounts = [c.resources for c in (*pod.spec.containers, *pod.spec.init_containers)]
    if not any(a.requests or a.limits for a in amounts):
        return "BestEffort"
    # The API server has made requests of limits where there were none.
    if all(
        {"cpu", "memory"} <= a.limits.keys()
        and all(a.requests.get(kind, a.limits[kind]) == a.limits[kind] for kind in a.limits)
        for a in amounts
    ):
        return "Guaranteed"
    return "Burstable"


def _conditions(
    pod: Pod,
    init: Sequence[ContainerRecord],
    containers: Sequence[ContainerRecord],
    phase: str,
    now: str,
    *,
    networked: bool,
) -> list[dict[str, Any]]:
    initialised = _initialised(init, containers)
    unready = [c.name for c in (*(i for i in init if i.sidecar), *containers) if not c.answers]
    over = phase in ("Succeeded", "Failed")
    if phase == "Succeeded":
        containers_ready = ("False", "PodCompleted", "")
    elif phase == "Failed":
        containers_ready = ("False", "PodFailed", "")
    elif unready:
        message = f"containers with unready status: [{' '.join(unready)}]"
        containers_ready = ("False", "ContainersNotReady", message)
    else:
        containers_ready = ("True", "", "")
    ready = containers_ready
    if ready[0] == "True":
        closed = ", ".join(_closed_gates(pod))
        if closed:
            ready = ("False", "ReadinessGatesNotReady", closed)
    if initialised:
        init_condition = ("True", "PodCompleted" if phase == "Succeeded" and init else "", "")
    else:
        waiting = [c.name for c in init if not c.initialised]
        message = f"containers with incomplete status: [{' '.join(waiting)}]"
        init_condition = ("False", "ContainersNotInitialized", message)
    wanted = {
        "PodReadyToStartContainers": ("True" if networked and not over else "False", "", ""),
        "Initialized": init_condition,
        "Ready": ready,
        "ContainersReady": containers_ready,
        "PodScheduled": ("True", "", ""),
    }
    present = {condition.type: condition for condition in pod.status.conditions}
    ours = [condition(kind, *value, present.get(kind), now) for kind, value in wanted.items()]
    others = [
        condition(c.type, c.status, c.reason, c.message, c, now)
        for c in pod.status.conditions
        if c.type not in wanted
    ]
    return ours + others


def _closed_gates(pod: Pod) -> Iterator[str]:
    present = {condition.type: condition.status for condition in pod.status.conditions}
    for gate in pod.spec.readiness_gates:
        name, status = gate.condition_type, present.get(gate.condition_type)
        if status is None:
            yield f'corresponding condition of pod readiness gate "{name}" does not exist.'
        elif status != "True":
            yield f'the status of pod readiness gate "{name}" is not "True", but {status}'


def condition(
    kind: str, status: str, reason: str, message: str, present: Condition | None, now: str
) -> dict[str, Any]:
    """Return a condition as it is written; *present* is the one there, or None."""
    changed = present is None or present.status != status
    since = now if changed else present.last_transition_time  # type: ignore[union-attr]
    written: dict[str, Any] = {
        "type": kind,
        "status": status,
        "lastProbeTime": None,
        "lastTransitionTime": since,
    }
    if reason:
        written["reason"] = reason
    if message:
        written["message"] = message
    return written
