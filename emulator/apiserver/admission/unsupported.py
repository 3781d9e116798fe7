"""Pure: what this cluster stores and does not honour, as warnings to whoever asks for it.

What could only mislead is refused by the validation instead (gRPC probes, addresses of IPv6).
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from podwire.emulator.apiserver.custom import crd
from podwire.emulator.apiserver.types.fields import below, many

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Vain:
    """A field that is stored and has no effect; *text* says what happens instead."""

    text: str
    asks: Callable[[Any], bool] = bool
    """Whether a value asks for more than what happens anyway."""


# By the name of the field; lists are looked at item by item.
_Table = Mapping[str, "Vain | _Table"]


def added(obj: Json, before: Json | None, honoured: Collection[str] = ()) -> tuple[str, ...]:
    """Return a warning for each thing that *obj* asks for in vain and *before* did not."""
    now = warnings(obj, honoured)
    if not now or before is None:
        return now
    known = frozenset(warnings(before, honoured))
    return tuple(text for text in now if text not in known)


def warnings(obj: Json, honoured: Collection[str] = ()) -> tuple[str, ...]:
    """Return a warning for each thing that a defaulted object asks for in vain.

    *honoured* are the fields of a securityContext that this cluster's runtime does as they say; one
    that does some is a Docker Engine.
    """
    look = _KINDS.get((obj.get("apiVersion", ""), obj.get("kind", "")))
    if look is None:
        return ()
    done = tuple(f".securityContext.{name}" for name in honoured)
    elsewhere = (_READ_ONLY,) if honoured else (_NO_HOST_PATH, _NO_HOST_PORT)
    return tuple(
        text
        for text in look(obj)
        if not text.partition(":")[0].endswith(done) and not text.endswith(elsewhere)
    )


def _anything(value: Any) -> bool:
    return value is not None


def _no_root(value: Any) -> bool:
    return value not in (None, 0)


def _is_false(value: Any) -> bool:
    return value is False


def _confines(value: Any) -> bool:
    return bool(value) and value.get("type") != "Unconfined"


def _other_than(*usual: str) -> Callable[[Any], bool]:
    return lambda value: bool(value) and value not in usual


def _ignored(why: str, asks: Callable[[Any], bool] = bool) -> Vain:
    return Vain(f"{why}; the field has no effect", asks)


_AS_ROOT = "containers run as the root user of the sandbox"
_NOT_ENFORCED = "not enforced here"

# Of pods and of containers alike.
_SECURITY: _Table = {
    "runAsUser": _ignored(_AS_ROOT, _no_root),
    "runAsGroup": _ignored(_AS_ROOT, _no_root),
    "runAsNonRoot": _ignored(_NOT_ENFORCED),
    "fsGroup": _ignored(_NOT_ENFORCED, _no_root),
    "supplementalGroups": _ignored(_NOT_ENFORCED),
    "privileged": _ignored("no container is privileged here"),
    "allowPrivilegeEscalation": _ignored(_NOT_ENFORCED, _is_false),
    "readOnlyRootFilesystem": _ignored(
        "the root is read-only with a writable /tmp, /var and /run for all", _anything
    ),
    "seccompProfile": _ignored(_NOT_ENFORCED, _confines),
    "appArmorProfile": _ignored(_NOT_ENFORCED, _confines),
    "seLinuxOptions": _ignored(_NOT_ENFORCED),
    "procMount": _ignored("/proc is shown as usual", _other_than("Default")),
    "sysctls": _ignored("pods have the sysctls of their node here"),
    "windowsOptions": _ignored("the nodes run Linux"),
}

_CONTAINER: _Table = {
    "securityContext": _SECURITY,
    "resources": {
        "limits": Vain("not enforced here: containers may use what the machine has"),
        "claims": _ignored("there are no devices to claim here"),
    },
    "volumeDevices": _ignored("there are no block devices here"),
    "volumeMounts": {
        "mountPropagation": _ignored("mounts are not propagated here", _other_than("None")),
    },
}

_POD: _Table = {
    "securityContext": _SECURITY,
    "initContainers": _CONTAINER,
    "containers": _CONTAINER,
    "ephemeralContainers": _CONTAINER,
    "schedulerName": Vain(
        "there is no such scheduler here: the pod stays Pending until somebody binds it",
        _other_than("default-scheduler"),
    ),
    "priorityClassName": _ignored("no pod gives way to another here"),
    "runtimeClassName": _ignored("there is one runtime here"),
    "hostPID": _ignored("pods never see the processes of their node here"),
    "hostIPC": _ignored("each pod has an IPC namespace of its own here"),
    "hostUsers": _ignored("all pods share the user namespace of the sandbox", _is_false),
    "os": {"name": _ignored("the nodes run Linux", _other_than("linux"))},
    "resourceClaims": _ignored("there are no devices to claim here"),
    "volumes": {
        "emptyDir": {
            "sizeLimit": _ignored(_NOT_ENFORCED, _anything),
            "medium": _ignored("there are no huge pages here", _other_than("Memory")),
        },
        "hostPath": {
            "type": Vain(
                "nothing is created on this machine: the path must be there",
                lambda value: value in ("DirectoryOrCreate", "FileOrCreate"),
            ),
        },
    },
}

_SERVICE: _Table = {
    "type": Vain(
        "there is no load balancer here: EXTERNAL-IP stays <pending>; "
        "the ClusterIP and the node ports work",
        lambda value: value == "LoadBalancer",
    ),
}

_VOLUMES = ("emptyDir", "configMap", "secret", "downwardAPI", "projected", "hostPath")
"""The kinds that emulator/kubelet/volume_files.py makes."""
_NO_VOLUME = "volumes of this kind are not there; the pod will wait with FailedMount"
_READ_ONLY = "hostPath volumes are read-only here"
_NO_HOST_PATH = (
    "hostPath volumes are not there where pods are containers; the pod will wait with "
    "CreateContainerError"
)
_NO_HOST_PORT = (
    "the port is reserved, and not forwarded where pods are containers; "
    "use a NodePort Service or hostNetwork"
)
_NO_SCTP = (
    "the proxy forwards SCTP in modes nftables and iptables only, where the kernel has it; "
    "elsewhere this port serves nobody"
)
_NO_CLAIMS = "there are no persistent volumes here: each pod gets an emptyDir, which ends with it"


def _pod(obj: Json) -> Iterator[str]:
    yield from _pod_spec("spec", below(obj, "spec"))


def _workload(obj: Json) -> Iterator[str]:
    yield from _pod_spec("spec.template.spec", below(obj, "spec", "template", "spec"))


def _stateful_set(obj: Json) -> Iterator[str]:
    yield from _workload(obj)
    for index, _ in enumerate(many(below(obj, "spec"), "volumeClaimTemplates")):
        yield f"spec.volumeClaimTemplates[{index}]: {_NO_CLAIMS}"


def _cron_job(obj: Json) -> Iterator[str]:
    path = ("spec", "jobTemplate", "spec", "template", "spec")
    yield from _pod_spec(".".join(path), below(obj, *path))


def _network_policy(obj: Json) -> Iterator[str]:
    del obj
    yield "spec: network policies are not enforced here: every pod may talk to every other"


def _quota(obj: Json) -> Iterator[str]:
    if below(obj, "spec").get("hard"):
        yield "spec.hard: quotas are not enforced here: nothing is refused because of them"


def _limit_range(obj: Json) -> Iterator[str]:
    if below(obj, "spec").get("limits"):
        yield (
            "spec.limits: limit ranges are not enforced here: they refuse nothing, and pods get "
            "no defaults from them"
        )


def _pod_spec(path: str, spec: Json) -> Iterator[str]:
    yield from _walk(path, spec, _POD)
    host_paths: set[str] = set()
    for index, volume in enumerate(many(spec, "volumes")):
        if volume.get("hostPath") is not None:
            host_paths.add(volume.get("name", ""))
            yield f"{path}.volumes[{index}].hostPath: {_NO_HOST_PATH}"
        for kind, source in volume.items():
            if kind not in ("name", *_VOLUMES) and source is not None:
                yield f"{path}.volumes[{index}].{kind}: {_NO_VOLUME}"
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        for number, container in enumerate(many(spec, kind)):
            at = f"{path}.{kind}[{number}]"
            for index, port in enumerate(many(container, "ports")):
                # On the host's network the two are one port: defaulting writes it down.
                if port.get("hostPort") and not spec.get("hostNetwork"):
                    yield f"{at}.ports[{index}].hostPort: {_NO_HOST_PORT}"
            for index, mount in enumerate(many(container, "volumeMounts")):
                if mount.get("name") in host_paths and not mount.get("readOnly"):
                    field = f"{at}.volumeMounts[{index}].readOnly"
                    yield f"{field}: {_READ_ONLY}"


def _service(obj: Json) -> Iterator[str]:
    spec = below(obj, "spec")
    yield from _walk("spec", spec, _SERVICE)
    # The proxy has no part in headless Services, and in names of other names.
    if spec.get("clusterIP", "None") != "None":
        for index, port in enumerate(many(spec, "ports")):
            if port.get("protocol") == "SCTP":
                yield f"spec.ports[{index}].protocol: {_NO_SCTP}"


_KINDS: Mapping[tuple[str, str], Callable[[Json], Iterator[str]]] = {
    ("v1", "Pod"): _pod,
    ("apps/v1", "Deployment"): _workload,
    ("apps/v1", "ReplicaSet"): _workload,
    ("apps/v1", "DaemonSet"): _workload,
    ("apps/v1", "StatefulSet"): _stateful_set,
    ("batch/v1", "Job"): _workload,
    ("batch/v1", "CronJob"): _cron_job,
    ("networking.k8s.io/v1", "NetworkPolicy"): _network_policy,
    ("v1", "ResourceQuota"): _quota,
    ("v1", "LimitRange"): _limit_range,
    ("v1", "Service"): _service,
    ("apiextensions.k8s.io/v1", "CustomResourceDefinition"): crd.vain,
}


def _walk(path: str, value: Json, table: _Table) -> Iterator[str]:
    """Follow *table* into *value* as deep as *value* goes."""
    for name, entry in table.items():
        inner: Any = value.get(name)
        if inner is None:
            continue
        field = f"{path}.{name}"
        if isinstance(entry, Vain):
            if entry.asks(inner):
                yield f"{field}: {entry.text}"
        elif isinstance(inner, list):
            for index, item in enumerate(many(value, name)):
                yield from _walk(f"{field}[{index}]", item, entry)
        else:
            yield from _walk(field, inner, entry)
