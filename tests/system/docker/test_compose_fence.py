"""Pods reach their cluster and nothing else; the engine's host reaches what it has a route to."""

import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from tests.needs import lack
from tests.system.docker.project import Project

# On no network of the engine's host: the rest of the world, which is reached by its default route.
ELSEWHERE = "198.51.100.7"
# Listens for connections and for datagrams on one port; prints the port, then what datagrams say.
LISTENER = """
import socket, threading
tcp = socket.create_server(("0.0.0.0", 0))
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(tcp.getsockname())
print(udp.getsockname()[1], flush=True)
def accept():
    while True:
        with tcp.accept()[0] as client:
            client.sendall(b"HTTP/1.0 200 OK\\r\\n\\r\\nhere")
threading.Thread(target=accept, daemon=True).start()
while True:
    print(udp.recv(100).decode(), flush=True)
"""
CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 3)"
SEND = """
import socket, sys
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
try:
    udp.sendto(sys.argv[3].encode(), (sys.argv[1], int(sys.argv[2])))
except OSError:
    pass
"""


@dataclass(frozen=True, slots=True)
class Listener:
    """A program on the engine's host that is open to everybody."""

    port: str
    process: "subprocess.Popen[str]"

    def hears(self) -> str:
        """Return the next datagram."""
        assert self.process.stdout
        return self.process.stdout.readline().strip()


@contextmanager
def listening(project: Project) -> Generator[Listener, None, None]:
    argv = [*project.engine.host, sys.executable, "-c", LISTENER]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            yield Listener(process.stdout.readline().strip(), process)
        finally:
            process.kill()


@pytest.fixture
def listener(project: Project) -> Iterator[Listener]:
    """Give a listener on the engine's host, which has an address elsewhere as well."""
    if not project.engine.is_own:
        lack("only an engine that we have started may get other addresses and routes")
    address = ("ip", "address", "{}", f"{ELSEWHERE}/32", "dev", "lo")
    assert project.engine.on_host(*(word.format("add") for word in address)).returncode == 0
    with listening(project) as one:
        yield one
    project.engine.on_host(*(word.format("del") for word in address))


@pytest.mark.parametrize("where", ["the nodes' network", "docker0", "elsewhere"])
def test_pods_do_not_reach_the_engines_host_nor_what_is_beyond_it(
    project: Project, listener: Listener, where: str
) -> None:
    address = {
        "the nodes' network": f"{project.nodes}.1",
        "docker0": project.engine.docker(
            "network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Gateway}}"
        ).strip(),
        "elsewhere": ELSEWHERE,
    }[where]
    done = project.compose(
        "exec",
        "-T",
        "client",
        "curl",
        "-sS",
        "--max-time",
        "3",
        f"http://{address}:{listener.port}",
    )
    # Refused by the node; or silent, because the kernel refuses only so many packets of one sender.
    assert done.returncode in (7, 28), done.stderr
    # The twin: who is no pod reaches it.
    project.exec("api", "python", "-c", CONNECT, address, listener.port)
    # A datagram needs no way back. Of the two only that of the twin, which is the later one, arrives.
    for service in ("client", "api"):
        project.exec(service, "python", "-c", SEND, address, listener.port, f"of {service}")
    assert listener.hears() == "of api"


def test_the_engines_host_reaches_node_ports_and_a_cluster_ip_by_a_route(project: Project) -> None:
    if not project.engine.is_own:
        lack("only an engine that we have started may get other addresses and routes")
    node, cluster_ip = f"{project.nodes}.11", project.cluster_ip("web-svc")
    curl = ("curl", "-sS", "--fail", "--max-time", "2")
    done = project.engine.on_host(*curl, f"http://{node}:30080/")
    assert done.returncode == 0, done.stderr
    done = project.engine.on_host(*curl, f"http://{cluster_ip}/")
    assert done.returncode in {7, 28}, done.stderr
    route = (f"{cluster_ip}/32", "via", node)
    assert project.engine.on_host("ip", "route", "add", *route).returncode == 0
    try:
        # As by a node of Kubernetes: with the node's address, for the pod knows no way to the host.
        done = project.engine.on_host(*curl, f"http://{cluster_ip}/")
        assert f"Client: {project.pods}.1.1:" in done.stdout, done.stderr
    finally:
        project.engine.on_host("ip", "route", "del", *route)
