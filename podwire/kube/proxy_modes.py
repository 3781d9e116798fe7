"""Switches the kube-proxies of a live cluster to another mode, as one does on a real one.

It edits the ConfigMap kube-system/kube-proxy and restarts the DaemonSet's pods as `kubectl rollout
restart` does. Where nodes are containers there is no DaemonSet: a node starts its proxy anew when
the pod that shows it is deleted. Done is what every Node's annotation and every proxy's
/proxyMode say.
"""

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, cast

from podwire.errors import ApiError, PodwireError, TimedOut
from podwire.kube.plain import Connection
from podwire.kube.proxies import CONFIG_KEY, CONFIG_MAP, LABELS, NAMESPACE, PORT, nodes

Json = dict[str, Any]

MODES = ("userspace", "nftables", "iptables", "ipvs")

MODE_ANNOTATION = "podwire.dev/proxy-mode"
RESTARTED = "kubectl.kubernetes.io/restartedAt"

_CONFIG = f"/api/v1/namespaces/{NAMESPACE}/configmaps/{CONFIG_MAP}"
_SET = f"/apis/apps/v1/namespaces/{NAMESPACE}/daemonsets/kube-proxy"
_PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
_MODE = re.compile(r"^mode:.*$", re.MULTILINE)
_POLL = 0.1
_LIMIT = 60.0


class CannotRun(PodwireError):
    """A mode does not run on this machine; the text says why."""


def configuration(connection: Connection) -> str:
    """Return the text of KubeProxyConfiguration; raises PodwireError if there is none."""
    found = connection.find(_CONFIG)
    text = cast("Json", (found or {}).get("data") or {}).get(CONFIG_KEY)
    if not text:
        raise PodwireError(
            f"this cluster has no ConfigMap {NAMESPACE}/{CONFIG_MAP} with a {CONFIG_KEY}:"
            " its proxies cannot be switched"
        )
    return str(text)


def with_mode(text: str, mode: str) -> str:
    """Return the configuration *text* with *mode* in place of its own."""
    line = f"mode: {mode}"
    if _MODE.search(text):
        return _MODE.sub(line, text, count=1)
    return f"{text.rstrip()}\n{line}\n"


def modes(connection: Connection) -> dict[str, str]:
    """Return the mode that each Node's proxy has written there; "" if it has not."""
    listed = cast("list[Json]", connection.get("/api/v1/nodes").get("items") or [])
    found: dict[str, str] = {}
    for node in listed:
        annotations = cast("Json", node["metadata"].get("annotations") or {})
        found[str(node["metadata"]["name"])] = str(annotations.get(MODE_ANNOTATION, ""))
    return found


def configure(
    connection: Connection,
    text: str,
    mode: str,
    *,
    limit: float = _LIMIT,
    given_up: Callable[[], bool] = lambda: False,
) -> None:
    """Give all proxies the configuration *text*; return when each of them runs in *mode*.

    Raises CannotRun when a proxy does not start with it, TimedOut after *limit* seconds. When
    *given_up* says so it returns at once.
    """
    deadline = time.monotonic() + limit
    # Of containers a pod comes back a moment after its deletion; one that is away is not restarted.
    while not given_up() and time.monotonic() < deadline and _nodes_without_pod(connection):
        time.sleep(_POLL)
    before = {pod["metadata"]["uid"] for pod in _pods(connection)}
    connection.patch(_CONFIG, {"data": {CONFIG_KEY: text}})
    generation = _restart(connection)
    while not given_up():
        missing = _missing(connection, mode, generation)
        if not missing:
            return
        reason = _failure(connection, before)
        if reason:
            raise CannotRun(reason)
        if time.monotonic() > deadline:
            raise TimedOut(f"the kube-proxies are not in mode {mode} after {limit:g} s: {missing}")
        time.sleep(_POLL)


def _restart(connection: Connection) -> int | None:
    """Restart the proxies; return the DaemonSet's generation, None if there is none."""
    if connection.find(_SET) is None:
        for pod in _pods(connection):
            connection.delete(f"{_PODS}/{pod['metadata']['name']}")
        return None
    stamp = datetime.now(UTC).isoformat()
    restart = {"spec": {"template": {"metadata": {"annotations": {RESTARTED: stamp}}}}}
    return int(connection.patch(_SET, restart)["metadata"].get("generation", 0))


def _missing(connection: Connection, mode: str, generation: int | None) -> str:
    """Return what is not as it shall be; "" if all is."""
    if generation is not None and (unready := _not_rolled_out(connection, generation)):
        return unready
    if away := _nodes_without_pod(connection):
        return f"no kube-proxy runs on {', '.join(away)}"
    for name, said in modes(connection).items():
        if not _is(said, mode):
            return f"the Node {name} says {said or 'nothing'}"
    for name in nodes(connection):
        try:
            said = connection.text(f"/api/v1/nodes/{name}:{PORT}/proxy/proxyMode").decode().strip()
        except PodwireError as error:
            return f"the proxy of {name} does not answer: {error}"
        if not _is(said, mode):
            return f"the proxy of {name} says {said}"
    return ""


def _not_rolled_out(connection: Connection, generation: int) -> str:
    status = connection.get(_SET)["status"]
    wanted = status.get("desiredNumberScheduled", 0)
    counts = {status.get(name, 0) for name in ("updatedNumberScheduled", "numberReady")}
    if status.get("observedGeneration", 0) < generation or counts != {wanted}:
        return f"{status.get('updatedNumberScheduled', 0)} of {wanted} have been restarted"
    return ""


def _is(said: str, mode: str) -> bool:
    return said == mode or said.startswith(f"{mode} (")  # "ipvs (userspace)"


def _nodes_without_pod(connection: Connection) -> list[str]:
    """Return the nodes that have no kube-proxy pod, or one that is being deleted."""
    there = {
        pod["spec"].get("nodeName")
        for pod in _pods(connection)
        if not pod["metadata"].get("deletionTimestamp")
    }
    return [name for name in nodes(connection) if name not in there]


def _pods(connection: Connection) -> list[Json]:
    listing = connection.get(_PODS, {"labelSelector": LABELS})
    return cast("list[Json]", listing.get("items") or [])


def _failure(connection: Connection, before: set[str]) -> str:
    """Return why a new proxy has ended, in its own words; "" if none has."""
    for pod in _pods(connection):
        name = pod["metadata"]["name"]
        if pod["metadata"]["uid"] in before:
            continue
        for status in cast("list[Json]", pod["status"].get("containerStatuses") or []):
            state = cast("Json", status.get("state") or {})
            last = cast("Json", status.get("lastState") or {})
            ended = cast("Json", state.get("terminated") or last.get("terminated") or {})
            if ended.get("exitCode"):
                return _last_words(connection, name, ended="terminated" in state) or str(
                    ended.get("message") or f"it ended with status {ended['exitCode']}"
                )
    return ""


def _last_words(connection: Connection, pod: str, *, ended: bool) -> str:
    words = _last_line(connection, pod, {}) if ended else ""
    # What had ended when we looked may have been started again since.
    return words or _last_line(connection, pod, {"previous": "true"})


def _last_line(connection: Connection, pod: str, query: dict[str, str]) -> str:
    try:
        text = connection.text(f"{_PODS}/{pod}/log", query).decode(errors="replace")
    except ApiError:
        return ""  # the pod has gone, or no container of it has ended
    # A traceback of a group ends with a frame of signs.
    lines = [line.strip(" |") for line in text.splitlines() if any(map(str.isalpha, line))]
    return lines[-1] if lines else ""
