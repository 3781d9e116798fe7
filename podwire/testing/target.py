"""A cluster as the tracer needs it (emulator/trace/trace.py: TraceTarget), over its API."""

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from typing import Any, Literal, cast

from podwire.emulator import addons
from podwire.emulator.trace import heads, pcapng
from podwire.emulator.trace.clients import Execution
from podwire.emulator.trace.request import Request
from podwire.emulator.trace.snapshot import Snapshot
from podwire.emulator.trace.trace import Captured, Trace
from podwire.emulator.trace.trace import trace as run_trace
from podwire.emulator.trace.wiring import ProxySettings, Wiring
from podwire.errors import ConfigError
from podwire.kube import capture, places, proxies, stream
from podwire.kube.config import Access
from podwire.kube.documents import read as read_documents
from podwire.kube.plain import Connection, WebSocket
from podwire.testing.lookups import read_resolv_conf

_LISTS = (
    ("Pod", "/api/v1/pods"),
    ("Service", "/api/v1/services"),
    ("EndpointSlice", "/apis/discovery.k8s.io/v1/endpointslices"),
    ("Node", "/api/v1/nodes"),
    ("Namespace", "/api/v1/namespaces"),
)
_NETWORK = f"/api/v1/namespaces/{addons.NAMESPACE}/configmaps/{addons.NETWORK}"
_PROXY = f"/api/v1/namespaces/{proxies.NAMESPACE}/configmaps/{proxies.CONFIG_MAP}"

_COREDNS = f"/api/v1/namespaces/{addons.NAMESPACE}/configmaps/coredns"
# Plugins, and options of the plugin kubernetes, that change which names exist and what they are.
_DNS_RULES = frozenset(
    {
        "acl", "auto", "autopath", "endpoint_pod_names", "file", "hosts", "ignore", "labels",
        "multicluster", "namespace_labels", "namespaces", "noendpoints", "rewrite", "template",
        "zonal",
    }
)  # fmt: skip


class ApiTarget:
    """What a trace does to a cluster; each call has a connection and a thread of its own."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._builtins = True

    @property
    def builtins(self) -> bool:
        """Tell whether pods have the built-in client; as `wiring` has read."""
        return self._builtins

    def capture(self, points: Sequence[str]) -> AbstractAsyncContextManager[Captured]:
        """Capture at *points* ("namespace/pod", a node, "external") while the block runs."""
        return _captured(self._access, points)

    async def exec(self, where: str, argv: Sequence[str]) -> Execution:
        """Run a command; it ends when this is cancelled."""
        place = _place(where)
        path = (
            stream.pod_path(place.namespace, place.name)
            if place.kind == "pod"
            else stream.host_path(place.name)
        )
        result = await run(self._access, path, argv)
        return Execution(
            result.exit_code,
            result.stdout.decode(errors="replace"),
            result.stderr.decode(errors="replace"),
        )

    async def objects(self) -> Snapshot:
        """Return the objects that a trace judges by."""

        def read() -> Snapshot:
            with Connection(self._access) as connection:
                return Snapshot.of(
                    {**item, "kind": kind}
                    for kind, path in _LISTS
                    for item in cast(
                        "list[dict[str, Any]]", connection.get(path).get("items") or []
                    )
                )

        return await asyncio.to_thread(read)

    async def wiring(self) -> Wiring:
        """Return how the cluster's network is laid, as the cluster itself says."""

        def read(path: str) -> dict[str, str]:
            with Connection(self._access) as connection:
                found = connection.find(path) or {}
                return cast("dict[str, str]", found.get("data") or {})

        data = await asyncio.to_thread(read, _NETWORK)
        proxy = await asyncio.to_thread(read, _PROXY)
        dns = await asyncio.to_thread(read, _COREDNS)
        self._builtins = data.get("client") != "image"
        return replace(
            wired(data),
            proxy=configured(proxy.get(proxies.CONFIG_KEY, "")),
            dns_rules=rules_of(dns.get("Corefile", "")),
        )


def rules_of(corefile: str) -> tuple[str, ...]:
    """Return the words of a Corefile by which DNS may answer otherwise than the objects say."""
    lines = [line.split() for line in corefile.splitlines()]
    return tuple(dict.fromkeys(words[0] for words in lines if words and words[0] in _DNS_RULES))


def configured(text: str) -> ProxySettings:
    """Return what a KubeProxyConfiguration says to the judge; what makes no sense says nothing."""
    try:
        documents = read_documents(text, proxies.CONFIG_KEY)
    except ConfigError:
        return ProxySettings()
    value: Any = documents[0].value if documents else {}
    said = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
    words = [str(word) for word in said.get("nodePortAddresses") or ()]
    node_ports: tuple[IPv4Network, ...] | Literal["primary"] | None = None
    if "primary" in words:
        node_ports = "primary"
    elif words:
        with contextlib.suppress(ValueError):
            node_ports = tuple(IPv4Network(w, strict=False) for w in words if ":" not in w)
    rules = cast("dict[str, Any]", said.get("iptables") or {})
    return ProxySettings(
        node_ports=node_ports,
        localhost_node_ports=rules.get("localhostNodePorts") is not False,
        masquerade_all=_masquerades_all(said),
    )


def _masquerades_all(said: Mapping[str, Any]) -> bool:
    # kubeadm writes it below the mode that it is about.
    mode = str(said.get("mode") or "iptables")
    section = cast("Mapping[str, Any]", said.get(mode) or {})
    return section.get("masqueradeAll") is True


def wired(data: Mapping[str, str]) -> Wiring:
    """Return the wiring that the ConfigMap podwire-network describes; without one, the usual.

    The keys bridge, underlay and tunnel name devices; "captures: nodes" says that pods need not
    be captured, and "hint" how they can be; "host-ports: reserved" that no node leads them to pods;
    "resolv.conf" is the nodes' own; without "external" there is no such host.
    """
    usual = Wiring()
    if not data:
        return usual
    resolver = read_resolv_conf(data.get("resolv.conf") or "")
    external = data.get("external")
    return Wiring(
        domain=data["domain"],
        backend="host-gw" if data["backend"] == "host-gw" else "vxlan",
        pods=IPv4Network(data["pods"]),
        services=IPv4Network(data["services"]),
        dns=IPv4Address(data["dns"]),
        external=IPv4Address(external) if external else None,
        bridge=data.get("bridge") or usual.bridge,
        tunnel=data.get("tunnel") or usual.tunnel,
        searches=resolver.search,
        node_ndots=resolver.ndots,
        underlay=data.get("underlay") or usual.underlay,
        captures="nodes" if data.get("captures") == "nodes" else "pods",
        hint=data.get("hint") or "",
        host_ports=data.get("host-ports") != "reserved",
    )


async def judged(access: Access, where: str, wanted: Request, *, limit: float) -> Trace:
    """Make one request at *where* and judge from packets which way it went; *limit* in seconds."""
    target = ApiTarget(access)
    return await run_trace(target, where, wanted, timeout=limit, wiring=await target.wiring())


async def run(
    access: Access,
    path: str,
    argv: Sequence[str],
    *,
    container: str = "",
    given: bytes | None = None,
) -> stream.Result:
    """Run a command (path: see podwire.kube.stream); when this is cancelled, it is ended."""
    sockets = list[WebSocket]()

    def blocking() -> stream.Result:
        with Connection(access) as connection:
            socket = stream.opened(
                connection, path, argv, container=container, stdin=given is not None
            )
            sockets.append(socket)
            try:
                return stream.collected(socket, given=given)
            finally:
                socket.close()

    try:
        return await asyncio.to_thread(blocking)
    except asyncio.CancelledError:
        for socket in sockets:  # the server ends the command with the connection
            socket.abandon()
        raise


@asynccontextmanager
async def recording(
    access: Access, points: Sequence[str], *, program: Sequence[capture.Instruction] = ()
) -> AsyncGenerator[bytearray, None]:
    """Capture at *points* (none: everywhere) while the block runs; then the bytes are whole."""
    data = bytearray()

    def start() -> capture.Capture:
        with Connection(access) as connection:
            everywhere = points or list(capture.points(connection))
            return capture.started(connection, everywhere, data.extend, program=program)

    running = await asyncio.to_thread(start)
    read_end, write_end = os.pipe()
    # No TaskGroup: what fails in the block, a test's assertion say, shall be raised as it is.
    recorded = asyncio.get_running_loop().run_in_executor(None, running.record, read_end)
    try:
        try:
            yield data
        finally:
            os.write(write_end, b"\0")
            await recorded  # what is on its way still comes
    finally:
        for end in (read_end, write_end):
            os.close(end)
        running.close()


class _Recording:
    """A capture that has ended when it is read."""

    def __init__(self, data: bytearray) -> None:
        self._data = data

    def capture(self) -> pcapng.Capture:
        """Return all that was captured."""
        return pcapng.decode(bytes(self._data))


@asynccontextmanager
async def _captured(access: Access, points: Sequence[str]) -> AsyncGenerator[Captured, None]:
    def present() -> list[str]:
        wanted = [_place(where).point for where in points]
        with Connection(access) as connection:
            known = capture.points(connection)
        return [point for point in wanted if point in known]

    there = await asyncio.to_thread(present)
    async with recording(access, there, program=heads.PROGRAM) as data:
        yield _Recording(data)


def _place(where: str) -> places.Place:
    """Return the place that a trace calls *where*: a bare word is a host, never a pod."""
    if "/" in where:
        return places.parse(where)
    return places.Place("host", where)
