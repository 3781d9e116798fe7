"""Commands on machines that are no pods: the nodes, the router, and `external`."""

import asyncio
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from podwire.emulator.apiserver.agent import AgentError
from podwire.emulator.images.catalogue import PATH
from podwire.emulator.kubelet.host_names import node_hosts
from podwire.emulator.runtimes.capabilities import kept
from podwire.emulator.runtimes.mounts import Bind, root_file_system
from podwire.emulator.runtimes.netns import is_there, kept_directories, read_host_root
from podwire.emulator.runtimes.runtime import RunningProcess, RuntimeFailure, Streams
from podwire.emulator.sandbox import paths
from podwire.emulator.sandbox.forks import Forks
from podwire.emulator.sandbox.processes import Place, Program, StartError

Kind = Literal["node", "external", "router"]


@dataclass(slots=True)
class Host:
    """A machine: its namespace, what it is, and files of its own (path to source)."""

    name: str
    kind: Kind
    netns: Path
    binds: Sequence[Bind] = ()
    fds: list[int] = field(default_factory=list[int])


class Hosts:
    """Runs commands on hosts through the fork server."""

    def __init__(self, forks: Forks, hosts: Sequence[Host]) -> None:
        self._forks = forks
        self._making = asyncio.Lock()
        self._hosts: Mapping[str, Host] = {host.name: host for host in hosts}

    def kinds(self) -> Sequence[tuple[str, Kind]]:
        """Return every host's name and kind."""
        return [(host.name, host.kind) for host in self._hosts.values()]

    def netns(self, name: str) -> Path:
        """Return where a host's network namespace is."""
        return self._hosts[name].netns

    async def execute(self, name: str, command: Sequence[str], streams: Streams) -> RunningProcess:
        """Start *command* on a host; raises AgentError or RuntimeFailure."""
        return await self._start(name, command, streams, {}, tty=False)

    async def execute_tty(self, name: str, command: Sequence[str], terminal: int) -> RunningProcess:
        """Start *command* on a host with *terminal*, the slave end of a pty."""
        streams = Streams(terminal, terminal, terminal)
        return await self._start(name, command, streams, {"TERM": "xterm"}, tty=True)

    async def _start(
        self,
        name: str,
        command: Sequence[str],
        streams: Streams,
        environ: Mapping[str, str],
        *,
        tty: bool,
    ) -> RunningProcess:
        host = self._hosts.get(name)
        if host is None:
            raise AgentError(404, "NotFound", f"no host {name!r}; there are {list(self._hosts)}")
        net, uts, ipc = await self._namespaces(host)
        mounts = root_file_system(
            read_host_root(Path("/")), host.binds, (), kept_directories(), is_there
        )
        builtin = command[0].removeprefix("builtin:") if command[0].startswith("builtin:") else ""
        program = Program(
            tuple(command), {"PATH": PATH, "HOME": "/tmp", **environ}, builtin, tty=tty
        )
        place = Place(
            net=net,
            uts=uts,
            ipc=ipc,
            contain=True,
            mounts=mounts,
            capabilities=kept(add=("NET_ADMIN",)),
        )
        try:
            return await self._forks.fork(
                program, place, stdin=streams.stdin, stdout=streams.stdout, stderr=streams.stderr
            )
        except StartError as error:
            raise RuntimeFailure("InternalError", f"{command[0]}: {error}") from error

    async def _namespaces(self, host: Host) -> list[int]:
        """Return the descriptors of a host's namespaces, made when they are first needed."""
        async with self._making:
            if not host.fds:
                try:
                    made = await self._forks.namespaces(host.name)
                    host.fds = [os.open(host.netns, os.O_RDONLY | os.O_CLOEXEC), *made]
                except (StartError, OSError) as error:
                    raise RuntimeFailure("InternalError", f"{host.name}: {error}") from error
            return host.fds


def node_files(name: str, address: str, cni_config: Path, resolver: str) -> list[Bind]:
    """Return a node's own files and where they appear on it: its CNI lists, and of its /etc."""
    directory = paths.BASE / "nodes" / name
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "resolv.conf").write_text(resolver)
    (directory / "hosts").write_text(node_hosts(name, address))
    return [
        Bind("/etc/cni/net.d", str(cni_config / name), is_directory=True),
        *(
            Bind(f"/etc/{file}", str(directory / file), is_directory=False)
            for file in ("resolv.conf", "hosts")
        ),
    ]
