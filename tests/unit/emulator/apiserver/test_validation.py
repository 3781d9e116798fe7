from typing import Any

import pytest
import yaml

from podwire.emulator.apiserver.admission.defaults import default
from podwire.emulator.apiserver.admission.validation import validate
from podwire.emulator.apiserver.types.normalise import normalise

LABEL = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
SUBDOMAIN = r"a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
LABEL_1035 = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')"
PORT = "must be between 1 and 65535, inclusive"


def made(kind: str, text: str) -> Any:
    api_version, _, name = kind.partition(" ")
    read: dict[str, Any] = yaml.safe_load(text) or {}
    obj = {"metadata": {"name": "x"}, **read}
    return default(normalise(obj, api_version, name).object, api_version, name)


def problems(kind: str, text: str, old: str | None = None) -> list[str]:
    api_version, _, name = kind.partition(" ")
    before = None if old is None else made(kind, old)
    found = validate(made(kind, text), api_version, name, before)
    return [f"{one.field}: {one.message}" for one in found]


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("v1 Service", "spec: {ports: [{port: 70000}]}", [f"spec.ports[0].port: Invalid value: 70000: {PORT}", f"spec.ports[0].targetPort: Invalid value: 70000: {PORT}"]),
        ("v1 Service", "spec: {selector: {a: b}}", ["spec.ports: Required value"]),
        ("v1 Service", "spec: {clusterIP: 'None', clusterIPs: ['None']}", []),
        ("v1 Service", "spec: {ports: [{port: 80}, {port: 81}]}", ["spec.ports[0].name: Required value", "spec.ports[1].name: Required value"]),
        ("v1 Service", "spec: {ports: [{name: a, port: 80}, {name: a, port: 81}]}", ['spec.ports[1].name: Duplicate value: "a"']),
        ("v1 Service", "spec: {ports: [{name: a, port: 80}, {name: b, port: 80}]}", ['spec.ports[1]: Duplicate value: core.ServicePort{Name:"", Protocol:"TCP", AppProtocol:(*string)(nil), Port:80, TargetPort:intstr.IntOrString{Type:0, IntVal:0, StrVal:""}, NodePort:0}']),
        ("v1 Service", "spec: {ports: [{port: 80, protocol: HTTP}]}", ['spec.ports[0].protocol: Unsupported value: "HTTP": supported values: "SCTP", "TCP", "UDP"']),
        ("v1 Service", "spec: {ports: [{port: 80, targetPort: Web}]}", ['spec.ports[0].targetPort: Invalid value: "Web": must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)']),
        ("v1 Service", "spec: {ports: [{port: 80, nodePort: 30080}]}", ["spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"]),
        ("v1 Service", "spec: {type: Cluster, ports: [{port: 80}]}", ['spec.type: Unsupported value: "Cluster": supported values: "ClusterIP", "ExternalName", "LoadBalancer", "NodePort"']),
        ("v1 Service", "spec: {type: NodePort, clusterIP: 'None', clusterIPs: ['None'], ports: [{port: 80}]}", ["spec.clusterIPs[0]: Invalid value: \"None\": may not be set to 'None' for NodePort services"]),
        ("v1 Service", "spec: {type: ExternalName}", ["spec.externalName: Required value"]),
        ("v1 Service", "spec: {type: ExternalName, externalName: Not_a_name}", [f'spec.externalName: Invalid value: "Not_a_name": {SUBDOMAIN}']),
        ("v1 Service", "spec: {type: ExternalName, externalName: example.com.}", []),
        ("v1 Service", "spec: {sessionAffinity: Cookie, ports: [{port: 80}]}", ['spec.sessionAffinity: Unsupported value: "Cookie": supported values: "ClientIP", "None"']),
        ("v1 Service", "spec: {externalTrafficPolicy: Local, ports: [{port: 80}]}", ['spec.externalTrafficPolicy: Invalid value: "Local": may only be set for externally-accessible services']),
        ("v1 Service", "spec: {externalIPs: [127.0.0.1], ports: [{port: 80}]}", ['spec.externalIPs[0]: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)']),
        ("v1 Service", "metadata: {name: 1st}\nspec: {ports: [{port: 80}]}", [f'metadata.name: Invalid value: "1st": {LABEL_1035}']),
        ("v1 Service", "spec: {selector: {'a b': c}, ports: [{port: 80}]}", ["spec.selector: Invalid value: \"a b\": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"]),
        ("v1 Endpoints", "subsets: [{ports: [{port: 80}]}]", ["subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`"]),
        ("v1 Endpoints", "subsets: [{addresses: [{ip: '10.1'}]}]", ['subsets[0].addresses[0].ip: Invalid value: "10.1": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)']),
        ("discovery.k8s.io/v1 EndpointSlice", "addressType: IPv4\nendpoints: [{addresses: ['2001:db8::1']}]", ['endpoints[0].addresses[0]: Invalid value: "2001:db8::1": must be a valid IPv4 address']),
        ("discovery.k8s.io/v1 EndpointSlice", "addressType: IPv4\nendpoints: [{addresses: []}]\nports: [{port: 1}, {port: 2}]", ["endpoints[0].addresses: Required value: must contain at least 1 address", 'ports[1].name: Duplicate value: ""']),
    ],
)  # fmt: skip
def test_services(kind: str, text: str, expected: list[str]) -> None:
    assert problems(kind, text) == expected


C = "name: a, image: b"
DEMANDED = "requiredDuringSchedulingIgnoredDuringExecution"
WISHED = "preferredDuringSchedulingIgnoredDuringExecution"


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (f"{{containers: [{{{C}}}]}}", []),
        ("{}", ["spec.containers: Required value"]),
        ("{containers: [{}]}", ["spec.containers[0].name: Required value", "spec.containers[0].image: Required value"]),
        ("{containers: [{name: A_b, image: b}]}", [f'spec.containers[0].name: Invalid value: "A_b": {LABEL}']),
        (f"{{containers: [{{{C}}}, {{{C}}}]}}", ['spec.containers[1].name: Duplicate value: "a"']),
        (f"{{initContainers: [{{{C}}}], containers: [{{{C}}}]}}", ['spec.initContainers[0].name: Duplicate value: "a"']),
        ("{containers: [{name: a, image: ' b'}]}", ['spec.containers[0].image: Invalid value: " b": must not have leading or trailing whitespace']),
        (f"{{containers: [{{{C}, ports: [{{containerPort: 0}}]}}]}}", ["spec.containers[0].ports[0].containerPort: Required value"]),
        (f"{{containers: [{{{C}, ports: [{{containerPort: 99999}}]}}]}}", [f"spec.containers[0].ports[0].containerPort: Invalid value: 99999: {PORT}"]),
        (f"{{containers: [{{{C}, ports: [{{name: web, containerPort: 1}}, {{name: web, containerPort: 2}}]}}]}}", ['spec.containers[0].ports[1].name: Duplicate value: "web"']),
        (f"{{containers: [{{{C}, imagePullPolicy: Sometimes}}]}}", ['spec.containers[0].imagePullPolicy: Unsupported value: "Sometimes": supported values: "Always", "IfNotPresent", "Never"']),
        (f"{{containers: [{{{C}, volumeMounts: [{{name: v, mountPath: /v}}]}}]}}", ['spec.containers[0].volumeMounts[0].name: Not found: "v"']),
        (f"{{volumes: [{{name: v}}], containers: [{{{C}, volumeMounts: [{{name: v, mountPath: /v}}, {{name: v, mountPath: /v}}]}}]}}", ['spec.containers[0].volumeMounts[1].mountPath: Invalid value: "/v": must be unique']),
        (f"{{volumes: [{{name: v}}, {{name: v}}], containers: [{{{C}}}]}}", ['spec.volumes[1].name: Duplicate value: "v"']),
        (f"{{volumes: [{{name: v, emptyDir: {{}}, secret: {{secretName: s}}}}], containers: [{{{C}}}]}}", ["spec.volumes[0].secret: Forbidden: may not specify more than 1 volume type"]),
        (f"{{volumes: [{{name: v, configMap: {{}}}}], containers: [{{{C}}}]}}", ["spec.volumes[0].configMap.name: Required value"]),
        (f"{{volumes: [{{name: v, configMap: {{name: c, items: [{{key: k, path: ../k}}]}}}}], containers: [{{{C}}}]}}", ['spec.volumes[0].configMap.items[0].path: Invalid value: "../k": must not contain \'..\'']),
        (f"{{containers: [{{{C}, readinessProbe: {{}}}}]}}", ["spec.containers[0].readinessProbe: Required value: must specify a handler type"]),
        (f"{{containers: [{{{C}, livenessProbe: {{successThreshold: 2, tcpSocket: {{port: 0}}}}}}]}}", [f"spec.containers[0].livenessProbe.tcpSocket.port: Invalid value: 0: {PORT}", "spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1"]),
        (f"{{containers: [{{{C}, readinessProbe: {{periodSeconds: -1, exec: {{command: [x]}}}}}}]}}", ["spec.containers[0].readinessProbe.periodSeconds: Invalid value: -1: must be greater than or equal to 0"]),
        (f"{{containers: [{{{C}, env: [{{name: 'A=B', value: x}}]}}]}}", ["spec.containers[0].env[0].name: Invalid value: \"A=B\": a valid environment variable name must consist only of printable ASCII characters other than '='"]),
        (f"{{containers: [{{{C}, env: [{{name: A, valueFrom: {{fieldRef: {{fieldPath: status.nope}}}}}}]}}]}}", ['spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: Invalid value: "status.nope": error converting fieldPath: field label not supported: status.nope']),
        (f"{{containers: [{{{C}, env: [{{name: A, value: x, valueFrom: {{secretKeyRef: {{name: s, key: k}}}}}}]}}]}}", ['spec.containers[0].env[0].valueFrom: Invalid value: "": may not be specified when `value` is not empty']),
        (f"{{containers: [{{{C}, resources: {{limits: {{cpu: 100m}}, requests: {{cpu: 1}}}}}}]}}", ['spec.containers[0].resources.requests: Invalid value: "1": must be less than or equal to cpu limit of 100m']),
        (f"{{containers: [{{{C}, resources: {{requests: {{coffee: 1}}}}}}]}}", ['spec.containers[0].resources.requests[coffee]: Invalid value: "coffee": must be a standard resource type or fully qualified', 'spec.containers[0].resources.requests[coffee]: Invalid value: "coffee": must be a standard resource for containers']),
        (f"{{containers: [{{{C}, resources: {{requests: {{pods: 1}}}}}}]}}", ['spec.containers[0].resources.requests[pods]: Invalid value: "pods": must be a standard resource for containers']),
        (f"{{containers: [{{{C}, resources: {{requests: {{example.com/gpu: 1}}}}}}]}}", ["spec.containers[0].resources.limits: Required value: Limit must be set for non overcommitable resources"]),
        (f"{{containers: [{{{C}, resources: {{limits: {{example.com/gpu: 2}}, requests: {{example.com/gpu: 1}}}}}}]}}", ['spec.containers[0].resources.requests: Invalid value: "1": must be equal to example.com/gpu limit of 2']),
        (f"{{tolerations: [{{key: k, operator: Exists, value: x}}], containers: [{{{C}}}]}}", ["spec.tolerations[0].operator: Invalid value: core.Toleration{Key:\"k\", Operator:\"Exists\", Value:\"x\", Effect:\"\", TolerationSeconds:(*int64)(nil)}: value must be empty when `operator` is 'Exists'"]),
        (f"{{affinity: {{nodeAffinity: {{{WISHED}: [{{weight: 101, preference: {{matchExpressions: [{{key: a, operator: Near}}]}}}}]}}}}, containers: [{{{C}}}]}}", [f"spec.affinity.nodeAffinity.{WISHED}[0].weight: Invalid value: 101: must be in the range 1-100", f'spec.affinity.nodeAffinity.{WISHED}[0].preference.matchExpressions[0].operator: Invalid value: "Near": not a valid selector operator']),
        (f"{{affinity: {{podAntiAffinity: {{{DEMANDED}: [{{topologyKey: kubernetes.io/hostname, labelSelector: {{matchLabels: {{app: web}}}}}}]}}}}, containers: [{{{C}}}]}}", []),
        (f"{{affinity: {{podAffinity: {{{DEMANDED}: [{{topologyKey: -}}]}}}}, containers: [{{{C}}}]}}", [f'spec.affinity.podAffinity.{DEMANDED}[0].topologyKey: Invalid value: "-": name part must consist of alphanumeric characters, \'-\', \'_\' or \'.\', and must start and end with an alphanumeric character (e.g. \'MyName\',  or \'my.name\',  or \'123-abc\', regex used for validation is \'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]\')']),
        (f"{{affinity: {{podAntiAffinity: {{{WISHED}: [{{weight: 0, podAffinityTerm: {{topologyKey: a, namespaces: [A]}}}}]}}}}, containers: [{{{C}}}]}}", [f"spec.affinity.podAntiAffinity.{WISHED}[0].weight: Invalid value: 0: must be in the range 1-100", f'spec.affinity.podAntiAffinity.{WISHED}[0].podAffinityTerm.namespace: Invalid value: "A": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or \'-\', and must start and end with an alphanumeric character (e.g. \'my-name\',  or \'123-abc\', regex used for validation is \'[a-z0-9]([-a-z0-9]*[a-z0-9])?\')']),
        (f"{{topologySpreadConstraints: [{{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule}}, {{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: ScheduleAnyway}}], containers: [{{{C}}}]}}", []),
        (f"{{affinity: {{podAffinity: {{{DEMANDED}: [{{topologyKey: a, matchLabelKeys: [app], mismatchLabelKeys: [b]}}]}}}}, containers: [{{{C}}}]}}", [f"spec.affinity.podAffinity.{DEMANDED}[0].{name}: Forbidden: must not be specified when labelSelector is not set" for name in ("matchLabelKeys", "mismatchLabelKeys")]),
        (f"{{affinity: {{podAffinity: {{{DEMANDED}: [{{topologyKey: a, labelSelector: {{}}, matchLabelKeys: [a, b], mismatchLabelKeys: [b, c]}}]}}}}, containers: [{{{C}}}]}}", [f'spec.affinity.podAffinity.{DEMANDED}[0].matchLabelKeys[1]: Invalid value: "b": exists in both matchLabelKeys and mismatchLabelKeys']),
        (f"{{affinity: {{podAffinity: {{{DEMANDED}: [{{topologyKey: a, labelSelector: {{matchLabels: {{tier: x}}, matchExpressions: [{{key: tier, operator: Exists}}]}}, matchLabelKeys: [app, tier]}}]}}}}, containers: [{{{C}}}]}}", [f'spec.affinity.podAffinity.{DEMANDED}[0][1]: Invalid value: "tier": exists in both matchLabelKeys and labelSelector']),
        (f"{{topologySpreadConstraints: [{{maxSkew: 1, topologyKey: a, whenUnsatisfiable: ScheduleAnyway, matchLabelKeys: [app]}}], containers: [{{{C}}}]}}", ["spec.topologySpreadConstraints[0].matchLabelKeys: Forbidden: must not be specified when labelSelector is not set"]),
        (f"{{topologySpreadConstraints: [{{maxSkew: 1, topologyKey: a, whenUnsatisfiable: ScheduleAnyway, labelSelector: {{matchLabels: {{app: a}}}}, matchLabelKeys: [x, app]}}], containers: [{{{C}}}]}}", ['spec.topologySpreadConstraints[0].matchLabelKeys[1]: Invalid value: "app": exists in both matchLabelKeys and labelSelector']),
        (f"{{affinity: {{nodeAffinity: {{{DEMANDED}: {{nodeSelectorTerms: [{{matchFields: [{{key: metadata.name, operator: In, values: [node-1]}}]}}]}}}}}}, containers: [{{{C}}}]}}", []),
        (f"{{affinity: {{nodeAffinity: {{{DEMANDED}: {{nodeSelectorTerms: [{{matchFields: [{{key: spec.x, operator: Exists}}, {{key: metadata.name, operator: In}}]}}]}}}}}}, containers: [{{{C}}}]}}", [f'spec.affinity.nodeAffinity.{DEMANDED}.nodeSelectorTerms[0].matchFields[0].operator: Invalid value: "Exists": not a valid selector operator', f'spec.affinity.nodeAffinity.{DEMANDED}.nodeSelectorTerms[0].matchFields[0].key: Invalid value: "spec.x": not a valid field selector key', f"spec.affinity.nodeAffinity.{DEMANDED}.nodeSelectorTerms[0].matchFields[1].values: Required value: must be only one value when `operator` is 'In' or 'NotIn' for node field selector"]),
        (f"{{topologySpreadConstraints: [{{maxSkew: 0, whenUnsatisfiable: Never, nodeTaintsPolicy: Maybe}}], containers: [{{{C}}}]}}", ["spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero", "spec.topologySpreadConstraints[0].topologyKey: Required value: can not be empty", 'spec.topologySpreadConstraints[0].whenUnsatisfiable: Unsupported value: "Never": supported values: "DoNotSchedule", "ScheduleAnyway"', 'spec.topologySpreadConstraints[0].nodeTaintsPolicy: Unsupported value: "Maybe": supported values: "Honor", "Ignore"']),
        (f"{{topologySpreadConstraints: [{{maxSkew: 1, topologyKey: a, whenUnsatisfiable: ScheduleAnyway, minDomains: 2}}, {{maxSkew: 2, topologyKey: a, whenUnsatisfiable: ScheduleAnyway}}], containers: [{{{C}}}]}}", ["spec.topologySpreadConstraints[0].minDomains: Invalid value: 2: can only use minDomains if whenUnsatisfiable=DoNotSchedule, not ScheduleAnyway", 'spec.topologySpreadConstraints[1].{topologyKey, whenUnsatisfiable}: Duplicate value: "{a, ScheduleAnyway}"']),
        (f"{{affinity: {{nodeAffinity: {{{DEMANDED}: {{}}}}}}, containers: [{{{C}}}]}}", [f"spec.affinity.nodeAffinity.{DEMANDED}.nodeSelectorTerms: Required value: must have at least one node selector term"]),
        (f"{{affinity: {{nodeAffinity: {{{DEMANDED}: {{nodeSelectorTerms: [{{matchExpressions: [{{key: a, operator: Near}}, {{key: a, operator: In}}]}}]}}}}}}, containers: [{{{C}}}]}}", [f'spec.affinity.nodeAffinity.{DEMANDED}.nodeSelectorTerms[0].matchExpressions[0].operator: Invalid value: "Near": not a valid selector operator', f"spec.affinity.nodeAffinity.{DEMANDED}.nodeSelectorTerms[0].matchExpressions[1].values: Required value: must be specified when `operator` is 'In' or 'NotIn'"]),
        (f"{{restartPolicy: Maybe, containers: [{{{C}}}]}}", ['spec.restartPolicy: Unsupported value: "Maybe": supported values: "Always", "OnFailure", "Never"']),
        (f"{{dnsPolicy: None, containers: [{{{C}}}]}}", ["spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None"]),
        (f"{{hostname: a.b, containers: [{{{C}}}]}}", ['spec.hostname: Invalid value: "a.b": must not contain dots']),
        (f"{{hostNetwork: true, containers: [{{{C}, ports: [{{containerPort: 80, hostPort: 81}}]}}]}}", ["spec.containers[0].ports[0].containerPort: Invalid value: 80: must match `containerPort` when `hostNetwork` is true"]),
        (f"{{tolerations: [{{value: x}}], containers: [{{{C}}}]}}", ['spec.tolerations[0].operator: Invalid value: "": operator must be Exists when `key` is empty, which means "match all values and all keys"']),
    ],
)  # fmt: skip
def test_pods(spec: str, expected: list[str]) -> None:
    assert (
        problems("v1 Pod", f"spec: {spec}".replace("dnsPolicy: None", "dnsPolicy: 'None'"))
        == expected
    )


TEMPLATE = "template: {metadata: {labels: {app: a}}, spec: {containers: [{name: a, image: b}]}}"
SELECTOR = "selector: {matchLabels: {app: a}}"


@pytest.mark.parametrize(
    ("kind", "spec", "expected"),
    [
        ("apps/v1 Deployment", f"{SELECTOR}, {TEMPLATE}", []),
        ("apps/v1 Deployment", TEMPLATE, ["spec.selector: Required value", 'spec.template.metadata.labels: Invalid value: map[string]string{"app":"a"}: `selector` does not match template `labels`']),
        ("apps/v1 StatefulSet", "template: {spec: {containers: [{name: a, image: b}]}}", ["spec.selector: Required value", "spec.template.metadata.labels: Invalid value: map[string]string(nil): `selector` does not match template `labels`"]),
        ("apps/v1 DaemonSet", TEMPLATE, ['spec.template.metadata.labels: Invalid value: map[string]string{"app":"a"}: `selector` does not match template `labels`']),
        ("apps/v1 Deployment", f"selector: {{matchExpressions: [{{key: app, operator: Near}}]}}, {TEMPLATE}", ['spec.selector.matchExpressions[0].operator: Invalid value: "Near": not a valid selector operator', 'spec.selector: Invalid value: v1.LabelSelector{MatchLabels:map[string]string(nil), MatchExpressions:[]v1.LabelSelectorRequirement{v1.LabelSelectorRequirement{Key:"app", Operator:"Near", Values:[]string(nil)}}}: invalid label selector']),
        ("apps/v1 Deployment", f"strategy: {{rollingUpdate: {{maxSurge: x%, maxUnavailable: 150%}}}}, {SELECTOR}, {TEMPLATE}", ["spec.strategy.rollingUpdate.maxSurge: Invalid value: intstr.IntOrString{Type:1, IntVal:0, StrVal:\"x%\"}: a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')", 'spec.strategy.rollingUpdate.maxUnavailable: Invalid value: intstr.IntOrString{Type:1, IntVal:0, StrVal:"150%"}: must not be greater than 100%']),
        ("apps/v1 StatefulSet", f"updateStrategy: {{type: Big}}, {SELECTOR}, {TEMPLATE}", ["spec.updateStrategy: Invalid value: apps.StatefulSetUpdateStrategy{Type:\"Big\", RollingUpdate:(*apps.RollingUpdateStatefulSetStrategy)(nil)}: must be 'RollingUpdate' or 'OnDelete'"]),
        ("apps/v1 DaemonSet", f"updateStrategy: {{type: Big}}, {SELECTOR}, {TEMPLATE}", ['spec.updateStrategy: Unsupported value: apps.DaemonSetUpdateStrategy{Type:"Big", RollingUpdate:(*apps.RollingUpdateDaemonSet)(nil)}: supported values: "RollingUpdate", "OnDelete"']),
        ("apps/v1 Deployment", f"selector: {{}}, {TEMPLATE}", ["spec.selector: Invalid value: v1.LabelSelector{MatchLabels:map[string]string(nil), MatchExpressions:[]v1.LabelSelectorRequirement(nil)}: empty selector is invalid for deployment"]),
        ("apps/v1 Deployment", f"selector: {{matchLabels: {{app: z}}}}, {TEMPLATE}", ['spec.template.metadata.labels: Invalid value: map[string]string{"app":"a"}: `selector` does not match template `labels`']),
        ("apps/v1 ReplicaSet", f"selector: {{matchExpressions: [{{key: app, operator: In, values: [a, b]}}]}}, {TEMPLATE}", []),
        ("apps/v1 ReplicaSet", f"replicas: -1, {SELECTOR}, {TEMPLATE}", ["spec.replicas: Invalid value: -1: must be greater than or equal to 0"]),
        ("apps/v1 Deployment", f"strategy: {{rollingUpdate: {{maxSurge: 0, maxUnavailable: 0}}}}, {SELECTOR}, {TEMPLATE}", ["spec.strategy.rollingUpdate.maxUnavailable: Invalid value: intstr.IntOrString{Type:0, IntVal:0, StrVal:\"\"}: may not be 0 when `maxSurge` is 0"]),
        ("apps/v1 Deployment", f"strategy: {{type: Recreate, rollingUpdate: {{}}}}, {SELECTOR}, {TEMPLATE}", ["spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'"]),
        ("apps/v1 Deployment", f"strategy: {{type: Big}}, {SELECTOR}, {TEMPLATE}", ['spec.strategy: Unsupported value: apps.DeploymentStrategy{Type:"Big", RollingUpdate:(*apps.RollingUpdateDeployment)(nil)}: supported values: "Recreate", "RollingUpdate"']),
        ("apps/v1 Deployment", f"{SELECTOR}, template: {{metadata: {{labels: {{app: a}}}}, spec: {{restartPolicy: Never, containers: [{{}}]}}}}", ["spec.template.spec.containers[0].name: Required value", "spec.template.spec.containers[0].image: Required value", 'spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"']),
        ("apps/v1 Deployment", f"progressDeadlineSeconds: 5, minReadySeconds: 5, {SELECTOR}, {TEMPLATE}", ["spec.progressDeadlineSeconds: Invalid value: 5: must be greater than minReadySeconds"]),
        ("apps/v1 DaemonSet", f"{SELECTOR}, {TEMPLATE}", []),
        ("apps/v1 DaemonSet", f"updateStrategy: {{rollingUpdate: {{maxSurge: 1}}}}, {SELECTOR}, {TEMPLATE}", ["spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: intstr.IntOrString{Type:0, IntVal:1, StrVal:\"\"}: may not be set when maxUnavailable is non-zero"]),
        ("apps/v1 StatefulSet", f"serviceName: a, {SELECTOR}, {TEMPLATE}", []),
        ("batch/v1 Job", f"manualSelector: true, {SELECTOR}, {TEMPLATE}", ['spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"']),
        ("autoscaling/v2 HorizontalPodAutoscaler", "minReplicas: 5, maxReplicas: 2, scaleTargetRef: {kind: Deployment, name: web}", ["spec.maxReplicas: Invalid value: 2: must be greater than or equal to `minReplicas`"]),
    ],
)  # fmt: skip
def test_workloads(kind: str, spec: str, expected: list[str]) -> None:
    assert problems(kind, f"spec: {{{spec}}}") == expected


@pytest.mark.parametrize(
    ("kind", "old", "new", "expected"),
    [
        ("apps/v1 Deployment", f"spec: {{{SELECTOR}, {TEMPLATE}}}", f"spec: {{selector: {{matchLabels: {{app: b}}}}, {TEMPLATE.replace('app: a', 'app: b')}}}", ['spec.selector: Invalid value: v1.LabelSelector{MatchLabels:map[string]string{"app":"b"}, MatchExpressions:[]v1.LabelSelectorRequirement(nil)}: field is immutable']),
        ("v1 Service", "spec: {clusterIP: 10.96.0.1, clusterIPs: [10.96.0.1], ports: [{port: 80}]}", "spec: {clusterIP: 10.96.0.2, clusterIPs: [10.96.0.2], ports: [{port: 80}]}", ['spec.clusterIPs[0]: Invalid value: []string{"10.96.0.2"}: may not change once set']),
        ("v1 ConfigMap", "immutable: true\ndata: {a: b}", "immutable: true\ndata: {a: c}", ["data: Forbidden: field is immutable when `immutable` is set"]),
        ("v1 ConfigMap", "immutable: true", "data: {}", ["immutable: Forbidden: field is immutable when `immutable` is set"]),
        ("v1 Secret", "type: Opaque", "type: example.com/other", ['type: Invalid value: "example.com/other": field is immutable']),
        ("v1 Pod", f"spec: {{containers: [{{{C}}}]}}", "spec: {containers: [{name: a, image: c}]}", []),
        ("v1 Pod", f"spec: {{containers: [{{{C}}}]}}", f"spec: {{containers: [{{{C}}}, {{name: z, image: z}}]}}", ["spec.containers: Forbidden: pod updates may not add or remove containers"]),
        ("v1 Pod", f"spec: {{containers: [{{{C}}}]}}", f"spec: {{nodeName: node-1, containers: [{{{C}}}]}}", []),
        ("discovery.k8s.io/v1 EndpointSlice", "addressType: IPv4", "addressType: IPv6", ['addressType: Invalid value: "IPv6": field is immutable']),
    ],
)  # fmt: skip
def test_what_may_change(kind: str, old: str, new: str, expected: list[str]) -> None:
    assert problems(kind, new, old) == expected


def test_a_pods_command_may_not_change() -> None:
    old, new = (f"spec: {{containers: [{{{C}, args: [{n}]}}]}}" for n in ("x", "y"))
    (found,) = problems("v1 Pod", new, old)
    assert found.startswith(
        "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`"
    )
    assert found.endswith("spec.containers differs")


def test_an_object_that_is_stored_may_get_a_status_though_rules_became_stricter() -> None:
    old = "spec: {ports: [{port: 99999}]}"
    assert problems("v1 Service", f"metadata: {{name: x, labels: {{a: b}}}}\n{old}", old) == []


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("v1 ConfigMap", "metadata: {name: ''}", ["metadata.name: Required value: name or generateName is required"]),
        ("v1 ConfigMap", "metadata: {name: Bad}", [f'metadata.name: Invalid value: "Bad": {SUBDOMAIN}']),
        ("v1 ConfigMap", "metadata: {name: web-abcde, generateName: web-}", []),
        ("v1 Namespace", "metadata: {name: a.b}", ['metadata.name: Invalid value: "a.b": must not contain dots']),
        ("v1 ConfigMap", "metadata: {name: x, labels: {a: 'b c'}}", ["metadata.labels: Invalid value: \"b c\": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"]),
        ("v1 ConfigMap", "metadata: {name: x, labels: {/a: b}}", ['metadata.labels: Invalid value: "/a": prefix part must be non-empty']),
        ("v1 ConfigMap", "metadata: {name: x, annotations: {UPPER: b}}", []),
        ("v1 ConfigMap", "metadata: {name: x, ownerReferences: [{apiVersion: v1, kind: Pod, name: p}]}", ['metadata.ownerReferences.uid: Invalid value: "": uid must not be empty']),
        ("v1 ConfigMap", "metadata: {name: x, finalizers: [orphan, foregroundDeletion]}", ['metadata.finalizers: Invalid value: []string{"orphan", "foregroundDeletion"}: finalizer orphan and foregroundDeletion cannot be both set']),
        ("rbac.authorization.k8s.io/v1 Role", "metadata: {name: 'system:node'}", []),
        ("rbac.authorization.k8s.io/v1 Role", "metadata: {name: a/b}", ["metadata.name: Invalid value: \"a/b\": may not contain '/'"]),
        ("v1 ConfigMap", "data: {a/b: c}", ["data[a/b]: Invalid value: \"a/b\": a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"]),
        ("v1 Secret", "type: kubernetes.io/tls\nstringData: {tls.crt: x}", ["data[tls.key]: Required value"]),
        ("networking.k8s.io/v1 NetworkPolicy", "spec: {podSelector: {}, ingress: [{from: [{}]}]}", ["spec.ingress[0].from[0]: Required value: must specify a peer"]),
        ("networking.k8s.io/v1 Ingress", "spec: {rules: [{http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: a, port: {number: 80}}}}]}}]}", []),
        ("networking.k8s.io/v1 Ingress", "spec: {rules: [{http: {paths: [{path: x, pathType: Prefix, backend: {}}]}}]}", ['spec.rules[0].http.paths[0].path: Invalid value: "x": must be an absolute path', 'spec.rules[0].http.paths[0].backend: Invalid value: "": resource or service backend is required']),
        ("v1 Node", "spec: {taints: [{key: a, effect: Never}]}", ['spec.taints[0].effect: Unsupported value: "Never": supported values: "NoSchedule", "PreferNoSchedule", "NoExecute"']),
    ],
)  # fmt: skip
def test_metadata_and_configuration(kind: str, text: str, expected: list[str]) -> None:
    assert problems(kind, text) == expected


def test_reasons_are_the_machines_words() -> None:
    obj = made(
        "v1 Service",
        "spec: {type: X, clusterIP: 10.96.0.1, ports: [{port: 0, name: a}, {port: 1}]}",
    )
    reasons = {one.field: one.reason for one in validate(obj, "v1", "Service", None)}
    assert reasons["spec.ports[0].port"] == "FieldValueInvalid"
    assert reasons["spec.ports[1].name"] == "FieldValueRequired"
    assert reasons["spec.type"] == "FieldValueNotSupported"
