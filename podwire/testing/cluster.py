"""A cluster under test: apply, wait, call from pods, capture and trace.

The coroutines are blocking calls in threads, so one Cluster serves tests on any event loop.
"""

import asyncio
import contextlib
import uuid
from collections import UserList
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

from podwire.emulator.trace import bpf, dnsquestion, pcapng, request
from podwire.emulator.trace import packets as scapy_door  # loads scapy only when it is used
from podwire.emulator.trace.compare import Comparison
from podwire.emulator.trace.trace import Trace
from podwire.errors import NotFound, UsageError
from podwire.kube import apply as applying
from podwire.kube import manifests, places, proxies, stream, waiting
from podwire.kube.config import Access
from podwire.kube.plain import Connection
from podwire.kube.proxy_modes import MODES
from podwire.testing import asking
from podwire.testing.lookups import Reply, Walk
from podwire.testing.modes import compared
from podwire.testing.target import judged as judge
from podwire.testing.target import recording, run

Json = dict[str, Any]
T = TypeVar("T")

# Where `ready("shop/web")` looks for that name, in this order.
_WAITED_FOR = (
    ("Deployment", "/apis/apps/v1", "deployments"),
    ("DaemonSet", "/apis/apps/v1", "daemonsets"),
    ("StatefulSet", "/apis/apps/v1", "statefulsets"),
    ("ReplicaSet", "/apis/apps/v1", "replicasets"),
    ("Pod", "/api/v1", "pods"),
)
_IF_NAMED = ("Job", "/apis/batch/v1", "jobs")  # a Job may be meant to outlive the test
# What `delete("pod/shop/web")` calls a kind: where it lives.
_PATHS = {
    "pod": ("/api/v1", "pods"),
    "service": ("/api/v1", "services"),
    "configmap": ("/api/v1", "configmaps"),
    "secret": ("/api/v1", "secrets"),
    "deployment": ("/apis/apps/v1", "deployments"),
    "daemonset": ("/apis/apps/v1", "daemonsets"),
    "statefulset": ("/apis/apps/v1", "statefulsets"),
    "replicaset": ("/apis/apps/v1", "replicasets"),
}
_STATUS_MARK = "\npodwire-status:"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a pod got for a URL."""

    status: int
    body: bytes

    @property
    def text(self) -> str:
        """Return the body as text."""
        return self.body.decode(errors="replace")


class CommandFailed(AssertionError):
    """A command in a pod ended with another status than 0."""

    def __init__(self, argv: Sequence[str], result: stream.Result) -> None:
        shown = result.stderr.decode(errors="replace").strip()
        super().__init__(f"{' '.join(argv)} ended with {result.exit_code}: {shown}")
        self.result = result


class Packets(UserList[Any]):
    """The packets of a capture as scapy objects, in order of time; there when its block ends."""

    def __init__(self) -> None:
        super().__init__()
        self.pcapng = b""


class Pod:
    """A pod of the cluster, or one of its hosts; commands run in it."""

    def __init__(self, cluster: "Cluster", place: places.Place, path: str, log_path: str) -> None:
        self._cluster = cluster
        self._place = place
        self._path = path
        self._log_path = log_path

    async def exec(
        self, *argv: str, stdin: bytes | None = None, check: bool = True, container: str = ""
    ) -> stream.Result:
        """Run a command and return its result; raises CommandFailed unless *check* is false."""
        result = await run(self._cluster.access, self._path, argv, container=container, given=stdin)
        if check and result.exit_code != 0:
            raise CommandFailed(argv, result)
        return result

    async def get(self, url: str, *, timeout: float = 5.0) -> Answer:  # noqa: ASYNC109 - curl's own limit
        """Return what `curl URL` gets here; raises CommandFailed if nothing answers."""
        argv = ["curl", "-sS", "--max-time", f"{timeout:g}", "-w", _STATUS_MARK + "%{http_code}"]
        result = await self.exec(*argv, url)
        body, _, status = result.stdout.rpartition(_STATUS_MARK.encode())
        return Answer(int(status), body)

    async def dns(
        self,
        name: str,
        kind: str = "A",
        *,
        server: str = "",
        tcp: bool = False,
        timeout: float = 5.0,  # noqa: ASYNC109 - of each try, which the DNS client in the pod keeps
    ) -> Reply:
        """Return what the cluster's DNS, or *server*, answers here to one question, as dig would.

        *name* is asked as it stands: a resolver's search is `dns_walk`. *kind* is a type of record;
        "PTR" takes an address as well. Raises UsageError for what is no name or type.
        """
        at = await asking.asker(self._cluster.access, self._place)
        question = dnsquestion.parse(name, kind)
        return await asking.ask(at, question, asking.Way(server=server, tcp=tcp, limit=timeout))

    async def dns_walk(
        self,
        name: str,
        *kinds: str,
        timeout: float = 0.0,  # noqa: ASYNC109 - of each try, which the DNS client in the pod keeps
    ) -> Walk:
        """Return how the resolver here looks *name* up: every candidate, its answers, their cost.

        It goes by the pod's own /etc/resolv.conf; *kinds* are A and AAAA if none is given.
        """
        at = await asking.asker(self._cluster.access, self._place)
        wanted = [dnsquestion.parse(name, kind).kind for kind in kinds or ("A", "AAAA")]
        return await asking.walk(at, name, wanted, asking.Way(limit=timeout))

    async def logs(self, *, container: str = "") -> str:
        """Return what the pod has written."""
        if not self._log_path:
            raise UsageError("a host keeps no logs")
        query = {"container": container} if container else {}
        text = await self._cluster.call(lambda c: c.text(self._log_path, query))
        return text.decode(errors="replace")


class Cluster:
    """A running cluster, as tests use it. *namespace* is that of names without one."""

    def __init__(self, name: str, access: Access, kubeconfig: Path) -> None:
        self.name = name
        self.access = access
        self.kubeconfig = kubeconfig
        self.namespace = "default"
        self.recordings = list[Packets]()
        self.traces = list[Trace]()
        self._applied = list[applying.Applied]()

    @contextlib.contextmanager
    def fresh_namespace(self) -> Generator[str, None, None]:
        """Make a namespace that is the default one while the block runs, and is deleted then."""
        before, name = self.namespace, f"test-{uuid.uuid4().hex[:8]}"
        path = "/api/v1/namespaces"
        with Connection(self.access) as connection:
            connection.create(
                path, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
            )
        self.namespace = name
        try:
            yield name
        finally:
            self.namespace = before
            with Connection(self.access) as connection:
                connection.delete(f"{path}/{name}", {})

    async def apply(self, what: str | Path | Json) -> None:
        """Apply YAML text, a file or folder, or an object; raises ConfigError or ApiError."""
        wanted = await asyncio.to_thread(_manifests, what)
        self._applied += await self.call(
            lambda c: applying.apply(c, wanted, namespace=self.namespace)
        )

    async def delete(self, what: str | Path | Json, *, grace: int | None = None) -> None:
        """Delete what a manifest names, or "pod/NAME", "service/NAMESPACE/NAME"; gone is fine."""
        options: Json = {} if grace is None else {"gracePeriodSeconds": grace}
        path = self._named(what)
        if path:
            await self.call(lambda c: _delete(c, path, options))
            return
        wanted = await asyncio.to_thread(_manifests, what)
        await self.call(
            lambda c: applying.delete(c, wanted, namespace=self.namespace, options=options)
        )

    async def ready(self, *names: str, timeout: float = 30.0) -> None:  # noqa: ASYNC109 - goes to the report
        """Return when these workloads and pods are ready; without names, all that was applied.

        A name is NAME or NAMESPACE/NAME; a Job is waited for if it is named, until it is complete.
        Raises TimedOut, which says which pod lacks what, and PodwireError at once if a Job or pod
        has failed, or an image is none that Podwire knows.
        """

        def wait(connection: Connection) -> None:
            targets = [self._target(connection, name) for name in names]
            if not names:
                targets = [
                    waiting.Target(one.kind, one.path.rpartition("/")[0], one.name)
                    for one in self._applied
                    if one.kind in {kind for kind, _, _ in _WAITED_FOR}
                ]
            waiting.until_ready(
                connection, targets, limit=timeout, setting="ready(..., timeout=SECONDS)"
            )

        await self.call(wait)

    async def scale(self, name: str, replicas: int) -> None:
        """Set the number of replicas of a Deployment, or of a "statefulset/NAME"."""
        path = self._named(name) or self._path_of("deployment", name)
        await self.call(lambda c: c.patch(path, {"spec": {"replicas": replicas}}))

    async def get(self, path: str) -> Json:
        """Return the object or list at a path of the API, such as /api/v1/nodes."""
        return await self.call(lambda c: c.get(path))

    async def pods(self, labels: str = "", *, namespace: str = "") -> list[Json]:
        """Return the pods of a namespace that a label selector matches."""
        path = f"/api/v1/namespaces/{namespace or self.namespace}/pods"
        listing = await self.call(lambda c: c.get(path, {"labelSelector": labels}))
        return cast("list[Json]", listing.get("items") or [])

    def pod(self, name: str) -> Pod:
        """Return the pod NAME or NAMESPACE/NAME."""
        namespace, _, short = name.rpartition("/")
        inside = namespace or self.namespace
        log_path = f"/api/v1/namespaces/{inside}/pods/{short}/log"
        place = places.Place("pod", short, inside)
        return Pod(self, place, stream.pod_path(inside, short), log_path)

    def node(self, name: str) -> Pod:
        """Return a node, to run commands on."""
        return Pod(self, places.Place("host", name), stream.host_path(name), "")

    @property
    def external(self) -> Pod:
        """Return the host outside of the cluster, to run commands on."""
        return self.node("external")

    async def trace(self, source: str, target: str, *argv: str, timeout: float = 10.0) -> Trace:  # noqa: ASYNC109 - the client program keeps it
        """Make one request at *source* and judge from packets which way it went.

        *source* is a place; *target* a URL or HOST:PORT[/udp], or with more words a command.
        """
        wanted = request.Command((target, *argv)) if argv else request.parse(target)
        where = places.parse(source, self.namespace).where
        judged = await judge(self.access, where, wanted, limit=timeout)
        self.traces.append(judged)
        return judged

    async def compare_modes(
        self,
        source: str,
        target: str,
        *,
        modes: Sequence[str] = MODES,
        timeout: float = 10.0,  # noqa: ASYNC109 - the client program keeps it
    ) -> Comparison:
        """Trace one request in each of *modes* of kube-proxy; then the cluster has its own again.

        A mode that this machine cannot run is in `left_out`, with the reason.
        """
        wanted = request.parse(target)
        where = places.parse(source, self.namespace).where
        return await compared(self.access, where, wanted, modes=modes, limit=timeout)

    async def proxies(self, node: str = "") -> list[Json]:
        """Return what the kube-proxy of each node serves, as `podwire proxy show -o json`."""
        return await self.call(lambda c: list(proxies.states(c, node)))

    @asynccontextmanager
    async def frozen_proxy(self, node: str) -> AsyncGenerator[None, None]:
        """Have the kube-proxy of *node* apply no change while the block runs: a stale node."""
        await self.call(lambda c: proxies.signal(c, node, "freeze"))
        try:
            yield
        finally:
            await self.call(lambda c: proxies.signal(c, node, "thaw"))

    @asynccontextmanager
    async def capture(self, *at: str, packet_filter: str = "") -> AsyncGenerator[Packets, None]:
        """Record packets while the block runs: at these pods, nodes and hosts, or everywhere.

        The packets are there when the block has ended. A place is written as for
        `podwire capture`, a filter as for tcpdump.
        """
        packets = Packets()
        points = [places.parse(place, self.namespace).point for place in at]
        program = bpf.compile_filter(packet_filter)
        async with recording(self.access, points, program=program) as data:
            yield packets
        packets.pcapng = bytes(data)
        self.recordings.append(packets)
        door: Any = scapy_door  # scapy has no types
        packets.extend(door.all_to_scapy(pcapng.decode(packets.pcapng)))

    async def call(self, what: Callable[[Connection], T]) -> T:
        """Return what a blocking function gets from the API, without blocking the loop."""

        def run() -> T:
            with Connection(self.access) as connection:
                return what(connection)

        return await asyncio.to_thread(run)

    def _qualified(self, name: str) -> str:
        return name if "/" in name else f"{self.namespace}/{name}"

    def _path_of(self, kind: str, name: str) -> str:
        namespace, _, short = self._qualified(name).partition("/")
        prefix, plural = _PATHS[kind]
        return f"{prefix}/namespaces/{namespace}/{plural}/{short}"

    def _named(self, what: object) -> str:
        """Return the path of "KIND/NAME" or "KIND/NAMESPACE/NAME", or an empty text."""
        kind, slash, name = what.partition("/") if isinstance(what, str) else ("", "", "")
        return self._path_of(kind.lower(), name) if slash and kind.lower() in _PATHS else ""

    def _target(self, connection: Connection, name: str) -> waiting.Target:
        namespace, _, short = self._qualified(name).partition("/")
        for kind, prefix, plural in (*_WAITED_FOR, _IF_NAMED):
            collection = f"{prefix}/namespaces/{namespace}/{plural}"
            if connection.find(f"{collection}/{short}") is not None:
                return waiting.Target(kind, collection, short)
        raise UsageError(f"there is no workload, Job or pod {namespace}/{short}\n  apply it first")


def _delete(connection: Connection, path: str, options: Json) -> None:
    with contextlib.suppress(NotFound):
        connection.delete(path, options)


def _manifests(what: str | Path | Json) -> tuple[manifests.Manifest, ...]:
    if isinstance(what, Path):
        return manifests.from_paths([str(what)])
    if isinstance(what, str):
        # One line without a colon is no YAML mapping: a path, given as text.
        is_path = "\n" not in what and Path(what).exists()
        return manifests.from_paths([what]) if is_path else manifests.from_text(what, "text")
    return manifests.from_objects([what])
