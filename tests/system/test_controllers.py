"""Workloads as their users know them: kubectl rollout, jobs, cron jobs, drain; each for real."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from podwire.testing.cluster import Cluster
from tests.needs import need
from tests.system.conftest import SHELL, both_runtimes
from tests.system.kubectl import Kubectl, versions

pytestmark = pytest.mark.system

WAIT = "--timeout=60s"


@pytest.fixture
def kubectl(cluster: Cluster, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Kubectl:
    need("kubectl")
    cache = tmp_path_factory.getbasetemp() / "cache-controllers"
    cache.mkdir(exist_ok=True)
    return Kubectl(versions()[0], cluster, tmp_path, cache)


def workload(kind: str, tag: str = "test", **spec: Any) -> str:
    """Return a Deployment, DaemonSet or StatefulSet called web."""
    container = {
        "name": "web",
        "image": f"podwire/web:{tag}",
        "readinessProbe": {"httpGet": {"path": "/", "port": 80}, "periodSeconds": 1},
    }
    labels = {"app": "web"}
    template = {
        "metadata": {"labels": labels},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [container]},
    }
    return json.dumps(
        {
            "apiVersion": "apps/v1",
            "kind": kind,
            "metadata": {"name": "web"},
            "spec": {"selector": {"matchLabels": labels}, "template": template, **spec},
        }
    )


def history(kubectl: Kubectl, kind: str) -> list[list[str]]:
    lines = kubectl.said("rollout", "history", f"{kind}/web").strip().splitlines()
    assert lines[1].split() == ["REVISION", "CHANGE-CAUSE"]
    return [line.split(maxsplit=1) for line in lines[2:]]


def value(kubectl: Kubectl, kind: str, path: str) -> str:
    return kubectl.said("get", kind, "web", "-o", f"jsonpath={{{path}}}")


@pytest.mark.parametrize(
    ("kind", "spec"), [("Deployment", {"replicas": 2}), ("DaemonSet", {}), ("StatefulSet", {"replicas": 2, "serviceName": "web"})],
)  # fmt: skip
def test_there_and_back_again(kubectl: Kubectl, kind: str, spec: dict[str, Any]) -> None:
    short = {"Deployment": "deploy", "DaemonSet": "ds", "StatefulSet": "sts"}[kind]
    kubectl.said("apply", "-f", "-", given=workload(kind, **spec))
    kubectl.said("rollout", "status", f"{short}/web", WAIT)
    kubectl.said("set", "env", f"{short}/web", "COLOUR=blue")
    kubectl.said("rollout", "status", f"{short}/web", WAIT)
    assert history(kubectl, short) == [["1", "<none>"], ["2", "<none>"]]
    shown = kubectl.said("rollout", "history", f"{short}/web", "--revision=2")
    assert re.search(r"COLOUR:\s+blue", shown)
    assert f"{short}/web with revision #2" in shown.replace("deployment.apps", "deploy").replace(
        "daemonset.apps", "ds"
    ).replace("statefulset.apps", "sts")
    kubectl.said("rollout", "undo", f"{short}/web")
    kubectl.said("rollout", "status", f"{short}/web", WAIT)
    assert history(kubectl, short) == [["2", "<none>"], ["3", "<none>"]]
    assert value(kubectl, short, ".spec.template.spec.containers[0].env") == ""
    kubectl.said("rollout", "undo", f"{short}/web", "--to-revision=2")
    kubectl.said("rollout", "status", f"{short}/web", WAIT)
    assert [line[0] for line in history(kubectl, short)] == ["3", "4"]
    kubectl.said("rollout", "restart", f"{short}/web")
    kubectl.said("rollout", "status", f"{short}/web", WAIT)
    assert [line[0] for line in history(kubectl, short)] == ["3", "4", "5"]
    refused = kubectl.run("rollout", "undo", f"{short}/web", "--to-revision=77")
    assert refused.stderr == "error: unable to find specified revision 77 in history\n"


def test_nothing_rolls_while_a_deployment_is_paused(kubectl: Kubectl) -> None:
    kubectl.said("apply", "-f", "-", given=workload("Deployment", replicas=1))
    kubectl.said("rollout", "status", "deploy/web", WAIT)
    kubectl.said("rollout", "pause", "deploy/web")
    kubectl.said("set", "env", "deploy/web", "COLOUR=blue")
    condition = ".status.conditions[?(@.type=='Progressing')].reason"
    kubectl.said("wait", f"--for=jsonpath={{{condition}}}=DeploymentPaused", "deploy/web", WAIT)
    assert len(kubectl.said("get", "rs", "-o", "name").split()) == 1
    kubectl.said("rollout", "resume", "deploy/web")
    kubectl.said("rollout", "status", "deploy/web", WAIT)
    assert len(kubectl.said("get", "rs", "-o", "name").split()) == 2


@both_runtimes
def test_a_stateful_set_gives_each_pod_its_name(kubectl: Kubectl) -> None:
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web"},
        "spec": {"clusterIP": "None", "selector": {"app": "web"}, "ports": [{"port": 80}]},
    }
    claim = {"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}
    spec: dict[str, Any] = {"replicas": 2, "serviceName": "web", "volumeClaimTemplates": [claim]}
    kubectl.said("apply", "-f", "-", given=json.dumps(service))
    made = kubectl.run("apply", "-f", "-", given=workload("StatefulSet", **spec))
    assert "Warning: spec.volumeClaimTemplates[0]" in made.stderr
    kubectl.said("rollout", "status", "sts/web", WAIT)
    names = kubectl.said("get", "pods", "-o", "name").split()
    assert names == ["pod/web-0", "pod/web-1"]
    address = kubectl.said("get", "pod", "web-0", "-o", "jsonpath={.status.podIP}")
    script = f"for i in $(seq 50); do nslookup web-0.web | grep -q {address} && exit 0; sleep 0.2; done; exit 1"
    command = ["run", "asks", f"--image={SHELL}", "--restart=Never", "--", "sh", "-c", script]
    kubectl.said(*command)
    phase = "--for=jsonpath={.status.phase}=Succeeded"
    kubectl.said("wait", phase, "pod/asks", WAIT)


@both_runtimes
def test_a_job_from_its_start_to_its_log(kubectl: Kubectl) -> None:
    kubectl.said("create", "job", "j", f"--image={SHELL}", "--", "echo", "well done")
    kubectl.said("wait", "--for=condition=Complete", "job/j", WAIT)
    assert kubectl.said("logs", "job/j") == "well done\n"
    assert kubectl.said("get", "job", "j").splitlines()[1].split()[:3] == ["j", "Complete", "1/1"]
    described = kubectl.said("describe", "job", "j")
    assert "0 Active (0 Ready) / 1 Succeeded / 0 Failed" in described
    assert "Job completed" in described
    kubectl.said("delete", "job", "j")
    kubectl.said("wait", "--for=delete", "pod", "-l", "job-name=j", WAIT)


def test_a_job_that_fails(kubectl: Kubectl) -> None:
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "j"},
        "spec": {
            "backoffLimit": 0,
            "completions": 2,
            "parallelism": 2,
            "completionMode": "Indexed",
            "template": {
                "spec": {
                    "restartPolicy": "Never",
                    "containers": [
                        {
                            "name": "c",
                            "image": SHELL,
                            "command": ["sh", "-c", "exit $JOB_COMPLETION_INDEX"],
                        }
                    ],
                }
            },
        },
    }
    kubectl.said("apply", "-f", "-", given=json.dumps(job))
    kubectl.said("wait", "--for=condition=Failed", "job/j", WAIT)
    reason = kubectl.said(
        "get", "job", "j", "-o", "jsonpath={.status.conditions[?(@.type=='Failed')].reason}"
    )
    assert reason == "BackoffLimitExceeded"


def test_a_cron_job_by_hand_and_by_the_clock(kubectl: Kubectl) -> None:
    create = ["create", "cronjob", "c", f"--image={SHELL}", "--schedule=@every 1s"]
    kubectl.said(*create, "--", "echo", "tick")
    kubectl.said("create", "job", "now", "--from=cronjob/c")
    kubectl.said("wait", "--for=condition=Complete", "job/now", WAIT)
    assert kubectl.said("logs", "job/now") == "tick\n"
    kubectl.said("wait", "--for=jsonpath={.status.lastScheduleTime}", "cronjob/c", WAIT)
    created = "--field-selector=involvedObject.name=c,reason=SuccessfulCreate"
    kubectl.said("wait", "--for=create", "event", created, WAIT)
    assert re.search(r"SuccessfulCreate .* Created job c-\d+", kubectl.said("describe", "cj", "c"))
    kubectl.said("patch", "cronjob", "c", "-p", '{"spec":{"suspend":true}}')


def test_a_budget_holds_up_a_drain(kubectl: Kubectl, cluster: Cluster) -> None:
    kubectl.said("apply", "-f", "-", given=workload("Deployment", replicas=2))
    kubectl.said("rollout", "status", "deploy/web", WAIT)
    kubectl.said("create", "pdb", "web", "--selector=app=web", "--min-available=2")
    kubectl.said("wait", "--for=jsonpath={.status.expectedPods}=2", "pdb/web", WAIT)
    node = kubectl.said("get", "pods", "-o", "jsonpath={.items[0].spec.nodeName}")
    drain = ["drain", node, "--ignore-daemonsets", "--force", "--pod-selector=app=web"]
    try:
        held = kubectl.run(*drain, "--timeout=2s")
        assert held.returncode == 1
        assert "Cannot evict pod as it would violate the pod's disruption budget." in held.stderr
        kubectl.said("delete", "pdb", "web")
        drained = kubectl.said(*drain, WAIT)
        assert f"node/{node} drained" in drained
    finally:
        kubectl.said("uncordon", node)
    kubectl.said("rollout", "status", "deploy/web", WAIT)
