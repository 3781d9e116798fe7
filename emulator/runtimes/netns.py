"""The netns runtime: a pod is three namespaces, a container a process with a root of its own."""

import asyncio
import os
import secrets
import signal
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import cast

from podwire.emulator.runtimes.attachments import Attachments
from podwire.emulator.runtimes.capabilities import NUMBERS
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
from podwire.emulator.sandbox.forks import Forks
from podwire.emulator.sandbox.processes import Place, Process, Program, StartError

_NO_OWNER = "--no-same-owner"


@dataclass(frozen=True, slots=True)
class NodePlace:
    """A node as the runtime needs it."""

    name: str
    address: IPv4Address
    netns: Path
    cni_config: Path


class NetnsRuntime:
    """Makes the pods of one node through the fork server."""

    pins_paths = True

    def __init__(self, node: NodePlace, forks: Forks) -> None:
        self._node = node
        self._forks = forks
        self._attachments = Attachments(forks, node.netns, node.cni_config)
        self._host = read_host_root(Path("/"))
        self._kept = kept_directories()
        self._all_users = has_all_users(Path("/proc/self/uid_map").read_text(encoding="ascii"))

    async def create(self, request: PodRequest) -> PodSandbox:
        """Make the pod's namespaces and network; raises RuntimeFailure.

        Failed or cancelled, it leaves nothing.
        """
        identity = secrets.token_hex(32)
        if request.host_network:
            fds = await self._namespaces(self._node.name)
            fds.insert(0, os.open(self._node.netns, os.O_RDONLY | os.O_CLOEXEC))
            sandbox = PodSandbox(
                request, identity, self._node.address, fds=fds, netns=str(self._node.netns)
            )
            if request.shares_processes:
                sandbox.first = await self._first(sandbox)
            return sandbox
        netns = str(paths.NETNS / f"cni-{identity[:13]}")
        sandbox = PodSandbox(request, identity, IPv4Address(0), netns=netns)
        try:
            sandbox.fds = await self._namespaces(request.hostname, netns)
            sandbox.address = await self._attachments.add(sandbox)
            if request.shares_processes:
                sandbox.first = await self._first(sandbox)
        except BaseException:
            with suppress(RuntimeFailure):
                if sandbox.fds:
                    await self._attachments.delete(sandbox)
            await self._let_go(sandbox)
            raise
        return sandbox

    async def has(self, sandbox: PodSandbox, container: str) -> bool:
        """Tell that none does: containers end with their runtime."""
        del sandbox, container
        return False

    def times(self, container: RunningProcess) -> tuple[float, float]:
        """Tell nothing: no container is joined."""
        del container
        return 0.0, 0.0

    async def lost(self, sandbox: PodSandbox) -> None:
        """Wait for ever: nobody else can reach a pod's namespaces."""
        del sandbox
        await asyncio.Event().wait()

    async def start(
        self, sandbox: PodSandbox, request: ContainerRequest, streams: Streams
    ) -> RunningProcess:
        """Start a container; raises RuntimeFailure."""
        # A pod that shares its processes has one namespace of them, whatever a container asks for.
        beside = cast("Process | None", sandbox.first or request.beside)
        if beside is not None and not beside.running:
            what = "the container whose processes it is to see"
            raise RuntimeFailure("RunContainerError", f"{what} does not run")
        net, uts, ipc = sandbox.fds
        mounts = root_file_system(
            self._host,
            request.binds,
            request.directories,
            self._kept,
            is_there,
            network_settings=NUMBERS["NET_ADMIN"] in request.capabilities,
        )
        place = Place(
            net=net,
            uts=uts,
            ipc=ipc,
            contain=True,
            pids=-1 if beside is None else beside.pidfd,
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
        if request.argv[0].rpartition("/")[2] == "tar" and not self._all_users:
            # `kubectl cp` unpacks as root, who would give the files to users that are not there.
            request = replace(request, environ={"TAR_OPTIONS": _NO_OWNER, **request.environ})
        return await self._fork(
            request, Place(join=process.pidfd, capabilities=request.capabilities), streams
        )

    def container_id(self, container: RunningProcess) -> str:
        """Return a name of its own for each container: a process has none that lasts."""
        del container
        return f"podwire://{secrets.token_hex(32)}"

    async def remove(self, sandbox: PodSandbox) -> None:
        """Release the pod's address and namespaces; again is fine, also after RuntimeFailure."""
        if sandbox.fds and not sandbox.request.host_network:
            await self._attachments.delete(sandbox)
        await self._let_go(sandbox)

    async def _first(self, sandbox: PodSandbox) -> Process:
        """Start the process whose namespace of processes is the pod's; raises RuntimeFailure."""
        net, uts, ipc = sandbox.fds
        program = Program(("pause",), builtin="pause")
        place = Place(net=net, uts=uts, ipc=ipc, contain=True, capabilities=())
        try:
            return await self._forks.fork(program, place)
        except StartError as error:
            raise RuntimeFailure("FailedCreatePodSandBox", str(error)) from error

    async def _let_go(self, sandbox: PodSandbox) -> None:
        if sandbox.first is not None:
            sandbox.first.send_signal(signal.SIGKILL)
            await sandbox.first.wait()
            sandbox.first.close()
            sandbox.first = None
        for fd in sandbox.fds:
            os.close(fd)
        sandbox.fds = []
        if not sandbox.request.host_network:
            try:
                await self._forks.remove_namespace(sandbox.netns)
            except StartError as error:
                raise RuntimeFailure("FailedKillPod", str(error)) from error

    async def _namespaces(self, hostname: str, path: str = "") -> list[int]:
        try:
            return await self._forks.namespaces(hostname, path)
        except StartError as error:
            raise RuntimeFailure("FailedCreatePodSandBox", str(error)) from error

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


def has_all_users(uid_map: str) -> bool:
    """Tell whether a user namespace has more users than its root (user_namespaces(7))."""
    return sum(int(line.split()[2]) for line in uid_map.splitlines()) > 1
