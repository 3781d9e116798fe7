"""Pure: the table of kinds that every cluster serves; what is not here answers 404.

A kind that nobody acts on is served for reading only, with its `refusal`: to be refused tells the
user more than an object that is stored and does nothing.
"""

from types import MappingProxyType

from podwire.emulator.apiserver.resources import ALL_VERBS, FieldPaths, Resource, Subresource

_READ = ("get", "list", "watch")
_STATUS_VERBS = ("get", "patch", "update")
_CONNECT = ("create", "get")
_PROXY_VERBS = ("create", "delete", "get", "patch", "update")


def _field(path: str, absent: str = "") -> tuple[tuple[str, ...], str]:
    return tuple(path.split(".")), absent


def _fields(*paths: str, **absent: str) -> FieldPaths:
    table = {path: _field(path) for path in paths}
    table |= {
        key.replace("__", "."): _field(key.replace("__", "."), value)
        for key, value in absent.items()
    }
    return MappingProxyType(table)


def _status(kind: str, group: str = "", version: str = "v1") -> Subresource:
    return Subresource("status", kind, _STATUS_VERBS, group, version)


def _proxy(kind: str) -> Subresource:
    return Subresource("proxy", kind, _PROXY_VERBS)


_SCALE = Subresource("scale", "Scale", _STATUS_VERBS, "autoscaling", "v1")

_EVENT_FIELDS = (
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "type",
)
_CORE_EVENT_FIELDS: FieldPaths = MappingProxyType(
    {path: _field(path) for path in (*_EVENT_FIELDS, "reportingComponent")}
    | {"source": _field("source.component")}
)
_NEW_EVENT_FIELDS: FieldPaths = MappingProxyType(
    {path.replace("involvedObject", "regarding"): _field(path) for path in _EVENT_FIELDS}
    | {"reportingController": _field("reportingComponent")}
)

_NO_DISKS = (
    "persistent volumes are not emulated: use a volume of kind emptyDir, configMap, secret, "
    "projected or hostPath"
)

_CORE_EVENTS = Resource(
    "", "v1", "events", "event", "Event",
    short_names=("ev",), create_on_update=True, fields=_CORE_EVENT_FIELDS,
)  # fmt: skip
_AUTOSCALERS = Resource(
    "autoscaling", "v2", "horizontalpodautoscalers", "horizontalpodautoscaler",
    "HorizontalPodAutoscaler", short_names=("hpa",), categories=("all",),
    subresources=(_status("HorizontalPodAutoscaler", "autoscaling", "v2"),),
)  # fmt: skip

_CORE: tuple[Resource, ...] = (
    Resource(
        "", "v1", "configmaps", "configmap", "ConfigMap", short_names=("cm",),
    ),
    Resource(
        "", "v1", "endpoints", "endpoints", "Endpoints",
        short_names=("ep",), create_on_update=True,
    ),
    _CORE_EVENTS,
    Resource(
        "", "v1", "limitranges", "limitrange", "LimitRange",
        short_names=("limits",), create_on_update=True,
    ),
    Resource(
        "", "v1", "namespaces", "namespace", "Namespace",
        namespaced=False, short_names=("ns",),
        # No deletecollection: the real server does not offer it for namespaces either.
        verbs=tuple(verb for verb in ALL_VERBS if verb != "deletecollection"),
        subresources=(Subresource("finalize", "Namespace", ("update",)), _status("Namespace")),
        fields=_fields("status.phase"),
    ),
    Resource(
        "", "v1", "nodes", "node", "Node",
        namespaced=False, short_names=("no",),
        subresources=(_proxy("NodeProxyOptions"), _status("Node")),
        # The kubelet registers its node with the status filled in.
        status_on_create=True, fields=_fields(spec__unschedulable="false"),
    ),
    Resource(
        "", "v1", "persistentvolumeclaims", "persistentvolumeclaim", "PersistentVolumeClaim",
        short_names=("pvc",), verbs=_READ, refusal=_NO_DISKS,
    ),
    Resource(
        "", "v1", "persistentvolumes", "persistentvolume", "PersistentVolume",
        namespaced=False, short_names=("pv",), verbs=_READ, refusal=_NO_DISKS,
    ),
    Resource(
        "", "v1", "pods", "pod", "Pod",
        short_names=("po",), categories=("all",),
        subresources=(
            Subresource("attach", "PodAttachOptions", _CONNECT),
            Subresource("binding", "Binding", ("create",)),
            Subresource("ephemeralcontainers", "Pod", _STATUS_VERBS),
            Subresource("eviction", "Eviction", ("create",), "policy"),
            Subresource("exec", "PodExecOptions", _CONNECT),
            Subresource("log", "Pod", ("get",)),
            Subresource("portforward", "PodPortForwardOptions", _CONNECT),
            _proxy("PodProxyOptions"),
            _status("Pod"),
        ),
        fields=_fields(
            "spec.nodeName", "spec.restartPolicy", "spec.schedulerName",
            "spec.serviceAccountName", "status.phase", "status.podIP",
            "status.nominatedNodeName", spec__hostNetwork="false",
        ),
    ),
    Resource(
        "", "v1", "podtemplates", "podtemplate", "PodTemplate", generation=True, verbs=_READ,
        refusal="no controller uses PodTemplates here: write the template into a Deployment or Job",
    ),
    Resource(
        "", "v1", "replicationcontrollers", "replicationcontroller", "ReplicationController",
        short_names=("rc",), categories=("all",), generation=True, verbs=_READ,
        refusal="there is no controller for ReplicationControllers here: use a Deployment",
    ),
    Resource(
        "", "v1", "resourcequotas", "resourcequota", "ResourceQuota",
        short_names=("quota",), subresources=(_status("ResourceQuota"),),
    ),
    Resource(
        "", "v1", "secrets", "secret", "Secret", fields=_fields("type"),
    ),
    Resource(
        "", "v1", "serviceaccounts", "serviceaccount", "ServiceAccount", short_names=("sa",),
        subresources=(Subresource("token", "TokenRequest", ("create",), "authentication.k8s.io"),),
    ),
    Resource(
        "", "v1", "services", "service", "Service",
        short_names=("svc",), categories=("all",),
        subresources=(_proxy("ServiceProxyOptions"), _status("Service")),
        create_on_update=True, fields=_fields("spec.clusterIP", "spec.type"),
    ),
)  # fmt: skip

_WORKLOADS: tuple[Resource, ...] = (
    Resource(
        "apps", "v1", "controllerrevisions", "controllerrevision", "ControllerRevision",
    ),
    Resource(
        "apps", "v1", "daemonsets", "daemonset", "DaemonSet",
        short_names=("ds",), categories=("all",), generation=True,
        subresources=(_status("DaemonSet", "apps"),),
    ),
    Resource(
        "apps", "v1", "deployments", "deployment", "Deployment",
        short_names=("deploy",), categories=("all",), generation=True,
        subresources=(_SCALE, _status("Deployment", "apps")),
    ),
    Resource(
        "apps", "v1", "replicasets", "replicaset", "ReplicaSet",
        short_names=("rs",), categories=("all",), generation=True,
        subresources=(_SCALE, _status("ReplicaSet", "apps")),
        fields=_fields(status__replicas="0"),
    ),
    Resource(
        "apps", "v1", "statefulsets", "statefulset", "StatefulSet",
        short_names=("sts",), categories=("all",), generation=True,
        subresources=(_SCALE, _status("StatefulSet", "apps")),
    ),
)  # fmt: skip

_REVIEWS: tuple[Resource, ...] = tuple(
    Resource(
        f"{part}.k8s.io", "v1", f"{kind.lower()}s", kind.lower(), kind,
        namespaced=kind.startswith("Local"), verbs=("create",),
    )
    for part, kind in (
        ("authentication", "SelfSubjectReview"),
        ("authentication", "TokenReview"),
        ("authorization", "LocalSubjectAccessReview"),
        ("authorization", "SelfSubjectAccessReview"),
        ("authorization", "SelfSubjectRulesReview"),
        ("authorization", "SubjectAccessReview"),
    )
)  # fmt: skip

_ACCESS: tuple[Resource, ...] = tuple(
    Resource(
        "rbac.authorization.k8s.io", "v1", f"{kind.lower()}s", kind.lower(), kind,
        namespaced=not kind.startswith("Cluster"), create_on_update=True,
    )
    for kind in ("ClusterRoleBinding", "ClusterRole", "RoleBinding", "Role")
)  # fmt: skip

BUILTIN: tuple[Resource, ...] = (
    *_CORE,
    *_WORKLOADS,
    Resource(
        "events.k8s.io", "v1", "events", "event", "Event",
        short_names=("ev",), create_on_update=True, fields=_NEW_EVENT_FIELDS,
        stored_as=_CORE_EVENTS,
    ),
    *_REVIEWS,
    _AUTOSCALERS,
    Resource(
        "autoscaling", "v1", "horizontalpodautoscalers", "horizontalpodautoscaler",
        "HorizontalPodAutoscaler", short_names=("hpa",), categories=("all",),
        subresources=(_status("HorizontalPodAutoscaler", "autoscaling"),),
        stored_as=_AUTOSCALERS,
    ),
    Resource(
        "batch", "v1", "cronjobs", "cronjob", "CronJob",
        short_names=("cj",), categories=("all",), generation=True,
        subresources=(_status("CronJob", "batch"),),
    ),
    Resource(
        "batch", "v1", "jobs", "job", "Job",
        categories=("all",), generation=True, subresources=(_status("Job", "batch"),),
        fields=MappingProxyType({"status.successful": _field("status.succeeded", "0")}),
    ),
    Resource(
        "networking.k8s.io", "v1", "ingressclasses", "ingressclass", "IngressClass",
        namespaced=False, generation=True,
    ),
    Resource(
        "networking.k8s.io", "v1", "ingresses", "ingress", "Ingress",
        short_names=("ing",), generation=True,
        subresources=(_status("Ingress", "networking.k8s.io"),),
    ),
    Resource(
        "networking.k8s.io", "v1", "networkpolicies", "networkpolicy", "NetworkPolicy",
        short_names=("netpol",), generation=True,
    ),
    Resource(
        "policy", "v1", "poddisruptionbudgets", "poddisruptionbudget", "PodDisruptionBudget",
        short_names=("pdb",), generation=True, unconditional_update=False,
        subresources=(_status("PodDisruptionBudget", "policy"),),
    ),
    *_ACCESS,
    Resource(
        "apiextensions.k8s.io", "v1", "customresourcedefinitions", "customresourcedefinition",
        "CustomResourceDefinition", namespaced=False, short_names=("crd", "crds"),
        categories=("api-extensions",), generation=True, unconditional_update=False,
        subresources=(_status("CustomResourceDefinition", "apiextensions.k8s.io"),),
    ),
    Resource(
        "scheduling.k8s.io", "v1", "priorityclasses", "priorityclass", "PriorityClass",
        namespaced=False, short_names=("pc",), generation=True,
    ),
    Resource(
        "coordination.k8s.io", "v1", "leases", "lease", "Lease",
        create_on_update=True, unconditional_update=False,
    ),
    Resource(
        "discovery.k8s.io", "v1", "endpointslices", "endpointslice", "EndpointSlice",
        generation=True,
    ),
    Resource(
        "metrics.k8s.io", "v1beta1", "nodes", "", "NodeMetrics",
        namespaced=False, verbs=("get", "list"), computed=True,
    ),
    Resource(
        "metrics.k8s.io", "v1beta1", "pods", "", "PodMetrics",
        verbs=("get", "list"), computed=True,
    ),
)  # fmt: skip
"""Every kind that is built in, groups in the order of kubectl's preference."""
