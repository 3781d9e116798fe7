"""Pure: the roles and bindings that every cluster has, as far as something here answers to them.

Source: plugin/pkg/auth/authorizer/rbac/bootstrappolicy; `system:coredns` is kubeadm's and
`system:aggregated-metrics-reader` metrics-server's. What Kubernetes has for its own controllers
is left out: here these are members of system:masters.
"""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

from podwire.emulator.apiserver.access import rbac_aggregation
from podwire.emulator.apiserver.access.authorize import CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES
from podwire.emulator.apiserver.access.rbac import GROUP
from podwire.emulator.apiserver.request import Api
from podwire.kube.names import Key
from podwire.kube.times import rfc3339

Json = dict[str, Any]

_READ = "get list watch"
_WRITE = "create delete deletecollection patch update"
_ALL = f"{_WRITE} {_READ}"

# Rules: verbs, groups (a dot is the core group) or nothing, resources or paths.
_Rules = tuple[tuple[str, str, str], ...]

_STREAMS = "pods/attach pods/exec pods/portforward pods/proxy"
_SCALED = (
    "deployments deployments/scale replicasets replicasets/scale statefulsets statefulsets/scale"
)

_ADMIN: _Rules = (
    ("create", "authorization.k8s.io", "localsubjectaccessreviews"),
    (_ALL, GROUP, "rolebindings roles"),
)
_EDIT: _Rules = (
    (_READ, ".", f"{_STREAMS} secrets services/proxy"),
    ("impersonate", ".", "serviceaccounts"),
    (_WRITE, ".", f"pods {_STREAMS}"),
    ("create", ".", "pods/eviction"),
    (
        _WRITE,
        ".",
        "configmaps events persistentvolumeclaims replicationcontrollers "
        "replicationcontrollers/scale secrets serviceaccounts services services/proxy",
    ),
    ("create", ".", "serviceaccounts/token"),
    (_WRITE, "apps", f"daemonsets deployments/rollback {_SCALED}"),
    (_WRITE, "autoscaling", "horizontalpodautoscalers"),
    (_WRITE, "batch", "cronjobs jobs"),
    (_WRITE, "policy", "poddisruptionbudgets"),
    (_WRITE, "networking.k8s.io", "ingresses networkpolicies"),
    (_ALL, "coordination.k8s.io", "leases"),
)
_VIEW: _Rules = (
    (
        _READ,
        ".",
        "configmaps endpoints persistentvolumeclaims persistentvolumeclaims/status pods "
        "replicationcontrollers replicationcontrollers/scale serviceaccounts services "
        "services/status",
    ),
    (
        _READ,
        ".",
        "bindings events limitranges namespaces/status pods/log pods/status "
        "replicationcontrollers/status resourcequotas resourcequotas/status",
    ),
    (_READ, ".", "namespaces"),
    (_READ, "discovery.k8s.io", "endpointslices"),
    (
        _READ,
        "apps",
        f"controllerrevisions daemonsets daemonsets/status {_SCALED} deployments/status "
        "replicasets/status statefulsets/status",
    ),
    (_READ, "autoscaling", "horizontalpodautoscalers horizontalpodautoscalers/status"),
    (_READ, "batch", "cronjobs cronjobs/status jobs jobs/status"),
    (_READ, "policy", "poddisruptionbudgets poddisruptionbudgets/status"),
    (_READ, "networking.k8s.io", "ingresses ingresses/status networkpolicies"),
)
_NODE: _Rules = (
    ("create", "authentication.k8s.io", "tokenreviews"),
    ("create", "authorization.k8s.io", "localsubjectaccessreviews subjectaccessreviews"),
    (_READ, ".", "services"),
    (f"create {_READ}", ".", "nodes"),
    ("patch update", ".", "nodes/status"),
    ("delete patch update", ".", "nodes"),
    ("create patch update", ".", "events"),
    (f"create delete {_READ}", ".", "pods"),
    ("patch update", ".", "pods/status"),
    ("create", ".", "pods/eviction"),
    (_READ, ".", "configmaps secrets"),
    ("create", ".", "serviceaccounts/token"),
    (_ALL, "coordination.k8s.io", "leases"),
)
_DISCOVERY: _Rules = (
    (
        "get",
        "",
        "/api /api/* /apis /apis/* /healthz /livez /openapi /openapi/* /readyz /version /version/",
    ),
)

_TO_ROLES: dict[str, _Rules] = {
    "system:aggregate-to-admin": _ADMIN,
    "system:aggregate-to-edit": _EDIT,
    "system:aggregate-to-view": _VIEW,
}
_PLAIN_ROLES: dict[str, _Rules] = {
    "cluster-admin": (("*", "*", "*"), ("*", "", "*")),
    "system:auth-delegator": (
        ("create", "authentication.k8s.io", "tokenreviews"),
        ("create", "authorization.k8s.io", "subjectaccessreviews"),
    ),
    "system:basic-user": (
        ("create", "authorization.k8s.io", "selfsubjectaccessreviews selfsubjectrulesreviews"),
        ("create", "authentication.k8s.io", "selfsubjectreviews"),
    ),
    "system:discovery": _DISCOVERY,
    "system:monitoring": (
        ("get", "", "/healthz /healthz/* /livez /livez/* /metrics /metrics/slis /readyz /readyz/*"),
    ),
    "system:node": _NODE,
    "system:node-proxier": (
        ("list watch", ".", "endpoints services"),
        (_READ, ".", "nodes"),
        ("create patch update", ". events.k8s.io", "events"),
        ("list watch", "discovery.k8s.io", "endpointslices"),
    ),
    "system:public-info-viewer": (("get", "", "/healthz /livez /readyz /version /version/"),),
}
_COREDNS: _Rules = (
    (_READ, ".", "endpoints namespaces pods services"),
    (_READ, "discovery.k8s.io", "endpointslices"),
)
_METRICS: _Rules = ((_READ, "metrics.k8s.io", "nodes pods"),)

_EVERYBODY = ("system:authenticated", "system:unauthenticated")
# Role -> who has it: kinds and names.
_BINDINGS: dict[str, tuple[tuple[str, str], ...]] = {
    "cluster-admin": (("Group", "system:masters"),),
    "system:basic-user": (("Group", "system:authenticated"),),
    "system:coredns": (("ServiceAccount", "coredns"),),
    "system:discovery": (("Group", "system:authenticated"),),
    "system:monitoring": (("Group", "system:monitoring"),),
    "system:node": (),
    "system:node-proxier": (("User", "system:kube-proxy"),),
    "system:public-info-viewer": tuple(("Group", name) for name in _EVERYBODY),
}
_FOREIGN = ("system:coredns", "system:aggregated-metrics-reader")
_DEFAULTS = {"kubernetes.io/bootstrapping": "rbac-defaults"}
_UPDATED = {"rbac.authorization.kubernetes.io/autoupdate": "true"}


def fill(api: Api, *, now: float) -> None:
    """Create the roles and bindings that are missing."""
    # Straight into the store: what is written here is well-formed, and a start has no time.
    for collection, obj in (
        *((CLUSTER_ROLES, role) for role in _roles()),
        *((CLUSTER_ROLE_BINDINGS, binding) for binding in _bindings()),
    ):
        meta = obj["metadata"]
        key = Key("", meta["name"])
        if api.store.get(collection, key) is None:
            meta["uid"] = str(UUID(int=api.dice.getrandbits(128), version=4))
            meta["creationTimestamp"] = rfc3339(now)
            api.store.put(collection, key, obj)
    rbac_aggregation.settle(api.store)


def _roles() -> Iterator[Json]:
    for name, rules in _PLAIN_ROLES.items():
        yield _role(name, {}, rules)
    for name, rules in _TO_ROLES.items():
        yield _role(name, _aggregated_to(name.rpartition("-")[2]), rules)
    yield _role("system:coredns", {}, _COREDNS)
    labels = {"k8s-app": "metrics-server"}
    for short in ("admin", "edit", "view"):
        labels |= _aggregated_to(short)
    yield _role("system:aggregated-metrics-reader", labels, _METRICS)
    for name, into in (("admin", ""), ("edit", "admin"), ("view", "edit")):
        role = _role(name, _aggregated_to(into) if into else {}, ())
        selector = {"matchLabels": _aggregated_to(name)}
        yield {**role, "aggregationRule": {"clusterRoleSelectors": [selector]}}


def _role(name: str, labels: dict[str, str], rules: _Rules) -> Json:
    return {**_object("ClusterRole", name, labels), "rules": [_rule(*rule) for rule in rules]}


def _rule(verbs: str, groups: str, what: str) -> Json:
    if not groups:
        return {"verbs": verbs.split(), "nonResourceURLs": what.split()}
    named = ["" if group == "." else group for group in groups.split()]
    return {"verbs": verbs.split(), "apiGroups": named, "resources": what.split()}


def _bindings() -> Iterator[Json]:
    for name, subjects in _BINDINGS.items():
        obj = _object("ClusterRoleBinding", name, {})
        if subjects:
            obj["subjects"] = [_subject(*subject) for subject in subjects]
        yield {**obj, "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": name}}


def _subject(kind: str, name: str) -> Json:
    if kind == "ServiceAccount":
        return {"kind": kind, "name": name, "namespace": "kube-system"}
    return {"kind": kind, "apiGroup": GROUP, "name": name}


def _object(kind: str, name: str, labels: dict[str, str]) -> Json:
    meta: Json = {"name": name}
    own = name not in _FOREIGN
    if labels or own:
        meta["labels"] = (_DEFAULTS if own else {}) | labels
    if own:
        meta["annotations"] = dict(_UPDATED)
    return {"kind": kind, "apiVersion": f"{GROUP}/v1", "metadata": meta}


def _aggregated_to(name: str) -> dict[str, str]:
    return {f"{GROUP}/aggregate-to-{name}": "true"}
