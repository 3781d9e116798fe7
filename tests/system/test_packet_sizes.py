"""Packets of every size: pods have 50 bytes less than nodes (VXLAN), and nobody notices."""

import pytest

from podwire.testing.cluster import Cluster
from tests.system.test_services import ECHO

# The largest datagram that a pod, and one that a node sends whole; with one byte more each; the
# largest of all.
SIZES = (1422, 1423, 1472, 1473, 65507)

CLIENT = """
apiVersion: v1
kind: Pod
metadata: {name: client}
spec:
  nodeName: node-1
  terminationGracePeriodSeconds: 0
  containers: [{name: shell, image: podwire/shell:test, command: [sleep, infinity]}]
"""

# Each size in a socket of its own; the sizes that came back, whole.
SEND = """
import socket, sys
for size in map(int, sys.argv[3:]):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        sock.sendto(b"x" * size, (sys.argv[1], int(sys.argv[2])))
        print(len(sock.recv(65535)))
"""

# Sends 5 MB and counts what comes back.
STREAM = """
import socket, sys, threading
sock = socket.create_connection((sys.argv[1], int(sys.argv[2])), 5)
sender = threading.Thread(target=lambda: (sock.sendall(bytes(5_000_000)), sock.shutdown(1)))
sender.start()
print(sum(map(len, iter(lambda: sock.recv(1 << 16), b""))))
sender.join()
"""


@pytest.mark.parametrize("way", ["a pod", "a ClusterIP", "a NodePort", "a NodePort, from outside"])
async def test_datagrams_and_streams_of_any_size(cluster: Cluster, way: str) -> None:
    await cluster.apply(
        ECHO.replace("spec:\n  terminationG", "spec:\n  nodeName: node-2\n  terminationG").replace(
            "spec:\n  selector", "spec:\n  type: NodePort\n  selector"
        )
        + "---"
        + CLIENT
    )
    await cluster.ready("echo", "client")
    home = f"/api/v1/namespaces/{cluster.namespace}"
    spec = (await cluster.get(f"{home}/services/echo"))["spec"]
    ports = {each["name"]: str(each["nodePort"]) for each in spec["ports"]}
    node = (await cluster.get("/api/v1/nodes/node-2"))["status"]["addresses"][0]["address"]
    if way == "a pod":
        address = str((await cluster.get(f"{home}/pods/echo"))["status"]["podIP"])
        ports = {"udp": "7", "tcp": "7"}
    elif way == "a ClusterIP":
        address, ports = str(spec["clusterIP"]), {"udp": "7", "tcp": "7"}
    else:
        address = str(node)
    client = cluster.external if way.endswith("outside") else cluster.pod("client")
    sizes = [str(size) for size in SIZES]
    said = await client.exec("python3", "-c", SEND, address, ports["udp"], *sizes)
    assert said.stdout.decode().split() == sizes
    said = await client.exec("python3", "-c", STREAM, address, ports["tcp"])
    assert said.stdout.decode().strip() == "5000000"
