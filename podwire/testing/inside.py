"""Runs a test's coroutine inside a sandbox of its own, with both fork servers and a node's network.

    inside.play(scenario)           # in a test; scenario is `async def scenario(world: World)`

The coroutine must be a function of a module: it is looked up by its name in a process of its own,
which is in new namespaces, as root there, and takes all that it made with it when it ends.
"""

import asyncio
import importlib.util
import inspect
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import NoReturn

import msgspec

from podwire import linux
from podwire.cni import __main__ as cni
from podwire.emulator.addressing import addresses
from podwire.emulator.builtins import BUILTINS
from podwire.emulator.config import ClusterConfig, numbered_nodes
from podwire.emulator.images import pause
from podwire.emulator.network import build
from podwire.emulator.sandbox import messages, paths
from podwire.emulator.sandbox.container import BuiltIn
from podwire.emulator.sandbox.filesystem import make_file_system
from podwire.emulator.sandbox.forks import Forks
from podwire.emulator.sandbox.forkserver import ForkServer
from podwire.emulator.topology import network_list, topology
from podwire.emulator.trial import enter_namespaces

LIMIT = 60.0
"""Seconds after which a scenario is given up."""

_LIGHT: Mapping[str, BuiltIn] = {"cni": cni.main, "pause": pause.main}


@dataclass(frozen=True, slots=True)
class World:
    """What a scenario finds: the fork servers, and one node with its network and CNI list."""

    forks: Forks
    config: ClusterConfig
    cni_config: Path

    @property
    def node_netns(self) -> Path:
        """Return where the node's network namespace is."""
        return paths.NETNS / self.config.nodes[0].name


Scenario = Callable[[World], Awaitable[None]]


def lacking() -> str:
    """Return why this machine cannot make a sandbox, as a sentence; empty if it can."""
    probe = subprocess.run(
        [sys.executable, "-P", "-c", f"from {__name__} import probe; probe()"],
        capture_output=True,
        text=True,
        check=False,
    )
    return probe.stderr.strip().rpartition("\n")[2] if probe.returncode else ""


def play(scenario: Scenario) -> None:
    """Run *scenario* inside; raises AssertionError with what it printed if it fails."""
    file = inspect.getfile(scenario)
    done = subprocess.run(
        [sys.executable, "-P", "-m", __name__, file, scenario.__name__],
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT + 30,
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
    )
    if done.returncode != 0:
        raise AssertionError(f"{scenario.__name__} failed inside:\n{done.stdout}{done.stderr}")


def probe() -> None:
    """Try whether namespaces can be made and used; ends this process with the status."""
    enter_namespaces()
    if os.fork() == 0:
        try:
            make_file_system()
        finally:
            os._exit(1 if sys.exc_info()[0] else 0)
    _pid, status = os.wait()
    sys.exit(os.waitstatus_to_exitcode(status))


def main(file: str, name: str) -> int:
    """Run the scenario *name* of a file; return 0 if it ended well."""
    enter_namespaces()
    passed, passes = os.pipe()
    first = os.fork()
    if first == 0:
        os.close(passed)
        _be_first(file, name, passes)
    os.close(passes)
    os.waitpid(first, 0)
    return 0 if os.read(passed, 1) else 1


def _be_first(file: str, name: str, passes: int) -> NoReturn:
    """Be process 1: the light fork server, and the parent of the others."""
    try:
        linux.die_with_parent()
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        make_file_system()
        config = ClusterConfig(name="inside", nodes=numbered_nodes(1))
        build(topology(config), paths.NETNS)
        light, for_light = messages.channel()
        heavy, for_heavy = messages.channel()
        zygote = os.fork()
        if zygote == 0:
            ForkServer(heavy, BUILTINS).run({}, lambda _: None)
        scenario = os.fork()
        if scenario == 0:
            for end in (light, heavy):
                end.close()
            asyncio.run(_perform(file, name, Forks(for_light, for_heavy), config))
            os.write(passes, b"1")
            os._exit(0)
        for end in (for_light, for_heavy, heavy):
            end.close()
        os.close(passes)
        ForkServer(light, _LIGHT).run({scenario: "scenario", zygote: "zygote"}, lambda _: None)
    except BaseException:  # noqa: BLE001 - a forked child must not return into its parent
        traceback.print_exc()
    finally:
        os._exit(0)


async def _perform(file: str, name: str, forks: Forks, config: ClusterConfig) -> None:
    forks.start()
    node = config.nodes[0].name
    directory = paths.CNI_CONFIG / node
    directory.mkdir(parents=True)
    listed = directory / "10-podwire.conflist"
    state = str(paths.CNI_STATE / node)
    listed.write_bytes(msgspec.json.encode(network_list(config, node, state)))
    world = World(forks, config, listed)
    async with asyncio.timeout(LIMIT):
        await getattr(_loaded(file), name)(world)


def _loaded(file: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location("scenarios", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["scenarios"] = module
    spec.loader.exec_module(module)
    return module


def node_address(config: ClusterConfig) -> str:
    """Return the address of the first node."""
    return str(addresses(config).nodes[0].underlay.ip)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
