import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from podwire.emulator.apiserver.columns import tables
from podwire.emulator.apiserver.columns.cells import human_duration

DATA = Path(__file__).resolve().parents[3] / "data" / "tables" / "columns.json"
COLUMNS: dict[str, list[list[Any]]] = json.loads(DATA.read_text())
NOW = 1767322800.0  # 2026-01-02T03:00:00Z
BORN = "creationTimestamp: '2026-01-02T02:55:00Z'"


@pytest.mark.parametrize("kind", COLUMNS)
def test_columns_are_those_of_a_real_server(kind: str) -> None:
    api_version, _, name = kind.rpartition("/")
    found = [
        [c["name"], c["type"], c["format"], c["priority"]]
        for c in tables.columns(api_version, name)
    ]
    assert found == COLUMNS[kind]


def cells(kind: str, text: str) -> list[Any]:
    api_version, _, name = kind.partition(" ")
    obj = yaml.safe_load(f"metadata: {{name: x, {BORN}}}") | yaml.safe_load(text)
    row = tables.row(obj, api_version, name, now=NOW)
    assert len(row.cells) == len(tables.columns(api_version, name))
    return row.cells


def test_a_scale_shows_what_is_wanted_and_what_is_there() -> None:
    scale = "spec: {replicas: 3}\nstatus: {replicas: 2}"
    assert cells("autoscaling/v1 Scale", scale)[:3] == ["x", 3, 2]


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-5, "<invalid>"), (-1.5, "0s"), (-1, "0s"), (0.9, "0s"), (119, "119s"), (120, "2m"), (185, "3m5s"), (599, "9m59s"),
        (600, "10m"), (10799, "179m"), (10800, "3h"), (10860, "3h1m"), (28799, "7h59m"), (28800, "8h"),
        (47 * 3600 + 1, "47h"), (48 * 3600, "2d"), (49 * 3600, "2d1h"), (8 * 86400, "8d"),
        (729 * 86400, "729d"), (730 * 86400, "2y"), (740 * 86400, "2y10d"), (9 * 365 * 86400, "9y"),
    ],
)  # fmt: skip
def test_durations(seconds: float, shown: str) -> None:
    assert human_duration(seconds) == shown


RUN = "{running: {}}"


def statuses(*states: str) -> str:
    return "[" + ", ".join(f"{{name: c, {one}}}" for one in states) + "]"


@pytest.mark.parametrize(
    ("what", "pod", "ready", "status", "restarts"),
    [
        ("just created", "spec: {containers: [{name: c}]}\nstatus: {phase: Pending}", "0/1", "Pending", "0"),
        ("runs", f"spec: {{containers: [{{name: c}}]}}\nstatus: {{phase: Running, containerStatuses: {statuses(f'ready: true, state: {RUN}')}}}", "1/1", "Running", "0"),
        ("not ready", f"spec: {{containers: [{{name: c}}]}}\nstatus: {{phase: Running, containerStatuses: {statuses(f'ready: false, state: {RUN}')}}}", "0/1", "Running", "0"),
        ("pulls", f"spec: {{containers: [{{name: c}}]}}\nstatus: {{phase: Pending, containerStatuses: {statuses('state: {waiting: {reason: ErrImagePull}}')}}}", "0/1", "ErrImagePull", "0"),
        ("crashes", f"spec: {{containers: [{{name: c}}]}}\nstatus: {{phase: Running, containerStatuses: {statuses(chr(10) + 'restartCount: 3, state: {waiting: {reason: CrashLoopBackOff}}, lastState: {terminated: {exitCode: 1, finishedAt: 2026-01-02T02:59:50Z}}')}}}", "0/1", "CrashLoopBackOff", "3 (10s ago)"),
        ("failed", f"spec: {{containers: [{{name: c}}]}}\nstatus: {{phase: Failed, containerStatuses: {statuses('state: {terminated: {exitCode: 3}}')}}}", "0/1", "ExitCode:3", "0"),
        ("killed", f"spec: {{containers: [{{name: c}}]}}\nstatus: {{phase: Failed, containerStatuses: {statuses('state: {terminated: {exitCode: 137, signal: 9}}')}}}", "0/1", "Signal:9", "0"),
        ("done", f"spec: {{containers: [{{name: c}}]}}\nstatus: {{phase: Succeeded, containerStatuses: {statuses('state: {terminated: {exitCode: 0, reason: Completed}}')}}}", "0/1", "Completed", "0"),
        ("one done, one runs", f"spec: {{containers: [{{name: c}}, {{name: d}}]}}\nstatus: {{phase: Running, containerStatuses: {statuses('state: {terminated: {reason: Completed}}', f'ready: true, state: {RUN}')}}}", "1/2", "NotReady", "0"),
        ("initialises", f"spec: {{initContainers: [{{name: c}}, {{name: d}}], containers: [{{name: e}}]}}\nstatus: {{phase: Pending, initContainerStatuses: {statuses('state: {terminated: {exitCode: 0}}', f'state: {RUN}')}}}", "0/1", "Init:1/2", "0"),
        ("init fails", f"spec: {{initContainers: [{{name: c}}], containers: [{{name: e}}]}}\nstatus: {{phase: Pending, initContainerStatuses: {statuses('state: {terminated: {exitCode: 2, reason: Error}}')}}}", "0/1", "Init:Error", "0"),
        ("has a sidecar", f"spec: {{initContainers: [{{name: c, restartPolicy: Always}}], containers: [{{name: e}}]}}\nstatus: {{phase: Running, initContainerStatuses: {statuses(f'started: true, ready: true, state: {RUN}')}, containerStatuses: [{{name: e, ready: true, state: {RUN}}}]}}", "2/2", "Running", "0"),
        ("goes", f"metadata: {{name: x, {BORN}, deletionTimestamp: '2026-01-02T03:00:00Z'}}\nspec: {{containers: [{{name: c}}]}}\nstatus: {{phase: Running}}", "0/1", "Terminating", "0"),
        ("went", f"metadata: {{name: x, {BORN}, deletionTimestamp: '2026-01-02T03:00:00Z'}}\nspec: {{containers: [{{name: c}}]}}\nstatus: {{phase: Succeeded}}", "0/1", "Succeeded", "0"),
        ("evicted", "spec: {containers: [{name: c}]}\nstatus: {phase: Failed, reason: Evicted}", "0/1", "Evicted", "0"),
        ("gated", "spec: {containers: [{name: c}]}\nstatus: {phase: Pending, conditions: [{type: PodScheduled, reason: SchedulingGated}]}", "0/1", "SchedulingGated", "0"),
    ],
)  # fmt: skip
def test_pods(what: str, pod: str, ready: str, status: str, restarts: str) -> None:
    pod = pod.replace("finishedAt: 2026-01-02T02:59:50Z", "finishedAt: '2026-01-02T02:59:50Z'")
    assert cells("v1 Pod", pod)[1:4] == [ready, status, restarts], what


def test_a_pods_wide_columns() -> None:
    pod = "spec: {nodeName: node-1, containers: [{name: c}]}\nstatus: {podIPs: [{ip: 10.244.1.5}]}"
    assert cells("v1 Pod", pod)[4:] == ["5m", "10.244.1.5", "node-1", "<none>", "<none>"]
    assert cells("v1 Pod", "spec: {containers: [{name: c}]}")[5:] == ["<none>"] * 4


@pytest.mark.parametrize(
    ("phase", "marks"),
    [
        ("Succeeded", [("Completed", "Succeeded")]),
        ("Failed", [("Completed", "Failed")]),
        ("Running", []),
    ],
)
def test_finished_pods_are_marked(phase: str, marks: list[tuple[str, str]]) -> None:
    obj = {"metadata": {"name": "x"}, "status": {"phase": phase}}
    conditions = tables.row(obj, "v1", "Pod", now=NOW).conditions
    assert [(c["type"], c["reason"]) for c in conditions] == marks


@pytest.mark.parametrize(
    ("kind", "obj", "expected"),
    [
        ("v1 Service", "spec: {type: ExternalName, externalName: example.com}", ["x", "ExternalName", "<none>", "example.com", "<none>", "5m", "<none>"]),
        ("v1 Service", "spec: {type: ClusterIP, clusterIP: None, ports: [{port: 80, protocol: TCP}]}", ["x", "ClusterIP", "None", "<none>", "80/TCP", "5m", "<none>"]),
        ("v1 Service", "spec: {type: LoadBalancer, clusterIP: 10.96.0.5, ports: [{port: 80, nodePort: 30081, protocol: TCP}]}", ["x", "LoadBalancer", "10.96.0.5", "<pending>", "80:30081/TCP", "5m", "<none>"]),
        ("v1 Service", "spec: {type: LoadBalancer, clusterIP: 10.96.0.5, externalIPs: [203.0.113.9], ports: [{port: 53, protocol: UDP}]}\nstatus: {loadBalancer: {ingress: [{ip: 192.168.1.200}]}}", ["x", "LoadBalancer", "10.96.0.5", "192.168.1.200,203.0.113.9", "53/UDP", "5m", "<none>"]),
        ("v1 Service", "spec: {type: NodePort, clusterIP: 10.96.0.5, selector: {b: c, a: b}, ports: [{port: 80, nodePort: 30080, protocol: TCP}, {port: 443, protocol: TCP}]}", ["x", "NodePort", "10.96.0.5", "<none>", "80:30080/TCP,443/TCP", "5m", "a=b,b=c"]),
        ("v1 Endpoints", "{}", ["x", "<none>", "5m"]),
        ("v1 Endpoints", "subsets: [{addresses: [{ip: 10.0.0.1}, {ip: 10.0.0.2}], ports: [{port: 80}, {port: 443}]}]", ["x", "10.0.0.1:80,10.0.0.2:80,10.0.0.1:443 + 1 more...", "5m"]),
        ("v1 Endpoints", "subsets: [{addresses: [{ip: 10.0.0.1}]}]", ["x", "10.0.0.1", "5m"]),
        ("v1 Endpoints", "subsets: [{notReadyAddresses: [{ip: 10.0.0.1}], ports: [{port: 80}]}]", ["x", "", "5m"]),
        ("discovery.k8s.io/v1 EndpointSlice", "addressType: IPv4\nendpoints: null\nports: null", ["x", "IPv4", "<unset>", "<unset>", "5m"]),
        ("discovery.k8s.io/v1 EndpointSlice", "addressType: IPv4\nendpoints: [{addresses: [a]}, {addresses: [b]}, {addresses: [c]}, {addresses: [d]}]\nports: [{port: 80}, {name: any}]", ["x", "IPv4", "80,any", "a,b,c + 1 more...", "5m"]),
        ("v1 Node", "status: {conditions: [{type: Ready, status: 'True'}], nodeInfo: {kubeletVersion: v1.32.0}}\nspec: {unschedulable: true}", ["x", "Ready,SchedulingDisabled", "<none>", "5m", "v1.32.0", "<none>", "<none>", "<unknown>", "<unknown>", "<unknown>"]),
        ("v1 Node", f"metadata: {{name: x, {BORN}, labels: {{node-role.kubernetes.io/control-plane: ''}}}}\nstatus: {{addresses: [{{type: InternalIP, address: 192.168.1.10}}]}}", ["x", "Unknown", "control-plane", "5m", "", "192.168.1.10", "<none>", "<unknown>", "<unknown>", "<unknown>"]),
        ("v1 Namespace", "status: {phase: Active}", ["x", "Active", "5m"]),
        ("v1 ConfigMap", "data: {a: b}\nbinaryData: {c: ZA==}", ["x", 2, "5m"]),
        ("v1 Secret", "type: Opaque\ndata: {a: Yg==}", ["x", "Opaque", 1, "5m"]),
        ("apps/v1 Deployment", "spec: {replicas: 3, selector: {matchLabels: {app: web}}, template: {spec: {containers: [{name: a, image: 'b:1'}, {name: c, image: d}]}}}\nstatus: {readyReplicas: 2, updatedReplicas: 3, availableReplicas: 2}", ["x", "2/3", 3, 2, "5m", "a,c", "b:1,d", "app=web"]),
        ("apps/v1 ReplicaSet", "spec: {replicas: 2, selector: {matchExpressions: [{key: t, operator: In, values: [b, a]}, {key: a, operator: Exists}]}, template: {spec: {containers: [{name: a, image: b}]}}}\nstatus: {replicas: 2}", ["x", 2, 2, 0, "5m", "a", "b", "a,t in (a,b)"]),
        ("apps/v1 StatefulSet", "spec: {replicas: 2, template: {spec: {containers: [{name: db, image: 'redis:7'}]}}}\nstatus: {readyReplicas: 2}", ["x", "2/2", "5m", "db", "redis:7"]),
        ("apps/v1 DaemonSet", "spec: {selector: {matchLabels: {a: b}}, template: {spec: {nodeSelector: {disk: ssd}, containers: [{name: a, image: b}]}}}\nstatus: {desiredNumberScheduled: 3, currentNumberScheduled: 2, numberReady: 1}", ["x", 3, 2, 1, 0, 0, "disk=ssd", "5m", "a", "b", "a=b"]),
        ("batch/v1 Job", "spec: {completions: 2, template: {spec: {containers: [{name: a, image: b}]}}}\nstatus: {succeeded: 1, startTime: '2026-01-02T02:59:00Z'}", ["x", "Running", "1/2", "60s", "5m", "a", "b", "<none>"]),
        ("batch/v1 CronJob", "spec: {schedule: '* * * * *', suspend: false, jobTemplate: {spec: {template: {spec: {containers: [{name: a, image: b}]}}}}}", ["x", "* * * * *", "<none>", "False", 0, "<none>", "5m", "a", "b", "<none>"]),
        ("autoscaling/v2 HorizontalPodAutoscaler", "spec: {scaleTargetRef: {kind: Deployment, name: myapp}, minReplicas: 2, maxReplicas: 5, metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 80}}}]}", ["x", "Deployment/myapp", "cpu: <unknown>/80%", "2", 5, 0, "5m"]),
        ("networking.k8s.io/v1 NetworkPolicy", "spec: {podSelector: {matchLabels: {app: myapp}}}", ["x", "app=myapp", "5m"]),
        ("networking.k8s.io/v1 Ingress", "spec: {ingressClassName: nginx, rules: [{host: web.example.com}]}", ["x", "nginx", "web.example.com", "", "80", "5m"]),
        ("v1 Event", "type: Normal\nreason: Started\nmessage: 'Started container '\ninvolvedObject: {kind: Pod, name: web}\nlastTimestamp: '2026-01-02T02:59:30Z'\nfirstTimestamp: '2026-01-02T02:58:30Z'\ncount: 2\nsource: {component: kubelet, host: node-1}", ["30s", "Normal", "Started", "pod/web", "", "kubelet, node-1", "Started container", "90s", "2", "x"]),
        ("events.k8s.io/v1 Event", "type: Normal\nreason: Started\nnote: hi\nregarding: {kind: Pod, name: web}\neventTime: '2026-01-02T02:59:30.000000Z'\nreportingController: kubelet", ["30s", "Normal", "Started", "pod/web", "", "kubelet", "hi", "30s", "1", "x"]),
        ("coordination.k8s.io/v1 Lease", "spec: {holderIdentity: node-1}", ["x", "node-1", "5m"]),
        ("rbac.authorization.k8s.io/v1 Role", "rules: []", ["x", "2026-01-02T02:55:00Z"]),
    ],
)  # fmt: skip
def test_rows(kind: str, obj: str, expected: list[Any]) -> None:
    assert cells(kind, obj.replace("clusterIP: None", "clusterIP: 'None'")) == expected


class Pods:
    api_version = "v1"
    kind = "Pod"


def test_a_table_carries_what_was_asked_of_each_object() -> None:
    obj: dict[str, Any] = {"metadata": {"name": "x"}, "spec": {"containers": []}}
    table = tables.table(Pods(), [obj], now=NOW)
    assert table["columnDefinitions"][0]["name"] == "Name"
    assert table["rows"][0]["object"] == {
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {"name": "x"},
    }
    whole = tables.table(Pods(), [obj], now=NOW, include_object="Object", first=False)
    assert whole["columnDefinitions"] is None
    assert whole["rows"][0]["object"]["spec"] == {"containers": []}
    assert tables.table(Pods(), [obj], now=NOW, include_object="None")["rows"][0]["object"] is None


def test_a_quota_shows_requests_and_limits_apart() -> None:
    text = "status: {hard: {pods: '2', limits.cpu: '4', cpu: '1'}, used: {pods: '1', cpu: 500m}}"
    shown = cells("v1 ResourceQuota", text)
    assert shown == ["x", "5m", "cpu: 500m/1, pods: 1/2", "limits.cpu: 0/4"]
