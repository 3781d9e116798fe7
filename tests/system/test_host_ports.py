"""Ports of a node that lead to a pod (hostPort), on the wire."""

from podwire.testing.cluster import Cluster, Pod
from tests.system.conftest import CLIENT
from tests.system.until import pod_path, until_gone

HTTP, UDP = 18080, 18007

EDGE = f"""
apiVersion: v1
kind: Pod
metadata: {{name: edge}}
spec:
  nodeName: node-1
  # With 0 its object goes at once, before what it was.
  terminationGracePeriodSeconds: 5
  containers:
  - name: web
    image: podwire/web:test
    ports: [{{containerPort: 80, hostPort: {HTTP}}}]
    readinessProbe: {{httpGet: {{path: /, port: 80}}, periodSeconds: 1}}
  - name: echo
    image: podwire/echo:test
    ports: [{{containerPort: 7, hostPort: {UDP}, protocol: UDP}}]
    readinessProbe: {{tcpSocket: {{port: 7}}, periodSeconds: 1}}
---
apiVersion: v1
kind: Service
metadata: {{name: nobody}}
spec:
  selector: {{app: nobody}}
  ports: [{{port: {HTTP}}}]
"""
ELSEWHERE = CLIENT.replace("spec:", "spec:\n  nodeName: node-2")


async def address_of(cluster: Cluster, node: str) -> str:
    found = await cluster.get(f"/api/v1/nodes/{node}")
    return str(found["status"]["addresses"][0]["address"])


async def refuses(place: Pod, url: str) -> bool:
    asked = await place.exec("curl", "-sS", "--max-time", "3", url, check=False)
    return asked.exit_code == 7


async def test_a_host_port_leads_to_the_pod_as_long_as_it_is_there(cluster: Cluster) -> None:
    await cluster.apply(EDGE + "---" + ELSEWHERE)
    await cluster.ready("edge", "client")
    node, other = [await address_of(cluster, name) for name in ("node-1", "node-2")]
    client, outside = cluster.pod("client"), cluster.external
    ways = [(outside, node), (client, node), (cluster.node("node-1"), "127.0.0.1")]
    for place, address in ways:
        assert "Hostname: edge" in (await place.get(f"http://{address}:{HTTP}/")).text
    for place in (outside, client):
        script = f"exec 3<>/dev/udp/{node}/{UDP}; echo hello >&3; timeout 5 head -c 6 <&3"
        assert (await place.exec("bash", "-c", script)).stdout == b"hello\n"
    trace = await cluster.trace("client", f"http://{node}:{HTTP}/")
    assert trace.confirmed, trace
    assert "edge" in trace.hops[-2].where
    # It is a port of that node: not of another, and not of a Service that the node serves.
    assert await refuses(outside, f"http://{other}:{HTTP}/")
    for place in (client, cluster.node("node-1")):
        service = await cluster.get(f"/api/v1/namespaces/{cluster.namespace}/services/nobody")
        assert await refuses(place, f"http://{service['spec']['clusterIP']}:{HTTP}/")
    await cluster.delete("pod/edge")
    await until_gone(cluster, pod_path(cluster, "edge"))
    for place, address in ways:
        assert await refuses(place, f"http://{address}:{HTTP}/")
