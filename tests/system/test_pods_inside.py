"""What a pod is given by its node: access to the API, volumes, processes, an end, and figures."""

import asyncio
import json
import subprocess
import sys

import pytest

from podwire.kube.plain import Connection
from podwire.testing.cluster import Cluster
from tests.needs import lack
from tests.system.conftest import SHELL, both_runtimes
from tests.system.kubectl import versions
from tests.system.pods import events, phase, pod
from tests.system.until import Json, containers, pod_path, until

PLACE = "/var/run/secrets/kubernetes.io/serviceaccount"
ASK = f"""
curl -sS -m 5 --cacert {PLACE}/ca.crt -H "Authorization: Bearer $(cat {PLACE}/token)" \\
    -o /tmp/body -w '%{{http_code}} ' "https://kubernetes.default.svc$0"; cat /tmp/body
"""


def reader(namespace: str, account: str) -> str:
    """Return what lets *account* read the pods of its namespace."""
    return f"""
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{name: reader, namespace: {namespace}}}
rules: [{{apiGroups: [""], resources: [pods], verbs: [get, list, watch]}}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{name: reader, namespace: {namespace}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}}
subjects: [{{kind: ServiceAccount, name: {account}, namespace: {namespace}}}]
"""


# --- the API ---------------------------------------------------------------------------------------


@both_runtimes
async def test_a_pod_speaks_to_the_api_server_with_its_token(cluster: Cluster) -> None:
    namespace = cluster.namespace
    await cluster.apply(pod("client"))
    await cluster.ready("client")
    client = cluster.pod("client")
    path = f"/api/v1/namespaces/{namespace}/pods"
    refused = (await client.exec("sh", "-c", ASK, path)).stdout.decode()
    assert refused.startswith("403 ")
    user = f"system:serviceaccount:{namespace}:default"
    assert f'User \\"{user}\\" cannot list resource \\"pods\\"' in refused
    await cluster.apply(reader(namespace, "default"))
    allowed = (await client.exec("sh", "-c", ASK, path)).stdout.decode()
    assert allowed.startswith("200 ")
    names = [one["metadata"]["name"] for one in json.loads(allowed[4:])["items"]]
    assert names == ["client"]
    said = await client.exec("cat", f"{PLACE}/namespace")
    assert said.stdout.decode() == namespace


@both_runtimes
async def test_who_wants_no_token_has_none(cluster: Cluster) -> None:
    await cluster.apply(pod("silent", spec="automountServiceAccountToken: false"))
    await cluster.ready("silent")
    said = await cluster.pod("silent").exec("test", "-e", PLACE, check=False)
    assert said.exit_code == 1


@both_runtimes
async def test_a_token_ends_with_its_pod(cluster: Cluster) -> None:
    await cluster.apply(pod("client") + "---" + pod("short"))
    await cluster.ready("client", "short")
    token = (await cluster.pod("short").exec("cat", f"{PLACE}/token")).stdout.decode()
    client = cluster.pod("client")
    ask = ASK.replace(f"$(cat {PLACE}/token)", token)
    assert (await client.exec("sh", "-c", ask, "/version")).stdout.startswith(b"200 ")
    await cluster.delete("pod/short")
    async with asyncio.timeout(20):
        while not (await client.exec("sh", "-c", ask, "/api")).stdout.startswith(b"401 "):
            pass


async def test_the_official_client_finds_its_configuration_in_a_pod(cluster: Cluster) -> None:
    program = """
from kubernetes import client, config, watch
config.load_incluster_config()
api = client.CoreV1Api()
namespace = open("/var/run/secrets/kubernetes.io/serviceaccount/namespace").read()
print([pod.metadata.name for pod in api.list_namespaced_pod(namespace).items])
for event in watch.Watch().stream(api.list_namespaced_pod, namespace, timeout_seconds=5):
    print(event["type"], event["object"].metadata.name)
    break
try:
    api.list_namespaced_secret(namespace)
except client.ApiException as error:
    print(error.status)
"""
    pytest.importorskip("kubernetes")
    await cluster.apply(reader(cluster.namespace, "default"))
    await cluster.apply(pod("client"))
    await cluster.ready("client")
    # This machine's programs are a pod's, too.
    said = await cluster.pod("client").exec(sys.executable, "-c", program)
    assert said.stdout.decode().splitlines() == ["['client']", "ADDED client", "403"]


# --- volumes ---------------------------------------------------------------------------------------

PROJECTED = """volumes:
  - name: all
    projected:
      defaultMode: 0444
      sources:
      - {configMap: {name: settings, items: [{key: color, path: conf/color}]}}
      - {secret: {name: key}}
      - {serviceAccountToken: {path: vault, audience: vault, expirationSeconds: 600}}
      - downwardAPI:
          items:
          - {path: labels, fieldRef: {fieldPath: metadata.labels}}
          - {path: cpu, resourceFieldRef: {containerName: c, resource: limits.cpu, divisor: 1m}}
  - {name: logs, emptyDir: {}}
"""
SOURCES = """
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {color: blue}
---
apiVersion: v1
kind: Secret
metadata: {name: key}
stringData: {word: sesame}
---
"""


@both_runtimes
async def test_a_projected_volume_holds_all_its_sources(cluster: Cluster) -> None:
    mounts = [{"name": "all", "mountPath": "/all"}]
    limits = {"limits": {"cpu": "250m"}}
    await cluster.apply(SOURCES + pod("p", spec=PROJECTED, volumeMounts=mounts, resources=limits))
    await cluster.ready("p")
    files = "/all/conf/color /all/word /all/labels /all/cpu"
    said = await cluster.pod("p").exec("sh", "-c", f"cat {files}; test -s /all/vault && echo y")
    assert said.stdout == b'bluesesameapp="p"250y\n'


async def test_a_sub_path_may_be_made_of_variables(cluster: Cluster) -> None:
    env = [{"name": "ME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]
    mounts = [
        {"name": "logs", "mountPath": "/mine", "subPathExpr": "of/$(ME)"},
        {"name": "logs", "mountPath": "/whole"},
    ]
    volumes = "volumes: [{name: logs, emptyDir: {}}]"
    await cluster.apply(pod("p", spec=volumes, volumeMounts=mounts, env=env))
    await cluster.ready("p")
    said = await cluster.pod("p").exec("sh", "-c", "echo x > /mine/x; cat /whole/of/p/x")
    assert said.stdout == b"x\n"


# --- processes -------------------------------------------------------------------------------------

SHOW = "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"


@both_runtimes
@pytest.mark.parametrize("shares", [False, True])
async def test_containers_may_see_each_others_processes(cluster: Cluster, *, shares: bool) -> None:
    other = json.dumps({"name": "other", "image": SHELL, "command": ["sleep", "4321"]})
    spec = f"shareProcessNamespace: {str(shares).lower()}"
    text = pod("pair", spec=spec).replace("containers: [", f"containers: [{other}, ")
    await cluster.apply(text)
    await cluster.ready("pair")
    shown = await cluster.pod("pair").exec("sh", "-c", SHOW, container="c")
    assert ("sleep 4321" in shown.stdout.decode()) is shares


async def added(cluster: Cluster, name: str, container: Json) -> Json:
    """Add an ephemeral container to a pod; returns its status when it runs."""

    def add(connection: Connection) -> None:
        path = f"{pod_path(cluster, name)}/ephemeralcontainers"
        patch = {"spec": {"ephemeralContainers": [container]}}
        connection.patch(path, patch)

    await cluster.call(add)

    def state(found: Json | None) -> Json | None:
        status: Json = (found or {}).get("status") or {}
        for one in status.get("ephemeralContainerStatuses") or ():
            if one["name"] == container["name"] and "waiting" not in one["state"]:
                return dict(one)
        return None

    found = await until(cluster, pod_path(cluster, name), state, "the added container has run")
    shown = state(found)
    assert shown is not None
    return shown


@both_runtimes
async def test_an_ephemeral_container_sees_its_target(cluster: Cluster) -> None:
    await cluster.apply(pod("subject", command=["sleep", "4321"]))
    await cluster.ready("subject")
    look: Json = {"image": SHELL, "command": ["sleep", "1234"]}
    status = await added(
        cluster, "subject", {**look, "name": "debugger", "targetContainerName": "c"}
    )
    assert "running" in status["state"]
    assert status["ready"] is False
    subject = cluster.pod("subject")
    shown = (await subject.exec("sh", "-c", SHOW, container="debugger")).stdout.decode()
    assert "sleep 4321" in shown
    assert "sleep 1234" in shown
    # It shares the pod's network, and its end is nobody's business.
    await subject.exec(
        "sh", "-c", "kill $(pgrep -f 'sleep 1234')", container="debugger", check=False
    )
    found = await cluster.get(pod_path(cluster, "subject"))
    assert found["status"]["phase"] == "Running"
    assert containers(found)[0]["restartCount"] == 0


# --- the end ---------------------------------------------------------------------------------------


@both_runtimes
async def test_a_pod_that_is_active_for_too_long_fails(cluster: Cluster) -> None:
    await cluster.apply(pod("slow", spec="activeDeadlineSeconds: 5"))
    found = await until(
        cluster,
        pod_path(cluster, "slow"),
        lambda pod: (pod or {}).get("status", {}).get("reason") == "DeadlineExceeded",
        "it has failed",
    )
    assert found is not None
    assert found["status"]["phase"] == "Failed"
    assert "terminated" in containers(found)[0]["state"]
    assert await events(cluster, "slow", "DeadlineExceeded")


@both_runtimes
async def test_last_words_are_in_the_status(cluster: Cluster) -> None:
    said = ["sh", "-c", "echo -n 'out of cheese' > /dev/termination-log; exit 3"]
    logged = ["sh", "-c", "echo no file; exit 4"]
    never = "restartPolicy: Never"
    fallback = {"terminationMessagePolicy": "FallbackToLogsOnError"}
    await cluster.apply(pod("said", spec=never, command=said))
    await cluster.apply(pod("logged", spec=never, command=logged, **fallback))
    ends = [
        containers(await phase(cluster, name, "Failed"))[0]["state"]["terminated"]
        for name in ("said", "logged")
    ]
    assert [(end["exitCode"], end["message"]) for end in ends] == [
        (3, "out of cheese"),
        (4, "no file\n"),
    ]


# --- figures ---------------------------------------------------------------------------------------


@both_runtimes
async def test_what_pods_use_is_measured(cluster: Cluster) -> None:
    burn = ["sh", "-c", "while :; do :; done"]
    await cluster.apply(pod("busy", command=burn) + "---" + pod("idle"))
    await cluster.ready("busy", "idle")
    group = "/apis/metrics.k8s.io/v1beta1"
    path = f"{group}/namespaces/{cluster.namespace}/pods"

    def cores(found: Json | None) -> dict[str, float]:
        return {
            one["metadata"]["name"]: sum(
                int(c["usage"]["cpu"].removesuffix("n")) / 1e9 for c in one["containers"]
            )
            for one in (found or {}).get("items", ())
        }

    found = await until(
        cluster,
        path,
        lambda listing: cores(listing).get("busy", 0) > 0.05 and "idle" in cores(listing),
        "the busy one is seen to be so",
    )
    assert cores(found)["idle"] < cores(found)["busy"]
    chosen = await cluster.get(f"{path}?labelSelector=app%3Dbusy")
    assert [one["metadata"]["name"] for one in chosen["items"]] == ["busy"]
    one = await cluster.get(f"{path}/busy")
    assert int(one["containers"][0]["usage"]["memory"].removesuffix("Ki")) > 0
    node = (await cluster.get(pod_path(cluster, "busy")))["spec"]["nodeName"]
    used = await cluster.get(f"{group}/nodes/{node}")
    assert int(used["usage"]["cpu"].removesuffix("n")) > 50_000_000


def test_kubectl_top_shows_it(cluster: Cluster) -> None:
    programs = versions()
    if not programs:
        lack("kubectl is not there")
    for words, columns in (
        (("top", "pod", "-A", "--containers", "--sort-by=cpu"), ["NAMESPACE", "POD", "NAME"]),
        (("top", "node"), ["NAME"]),
    ):
        shown = subprocess.run(
            [programs[0], "--kubeconfig", str(cluster.kubeconfig), *words],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()
        assert shown[0].split()[: len(columns)] == columns
        assert "CPU(cores)" in shown[0]
        assert len(shown) > 1
