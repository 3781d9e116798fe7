"""Pure: a pod's containers -> the Pod object and the status that show them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from podwire.emulator.discovery.facts import Container, moment
from podwire.emulator.discovery.labels import service_of
from podwire.emulator.discovery.world import Member, PodView
from podwire.kube.codec import convert
from podwire.kube.mirror_pods import MIRROR
from podwire.kube.node_ready import NODE_NOT_READY, NODE_NOT_READY_EVENT, held_back
from podwire.kube.objects import ContainerStateTerminated, ContainerStatus, Pod, PodStatus
from podwire.kube.podstatus import ContainerRecord, status_of

Json = dict[str, Any]

SOURCE = "kubernetes.io/config.source"
_POLICIES = ("no", "on-failure", "always", "unless-stopped")
_LONGEST_OUTPUT = 200


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why a pod does not serve: a Warning about it, of *container*, or of none in particular."""

    container: str
    reason: str
    text: str


def manifest(view: PodView) -> Json:
    """Return the Pod as it is created, without status."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": view.key.name,
            "namespace": view.key.namespace,
            "labels": dict(view.labels),
            "annotations": {MIRROR: view.sandbox.id, SOURCE: "docker"},
        },
        "spec": {
            "nodeName": view.node,
            "containers": [_container(member) for member in view.members],
            "restartPolicy": _restart_policy(view),
            "terminationGracePeriodSeconds": view.sandbox.stop_timeout,
            "hostNetwork": view.host_network,
            "enableServiceLinks": False,
            # As every static pod: what runs already cannot be kept away.
            "tolerations": [{"operator": "Exists"}],
            **_names(view),
        },
    }


def replaced(view: PodView, present: Pod) -> bool:
    """Tell whether *present* shows other containers: then it must go, for it cannot be changed."""
    wanted = convert(Pod, manifest(view))
    return (
        present.metadata.annotations.get(MIRROR) != view.sandbox.id
        or present.spec.node_name != view.node
        or _unchangeable(present) != _unchangeable(wanted)
    )


def correction(view: PodView, present: Pod) -> Json | None:
    """Return the merge patch for what somebody changed in *present*, None if nobody did."""
    wanted = manifest(view)
    patch: Json = {}
    if present.metadata.labels != view.labels:
        surplus = dict.fromkeys(present.metadata.labels)
        patch["metadata"] = {"labels": surplus | dict(view.labels)}
    if [c.image for c in present.spec.containers] != [m.container.image for m in view.members]:
        patch["spec"] = {"containers": wanted["spec"]["containers"]}
    return patch or None


def status(view: PodView, present: PodStatus, now: str) -> Json:
    """Return the status as a merge patch; *present* tells since when, and what was before."""
    known = {one.name: one for one in present.container_statuses}
    records = [_record(member, view, known.get(member.name)) for member in view.members]
    # What the engine leaves ended has ended; restarting and not yet started have not.
    ended = any(r.state == "terminated" for r in records) and all(
        r.state == "terminated" for r in records
    )
    written = status_of(
        Pod(spec=convert(Pod, manifest(view)).spec, status=present),
        (),
        records,
        host_ip=str(view.host_address or ""),
        pod_ip=str(view.address or ""),
        start_time=moment(view.sandbox.created) or now,
        now=now,
        ended=ended,
    )
    written.setdefault("podIP", None)
    written.setdefault("podIPs", None)
    written["message"] = written["reason"] = None
    if view.host_address is None:
        written["hostIP"] = written["hostIPs"] = None
    _explain(written, view, present, now)
    return written


def differs(wanted: Json, present: PodStatus) -> bool:
    """Tell whether the merge patch *wanted* changes anything that components read."""
    fields = {name: value for name, value in wanted.items() if value is not None}
    return convert(Pod, {"status": fields}).status != present


def obstacles(view: PodView) -> list[Obstacle]:
    """Return what keeps containers that run from serving and will not pass by itself."""
    running = [member for member in view.members if member.container.has_processes]
    found: list[Obstacle] = []
    for member in running:
        # Who was told to end is on its way, and that is no reason for a warning.
        if member.container.status == "paused":
            found.append(Obstacle(member.name, "Paused", _paused(member)))
        elif member.cut_off and not member.container.leaving:
            found.append(Obstacle(member.name, "NetworkLost", _cut_off(member, view)))
    for name, output in _unhealthy(view):
        text = f"Health check of container {name} failed: {output}"
        found.append(Obstacle(name, "Unhealthy", text))
    if running and not view.node_up:
        found.append(Obstacle("", NODE_NOT_READY, NODE_NOT_READY_EVENT))
    return found


def _unhealthy(view: PodView) -> Iterator[tuple[str, str]]:
    """Yield the containers whose health check fails, with what it printed last, once known."""
    for member in view.members:
        container = member.container
        if container.up and container.health == "unhealthy" and container.health_output is not None:
            yield member.name, container.health_output[:_LONGEST_OUTPUT] or "it printed nothing"


def _names(view: PodView) -> Json:
    # Both: an endpoint has a name of its own only if its pod says both (EndpointSlice controller).
    return {"hostname": view.key.name, "subdomain": view.subdomain} if view.subdomain else {}


def _unchangeable(pod: Pod) -> object:
    containers = [
        (one.name, [(port.name, port.container_port, port.protocol) for port in one.ports])
        for one in pod.spec.containers
    ]
    # Not its restartPolicy: `docker update --restart` is no reason to lose endpoints.
    return containers


def _restart_policy(view: PodView) -> str:
    """Return the word for the most lasting of the containers."""
    known = (member.container.restart_policy for member in view.members)
    most = max(_POLICIES.index(one) if one in _POLICIES else 0 for one in known)
    return ("Never", "OnFailure", "Always", "Always")[most]


def _container(member: Member) -> Json:
    written: Json = {"name": member.name, "image": member.container.image}
    if member.ports:
        written["ports"] = [
            {"containerPort": port.number, "protocol": port.protocol}
            | ({"name": port.name} if port.name else {})
            for port in member.ports
        ]
    return written


def _record(member: Member, view: PodView, known: ContainerStatus | None) -> ContainerRecord:
    container = member.container
    record = ContainerRecord(
        member.name,
        container.image,
        image_id=container.image_id,
        container_id=f"docker://{container.id}" if container.started else "",
        started_at=moment(container.started),
        finished_at=moment(container.finished),
        exit_code=container.exit_code,
        restarts=_restarts(container, known),
        last=_last(container, known),
    )
    match container.status:
        case "created":
            if container.error:
                record.wait("RunContainerError", container.error)
        case "running" | "paused":
            ready = _obstacle(member, view) is None and container.ready
            record.run(started=container.health != "starting", ready=ready)
        case "restarting":
            record.last = _terminated(container)
            record.wait(
                "CrashLoopBackOff",
                f"back-off restarting failed container {member.name}; its exit code was"
                f" {container.exit_code}",
            )
        case "exited":
            _end(record, container)
    return record


def _end(record: ContainerRecord, container: Container) -> None:
    record.end(container.exit_code, moment(container.finished), done=False)
    if container.oom_killed:
        record.reason = "OOMKilled"
    record.message = container.error


def _terminated(container: Container) -> Json:
    record = ContainerRecord(
        "", "", container_id=f"docker://{container.id}", started_at=moment(container.started)
    )
    _end(record, container)
    return record.terminated()


def _restarts(container: Container, known: ContainerStatus | None) -> int:
    """Return how often it was started again: the engine counts only what it did by itself."""
    if known is None or known.container_id != f"docker://{container.id}":
        return container.restarts
    before = _started_at(known)
    again = before != "" and container.started > 0 and before != moment(container.started)
    return max(container.restarts, known.restart_count + (1 if again else 0))


def _started_at(known: ContainerStatus) -> str:
    """Return when the container was started that *known* tells of last."""
    for state in (known.state, known.last_state):
        if state.running is not None:
            return state.running.started_at or ""
        if state.terminated is not None:
            return state.terminated.started_at or ""
    return ""


def _last(container: Container, known: ContainerStatus | None) -> Json:
    """Return how it ended the time before this one, as far as anybody has seen it."""
    if known is None or known.container_id != f"docker://{container.id}":
        return {}
    now = moment(container.started)
    ended = known.state.terminated
    if ended is not None and ended.started_at != now:
        return _written(ended)
    before = known.last_state.terminated
    return _written(before) if before is not None and before.started_at != now else {}


def _written(ended: ContainerStateTerminated) -> Json:
    return {
        "exitCode": ended.exit_code,
        "reason": ended.reason,
        "startedAt": ended.started_at,
        "finishedAt": ended.finished_at,
        "containerID": ended.container_id,
    } | ({"message": ended.message} if ended.message else {})


def _obstacle(member: Member, view: PodView) -> str | None:
    """Return why a container that runs cannot serve, None if nothing but its health matters."""
    container = member.container
    if container.leaving:
        return f"container {member.name} was told to end"
    if container.status == "paused":
        return _paused(member)
    if member.cut_off:
        return _cut_off(member, view)
    if not view.sandbox.up:
        return f"container {view.sandbox.name}, which holds the pod's network, does not run"
    if view.address is None:
        return f"container {view.sandbox.name} has no address on the network of {view.node}"
    return None


def _paused(member: Member) -> str:
    return f"container {member.name} is paused: docker unpause {member.container.name}"


def _cut_off(member: Member, view: PodView) -> str:
    service = service_of(member.container)
    way = (
        f"docker compose up -d --force-recreate {service}"
        if service
        else f"docker restart {member.container.name}"
    )
    return (
        f"the network that container {member.name} shared is gone, since"
        f" {view.sandbox.name} was started again or has ended: {way}"
    )


def _explain(written: Json, view: PodView, present: PodStatus, now: str) -> None:
    """Say in the conditions why the pod is not ready, where Kubernetes has no word for it."""
    running = [m for m in view.members if m.container.has_processes]
    reasons = [text for member in running if (text := _obstacle(member, view))]
    reasons += [f"health check of {name} failed: {output}" for name, output in _unhealthy(view)]
    by_type = {one["type"]: one for one in written["conditions"]}
    for kind in ("ContainersReady", "Ready"):
        if by_type[kind]["status"] == "False" and reasons:
            told = by_type[kind].get("message", "")
            by_type[kind]["message"] = "; ".join([told, *reasons] if told else reasons)
    if not view.node_up:
        written["conditions"] = held_back(written["conditions"], view.node, present, now)
