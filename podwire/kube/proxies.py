"""The kube-proxy of each node, as seen through the API server: state, mode, faults."""

from collections.abc import Iterator
from typing import Any, Literal, cast

from podwire.errors import PodwireError, UsageError
from podwire.kube import stream
from podwire.kube.plain import Connection

Json = dict[str, Any]

NAMESPACE, LABELS, PORT = "kube-system", "k8s-app=kube-proxy", 10249
CONFIG_MAP, CONFIG_KEY = "kube-proxy", "config.conf"
_SIGNALS = {"freeze": "USR1", "thaw": "USR2"}


def nodes(connection: Connection) -> list[str]:
    """Return the names of all nodes, sorted."""
    found = cast("list[Json]", connection.get("/api/v1/nodes").get("items") or [])
    return sorted(str(node["metadata"]["name"]) for node in found)


def states(connection: Connection, node: str = "") -> Iterator[Json]:
    """Yield what the proxy of each node (or of *node*) serves: see podwire.proxy.state.

    Raises UsageError for a node that is not there, and PodwireError where no proxy answers.
    """
    known = nodes(connection)
    if node and node not in known:
        raise UsageError(f"there is no node {node!r}\n  there are: {', '.join(known)}")
    for name in [node] if node else known:
        try:
            yield connection.get(f"/api/v1/nodes/{name}:{PORT}/proxy/podwire/state")
        except PodwireError as error:
            raise PodwireError(
                f"the kube-proxy of {name} does not answer on port {PORT}: {error}\n"
                f"  see: kubectl -n {NAMESPACE} get pods -l {LABELS} -o wide"
            ) from error


def signal(connection: Connection, node: str, what: Literal["freeze", "thaw"]) -> None:
    """Have the proxy of *node* stop or go on applying changes; what it serves, it serves on."""
    pod = pod_of(connection, node)
    # By the shell: not every image has the program kill.
    argv = ["sh", "-c", f"kill -{_SIGNALS[what]} 1"]
    socket = stream.opened(connection, stream.pod_path(NAMESPACE, pod), argv, stdin=False)
    try:
        result = stream.collected(socket)
    finally:
        socket.close()
    if result.exit_code:
        said = result.stderr.decode(errors="replace").strip()
        raise PodwireError(f"cannot {what} the kube-proxy of {node}: {said}")


def pod_of(connection: Connection, node: str) -> str:
    """Return the name of the kube-proxy pod on *node*; raises UsageError if there is none."""
    query = {"labelSelector": LABELS, "fieldSelector": f"spec.nodeName={node}"}
    pods = connection.get(f"/api/v1/namespaces/{NAMESPACE}/pods", query)
    for pod in cast("list[Json]", pods.get("items") or []):
        if not pod["metadata"].get("deletionTimestamp"):
            return str(pod["metadata"]["name"])
    raise UsageError(f"no kube-proxy runs on {node!r}\n  nodes: {', '.join(nodes(connection))}")
