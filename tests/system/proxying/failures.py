"""A small cluster in one mode to make things go wrong in, and a client that never stops asking."""

import asyncio
import json
import os
import re
import signal
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from podwire.kube import proxies
from podwire.kube.plain import Connection
from podwire.testing.cluster import Cluster, CommandFailed, Pod
from podwire.testing.launch import Launched, launch
from tests.system import processes
from tests.system.conftest import SHELL
from tests.system.proxying.programs import BACKEND, PROBER, WATCHER
from tests.system.until import LIMIT, items

Json = dict[str, Any]
T = TypeVar("T")

NODE_1, NODE_2 = "192.168.1.10", "192.168.1.11"
FIRST_PORT, PORTS = 8000, 2
PORT = 80
SERVICES = "/api/v1/namespaces/default/services"
SLICES = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
CONFIG_MAP = "/api/v1/namespaces/kube-system/configmaps/kube-proxy"
DAEMON_SET = "/apis/apps/v1/namespaces/kube-system/daemonsets/kube-proxy"
EVENTS = "/api/v1/namespaces/{}/events"

# At once on all nodes: what is tried here is no matter of how pods are replaced one by one.
AT_ONCE = {"spec": {"updateStrategy": {"rollingUpdate": {"maxUnavailable": "100%"}}}}

CONFIG = """\
kind: Cluster
apiVersion: podwire.dev/v1alpha1
nodes: [{{role: worker}}, {{role: worker}}]
networking: {{kubeProxyMode: {mode}}}
"""


@dataclass(frozen=True)
class Target:
    """What a client asks."""

    host: str
    port: int = PORT
    protocol: str = "TCP"

    def as_json(self, tries: int = 1) -> Json:
        """Return it as PROBER and WATCHER read it."""
        return {"host": self.host, "port": self.port, "protocol": self.protocol, "tries": tries}


@dataclass
class Seen:
    """What a client met that asked all the time; filled when its block ends.

    *gap* is the longest time, in seconds, between two answers.
    """

    answers: int = 0
    failures: list[str] = field(default_factory=list[str])
    gap: float = 0.0
    names: set[str] = field(default_factory=set[str])


class Scene:
    """One cluster of two nodes: backends `here` and `there`, and a client pod `client` on node-1."""

    def __init__(self, launched: Launched, mode: str) -> None:
        self.launched = launched
        self.cluster: Cluster = launched.cluster
        self.mode = mode
        self.pods: dict[str, str] = {}
        self._number = 0
        self._many: list[Target] = []

    @property
    def rewrites(self) -> bool:
        """Whether the kernel rewrites packets, and serves while no proxy runs."""
        return self.mode in ("nftables", "iptables")

    @property
    def client(self) -> Pod:
        """Return the client pod."""
        return self.cluster.pod("client")

    async def fill(self) -> None:
        """Make the pods, and have the proxies look after their rules every second."""
        cluster = self.cluster
        await asyncio.gather(
            self.reconfigure(lambda text: text + f"{self.mode}: {{syncPeriod: 1s}}\n"),
            cluster.apply(pod("here", "node-1", backend("here"))),
            cluster.apply(pod("there", "node-2", backend("there"))),
            cluster.apply(pod("client", "node-1", {"command": ["sleep", "infinity"]})),
        )
        await cluster.ready("here", "there", "client")
        await self.know_pods()

    async def know_pods(self) -> None:
        """Learn the pods' addresses."""
        for each in await self.cluster.pods():
            self.pods[each["metadata"]["name"]] = each["status"].get("podIP", "")

    async def reconfigure(self, edit: Callable[[str], str]) -> None:
        """Edit config.conf as `kubectl edit` would, and restart all proxies; return when ready."""
        found = await self.cluster.get(CONFIG_MAP)
        text = re.sub(r"(?m)^ipvs:\n  scheduler: \"\"\n", "", found["data"]["config.conf"])
        data = {"data": {"config.conf": edit(text)}}
        await self.cluster.call(lambda c: c.patch(CONFIG_MAP, data))
        await self.restart()
        await self.rolled_out()

    async def restart(self) -> None:
        """Do what `kubectl rollout restart` does."""
        self._number += 1
        notes = {"kubectl.kubernetes.io/restartedAt": f"{time.time():f}-{self._number}"}
        change = {"spec": {"template": {"metadata": {"annotations": notes}}} | AT_ONCE["spec"]}
        await self.cluster.call(lambda c: c.patch(DAEMON_SET, change))

    async def rolled_out(self) -> None:
        """Return when all proxies are those of the last `restart`, and have synced."""

        async def done() -> bool:
            found = await self.cluster.get(DAEMON_SET)
            status, generation = found["status"], found["metadata"]["generation"]
            if status.get("observedGeneration") != generation:
                return False
            wanted = status["desiredNumberScheduled"]
            if status.get("updatedNumberScheduled") != wanted or status["numberReady"] != wanted:
                return False
            listing = await self.cluster.pods("k8s-app=kube-proxy", namespace="kube-system")
            return len(listing) == wanted and await self.synced()

        await self.eventually(done, "all proxies are restarted")

    async def synced(self) -> bool:
        """Return whether every proxy answers and has synced."""
        try:
            return all(state["lastSync"] for state in await self.cluster.proxies())
        except Exception:  # noqa: BLE001 - it is on its way
            return False

    async def eventually(
        self, true: Callable[[], Awaitable[T]], what: str, limit: float = LIMIT
    ) -> T:
        """Return what *true* returns as soon as that is true."""
        deadline = time.monotonic() + limit
        while True:
            found = await true()
            if found:
                return found
            if time.monotonic() > deadline:
                said = await self.log()
                raise AssertionError(f"not within {limit:g} s: {what}\n{said[-3000:]}")
            await asyncio.sleep(0.05)

    async def service(self, name: str, *ends: str, port: int = FIRST_PORT, **spec: Any) -> Target:
        """Make a Service with the pods *ends* as endpoints; return its ClusterIP.

        *spec* is the Service's; TCP and UDP are served.
        """
        ports = [
            {"name": p.lower(), "port": PORT, "protocol": p, "targetPort": port}
            for p in ("TCP", "UDP")
        ]
        node_port = spec.pop("nodePort", 0)
        if node_port:
            ports = [each | {"nodePort": node_port} for each in ports]
        spec = {"ports": ports, **spec}
        await self.cluster.apply(
            {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}
        )
        await self.endpoints(name, *ends, port=port)
        return Target((await self.cluster.get(f"{SERVICES}/{name}"))["spec"]["clusterIP"])

    async def many(self, count: int) -> list[Target]:
        """Return that many Services with the pod `there` as endpoint; made when first asked for."""
        if not self._many:
            await self.label("there", many="yes")
            addresses = await self.cluster.call(lambda c: many_services(c, count))
            self._many = [Target(address) for address in addresses]
        return self._many

    async def endpoints(self, name: str, *ends: str, port: int = FIRST_PORT) -> None:
        """Have the pods *ends* be the endpoints of the Service *name*."""
        await self.cluster.apply(
            {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {
                    "name": f"{name}-by-hand",
                    "labels": {"kubernetes.io/service-name": name},
                },
                "addressType": "IPv4",
                "ports": [{"name": p.lower(), "port": port, "protocol": p} for p in ("TCP", "UDP")],
                "endpoints": [
                    {
                        "addresses": [self.pods[end]],
                        "nodeName": "node-1" if end == "here" else "node-2",
                        "conditions": {"ready": True},
                    }
                    for end in ends
                ],
            }
        )

    async def ask(
        self, *targets: Target, tries: int = 1, at: Pod | None = None
    ) -> list[list[list[str]]]:
        """Return what the client meets: for each target its tries."""
        given = json.dumps([target.as_json(tries) for target in targets]).encode()
        result = await (at or self.client).exec("python3", "-c", PROBER, stdin=given)
        found: list[list[list[str]]] = json.loads(result.stdout)
        return found

    async def names(self, target: Target, tries: int = 1) -> set[str]:
        """Return which backends answer, or in their place what else was met."""
        (met,) = await self.ask(target, tries=tries)
        return {t[1].split()[0] if t[0] == "answered" else t[0] for t in met}

    async def served(self, target: Target, *names: str) -> None:
        """Return when the client is answered by all of *names* and nobody else."""

        async def done() -> bool:
            return await self.names(target, 8 if len(names) > 1 else 1) == set(names)

        await self.eventually(done, f"{target} is answered by {names}")

    @asynccontextmanager
    async def watching(
        self, *targets: Target, every: float = 0.05, at: Pod | None = None
    ) -> AsyncGenerator[list[Seen]]:
        """Have a client ask *targets* all the time while the block runs; one Seen for each."""
        self._number += 1
        mark, place = f"/tmp/watch-{os.getpid()}-{self._number}", at or self.client
        given = {"targets": [t.as_json() for t in targets], "mark": mark, "every": every}
        seen = [Seen() for _ in targets]
        async with asyncio.TaskGroup() as tasks:
            asking = tasks.create_task(
                place.exec("python3", "-c", WATCHER, stdin=json.dumps(given).encode())
            )

            async def begun() -> bool:
                if asking.done():
                    asking.result()
                return (await place.exec("test", "-e", mark, check=False)).exit_code == 0

            await self.eventually(begun, "the client asks")
            try:
                yield seen
            finally:
                await place.exec("rm", mark)
                for one, met in zip(seen, json.loads((await asking).stdout), strict=True):
                    one.answers, one.failures = met["answers"], met["failures"]
                    one.gap, one.names = met["gap"], set(met["names"])

    async def proxy_pod(self, node: str = "node-1") -> str:
        """Return the name of the kube-proxy pod of *node*."""
        return await self.cluster.call(lambda c: proxies.pod_of(c, node))

    async def proxy(self, node: str = "node-1") -> Pod:
        """Return the kube-proxy pod of *node*."""
        return self.cluster.pod(f"kube-system/{await self.proxy_pod(node)}")

    async def log(self, node: str = "node-1") -> str:
        """Return the log of the kube-proxy of *node*."""
        return await (await self.proxy(node)).logs()

    async def state(self, node: str = "node-1") -> Json:
        """Return what `podwire proxy show` has of *node*."""
        (state,) = await self.cluster.proxies(node)
        return state

    async def page(self, port: int, path: str, node: str = NODE_1) -> tuple[int, str]:
        """Return status and body of a page of a node, as somebody outside gets it."""
        answer = await self.cluster.external.get(f"http://{node}:{port}{path}")
        return answer.status, answer.text

    async def host_pid(self, node: str = "node-1") -> int:
        """Return the proxy's process id as the host sees it: its own namespace protects it."""
        shown = await (await self.proxy(node)).exec("readlink", "/proc/self/ns/pid")
        inside = shown.stdout.decode().strip()
        for process in processes.of_cluster(self.cluster.name):
            if process.namespaces["pid"] == inside and process.inner_pid == 1:
                return process.pid
        raise AssertionError(f"no process 1 in {inside}")

    def kill(self, pid: int) -> None:
        """Kill what `host_pid` has found."""
        os.kill(pid, signal.SIGKILL)

    async def restarts(self, node: str = "node-1") -> int:
        """Return how often the proxy of *node* was started again."""
        path = f"/api/v1/namespaces/kube-system/pods/{await self.proxy_pod(node)}"
        found = await self.cluster.get(path)
        return int(found["status"]["containerStatuses"][0]["restartCount"])

    async def label(self, name: str, **labels: str | None) -> None:
        """Set labels of a pod; None removes one."""
        change = {"metadata": {"labels": labels}}
        await self.cluster.call(
            lambda c: c.patch(f"/api/v1/namespaces/default/pods/{name}", change)
        )

    async def metric(self, name: str) -> float:
        """Return the sum of a metric of node-1's proxy."""
        _, text = await self.page(10249, "/metrics")
        lines = [line for line in text.splitlines() if re.match(rf"{name}[{{ ]", line)]
        assert lines, f"no {name} in {text}"
        return sum(float(line.rpartition(" ")[2]) for line in lines)

    async def health_is(self, status: int) -> bool:
        """Return whether /healthz of node-1 has that status."""
        return (await self.page(10256, "/healthz"))[0] == status

    async def health_check(self, port: int) -> tuple[int, Json]:
        """Return what a load balancer is told on a health check's port of node-1; {} for nothing."""
        try:
            status, text = await self.page(port, "/")
        except CommandFailed:
            return 0, {}
        return status, json.loads(text)

    async def events(self, reason: str, name: str, namespace: str = "default") -> list[Json]:
        """Return the events of that reason about an object."""
        return [
            event
            for event in items(await self.cluster.get(EVENTS.format(namespace)))
            if event["reason"] == reason and event["involvedObject"]["name"] == name
        ]

    async def on_node(self, *argv: str, node: str = "node-1", check: bool = True) -> str:
        """Return what a command prints on a node."""
        result = await self.cluster.node(node).exec(*argv, check=check)
        return result.stdout.decode()


def started(mode: str, folder: Path, name: str = "failing") -> Scene:
    """Start a cluster in *mode* and return its scene, empty yet."""
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "cluster.yaml"
    config.write_text(CONFIG.format(mode=mode))
    return Scene(launch(f"{name}-{mode}-{os.getpid()}", folder, config=config), mode)


def backend(name: str) -> Json:
    """Return the container of a pod that says its name on all its ports."""
    argv = ["python3", "-c", BACKEND, name, str(FIRST_PORT), str(PORTS), "$(IP)"]
    return {
        "command": argv,
        "env": [{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
        "readinessProbe": {"tcpSocket": {"port": FIRST_PORT}, "periodSeconds": 1},
    }


def pod(name: str, node: str, container: Mapping[str, Any], **more: Any) -> Json:
    """Return a pod of *node* with one container."""
    spec: Json = {
        "nodeName": node,
        "terminationGracePeriodSeconds": 0,
        "containers": [{"name": "main", "image": SHELL, **container}],
        **more,
    }
    metadata = {"name": name, "labels": {"app": name}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def many_services(connection: Connection, count: int) -> list[str]:
    """Make Services whose endpoints are the pods labelled many=yes; return their ClusterIPs."""
    found: list[str] = []
    for number in range(count):
        made = connection.create(
            SERVICES,
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": f"many-{number}"},
                "spec": {
                    "selector": {"many": "yes"},
                    "ports": [{"port": PORT, "targetPort": FIRST_PORT}],
                },
            },
        )
        found.append(str(made["spec"]["clusterIP"]))
    return found


def answered(met: Sequence[Sequence[Sequence[str]]]) -> dict[str, int]:
    """Count who answered, or what else was met, over all targets."""
    found: dict[str, int] = {}
    for tries in met:
        for t in tries:
            name = t[1].split()[0] if t[0] == "answered" else t[0]
            found[name] = found.get(name, 0) + 1
    return found
