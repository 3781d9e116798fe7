"""One cluster whose proxies are told to be another kind, or are told nonsense, while clients ask."""

import asyncio
import json
import logging
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from podwire.errors import NotFound, PodwireError, UsageError
from podwire.testing.cluster import CommandFailed
from tests.needs import SEARCH, need
from tests.system.proxying.failures import (
    CONFIG_MAP,
    DAEMON_SET,
    PORT,
    Json,
    Scene,
    Target,
    started,
)
from tests.system.until import containers

TOUR = (
    "nftables", "iptables", "ipvs", "userspace", "iptables", "nftables", "ipvs", "nftables",
    "userspace",
)  # fmt: skip
log = logging.getLogger(__name__)

pytestmark = pytest.mark.system

REWRITES = ("nftables", "iptables")


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Give one cluster, in userspace mode at first, to all tests of this file."""
    need("python3", "nft", "iptables")
    made = started("userspace", tmp_path_factory.mktemp("switching"), "switching")
    try:
        asyncio.run(made.fill())
        yield made
    finally:
        made.launched.end()


async def switched(scene: Scene, mode: str) -> None:
    """Have all proxies be of *mode*, without anything else that a test has changed."""

    def edit(text: str) -> str:
        text = re.sub(r"(?m)^\w+: \{syncPeriod: 1s\}\n", "", text)
        text = re.sub(r"(?m)^mode: .*$", f"mode: {mode}", text)
        return f"{text}{mode}: {{syncPeriod: 1s}}\n"

    await scene.reconfigure(edit)
    scene.mode = mode


async def left_behind(scene: Scene) -> set[str]:
    """Return which modes have anything on node-1."""
    tables = await scene.on_node("nft", "list", "tables")
    saved = await scene.on_node("iptables-save")
    routes = await scene.on_node("ip", "-N", "route", "show", "table", "local")
    rules = await scene.on_node("ip", "rule")
    found = {
        "nftables": "table ip kube-proxy\n" in tables,
        "iptables": "KUBE-" in saved,
        "userspace": "podwire-userspace" in tables
        or "local 10.96.0.0/12" in routes
        or "fwmark" in rules,
    }
    return {mode for mode, there in found.items() if there}


async def test_from_every_mode_to_another(scene: Scene) -> None:
    target = await scene.service("toured", "here", "there", type="NodePort")
    await scene.served(target, "here", "there")
    gaps: dict[str, float] = {}
    for mode in TOUR:
        before = scene.mode
        async with scene.watching(target, Target(target.host, PORT, "UDP")) as seen:
            await switched(scene, mode)
            await scene.served(target, "here", "there")
        step = f"{before} to {mode}"
        gaps[step] = max(one.gap for one in seen)
        if before in REWRITES:
            # What the old one has programmed serves until the new one does.
            assert not [one.failures for one in seen if one.failures], step
        kind = "userspace" if mode == "ipvs" else mode

        async def only(kind: str = kind) -> bool:
            return await left_behind(scene) == {kind}

        await scene.eventually(only, f"{step}: nothing of others is left on the node")
        (state,) = await scene.cluster.proxies("node-1")
        assert state["mode"].split()[0] == mode
        node = await scene.cluster.get("/api/v1/nodes/node-1")
        assert node["metadata"]["annotations"]["podwire.dev/proxy-mode"].split()[0] == mode
    log.info("seconds without an answer, at most: %s", gaps)


async def crashed(scene: Scene, words: str) -> str:
    """Return the log of node-1's proxy as soon as that crash-loops and has said *words*."""
    said = ""

    async def looping() -> bool:
        try:
            return await ended()
        except (UsageError, NotFound):
            return False  # the old one has gone, the new one is not there

    async def ended() -> bool:
        nonlocal said
        name = await scene.proxy_pod()
        path = f"/api/v1/namespaces/kube-system/pods/{name}"
        statuses = containers(await scene.cluster.get(path))
        waiting: list[Json] = [
            each["state"]["waiting"] for each in statuses if "waiting" in each["state"]
        ]
        if [each["reason"] for each in waiting] != ["CrashLoopBackOff"]:
            return False
        if not await scene.events("BackOff", name, "kube-system"):
            return False
        said = (
            await scene.cluster.call(lambda c: c.text(f"{path}/log", {"previous": "true"}))
        ).decode()
        return words in said

    await scene.eventually(looping, f"the proxy crash-loops and says {words}")
    return said


async def nothing_failed_meanwhile(scene: Scene, target: Target, words: str) -> str:
    """Restart the proxies into a crash-loop that says *words*; rules of the kernel serve on."""
    async with scene.watching(target, Target(target.host, PORT, "UDP")) as seen:
        await scene.restart()
        said = await crashed(scene, words)
    assert not [one.failures for one in seen if one.failures]
    return said


@pytest.mark.parametrize("mode", REWRITES)
async def test_a_bad_file(scene: Scene, mode: str) -> None:
    await switched(scene, mode)
    target = await scene.service(f"bad-file-{mode}", "here", "there")
    await scene.served(target, "here", "there")
    found = await scene.cluster.get(CONFIG_MAP)
    text = found["data"]["config.conf"]
    wrong = {"data": {"config.conf": text.replace(f"mode: {mode}", "mode: nftablez")}}
    await scene.cluster.call(lambda c: c.patch(CONFIG_MAP, wrong))
    said = await nothing_failed_meanwhile(scene, target, "config.conf:3:1: ")
    assert "mode: 'nftablez' is not one of userspace, nftables, iptables or ipvs" in said
    assert "Traceback" not in said
    await scene.cluster.call(lambda c: c.patch(CONFIG_MAP, {"data": {"config.conf": text}}))
    await scene.restart()
    await scene.rolled_out()
    await scene.served(target, "here", "there")


STUB = "#!/bin/sh\necho $(basename $0): no such luck >&2\nexit 1\n"
STUBS = ("nft", *(
    f"{name}{what}"
    for name in ("iptables", "iptables-nft", "iptables-legacy")
    for what in ("", "-save", "-restore")
))  # fmt: skip


async def with_path(scene: Scene, path: str) -> None:
    """Have the proxies look for programs in *path*; /stub has some that fail. Not restarted yet."""
    stub: Json = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "stub", "namespace": "kube-system"},
        "data": dict.fromkeys(STUBS, STUB),
    }
    await scene.cluster.apply(stub)
    container: Json = {
        "name": "kube-proxy",
        "env": [{"name": "PATH", "value": path}],
        "volumeMounts": [{"name": "stub", "mountPath": "/stub"}],
    }
    volume = {"name": "stub", "configMap": {"name": "stub", "defaultMode": 0o755}}
    change = {"spec": {"template": {"spec": {"containers": [container], "volumes": [volume]}}}}
    strategic = "application/strategic-merge-patch+json"
    await scene.cluster.call(lambda c: c.patch(DAEMON_SET, change, kind=strategic))


USUAL = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@pytest.mark.parametrize(
    ("mode", "path", "words"),
    [
        ("nftables", "/nowhere", "proxy mode nftables needs the program nft"),
        ("iptables", f"/stub:{USUAL}", "iptables does not work here: iptables-nft: "),
    ],
)
async def test_a_program_is_missing(scene: Scene, mode: str, path: str, words: str) -> None:
    await switched(scene, mode)
    target = await scene.service(f"missing-{mode}", "here", "there")
    await scene.served(target, "here", "there")
    await with_path(scene, path)
    said = await nothing_failed_meanwhile(scene, target, words)
    assert "Traceback" not in said
    await with_path(scene, USUAL)
    await scene.restart()
    await scene.rolled_out()
    await scene.served(target, "here", "there")


async def test_a_program_fails(scene: Scene) -> None:
    """The proxy goes on trying, says what the program says, and is unhealthy; rules serve on."""
    await switched(scene, "nftables")
    target = await scene.service("failing", "here", "there")
    await scene.served(target, "here", "there")
    await with_path(scene, f"/stub:{USUAL}")
    async with scene.watching(target, Target(target.host, PORT, "UDP")) as seen:
        await scene.restart()

        async def unhealthy() -> bool:
            try:
                return "no such luck" in await scene.log() and await scene.health_is(503)
            except (CommandFailed, PodwireError):
                return False  # the old one has gone, the new one is not there

        await scene.eventually(unhealthy, "it says why, and /healthz says 503")
    assert not [one.failures for one in seen if one.failures]
    await with_path(scene, USUAL)
    await scene.restart()
    await scene.rolled_out()
    await scene.eventually(lambda: scene.health_is(200), "/healthz says 200")


def masked(programs: tuple[str, ...], *argv: str) -> "subprocess.CompletedProcess[str]":
    """Run podwire on a machine without *programs*."""
    script = "".join(
        f"mount --bind /dev/null {path}\n" for name in programs for path in found(name)
    )
    command = [sys.executable, "-P", "-m", "podwire", *argv]
    return subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-ec", script + 'exec "$@"', "sh", *command],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def found(name: str) -> set[Path]:
    """Return the files that are the program *name*."""
    paths = (shutil.which(name, path=folder) for folder in SEARCH.split(":"))
    return {Path(path).resolve() for path in paths if path}


@pytest.mark.parametrize(
    ("programs", "mode", "words"),
    [
        (("nft",), "nftables", "proxy mode nftables needs the program nft\n"),
        (("iptables",), "iptables", "proxy mode iptables needs the program iptables\n"),
        (("nft", "iptables"), "userspace", "neither nft nor iptables\n"),
    ],
)
def test_up_fails_early_with_the_fix(
    programs: tuple[str, ...], mode: str, words: str, tmp_path: Path
) -> None:
    need("unshare", *programs)
    kubeconfig = str(tmp_path / "kubeconfig")
    done = masked(
        programs, "up", "--name", "masked", "--kubeconfig", kubeconfig, "--proxy-mode", mode
    )
    assert done.returncode == 69, done.stderr
    assert words in done.stderr
    fix = done.stderr.partition(words)[2].splitlines()[0]
    assert "install" in fix
    looked = masked(programs, "doctor", "-o", "json")
    findings = {each["name"]: each for each in json.loads(looked.stdout)["findings"]}
    if mode != "userspace":
        assert looked.returncode == 0  # a cluster in another mode can start
        assert findings[f"mode {mode}"]["status"] == "optional"
        assert findings[f"mode {mode}"]["fix"] in fix
