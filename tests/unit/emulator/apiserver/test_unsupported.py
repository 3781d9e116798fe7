from typing import Any

import pytest
import yaml

from podwire.emulator.apiserver.admission import unsupported
from podwire.testing.apiserver import SilentServer

Json = dict[str, Any]
CLASSES = "/apis/scheduling.k8s.io/v1/priorityclasses"
PODS = "/api/v1/namespaces/default/pods"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
REPLICASETS = "/apis/apps/v1/namespaces/default/replicasets"
DAEMONSETS = "/apis/apps/v1/namespaces/default/daemonsets"
SERVICES = "/api/v1/namespaces/default/services"

C = "name: a, image: b"
ROOT = "containers run as the root user of the sandbox; the field has no effect"
PROTECTION = "not enforced here; the field has no effect"
NO_KIND = "volumes of this kind are not there; the pod will wait with FailedMount"


def pod(spec: str) -> Json:
    read: Json = {"containers": [{"name": "a", "image": "b"}], **yaml.safe_load(spec)}
    return {"metadata": {"name": "p"}, "spec": read}


def workload(spec: str, **more: Any) -> Json:
    template = {"metadata": {"labels": {"app": "w"}}, "spec": pod(spec)["spec"]}
    wanted = {"selector": {"matchLabels": {"app": "w"}}, "template": template}
    return {"metadata": {"name": "w"}, "spec": {**wanted, **more}}


def service(spec: str, **annotations: str) -> Json:
    read: Json = {"ports": [{"port": 80}], **yaml.safe_load(spec)}
    return {"metadata": {"name": "s", "annotations": annotations}, "spec": read}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("{}", []),
        ("{securityContext: {runAsUser: 0, runAsGroup: 0, runAsNonRoot: false}}", []),
        ("{securityContext: {runAsUser: 1000}}", [f"spec.securityContext.runAsUser: {ROOT}"]),
        (f"{{containers: [{{{C}, securityContext: {{runAsUser: 7, runAsGroup: 7, runAsNonRoot: true}}}}]}}", [f"spec.containers[0].securityContext.{name}: {text}" for name, text in (("runAsUser", ROOT), ("runAsGroup", ROOT), ("runAsNonRoot", PROTECTION))]),
        ("{initContainers: [{name: i, image: b, securityContext: {runAsUser: 7}}]}", [f"spec.initContainers[0].securityContext.runAsUser: {ROOT}"]),
        ("{securityContext: {fsGroup: 7, supplementalGroups: [7]}}", [f"spec.securityContext.{name}: {PROTECTION}" for name in ("fsGroup", "supplementalGroups")]),
        (f"{{containers: [{{{C}, securityContext: {{privileged: true}}}}]}}", ["spec.containers[0].securityContext.privileged: no container is privileged here; the field has no effect"]),
        (f"{{containers: [{{{C}, securityContext: {{privileged: false, allowPrivilegeEscalation: true}}}}]}}", []),
        (f"{{containers: [{{{C}, securityContext: {{allowPrivilegeEscalation: false, seccompProfile: {{type: RuntimeDefault}}}}}}]}}", [f"spec.containers[0].securityContext.{name}: {PROTECTION}" for name in ("allowPrivilegeEscalation", "seccompProfile")]),
        ("{securityContext: {seccompProfile: {type: Unconfined}}}", []),
        *(
            (f"{{containers: [{{{C}, securityContext: {{readOnlyRootFilesystem: {word}}}}}]}}", ["spec.containers[0].securityContext.readOnlyRootFilesystem: the root is read-only with a writable /tmp, /var and /run for all; the field has no effect"])
            for word in ("true", "false")
        ),
        (f"{{containers: [{{{C}, securityContext: {{capabilities: {{drop: [ALL]}}}}}}]}}", []),
        ("{activeDeadlineSeconds: 5}", []),
        ("{securityContext: {sysctls: [{name: net.core.somaxconn, value: '1'}]}}", ["spec.securityContext.sysctls: pods have the sysctls of their node here; the field has no effect"]),
        (f"{{containers: [{{{C}, resources: {{requests: {{cpu: 1}}}}}}]}}", []),
        (f"{{containers: [{{{C}, resources: {{limits: {{cpu: 1, memory: 1Gi}}}}}}]}}", ["spec.containers[0].resources.limits: not enforced here: containers may use what the machine has"]),
        ("{affinity: {podAffinity: {preferredDuringSchedulingIgnoredDuringExecution: []}, podAntiAffinity: {}}}", []),
        ("{affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: a, operator: Exists}]}]}}}}", []),
        ("{shareProcessNamespace: false, hostPID: false, hostIPC: false}", []),
        ("{shareProcessNamespace: true}", []),
        ("{hostPID: true}", ["spec.hostPID: pods never see the processes of their node here; the field has no effect"]),
        ("{hostIPC: true}", ["spec.hostIPC: each pod has an IPC namespace of its own here; the field has no effect"]),
        ("{hostUsers: false}", ["spec.hostUsers: all pods share the user namespace of the sandbox; the field has no effect"]),
        ("{automountServiceAccountToken: true}", []),
        ("{runtimeClassName: gvisor}", ["spec.runtimeClassName: there is one runtime here; the field has no effect"]),
        ("{schedulerName: default-scheduler}", []),
        ("{schedulerName: mine}", ["spec.schedulerName: there is no such scheduler here: the pod stays Pending until somebody binds it"]),
        ("{priorityClassName: high}", ["spec.priorityClassName: no pod gives way to another here; the field has no effect"]),
        ("{setHostnameAsFQDN: true}", []),
        ("{os: {name: windows}}", ["spec.os.name: the nodes run Linux; the field has no effect"]),
        ("{os: {name: linux}}", []),
        (f"{{containers: [{{{C}, ports: [{{containerPort: 1, hostPort: 1}}]}}]}}", []),
        (f"{{hostNetwork: true, containers: [{{{C}, ports: [{{containerPort: 1, hostPort: 1}}, {{containerPort: 2}}]}}]}}", []),
        ("{volumes: [{name: a}, {name: b, emptyDir: {medium: Memory}}, {name: c, configMap: {name: c}}, {name: d, secret: {secretName: d}}, {name: e, downwardAPI: {items: []}}, {name: f, hostPath: {path: /f}}]}", []),
        ("{volumes: [{name: a, nfs: {server: s, path: /}}, {name: b, persistentVolumeClaim: {claimName: b}}, {name: c, projected: {sources: []}}]}", [f"spec.volumes[{index}].{kind}: {NO_KIND}" for index, kind in enumerate(("nfs", "persistentVolumeClaim"))]),
        ("{volumes: [{name: a, emptyDir: {sizeLimit: 1Gi}}]}", ["spec.volumes[0].emptyDir.sizeLimit: not enforced here; the field has no effect"]),
        ("{volumes: [{name: a, hostPath: {path: /a, type: DirectoryOrCreate}}]}", ["spec.volumes[0].hostPath.type: nothing is created on this machine: the path must be there"]),
        (f"{{volumes: [{{name: v, hostPath: {{path: /v}}}}], containers: [{{{C}, volumeMounts: [{{name: v, mountPath: /v, readOnly: true}}, {{name: v, mountPath: /w}}]}}]}}", ["spec.containers[0].volumeMounts[1].readOnly: hostPath volumes are read-only here"]),
        (f"{{volumes: [{{name: v}}], containers: [{{{C}, volumeMounts: [{{name: v, mountPath: /v, subPathExpr: $(A), mountPropagation: Bidirectional}}]}}]}}", ["spec.containers[0].volumeMounts[0].mountPropagation: mounts are not propagated here; the field has no effect"]),
        (f"{{containers: [{{{C}, terminationMessagePath: /dev/termination-log, terminationMessagePolicy: File}}]}}", []),
        (f"{{containers: [{{{C}, terminationMessagePath: /out, terminationMessagePolicy: FallbackToLogsOnError}}]}}", []),
    ],
)  # fmt: skip
def test_what_a_pod_asks_for_in_vain_is_said(
    server: SilentServer, spec: str, expected: list[str]
) -> None:
    server.must(f"POST {CLASSES}", {"metadata": {"name": "high"}, "value": 1})
    server.must(f"POST {PODS}", pod(spec))
    assert sorted(server.warnings) == sorted(expected)


@pytest.mark.parametrize("url", [DEPLOYMENTS, REPLICASETS, DAEMONSETS])
def test_a_template_is_looked_at_as_a_pod_is(server: SilentServer, url: str) -> None:
    server.must(f"POST {url}", workload("{hostPID: true}"))
    assert server.warnings == (
        "spec.template.spec.hostPID: pods never see the processes of their node here; the field has no"
        " effect",
    )


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (service("{}"), []),
        (service("{type: NodePort, externalTrafficPolicy: Local}"), []),
        (service("{sessionAffinity: ClientIP}"), []),
        (service("{trafficDistribution: PreferClose}"), []),
        (service("{type: LoadBalancer}"), ["spec.type: there is no load balancer here: EXTERNAL-IP stays <pending>; the ClusterIP and the node ports work"]),
        (service("{ports: [{port: 1, protocol: SCTP}]}"), ["spec.ports[0].protocol: the proxy forwards SCTP in modes nftables and iptables only, where the kernel has it; elsewhere this port serves nobody"]),
        (service("{clusterIP: None, ports: [{port: 1, protocol: SCTP}]}"), []),
        (service("{}", **{"service.kubernetes.io/topology-mode": "Auto"}), []),
        (service("{externalIPs: [192.0.2.1], internalTrafficPolicy: Local}"), []),
        (service("{trafficDistribution: PreferSameNode}"), []),
    ],
)  # fmt: skip
def test_what_a_service_asks_for_in_vain_is_said(
    server: SilentServer, body: Json, expected: list[str]
) -> None:
    server.must(f"POST {SERVICES}", body)
    assert list(server.warnings) == expected


POLICY: Json = {"metadata": {"name": "n"}, "spec": {"podSelector": {}}}
QUOTA: Json = {"metadata": {"name": "q"}, "spec": {"hard": {"pods": "2"}}}
LIMITS: Json = {
    "metadata": {"name": "l"},
    "spec": {"limits": [{"type": "Pod", "max": {"cpu": "1"}}]},
}


@pytest.mark.parametrize(
    ("url", "body", "expected"),
    [
        ("/apis/networking.k8s.io/v1/namespaces/default/networkpolicies", POLICY, "spec: network policies are not enforced here: every pod may talk to every other"),
        ("/api/v1/namespaces/default/resourcequotas", QUOTA, "spec.hard: quotas are not enforced here: nothing is refused because of them"),
        ("/api/v1/namespaces/default/limitranges", LIMITS, "spec.limits: limit ranges are not enforced here: they refuse nothing, and pods get no defaults from them"),
    ],
)  # fmt: skip
def test_what_is_not_enforced_is_said(
    server: SilentServer, url: str, body: Json, expected: str
) -> None:
    server.must(f"POST {url}", body)
    assert server.warnings == (expected,)


def test_an_ingress_and_an_autoscaler_say_nothing(server: SilentServer) -> None:
    backend = {"service": {"name": "a", "port": {"number": 80}}}
    body = {"metadata": {"name": "i"}, "spec": {"defaultBackend": backend}}
    server.must("POST /apis/networking.k8s.io/v1/namespaces/default/ingresses", body)
    assert not server.warnings


def test_templates_of_jobs_and_claims_are_looked_at(server: SilentServer) -> None:
    template = workload("{hostPID: true, restartPolicy: Never}")["spec"]["template"]
    job = {"metadata": {"name": "j"}, "spec": {"template": template}}
    server.must("POST /apis/batch/v1/namespaces/default/jobs", job)
    assert [text.partition(":")[0] for text in server.warnings] == ["spec.template.spec.hostPID"]
    cron = {"schedule": "@daily", "jobTemplate": {"spec": job["spec"]}}
    body = {"metadata": {"name": "c"}, "spec": cron}
    server.must("POST /apis/batch/v1/namespaces/default/cronjobs", body)
    where = "spec.jobTemplate.spec.template.spec.hostPID"
    assert [text.partition(":")[0] for text in server.warnings] == [where]
    claims = workload("{}", volumeClaimTemplates=[{"metadata": {"name": "data"}}])
    server.must("POST /apis/apps/v1/namespaces/default/statefulsets", claims)
    assert server.warnings == (
        "spec.volumeClaimTemplates[0]: there are no persistent volumes here: each pod gets an "
        "emptyDir, which ends with it",
    )


def test_a_change_warns_of_what_it_adds(server: SilentServer) -> None:
    server.must(f"POST {DEPLOYMENTS}", workload("{hostPID: true}"))
    adds = {"spec": {"template": {"spec": {"hostIPC": True}}}}
    server.must(f"PATCH {DEPLOYMENTS}/w", adds, patch="merge")
    assert [text.partition(":")[0] for text in server.warnings] == ["spec.template.spec.hostIPC"]
    server.must(f"PATCH {DEPLOYMENTS}/w", {"spec": {"replicas": 2}}, patch="merge")
    assert not server.warnings
    server.must(f"PUT {DEPLOYMENTS}/w", workload("{hostPID: true, runtimeClassName: x}"))
    assert [text.partition(":")[0] for text in server.warnings] == [
        "spec.template.spec.runtimeClassName"
    ]
    server.must(f"PATCH {DEPLOYMENTS}/w/status", {"status": {"replicas": 1}}, patch="merge")
    assert not server.warnings


def test_a_dry_run_warns_too(server: SilentServer) -> None:
    server.must(f"POST {SERVICES}?dryRun=All", service("{type: LoadBalancer}"))
    assert len(server.warnings) == 1


def test_unknown_fields_are_said_first(server: SilentServer) -> None:
    server.must(f"POST {PODS}", pod("{hostPID: true, hostPid: true}"))
    assert [text[:12] for text in server.warnings] == ["unknown fiel", "spec.hostPID"]


REFUSED = "Forbidden: gRPC probes are not served here: use httpGet, tcpSocket or exec"


@pytest.mark.parametrize("probe", ["readinessProbe", "livenessProbe", "startupProbe"])
def test_grpc_probes_are_refused(server: SilentServer, probe: str) -> None:
    spec = f"{{containers: [{{{C}, {probe}: {{grpc: {{port: 1}}}}}}]}}"
    said = server.says(f"POST {PODS}", pod(spec))
    assert said == f'422 Invalid: Pod "p" is invalid: spec.containers[0].{probe}.grpc: {REFUSED}'
    said = server.says(f"POST {DEPLOYMENTS}", workload(spec))
    assert said.endswith(f" spec.template.spec.containers[0].{probe}.grpc: {REFUSED}")


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("{ipFamilies: [IPv6]}", 'spec.ipFamilies[0]: Invalid value: "IPv6": not configured on this cluster'),
        ("{ipFamilyPolicy: RequireDualStack}", 'spec.ipFamilyPolicy: Invalid value: "RequireDualStack": this cluster is not configured for dual-stack services'),
    ],
)  # fmt: skip
def test_the_other_family_of_addresses_is_refused(
    server: SilentServer, spec: str, expected: str
) -> None:
    said = server.says(f"POST {SERVICES}", service(spec))
    assert said == f'422 Invalid: Service "s" is invalid: {expected}'


def test_what_the_runtime_honours_needs_no_warning() -> None:
    context = {"runAsUser": 7, "fsGroup": 7}
    container = {"name": "c", "image": "i", "securityContext": context}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "spec": {"containers": [container], "securityContext": context},
    }
    assert unsupported.warnings(pod, ("runAsUser",)) == (
        f"spec.securityContext.fsGroup: {PROTECTION}",
        f"spec.containers[0].securityContext.fsGroup: {PROTECTION}",
    )


def test_an_engine_has_no_paths_of_the_host() -> None:
    mounts = [{"name": "v", "mountPath": "/v"}]
    containers = [{"name": "c", "image": "i", "volumeMounts": mounts}]
    volumes = [{"name": "v", "hostPath": {"path": "/v"}}]
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "spec": {"containers": containers, "volumes": volumes},
    }
    (said,) = unsupported.warnings(pod, ("runAsUser",))
    assert said.startswith("spec.volumes[0].hostPath: hostPath volumes are not there")
    (said,) = unsupported.warnings(pod)
    assert said.endswith("read-only here")
