"""What is refused of jobs, autoscalers, ingresses, roles, budgets and quotas, in which words."""

from typing import Any

import pytest
import yaml

from podwire.emulator.apiserver.admission.defaults import default
from podwire.emulator.apiserver.admission.validate_pods import ephemeral
from podwire.emulator.apiserver.admission.validation import validate
from podwire.emulator.apiserver.types.normalise import normalise

C = "{name: a, image: b}"
ONCE = f"template: {{spec: {{restartPolicy: Never, containers: [{C}]}}}}"
MANUAL = f"manualSelector: true, selector: {{matchLabels: {{a: b}}}}, template: {{metadata: {{labels: {{a: b}}}}, spec: {{restartPolicy: Never, containers: [{C}]}}}}"
IMMUTABLE = "field is immutable"


def made(kind: str, text: str, meta: str = "") -> Any:
    api_version, _, name = kind.partition(" ")
    read: dict[str, Any] = yaml.safe_load(text) or {}
    more: dict[str, Any] = yaml.safe_load(meta) or {}
    obj: dict[str, Any] = {"metadata": {"name": "x", "uid": "u", **more}, **read}
    return default(normalise(obj, api_version, name).object, api_version, name)


def problems(kind: str, text: str, old: str | None = None) -> list[str]:
    api_version, _, name = kind.partition(" ")
    before = None if old is None else made(kind, old)
    found = validate(made(kind, text), api_version, name, before)
    return [f"{one.field}: {one.message}" for one in found]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (ONCE, []),
        (f"template: {{spec: {{containers: [{C}]}}}}", ['spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"']),
        (f"selector: {{matchLabels: {{a: b}}}}, {ONCE}", ['spec.selector: Invalid value: v1.LabelSelector{MatchLabels:map[string]string{"a":"b", "batch.kubernetes.io/controller-uid":"u"}, MatchExpressions:[]v1.LabelSelectorRequirement(nil)}: `selector` not auto-generated', 'spec.template.metadata.labels: Invalid value: map[string]string{"batch.kubernetes.io/controller-uid":"u", "batch.kubernetes.io/job-name":"x", "controller-uid":"u", "job-name":"x"}: `selector` does not match template `labels`']),
        (MANUAL, []),
        (f"completionMode: Indexed, {ONCE}", []),  # one completion by default
        (f"completionMode: Indexed, parallelism: 2, {ONCE}", ["spec.completions: Required value: when completion mode is Indexed"]),
        (f"backoffLimitPerIndex: 1, {ONCE}", ["spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode"]),
        (f"parallelism: -1, backoffLimit: -2, {ONCE}", [f"spec.{name}: Invalid value: {value}: must be greater than or equal to 0" for name, value in (("parallelism", -1), ("backoffLimit", -2))]),
        (f"podFailurePolicy: {{rules: [{{action: Skip, onExitCodes: {{operator: In, values: [2, 0]}}}}]}}, {ONCE}", ['spec.podFailurePolicy.rules[0].action: Unsupported value: "Skip": supported values: "Count", "FailIndex", "FailJob", "Ignore"', "spec.podFailurePolicy.rules[0].onExitCodes.values[1]: Invalid value: 0: must not be 0 for the In operator", "spec.podFailurePolicy.rules[0].onExitCodes.values: Invalid value: []int32{2, 0}: must be ordered"]),
        (f"podFailurePolicy: {{rules: [{{action: Ignore}}]}}, {ONCE}", ["spec.podFailurePolicy.rules[0]: Invalid value: specifying one of OnExitCodes and OnPodConditions is required"]),
        (f"completions: 2, completionMode: Indexed, successPolicy: {{rules: [{{succeededCount: 3}}]}}, {ONCE}", ["spec.successPolicy.rules[0].succeededCount: Invalid value: 3: must be less than or equal to 2 (the number of specified completions)"]),
        (f"podReplacementPolicy: Soon, {ONCE}", ['spec.podReplacementPolicy: Unsupported value: "Soon": supported values: "Failed", "TerminatingOrFailed"']),
    ],
)  # fmt: skip
def test_jobs(spec: str, expected: list[str]) -> None:
    assert problems("batch/v1 Job", f"spec: {{{spec}}}") == expected


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("completions: 1", "completions: 1, parallelism: 3", []),
        ("completions: 2", "completions: 3", [f"spec.completions: Invalid value: 3: {IMMUTABLE}"]),
        ("completions: 2, parallelism: 2, completionMode: Indexed", "completions: 3, parallelism: 3, completionMode: Indexed", []),
        ("completions: 2, completionMode: Indexed", "completions: 3, completionMode: Indexed", ["spec.completions: Invalid value: 3: can only be modified in tandem with spec.parallelism"]),
    ],
)  # fmt: skip
def test_changes_of_a_job(old: str, new: str, expected: list[str]) -> None:
    before, after = (f"spec: {{{text}, {ONCE}}}" for text in (old, new))
    assert problems("batch/v1 Job", after, before) == expected


def test_a_job_that_was_stored_must_bring_its_selector() -> None:
    stored = made("batch/v1 Job", f"spec: {{{ONCE}}}", "resourceVersion: '5'")
    assert "selector" not in stored["spec"]


def test_only_a_suspended_job_may_go_elsewhere() -> None:
    def job(suspended: str, node: str) -> str:
        template = f"{{restartPolicy: Never, nodeSelector: {{a: {node}}}, containers: [{C}]}}"
        return f"spec: {{suspend: {suspended}, template: {{spec: {template}}}}}"

    kind = "batch/v1 Job"
    assert problems(kind, job("true", "b"), job("true", "c")) == []
    wrong = f"spec.template: Invalid value: core.PodTemplateSpec{{...}}: {IMMUTABLE}"
    assert problems(kind, job("false", "b"), job("false", "c")) == [wrong]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("schedule: '*/5 * * * *'", []),
        ("schedule: '@hourly'", []),
        ("schedule: ''", ["spec.schedule: Required value"]),
        ("schedule: '* * *'", ['spec.schedule: Invalid value: "* * *": expected exactly 5 fields, found 3: [* * *]']),
        ("schedule: '60 * * * *'", ['spec.schedule: Invalid value: "60 * * * *": end of range (60) above maximum (59): 60']),
        ("schedule: '* * * * *', timeZone: Nowhere/Land", ['spec.timeZone: Invalid value: "Nowhere/Land": unknown time zone Nowhere/Land']),
        ("schedule: '* * * * *', concurrencyPolicy: Maybe", ['spec.concurrencyPolicy: Unsupported value: "Maybe": supported values: "Allow", "Forbid", "Replace"']),
        ("schedule: '* * * * *', timeZone: Local", ['spec.timeZone: Invalid value: "Local": timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones']),
        ("schedule: '* * * * *', timeZone: -x", ['spec.timeZone: Invalid value: "-x": unknown time zone -x']),
        ("schedule: '* * * * *', failedJobsHistoryLimit: -1", ["spec.failedJobsHistoryLimit: Invalid value: -1: must be greater than or equal to 0"]),
    ],
)  # fmt: skip
def test_cron_jobs(spec: str, expected: list[str]) -> None:
    whole = f"spec: {{{spec}, jobTemplate: {{spec: {{{ONCE}}}}}}}"
    assert problems("batch/v1 CronJob", whole) == expected


def test_a_cron_job_has_a_name_that_its_jobs_can_have() -> None:
    name = "a" * 53
    whole = f"metadata: {{name: {name}}}\nspec: {{schedule: '@daily', jobTemplate: {{spec: {{{ONCE}}}}}}}"
    wrong = f'metadata.name: Invalid value: "{name}": must be no more than 52 characters'
    assert problems("batch/v1 CronJob", whole) == [wrong]
    assert problems("batch/v1 CronJob", whole, whole.replace("@daily", "@hourly")) == []


REF = "scaleTargetRef: {kind: Deployment, name: web}"


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (f"maxReplicas: 3, {REF}", []),
        (f"minReplicas: 0, maxReplicas: 3, {REF}", ["spec.minReplicas: Invalid value: 0: must be greater than or equal to 1"]),
        ("maxReplicas: 3, scaleTargetRef: {}", ["spec.scaleTargetRef.kind: Required value", "spec.scaleTargetRef.name: Required value"]),
        (f"maxReplicas: 3, {REF}, metrics: [{{type: Moon}}]", ['spec.metrics[0].type: Unsupported value: "Moon": supported values: "ContainerResource", "External", "Object", "Pods", "Resource"']),
        (f"maxReplicas: 3, {REF}, metrics: [{{type: Pods}}]", ["spec.metrics[0].pods: Required value: must populate information for the given metric source"]),
        (f"maxReplicas: 3, {REF}, metrics: [{{type: Resource, resource: {{name: cpu, target: {{type: Utilization}}}}}}]", ["spec.metrics[0].resource.target.averageUtilization: Required value: must set either a target raw value or a target utilization"]),
        (f"maxReplicas: 3, {REF}, behavior: {{scaleDown: {{stabilizationWindowSeconds: 4000, policies: [{{type: Some, value: 0, periodSeconds: 2000}}]}}}}", ["spec.behavior.scaleDown.stabilizationWindowSeconds: Invalid value: 4000: must be less than or equal to 3600", 'spec.behavior.scaleDown.policies[0].type: Unsupported value: "Some": supported values: "Percent", "Pods"', "spec.behavior.scaleDown.policies[0].value: Invalid value: 0: must be greater than zero", "spec.behavior.scaleDown.policies[0].periodSeconds: Invalid value: 2000: must be less than or equal to 1800"]),
    ],
)  # fmt: skip
def test_autoscalers(spec: str, expected: list[str]) -> None:
    assert problems("autoscaling/v2 HorizontalPodAutoscaler", f"spec: {{{spec}}}") == expected


BACKEND = "backend: {service: {name: a, port: {number: 80}}}"


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("Ingress", "spec: {}", ["spec: Invalid value: []networking.IngressRule(nil): either `defaultBackend` or `rules` must be specified"]),
        ("Ingress", "spec: {rules: [{host: 10.0.0.1}]}", ['spec.rules[0].host: Invalid value: "10.0.0.1": must be a DNS name, not an IP address']),
        ("Ingress", "spec: {rules: [{http: {}}]}", ["spec.rules[0].http.paths: Required value"]),
        ("Ingress", f"spec: {{rules: [{{http: {{paths: [{{path: /a//b/.., pathType: Prefix, {BACKEND}}}]}}}}]}}", ["spec.rules[0].http.paths[0].path: Invalid value: \"/a//b/..\": must not contain '//'", "spec.rules[0].http.paths[0].path: Invalid value: \"/a//b/..\": cannot end with '/..'"]),
        ("Ingress", "spec: {defaultBackend: {service: {name: a, port: {number: 80, name: http}}}}", ['spec.defaultBackend: Invalid value: "": cannot set both port name & port number']),
        ("Ingress", "spec: {defaultBackend: {service: {name: a}}}", ["spec.defaultBackend: Required value: port name or number is required"]),
        ("Ingress", "metadata: {name: x, annotations: {kubernetes.io/ingress.class: a}}\nspec: {ingressClassName: b, rules: [{}]}", ['annotations.kubernetes.io/ingress.class: Invalid value: "a": must match `ingressClassName` when both are specified']),
        ("IngressClass", "spec: {controller: example.com/c}", []),
        ("IngressClass", "spec: {controller: example}", ['spec.controller: Invalid value: "example": must be a domain-prefixed path (such as "acme.io/foo")']),
        ("IngressClass", "spec: {controller: a.b/c, parameters: {kind: K, name: n, scope: Namespace}}", ["spec.parameters.namespace: Required value: `parameters.scope` is set to 'Namespace'"]),
        ("NetworkPolicy", "spec: {podSelector: {}, egress: [{to: [{ipBlock: {cidr: 10.0.0.0/8, except: [11.0.0.0/16]}}]}]}", ["spec.egress[0].to[0].ipBlock.except[0]: Invalid value: \"11.0.0.0/16\": must be a strict subset of `cidr`"]),
    ],
)  # fmt: skip
def test_networking(kind: str, text: str, expected: list[str]) -> None:
    assert problems(f"networking.k8s.io/v1 {kind}", text) == expected


RBAC = "rbac.authorization.k8s.io"
ROLE = f"roleRef: {{apiGroup: {RBAC}, kind: Role, name: r}}"


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("Role", "rules: [{apiGroups: [''], resources: [pods], verbs: [get]}]", []),
        ("Role", "rules: [{}]", ["rules[0].verbs: Required value: verbs must contain at least one value", "rules[0].apiGroups: Required value: resource rules must supply at least one api group", "rules[0].resources: Required value: resource rules must supply at least one resource"]),
        ("Role", "rules: [{verbs: [get], nonResourceURLs: [/a]}]", ['rules[0].nonResourceURLs: Invalid value: []string{"/a"}: namespaced rules cannot apply to non-resource URLs']),
        ("ClusterRole", "rules: [{verbs: [get], nonResourceURLs: [/a]}]", []),
        ("ClusterRole", "aggregationRule: {}", ["aggregationRule.clusterRoleSelectors: Required value: at least one clusterRoleSelector required if aggregationRule is non-nil"]),
        ("RoleBinding", f"{ROLE}\nsubjects: [{{kind: User, name: u}}]", []),
        ("ClusterRoleBinding", ROLE, ['roleRef.kind: Unsupported value: "Role": supported values: "ClusterRole"']),
        ("RoleBinding", "roleRef: {kind: Robot}", ['roleRef.kind: Unsupported value: "Robot": supported values: "Role", "ClusterRole"', "roleRef.name: Required value"]),
        ("RoleBinding", f"{ROLE}\nsubjects: [{{kind: Robot, name: r}}, {{kind: ServiceAccount}}]", ['subjects[0].kind: Unsupported value: "Robot": supported values: "Group", "ServiceAccount", "User"', "subjects[1].name: Required value"]),
    ],
)  # fmt: skip
def test_roles(kind: str, text: str, expected: list[str]) -> None:
    assert problems(f"{RBAC}/v1 {kind}", text) == expected


def test_a_binding_keeps_its_role() -> None:
    other = ROLE.replace("name: r", "name: other")
    assert problems(f"{RBAC}/v1 RoleBinding", other, ROLE) == [
        f'roleRef: Invalid value: rbac.RoleRef{{APIGroup:"{RBAC}", Kind:"Role", Name:"other"}}: '
        "cannot change roleRef"
    ]


@pytest.mark.parametrize(
    ("kind", "text", "old", "expected"),
    [
        ("policy/v1 PodDisruptionBudget", "spec: {minAvailable: 50%}", None, []),
        ("policy/v1 PodDisruptionBudget", "spec: {minAvailable: 1, maxUnavailable: 1}", None, ["spec: Invalid value: policy.PodDisruptionBudgetSpec{...}: minAvailable and maxUnavailable cannot be both set"]),
        ("policy/v1 PodDisruptionBudget", "spec: {maxUnavailable: 120%}", None, ['spec.maxUnavailable: Invalid value: intstr.IntOrString{Type:1, IntVal:0, StrVal:"120%"}: must not be greater than 100%']),
        ("scheduling.k8s.io/v1 PriorityClass", "value: 2000000000", None, ["value: Forbidden: maximum allowed value of a user defined priority is 1000000000"]),
        ("scheduling.k8s.io/v1 PriorityClass", "metadata: {name: system-mine}", None, ["metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only. error: system-mine is not a known system priority class"]),
        ("scheduling.k8s.io/v1 PriorityClass", "metadata: {name: system-node-critical}\nvalue: 2000001000", None, []),
        ("scheduling.k8s.io/v1 PriorityClass", "value: 2", "value: 1", ["value: Forbidden: may not be changed in an update."]),
        ("v1 ResourceQuota", "spec: {hard: {pods: '2', requests.cpu: 500m, count/jobs.batch: '1'}}", None, []),
        ("v1 ResourceQuota", "spec: {hard: {widgets: '2', pods: 1500m}}", None, ['spec.hard[pods]: Invalid value: "1500m": must be an integer', 'spec.hard[widgets]: Invalid value: "widgets": must be a standard resource for quota']),
        ("v1 ResourceQuota", "spec: {hard: {pods: '2', services: '2'}, scopes: [NotTerminating]}", None, ['spec.scopes: Invalid value: []core.ResourceQuotaScope{"NotTerminating"}: unsupported scope applied to resource']),
        ("v1 ResourceQuota", "spec: {scopes: [BestEffort, NotBestEffort]}", None, ['spec.scopes: Invalid value: []core.ResourceQuotaScope{"BestEffort", "NotBestEffort"}: conflicting scopes']),
        ("v1 LimitRange", "spec: {limits: [{type: Container, min: {cpu: 2}, max: {cpu: 1}}]}", None, ['spec.limits[0].min[cpu]: Invalid value: "2": min value 2 is greater than max value 1', 'spec.limits[0].min[cpu]: Invalid value: "2": min value 2 is greater than default value 1', 'spec.limits[0].defaultRequest[cpu]: Invalid value: "1": min value 2 is greater than default request value 1']),
        ("v1 Event", "metadata: {name: e, namespace: default}", None, []),
        ("v1 Event", "metadata: {name: e, namespace: shop}\ninvolvedObject: {namespace: shop}", None, []),
        ("v1 Event", "metadata: {name: e, namespace: shop}", None, ['involvedObject.namespace: Invalid value: "": does not match event.namespace']),
        ("v1 Event", "metadata: {name: e, namespace: shop}\ninvolvedObject: {namespace: default}", None, ['involvedObject.namespace: Invalid value: "default": does not match event.namespace']),
        ("v1 Event", "metadata: {name: e, namespace: kube-system}\neventTime: '2026-01-01T00:00:00.000000Z'", None, []),
        ("coordination.k8s.io/v1 Lease", "spec: {leaseDurationSeconds: 0}", None, ["spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0"]),
    ],
)  # fmt: skip
def test_policies(kind: str, text: str, old: str | None, expected: list[str]) -> None:
    assert sorted(problems(kind, text, old)) == sorted(expected)


PODS_MAY = "pod updates may not change fields other than `spec.containers[*].image`"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("activeDeadlineSeconds: 9", "activeDeadlineSeconds: 5", ""),
        ("activeDeadlineSeconds: 5", "activeDeadlineSeconds: 9", "spec.activeDeadlineSeconds: Invalid value: 9: must be less than or equal to previous value"),
        ("activeDeadlineSeconds: 5", "", "spec.activeDeadlineSeconds: Invalid value: null: must not update from a positive integer to nil value"),
        ("terminationGracePeriodSeconds: 9", "terminationGracePeriodSeconds: 5", f"spec: Forbidden: {PODS_MAY}"),
        ("hostname: a", "hostname: b", f"spec: Forbidden: {PODS_MAY}"),
        (f"containers: [{C}]", "containers: [{name: a, image: c}]", ""),
        (f"containers: [{C}]", f"containers: [{C}, {{name: z, image: z}}]", "spec.containers: Forbidden: pod updates may not add or remove containers"),
    ],
)  # fmt: skip
def test_changes_of_a_pod(old: str, new: str, expected: str) -> None:
    def pod(text: str) -> str:
        containers = "" if "containers" in text else f"containers: [{C}], "
        return f"spec: {{{containers}{text}}}"

    found = problems("v1 Pod", pod(new), pod(old))
    assert [text[: len(expected)] for text in found] == ([expected] if expected else [])


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("[]", "[{name: dbg, image: b}]", []),
        ("[]", "[{name: dbg, image: b, targetContainerName: a}]", []),
        ("[]", f"[{C}]", ['spec.ephemeralContainers[0].name: Duplicate value: "a"']),
        ("[]", "[{name: d, image: b, targetContainerName: z}]", ['spec.ephemeralContainers[0].targetContainerName: Not found: "z"']),
        ("[]", "[{name: d, image: b, ports: [{containerPort: 1}], readinessProbe: {tcpSocket: {port: 1}}}]", [f"spec.ephemeralContainers[0].{name}: Forbidden: cannot be set for an Ephemeral Container" for name in ("ports", "readinessProbe")]),
        ("[{name: d, image: b}]", "[]", ['spec.ephemeralContainers: Forbidden: existing ephemeral containers "d" may not be removed\n']),
        ("[{name: d, image: b}]", "[{name: d, image: c}]", ['spec.ephemeralContainers: Forbidden: existing ephemeral containers "d" may not be changed\n']),
    ],
)  # fmt: skip
def test_ephemeral_containers(old: str, new: str, expected: list[str]) -> None:
    def pod(containers: str) -> Any:
        return made("v1 Pod", f"spec: {{containers: [{C}], ephemeralContainers: {containers}}}")

    found = ephemeral(pod(new), pod(old))
    assert [f"{one.field}: {one.message}" for one in found] == expected


def test_nobody_adds_containers_to_a_mirror_pod() -> None:
    annotations = "metadata: {name: a, annotations: {kubernetes.io/config.mirror: id}}"
    old = made("v1 Pod", f"{annotations}\nspec: {{containers: [{C}]}}")
    (found,) = ephemeral(old, old)
    assert f"{found.field}: {found.message}" == (
        "[]: Forbidden: static pods do not support ephemeral containers"
    )


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        ("[{configMap: {name: a}}, {serviceAccountToken: {path: token}}, {downwardAPI: {items: [{path: n, fieldRef: {fieldPath: metadata.name}}]}}]", []),
        ("[{configMap: {}}]", ["configMap.name: Required value"]),
        ("[{serviceAccountToken: {path: t, expirationSeconds: 5}}]", ["serviceAccountToken.expirationSeconds: Invalid value: 5: may not specify a duration less than 10 minutes"]),
        ("[{downwardAPI: {items: [{path: n}]}}]", ["downwardAPI.items[0]: Required value: one of fieldRef and resourceFieldRef is required"]),
    ],
)  # fmt: skip
def test_projected_volumes(sources: str, expected: list[str]) -> None:
    volume = f"{{name: v, projected: {{sources: {sources}}}}}"
    found = problems("v1 Pod", f"spec: {{containers: [{C}], volumes: [{volume}]}}")
    assert found == [f"spec.volumes[0].projected.sources[0].{text}" for text in expected]


def test_two_files_of_a_projected_volume_have_two_paths() -> None:
    token = "{serviceAccountToken: {path: t}}"
    volume = f"{{name: v, projected: {{sources: [{token}, {token}]}}}}"
    assert problems("v1 Pod", f"spec: {{containers: [{C}], volumes: [{volume}]}}") == [
        'spec.volumes[0].projected.sources[1].serviceAccountToken.path: Invalid value: "t": '
        "conflicting duplicate paths: t"
    ]
