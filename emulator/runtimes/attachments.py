"""A pod's attachments to the network: executes a node's CNI plugins (CNI specification 1.1.0)."""

import json
import os
import signal
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path
from typing import Any

from podwire.emulator.runtimes.runtime import PodPort, PodSandbox, RuntimeFailure
from podwire.emulator.sandbox.forks import Forks
from podwire.emulator.sandbox.processes import Place, Program, StartError

Json = dict[str, Any]

INTERFACE = "eth0"
# Where a foreign plugin named in the list is looked for, as containerd does.
CNI_PATH = "/opt/cni/bin:/usr/lib/cni"
# Failures while a pod is made have one name, whatever failed.
_REASON = "FailedCreatePodSandBox"


class Attachments:
    """Attaches pods to one node's network. Every method raises RuntimeFailure."""

    def __init__(self, forks: Forks, netns: Path, network_list: Path) -> None:
        self._forks = forks
        self._netns = netns
        self._network_list = network_list
        # By pod sandbox: the result of ADD, which DEL gets again (section 4, prevResult).
        self._results: dict[str, Json] = {}

    async def add(self, sandbox: PodSandbox) -> IPv4Address:
        """Attach a pod and return its address."""
        network = self._read()
        result: Json = {}
        for plugin in network["plugins"]:
            config = request(network, plugin, result, sandbox.request.ports)
            result = await self._call("ADD", plugin, config, sandbox)
        self._results[sandbox.id] = result
        return first_ipv4(result)

    async def delete(self, sandbox: PodSandbox) -> None:
        """Release what `add` gave a pod, and what an `add` that failed left."""
        network = self._read()
        result = self._results.get(sandbox.id, {})
        for plugin in reversed(network["plugins"]):
            config = request(network, plugin, result, sandbox.request.ports)
            await self._call("DEL", plugin, config, sandbox)
        self._results.pop(sandbox.id, None)

    def _read(self) -> Json:
        try:
            network: Json = json.loads(self._network_list.read_bytes())
            if not network["plugins"]:
                raise ValueError("it names no plugin")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RuntimeFailure(_REASON, f"cannot use {self._network_list}: {error!r}") from error
        return network

    async def _call(
        self, command: str, plugin: Mapping[str, Any], config: Json, sandbox: PodSandbox
    ) -> Json:
        kind = str(plugin.get("type", ""))
        environ = environment(command, sandbox)
        status, output, log = await self._run(kind, environ, json.dumps(config).encode())
        try:
            answer: Json = json.loads(output) if output.strip() else {}
        except ValueError:
            answer, log = {}, output.decode(errors="replace")
            status = status or 1
        if status:
            said = "; ".join(filter(None, (answer.get("msg"), answer.get("details"))))
            raise RuntimeFailure(
                _REASON,
                f'plugin type="{kind}" failed ({command.lower()}): '
                f"{said or log.strip() or f'exit status {status}'}",
            )
        return answer

    async def _run(
        self, kind: str, environ: Mapping[str, str], stdin: bytes
    ) -> tuple[int, bytes, str]:
        if kind == "podwire":
            program = Program((kind,), environ, builtin="cni")
        else:
            program = Program((find_plugin(kind, CNI_PATH.split(":")),), environ)
        with _descriptors(self._netns) as (into, out, err, net):
            os.write(into, stdin)
            os.lseek(into, 0, os.SEEK_SET)
            try:
                process = await self._forks.fork(
                    program, Place(net=net), stdin=into, stdout=out, stderr=err
                )
            except StartError as error:
                raise RuntimeFailure(_REASON, f"{kind}: {error}") from error
            try:
                status = await process.wait()
            except BaseException:
                # Cancelled: DEL must not begin before this has ended.
                process.send_signal(signal.SIGKILL)
                await process.wait()
                raise
            finally:
                process.close()
            size = os.fstat(out).st_size
            return status, os.pread(out, size, 0), os.pread(err, 4096, 0).decode(errors="replace")


def request(
    network: Mapping[str, Any],
    plugin: Mapping[str, Any],
    previous: Json,
    ports: Sequence[PodPort] = (),
) -> Json:
    """Return a plugin's configuration as it stands on its standard input (section 4).

    *ports* are for a plugin that says it is capable of portMappings (CONVENTIONS.md).
    """
    config: Json = {
        **plugin,
        "name": network.get("name", ""),
        "cniVersion": network.get("cniVersion", ""),
    }
    if ports and plugin.get("capabilities", {}).get("portMappings"):
        mappings = [
            {
                "hostPort": port.host_port,
                "containerPort": port.container_port,
                "protocol": port.protocol.lower(),
                **({"hostIP": port.host_ip} if port.host_ip else {}),
            }
            for port in ports
        ]
        config["runtimeConfig"] = {"portMappings": mappings}
    if previous:
        config["prevResult"] = previous
    return config


def environment(command: str, sandbox: PodSandbox) -> Mapping[str, str]:
    """Return the parameters of a call, as containerd gives them."""
    pod = sandbox.request
    return {
        "CNI_COMMAND": command,
        "CNI_CONTAINERID": sandbox.id,
        "CNI_NETNS": sandbox.netns,
        "CNI_IFNAME": INTERFACE,
        "CNI_PATH": CNI_PATH,
        "CNI_ARGS": (
            f"IgnoreUnknown=1;K8S_POD_NAMESPACE={pod.namespace};"
            f"K8S_POD_NAME={pod.name};K8S_POD_INFRA_CONTAINER_ID={sandbox.id};"
            f"K8S_POD_UID={pod.uid}"
        ),
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    }


def find_plugin(kind: str, directories: Sequence[str]) -> str:
    """Return where a plugin is; raises RuntimeFailure."""
    for directory in directories:
        candidate = Path(directory) / kind
        if kind and "/" not in kind and candidate.is_file():
            return str(candidate)
    raise RuntimeFailure(
        _REASON, f'failed to find plugin "{kind}" in path [{" ".join(directories)}]'
    )


def first_ipv4(result: Mapping[str, Any]) -> IPv4Address:
    """Return the first IPv4 address of an ADD's result; raises RuntimeFailure without one."""
    for ip in result.get("ips", ()):
        if ":" not in ip["address"]:
            return IPv4Interface(ip["address"]).ip
    raise RuntimeFailure(_REASON, "the CNI plugin gave the pod no IPv4 address")


@contextmanager
def _descriptors(netns: Path) -> Generator[tuple[int, int, int, int]]:
    """Open files for the three standard streams, and the namespace that plugins run in."""
    fds: list[int] = []
    try:
        for name in ("in", "out", "err"):
            fds.append(os.memfd_create(name, os.MFD_CLOEXEC))
        fds.append(os.open(netns, os.O_RDONLY | os.O_CLOEXEC))
        into, out, err, net = fds
        yield into, out, err, net
    finally:
        for fd in fds:
            os.close(fd)
