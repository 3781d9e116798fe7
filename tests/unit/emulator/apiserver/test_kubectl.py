"""The real kubectl against the real server: what users type, and the words they see."""

import asyncio
import os
import random
import shutil
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from podwire.emulator.apiserver.request import User
from podwire.emulator.apiserver.server import ApiServer
from podwire.emulator.apiserver.store import Store
from podwire.kube.clock import SystemClock
from podwire.testing.agent import FakeAgent
from tests.needs import need

KUBECTL = shutil.which("kubectl")
SECONDS = 30


@pytest.fixture(autouse=True)
def _a_kubectl() -> None:
    need("kubectl")


CONFIG = """
apiVersion: v1
kind: Config
clusters: [{{name: c, cluster: {{server: "http://127.0.0.1:{port}"}}}}]
users: [{{name: u, user: {{}}}}]
contexts: [{{name: x, context: {{cluster: c, user: u}}}}]
current-context: x
"""

WEB = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: %s
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: nginx}]}
"""


@dataclass(frozen=True)
class Shell:
    """A folder with a kubeconfig in it."""

    folder: Path

    async def run(self, command: str, text: str = "") -> str:
        """Return what a command prints, errors included."""
        process = await asyncio.create_subprocess_exec(
            "sh",
            "-c",
            command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            cwd=self.folder,
            # A home of its own: kubectl caches discovery by address, and ports come again.
            env={**os.environ, "HOME": str(self.folder), "KUBECONFIG": str(self.folder / "config")},
        )
        async with asyncio.timeout(SECONDS):
            output, _ = await process.communicate(text.encode())
        return output.decode()


@pytest.fixture
async def shell(tmp_path: Path) -> AsyncIterator[Shell]:
    server = ApiServer(
        Store(),
        FakeAgent(),
        SystemClock(),
        random.Random(1),
        who=lambda _: User("kubernetes-admin", ("system:masters",)),
    )
    server.fill(6443)
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    bound.listen()
    (tmp_path / "config").write_text(CONFIG.format(port=bound.getsockname()[1]))
    async with server.serve([(bound, None)]):
        yield Shell(tmp_path)


@pytest.mark.parametrize(
    ("before", "command", "expected"),
    [
        # kubectl sends these as protobuf.
        ("", "kubectl create deployment web --image=nginx", "deployment.apps/web created\n"),
        (
            "",
            "kubectl create configmap c --from-literal=a=1 && kubectl get cm c -o 'jsonpath={.data.a}'",
            "configmap/c created\n1",
        ),
        ("", "kubectl create secret generic s --from-literal=a=1", "secret/s created\n"),
        (
            "",
            "kubectl create namespace shop && kubectl get ns shop -o 'jsonpath={.status.phase}'",
            "namespace/shop created\nActive",
        ),
        ("", "kubectl create service clusterip s --tcp=80:8080", "service/s created\n"),
        (
            "",
            "kubectl run p --image=nginx && kubectl get pod p --no-headers | cut -d' ' -f1",
            "pod/p created\np\n",
        ),
        ("", "kubectl auth can-i create deployments", "yes\n"),
        ("", "kubectl get pods", "No resources found in default namespace.\n"),
        ("", "kubectl get pod nope", 'Error from server (NotFound): pods "nope" not found\n'),
        ("", "kubectl get pods -l 'a b'", "Error from server (BadRequest): Unable to find"),
        (
            "",
            "kubectl explain service.spec.ports.targetPort | grep FIELD",
            "FIELD: targetPort <IntOrString>\n",
        ),
        (
            "kubectl create cm c",
            "kubectl create cm c",
            'error: failed to create configmap: configmaps "c" already exists\n',
        ),
        (
            "kubectl create cm c",
            "kubectl label cm c a=b && kubectl get cm -l a=b -o name",
            "configmap/c labeled\nconfigmap/c\n",
        ),
        (
            "kubectl create cm c",
            'kubectl patch cm c -p \'{"data":{"a":"1"}}\'',
            "configmap/c patched\n",
        ),
        ("kubectl create cm c", "kubectl patch cm c -p '{}'", "configmap/c patched (no change)\n"),
        ("kubectl create cm c", "kubectl delete cm c", 'configmap "c" deleted\n'),
        (
            "kubectl create deployment web --image=nginx",
            "kubectl scale deploy web --replicas=3",
            "deployment.apps/web scaled\n",
        ),
        (
            "kubectl create deployment web --image=nginx",
            "kubectl expose deploy web --port=80",
            "service/web exposed\n",
        ),
        (
            "kubectl create service clusterip s --tcp=80",
            'kubectl patch service s -p \'{"spec":{"type":"LoadBalancer"}}\'',
            "Warning: spec.type: there is no load balancer here: EXTERNAL-IP stays <pending>; "
            "the ClusterIP and the node ports work\nservice/s patched\n",
        ),
        (
            "kubectl create deployment web --image=nginx",
            "kubectl set image deploy/web nginx=nginx:1.27",
            "deployment.apps/web image updated\n",
        ),
        (
            "kubectl create deployment web --image=nginx",
            "kubectl get deploy web --no-headers | cut -c1-12",
            "web   0/1   \n",
        ),
    ],
)
async def test_commands(shell: Shell, before: str, command: str, expected: str) -> None:
    if before:
        await shell.run(before)
    said = await shell.run(command)
    assert (
        said == expected if expected.endswith("\n") or "jsonpath" in command else expected in said
    )


async def test_apply_and_diff(shell: Shell) -> None:
    assert await shell.run("kubectl apply -f -", WEB % 1) == "deployment.apps/web created\n"
    assert await shell.run("kubectl apply -f -", WEB % 1) == "deployment.apps/web unchanged\n"
    assert "+  replicas: 3" in await shell.run("kubectl diff -f -", WEB % 3)
    assert await shell.run("kubectl apply -f -", WEB % 3) == "deployment.apps/web configured\n"
    assert await shell.run("kubectl diff -f -", WEB % 3) == ""


async def test_server_side_apply(shell: Shell) -> None:
    apply = "kubectl apply --server-side -f -"
    applied = "deployment.apps/web serverside-applied\n"
    assert await shell.run(apply, WEB % 1) == applied
    assert "+  replicas: 3" in await shell.run("kubectl diff --server-side -f -", WEB % 3)
    assert (
        await shell.run("kubectl scale deploy web --replicas=5") == "deployment.apps/web scaled\n"
    )
    said = await shell.run(apply, WEB % 3)
    assert said.startswith(
        'error: Apply failed with 1 conflict: conflict with "kubectl" with subresource "scale" '
        "using apps/v1: .spec.replicas\n"
    )
    assert await shell.run(f"{apply} --force-conflicts", WEB % 3) == applied
    shown = await shell.run("kubectl get deploy web -o yaml --show-managed-fields")
    assert "    manager: kubectl\n    operation: Apply\n" in shown
    assert "subresource: scale" not in shown
    assert "managedFields" not in await shell.run("kubectl get deploy web -o yaml")


async def test_from_client_side_to_server_side_apply(shell: Shell) -> None:
    await shell.run("kubectl create -f -", WEB % 1)
    said = await shell.run("kubectl apply -f -", WEB % 2)
    assert "is missing the kubectl.kubernetes.io/last-applied-configuration annotation" in said
    applied = await shell.run("kubectl apply --server-side -f -", WEB % 3)
    assert applied == "deployment.apps/web serverside-applied\n"
    managers = "jsonpath={range .metadata.managedFields[*]}{.manager}{' '}{.operation}{'\\n'}{end}"
    seen = await shell.run(f'kubectl get deploy web --show-managed-fields -o "{managers}"')
    assert seen.splitlines() == [
        "kubectl-last-applied Apply",
        "kubectl Apply",
        "kubectl-create Update",
    ]
    assert "replicas: 3" in await shell.run("kubectl apply view-last-applied deploy web")
    # And back: what kubectl applied on its side, it applies on the server's again.
    assert await shell.run("kubectl apply -f -", WEB % 4) == "deployment.apps/web configured\n"
    assert await shell.run("kubectl get deploy web -o 'jsonpath={.spec.replicas}'") == "4"


async def test_a_broken_manifest(shell: Shell) -> None:
    said = await shell.run("kubectl apply -f -", (WEB % 1).replace("replicas", "replica"))
    assert 'strict decoding error: unknown field "spec.replica"' in said
    assert await shell.run("kubectl get deploy -o name") == ""


async def test_watching(shell: Shell) -> None:
    watching = shell.run("timeout 2 kubectl get cm -w --output-watch-events --no-headers")
    async with asyncio.TaskGroup() as tasks:
        seen = tasks.create_task(watching)
        await shell.run("sleep 0.5; kubectl create cm c; kubectl delete cm c")
    assert [line.split()[:2] for line in seen.result().splitlines()] == [
        ["ADDED", "c"],
        ["DELETED", "c"],
    ]


async def test_exec_and_logs(shell: Shell) -> None:
    await shell.run(
        "kubectl create -f -",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\n"
        "spec: {nodeName: node-1, containers: [{name: c, image: x}]}\n",
    )
    state = '{"name":"c","image":"x","imageID":"x","ready":true,"restartCount":0,"state":{"running":{"startedAt":"2026-01-01T00:00:00Z"}}}'
    status = f'{{"status":{{"phase":"Running","containerStatuses":[{state}]}}}}'
    await shell.run(f"kubectl patch pod p --subresource=status --type=merge -p '{status}'")
    assert await shell.run("kubectl exec p -- echo hello") == "hello\n"
    assert await shell.run("kubectl exec -i p -- cat", "abc") == "abc"
    assert (
        await shell.run("kubectl exec p -- sh -c 'exit 3' || echo $?")
        == "command terminated with exit code 3\n3\n"
    )
    assert await shell.run("kubectl logs p --tail=2") == "one\ntwo\n"
    assert await shell.run("kubectl logs p -c d") == "error: container d is not valid for pod p\n"
