from typing import Any

import pytest
import yaml

from podwire.emulator.apiserver.admission.defaults import default
from podwire.emulator.apiserver.types.normalise import normalise


def stored(kind: str, text: str) -> Any:
    api_version, _, name = kind.partition(" ")
    obj = normalise(yaml.safe_load(text), api_version, name).object
    return default(obj, api_version, name)


DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: myapp}
spec:
  replicas: 2
  selector: {matchLabels: {app: myapp}}
  template:
    metadata: {labels: {app: myapp}}
    spec:
      containers:
      - name: app
        image: nginx:1.25
        ports: [{name: http, containerPort: 8080}]
        readinessProbe: {httpGet: {path: /, port: 8080}}
"""


def test_a_deployment_as_kubectl_shows_it() -> None:
    assert stored("apps/v1 Deployment", DEPLOYMENT)["spec"] == yaml.safe_load("""
progressDeadlineSeconds: 600
replicas: 2
revisionHistoryLimit: 10
selector: {matchLabels: {app: myapp}}
strategy: {rollingUpdate: {maxSurge: 25%, maxUnavailable: 25%}, type: RollingUpdate}
template:
  metadata: {creationTimestamp: null, labels: {app: myapp}}
  spec:
    containers:
    - image: nginx:1.25
      imagePullPolicy: IfNotPresent
      name: app
      ports: [{containerPort: 8080, name: http, protocol: TCP}]
      readinessProbe:
        failureThreshold: 3
        httpGet: {path: /, port: 8080, scheme: HTTP}
        periodSeconds: 10
        successThreshold: 1
        timeoutSeconds: 1
      resources: {}
      terminationMessagePath: /dev/termination-log
      terminationMessagePolicy: File
    dnsPolicy: ClusterFirst
    restartPolicy: Always
    schedulerName: default-scheduler
    securityContext: {}
    terminationGracePeriodSeconds: 30
""")


POD = """
apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
  containers:
  - name: c
    image: busybox
    env: [{name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}]
    resources: {limits: {cpu: "1", memory: 64Mi}, requests: {cpu: 100m}}
  volumes: [{name: a}, {name: b, configMap: {name: x}}, {name: c, hostPath: {path: /x}}]
"""


def test_a_pod_gets_more_than_a_template() -> None:
    spec = stored("v1 Pod", POD)["spec"]
    container = spec.pop("containers")[0]
    assert container["imagePullPolicy"] == "Always"
    assert container["resources"]["requests"] == {"cpu": "100m", "memory": "64Mi"}
    assert container["env"][0]["valueFrom"]["fieldRef"]["apiVersion"] == "v1"
    assert spec == yaml.safe_load("""
dnsPolicy: ClusterFirst
enableServiceLinks: true
restartPolicy: Always
schedulerName: default-scheduler
securityContext: {}
serviceAccount: default
serviceAccountName: default
terminationGracePeriodSeconds: 30
tolerations:
- {effect: NoExecute, key: node.kubernetes.io/not-ready, operator: Exists, tolerationSeconds: 300}
- {effect: NoExecute, key: node.kubernetes.io/unreachable, operator: Exists, tolerationSeconds: 300}
volumes:
- {name: a, emptyDir: {}}
- {name: b, configMap: {name: x, defaultMode: 420}}
- {name: c, hostPath: {path: /x, type: ""}}
""")


@pytest.mark.parametrize(
    ("spec", "filled"),
    [
        ("ports: [{port: 80}]", "{ports: [{port: 80, protocol: TCP, targetPort: 80}], type: ClusterIP, sessionAffinity: None, internalTrafficPolicy: Cluster}"),
        ("{type: NodePort, ports: [{port: 80, targetPort: http}]}", "{ports: [{port: 80, protocol: TCP, targetPort: http}], type: NodePort, sessionAffinity: None, internalTrafficPolicy: Cluster, externalTrafficPolicy: Cluster}"),
        ("{type: LoadBalancer, ports: [{port: 80}]}", "{ports: [{port: 80, protocol: TCP, targetPort: 80}], type: LoadBalancer, sessionAffinity: None, internalTrafficPolicy: Cluster, externalTrafficPolicy: Cluster, allocateLoadBalancerNodePorts: true}"),
        ("{type: ExternalName, externalName: example.com}", "{type: ExternalName, externalName: example.com, sessionAffinity: None}"),
        ("{clusterIP: None, ports: [{port: 80}]}", "{clusterIP: None, ports: [{port: 80, protocol: TCP, targetPort: 80}], type: ClusterIP, sessionAffinity: None, internalTrafficPolicy: Cluster}"),
        ("{sessionAffinity: ClientIP, ports: [{port: 80}]}", "{sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 10800}}, ports: [{port: 80, protocol: TCP, targetPort: 80}], type: ClusterIP, internalTrafficPolicy: Cluster}"),
        ("{externalIPs: [203.0.113.9], ports: [{port: 80}]}", "{externalIPs: [203.0.113.9], externalTrafficPolicy: Cluster, ports: [{port: 80, protocol: TCP, targetPort: 80}], type: ClusterIP, sessionAffinity: None, internalTrafficPolicy: Cluster}"),
    ],
)  # fmt: skip
def test_services(spec: str, filled: str) -> None:
    found = stored(
        "v1 Service", f"spec: {{{spec.strip('{}')}}}" if spec[0] != "{" else f"spec: {spec}"
    )
    assert found["spec"] == {
        k: "None" if v is None else v for k, v in yaml.safe_load(filled).items()
    }


@pytest.mark.parametrize(
    ("kind", "given", "path", "value"),
    [
        ("v1 Secret", "stringData: {a: hello}\ndata: {b: eA==}", "data", {"a": "aGVsbG8=", "b": "eA=="}),
        ("v1 Secret", "data: {}", "type", "Opaque"),
        ("v1 Namespace", "metadata: {name: shop}", "metadata.labels", {"kubernetes.io/metadata.name": "shop"}),
        ("v1 Namespace", "metadata: {name: shop}", "status.phase", "Active"),
        ("v1 Node", "spec: {podCIDR: 10.244.1.0/24}", "spec.podCIDRs", ["10.244.1.0/24"]),
        ("v1 Node", "status: {capacity: {cpu: '2'}}", "status.allocatable", {"cpu": "2"}),
        ("v1 Pod", "status: {podIP: 10.244.1.5}", "status.podIPs", [{"ip": "10.244.1.5"}]),
        ("v1 Endpoints", "subsets: [{ports: [{port: 80}]}]", "subsets", [{"ports": [{"port": 80, "protocol": "TCP"}]}]),
        ("discovery.k8s.io/v1 EndpointSlice", "ports: [{port: 80}]", "ports", [{"name": "", "port": 80, "protocol": "TCP"}]),
        ("apps/v1 ReplicaSet", "spec: {}", "spec.replicas", 1),
        ("apps/v1 ReplicaSet", "spec: {replicas: 0}", "spec.replicas", 0),
        ("apps/v1 DaemonSet", "spec: {}", "spec.updateStrategy", {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}}),
        ("apps/v1 DaemonSet", "spec: {updateStrategy: {type: OnDelete}}", "spec.updateStrategy", {"type": "OnDelete"}),
        ("apps/v1 Deployment", "spec: {strategy: {type: Recreate}}", "spec.strategy", {"type": "Recreate"}),
        ("apps/v1 StatefulSet", "spec: {}", "spec.updateStrategy", {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}),
        ("apps/v1 StatefulSet", "spec: {}", "spec.persistentVolumeClaimRetentionPolicy", {"whenDeleted": "Retain", "whenScaled": "Retain"}),
        ("batch/v1 Job", "metadata: {}", "spec.backoffLimit", 6),
        ("batch/v1 Job", "spec: {parallelism: 3}", "spec.completions", None),
        ("batch/v1 CronJob", "spec: {}", "spec.successfulJobsHistoryLimit", 3),
        ("autoscaling/v2 HorizontalPodAutoscaler", "spec: {maxReplicas: 3}", "spec.minReplicas", 1),
        ("networking.k8s.io/v1 NetworkPolicy", "spec: {egress: [{ports: [{port: 53}]}]}", "spec.policyTypes", ["Ingress", "Egress"]),
        ("networking.k8s.io/v1 NetworkPolicy", "spec: {ingress: [{ports: [{port: 8080}]}]}", "spec.ingress", [{"ports": [{"port": 8080, "protocol": "TCP"}]}]),
        ("rbac.authorization.k8s.io/v1 RoleBinding", "roleRef: {kind: Role, name: r}\nsubjects: [{kind: User, name: ann}]", "subjects", [{"kind": "User", "name": "ann", "apiGroup": "rbac.authorization.k8s.io"}]),
    ],
)  # fmt: skip
def test_other_kinds(kind: str, given: str, path: str, value: Any) -> None:
    found = stored(kind, given)
    for step in path.split("."):
        found = found.get(step)
    assert found == value


def test_string_data_is_never_stored() -> None:
    assert "stringData" not in stored("v1 Secret", "stringData: {a: b}")


def test_a_job_gets_a_selector_of_its_own() -> None:
    spec = stored(
        "batch/v1 Job", "metadata: {name: once, uid: u-1}\nspec: {template: {metadata: {}}}"
    )["spec"]
    assert spec["selector"] == {"matchLabels": {"batch.kubernetes.io/controller-uid": "u-1"}}
    assert spec["template"]["metadata"]["labels"]["job-name"] == "once"


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("nginx", "Always"), ("nginx:latest", "Always"), ("nginx:1.25", "IfNotPresent"),
        ("localhost:5000/nginx", "Always"), ("localhost:5000/nginx:1", "IfNotPresent"),
        ("nginx@sha256:0123", "IfNotPresent"), ("nginx:latest@sha256:0123", "Always"),
    ],
)  # fmt: skip
def test_pull_policy(image: str, policy: str) -> None:
    pod = f"spec: {{containers: [{{name: c, image: '{image}'}}]}}"
    assert stored("v1 Pod", pod)["spec"]["containers"][0]["imagePullPolicy"] == policy


@pytest.mark.parametrize("kind", ["v1 Pod", "v1 Service", "apps/v1 Deployment"])
def test_defaulting_twice_changes_nothing_and_never_the_argument(kind: str) -> None:
    api_version, _, name = kind.partition(" ")
    given = {"v1 Pod": POD, "apps/v1 Deployment": DEPLOYMENT}.get(
        kind, "spec: {ports: [{port: 80}]}"
    )
    before = normalise(yaml.safe_load(given), api_version, name).object
    same = normalise(yaml.safe_load(given), api_version, name).object
    once = default(before, api_version, name)
    assert before == same
    assert default(once, api_version, name) == once
    assert normalise(once, api_version, name).object == once
