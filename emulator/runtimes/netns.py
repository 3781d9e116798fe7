"""The netns runtime: a pod is three namespaces, a container a process in them."""

import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path
from typing import Any, cast

from podwire.emulator.runtimes.mounts import HostRoot, root_file_system
from podwire.emulator.runtimes.runtime import (
    ContainerRequest,
    PodRequest,
    PodSandbox,
    RunningProcess,
    RuntimeFailure,
    Streams,
)
from podwire.emulator.sandbox import paths
from podwire.emulator.sandbox.forks import Forks, Place, Process, Program, StartError

INTERFACE = "eth0"
# Where a foreign CNI plugin named in the conflist is looked for, as containerd does.
CNI_PATH = "/opt/cni/bin:/usr/lib/cni"


@dataclass(frozen=True, slots=True)
class NodePlace:
    """A node as the runtime needs it."""

    name: str
    address: IPv4Address
    netns: Path
    cni_config: Path


class NetnsRuntime:
    """Makes the pods of one node through the fork server."""

    def __init__(self, node: NodePlace, forks: Forks) -> None:
        self._node = node
        self._forks = forks
        self._host = read_host_root(Path("/"))
        self._kept = kept_directories()

    async def create(self, request: PodRequest) -> PodSandbox:
        """Make the pod's namespaces and network; raises RuntimeFailure and leaves nothing."""
        identity = secrets.token_hex(32)
        if request.host_network:
            fds = await self._forks.namespaces(self._node.name)
            net = os.open(self._node.netns, os.O_RDONLY | os.O_CLOEXEC)
            return PodSandbox(
                request, identity, self._node.address, [net, *fds], str(self._node.netns)
            )
        netns = str(paths.NETNS / f"cni-{identity[:13]}")
        try:
            fds = await self._forks.namespaces(request.hostname, netns)
        except StartError as error:
            raise RuntimeFailure("FailedCreatePodSandBox", str(error)) from error
        sandbox = PodSandbox(request, identity, IPv4Address(0), fds, netns)
        try:
            result = await self._cni("ADD", sandbox)
            sandbox.address = _first_ipv4(result)
        except BaseException:
            await self.remove(sandbox)
            raise
        return sandbox

    async def start(
        self, sandbox: PodSandbox, request: ContainerRequest, streams: Streams
    ) -> RunningProcess:
        """Start a container; raises RuntimeFailure."""
        net, uts, ipc = sandbox.fds
        mounts = root_file_system(
            self._host, request.binds, request.directories, self._kept, is_there
        )
        place = Place(
            net=net,
            uts=uts,
            ipc=ipc,
            contain=True,
            mounts=mounts,
            capabilities=request.capabilities,
        )
        return await self._fork(request, place, streams)

    async def execute(
        self, container: RunningProcess, request: ContainerRequest, streams: Streams
    ) -> RunningProcess:
        """Run a command inside a running container; raises RuntimeFailure."""
        process = cast(Process, container)
        if not process.running:
            raise RuntimeFailure("InternalError", "container not running")
        return await self._fork(
            request, Place(join=process.pidfd, capabilities=request.capabilities), streams
        )

    async def remove(self, sandbox: PodSandbox) -> None:
        """Release the pod's address and namespaces; again is fine."""
        if not sandbox.request.host_network and sandbox.netns:
            try:
                await self._cni("DEL", sandbox)
            finally:
                await self._forks.remove_namespace(sandbox.netns)
        for fd in sandbox.fds:
            os.close(fd)
        sandbox.fds = []
        sandbox.netns = ""

    async def _fork(self, request: ContainerRequest, place: Place, streams: Streams) -> Process:
        first = request.argv[0]
        builtin = first.removeprefix("builtin:") if first.startswith("builtin:") else ""
        program = Program(
            request.argv, request.environ, builtin, directory=request.directory, tty=request.tty
        )
        try:
            return await self._forks.fork(
                program, place, stdin=streams.stdin, stdout=streams.stdout, stderr=streams.stderr
            )
        except StartError as error:
            raise RuntimeFailure(
                "RunContainerError", f'cannot start "{" ".join(request.argv)}": {error}'
            ) from error

    async def _cni(self, command: str, sandbox: PodSandbox) -> Mapping[str, Any]:
        """Execute the node's CNI plugins for *command*, as the CNI specification 1.1.0 says."""
        conflist = json.loads(self._node.cni_config.read_bytes())
        result: dict[str, Any] = {}
        plugins = conflist["plugins"]
        for plugin in plugins if command == "ADD" else reversed(plugins):
            config = {**plugin, "name": conflist["name"], "cniVersion": conflist["cniVersion"]}
            if result:
                config["prevResult"] = result
            result = await self._plugin(plugin["type"], command, sandbox, config)
        return result

    async def _plugin(
        self, kind: str, command: str, sandbox: PodSandbox, config: Mapping[str, Any]
    ) -> dict[str, Any]:
        request = sandbox.request
        environ = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": sandbox.id,
            "CNI_NETNS": sandbox.netns,
            "CNI_IFNAME": INTERFACE,
            "CNI_PATH": CNI_PATH,
            "CNI_ARGS": (
                f"IgnoreUnknown=1;K8S_POD_NAMESPACE={request.namespace};"
                f"K8S_POD_NAME={request.name};K8S_POD_INFRA_CONTAINER_ID={sandbox.id};"
                f"K8S_POD_UID={request.uid}"
            ),
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        }
        status, output, log = await self._run(kind, environ, json.dumps(config).encode())
        answer: dict[str, Any] = json.loads(output) if output.strip() else {}
        if status:
            what = "; ".join(filter(None, (answer.get("msg"), answer.get("details"))))
            raise RuntimeFailure(
                "FailedCreatePodSandBox",
                f'plugin type="{kind}" failed ({command.lower()}): {what or log or status}',
            )
        return answer

    async def _run(
        self, kind: str, environ: Mapping[str, str], stdin: bytes
    ) -> tuple[int, bytes, str]:
        program = Program((kind,), environ, builtin="cni" if kind == "podwire" else "")
        if not program.builtin:
            found = _find_plugin(kind)
            program = Program((found,), environ)
        into, out, err = (os.memfd_create(name, os.MFD_CLOEXEC) for name in ("in", "out", "err"))
        net = os.open(self._node.netns, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.write(into, stdin)
            os.lseek(into, 0, os.SEEK_SET)
            process = await self._forks.fork(
                program, Place(net=net), stdin=into, stdout=out, stderr=err
            )
            status = await process.wait()
            process.close()
            size = os.fstat(out).st_size
            return status, os.pread(out, size, 0), os.pread(err, 4096, 0).decode(errors="replace")
        except StartError as error:
            raise RuntimeFailure("FailedCreatePodSandBox", f"{kind}: {error}") from error
        finally:
            for fd in (into, out, err, net):
                os.close(fd)


def read_host_root(root: Path) -> HostRoot:
    """Return what the host has in its top-level directory."""
    directories: list[str] = []
    links: dict[str, str] = {}
    for entry in os.scandir(root):
        if entry.is_symlink():
            links[entry.name] = str(Path(entry.path).readlink())
        elif entry.is_dir():
            directories.append(entry.name)
    return HostRoot(tuple(sorted(directories)), links)


def kept_directories() -> Mapping[str, str]:
    """Return the host's directories that containers need below fresh ones, and where they are."""
    return {
        str(directory): str(paths.KEEP / str(number))
        for number, directory in enumerate(paths.hidden_directories())
    }


def is_there(path: str) -> bool:
    """Tell whether the host has *path*, and not as a link."""
    # A link as the last part would lead out of the container's root.
    there = Path(path)
    return there.exists() and not there.is_symlink()


def _find_plugin(kind: str) -> str:
    for directory in CNI_PATH.split(":"):
        candidate = Path(directory) / kind
        if candidate.is_file():
            return str(candidate)
    raise RuntimeFailure(
        "FailedCreatePodSandBox", f'failed to find plugin "{kind}" in path {CNI_PATH}'
    )


def _first_ipv4(result: Mapping[str, Any]) -> IPv4Address:
    for ip in result.get("ips", ()):
        interface = IPv4Interface(ip["address"]) if ":" not in ip["address"] else None
        if interface is not None:
            return interface.ip
    raise RuntimeFailure("FailedCreatePodSandBox", "the CNI plugin gave the pod no IPv4 address")
