"""Pure: the tables of nodes, namespaces, configuration, events, roles and storage."""

from podwire.emulator.apiserver.columns.cells import Json, Printer, Row, age, name, since
from podwire.emulator.apiserver.types.fields import below, many, struct

_ROLE_PREFIX = "node-role.kubernetes.io/"
_MODES = {
    "ReadWriteOnce": "RWO",
    "ReadOnlyMany": "ROX",
    "ReadWriteMany": "RWX",
    "ReadWriteOncePod": "RWOP",
}


def _node(obj: Json, now: float) -> Row:
    status = below(obj, "status")
    ready = [c for c in many(status, "conditions") if c.get("type") == "Ready"]
    words = ["Ready" if c.get("status") == "True" else "NotReady" for c in ready] or ["Unknown"]
    if below(obj, "spec").get("unschedulable"):
        words.append("SchedulingDisabled")
    about = below(status, "nodeInfo")
    return Row(
        [
            name(obj),
            ",".join(words),
            _roles(obj),
            age(obj, now),
            about.get("kubeletVersion", ""),
            _address(status, "InternalIP"),
            _address(status, "ExternalIP"),
            about.get("osImage") or "<unknown>",
            about.get("kernelVersion") or "<unknown>",
            about.get("containerRuntimeVersion") or "<unknown>",
        ]
    )


def _roles(obj: Json) -> str:
    labels: dict[str, str] = below(obj["metadata"], "labels")
    found = {k.removeprefix(_ROLE_PREFIX) for k in labels if k.startswith(_ROLE_PREFIX)}
    found.add(labels.get("kubernetes.io/role", ""))
    return ",".join(sorted(found - {""})) or "<none>"


def _address(status: Json, kind: str) -> str:
    addresses = (a["address"] for a in many(status, "addresses") if a.get("type") == kind)
    return next(addresses, "<none>")


def _namespace(obj: Json, now: float) -> Row:
    return Row([name(obj), below(obj, "status").get("phase", ""), age(obj, now)])


def _config_map(obj: Json, now: float) -> Row:
    keys = len(struct(obj, "data")) + len(struct(obj, "binaryData"))
    return Row([name(obj), keys, age(obj, now)])


def _secret(obj: Json, now: float) -> Row:
    return Row([name(obj), obj.get("type", ""), len(struct(obj, "data")), age(obj, now)])


def _service_account(obj: Json, now: float) -> Row:
    return Row([name(obj), len(many(obj, "secrets")), age(obj, now)])


def _event(obj: Json, now: float) -> Row:
    """Show an event of either API: events.k8s.io/v1 has other names for the same fields."""
    regarding: Json = obj.get("involvedObject") or below(obj, "regarding")
    first = obj.get("firstTimestamp") or obj.get("deprecatedFirstTimestamp")
    last = obj.get("lastTimestamp") or obj.get("deprecatedLastTimestamp")
    first = first or obj.get("eventTime")
    last = last or first
    number = obj.get("count") or obj.get("deprecatedCount") or 1
    series: Json | None = obj.get("series")
    if series:
        last, number = series.get("lastObservedTime") or last, series.get("count", 0)
    kind, target = regarding.get("kind", "").lower(), regarding.get("name", "")
    return Row(
        [
            since(last, now),
            obj.get("type", ""),
            obj.get("reason", ""),
            f"{kind}/{target}" if target else kind,
            regarding.get("fieldPath", ""),
            _source(obj),
            (obj.get("message") or obj.get("note") or "").strip(),
            since(first, now),
            str(number),
            name(obj),
        ]
    )


def _source(obj: Json) -> str:
    source: Json = obj.get("source") or below(obj, "deprecatedSource")
    reporter = obj.get("reportingComponent") or obj.get("reportingController") or ""
    component: str = source.get("component") or reporter
    host: str = source.get("host") or obj.get("reportingInstance") or ""
    return f"{component}, {host}" if host else component


def _lease(obj: Json, now: float) -> Row:
    return Row([name(obj), below(obj, "spec").get("holderIdentity", ""), age(obj, now)])


def _binding(obj: Json, now: float) -> Row:
    role = below(obj, "roleRef")
    subjects = many(obj, "subjects")
    accounts = [s for s in subjects if s.get("kind") == "ServiceAccount"]
    return Row(
        [
            name(obj),
            f"{role.get('kind', '')}/{role.get('name', '')}",
            age(obj, now),
            ", ".join(s["name"] for s in subjects if s.get("kind") == "User"),
            ", ".join(s["name"] for s in subjects if s.get("kind") == "Group"),
            ", ".join(f"{s.get('namespace', '')}/{s['name']}" for s in accounts),
        ]
    )


def _budget(obj: Json, now: float) -> Row:
    spec, status = below(obj, "spec"), below(obj, "status")
    least, most = spec.get("minAvailable"), spec.get("maxUnavailable")
    return Row(
        [
            name(obj),
            "N/A" if least is None else str(least),
            "N/A" if most is None else str(most),
            status.get("disruptionsAllowed", 0),
            age(obj, now),
        ]
    )


def _quota(obj: Json, now: float) -> Row:
    status = below(obj, "status")
    hard, used = below(status, "hard"), below(status, "used")
    shown: tuple[list[str], list[str]] = ([], [])
    for resource in sorted(hard):
        limits = resource.startswith("limits.")
        shown[limits].append(f"{resource}: {used.get(resource, '0')}/{hard[resource]}")
    return Row([name(obj), age(obj, now), *(", ".join(part) for part in shown)])


def _priority_class(obj: Json, now: float) -> Row:
    value, everywhere = obj.get("value", 0), bool(obj.get("globalDefault"))
    return Row([name(obj), value, everywhere, age(obj, now), obj.get("preemptionPolicy", "")])


def _claim(obj: Json, now: float) -> Row:
    spec, status = below(obj, "spec"), below(obj, "status")
    bound = bool(spec.get("volumeName"))
    return Row(
        [
            name(obj),
            _phase(obj),
            spec.get("volumeName", ""),
            below(status, "capacity").get("storage", "0") if bound else "",
            _access(many(status, "accessModes")) if bound else "",
            spec.get("storageClassName") or "",
            spec.get("volumeAttributesClassName") or "<unset>",
            age(obj, now),
            spec.get("volumeMode") or "<unset>",
        ]
    )


def _volume(obj: Json, now: float) -> Row:
    spec, status = below(obj, "spec"), below(obj, "status")
    claim = spec.get("claimRef")
    return Row(
        [
            name(obj),
            below(spec, "capacity").get("storage", "0"),
            _access(many(spec, "accessModes")),
            spec.get("persistentVolumeReclaimPolicy", ""),
            _phase(obj),
            f"{claim.get('namespace', '')}/{claim.get('name', '')}" if claim else "",
            spec.get("storageClassName") or "",
            spec.get("volumeAttributesClassName") or "<unset>",
            status.get("reason", ""),
            age(obj, now),
            spec.get("volumeMode") or "<unset>",
        ]
    )


def _phase(obj: Json) -> str:
    if obj["metadata"].get("deletionTimestamp"):
        return "Terminating"
    return str(below(obj, "status").get("phase", ""))


def _access(modes: list[str]) -> str:
    return ",".join(_MODES[mode] for mode in _MODES if mode in modes)


def _storage_class(obj: Json, now: float) -> Row:
    marks = below(obj["metadata"], "annotations")
    mark = (
        " (default)" if marks.get("storageclass.kubernetes.io/is-default-class") == "true" else ""
    )
    grows = bool(obj.get("allowVolumeExpansion"))
    return Row(
        [
            name(obj) + mark,
            obj.get("provisioner", ""),
            obj.get("reclaimPolicy") or "Delete",
            obj.get("volumeBindingMode") or "Immediate",
            str(grows).lower(),
            age(obj, now),
        ]
    )


def _runtime_class(obj: Json, now: float) -> Row:
    return Row([name(obj), obj.get("handler", ""), age(obj, now)])


_EVENT = Printer(
    "Last Seen|Type|Reason|Object|Subobject*|Source*|Message|First Seen*|Count*|Name*:name", _event
)
_BINDING = Printer("Name|Role|Age|Users*|Groups*|ServiceAccounts*", _binding)

PRINTERS = {
    ("v1", "Node"): Printer(
        "Name|Status|Roles|Age|Version|Internal-IP*|External-IP*|OS-Image*|Kernel-Version*"
        "|Container-Runtime*",
        _node,
    ),
    ("v1", "Namespace"): Printer("Name|Status|Age", _namespace),
    ("v1", "ConfigMap"): Printer("Name|Data|Age", _config_map),
    ("v1", "Secret"): Printer("Name|Type|Data|Age", _secret),
    ("v1", "ServiceAccount"): Printer("Name|Secrets|Age", _service_account),
    ("v1", "Event"): _EVENT,
    ("events.k8s.io/v1", "Event"): _EVENT,
    ("coordination.k8s.io/v1", "Lease"): Printer("Name|Holder|Age", _lease),
    ("rbac.authorization.k8s.io/v1", "RoleBinding"): _BINDING,
    ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"): _BINDING,
    ("policy/v1", "PodDisruptionBudget"): Printer(
        "Name|Min Available|Max Unavailable|Allowed Disruptions:integer|Age", _budget
    ),
    ("v1", "ResourceQuota"): Printer("Name|Age|Request|Limit", _quota),
    ("scheduling.k8s.io/v1", "PriorityClass"): Printer(
        "Name|Value:integer|Global-Default:boolean|Age|PreemptionPolicy", _priority_class
    ),
    ("v1", "PersistentVolumeClaim"): Printer(
        "Name|Status|Volume|Capacity|Access Modes|StorageClass|VolumeAttributesClass|Age"
        "|VolumeMode*",
        _claim,
    ),
    ("v1", "PersistentVolume"): Printer(
        "Name|Capacity|Access Modes|Reclaim Policy|Status|Claim|StorageClass"
        "|VolumeAttributesClass|Reason|Age|VolumeMode*",
        _volume,
    ),
    ("storage.k8s.io/v1", "StorageClass"): Printer(
        "Name|Provisioner|ReclaimPolicy|VolumeBindingMode|AllowVolumeExpansion|Age", _storage_class
    ),
    ("node.k8s.io/v1", "RuntimeClass"): Printer("Name|Handler|Age", _runtime_class),
}
