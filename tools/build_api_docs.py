"""Writes docs/api.md, the support table, from what the API server itself goes by.

    .venv/bin/python -P tools/build_api_docs.py

Kinds come from the table of kinds, columns from the printers, warnings and refusals from asking the
code for all that it warns of and refuses (tools/api_docs_asked.yaml); honoured is what a component
reads: a field that its typed view has and that some module mentions.
tests/unit/test_api_docs.py fails when the page is stale, or when a warning is not asked for.
"""

import ast
import re
import sys
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import yaml

from podwire.emulator.apiserver.admission import admit, service_families, unsupported
from podwire.emulator.apiserver.columns import tables
from podwire.emulator.apiserver.kinds import Kinds
from podwire.emulator.apiserver.resources import ALL_VERBS, Resource, Subresource
from podwire.emulator.apiserver.types import schema
from podwire.emulator.kubelet import unsupported as kubelet_unsupported
from podwire.emulator.runtimes.docker_requests import HONOURED
from podwire.kube import budgets, cluster_objects, jobs, objects, services, stateful, workloads

Json = dict[str, Any]

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "api.md"
ASKED = Path(__file__).with_name("api_docs_asked.yaml")

# The kinds that components read through a typed view.
VIEWS: Mapping[tuple[str, str], type[msgspec.Struct]] = {
    ("v1", "Pod"): objects.Pod,
    ("v1", "Service"): services.Service,
    ("v1", "Endpoints"): services.Endpoints,
    ("discovery.k8s.io/v1", "EndpointSlice"): services.EndpointSlice,
    ("apps/v1", "Deployment"): workloads.Deployment,
    ("apps/v1", "ReplicaSet"): workloads.ReplicaSet,
    ("apps/v1", "StatefulSet"): stateful.StatefulSet,
    ("apps/v1", "DaemonSet"): workloads.DaemonSet,
    ("batch/v1", "Job"): jobs.Job,
    ("batch/v1", "CronJob"): jobs.CronJob,
    ("policy/v1", "PodDisruptionBudget"): budgets.PodDisruptionBudget,
    ("v1", "Node"): cluster_objects.Node,
}
# Fields that the API server acts on itself, without a view.
ACTED_ON = {
    ("ServiceSpec", "allocateLoadBalancerNodePorts"),
    ("ServiceSpec", "ipFamilyPolicy"),
    ("PodAffinityTerm", "matchLabelKeys"),
    ("PodAffinityTerm", "mismatchLabelKeys"),
    ("PodSpec", "serviceAccount"),
    ("JobSpec", "manualSelector"),
    ("PodDisruptionBudgetSpec", "unhealthyPodEvictionPolicy"),
}
# What acts on the other kinds.
ACTORS: Mapping[str, str] = {
    "ConfigMap": "volumes, environment",
    "ControllerRevision": "the controllers of StatefulSets and DaemonSets write them: rollout undo",
    "ClusterRole": "the authorizer; aggregation rules are followed",
    "ClusterRoleBinding": "the authorizer",
    "CustomResourceDefinition": "its kind is served at once, with its schema, defaults and columns",
    "Event": "written by the components; kept for an hour",
    "HorizontalPodAutoscaler": "nothing: stored and described, its metrics stay `<unknown>`",
    "Ingress": "nothing: stored and described, its ADDRESS stays empty",
    "IngressClass": "nothing: there is no ingress controller",
    "Lease": "the node agents renew those of kube-node-lease; clients elect leaders with them",
    "LimitRange": "nothing, see the warning",
    "LocalSubjectAccessReview": "answered by the authorizer",
    "Namespace": "its objects end with it",
    "NetworkPolicy": "nothing, see the warning",
    "NodeMetrics": "measured when asked for: `kubectl top node`",
    "PodMetrics": "measured when asked for: `kubectl top pod`",
    "PriorityClass": "its value and policy are written into pods; no pod gives way to another",
    "ResourceQuota": "nothing, see the warning",
    "Role": "the authorizer",
    "RoleBinding": "the authorizer",
    "Secret": "volumes, environment",
    "SelfSubjectAccessReview": "answered by the authorizer: `kubectl auth can-i`",
    "SelfSubjectReview": "answered: `kubectl auth whoami`",
    "SelfSubjectRulesReview": "answered by the authorizer: `kubectl auth can-i --list`",
    "ServiceAccount": "pods get its token; `kubectl create token`",
    "SubjectAccessReview": "answered by the authorizer",
    "TokenReview": "answered: tokens of ServiceAccounts",
}


@dataclass(frozen=True, slots=True)
class Said:
    """What the server says of the field at *path*; the value is empty unless it is one word."""

    path: str
    field: str
    value: str
    text: str


def page() -> str:
    """Return the text of docs/api.md."""
    kinds = Kinds().all()
    parts = [
        _INTRODUCTION,
        _kinds(kinds),
        _warnings(kinds),
        _refusals(kinds),
        _fields(),
    ]
    return "\n".join(parts)


_INTRODUCTION = """\
# What the API server serves

Generated from the code by `tools/build_api_docs.py`; do not edit. How clients use it:
[kubectl.md](kubectl.md).

The API is that of Kubernetes 1.32. What is not on this page is answered with 404. Three things
can happen to a field: it is honoured; it is stored and has no effect, which the server says in a
warning (`Warning: spec.hostPID: ...` from kubectl) if it could mislead; or it is refused.
"""


def _kinds(kinds: Sequence[Resource]) -> str:
    lines = [
        "## Kinds",
        "",
        "Columns in italics show with `-o wide`. Verbs: *all* stands for "
        f"{', '.join(ALL_VERBS)}. Kinds marked † belong to no namespace.",
        "",
        "| kind | API version | names | verbs | subresources | columns of `kubectl get` "
        "| what acts on it |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [_kind(entry) for entry in kinds]
    lines += [
        "",
        "Kinds that a CustomResourceDefinition adds are served with all verbs, and with the names,",
        "columns and subresources (status, scale) that it says.",
        "",
        "Field selectors: `metadata.name` of every kind, `metadata.namespace` where there is one,",
        "and:",
        "",
        "| kind | field selectors |",
        "|---|---|",
    ]
    lines += [
        f"| {_named(entry)} | {', '.join(f'`{label}`' for label in sorted(entry.fields))} |"
        for entry in kinds
        if entry.fields
    ]
    return "\n".join([*lines, ""])


def _kind(entry: Resource) -> str:
    verbs = "all" if set(entry.verbs) == set(ALL_VERBS) else ", ".join(entry.verbs)
    names = ", ".join([entry.plural, *entry.short_names])
    below = ", ".join(map(_subresource, entry.subresources)) or "-"
    columns = ", ".join(
        f"*{column['name']}*" if column["priority"] else str(column["name"])
        for column in tables.columns(entry.api_version, entry.kind)
    )
    shown = columns if {"get", "list"} & set(entry.verbs) else "-"
    row = [_named(entry), f"`{entry.api_version}`", names, verbs, below, shown, _actor(entry)]
    return f"| {' | '.join(row)} |"


def _named(entry: Resource) -> str:
    return entry.kind + ("" if entry.namespaced else " †")


def _subresource(entry: Subresource) -> str:
    return (
        entry.name
        if set(entry.verbs) - {"get", "patch", "update"} == set()
        else (f"{entry.name} ({', '.join(entry.verbs)})")
    )


def _actor(entry: Resource) -> str:
    if entry.refusal:
        return f"nothing: {entry.refusal}"
    if (entry.api_version, entry.kind) in VIEWS:
        return "see the fields below"
    return ACTORS[entry.kind]


def _warnings(kinds: Sequence[Resource]) -> str:
    warned = dict[str, list[Said]]()
    for obj in _asked():
        if said := warnings_of(obj):
            warned.setdefault(obj["kind"], []).extend(said)
    pod = next(obj for obj in _asked() if obj["kind"] == "Pod")
    lines = [
        "## Stored, without effect, with a warning",
        "",
        "When such a field is set, the server says so in these words. Of pods, and of the pod",
        f"templates of {_listed(_with_templates(kinds, pod))} (`securityContext` is the pod's or a",
        "container's, `containers[]` are all sorts of containers):",
        "",
    ]
    lines += _said_table(warned.pop("Pod"))
    for kind, said in warned.items():
        lines += ["", f"Of {kind}:", "", *_said_table(said)]
    lines += [
        "",
        f"With containers (`docker compose up`) {_listed(f'`{name}`' for name in HONOURED)} of a",
        "securityContext are honoured, and do not warn. These do, there alone:",
        "",
        *_said_table(_of_containers_alone()),
        "",
        "What only the node finds out stands in a Warning event of the pod:",
        "",
    ]
    view = msgspec.convert(_with_capability(pod), objects.Pod)
    lost = [m for m in kubelet_unsupported.unsupported(view, HONOURED) if "capabilities" in m]
    named = re.findall(r"securityContext\.(capabilities\.add: \w+)", " ".join(lost))
    lines += [f"- `{name}` (never given, whatever a pod asks for)" for name in dict.fromkeys(named)]
    return "\n".join([*lines, ""])


def _of_containers_alone() -> list[Said]:
    """Return the warnings that only a cluster of containers gives."""
    pod = next(obj for obj in _asked() if obj["kind"] == "Pod")
    common = unsupported.warnings(pod)
    return _of_texts(pod, [t for t in unsupported.warnings(pod, HONOURED) if t not in common])


def _with_capability(pod: Json) -> Json:
    context = {"capabilities": {"add": ["SYS_ADMIN", "SYS_MODULE", "MKNOD"]}}
    container = {"name": "a", "image": "b", "securityContext": context}
    return {**pod, "spec": {"containers": [container]}}


def _with_templates(kinds: Sequence[Resource], pod: Json) -> Iterator[str]:
    """Yield the kinds that warn of the same in their templates, found out by asking."""
    for entry in kinds:
        template = {"spec": pod["spec"]}
        for spec in ({"template": template}, {"jobTemplate": {"spec": {"template": template}}}):
            obj = {"apiVersion": entry.api_version, "kind": entry.kind, "spec": spec}
            if len(unsupported.warnings(obj)) >= len(unsupported.warnings(pod)):
                yield entry.kind


def warnings_of(obj: Json) -> list[Said]:
    """Return what the server warns of in *obj*, each field once."""
    return [] if _refused(obj) else _of_texts(obj, unsupported.warnings(obj))


def _of_texts(obj: Json, texts: Iterable[str]) -> list[Said]:
    found = dict[tuple[str, str], Said]()
    for text in texts:
        field, _, message = text.partition(": ")
        value = _value(obj, field)
        plain = re.sub(r"\[\d+\]", "[]", field)
        plain = re.sub(r"(init|ephemeral)Containers\[\]", "containers[]", plain)
        plain = re.sub(r"^spec\.(containers\[\]\.)?(?=securityContext)", "", plain)
        said = Said(field, plain, value, message)
        found.setdefault((said.path, said.text), said)
    return list(found.values())


def _value(obj: Json, field: str) -> str:
    """Return the value of a field if it is one word, else nothing."""
    at: Any = obj
    for name in re.findall(r"[^.\[\]]+", field):
        if isinstance(at, list):
            at = at[int(name)]
        elif isinstance(at, dict):
            at = typing.cast("Json", at).get(name)
    if isinstance(at, bool):
        return "true" if at else "false"
    return at if isinstance(at, str) else ""


def _said_table(said: Iterable[Said]) -> list[str]:
    fields = dict[str, list[str]]()
    for one in said:
        shown = f"{one.field}: {one.value}" if one.value else one.field
        fields.setdefault(_plain(one.text), []).append(f"`{shown}`")
    fields = {text: list(dict.fromkeys(names)) for text, names in fields.items()}
    rows = [f"| {', '.join(names)} | {text} |" for text, names in fields.items()]
    return ["| field | what the server says |", "|---|---|", *rows]


def _refusals(kinds: Sequence[Resource]) -> str:
    lines = [
        "## Refused",
        "",
        "What Kubernetes' own rules forbid is refused in Kubernetes' words. These are Podwire's:",
        "",
        "| you ask for | answer |",
        "|---|---|",
    ]
    for obj in _asked():
        for said in refusals_of(obj):
            shown = f"{said.field}: {said.value}" if said.value else said.field
            lines.append(f"| {obj['kind']}: `{shown}` | 422: {_plain(said.text)} |")
    lines += [
        f"| {entry.kind}: {', '.join(v for v in ALL_VERBS if v not in entry.verbs)} | "
        f"405: {entry.refusal} |"
        for entry in kinds
        if entry.refusal
    ]
    return "\n".join([*lines, "| any other kind | 404 |", ""])


def refusals_of(obj: Json) -> list[Said]:
    """Return why the server refuses *obj*, each field once."""
    if not _refused(obj):
        return []
    group, _, version = obj["apiVersion"].rpartition("/")
    resource = Kinds().of_kind(group, version, obj["kind"])
    assert resource is not None
    whole = admit.default(obj, resource)
    # Families come before the rules: allocate.py gives them.
    early = service_families.settle(whole["spec"], None) if obj["kind"] == "Service" else []
    problems = early or admit.validate(whole, resource, None)
    return _of_texts(obj, [f"{problem.field}: {problem.message}" for problem in problems])


def _refused(obj: Json) -> bool:
    return str(obj["metadata"]["name"]).startswith("refused")


@cache
def _asked() -> tuple[Json, ...]:
    return tuple(yaml.safe_load_all(ASKED.read_text(encoding="utf-8")))


def _fields() -> str:
    lines = [
        "## Fields",
        "",
        "Type by type (`kubectl explain` shows where each stands). Honoured: a component acts on",
        "it. Stored: kept and shown, and nothing else. ⚠: there is a warning for it, or for some",
        "values of it; ✗: it is refused, or some values of it. Status and metadata are left out:",
        "they are as in Kubernetes.",
        "",
        "| type | honoured | stored |",
        "|---|---|---|",
    ]
    done = set[str]()
    rows = [
        row
        for (api_version, kind), view in VIEWS.items()
        if (type_ := schema.type_of(api_version, kind)) is not None
        for row in _types(type_, view, done)
        if row[1] + row[2] != ["spec"]
    ]
    marks = _marks(done)
    for type_, *columns in rows:
        shown = [
            ", ".join(f"{name}{marks.get((type_.name, name), '')}" for name in names) or "-"
            for names in columns
        ]
        lines.append(f"| {type_.name if _twice(type_) else type_.go} | {' | '.join(shown)} |")
    return "\n".join([*lines, ""])


def _twice(type_: schema.Type) -> bool:
    return type_.go == "EndpointPort"  # of Endpoints, and of EndpointSlices


def _marks(listed: set[str]) -> dict[tuple[str, str], str]:
    """Return the mark of each field of a listed type that something is said of."""
    marks = dict[tuple[str, str], str]()
    for obj in _asked():
        for mark, said in ((" ⚠", warnings_of(obj)), (" ✗", refusals_of(obj))):
            for one in said:
                # Where the type itself is not listed, the field that leads to it is marked.
                places = [p for p in _places(obj, one.path) if p[0] in listed]
                marks |= dict.fromkeys(places[-1:], mark)
    return marks


def _places(obj: Json, field: str) -> Iterator[tuple[str, str]]:
    """Yield the types and fields on the way to *field*: ("core/v1.PodSpec", "hostPID")."""
    type_ = schema.type_of(obj["apiVersion"], obj["kind"])
    for name in re.findall(r"[^.\[\]]+", field):
        if name.isdigit():
            continue
        if type_ is None or name not in type_.fields:
            return
        yield type_.name, name
        type_ = _inner(type_.fields[name].kind)


def _types(
    type_: schema.Type, view: type[msgspec.Struct], done: set[str]
) -> Iterator[tuple[schema.Type, list[str], list[str]]]:
    """Yield the honoured and the other fields of a type, and of those below it."""
    if type_.name in done:
        return
    done.add(type_.name)
    read = {field.encode_name: field for field in msgspec.structs.fields(view)}
    below = list[tuple[schema.Type, type[msgspec.Struct]]]()
    honoured, stored = list[str](), list[str]()
    for name, declared in type_.fields.items():
        if "metadata" in type_.fields and name in ("apiVersion", "kind", "metadata", "status"):
            continue
        known = name in read and read[name].name in _attributes()
        (honoured if known or (type_.go, name) in ACTED_ON else stored).append(name)
        inner = _inner(declared.kind)
        viewed = _struct(read[name].type) if name in read else None
        if inner is not None and viewed is not None:
            below.append((inner, viewed))
    yield type_, honoured, stored
    for inner, viewed in below:
        yield from _types(inner, viewed, done)


def _inner(kind: schema.Kind) -> schema.Type | None:
    while kind.shape in ("list", "map"):
        kind = kind.of
    return schema.struct(kind.name) if kind.shape == "struct" else None


def _struct(annotation: Any) -> type[msgspec.Struct] | None:
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        return annotation
    return next(filter(None, map(_struct, typing.get_args(annotation))), None)


@cache
def _attributes() -> frozenset[str]:
    """Return the names of all attributes that some module looks at."""
    parts = [ROOT / "emulator", ROOT / "proxy", ROOT / "dns", ROOT / "podwire" / "kube"]
    return frozenset(
        node.attr
        for part in parts
        for path in part.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
    )


def _plain(text: str) -> str:
    """Return *text* so that Markdown shows it as it is, in a table, too."""
    return re.sub(r"([|<])", r"\\\1", text)


def _listed(words: Iterable[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last


def main() -> int:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
