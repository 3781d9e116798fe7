"""Processes and ports of pods through kubectl of every version, and the official Python client."""

import hashlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from podwire.testing.cluster import Cluster
from tests.system.conftest import SHELL, both_runtimes
from tests.system.kubectl import Kubectl
from tests.system.terminal import at_a_terminal, read_until

PODS = f"""
apiVersion: v1
kind: Pod
metadata: {{name: web, labels: {{app: web}}}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: web
    image: podwire/web:test
    ports: [{{name: http, containerPort: 80}}]
    readinessProbe: {{httpGet: {{path: /, port: http}}, periodSeconds: 1}}
---
apiVersion: v1
kind: Pod
metadata: {{name: shell}}
spec:
  terminationGracePeriodSeconds: 0
  containers: [{{name: shell, image: {SHELL}, command: [sleep, infinity]}}]
---
apiVersion: v1
kind: Service
metadata: {{name: web}}
spec: {{selector: {{app: web}}, ports: [{{name: http, port: 8080, targetPort: http}}]}}
"""

# Repeats what comes, and says bye when the client says no more.
ECHO = """
import socket, threading
listener = socket.create_server(("127.0.0.1", 9000))
print("listens", flush=True)
def serve(connection):
    with connection:
        while content := connection.recv(65536):
            connection.sendall(content)
        connection.sendall(b"bye")
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"""

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: site}
spec:
  selector: {matchLabels: {app: site}}
  template:
    metadata: {labels: {app: site}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{name: web, image: podwire/web:test, ports: [{containerPort: 80}]}]
"""


def ready(kubectl: Kubectl) -> None:
    """Have the pods."""
    kubectl.said("apply", "-f", "-", given=PODS)
    kubectl.said("wait", "--for=condition=Ready", "pod/web", "pod/shell", "--timeout=20s")


class Forwarding:
    """A `kubectl port-forward` that runs."""

    def __init__(self, process: "subprocess.Popen[str]", ports: list[int]) -> None:
        self.process = process
        self.ports = ports
        """Here, in the order of the command line."""

    def get(self, n: int = 0) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[n]}/", timeout=10) as answer:
            found: bytes = answer.read()
        return found.decode()

    def connection(self, n: int = 0) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.ports[n]), timeout=20)


@contextmanager
def forwarding(kubectl: Kubectl, target: str, *ports: str) -> Generator[Forwarding]:
    """Forward free ports of this machine to *ports* of *target*."""
    words = ["kubectl", "port-forward", "--address=127.0.0.1", target, *(f":{p}" for p in ports)]
    with (
        (kubectl.folder / "errors").open("w") as errors,
        subprocess.Popen(
            words,
            cwd=kubectl.folder,
            env=kubectl.environ,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        try:
            assert process.stdout is not None
            here: list[int] = []
            for _ in ports:
                line = process.stdout.readline()
                said = re.fullmatch(r"Forwarding from 127\.0\.0\.1:(\d+) -> \d+\n", line)
                assert said, line + (kubectl.folder / "errors").read_text()
                here.append(int(said[1]))
            # What it says of each connection must go somewhere.
            threading.Thread(target=process.stdout.read, daemon=True).start()
            yield Forwarding(process, here)
        finally:
            process.kill()


@both_runtimes
def test_a_port_is_forwarded(kubectl: Kubectl) -> None:
    ready(kubectl)
    for target, port in (("pod/web", "80"), ("service/web", "http")):
        with forwarding(kubectl, target, port) as forwarded:
            assert "Hostname: web\n" in forwarded.get(), target


def test_ports_of_pods_services_and_deployments(each_kubectl: Kubectl) -> None:
    kubectl = each_kubectl
    ready(kubectl)
    kubectl.said("apply", "-f", "-", given=DEPLOYMENT)
    kubectl.said("rollout", "status", "deployment/site", "--timeout=20s")
    for target, port, name in (
        ("pod/web", "80", "web"),
        ("pod/web", "http", "web"),
        ("service/web", "8080", "web"),
        ("service/web", "http", "web"),
        ("deployment/site", "80", "site-"),
    ):
        with forwarding(kubectl, target, port) as forwarded:
            for _ in range(2):
                assert f"Hostname: {name}" in forwarded.get(), (target, port)
    with forwarding(kubectl, "pod/web", "80", "80") as forwarded:
        assert forwarded.get(0).startswith("Hostname: web")
        assert forwarded.get(1).startswith("Hostname: web")
        forwarded.process.send_signal(signal.SIGINT)
        assert forwarded.process.wait(20) == 0


def test_a_port_where_nobody_listens(each_kubectl: Kubectl) -> None:
    kubectl = each_kubectl
    ready(kubectl)
    with forwarding(kubectl, "pod/web", "81") as forwarded:
        with forwarded.connection() as connection:
            assert connection.recv(1) == b""
        assert forwarded.process.wait(20) == 1
    said = (kubectl.folder / "errors").read_text()
    assert "error forwarding port 81 to pod web, uid " in said
    assert "connection refused" in said
    assert said.endswith("error: lost connection to pod\n")


def test_much_over_several_connections_in_both_directions(each_kubectl: Kubectl) -> None:
    """To a server that only the pod itself can reach; what was typed last arrives too."""
    kubectl = each_kubectl
    ready(kubectl)
    sent = os.urandom(1 << 20) * 8
    with kubectl.started("exec", "shell", "--", "python3", "-c", ECHO) as serving:
        try:
            assert serving.stdout is not None
            assert serving.stdout.readline() == "listens\n"
            with forwarding(kubectl, "pod/shell", "9000") as forwarded:
                received: list[bytes] = []

                def exchange() -> None:
                    with forwarded.connection() as connection:

                        def send() -> None:
                            connection.sendall(sent)
                            connection.shutdown(socket.SHUT_WR)

                        sending = threading.Thread(target=send)
                        sending.start()
                        received.append(b"".join(iter(lambda: connection.recv(1 << 16), b"")))
                        sending.join()

                exchanges = [threading.Thread(target=exchange) for _ in range(3)]
                for each in exchanges:
                    each.start()
                for each in exchanges:
                    each.join()
                assert [content == sent + b"bye" for content in received] == [True] * 3
                # A client that leaves in the middle harms nobody else.
                with forwarded.connection() as connection:
                    connection.sendall(sent[:100_000])
                with forwarded.connection() as connection:
                    connection.sendall(b"hello ")
                    connection.shutdown(socket.SHUT_WR)
                    assert b"".join(iter(lambda: connection.recv(100), b"")) == b"hello bye"
        finally:
            serving.kill()


# --- exec, attach, cp ------------------------------------------------------------------------------


def test_much_input_and_output(each_kubectl: Kubectl, tmp_path: Path) -> None:
    kubectl = each_kubectl
    ready(kubectl)
    (tmp_path / "much").write_bytes(os.urandom(1 << 20) * 8)
    whole = hashlib.md5((tmp_path / "much").read_bytes(), usedforsecurity=False).hexdigest()
    for script in (
        "kubectl exec -i shell -- md5sum < much",
        "kubectl exec -i shell -- cat < much | md5sum",
        # Who reads late gets the end, too: the process is long gone then.
        "kubectl exec -i shell -- sh -c 'cat > /tmp/m; cat /tmp/m' < much | (sleep 1; md5sum)",
    ):
        assert kubectl.shell(script).stdout.split() == [whole, "-"], script
    done = kubectl.shell("kubectl exec -i shell -- true < much")
    assert done.returncode == 0


def test_files_and_folders_are_copied_both_ways(each_kubectl: Kubectl, tmp_path: Path) -> None:
    kubectl = each_kubectl
    ready(kubectl)
    folder = tmp_path / "folder" / "inner"
    folder.mkdir(parents=True)
    (folder / "small").write_text("grüße\n", encoding="utf-8")
    (folder.parent / "large").write_bytes(os.urandom(1 << 20) * 4)
    (folder / "empty").touch()
    kubectl.said("cp", "folder", "shell:/tmp/there")
    listed = kubectl.said("exec", "shell", "--", "find", "/tmp/there", "-type", "f")
    assert sorted(listed.split()) == [
        "/tmp/there/inner/empty", "/tmp/there/inner/small", "/tmp/there/large",
    ]  # fmt: skip
    kubectl.said("cp", "shell:/tmp/there", "back")
    assert kubectl.shell("diff -r folder back").stdout == ""
    kubectl.said("cp", "folder/large", f"{kubectl.namespace}/shell:/tmp/large", "-c", "shell")
    kubectl.said("cp", "shell:/tmp/large", "again")
    assert kubectl.shell("cmp folder/large again").returncode == 0


def test_a_client_that_is_killed_takes_its_command_along(each_kubectl: Kubectl) -> None:
    kubectl = each_kubectl
    ready(kubectl)
    with kubectl.started("exec", "shell", "--", "sh", "-c", "echo up; exec sleep 987") as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "up\n"
        running.kill()
    gone = "until ! grep -qs 987 /proc/[0-9]*/cmdline; do sleep 0.05; done"
    kubectl.said("exec", "shell", "--", "timeout", "15", "sh", "-c", gone.replace("987", "9[8]7"))


READER = f"""
apiVersion: v1
kind: Pod
metadata: {{name: reader}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: reader
    image: {SHELL}
    stdin: true
    command: [sh, -c, 'while read word; do echo "got $word"; echo "oops $word" >&2; done']
"""


def test_attaching_reaches_the_first_process(each_kubectl: Kubectl) -> None:
    kubectl = each_kubectl
    kubectl.said("apply", "-f", "-", given=READER)
    kubectl.said("wait", "--for=condition=Ready", "pod/reader", "--timeout=20s")
    with subprocess.Popen(
        ["kubectl", "attach", "-q", "-i", "reader"],
        env=kubectl.environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as attached:
        assert attached.stdin
        assert attached.stdout
        assert attached.stderr
        attached.stdin.write(b"apple\n")
        attached.stdin.flush()
        assert attached.stdout.readline() == b"got apple\n"
        said = iter(attached.stderr.readline, b"")  # kubectl has something to say, too
        assert any(line == b"oops apple\n" for line in said)
        attached.kill()
    assert kubectl.said("logs", "reader", "--tail=2").split("\n")[0].endswith("apple")


def test_run_with_input_only(each_kubectl: Kubectl) -> None:
    kubectl = each_kubectl
    run = ("run", "once", f"--image={SHELL}", "--restart=Never", "-i", "--rm", "-q", "--")
    done = kubectl.run(*run, "sh", "-c", "cat; echo ends; exit 4", given="typed\n")
    assert (done.stdout.partition("pod ")[0], done.returncode) == ("typed\nends\n", 4)
    assert "NotFound" in kubectl.run("get", "pod", "once").stderr


# --- debug -----------------------------------------------------------------------------------------


def test_debugging_in_a_pod_sees_its_processes(each_kubectl: Kubectl) -> None:
    kubectl = each_kubectl
    ready(kubectl)
    script = "echo ready; read word; ps ax; echo got $word"
    words = ("debug", "-it", "shell", f"--image={SHELL}", "--target=shell", "-c", "doctor")
    with at_a_terminal(kubectl, *words, "--", "sh", "-c", script) as (running, terminal):
        os.write(terminal, b"apple\r")
        said = read_until(terminal, b"got apple")
        assert b"sleep infinity" in said
        assert running.wait(20) == 0
    assert "doctor" in kubectl.said(
        "get", "pod", "shell", "-o", "jsonpath={.spec.ephemeralContainers}"
    )


def test_debugging_a_copy_of_a_pod_and_a_node(each_kubectl: Kubectl) -> None:
    kubectl = each_kubectl
    ready(kubectl)
    words = ("--image=" + SHELL, "-it", "--", "sh", "-c", "read word; echo $(hostname) $word")
    with at_a_terminal(kubectl, "debug", "web", "--copy-to=copy", *words) as (running, terminal):
        os.write(terminal, b"apple\r")
        read_until(terminal, b"copy apple")
        assert running.wait(20) == 0
    with at_a_terminal(kubectl, "debug", "node/node-1", *words) as (running, terminal):
        os.write(terminal, b"apple\r")
        read_until(terminal, b"node-1 apple")
        assert running.wait(20) == 0


# --- proxy -----------------------------------------------------------------------------------------


@both_runtimes
def test_pods_and_services_answer_through_the_api_server(kubectl: Kubectl) -> None:
    ready(kubectl)
    base = f"/api/v1/namespaces/{kubectl.namespace}"
    for path in (
        "pods/web",
        "pods/web:80",
        "pods/http:web:80",
        "services/web:http",
        "services/web:8080",
    ):
        found = kubectl.said("get", "--raw", f"{base}/{path}/proxy/some/path?word=apple")
        assert "Hostname: web\n" in found, path
        assert "Request: GET /some/path?word=apple\n" in found, path
    refused = kubectl.run("get", "--raw", f"{base}/pods/web:81/proxy/")
    assert refused.returncode == 1
    assert "error trying to reach service: dial tcp 10." in refused.stderr
    nobody = kubectl.run("get", "--raw", f"{base}/services/web/proxy/")
    assert 'no endpoints available for service "web"' in nobody.stderr


def test_nodes_answer_through_the_api_server(kubectl: Kubectl) -> None:
    ready(kubectl)
    assert kubectl.said("get", "--raw", "/api/v1/nodes/node-1/proxy/healthz") == "ok"
    found = kubectl.said("get", "--raw", "/api/v1/nodes/node-1:10249/proxy/metrics")
    assert "kubeproxy_sync_proxy_rules" in found


def test_kubectl_proxy_passes_everything_on(each_kubectl: Kubectl) -> None:
    kubectl = each_kubectl
    ready(kubectl)
    with kubectl.started("proxy", "--port=0") as proxy:
        try:
            assert proxy.stdout is not None
            port = proxy.stdout.readline().rpartition(":")[2].strip()
            base = f"http://127.0.0.1:{port}/api/v1/namespaces/{kubectl.namespace}"
            with urllib.request.urlopen(f"{base}/pods/web", timeout=10) as answer:
                assert b'"kind":"Pod"' in answer.read()
            posted = urllib.request.Request(f"{base}/services/web:http/proxy/x", b"y" * 5_000_000)
            with urllib.request.urlopen(posted, timeout=10) as answer:
                assert b"Request: POST /x\n" in answer.read()
        finally:
            proxy.kill()


# --- the official Python client --------------------------------------------------------------------


# In processes of their own: the client does not close all of its sockets.
COMMANDS = """
import sys
from kubernetes import client, config
from kubernetes.stream import stream
config.load_kube_config(sys.argv[1])
core = client.CoreV1Api()
wanted = {"name": "shell", "namespace": sys.argv[2], "stdout": True, "stderr": True, "tty": False}
get, post = core.connect_get_namespaced_pod_exec, core.connect_post_namespaced_pod_exec
words = ["sh", "-c", "echo out; echo err >&2"]
print(sorted(stream(get, command=words, stdin=False, **wanted).split()))
for run in (get, post):
    session = stream(run, command=["sh"], stdin=True, _preload_content=False, **wanted)
    session.write_stdin("echo grüße; exit 4\\n")
    session.run_forever(timeout=20)
    print(session.read_stdout().strip(), session.returncode)
session = stream(get, command=["no-such"], stdin=False, _preload_content=False, **wanted)
session.run_forever(timeout=20)
print("executable file not found" in session.read_channel(3))
"""

FORWARDS = """
import sys
from kubernetes import client, config
from kubernetes.stream import portforward
config.load_kube_config(sys.argv[1])
forward = client.CoreV1Api().connect_get_namespaced_pod_portforward
forwarded = portforward(forward, "web", sys.argv[2], ports="80")
connection = forwarded.socket(80)
connection.setblocking(True)
connection.sendall(b"GET / HTTP/1.1\\r\\nHost: web\\r\\nConnection: close\\r\\n\\r\\n")
answer = b"".join(iter(lambda: connection.recv(4096), b""))
print(b"Hostname: web" in answer, forwarded.error(80))
forwarded = portforward(forward, "web", sys.argv[2], ports="80,81")
connection = forwarded.socket(81)
connection.setblocking(True)
print(connection.recv(1), "connection refused" in forwarded.error(81), forwarded.error(80))
"""


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (COMMANDS, "['err', 'out']\ngrüße 4\ngrüße 4\nTrue\n"),
        (FORWARDS, "True None\nb'' True None\n"),
    ],
    ids=["exec", "port-forward"],
)
def test_the_python_client(kubectl: Kubectl, cluster: Cluster, script: str, said: str) -> None:
    pytest.importorskip("kubernetes", reason="pip install kubernetes")
    ready(kubectl)
    done = subprocess.run(
        [sys.executable, "-c", script, str(cluster.kubeconfig), kubectl.namespace],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.stdout == said, done.stderr
