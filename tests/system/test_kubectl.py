"""Real kubectl against a cluster, every version that this machine has: what people do first."""

import os
import re

import pytest

from podwire.testing.cluster import Cluster
from tests.system.kubectl import Kubectl
from tests.system.terminal import at_a_terminal, read_until
from tests.system.until import containers, pod_path, until

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: web, image: podwire/web, ports: [{name: http, containerPort: 80}]}]
"""

SHELL = """
apiVersion: v1
kind: Pod
metadata: {name: shell, labels: {app: shell}}
spec:
  terminationGracePeriodSeconds: 0
  containers: [{name: shell, image: busybox, command: [sleep, infinity]}]
"""

# Says a line, and ends only when it is told to; the next one says the same.
SPEAKER = """
apiVersion: v1
kind: Pod
metadata: {name: speaker}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: speaker
    image: busybox
    command: [sh, -c, "echo one; echo two; echo here I am $(cat /proc/sys/kernel/random/uuid); until [ -e /tmp/end ]; do sleep 0.05; done; echo bye; exit 3"]
"""


def test_create_makes_what_a_word_names(each_kubectl: Kubectl) -> None:
    kubectl = each_kubectl
    for words, created in (
        (("deployment", "web", "--image=podwire/web", "--port=80"), "deployment.apps/web"),
        (("configmap", "settings", "--from-literal=color=blue"), "configmap/settings"),
        (("secret", "generic", "key", "--from-literal=word=x"), "secret/key"),
        (("service", "clusterip", "web", "--tcp=80:80"), "service/web"),
        (("service", "nodeport", "outside", "--tcp=80"), "service/outside"),
        (("service", "externalname", "far", "--external-name=example.com"), "service/far"),
        (("namespace", f"{kubectl.namespace}-x"), "namespace/$NS-x"),
    ):
        said = kubectl.said("create", *words).replace(kubectl.namespace, "$NS")
        assert said == f"{created} created\n"
    assert kubectl.said("get", "configmap", "settings", "-o", "jsonpath={.data.color}") == "blue"
    assert kubectl.said("get", "secret", "key", "-o", "jsonpath={.data.word}") == "eA=="
    kubectl.said("delete", "namespace", f"{kubectl.namespace}-x")


def test_apply_says_created_configured_and_unchanged(each_kubectl: Kubectl) -> None:
    kubectl = each_kubectl
    changed = DEPLOYMENT.replace("replicas: 1", "replicas: 2")
    for text, outcome in (
        (DEPLOYMENT, "created"),
        (DEPLOYMENT, "unchanged"),
        (changed, "configured"),
        (changed, "unchanged"),
    ):
        assert kubectl.said("apply", "-f", "-", given=text) == f"deployment.apps/web {outcome}\n"
    assert kubectl.said("get", "deployment", "web", "-o", "jsonpath={.spec.replicas}") == "2"


def test_a_deployment_is_rolled_out_scaled_exposed_labelled_and_deleted(kubectl: Kubectl) -> None:
    kubectl.said("create", "-f", "-", given=DEPLOYMENT)
    said = kubectl.said("rollout", "status", "deployment/web", "--timeout=20s")
    assert said.endswith('deployment "web" successfully rolled out\n')
    assert kubectl.said("scale", "deployment/web", "--replicas=2") == "deployment.apps/web scaled\n"
    kubectl.said("rollout", "status", "deployment/web", "--timeout=20s")
    assert kubectl.said("expose", "deployment/web", "--port=80") == "service/web exposed\n"
    assert kubectl.said("label", "pods", "-l", "app=web", "tier=front").count("labeled") == 2
    names = kubectl.said("get", "pods", "-l", "tier=front", "-o", "name").split()
    assert len(names) == 2
    assert all(name.startswith("pod/web-") for name in names)
    wide = kubectl.said("get", "pods", "-o", "wide", "--no-headers")
    assert len(re.findall(r" 1/1 +Running +0 +\S+ +10\.244\.\d\.\d+ +node-\d ", wide)) == 2
    ready = kubectl.said("wait", "--for=condition=Ready", "pod", "-l", "app=web", "--timeout=20s")
    assert ready.count("condition met") == 2
    assert kubectl.said("delete", "deployment", "web") == 'deployment.apps "web" deleted\n'
    kubectl.said("wait", "--for=delete", "pod", "-l", "app=web", "--timeout=20s")


def test_run_starts_a_pod_that_ends(kubectl: Kubectl) -> None:
    run = ("run", "once", "--image=busybox", "--restart=Never", "--", "echo", "hello")
    assert kubectl.said(*run) == "pod/once created\n"
    done = ("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/once", "--timeout=20s")
    assert kubectl.said(*done) == "pod/once condition met\n"
    assert kubectl.said("logs", "once") == "hello\n"
    shown = kubectl.said("get", "pod", "once", "--no-headers")
    assert re.fullmatch(r"once +0/1 +Completed +0 +\S+\n", shown)


def test_get_watch_shows_each_change_as_it_comes(each_kubectl: Kubectl) -> None:
    kubectl = each_kubectl
    kubectl.said("apply", "-f", "-", given=SHELL)
    kubectl.said("wait", "--for=condition=Ready", "pod/shell", "--timeout=20s")
    watch = ("get", "pods", "-w", "--output-watch-events", "--no-headers")
    with kubectl.started(*watch) as watching:
        try:
            assert watching.stdout is not None
            assert re.match(r"ADDED +shell +1/1 +Running ", watching.stdout.readline())
            kubectl.said("label", "pod", "shell", "color=blue")
            assert re.match(r"MODIFIED +shell +1/1 +Running ", watching.stdout.readline())
            kubectl.said("delete", "pod", "shell", "--wait=false")
            seen = [watching.stdout.readline()]
            while not seen[-1].startswith("DELETED"):
                assert seen[-1], seen
                seen.append(watching.stdout.readline())
        finally:
            watching.kill()


def test_exec_passes_input_output_and_the_exit_status(each_kubectl: Kubectl) -> None:
    kubectl = each_kubectl
    kubectl.said("apply", "-f", "-", given=SHELL)
    kubectl.said("wait", "--for=condition=Ready", "pod/shell", "--timeout=20s")
    done = kubectl.run("exec", "shell", "--", "sh", "-c", "echo out; echo err >&2; exit 3")
    assert (done.returncode, done.stdout) == (3, "out\n")
    assert done.stderr.startswith("err\n")
    assert "exit code 3" in done.stderr
    big = "line\n" * 50_000
    assert kubectl.said("exec", "-i", "shell", "--", "cat", given=big) == big
    missing = kubectl.run("exec", "shell", "--", "no-such-program")
    assert missing.returncode == 1
    assert '"no-such-program": executable file not found in $PATH' in missing.stderr
    absent = kubectl.run("exec", "nobody", "--", "true")
    assert absent.returncode == 1
    assert 'pods "nobody" not found' in absent.stderr


def test_exec_with_a_terminal_has_its_size_and_status(each_kubectl: Kubectl) -> None:
    kubectl = each_kubectl
    kubectl.said("apply", "-f", "-", given=SHELL)
    kubectl.said("wait", "--for=condition=Ready", "pod/shell", "--timeout=20s")
    # The size comes after the start, as everywhere: the command waits for it.
    script = (
        "until [ \"$(stty size)\" = '33 101' ]; do sleep 0.02; done; echo it fits; read x; exit 7"
    )
    words = ("exec", "-it", "shell", "--", "sh", "-c", script)
    with at_a_terminal(kubectl, *words) as (running, terminal):
        read_until(terminal, b"it fits")
        os.write(terminal, b"\r")
        assert running.wait(20) == 7


def test_run_at_a_terminal_ends_with_the_programs_status_and_leaves_no_pod(
    each_kubectl: Kubectl,
) -> None:
    kubectl = each_kubectl
    script = "echo ready; read word; echo got $word; exit 5"
    options = ("--image=busybox", "--restart=Never", "-it", "--rm", "--quiet")
    with at_a_terminal(kubectl, "run", "once", *options, "--", "sh", "-c", script) as (
        running,
        terminal,
    ):
        os.write(terminal, b"apple\r")
        read_until(terminal, b"got apple")
        assert running.wait(20) == 5
    assert "NotFound" in kubectl.run("get", "pod", "once").stderr


async def test_logs_follow_look_back_and_are_cut(each_kubectl: Kubectl, cluster: Cluster) -> None:
    kubectl = each_kubectl
    kubectl.said("apply", "-f", "-", given=SPEAKER)
    kubectl.said("wait", "--for=condition=Ready", "pod/speaker", "--timeout=20s")
    with kubectl.started("logs", "-f", "speaker") as following:
        assert following.stdout is not None
        lines = [following.stdout.readline() for _ in range(3)]
        assert lines[:2] == ["one\n", "two\n"]
        kubectl.run("exec", "speaker", "--", "touch", "/tmp/end")  # may go with the container
        assert following.stdout.read() == "bye\n"
        assert following.wait(20) == 0
    await until(
        cluster,
        pod_path(cluster, "speaker"),
        lambda pod: any(one["restartCount"] == 1 and one["ready"] for one in containers(pod)),
        "the container was started again",
    )
    assert kubectl.said("logs", "--previous", "speaker") == "".join([*lines, "bye\n"])
    with kubectl.started("logs", "-f", "speaker") as following:  # until it has said all
        assert following.stdout is not None
        again = [following.stdout.readline() for _ in range(3)]
        following.kill()
    assert again != lines
    assert kubectl.said("logs", "--tail=1", "speaker") == again[2]
    stamped = kubectl.said("logs", "--timestamps", "--tail=1", "speaker")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z here I am \S+\n", stamped)
    nobody = kubectl.run("logs", "speaker", "-c", "nobody")
    assert nobody.returncode == 1
    assert "container nobody is not valid for pod speaker" in nobody.stderr


# kind -> what its description must say.
DESCRIBED = {
    "pod": "Containers:",
    "node": "Addresses:",
    "deployment": "OldReplicaSets:",
    "replicaset": "Pods Status:",
    "service": "Endpoints:",
    "endpoints": "Subsets:",
    "endpointslice": "AddressType:",
    "configmap": "Data",
    "secret": "Type:",
    "namespace": "Status:",
    "serviceaccount": "Tokens:",
    "event": "Reason:",
}


def test_every_kind_can_be_listed_described_and_printed(kubectl: Kubectl) -> None:
    kubectl.said("apply", "-f", "-", given=DEPLOYMENT)
    kubectl.said("rollout", "status", "deployment/web", "--timeout=20s")
    kubectl.said("expose", "deployment/web", "--port=80")
    kubectl.said("create", "configmap", "settings", "--from-literal=color=blue")
    kubectl.said("create", "secret", "generic", "key", "--from-literal=word=x")
    for kind, words in DESCRIBED.items():
        assert kubectl.said("get", kind).startswith(("NAME", "LAST SEEN")), kind
        assert kubectl.said("get", kind, "-o", "wide").count("\n") > 1, kind
        assert "\n  kind: " in kubectl.said("get", kind, "-o", "yaml"), kind
        assert words in kubectl.said("describe", kind), kind
    assert "Pods Status:" in kubectl.said("describe", "daemonset", "-n", "kube-system")
    assert "nameserver" in kubectl.said("exec", "deployment/web", "--", "cat", "/etc/resolv.conf")


STRICT = """
apiVersion: v1
kind: Service
metadata: {name: bad}
spec: {selectr: {app: x}, ports: [{port: 80}]}
"""


def test_what_cannot_be_done_is_said(kubectl: Kubectl) -> None:
    service = STRICT.replace("selectr", "selector")
    for words, given, message in (
        (("apply", "-f", "-"), STRICT, 'strict decoding error: unknown field "spec.selectr"'),
        (("apply", "-f", "-"), service.replace("80", "70000"), "between 1 and 65535, inclusive"),
        (
            ("apply", "-f", "-"),
            service.replace("Service", "Sandwich"),
            'no matches for kind "Sandwich"',
        ),
        (("get", "pod", "nobody"), None, 'Error from server (NotFound): pods "nobody" not found'),
        (("get", "sandwiches"), None, 'the server doesn\'t have a resource type "sandwiches"'),
        (("delete", "namespace", "default"), None, "forbidden"),
    ):
        done = kubectl.run(*words, given=given)
        assert done.returncode == 1, (words, done.stdout)
        assert message in done.stderr, words


CLAIM = """
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: disk}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
"""
CONTROLLER = """
apiVersion: v1
kind: ReplicationController
metadata: {name: old}
spec: {replicas: 1, selector: {app: old}, template: {metadata: {labels: {app: old}}, spec: {containers: [{name: a, image: busybox}]}}}
"""


@pytest.mark.parametrize(
    ("manifest", "advice"),
    [(CLAIM, "use a volume of kind emptyDir"), (CONTROLLER, "use a Deployment")],
    ids=["a claim of a disk", "a replication controller"],
)
def test_what_is_not_there_is_refused_with_what_to_use_instead(
    kubectl: Kubectl, manifest: str, advice: str
) -> None:
    done = kubectl.run("create", "-f", "-", given=manifest)
    assert done.returncode == 1
    assert "MethodNotAllowed" in done.stderr
    assert advice in done.stderr


def test_an_object_that_changed_in_between_is_a_conflict(kubectl: Kubectl) -> None:
    kubectl.said("create", "configmap", "settings", "--from-literal=color=blue")
    old = kubectl.said("get", "configmap", "settings", "-o", "yaml")
    kubectl.said("label", "configmap", "settings", "changed=yes")
    done = kubectl.run("replace", "-f", "-", given=old)
    assert done.returncode == 1
    assert "Error from server (Conflict)" in done.stderr
    assert "the object has been modified; please apply your changes" in done.stderr


async def test_scaling_to_zero_empties_the_endpoints(kubectl: Kubectl, cluster: Cluster) -> None:
    kubectl.said("apply", "-f", "-", given=DEPLOYMENT)
    kubectl.said("expose", "deployment/web", "--port=80")
    path = f"/api/v1/namespaces/{cluster.namespace}/endpoints/web"
    await until(cluster, path, lambda found: (found or {}).get("subsets"), "it has an endpoint")
    kubectl.said("scale", "deployment/web", "--replicas=0")
    await until(cluster, path, lambda found: not (found or {}).get("subsets"), "it has none")
    assert re.search(r"^web +<none> ", kubectl.said("get", "endpoints", "web"), re.MULTILINE)
